"Protects the calibrators: each against its definition or scikit-learn, at its limits, and where the truth is known."
import json
from dataclasses import replace
from pathlib import Path
import numpy as np
import pytest
from scipy.stats import t as student
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.calibration import _TemperatureScaling
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from plcal_study.measure import calibrators as C
from plcal_study.measure.calibrators import (CALIBRATORS, cross_fit, fit_beta, fit_histogram, fit_isotonic, fit_platt, fit_scaling_binning,
                                             fit_temperature, fit_temperature_chen, fit_vector, pool, repair_report)
from plcal_study.measure.metrics import brier, brier_top, nll, nll_top
from plcal_study.measure.predictions import from_grades, from_logits, probs_of, select

GOLDEN = json.loads((Path(__file__).parent/'golden.json').read_text())
VAL = dict(split='val')
BINARY = [m for m in CALIBRATORS if m not in ('temperature', 'vector')]


def golden(name):
    "The data of a golden case: labels drawn from softmax(z), logits z / T."
    g = GOLDEN[name]
    rng = np.random.default_rng(g['seed'])
    z = rng.normal(size=(g['n'], g['k'])) * 1.5
    label = np.array([rng.choice(g['k'], p=q) for q in softmax(z, axis=1)])
    return from_logits(z / g['T'], label, meta=VAL)


def world(seed, n=3000, k=4, times=3., **meta):
    "Labels from softmax(z), logits reported as `times` z."
    rng = np.random.default_rng([seed, 1])
    z = rng.normal(0, 1.5, (n, k))
    return from_logits(times * z, (z + rng.gumbel(size=(n, k))).argmax(1), meta=VAL | meta)


def graded(seed, n=400, decimals=None, a=.6, b=-.4):
    "Confidences whose chance of being right is the sigmoid of a line in their log-odds."
    rng = np.random.default_rng([seed, 2])
    conf = rng.uniform(.2, .94, n)
    if decimals: conf = conf.round(decimals)
    return from_grades(conf, rng.random(n) < expit(a * np.log(conf / (1 - conf)) + b), meta=VAL)


# temperature

@pytest.mark.parametrize('name', GOLDEN)
def test_temperature_golden(name):
    g, t = GOLDEN[name], fit_temperature(golden(name))
    assert t.t == pytest.approx(g['T_star'], rel=1e-7) and t.t == pytest.approx(g['sk_T'], rel=1e-6)
    assert t.nll == pytest.approx(g['T_star_nll'], rel=1e-10)
    assert (t.flag, t.n, t.on) == ('', g['n'], 'logits')


@pytest.mark.parametrize('seed,k,times', [(0, 2, .3), (1, 5, 1), (2, 20, 7)])
def test_temperature_is_the_minimum(seed, k, times):
    "Against scipy's scalar search and scikit-learn's own fit."
    p = world(seed, 1000, k, times)
    def loss(u): return -log_softmax(p.logits / np.exp(u), axis=1)[np.arange(len(p)), p.label].mean()
    twin = minimize_scalar(loss, bounds=(-5, 5), method='bounded', options=dict(xatol=1e-10))
    t = fit_temperature(p)
    assert t.t == pytest.approx(np.exp(twin.x), rel=1e-6) and t.nll == pytest.approx(twin.fun, rel=1e-12)
    assert t.t == pytest.approx(1 / _TemperatureScaling().fit(p.logits, p.label).beta_, rel=1e-5)
    assert nll(t(p).logits, p.label) == pytest.approx(t.nll, rel=1e-12)


@pytest.mark.parametrize('times', [.2, 1., 3., 30.])
def test_temperature_recovers_the_truth(times):
    t = fit_temperature(world(3, 8000, times=times))
    assert t.lo < times < t.hi and t.t == pytest.approx(times, rel=.06)


def test_interval_covers():
    "Of 200 nominal 95% intervals, about 190 hold the truth."
    fits = [fit_temperature(world([4, s], 200, 3)) for s in range(200)]
    assert 181 <= sum(t.lo < 3 < t.hi for t in fits) <= 198


def test_interval_with_clusters():
    "Each answer five times over: five times the data, and the interval must not be deceived by it."
    p = world(5, 600)
    rows = np.tile(np.arange(600), 5)
    five = replace(p, uid=np.arange(3000).astype(str), correct=p.correct[rows], conf=p.conf[rows], logits=p.logits[rows], label=p.label[rows], scores={})
    alone, naive, clustered = fit_temperature(p), fit_temperature(five), fit_temperature(replace(five, cluster=rows.astype(str)))
    assert alone.t == pytest.approx(naive.t, rel=1e-8) == pytest.approx(clustered.t, rel=1e-8)
    assert np.log(naive.hi / naive.lo) == pytest.approx(np.log(alone.hi / alone.lo) / 5 ** .5, rel=1e-4)
    assert np.log(clustered.hi / clustered.lo) == pytest.approx(np.log(alone.hi / alone.lo), rel=.1)


