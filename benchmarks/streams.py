"""Answers that do not fit into memory: `python benchmarks/streams.py [largest n]` writes results/streams.json.

1e5, 1e6, 1e7 and 1e8 answers are written to Parquet files in a temporary folder (about half a gigabyte for the largest), and read by fresh processes: ours is
`measure.streams`, with and without clusters; the peer is the short way in memory, where that is reasonable: pandas reads the columns, numpy makes the sums and the bins, without
checks, units or intervals.  One core, one thread, in turns; each pair of turns gives one ratio.  What every process says is held against sums that were made while the files
were written.  Peak memory is that of the whole process."""
import json, os, resource, subprocess, sys, tempfile, time

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ[f"{name}_NUM_THREADS"] = "1"  # before numpy is loaded
if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core

from pathlib import Path
import numpy as np

OUT = Path(__file__).resolve().parent / "results" / "streams.json"
SIZES, TURNS, PEER_UP_TO = (10**5, 10**6, 10**7, 10**8), {10**8: 2}, 10**7  # three turns below
PEAK, FLAT, TOPICS, FILES, BINS = 2e9, 1.25, 5000, 8, 15


# ---- data ----------------------------------------------------------------------------------------------------------
def write(n, folder):
    "The answers of an overconfident model, in single precision; topics differ.  Returns what any reader must find."
    import pyarrow as pa
    import pyarrow.parquet as pq
    harder, sums, step = np.random.default_rng(1).normal(0, .1, TOPICS), np.zeros((BINS, 3)), 1_000_000
    losses, ends = np.zeros(2), np.linspace(0, n, FILES + 1).astype(int)
    for f in range(FILES):
        with pq.ParquetWriter(folder / f"part-{f}.parquet", pa.schema([("conf", pa.float32()), ("correct", pa.bool_()), ("topic", pa.int32())])) as out:
            for start in range(ends[f], ends[f + 1], step):
                rng, m = np.random.default_rng([2, f, start]), min(step, ends[f + 1] - start)
                conf, topic = rng.beta(4, 2, m).astype(np.float32), rng.integers(0, TOPICS, m, np.int32)
                y = rng.random(m) < np.clip(conf**1.3 + harder[topic], 0, 1)
                out.write_table(pa.table(dict(conf=conf, correct=y, topic=topic)))
                p = conf.astype(float)
                i = np.searchsorted((np.arange(BINS, dtype=np.float32) + 1) / np.float32(BINS), conf)  # right-closed, edges of the same precision
                sums += np.stack([np.bincount(i, minlength=BINS), np.bincount(i, p, BINS), np.bincount(i, y, BINS)], 1)
                losses += ((p - y)**2).sum(), -np.log(np.clip(np.where(y, p, 1 - p), 1e-7, 1 - 1e-7)).sum()
    return answers(sums, losses)

def answers(sums, losses):
    n, conf, hits = sums.T
    return dict(n=int(n.sum()), acc=hits.sum() / n.sum(), conf=conf.sum() / n.sum(), ece15=np.abs(conf - hits).sum() / n.sum(), brier_top=losses[0] / n.sum(), nll_top=losses[1] / n.sum())


# ---- in a process of its own ---------------------------------------------------------------------------------------
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def ours(folder, cluster):
    from plcal_study.measure.streams import stream, stream_auroc, stream_intervals, stream_null, stream_reliability
    start, t, cpu = peak(), time.perf_counter(), time.process_time()
    s = stream(folder, cluster=cluster, progress=False)
    read = dict(seconds=time.perf_counter() - t, processor=time.process_time() - cpu)
    t, found = time.perf_counter(), stream_intervals(s)
    null, curve, auroc = stream_null(s), stream_reliability(s), stream_auroc(s)
    said = dict(n=int(s.n.sum()), ece15=float(np.abs((s.conf - s.correct).sum(0)).sum() / s.n.sum())) | {k: i.estimate for k, i in found.items() if k != "ece15"}
    return dict(start=start, **read, intervals=time.perf_counter() - t, peak=peak(), answers=said, units=len(s.n), unit=s.unit, auroc=auroc, null=[null.mean, null.lo, null.hi], bins=len(curve.n),
                intervals_of={k: [i.estimate, i.lo, i.hi] for k, i in found.items()})

