"""One comparison with a peer, in this process: `python measure.py NAME` prints its record as JSON.  `run.py` runs them all."""
import json, os, resource, statistics, sys, time, warnings

for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"): os.environ[f"{name}_NUM_THREADS"] = "1"  # before numpy is loaded
if hasattr(os, "sched_setaffinity"): os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core

import numpy as np
from plcal_study.measure.bootstrap import bootstrap
from plcal_study.measure.calibrators import fit_temperature
from plcal_study.measure.inference import delong
from plcal_study.measure.metrics import auroc, aurc, ece, reliability
from plcal_study.measure.predictions import Predictions, from_logits


# ---- data: seeded, so that a second run measures the same ----------------------------------------------------------
def graded(n, ties=False):
    "Confidences, and grades of a model that is somewhat overconfident."
    rng = np.random.default_rng(0)
    conf = rng.beta(4, 2, n)
    if ties: conf = np.round(conf, 3)
    return conf, rng.random(n) < conf ** 1.3

def logits(n, k, t=2.3):
    "Logits that are `t` times those which the labels were drawn from."
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(n, k)) * 1.5).astype(np.float32)
    label = (z + rng.gumbel(size=(n, k))).argmax(1)
    return z * np.float32(t), label

def mean_nll(z, label, t):
    "Mean negative log-likelihood at temperature `t`, in double precision."
    z = z.astype(float) / t
    return float((np.logaddexp.reduce(z, 1) - z[np.arange(len(z)), label]).mean())


# ---- the clock -----------------------------------------------------------------------------------------------------
def seconds(f, calls):
    start = time.perf_counter()
    for _ in range(calls): f()
    return (time.perf_counter() - start) / calls

def compare(ours, peer, repeats=11, calls=1):
    "Both in turn, first one then the other first; a ratio for each pair."
    a, b = ours(), peer()  # warm, and the two answers
    pairs = []
    for i in range(repeats):
        if i % 2: y = seconds(peer, calls); x = seconds(ours, calls)
        else: x = seconds(ours, calls); y = seconds(peer, calls)
        pairs.append((x, y))
    x, y = zip(*pairs, strict=True)
    return a, b, dict(ours=spread(x), peer=spread(y), ratio=spread([q / p for p, q in pairs]), repeats=repeats, calls=calls)

def spread(x): return dict(median=statistics.median(x), min=min(x), max=max(x))

def agree(what, a, b, within):
    "How far apart the two answers are, and whether that is near enough."
    gap = float(np.abs(np.subtract(a, b)).max())
    return dict(what=what, ours=np.asarray(a, float).tolist(), peer=np.asarray(b, float).tolist(), gap=gap, within=within, agree=gap <= within)


# ---- calibration error ---------------------------------------------------------------------------------------------
def ece_numpy(n=1_000_000):
    "The shortest code that gives the number: no checks, no exact edges, one pass over whole arrays."
    conf, correct = graded(n)
    def bare(): return np.abs(np.bincount((conf * 15).astype(np.intp), conf - correct, 15)).sum() / n
    a, b, times = compare(lambda: ece(conf, correct), bare, 31, 5)
    return dict(task="ECE, 15 bins", n=n, peer_name="bare numpy bincount", target=1 / 1.2, check=agree("ECE", a, b, 1e-12), **times)

def ece_torchmetrics(n=1_000_000):
    import torch
    from torchmetrics.functional.classification import binary_calibration_error
    torch.set_num_threads(1)
    conf, correct = graded(n)
    p, y = torch.from_numpy(conf), torch.from_numpy(correct.astype(np.int64))
    a, b, times = compare(lambda: ece(conf, correct), lambda: float(binary_calibration_error(p, y, n_bins=15, norm="l1")), 21, 2)
    return dict(task="ECE, 15 bins", n=n, peer_name="torchmetrics", target=10, check=agree("ECE", a, b, 1e-6), **times)


# ---- ranking -------------------------------------------------------------------------------------------------------
def auroc_sklearn(n=1_000_000, ties=False):
    from sklearn.metrics import roc_auc_score
    score, correct = graded(n, ties)
    a, b, times = compare(lambda: auroc(score, correct), lambda: roc_auc_score(correct, score), 11)
    task = "AUROC, three decimals (ties)" if ties else "AUROC"
    return dict(task=task, n=n, peer_name="scikit-learn", target=5, check=agree("AUROC", a, b, 1e-12), **times)

def auroc_ties_sklearn(n=1_000_000): return auroc_sklearn(n, True)

def midranks(x):
    "Ranks from 1, ties sharing their mean: the walk over the sorted values of Sun and Xu (2014)."
    order = np.argsort(x)
    z, rank, i = x[order], np.empty(len(x)), 0
    while i < len(z):
        j = i + 1
        while j < len(z) and z[j] == z[i]: j += 1
        rank[i:j] = (i + j + 1) / 2
        i = j
    out = np.empty(len(x))
    out[order] = rank
    return out