def test_few_clusters_reach_further():
    "The interval of k clusters has the t quantile of k − 1 degrees of freedom."
    p = world(5, 600)
    got = {k: fit_temperature(replace(p, cluster=(np.arange(600) % k).astype(str))) for k in (4, 600)}
    z, right = C._label_logits(p.logits.astype(float), p.label)
    b = 1 / got[4].t
    nll, slope, *_ = C._rows(z, right, b)
    for k, t in got.items():
        se = C._se_mean(slope, np.arange(600) % k) / C._rows(z, right, b)[2].mean()
        assert np.log(t.hi / t.t) == pytest.approx(student.ppf(.975, k - 1) * se * t.t, rel=.01)


def test_large_data_take_the_fast_path():
    "Float32 blocks after a start on some rows: the same temperature to 1e-6, the same NLL to 1e-9."
    p = world(6, 24_000, 50, 2.3)
    def slope(b): return ((softmax(b * p.logits, axis=1) * p.logits).sum(1) - p.logits[np.arange(len(p)), p.label]).mean()
    lo, hi = .1, 1.
    for _ in range(40): lo, hi = ((lo + hi) / 2, hi) if slope((lo + hi) / 2) < 0 else (lo, (lo + hi) / 2)
    for q in (p, replace(p, logits=p.logits.astype(np.float32))):
        t = fit_temperature(q)
        assert t.t == pytest.approx(1 / lo, rel=2e-6)
        assert t.nll == pytest.approx(nll(p.logits * lo, p.label), abs=1e-7)


def test_float32_is_fitted_in_double():
    p = world(7, 1000)
    assert fit_temperature(replace(p, logits=p.logits.astype(np.float32))).t == pytest.approx(fit_temperature(p).t, rel=1e-6)


def test_ragged_rows_are_their_own_options():
    "Padding, and options of probability 0, change nothing; a loop over rows is the definition."
    p = world(8, 500, 4)
    wide = np.hstack([p.logits, np.full((500, 2), np.nan)])
    never = np.hstack([p.logits, np.full((500, 2), -np.inf)])
    t = fit_temperature(p)
    for z in (wide, never): assert fit_temperature(replace(p, logits=z)).t == pytest.approx(t.t, rel=1e-10)
    rng = np.random.default_rng(0)
    z = p.logits.copy()
    z[rng.random(500) < .5, 3] = np.nan
    keep = p.label < (~np.isnan(z)).sum(1)
    ragged = from_logits(z[keep], p.label[keep], meta=VAL)
    def loss(b): return -np.mean([log_softmax(b * row[~np.isnan(row)])[y] for row, y in zip(ragged.logits, ragged.label, strict=True)])
    assert 1 / fit_temperature(ragged).t == pytest.approx(minimize_scalar(loss, bounds=(.05, 2), method='bounded', options=dict(xatol=1e-9)).x, rel=1e-5)
    assert_allclose(np.nansum(fit_temperature(ragged)(ragged).probs, 1), 1)


def test_shifts_and_huge_logits():
    "Logits hold up to a shift per row; a label 1000 nats below the top does not overflow."
    p = world(9, 500)
    shift = np.random.default_rng(0).normal(0, 300, (500, 1))
    assert fit_temperature(replace(p, logits=p.logits + shift)).t == pytest.approx(fit_temperature(p).t, rel=1e-7)
    assert fit_temperature(replace(p, logits=p.logits * 50)).t == pytest.approx(50 * fit_temperature(p).t, rel=1e-7)
    far = from_logits(np.tile([[900., 0.]], (4, 1)), [0, 0, 0, 1], meta=VAL)
    assert fit_temperature(far).t == pytest.approx(900 / np.log(3), rel=1e-7)
    assert_allclose(C._rows(far.logits, np.zeros(4), 2.)[:, 0], [1800, 900, 0, 0]) # the overflow itself


@pytest.mark.parametrize('logits,label,flag,t', [
    ([[2., 0.], [0., 1.]], [0, 1], 'separable', 1e-3), ([[2., 2.], [0., 1.]], [1, 1], 'separable', 1e-3), ([[2., 0.], [0., 1.]], [1, 0], 'uninformative', 1e3),
    ([[1., 0.], [1., 0.]], [0, 1], 'uninformative', 1e3), ([[2., 2.], [1., 1.]], [0, 1], 'flat', 1.), ([[2., np.nan]], [0], 'flat', 1.),
    ([[1e-5, 0.]] * 4, [0, 0, 0, 1], 'bound', 1e-3), ([[1e4, 0.]] * 4, [0, 0, 0, 1], 'bound', 1e3)])
