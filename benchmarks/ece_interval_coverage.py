"""How often do intervals of ECE cover the true ECE? `python benchmarks/ece_interval_coverage.py [repetitions]` writes results/ece_interval_coverage.json."""
import json, sys
from pathlib import Path
import numpy as np
from plcal_study.measure.bootstrap import bootstrap, ece_interval
from plcal_study.measure.metrics import bin_ids, ece

OUT = Path(__file__).parent / 'results' / 'ece_interval_coverage.json'
CASES = [(1, 500), (1, 2000), (1.1, 1000), (1.3, 500), (1.3, 2000), (2, 500), (2, 2000), (.7, 500)]


def sharpen(p, t): return 1 / (1 + (1 / p - 1)**t) # log-odds times t


def true_ece(t, bins=15, m=2_000_000):
    p = .5 + (np.arange(m) + .5) / (2 * m)
    return 0. if t == 1 else float(np.abs(np.bincount(bin_ids(sharpen(p, t), bins), sharpen(p, t) - p)).sum() / m)


def row(t, n, times, draws):
    truth, plug_in = true_ece(t), []
    ends: dict = {'percentile': [], 'basic': [], 'inverted': []}
    for seed in range(times):
        rng = np.random.default_rng([seed, n, int(10 * t)])
        p = rng.uniform(.5, 1, n)
        data = sharpen(p, t), rng.random(n) < p
        plug_in.append(ece(*data))
        for method in ('percentile', 'basic'): ends[method].append(bootstrap(ece, *data, method=method, draws=draws, seed=seed)[1:3])
        ends['inverted'].append(ece_interval(*data, draws=draws, seed=seed)[1:3])
    def summary(x):
        lo, hi = np.maximum(np.array(x).T, 0) if len(x) else ([], [])
        return {'covered': float(np.mean((lo <= truth) & (truth <= hi))), 'too_high': float(np.mean(lo > truth)), 'too_low': float(np.mean(hi < truth)),
                'width': float(np.mean(hi - lo))}
    return {'times': t, 'n': n, 'true': truth, 'plug_in': float(np.mean(plug_in)), **{k: summary(v) for k, v in ends.items()}}


if __name__ == '__main__':
    times, draws = int(sys.argv[1]) if len(sys.argv) > 1 else 400, 500
    rows = [row(t, n, times, draws) for t, n in CASES]
    for r in rows: print(r)
    OUT.write_text(json.dumps({'level': .95, 'bins': 15, 'repetitions': times, 'draws': draws, 'rows': rows}, indent=1) + '\n')