def in_memory(folder):
    import pandas as pd
    import pyarrow.parquet  # noqa: F401 as ours has loaded it before its clock starts
    start, t, cpu = peak(), time.perf_counter(), time.process_time()
    d = pd.read_parquet(folder, columns=["conf", "correct"])
    conf, y = d.conf.to_numpy(), d.correct.to_numpy()
    i = np.digitize(conf, (np.arange(BINS - 1, dtype=np.float32) + 1) / np.float32(BINS), right=True)
    sums = np.stack([np.bincount(i, minlength=BINS), np.bincount(i, conf, BINS), np.bincount(i, y, BINS)], 1).astype(float)
    p = conf.astype(float)
    said = answers(sums, [((p - y)**2).sum(), -np.log(np.clip(np.where(y, p, 1 - p), 1e-7, 1 - 1e-7)).sum()])
    return dict(start=start, seconds=time.perf_counter() - t, processor=time.process_time() - cpu, peak=peak(), answers=said)

def fresh(*args):
    out = subprocess.run([sys.executable, __file__, "child", *map(str, args)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(out.stdout)


# ---- the curve -----------------------------------------------------------------------------------------------------
def row(n, spread):
    with tempfile.TemporaryDirectory() as d:
        truth = write(n, Path(d))
        size, runs = sum(f.stat().st_size for f in Path(d).iterdir()), []
        for _ in range(TURNS.get(n, 3)):
            runs.append(dict(rows=fresh("ours", d), clusters=fresh("ours", d, "topic")) | (dict(peer=fresh("memory", d)) if n <= PEER_UP_TO else {}))
    def of(who, what, by=1.): return spread([r[who][what] / by for r in runs])
    def gap(who): return float(max(abs(r[who]["answers"][k] - v) for r in runs for k, v in truth.items()))
    gaps = {who: gap(who) for who in runs[0]}
    return dict(n=n, bytes=size, turns=len(runs), per_row={w: of(w, "seconds", n) for w in runs[0]}, processor_per_row={w: of(w, "processor", n) for w in runs[0]},
                intervals={w: of(w, "intervals") for w in ("rows", "clusters")}, peak={w: max(r[w]["peak"] for r in runs) for w in runs[0]}, start={w: max(r[w]["start"] for r in runs) for w in runs[0]},
                ratio=spread([r["peer"]["processor"] / r["rows"]["processor"] for r in runs]) if "peer" in runs[0] else None, units={w: runs[0][w]["units"] for w in ("rows", "clusters")},
                auroc=runs[0]["rows"]["auroc"], null=runs[0]["rows"]["null"], intervals_of={w: runs[0][w]["intervals_of"] for w in ("rows", "clusters")},
                target=PEAK, check=dict(what="accuracy, mean confidence, ECE, Brier and log score against sums made while writing", gaps=gaps, within=1e-9, agree=max(gaps.values()) <= 1e-9))

def main():
    from testbed import machine, spread
    from importlib.metadata import version
    largest = int(float(sys.argv[1])) if len(sys.argv) > 1 else SIZES[-1]
    rows = []
    for n in SIZES:
        if n > largest: continue
        rows.append(r := row(n, spread))
        ns = {w: 1e9 * x["median"] for w, x in r["per_row"].items()}
        print(f"{n:,} answers: {ns['rows']:.0f} ns a row, with clusters {ns['clusters']:.0f}" + (f", in memory {ns['peer']:.0f} (ratio {r['ratio']['median']:.2f})" if "peer" in ns else "")
              + f"; intervals {r['intervals']['rows']['median']:.2f} s; peak {r['peak']['rows'] / 1e6:.0f} and {r['peak']['clusters'] / 1e6:.0f} MB" + (f", in memory {r['peak']['peer'] / 1e6:.0f}" if "peer" in r["peak"] else "")
              + ("" if r["check"]["agree"] else "; THE ANSWERS DIFFER"), flush=True)
    flat = {w: rows[-1]["processor_per_row"][w]["median"] / next(r for r in rows if r["n"] >= 10**6 or r is rows[-1])["processor_per_row"][w]["median"] for w in ("rows", "clusters")}
    where = machine()
    where["versions"] |= {p: version(p) for p in ("pandas", "pyarrow")}
    print(f"a row of the largest takes {flat['rows']:.2f} and {flat['clusters']:.2f} times what one of a million takes (target {FLAT})")
    if len(sys.argv) == 1: OUT.write_text(json.dumps(dict(machine=where, flat=flat, flat_target=FLAT, rows=rows), indent=1) + "\n")
    if not all(r["check"]["agree"] for r in rows): sys.exit("the answers differ")

if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]: print(json.dumps(ours(sys.argv[3], (sys.argv[4:] or [None])[0]) if sys.argv[2] == "ours" else in_memory(sys.argv[3])))
    else: main()