def fast_delong(scores, correct):
    "AUROCs and their covariance by midranks: Sun and Xu (2014), IEEE Signal Processing Letters 21(11)."
    m, n, auc, v10, v01 = correct.sum(), (~correct).sum(), [], [], []
    for s in scores:
        x, y = s[correct], s[~correct]
        tz, tx, ty = midranks(np.concatenate([x, y])), midranks(x), midranks(y)
        auc.append((tz[:m].sum() / m - (m + 1) / 2) / n)
        v10.append((tz[:m] - tx) / n)
        v01.append(1 - (tz[m:] - ty) / m)
    return np.array(auc), np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n

def delong_sun_xu(n=1_000_000):
    score, correct = graded(n)
    other = score + np.random.default_rng(1).normal(0, .1, n)
    both = np.stack([score, other])
    def ours(): d = delong(both, correct); return np.r_[d.auc, d.cov.ravel() * n]
    def peer(): auc, cov = fast_delong(both, correct); return np.r_[auc, cov.ravel() * n]
    a, b, times = compare(ours, peer, 7)
    return dict(task="DeLong, two models", n=n, peer_name="fast DeLong (Sun and Xu 2014) in Python", target=3, check=agree("AUROCs, and n times their covariance", a, b, 1e-8), **times)

def bootstrap_sklearn(n=2000, draws=1000):
    from sklearn.metrics import roc_auc_score
    from sklearn.utils import resample
    score, correct = graded(n)
    def loop():
        rng = np.random.RandomState(0)
        d = []
        for _ in range(draws):
            i = resample(np.arange(n), random_state=rng)
            d.append(roc_auc_score(correct[i], score[i]))
        return np.r_[roc_auc_score(correct, score), np.quantile(d, [.025, .975])]
    def ours(): i = bootstrap(auroc, score, correct, draws=draws); return np.r_[i.estimate, i.lo, i.hi]
    a, b, times = compare(ours, loop, 7)
    return dict(task=f"bootstrap interval of AUROC, {draws} resamples", n=n, peer_name="a loop over scikit-learn", target=20,
                check=agree("AUROC and both ends (chance apart)", a, b, .005), **times)


# ---- temperature ---------------------------------------------------------------------------------------------------
def temperature(peer_name, target, fit, n, k):
    "`fit` takes logits and labels to a temperature; the answers compared are the NLLs, in double precision."
    z, label = logits(n, k)
    p = from_logits(z, label, meta=dict(split="val"))
    a, b, times = compare(lambda: fit_temperature(p).t, lambda: fit(z, label), 7)
    check = agree("mean NLL", mean_nll(z, label, a), mean_nll(z, label, b), 1e-7)
    check.update(t_ours=float(a), t_peer=float(b), agree=check["ours"] <= check["peer"] + 1e-7)  # a peer may stop early: ours must not be worse
    return dict(task=f"temperature, {k} options", n=n, peer_name=peer_name, target=target, check=check, **times)

def temperature_torch(n=100_000, k=100):
    import torch
    torch.set_num_threads(1)
    def fit(z, label):
        z, label, log_t = torch.from_numpy(z), torch.from_numpy(label), torch.zeros((), requires_grad=True)
        step = torch.optim.LBFGS([log_t], lr=1, max_iter=100, line_search_fn="strong_wolfe")
        def loss():
            step.zero_grad()
            out = torch.nn.functional.cross_entropy(z / log_t.exp(), label)
            out.backward()
            return out
        step.step(loss)
        return float(log_t.detach().exp())
    return temperature("torch, L-BFGS with line search", 10, fit, n, k)

def temperature_sklearn(n=100_000, k=100):
    from sklearn.calibration import _TemperatureScaling  # what CalibratedClassifierCV(method='temperature') calls, without its overhead
    return temperature("scikit-learn", 20, lambda z, label: 1 / float(_TemperatureScaling().fit(z, label).beta_), n, k)


# ---- memory --------------------------------------------------------------------------------------------------------
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # bytes; Linux counts in KiB

def memory_arrays(n=10_000_000):
    start, (conf, correct) = peak(), graded(n)
    t = time.perf_counter()
    values = dict(ece=ece(conf, correct), auroc=auroc(conf, correct), aurc=aurc(conf, correct), bins=len(reliability(conf, correct).n))
    return dict(task="ece, auroc, aurc and reliability of two arrays", n=n, start=start, peak=peak(), target=2e9, seconds=time.perf_counter() - t, values=values)

def memory_predictions(n=10_000_000):
    start, (conf, correct) = peak(), graded(n)
    t = time.perf_counter()
    p = Predictions({}, np.arange(n), correct, conf)
    values = dict(ece=ece(p.conf, p.correct), auroc=auroc(p.conf, p.correct), aurc=aurc(p.conf, p.correct), bins=len(reliability(p.conf, p.correct).n))
    return dict(task="the same of Predictions, made in the process", n=n, start=start, peak=peak(), target=2e9, seconds=time.perf_counter() - t, values=values)


SPEED = [ece_numpy, ece_torchmetrics, auroc_sklearn, auroc_ties_sklearn, delong_sun_xu, bootstrap_sklearn, temperature_torch, temperature_sklearn]
MEMORY = [memory_arrays, memory_predictions]

if __name__ == "__main__":
    warnings.simplefilter("error")
    todo = {f.__name__: f for f in SPEED + MEMORY}[sys.argv[1]]
    print(json.dumps(dict(name=sys.argv[1], **todo(*map(int, sys.argv[2:])))))