def test_temperature_flags(logits, label, flag, t):
    "No finite optimum: the fit says so, with a positive temperature, and the flag follows the predictions."
    p = from_logits(logits, label, meta=VAL)
    got = fit_temperature(p)
    assert (got.flag, got.t, got.lo, got.hi) == (flag, pytest.approx(t), 0., np.inf)
    assert got(p).meta['flag'] == f'temperature: {flag}' and np.isfinite(got(p).conf).all() and np.isfinite(got.nll)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(.01, 100))
def test_temperature_never_changes_an_answer(seed, k, times):
    p = world(seed, 60, k, times)
    q = fit_temperature(p)(p)
    assert_array_equal(q.logits.argmax(1), p.logits.argmax(1))
    assert_array_equal(q.correct, p.correct)
    assert nll(q.logits, p.label) <= nll(p.logits, p.label) + 1e-9
    again = np.random.default_rng(seed).permutation(60)
    assert fit_temperature(select(p, again)).t == pytest.approx(fit_temperature(p).t, rel=1e-9)


def test_temperature_of_a_confidence_is_a_line_through_the_origin():
    p = graded(0)
    def loss(b): return -np.log(expit(np.where(p.correct, 1, -1) * b * np.log(p.conf / (1 - p.conf)))).mean()
    t = fit_temperature(p)
    assert t.on == 'conf' and 1 / t.t == pytest.approx(minimize_scalar(loss, bounds=(.01, 5), method='bounded', options=dict(xatol=1e-9)).x, rel=1e-6)
    assert_allclose(t(p).conf, expit(np.log(p.conf / (1 - p.conf)) / t.t))


# the temperature of Chen et al.

def torch_path(logits, label, steps, dtype='float64'):
    "The source's fit in PyTorch: one parameter, all rows in each step, the gradient by autograd."
    torch = pytest.importorskip('torch')
    z, y = torch.tensor(logits, dtype=getattr(torch, dtype)).nan_to_num(nan=-1e30, neginf=-1e30), torch.tensor(label)
    t = torch.nn.Parameter(torch.ones(1, dtype=z.dtype) * 1.5)
    optimizer, path = torch.optim.AdamW([t], lr=.01), [1.5]
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(z / t, y).backward()
        optimizer.step()
        path.append(t.item())
    return path

def ragged(seed, n=60):
    "Rows of two to four options, one option impossible."
    z = world(seed, n).logits.copy()
    z[::3, 3], z[::6, 2], z[1, 1] = np.nan, np.nan, -np.inf
    return from_logits(z, np.zeros(n, int), meta=VAL)

CHEN = {'overconfident': world(20, 200), 'calibrated': world(20, 100, times=1.), 'timid': world(20, 100, 2, times=.3), 'far off': world(20, 100, times=12.),
        'ragged': ragged(20), 'separable': from_logits([[2., 0.], [0., 1.]], [0, 1], meta=VAL), 'uninformative': from_logits([[2., 0.], [0., 1.]], [1, 0], meta=VAL),
        'flat': from_logits([[2., 2.], [1., 1.]], [1, 0], meta=VAL), 'one option': from_logits([[1.], [2.]], [0, 0], meta=VAL)}

@pytest.mark.parametrize('name', CHEN)
def test_chen_is_the_adamw_of_torch(name):
    "Each step of the way, not the end alone."
    p = CHEN[name]
    z, right = C._label_logits(p.logits, p.label)
    assert_allclose(C._adamw(C._slope(z, right), 1.5, 1000), torch_path(p.logits, p.label, 1000), rtol=1e-9)

def test_chen_is_the_source_to_its_precision():
    "5000 steps as they took them, in double precision to 1e-6 and in their single precision nearly so."
    p = CHEN['overconfident']
    for dtype, rel in [('float64', 1e-6), ('float32', 1e-4)]: assert fit_temperature_chen(p).t == pytest.approx(torch_path(p.logits, p.label, 5000, dtype)[-1], rel=rel)

def test_slope_is_the_derivative():
    for p in (CHEN['overconfident'], CHEN['ragged']):
        z, right = C._label_logits(p.logits, p.label)
        for t in (.4, 1., 1.5, 7.):
            h = 1e-5 * t
            assert C._slope(z, right)(t) == pytest.approx((nll(p.logits / (t + h), p.label) - nll(p.logits / (t - h), p.label)) / (2 * h), rel=1e-5)

