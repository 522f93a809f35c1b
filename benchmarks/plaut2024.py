"""From text files to tables: ours as a whole process, and the scripts of Plaut et al. 2024 beside it when `--authors` names a checkout of them.

Their repository is github.com/bplaut/llm-calibration-and-correctness-prediction, commit c176fdd; nothing of it is kept here.
Their steps are those of do_post_processing.sh, and the bootstrap that it leaves out (statistical_tests.py -o 0)."""
import argparse, json, os, resource, statistics, subprocess, sys, tempfile, time
from pathlib import Path
import pandas as pd
from run import machine, results, root

SETS = ["arc", "hellaswag", "mmlu", "truthfulqa", "winogrande"]


def spent(command, cwd, env=None):
    "Wall seconds and processor seconds of a whole process."
    def cpu(): u = resource.getrusage(resource.RUSAGE_CHILDREN); return u.ru_utime + u.ru_stime
    before, start = cpu(), time.perf_counter()
    p = subprocess.run([str(c) for c in command], cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if p.returncode: raise SystemExit(f"{' '.join(map(str, command[:4]))} failed:\n{p.stderr[-2000:]}")
    return dict(wall=time.perf_counter() - start, cpu=cpu() - before)

def ours(out, data, figures=False):
    command = [Path(sys.executable).parent / "plcal", "reproduce", "plaut2024", "--out", out] + ([] if figures else ["--no-figures"])
    return spent(command, root, {"PLCAL_DATA": str(data), "MPLBACKEND": "Agg"})

def spread(runs, key): x = [r[key] for r in runs]; return dict(median=statistics.median(x), min=min(x), max=max(x), runs=len(x))

def steps(authors):
    "Name and command of each of their steps, in their order."
    texts, run = sorted((authors / "main_results").glob("*.txt")), [sys.executable]
    for name, sets in [("main_figs", ",".join(SETS))] + [(s, s) for s in SETS]:
        yield f"plot_data {name}", [*run, authors / "plot_data.py", f"all_figs/{name}", sets, "False", *texts]
    yield "copy_important_figs", [*run, authors / "copy_important_figs.py", "all_figs", "paper_figs"]
    for o in (1, 2, 3, 4, 0): yield f"statistical_tests -o {o}", [*run, authors / "statistical_tests.py", "-o", o, "-d", authors / "main_results"]

def same(theirs, out):
    "Largest differences of the 260 cells: AUROC, U, p, and the ends of two bootstraps with draws of their own."
    a = pd.read_csv(out / "cells.csv").assign(prompt=lambda d: d["prompt"] + "_prompt", value=lambda d: d["score"] + "_logits")
    key = ["prompt", "value", "dataset", "model"]
    m = a.merge(pd.read_csv(theirs / "stat_tests_output" / "mann_whitney.csv"), on=key).merge(pd.read_csv(theirs / "stat_tests_output" / "confidence_intervals.csv"), on=key)
    def gap(x, y): return float((m[x] - m[y]).abs().max())
    return dict(cells=len(m), auroc=gap("auroc", "sample_auroc"), u=gap("u", "u_stat"), p=gap("p", "p_value"),
                ci_max=max(gap("auroc_lo", "ci_lb"), gap("auroc_hi", "ci_ub")),
                ci_mean=float(pd.concat([(m["auroc_lo"] - m["ci_lb"]).abs(), (m["auroc_hi"] - m["ci_ub"]).abs()]).mean()))

def alone(tmp, data, repeats):
    "Ours, again and again."
    at, runs, figures = machine(), [ours(tmp / "alone", data) for _ in range(repeats)], [ours(tmp / "alone", data, True) for _ in range(3)]
    return dict(machine=at, wall=spread(runs, "wall"), cpu=spread(runs, "cpu"), with_figures=spread(figures, "wall"))

def beside(tmp, authors):
    "Each of their steps once, ours before each, from the very same text files."
    at, data, out, work, runs, theirs = machine(), tmp / "data", tmp / "ours", tmp / "theirs", [], {}
    (data / "plaut2024").mkdir(parents=True)
    (data / "plaut2024" / "main_results").symlink_to(authors / "main_results")
    work.mkdir()
    for name, command in steps(authors):
        runs.append(ours(out, data))
        theirs[name] = spent(command, work, {"MPLBACKEND": "Agg"})
        print(f"{name}: {theirs[name]['wall']:.1f} s; ours, all of it: {runs[-1]['wall']:.1f} s", flush=True)
    wall, cpu, total = spread(runs, "wall"), spread(runs, "cpu"), {k: sum(t[k] for t in theirs.values()) for k in ("wall", "cpu")}
    return dict(machine=at, wall=wall, cpu=cpu, theirs=theirs, total=total, ratio={"wall": total["wall"] / wall["median"], "cpu": total["cpu"] / cpu["median"]},
                same=same(work, out))

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--authors", type=Path, help="a checkout of the authors' repository, with its scripts and main_results/")
    ap.add_argument("--repeats", type=int, default=7)
    a = ap.parse_args()
    path, data = results / "plaut2024.json", os.environ.get("PLCAL_DATA")
    record = json.loads(path.read_text()) if path.exists() else {} # what is not measured now is kept, with its own date
    with tempfile.TemporaryDirectory() as tmp:
        if data and (Path(data) / "plaut2024").exists():
            record["alone"] = r = alone(Path(tmp), data, a.repeats)
            print(f"plaut2024, whole process: {r['wall']['median']:.2f} s [{r['wall']['min']:.2f}, {r['wall']['max']:.2f}]; with figures {r['with_figures']['median']:.1f} s")
        else: print("plaut2024 left out: its data are not there; set PLCAL_DATA")
        if a.authors:
            record["beside"] = r = beside(Path(tmp), a.authors.resolve())
            print(f"the authors' scripts: {r['total']['wall']:.0f} s, ratio {r['ratio']['wall']:.3g}, by processor seconds {r['ratio']['cpu']:.3g}; {r['same']}")
    if record: path.write_text(json.dumps(record, indent=1) + "\n")

if __name__ == "__main__": main()
