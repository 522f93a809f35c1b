"""How fast does the testbed write text? `python benchmarks/testbed.py [words]` writes results/testbed.json.

Ours is `lm.testbed.corpus`, read to its end; the peer is the same distribution in plain Python, one text at a time with
`random.choices` and its cumulative weights made beforehand (ours makes its own within the time).  One core, one thread, in turns; each pair of turns gives one
ratio.  Before anything is said about speed, the word frequencies of the two are compared."""
import itertools, json, os, platform, random, statistics, sys, time

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ.setdefault(f"{name}_NUM_THREADS", "1")

from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
import numpy as np
from plcal_study.lm.testbed import corpus, pair_world, text_world

OUT = Path(__file__).resolve().parent / "results" / "testbed.json"
TARGET, TURNS = 1e6, 7 # words per second on one core


# ---- the peer: the definition, a text at a time --------------------------------------------------------------------
def plain_texts(w):
    words, p = w.words.tolist(), np.exp(w.logp)
    def cumulative(y, t):
        own = [p[y, v] * ((1 - w.topical) if w.topic[v] < 0 else w.topical * ((1 - w.stray) * (w.topic[v] == t) + w.stray / len(w.mix))) for v in range(len(words))]
        return list(itertools.accumulate(own))
    table = {(y, t): cumulative(y, t) for y in range(w.k) for t in range(len(w.mix))}
    classes, prior, topics, mix = range(w.k), w.prior.tolist(), range(len(w.mix)), w.mix.tolist()
    def stream(n, seed):
        rng, count = random.Random(seed), 0
        while count < n:
            y, t = rng.choices(classes, prior)[0], rng.choices(topics, mix)[0]
            text = rng.choices(words, cum_weights=table[y, t], k=rng.randint(*w.length))
            count += len(text)
            yield " ".join(text)
    return stream

def plain_pairs(w):
    entities, values, hedges = w.entities.tolist(), w.values.tolist(), w.hedges.tolist()
    cells, weights = [*itertools.product(range(3), range(len(hedges)), range(3))], w.joint.ravel().tolist()
    def stream(n, seed):
        rng, count = random.Random(seed), 0
        while count < n:
            who = rng.sample(entities, w.facts)
            what = {e: rng.choice(values) for e in who}
            premise = " , ".join(f"{e} is {v}" for e, v in what.items())
            for _ in range(w.per_premise):
                _, h, r = rng.choices(cells, weights)[0]
                e = rng.choice([x for x in entities if x not in what]) if r == 1 else rng.choice(who)
                v = what[e] if r == 0 else rng.choice([x for x in values if r == 1 or x != what[e]])
                text = f"{premise} ? {hedges[h]} {e} is {v} ?"
                count += 4 * w.facts + 5
                yield text
    return stream

# ---- measuring -----------------------------------------------------------------------------------------------------
def read(texts):
    "Seconds of the processor a word, over the whole stream; others who use the machine do not count."
    words, start = 0, time.process_time()
    for t in texts: words += t.count(" ") + 1
    return (time.process_time() - start) / words

def gap(a, b):
    "The largest difference in the frequency of a word, over its standard error."
    a, b = (Counter(w for t in x for w in t.split()) for x in (a, b))
    n, m = a.total(), b.total()
    return max(abs(a[w] / n - b[w] / m) / ((a[w] + b[w]) / (n + m) * (1 / n + 1 / m))**.5 for w in a | b if a[w] + b[w] > 100)

def spread(x): return dict(median=statistics.median(x), min=min(x), max=max(x))

def row(name, world, plain, n):
    ours, peer, plain = [], [], plain(world)
    for turn in range(TURNS):
        ours.append(1 / read(corpus(world, n, seed=turn, named=0)))
        peer.append(1 / read(plain(n // 4, turn)))
    apart = gap(corpus(world, 300_000, seed=100, named=0), plain(300_000, 100))
    return dict(task=name, words=n, ours=spread(ours), peer=spread(peer), ratio=spread([a / b for a, b in zip(ours, peer, strict=True)]), target=TARGET,
                check=dict(gap=apart, agree=apart < 8)) # words of one text are not independent, so the largest of hundreds passes 3 or 4

def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    return dict(cpu=cpu, cores=os.cpu_count(), system=platform.system(), versions=dict(python=platform.python_version(), numpy=version("numpy")),
                load_1min=round(os.getloadavg()[0], 2), date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

if __name__ == "__main__":
    n = int(float(sys.argv[1])) if len(sys.argv) > 1 else 2_000_000
    record = dict(machine=machine(), turns=TURNS, rows=[
        row("text world, 400 words", text_world(), plain_texts, n), row("text world, 10 classes, 20,000 words", text_world(k=10, vocab=20_000, topics=10), plain_texts, n),
        row("pair world", pair_world(), plain_pairs, n)])
    for r in record["rows"]:
        print(f"{r['task']}: {r['ours']['median'] / 1e6:.3g} M words/s [{r['ours']['min'] / 1e6:.3g}, {r['ours']['max'] / 1e6:.3g}] (target 1), plain Python {r['peer']['median'] / 1e6:.3g}; "
              f"ratio {r['ratio']['median']:.3g} [{r['ratio']['min']:.3g}, {r['ratio']['max']:.3g}]; largest gap in a frequency {r['check']['gap']:.1f} standard errors")
    if len(sys.argv) == 1: OUT.write_text(json.dumps(record, indent=1) + "\n")
    if not all(r["check"]["agree"] for r in record["rows"]): sys.exit("the two do not write the same texts")