def test_adamw_by_hand():
    "The first step is one learning rate against the sign of the slope; without slope there is decay alone; a slope that is constant moves x by 0.01 a step."
    assert C._adamw(lambda x: 7., 1.5, 1)[-1] == pytest.approx(1.5 * .9999 - .01) and C._adamw(lambda x: -1e-3, 2., 1)[-1] == pytest.approx(2 * .9999 + .01, abs=1e-6)
    assert_allclose(C._adamw(lambda x: 0., 2., 300), 2 * .9999 ** np.arange(301))
    assert_allclose(C._adamw(lambda x: -3., 1., 200, decay=0.), 1 + .01 * np.arange(201))
    ended = C._adamw(lambda x: 1., .045, 100)
    assert len(ended) == 6 and ended[-1] <= 0 < ended[-2]
    assert len(C._adamw(lambda x: float('nan'), 1., 100)) == 2

@pytest.mark.parametrize('times', [.5, 1., 3.])
def test_chen_ends_below_the_optimum_because_of_the_decay(times):
    p = world(21, 300, times=times)
    best, chen, z = fit_temperature(p), fit_temperature_chen(p), C._label_logits(p.logits, p.label)
    assert best.t * .995 < chen.t < best.t * (1 - 1e-6) and C._adamw(C._slope(*z), 1.5, 5000, decay=0.)[-1] == pytest.approx(best.t, rel=1e-9)
    assert chen.nll == pytest.approx(nll(p.logits / chen.t, p.label)) and best.nll <= chen.nll < best.nll + 1e-4
    assert fit_temperature_chen(p, steps=100).t == C._adamw(C._slope(*z), 1.5, 100)[-1]

def test_chen_says_what_it_is():
    "Its flag goes with the predictions, beside that of the data; an interval it has none; answers stay."
    for name, flag in [('overconfident', 'adamw'), ('ragged', 'adamw'), ('flat', 'adamw, flat'), ('separable', 'adamw, separable'), ('uninformative', 'adamw, uninformative')]:
        p = CHEN[name]
        got = fit_temperature_chen(p, steps=50)
        assert (got.flag, got.lo, got.hi, got.on, got.n) == (flag, 0., np.inf, 'logits', len(p))
        q = got(p)
        assert q.meta['flag'] == f'temperature: {flag}' and q.meta['method'] == 'temperature'
        assert_array_equal(q.correct, p.correct); assert_allclose(q.logits, p.logits / got.t)
    assert 'temperature_chen' not in CALIBRATORS

def test_chen_sees_neither_order_nor_shift_nor_padding():
    p = world(22, 120)
    t = fit_temperature_chen(p, steps=400).t
    rng = np.random.default_rng(0)
    for q in (select(p, rng.permutation(120)), replace(p, logits=p.logits + rng.normal(0, 300, (120, 1))), replace(p, logits=np.hstack([p.logits, np.full((120, 2), np.nan)])),
              replace(p, logits=p.logits[:, ::-1], label=3 - p.label)):
        assert fit_temperature_chen(q, steps=400).t == pytest.approx(t, rel=1e-9)
    assert fit_temperature_chen(replace(p, logits=p.logits.astype(np.float32)), steps=400).t == pytest.approx(t, rel=1e-5)


# vector scaling

def test_vector_is_the_minimum():
    p = world(10, 600, 3)
    z = p.logits - p.logits.mean(1, keepdims=True)
    def loss(u): return -log_softmax(z * u[:3] + np.r_[0, u[3:]], axis=1)[np.arange(600), p.label].mean()
    twin = minimize(loss, np.r_[1., 1, 1, 0, 0], method='Nelder-Mead', options=dict(xatol=1e-8, fatol=1e-13, maxiter=20_000, maxfev=20_000))
    v = fit_vector(p)
    assert_allclose(v.w, twin.x[:3], atol=1e-5)
    assert_allclose(v.b - v.b[0], np.r_[0, twin.x[3:]], atol=1e-5)
    assert nll(v(p).logits, p.label) == pytest.approx(twin.fun, abs=1e-10)


def test_vector_recovers_the_truth_and_ignores_shifts():
    p = world(11, 20_000, 3)
    skew = replace(p, logits=p.logits + [1., 0, -1])
    v = fit_vector(skew)
    assert_allclose(v.w, 1 / 3, atol=.02)
    assert_allclose(v.b, [-1 / 3, 0, 1 / 3], atol=.05)
    shift = np.random.default_rng(0).normal(0, 5, (len(p), 1))
    again = fit_vector(replace(skew, logits=skew.logits + shift))
    assert_allclose(again.w, v.w, atol=1e-4)
    q = v(skew)
    assert_array_equal(q.correct, q.logits.argmax(1) == p.label)
    assert_allclose(q.conf, probs_of(q.logits).max(1))
    assert fit_vector(from_logits([[2., 0.], [0., 1.]], [0, 1], meta=VAL)).flag == 'separable'


# from confidence to confidence

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('fit,columns', [(fit_platt, lambda c: np.stack([np.log(c / (1 - c))], 1)), (fit_beta, lambda c: np.stack([np.log(c), -np.log(1 - c)], 1))])
def test_platt_and_beta_are_logistic_regressions(seed, fit, columns):
    p = graded(seed, 800)
    twin = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(columns(p.conf), p.correct)
    assert (twin.coef_ >= 0).all()
    got = fit(p)
    assert_allclose([*vars(got).values()][:-1], [*twin.coef_[0], twin.intercept_[0]], atol=2e-4)
    assert_allclose(got(p).conf, twin.predict_proba(columns(p.conf))[:, 1], atol=2e-5)


@pytest.mark.parametrize('seed', range(12))
def test_beta_is_the_constrained_optimum(seed):
    "Where a slope would be negative, against scipy's bounded search."
    rng = np.random.default_rng([seed, 3])
    conf = rng.uniform(.02, .98, 60)
    p = from_grades(conf, rng.random(60) < [.5, .5 + .4 * np.sign(conf - .5) * (conf > .5), 1 - conf][seed % 3], meta=VAL)
    x, y = np.stack([np.log(conf), -np.log(1 - conf), np.ones(60)], 1), p.correct
    def loss(w): return np.logaddexp(0, np.where(y, -1, 1) * (x @ w)).mean()
    twin = minimize(loss, [1., 1, 0], bounds=[(0, None), (0, None), (None, None)], method='L-BFGS-B', options=dict(ftol=1e-15, gtol=1e-10))
    got = fit_beta(p)
    assert got.a >= 0 and got.b >= 0 and loss([got.a, got.b, got.c]) <= twin.fun + 1e-9
    assert (got.flag == 'constant') == (got.a == got.b == 0)


def test_platt_recovers_the_truth():
    got = fit_platt(graded(1, 40_000))
    assert (got.a, got.b) == (pytest.approx(.6, abs=.05), pytest.approx(-.4, abs=.05))


def test_separable_grades_are_flagged_and_finite():
    "Also with a tie across the threshold, and for Platt the wrong way round; equal confidences are no case of it."
    cases = [([.6, .7, .8, .9], [0, 0, 1, 1], 'separable', 'separable'), ([.6, .7, .7, .9], [0, 0, 1, 1], 'separable', 'separable'),
             ([.6, .7, .8, .9], [1, 1, 0, 0], 'separable', 'constant'), ([.7] * 4, [0, 1, 1, 1], '', ''), ([.6, .7, .8, .9], [0, 1, 0, 1], '', '')]
    for conf, correct, platt, beta in cases:
        p = from_grades(conf, correct, meta=VAL)
        got = fit_platt(p), fit_beta(p)
        assert (got[0].flag, got[1].flag) == (platt, beta) or conf == [.7] * 4
        for q in (g(p) for g in got): assert 0 < q.conf.min() and q.conf.max() < 1
        assert q.conf.mean() == pytest.approx(np.mean(correct), abs=1e-6)
    smooth = fit_platt(from_grades([.6, .9], [0, 1], meta=VAL))
    assert_allclose(smooth.of(np.array([.6, .9])), [1 / 3, 2 / 3])


@pytest.mark.parametrize('decimals', [1, 2, None])
def test_isotonic_is_sklearn_clipped(decimals):
    p, new = graded(2, 300, decimals), np.linspace(0, 1, 501)
    twin = IsotonicRegression(out_of_bounds='clip').fit(p.conf, p.correct)
    got = fit_isotonic(p)
    y = np.clip(twin.predict(p.conf), 1 / 302, 301 / 302)
    assert_allclose(got(p).conf, y, atol=1e-12)
    assert_allclose(got.of(new), np.interp(new, np.unique(p.conf), y[np.unique(p.conf, return_index=True)[1]]), atol=1e-12)
    assert (np.diff(got.of(new)) >= 0).all()


@pytest.mark.parametrize('decimals', [1, None])
def test_histogram_is_the_rate_of_each_bin(decimals):
    p = graded(3, 300, decimals)
    h = fit_histogram(p, bins=7)
    lower = np.r_[-np.inf, h.edges]
    for lo, hi, rate in zip(lower, np.r_[h.edges, np.inf], h.rate, strict=True):
        inside = (p.conf > lo) & (p.conf <= hi)
        assert rate == pytest.approx(np.clip(p.correct[inside].mean(), 1 / 302, 301 / 302))
        assert_allclose(h.of(p.conf[inside]), rate)
    assert len(h.rate) == 7 and h.of(np.array([0., 1.])).tolist() == [h.rate[0], h.rate[-1]]


def test_scaling_binning_keeps_the_means_of_the_smooth_map():
    p = graded(4, 1000)
    s = fit_scaling_binning(p, bins=10)
    smooth, new = fit_platt(p).of(p.conf), s(p).conf
    assert len(np.unique(new)) == 10 and np.bincount(np.unique(new, return_inverse=True)[1]).tolist() == [100] * 10
    for v in np.unique(new): assert v == pytest.approx(smooth[new == v].mean())
    assert new.mean() == pytest.approx(p.correct.mean(), abs=1e-9)


@pytest.mark.parametrize('name', BINARY)
def test_confidence_maps(name):
    "They keep the answers, drop the logits, sign their work, and stand confidences of exactly 0 and 1."
    p = world(12, 500, method='sft')
    q = CALIBRATORS[name](p)(p)
    assert q.logits is None and q.label is None and q.meta['method'] == f'sft+{name}'
    assert_array_equal(q.correct, p.correct)
    assert nll_top(q.conf, q.correct, 1e-12) < nll_top(p.conf, p.correct, 1e-12)
    rng = np.random.default_rng(0)
    ends = from_grades(np.r_[np.zeros(5), np.ones(5), rng.random(90)], np.r_[1, np.zeros(4), 0, np.ones(4), rng.random(90) < .5], meta=VAL)
    new = CALIBRATORS[name](ends)(ends).conf
    assert 0 < new.min() and new.max() < 1
    assert_allclose(CALIBRATORS[name](replace(p, logits=None, label=None))(p).conf, q.conf)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from(BINARY), st.sampled_from([1, 2, None]))
def test_confidence_maps_ignore_order_and_rise(seed, name, decimals):
    p = graded(seed, 80, decimals)
    if p.correct.all() or not p.correct.any(): return
    got, shuffled = CALIBRATORS[name](p), CALIBRATORS[name](select(p, np.random.default_rng(seed).permutation(80)))
    grid = np.linspace(0, 1, 101)
    assert_allclose(got.of(grid), shuffled.of(grid), atol=1e-6)
    if name in ('beta', 'isotonic'): assert (np.diff(got.of(grid)) >= -1e-12).all()


# ensembles

def member(seed, i, n=80, k=4, noise=3., **meta):
    "A model that sees the truth with noise of its own."
    p = world(seed, n, k, **meta)
    return from_logits(p.logits + np.random.default_rng([seed, i, 2]).normal(0, noise, p.logits.shape), p.label, meta=p.meta | dict(seed=i))

def slow_pool(ps):
    "The definition, row by row: the mean of the softmaxes."
    return [[sum(float(softmax(p.logits[i][~np.isnan(p.logits[i])])[j]) for p in ps) / len(ps) for j in range((~np.isnan(ps[0].logits[i])).sum())] for i in range(len(ps[0]))]

@pytest.mark.parametrize('m', [2, 3, 5])
def test_pool_is_the_mean_of_probabilities(m):
    ps = [member(23, i) for i in range(m)]
    q = pool(ps)
    assert_allclose(q.probs, slow_pool(ps), atol=1e-12, strict=True)
    assert_allclose(np.exp(q.logits), q.probs, atol=1e-12)
    assert_allclose(q.conf, q.probs.max(1)); assert_array_equal(q.correct, q.probs.argmax(1) == q.label)
    assert_array_equal(q.uid, ps[0].uid); assert_array_equal(q.label, ps[0].label)

def test_pool_pairs_by_question():
    "Members in any order, the first decides; the answer is not that of the logits' mean."
    ps = [member(24, i) for i in range(3)]
    q = pool(ps)
    order = np.random.default_rng(0).permutation(80)
    assert_allclose(pool([ps[0], select(ps[1], order), select(ps[2], order[::-1])]).logits, q.logits)
    first = pool([select(ps[0], order), *ps[1:]])
    assert_array_equal(first.uid, q.uid[order]); assert_allclose(first.logits, q.logits[order])
    ours, theirs = pool([from_logits(np.log(x), [0]) for x in ([[.98, .01, .01]], [[.01, .495, .495]])]), softmax(np.log([.98 * .01, .01 * .495, .01 * .495]) / 2)
    assert_allclose(ours.probs[0], [.495, .2525, .2525]); assert abs(ours.conf[0] - theirs.max()) > .05

def test_pool_keeps_padding_and_what_is_impossible():
    "Rows of unlike length, padded to unlike widths; an option that some call impossible is possible, one that all do is not."
    a = from_logits([[1., 0., np.nan, np.nan], [0., 1., -np.inf, np.nan]], [0, 1], cluster=['x', 'y'])
    b = from_logits([[0., 0., np.nan], [-np.inf, 0., -np.inf]], [0, 1], cluster=['x', 'y'])
    q = pool([a, b])
    assert q.logits.shape == (2, 3) and np.isnan(q.logits[0, 2]) and q.logits[1, 2] == -np.inf and q.cluster.tolist() == ['x', 'y']
    assert_allclose(q.probs, [[(expit(1) + .5) / 2, (expit(-1) + .5) / 2, 0], [expit(-1) / 2, (expit(1) + 1) / 2, 0]])
    assert_allclose(pool([b, a]).logits, q.logits)

def test_pool_loses_no_small_probability():
    "2000 nats down is still a number, where a mean of float64 probabilities is 0."
    p = [from_logits([[0., -2000.]], [1]), from_logits([[0., -3000.]], [1])]
    assert_allclose(pool(p).logits, [[0., -2000 - np.log(2)]], atol=1e-12) and nll(pool(p).logits, [1]) == pytest.approx(2000 + np.log(2))
    low = [from_logits([[-5000., -5000. - gap, np.nan], [0., 0., 0.]], [0, 0]) for gap in (1, 0)] # far below 0, and yet the padding gets nothing
    assert_allclose(pool(low).probs, [[(expit(1) + .5) / 2, (expit(-1) + .5) / 2, 0], [1/3] * 3])

def test_pool_of_copies_is_the_copy():
    p = member(25, 0)
    assert_allclose(pool([p] * 4).probs, p.probs, atol=1e-12); assert_array_equal(pool([p] * 4).correct, p.correct)
    single = replace(p, logits=p.logits.astype(np.float32))
    assert pool([single, single]).logits.dtype == float

@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 6), st.floats(0, 30))
def test_pool_is_never_worse_than_the_mean_of_its_members(seed, m, k, noise):
    "Jensen, for Brier and NLL; the gain in Brier is the variance of the members."
    ps = [member(seed, i, 20, k, noise) for i in range(m)]
    q = pool(ps)
    gain = np.mean([brier(p.probs, p.label) for p in ps]) - brier(q.probs, q.label)
    assert gain >= -1e-12 and gain == pytest.approx(np.var([p.probs for p in ps], axis=0).sum(1).mean(), abs=1e-10)
    assert nll(q.logits, q.label) <= np.mean([nll(p.logits, p.label) for p in ps]) + 1e-9
    assert q.conf.mean() <= np.mean([p.conf for p in ps]) + 1e-12 # less sure than they are

def test_pool_says_what_it_is():
    "Common coordinates stay, others go; flags of any member stay; methods are joined."
    a, b = (member(26, i, model='m', method='sft') for i in range(2))
    q = pool([a, b])
    assert q.meta == dict(split='val', model='m', method='sft+ensemble', members=2) and q.scores == {}
    flagged = replace(b, meta=b.meta | dict(flag='vector: separable', method='other', only='b'))
    assert pool([a, flagged]).meta == dict(split='val', model='m', method='ensemble', members=2, flag='vector: separable')
    assert pool([replace(flagged, meta=flagged.meta | dict(flag='a')), flagged]).meta['flag'] == 'a; vector: separable'
    assert pool([q, q, q]).meta['members'] == 3
    none = [replace(p, meta=p.meta | dict(prompt=None)) for p in (a, b)]
    assert 'prompt' in pool(none).meta and 'prompt' not in pool([none[0], b]).meta
    assert 'true' not in pool([replace(a, scores=dict(true=a.conf)), b]).scores
    assert fit_temperature(q)(q).meta['method'] == 'sft+ensemble+temperature'

def test_temperature_belongs_after_the_pool():
    "Members that are calibrated one by one make an ensemble that is not sure enough; what is fitted after is better on NLL."
    val, test = ([member(seed, i, 3000) for i in range(5)] for seed in (27, 28))
    first, last = pool([fit_temperature(v)(p) for v, p in zip(val, test, strict=True)]), fit_temperature(pool(val))(pool(test))
    gap = [q.conf.mean() - q.correct.mean() for q in (first, last)]
    assert gap[0] < gap[1] < 0 and gap[0] < -.05 and nll(last.logits, last.label) < nll(first.logits, first.label)


# cross-fitting

@pytest.mark.parametrize('cluster', [None, np.arange(300) // 7])
def test_cross_fit_never_sees_what_it_judges(cluster):
    "A spy among the calibrators: no row, and no cluster, on both sides; folds are even, and the order stays."
    p = replace(select(world(13, 300), np.arange(300), split='test'), cluster=None if cluster is None else cluster.astype(str))
    seen = []
    def spy(train):
        assert train.meta['split'] == 'val'
        def apply(held):
            ids = (lambda q: q.uid if q.cluster is None else q.cluster)
            assert not set(ids(train)) & set(ids(held)) and len(train) + len(held) == 300
            seen.append(len(held))
            return replace(held, conf=held.conf / 2, meta={**held.meta, 'method': 'spy'})
        return apply
    q = cross_fit(p, spy, folds=4)
    assert sum(seen) == 300 and max(seen) - min(seen) <= (0 if cluster is None else 7)
    assert_array_equal(q.uid, p.uid); assert_array_equal(q.conf, p.conf / 2)
    assert_array_equal(q.logits, p.logits); assert_array_equal(q.label, p.label)
    assert (q.meta['method'], q.meta['cross_fit'], q.meta['split']) == ('spy', 4, 'test')


def test_cross_fit_is_seeded_and_carries_flags():
    p = world(14, 200)
    a, b, c = cross_fit(p, fit_temperature, seed=1), cross_fit(p, fit_temperature, seed=1), cross_fit(p, fit_temperature, seed=2)
    assert_array_equal(a.conf, b.conf)
    assert (a.conf != c.conf).any() and 'flag' not in a.meta
    right = select(p, p.correct)
    assert cross_fit(right, fit_temperature).meta['flag'] == 'temperature: separable'


def test_cross_fit_does_not_flatter():
    "Confidences that know nothing: histogram binning looks good on its own data, and must not when cross-fitted."
    rng = np.random.default_rng(15)
    p = from_grades(rng.random(300), rng.random(300) < .5, meta=VAL)
    in_sample, crossed = fit_histogram(p)(p), cross_fit(p, fit_histogram)
    assert brier_top(in_sample.conf, p.correct) < .25 < brier_top(crossed.conf, p.correct)


# the report

def test_report_says_what_the_parts_say():
    p = world(16, 600)
    r = repair_report(p, draws=50)
    assert list(r.index) == ['uncalibrated', *CALIBRATORS]
    for name in ('platt', 'vector'):
        q = cross_fit(p, CALIBRATORS[name])
        d = (q.conf - q.correct) ** 2 - (p.conf - p.correct) ** 2
        half = student.ppf(.975, 599) * d.std(ddof=1) / 600 ** .5
        assert_allclose(r.loc[name, ['brier_top_change', 'brier_top_lo', 'brier_top_hi']].astype(float), [d.mean(), d.mean() - half, d.mean() + half], atol=1e-12)
        assert r.loc[name, 'brier_top'] - r.loc['uncalibrated', 'brier_top'] == pytest.approx(d.mean())
        assert r.loc[name, 'nll_top'] - r.loc['uncalibrated', 'nll_top'] == pytest.approx(r.loc[name, 'nll_top_change'])
        assert r.loc[name, 'accuracy'] == q.correct.mean()
    assert (r.loc['uncalibrated', ['brier_top_change', 'nll_top_lo', 'nll_top_hi']] == 0).all()
    assert set(repair_report(replace(p, logits=None, label=None), draws=5).index) == {'uncalibrated', *CALIBRATORS} - {'vector'}
    assert list(repair_report(p, {'mine': fit_platt}, draws=5).index) == ['uncalibrated', 'mine']


def test_report_intervals_are_clustered():
    "The mean's error from clusters is the definition: the spread of the clusters' sums."
    p, cluster = world(17, 200), np.arange(200) // 10
    x = np.random.default_rng(0).normal(size=200) + np.repeat(np.random.default_rng(1).normal(size=20), 10)
    sums = np.array([(x - x.mean())[cluster == c].sum() for c in range(20)])
    assert C._se_mean(x, cluster.astype(str)) == pytest.approx(np.sqrt(20 / 19 * (sums ** 2).sum()) / 200)
    assert C._se_mean(x, None) == pytest.approx(x.std(ddof=1) / 200 ** .5)
    assert (repair_report(replace(p, cluster=cluster.astype(str)), ['platt'], draws=5).brier_top_hi['platt']) < 0


def test_no_difference_is_rejected_one_time_in_twenty():
    "The normal interval of a mean change, where the true change is 0."
    x = np.random.default_rng(18).normal(size=(300, 100))
    assert 6 <= sum(abs(row.mean()) > 1.96 * C._se_mean(row, None) for row in x) <= 27


def test_the_largest_single_below_one_is_not_clipped():
    "A float32 softmax just below 1 keeps its log-odds; exactly 1 and 0 get a finite place beyond it."
    from plcal_study.measure.calibrators import _log_odds
    below = float(np.nextafter(np.float32(1), np.float32(0)))
    assert_allclose(_log_odds(np.array([below])), np.log(below / (1 - below)))
    assert np.isfinite(_log_odds(np.array([0., 1.]))).all() and _log_odds(np.array([1.]))[0] >= _log_odds(np.array([below]))[0]
