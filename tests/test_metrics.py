"What must hold of every metric: twins written as loops, limits, invariants, golden values, known truths."
import itertools, json, math, tracemalloc
from functools import partial
from pathlib import Path
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_auc_score, roc_curve
from statsmodels.stats.proportion import proportion_confint
from plcal_study.measure.metrics import (
    METRICS, TRUE_METRICS, ace, auroc, augrc, aurc, bin_ids, brier, brier_top, cerr_neg, cerr_pos, classwise_ece, conf_gap, corp, corp_fit, coverage_at_risk,
    debiased_l2, eaurc, ece, ece_chen_mass100, ece_chen_width10, ece_edges, ece_mass, ece_null, ece_plaut, ece_plaut_width10, entropy, fpr95, grouping_loss,
    margin, mass_ids, mce, mean_conf, nll, nll_top, reliability, risk_coverage, rmsce, smece, true_calibration_error, true_ece, wilson)

GOLDEN = json.loads((Path(__file__).parent/'golden.json').read_text())
quick = settings(deadline=None, max_examples=50, derandomize=True)


@st.composite
def pairs(draw, least=1, most=30, both=False):
    "Confidences with many ties and edges, and grades; `both`: at least one right and one wrong."
    n = draw(st.integers(max(least, 2 * both), most))
    value = st.integers(0, 20).map(lambda i: i / 20) | st.floats(0, 1)
    conf = np.array(draw(st.lists(value, min_size=n, max_size=n)))
    correct = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if both: correct[:2] = True, False
    return conf, correct


def drawn(n=300, seed=0, decimals=None, dtype=float):
    "Confidences and grades from a model that is overconfident."
    rng = np.random.default_rng([seed, 7])
    conf = rng.uniform(0, 1, n)
    conf = (conf if decimals is None else conf.round(decimals)).astype(dtype)
    return conf, rng.random(n) < conf**2


# --- bins ------------------------------------------------------------------------------------------------------------------------

def slow_ids(conf, bins, closed='right'):
    "The definition: compare with every edge, in the precision of the confidences."
    edges = [conf.dtype.type(m) / conf.dtype.type(bins) for m in range(bins + 1)]
    def inside(c, m):
        lo, hi = edges[m], edges[m+1]
        return lo < c <= hi or (m == 0 and c == 0) if closed == 'right' else lo <= c < hi or (m == bins - 1 and c == 1)
    return [next(m for m in range(bins) if inside(c, m)) for c in conf]

@pytest.mark.parametrize('closed', ['right', 'left'])
@pytest.mark.parametrize('bins', [1, 2, 3, 7, 10, 15, 20, 100])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_bins_are_the_definition(bins, closed, dtype):
    for conf in (drawn(dtype=dtype)[0], drawn(decimals=1, dtype=dtype)[0], drawn(decimals=2, dtype=dtype)[0]):
        assert bin_ids(conf, bins, closed).tolist() == slow_ids(conf, bins, closed)

@pytest.mark.parametrize('bins', [5, 10, 20, 25, 50, 100])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_decimals_fall_where_whole_numbers_say(bins, dtype):
    i = np.arange(101)
    conf = (i / 100).astype(dtype)
    np.testing.assert_array_equal(bin_ids(conf, bins), np.maximum(-(-i * bins // 100) - 1, 0))
    np.testing.assert_array_equal(bin_ids(conf, bins, 'left'), np.minimum(i * bins // 100, bins - 1))

@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('bins', [10, 15, 49, 1000])
def test_one_ulp_from_an_edge(bins, dtype):
    edges = np.arange(1, bins, dtype=dtype) / dtype(bins)
    above, below, m = np.nextafter(edges, dtype(2)), np.nextafter(edges, dtype(-1)), np.arange(1, bins)
    for conf, right, left in ((below, m - 1, m - 1), (edges, m - 1, m), (above, m, m)):
        np.testing.assert_array_equal(bin_ids(conf, bins), right)
        np.testing.assert_array_equal(bin_ids(conf, bins, 'left'), left)

def test_confidences_of_single_precision_are_summed_in_double():
    conf, correct = drawn(20_000, dtype=np.float32)
    for name, metric in METRICS.items():
        if name not in ('auroc', 'aurc', 'eaurc', 'augrc', 'acc'): assert metric(conf, correct) == pytest.approx(metric(conf.astype(float), correct), rel=1e-12, abs=0), name
    np.testing.assert_allclose(ece_null(conf, draws=5).draws, ece_null(conf.astype(float), draws=5).draws, rtol=1e-12)

def test_many_rows_are_cut_into_steps_and_nothing_is_lost():
    conf, correct = drawn(100_003)
    edges = np.arange(16) / 15
    ids = np.clip(np.searchsorted(edges, conf) - 1, 0, 14)
    np.testing.assert_array_equal(bin_ids(conf), ids)
    want = np.abs(np.bincount(ids, conf - correct)).sum() / len(conf)
    assert ece(conf, correct) == pytest.approx(want, rel=1e-12)
    assert ece_edges(conf, correct, edges) == pytest.approx(want, rel=1e-12)

def slow_mass_ids(conf, bins):
    "Sizes as equal as can be, the larger first; a tie goes where its middle lies."
    sizes = [len(part) for part in np.array_split(np.arange(len(conf)), bins)]
    ends = np.cumsum(sizes)
    where = []
    for c in conf:
        middle = sum(x < c for x in conf) + sum(x == c for x in conf) / 2
        where.append(next(m for m in range(bins) if middle < ends[m]))
    return where

@quick
@given(pairs(), st.integers(1, 40))
def test_mass_bins_are_the_definition(pair, bins): assert mass_ids(pair[0], bins).tolist() == slow_mass_ids(pair[0], bins)

def test_equal_mass_of_distinct_values_is_equal():
    for n, bins in ((100, 15), (30, 15), (15, 15), (7, 15)):
        n_bin = np.bincount(mass_ids(np.random.default_rng(n).random(n), bins))
        assert n_bin.max() - n_bin.min() <= 1 and len(n_bin) == min(n, bins)


# --- the ECE family --------------------------------------------------------------------------------------------------------------

def slow_bins(conf, correct, ids):
    "(rows, mean confidence, accuracy) of each bin that holds something, one row at a time."
    for m in sorted(set(ids)):
        rows = [i for i, b in enumerate(ids) if b == m]
        yield len(rows), sum(float(conf[i]) for i in rows) / len(rows), sum(bool(correct[i]) for i in rows) / len(rows)

@pytest.mark.parametrize('bins', [1, 2, 10, 15, 100])
@pytest.mark.parametrize('data', [dict(), dict(decimals=1), dict(dtype=np.float32), dict(n=1), dict(n=7)], ids=str)
def test_binned_errors_are_the_definition(bins, data):
    conf, correct = drawn(**data)
    n = len(conf)
    table = list(slow_bins(conf, correct, slow_ids(conf, bins)))
    same = partial(pytest.approx, rel=1e-12, abs=1e-15)
    assert ece(conf, correct, bins) == same(sum(k / n * abs(a - c) for k, c, a in table))
    assert mce(conf, correct, bins) == same(max(abs(a - c) for k, c, a in table))
    assert rmsce(conf, correct, bins) == same(sum(k / n * (a - c)**2 for k, c, a in table)**.5)
    assert ece(conf, correct, bins, 'left') == same(sum(k / n * abs(a - c) for k, c, a in slow_bins(conf, correct, slow_ids(conf, bins, 'left'))))
    table = list(slow_bins(conf, correct, slow_mass_ids(conf, bins)))
    assert ece_mass(conf, correct, bins) == same(sum(k / n * abs(a - c) for k, c, a in table))
    if min(k for k, _, _ in table) > 1:
        assert debiased_l2(conf, correct, bins) == same(sum(k / n * ((a - c)**2 - a * (1 - a) / (k - 1)) for k, c, a in table))

def test_errors_over_all_classes_are_the_definition():
    rng = np.random.default_rng(3)
    probs, label = softmax(rng.normal(size=(200, 4)), axis=1), rng.integers(0, 4, 200)
    for metric, ids in ((classwise_ece, slow_ids), (ace, slow_mass_ids)):
        each = [sum(k / 200 * abs(a - c) for k, c, a in slow_bins(p, label == j, ids(p, 10))) for j, p in enumerate(probs.T)]
        assert metric(probs, label, 10) == pytest.approx(np.mean(each), rel=1e-12)

@pytest.mark.parametrize('case, right, left', [
    (([.95, 1], [1, 0]), .475, .475), (([0, .05], [1, 0]), .475, .475), ((np.arange(1, 10) / 10, np.arange(9) % 2), .5, .5),
    (([.3, .35, .6, .65], [0, 1, 0, 1]), .475, .15), ((np.ones(10), np.arange(10) % 2), .5, .5)], ids='ABCDE')
def test_cases_on_which_other_tools_differ(case, right, left):
    assert ece(*case, 10) == pytest.approx(right, abs=1e-12)
    assert ece(*case, 10, 'left') == pytest.approx(left, abs=1e-12)

def test_half_precision_and_booleans_are_taken():
    assert ece(np.array([.5, 1.], np.float16), [1, 1]) == .25
    assert ece([True, False], [1, 0]) == 0 and smece([True, False], [1, 0]) == 0 and conf_gap([True, True], [1, 0]) == .5

@pytest.mark.parametrize('bins', [5, 10, 15])
def test_curve_agrees_with_sklearn_and_with_the_ece(bins):
    conf, correct = drawn()
    curve = reliability(conf, correct, bins)
    acc, mean = calibration_curve(correct, conf, n_bins=bins)
    np.testing.assert_allclose(curve.acc, acc); np.testing.assert_allclose(curve.conf, mean)
    assert np.average(np.abs(curve.acc - curve.conf), weights=curve.n) == pytest.approx(ece(conf, correct, bins))
    assert (curve.lo <= curve.acc).all() and (curve.acc <= curve.hi).all() and curve.n.sum() == len(conf)

@pytest.mark.parametrize('level', [.5, .9, .95, .99])
def test_wilson_agrees_with_statsmodels(level):
    k = np.array([0, 1, 7, 10, 0, 1]); n = np.array([10, 10, 10, 10, 1, 1])
    np.testing.assert_allclose(wilson(k, n, level), proportion_confint(k, n, 1 - level, 'wilson'), atol=1e-14)
    assert isinstance(float(wilson(3, 10)[0]), float) and wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1


# --- smooth ECE ------------------------------------------------------------------------------------------------------------------

def slow_smece(conf, correct, sigma):
    "The definition: a Gaussian for each row and each of its mirror images, integrated by trapezoids."
    t, total = np.linspace(0, 1, 4001), 0
    for c, y in zip(conf, correct, strict=True):
        for image in [sign * c + 2*j for sign in (1, -1) for j in (range(-4, 5) if sigma > .2 else (-1, 0, 1))]:
            total = total + (y - c) * np.exp(-((t - image) / sigma)**2 / 2)
    return np.trapezoid(np.abs(total), t) / len(conf) / sigma / math.sqrt(2 * math.pi)

@pytest.mark.parametrize('sigma', [.02, .1, .5, 1.5])
def test_smooth_error_is_the_definition(sigma):
    conf, correct = drawn(25, decimals=1)
    assert smece(conf, correct, sigma) == pytest.approx(slow_smece(conf, correct, sigma), rel=1e-4)

def test_smooth_error_is_its_own_width():
    for seed in range(3):
        conf, correct = drawn(100, seed)
        assert slow_smece(conf, correct, s := smece(conf, correct)) == pytest.approx(s, rel=1e-4)

def test_smooth_error_falls_with_the_width():
    conf, correct = drawn(200)
    v = [smece(conf, correct, s) for s in (.001, .01, .03, .1, .3, 1)]
    assert (np.diff(v) <= 1e-12).all()


# --- ranking and selection -------------------------------------------------------------------------------------------------------

@quick
@given(pairs(both=True))
def test_auroc_is_the_definition(pair):
    score, correct = pair
    won = [1. if a > b else .5 if a == b else 0. for a in score[correct] for b in score[~correct]]
    assert auroc(score, correct) == pytest.approx(np.mean(won), rel=1e-12)
    assert auroc(score, correct) == pytest.approx(roc_auc_score(correct, score), rel=1e-12)
    assert auroc(-score, correct) == pytest.approx(1 - auroc(score, correct), rel=1e-12)

def test_auroc_tells_scores_apart_that_differ_by_one_ulp():
    assert auroc([np.nextafter(.5, 1), .5], [1, 0]) == 1 and auroc(np.nextafter(np.float32([.5, .5]), np.float32([1, 0])), [1, 0]) == 1

def slow_fpr95(score, positive):
    "The definition: every threshold there is, in whole numbers; the largest that keeps 95 in 100 of the positive."
    kept = [t for t in set(score) if 20 * sum(score[positive] >= t) >= 19 * positive.sum()]
    return sum(score[~positive] >= max(kept)) / (~positive).sum()

@quick
@given(pairs(both=True, most=60))
def test_fpr95_is_the_definition(pair):
    score, positive = pair
    fpr, tpr, _ = roc_curve(positive, score, drop_intermediate=False)
    assert fpr95(score, positive) == slow_fpr95(score, positive) == pytest.approx(fpr[np.argmax(tpr >= .95 - 1e-9)], rel=1e-12)
    assert type(fpr95(score, positive)) is float and fpr95(stats.rankdata(score, 'dense') * 7. - 50, positive) == fpr95(score, positive)
    order = np.random.default_rng(0).permutation(len(score))
    assert fpr95(score[order], positive[order]) == fpr95(score, positive) == fpr95(np.repeat(score, 2), np.repeat(positive, 2))

@pytest.mark.parametrize('n', [1, 2, 19, 20, 21, 39, 40, 60, 180, 360, 1000])
def test_fpr95_keeps_no_more_than_it_must(n):
    "Of n distinct familiar scores the first ceil(0.95 n) are kept."
    inside = np.arange(n, dtype=float)
    for place, passing in ((-(-19 * n // 20), True), (-(-19 * n // 20) + 1, False)):
        if place <= n: assert fpr95(np.r_[inside, n - place], np.r_[np.ones(n), 0]) == passing # foreign, with the score of the last that is kept, or of the next

def test_fpr95_at_its_limits():
    half = [1, 1, 0, 0]
    assert fpr95([3, 2, 1, 0], half) == 0 and fpr95([0, 1, 2, 3], half) == 1 and fpr95([5, 5, 5, 5], half) == 1 and fpr95([1, 0], [1, 0]) == 0
    assert fpr95([-3., -4., -3., -9.], half) == .5 and fpr95(np.float32([.5, .5, np.nextafter(np.float32(.5), np.float32(0)), .5]), half) == .5
    rng = np.random.default_rng(6)
    assert fpr95(rng.normal(size=40_000), rng.random(40_000) < .5) == pytest.approx(.95, abs=.01)       # chance
    known = rng.random(40_000) < .3
    assert fpr95(rng.normal(size=40_000) + 2 * known, known) == pytest.approx(stats.norm.sf(2 + stats.norm.ppf(.05)), abs=.015)

@quick
@given(pairs())
def test_risk_coverage_is_the_definition(pair):
    score, correct = pair
    want = [((score >= t).mean(), 1 - correct[score >= t].mean(), t) for t in sorted(set(score), reverse=True)]
    np.testing.assert_allclose(np.transpose(risk_coverage(score, correct)), want, atol=1e-14)
    for risk in (0, .2, .5, 1):
        assert coverage_at_risk(score, correct, risk) == pytest.approx(max([c for c, r, _ in want if r <= risk], default=0))

def trapezoids(wrong):
    "AURC and AUGRC of rows in a given order."
    n, errors = len(wrong), np.cumsum(wrong)
    risk = np.r_[wrong[0], errors / np.arange(1, n + 1)] # below one answer: the risk of the first
    return np.trapezoid(risk, dx=1 / n), np.trapezoid(np.r_[0, errors] / n, dx=1 / n)

@pytest.mark.parametrize('score', [[1, 1, 1, 1], [2, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 1], [4, 3, 2, 1]])
@pytest.mark.parametrize('right', [[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_ties_give_the_mean_over_all_orders(score, right):
    orders = [o for o in itertools.permutations(range(4)) if (np.diff(np.array(score)[list(o)]) <= 0).all()]
    want = np.mean([trapezoids(1 - np.array(right)[list(o)]) for o in orders], axis=0)
    np.testing.assert_allclose([aurc(score, right), augrc(score, right)], want, atol=1e-14)

@quick
@given(pairs(both=True))
def test_augrc_follows_from_auroc_and_accuracy(pair):
    a = pair[1].mean()
    assert augrc(*pair) == pytest.approx((1 - auroc(*pair)) * a * (1 - a) + (1 - a)**2 / 2, abs=1e-12)

def test_excess_is_none_for_the_best_ranking():
    score, correct = np.arange(10_000, 0, -1), np.arange(10_000) < 6000
    assert eaurc(score, correct) == pytest.approx(0, abs=1e-4) and eaurc(-score, correct) > .3
    assert eaurc([1, 2], [1, 1]) == 0 and eaurc([1, 2], [0, 0]) == 0


# --- proper scores ---------------------------------------------------------------------------------------------------------------

def test_scores_agree_with_sklearn_and_with_loops():
    rng = np.random.default_rng(4)
    logits, label = rng.normal(size=(100, 5)) * 2, rng.integers(0, 5, 100)
    probs = softmax(logits, axis=1)
    assert nll(logits, label) == pytest.approx(log_loss(label, probs, labels=range(5)))
    assert nll(logits + 700, label) == pytest.approx(nll(logits, label)) and nll(logits.astype(np.float32), label) == pytest.approx(nll(logits, label), rel=1e-6)
    assert brier(probs, label) == pytest.approx(sum((p - (j == y))**2 for row, y in zip(probs, label, strict=True) for j, p in enumerate(row)) / 100)
    np.testing.assert_allclose(entropy(probs), stats.entropy(probs, axis=1), strict=True)
    np.testing.assert_allclose(margin(probs), [a - b for *_, b, a in np.sort(probs)], strict=True)
    conf, correct = drawn()
    assert nll_top(conf, correct) == pytest.approx(log_loss(correct, conf))

def test_padding_changes_no_score():
    rng = np.random.default_rng(5)
    logits, label = rng.normal(size=(50, 3)), rng.integers(0, 3, 50)
    padded, probs = np.c_[logits, np.full((50, 2), np.nan)], softmax(logits, axis=1)
    wide = np.c_[probs, np.zeros((50, 2))]
    assert nll(padded, label) == pytest.approx(nll(logits, label)) and brier(wide, label) == pytest.approx(brier(probs, label))
    np.testing.assert_allclose(entropy(wide), entropy(probs)); np.testing.assert_allclose(margin(wide), margin(probs))

def test_limits_of_scores():
    assert nll([[0., -np.inf]], [0]) == 0 and nll([[0., -np.inf]], [1]) == np.inf
    assert brier([[1., 0.]], [1]) == 2 and brier([[1., 0.]], [0]) == 0 and brier_top([1.], [0]) == 1
    assert margin([[1.]]) == 1 and entropy([[1.]]) == 0
    assert margin([[.75, .25]]).tolist() == [.5] and margin([[1.], [1.]]).tolist() == [1, 1] # one row is not one option
    assert nll_top([1., 0.], [0, 1]) == pytest.approx(-math.log(1e-7)) and nll_top([1., 0.], [1, 0]) == pytest.approx(1e-7, rel=1e-6)
    assert cerr_pos([1., .2], [1, 0]) == 0 and cerr_neg([1., .2], [1, 0]) == pytest.approx(.2)

def slow_isotonic(conf, correct):
    "The min-max formula: the best rising map, one row at a time."
    values = sorted(set(conf))
    def mean(a, b): return correct[(conf >= values[a]) & (conf <= values[b])].mean()
    m = len(values)
    fit = {v: max(min(mean(a, b) for b in range(i, m)) for a in range(i + 1)) for i, v in enumerate(values)}
    return [fit[c] for c in conf]

@quick
@given(pairs(most=12))
def test_corp_is_the_definition(pair):
    conf, correct = pair
    np.testing.assert_allclose(fit := corp_fit(conf, correct), slow_isotonic(conf, correct), atol=1e-12)
    if len(values := np.unique(conf)) > 1 and np.diff(values).min() > 1e-12: # sklearn takes closer values for ties
        np.testing.assert_allclose(fit, IsotonicRegression().fit(conf, correct).predict(conf), atol=1e-9)
    for score in ('brier', 'log'):
        d = corp(conf, correct, score)
        assert d.mcb >= -1e-12 and d.dsc >= -1e-12 and d.score == pytest.approx(d.mcb - d.dsc + d.unc)
    assert corp(conf, correct).score == pytest.approx(brier_top(conf, correct))


# --- what a calibrated model scores ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize('metric', [ece, ece_mass])
def test_null_is_what_a_loop_gives(metric):
    conf, correct = drawn(200, decimals=2)
    fast, slow = ece_null(conf, correct, draws=2000, metric=metric), ece_null(conf, correct, draws=400, metric=lambda c, y: metric(c, y, 15))
    assert stats.ks_2samp(fast.draws, slow.draws).pvalue > .001
    assert fast.p == pytest.approx(1 / 2001) and slow.p == pytest.approx(1 / 401)

def test_null_by_counting():
    "Three rows at 0.5 and one of 0.2 in another bin: all sixteen outcomes, weighted."
    conf, want = np.array([.5, .5, .5, .2]), 0
    for y in itertools.product([0, 1], repeat=4): want += np.prod(np.where(y, conf, 1 - conf)) * ece(conf, y)
    null = ece_null(conf, draws=20_000)
    assert null.mean == pytest.approx(want, abs=.005) and null.p is None and len(null.draws) == 20_000

def test_null_draws_are_seeded_and_do_not_hang_on_the_batch():
    conf, correct = drawn(50)
    np.testing.assert_array_equal(ece_null(conf, draws=20).draws, ece_null(conf, correct, draws=20).draws)
    np.testing.assert_array_equal(ece_null(conf, draws=20).draws, ece_null(conf, draws=40).draws[:20])
    assert (ece_null(conf, draws=20).draws != ece_null(conf, draws=20, seed=1).draws).any()

def test_null_of_certain_answers_is_zero():
    null = ece_null([0., 1., 1.], [0, 1, 1], draws=50)
    assert null.mean == 0 and null.p == 1 and ece_null([0., 1., 1.], [0, 1, 0], draws=50).p == pytest.approx(1 / 51)

@pytest.mark.parametrize('metric', [ece, ece_mass])
def test_null_of_clusters_is_the_enumeration_of_their_signs(metric):
    conf, correct = drawn(12)
    cluster = np.array(list('aabbccaabbcc'))
    ids = bin_ids(conf, 3) if metric is ece else mass_ids(conf, 3)
    ways = [np.abs(np.bincount(ids, np.where(cluster == 'a', a, np.where(cluster == 'b', b, c)) * (correct - conf))).sum() / 12 for a, b, c in itertools.product([-1, 1], repeat=3)]
    null = ece_null(conf, correct, bins=3, draws=4000, metric=metric, cluster=cluster)
    assert set(null.draws.round(9)) == set(np.round(ways, 9)) and null.mean == pytest.approx(np.mean(ways), abs=.01)
    assert null.p == pytest.approx(np.mean(np.array(ways) >= metric(conf, correct, 3) - 1e-12), abs=.03)

def test_null_of_clusters_holds_its_level_where_the_independent_one_does_not():
    told, untold = [], []
    for seed in range(300):
        rng = np.random.default_rng([seed, 8])
        conf, shared = rng.uniform(.3, .9, 400), np.repeat(rng.random(20), 20)
        correct = np.where(rng.random(400) < .5, shared, rng.random(400)) < conf
        cluster = np.repeat(np.arange(20), 20)
        told.append(ece_null(conf, correct, draws=99, seed=seed, cluster=cluster).p); untold.append(ece_null(conf, correct, draws=99, seed=seed).p)
    assert np.mean(np.array(told) <= .05) < .1 < .15 < np.mean(np.array(untold) <= .05)

def test_p_value_is_fair():
    "Of calibrated models no more than a share a is found miscalibrated at level a."
    rng = np.random.default_rng(11)
    p = []
    for seed in range(300):
        conf = rng.uniform(.3, 1, 60)
        p.append(ece_null(conf, rng.random(60) < conf, draws=99, seed=seed).p)
    assert .45 < np.mean(p) < .56 and np.mean(np.array(p) <= .05) < .09 and np.mean(np.array(p) <= .2) < .27

@pytest.mark.parametrize('n, want', [(100, (.080, .100, .117, .311)), (1000, (.026, .032, .037, .095))])
def test_bias_is_what_it_is_known_to_be(n, want):
    means = []
    for seed in range(4):
        conf = .25 + .75 * np.random.default_rng([seed, n]).beta(2, 1, n)
        means.append([ece_null(conf, bins=b, draws=100, seed=seed, metric=m).mean for m, b in ((ece, 10), (ece, 15), (ece_mass, 15), (ece_mass, 100))])
    np.testing.assert_allclose(np.mean(means, axis=0), want, rtol=.08)

def test_debiased_error_is_right_on_average_and_the_plug_in_is_not():
    rng = np.random.default_rng(12)
    conf = np.full(40, .7)
    draws = [rng.random(40) < .5 for _ in range(2000)]
    assert np.mean([debiased_l2(conf, y, 1) for y in draws]) == pytest.approx(.04, abs=.002)
    assert np.mean([rmsce(conf, y, 1)**2 for y in draws]) > .045


# --- known truth -----------------------------------------------------------------------------------------------------------------

def test_uniform_calibrated_confidences_give_the_closed_forms():
    rng = np.random.default_rng(13)
    conf = rng.random(400_000)
    y = rng.random(400_000) < conf
    near = partial(pytest.approx, abs=.003)
    assert auroc(conf, y) == near(5/6) and aurc(conf, y) == near(1/4) and augrc(conf, y) == near(1/6)
    assert eaurc(conf, y) == near(1/4 - 1/2 - .5 * math.log(.5)) and brier_top(conf, y) == near(1/6) and nll_top(conf, y) == near(1/2)
    assert corp(conf, y) == (near(0), near(1/12), near(1/4), near(1/6))
    assert corp(conf, y, 'log') == (near(0), near(math.log(2) - 1/2), near(math.log(2)), near(1/2))
    assert cerr_pos(conf, y) == near(1/3) and cerr_neg(conf, y) == near(1/3) and mean_conf(conf) == near(1/2)
    assert ece(conf, y) < .005 and smece(conf, y) < .005 and abs(debiased_l2(conf, y)) < 1e-5
    assert coverage_at_risk(conf, y, .25) == near(.5)

@pytest.mark.parametrize('shift', [.1, -.2])
def test_a_known_shift_is_found_by_all(shift):
    rng = np.random.default_rng(14)
    conf = rng.uniform(.2, .8, 200_000)
    y = rng.random(200_000) < conf - shift
    for metric in (ece, ece_mass, smece, rmsce, ece_plaut, ece_plaut_width10, partial(ece_edges, edges=[0, .3, .5, 1])):
        assert metric(conf, y) == pytest.approx(abs(shift), abs=.005)
    assert conf_gap(conf, y) == pytest.approx(shift, abs=.005) and debiased_l2(conf, y) == pytest.approx(shift**2, abs=.002)


# --- golden values ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module', params=GOLDEN)
def golden(request):
    "The drawn data set and what other implementations give on it."
    g = GOLDEN[request.param]
    rng = np.random.default_rng(g['seed'])
    z = rng.normal(size=(g['n'], g['k'])) * 1.5
    label = np.array([rng.choice(g['k'], p=p) for p in softmax(z, axis=1)])
    probs = softmax(z / g['T'], axis=1)
    return g, z / g['T'], probs, label, probs.max(1), probs.argmax(1) == label

def test_golden_values(golden):
    g, logits, probs, label, conf, correct = golden
    got = dict(acc=METRICS['acc'](conf, correct), mean_conf=mean_conf(conf), netcal_ece10=ece(conf, correct, 10), netcal_ece15=ece(conf, correct),
        uncertainty_calibration_ece10=ece(conf, correct, 10), uncertainty_calibration_ece15=ece(conf, correct),
        uncertainty_calibration_ece_em10=ece_mass(conf, correct, 10), uncertainty_calibration_ece_em15=ece_mass(conf, correct),
        netcal_mce15=mce(conf, correct), torchmetrics_l2_15=rmsce(conf, correct), uncertainty_calibration_sq_debiased_em15=debiased_l2(conf, correct),
        pycalib_classwise_ece15=classwise_ece(probs, label), sk_nll=nll(logits, label), sk_brier_sum=brier(probs, label), sk_brier_conf=brier_top(conf, correct),
        sk_auroc=auroc(conf, correct), margin_auroc=auroc(margin(probs), correct), corp_brier_mcb_dsc_unc_score=tuple(corp(conf, correct)),
        corp_log_mcb_dsc_unc_score=tuple(corp(conf, correct, 'log')), fd_aurc=aurc(conf, correct), fd_eaurc=eaurc(conf, correct), fd_augrc=augrc(conf, correct))
    single = {'torchmetrics_l2_15'} # computed in single precision
    for name, value in got.items(): np.testing.assert_allclose(value, g[name], rtol=1e-6 if name in single else 1e-9, atol=1e-14, err_msg=name)

def test_golden_smooth_error(golden):
    """relplot looks for the width in ten bisections, so it is given here; and it counts the last point of its mesh half, which
    scales all by 0.5 % where two in a hundred confidences lie within a thousandth of 1. Without such confidences the two agree."""
    g, _, _, _, conf, correct = golden
    rtol = 1e-3 if conf.max() < .999 else 1e-2
    np.testing.assert_allclose(smece(conf, correct, g['relplot_smece_width']), g['relplot_smece'], rtol=rtol)
    np.testing.assert_allclose(smece(conf, correct, .05), g['relplot_smece_sigma.05'], rtol=rtol)
    np.testing.assert_allclose(smece(conf[:100], correct[:100], .05), slow_smece(conf[:100], correct[:100], .05), rtol=1e-4)
    assert abs(smece(conf, correct) - g['relplot_smece_width']) < 2**-9


# --- the sources' own estimators -------------------------------------------------------------------------------------------------

def slow_plaut(conf, correct, edges, drop):
    "Unweighted mean over half-open intervals; the last is closed if nothing is dropped."
    gaps = []
    for m, (lo, hi) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        last = m == len(edges) - 2 and not drop
        rows = [i for i, c in enumerate(conf) if lo <= c < hi or (last and c == 1)]
        if rows: gaps.append(abs(np.mean([conf[i] for i in rows]) - np.mean([correct[i] for i in rows])))
    return np.mean(gaps)

@pytest.mark.parametrize('drop', [True, False])
@pytest.mark.parametrize('ones', [0, .05, .4])
@pytest.mark.parametrize('decimals', [None, 1])
def test_plaut_is_their_rule(drop, ones, decimals):
    conf, correct = drawn(decimals=decimals)
    conf[:int(ones * 300)] = 1
    edges = [0, *np.quantile(conf, np.arange(1, 10) / 10), 1]
    assert ece_plaut(conf, correct, drop_ones=drop) == pytest.approx(slow_plaut(conf, correct, edges, drop), rel=1e-12)
    assert ece_plaut_width10(conf, correct, drop) == pytest.approx(slow_plaut(conf, correct, np.linspace(0, 1, 11), drop), rel=1e-12)

def test_plaut_drops_ones_and_only_ones():
    conf, correct = np.array([.2, .4, .6, .8, 1., 1.]), np.array([0, 1, 0, 1, 0, 0])
    assert ece_plaut_width10(conf, correct) == pytest.approx(ece_plaut_width10(conf[:4], correct[:4]))
    assert ece_plaut_width10(conf, correct, False) > ece_plaut_width10(conf, correct)

def slow_chen(conf, pred, label):
    "Sort triples, cut into bins of ceil(n / 100)."
    rows, n = sorted(zip(conf, pred, label, strict=True)), len(conf)
    size = math.ceil(n / 100)
    return sum(abs(sum(c - (p == y) for c, p, y in rows[i:i+size])) for i in range(0, n, size)) / n

@pytest.mark.parametrize('n', [1, 7, 100, 101, 250])
@pytest.mark.parametrize('decimals', [None, 1])
def test_chen_is_their_rule(n, decimals):
    rng = np.random.default_rng(n)
    conf = rng.uniform(.1, 1, n)
    conf = conf if decimals is None else conf.round(decimals)
    pred, label = rng.integers(0, 3, (2, n))
    assert ece_chen_mass100(conf, pred, label) == pytest.approx(slow_chen(conf, pred, label), rel=1e-12)
    ids = [math.ceil(c * 10) for c in conf]
    want = sum(k / n * abs(a - c) for k, c, a in slow_bins(conf, pred == label, ids))
    assert ece_chen_width10(conf, pred == label) == pytest.approx(want, rel=1e-12)

def test_chen_breaks_ties_by_the_label():
    pred, label = np.zeros(1000, int), (np.arange(1000) >= 463).astype(int)
    conf = np.full(1000, .5)
    assert ece_chen_mass100(conf, pred, label) == pytest.approx(.497, abs=.002) and ece_mass(conf, pred == label, 100) == pytest.approx(.037)


# --- invariants ------------------------------------------------------------------------------------------------------------------

ALL = {**METRICS, 'ece_plaut': partial(ece_plaut, drop_ones=False), 'ece_plaut_width10': partial(ece_plaut_width10, drop_ones=False),
       'debiased_l2_15': partial(debiased_l2, bins=1), 'corp': lambda c, y: corp(c, y).mcb}

@quick
@given(pairs(both=True), st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(pair, random):
    order = list(range(len(pair[0]))); random.shuffle(order)
    for name, metric in ALL.items():
        value = metric(*pair)
        assert value == pytest.approx(metric(pair[0][order], pair[1][order]), rel=1e-9, abs=1e-9), name
        assert type(value) is float and math.isfinite(value), name

@quick
@given(pairs(both=True))
def test_doubling_every_row_changes_nothing(pair):
    "But for the measures that count rows: AURC takes steps of one row, the debiased error knows n, quantiles are interpolated."
    twice = np.repeat(pair[0], 2), np.repeat(pair[1], 2)
    for name in ALL.keys() - {'aurc', 'eaurc', 'debiased_l2_15', 'ece_mass15', 'ece_plaut'}:
        assert ALL[name](*twice) == pytest.approx(ALL[name](*pair), rel=1e-9, abs=1e-9), name
    if len(pair[0]) % 2 == 0: assert ece_mass(*twice, 2) == pytest.approx(ece_mass(*pair, 2), abs=1e-12)

@quick
@given(pairs(), st.integers(1, 20))
def test_order_among_the_errors(pair, bins):
    gap, error, root, worst = abs(conf_gap(*pair)), ece(*pair, bins), rmsce(*pair, bins), mce(*pair, bins)
    assert gap <= error + 1e-12 and error <= root + 1e-12 and root <= worst + 1e-12 and worst <= 1
    assert gap <= smece(*pair) + 1e-6 and gap <= ece_mass(*pair, bins) + 1e-12

@quick
@given(pairs(), st.integers(1, 20), st.integers(2, 4))
def test_merging_bins_never_raises_the_error(pair, bins, times):
    assert ece(*pair, bins) <= ece(*pair, bins * times) + 1e-12 and mce(*pair, bins) <= mce(*pair, bins * times) + 1e-12

@quick
@given(pairs(both=True))
def test_ranking_measures_see_ranks_only(pair):
    score, correct = pair
    ranks = stats.rankdata(score, 'dense')
    for metric in (auroc, aurc, eaurc, augrc, partial(coverage_at_risk, risk=.3)):
        assert metric(score, correct) == pytest.approx(metric(ranks * 7. - 50, correct), abs=1e-12)

@quick
@given(st.lists(st.integers(0, 100), min_size=1, max_size=40), st.sampled_from([5, 10, 15, 20, 100]), st.sampled_from(['right', 'left']))
def test_precision_does_not_move_a_decimal(hundredths, bins, closed):
    conf = np.array(hundredths) / 100
    np.testing.assert_array_equal(bin_ids(conf, bins, closed), bin_ids(conf.astype(np.float32), bins, closed))

@pytest.mark.parametrize('name', METRICS)
def test_one_row_and_all_alike(name):
    "Where one row, or one kind of grade, is not enough, the metric says so; it never gives NaN."
    for pair in (([.7], [1]), ([.7], [0]), ([1.] * 40, [0] * 40), ([1.] * 40, [1] * 40), ([0.] * 40, [0] * 40), ([.5] * 40, [0, 1] * 20)):
        try: assert math.isfinite(METRICS[name](*pair))
        except ValueError as e: assert 'must' in str(e)

def test_a_million_rows_need_little_memory():
    conf, correct = drawn(1_000_000)
    for call, limit in ((lambda: ece(conf, correct), 4), (lambda: smece(conf, correct), 4), (lambda: ece_null(conf, draws=3), 60)):
        tracemalloc.start(); call(); peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
        assert peak < limit * 2**20


# --- where the truth is known ----------------------------------------------------------------------------------------------------

def test_true_ece_is_what_the_ece_becomes_with_endless_grades():
    "The same inputs graded over and over: the mean gap of each bin tends to the true one."
    conf, p = drawn(210)[0], np.random.default_rng([3, 9]).random(210)
    grades = np.random.default_rng([3, 10]).random((4000, 210)) < p
    assert ece_mass(np.tile(conf, 4000), grades.ravel()) == pytest.approx(true_ece(conf, p), abs=2e-3)
    assert true_ece(conf, p) < true_calibration_error(conf, p) == pytest.approx(sum(abs(c - t) for c, t in zip(conf, p, strict=True)) / 210)

def test_the_grouping_loss_is_the_variance_inside_equal_confidences():
    "Three confidences, and probabilities with known variance around each; the estimate is right on average for any number of rows."
    spread, got = {.3: .05, .5: .2, .9: .1}, []
    for seed in range(2000):
        rng = np.random.default_rng([seed, 11])
        conf = np.repeat(list(spread), 4)
        got.append(grouping_loss(conf, np.clip(conf + rng.choice([-1, 1], 12) * [spread[c] for c in conf], 0, 1), bins=3))
    assert np.mean(got) == pytest.approx(np.mean([v**2 for v in spread.values()]), abs=3 * np.std(got) / 2000**.5)

def test_the_distance_to_the_truth_falls_into_two_parts():
    "E(conf - P)² = calibration + grouping loss, exact where the confidences are tied in large groups."
    rng = np.random.default_rng([4, 9])
    conf, p = np.repeat([.2, .6, .7], 1000), rng.random(3000)
    calibration = np.mean([(c - p[conf == c].mean())**2 for c in (.2, .6, .7)])
    assert grouping_loss(conf, p, 3) * 999 / 1000 + calibration == pytest.approx(np.mean((conf - p)**2))

def test_a_model_that_reports_the_truth_has_no_true_error():
    p = np.random.default_rng([5, 9]).random(500)
    assert [f(p, p) for f in TRUE_METRICS.values()] == [0, 0, 0]
    assert [f(p, p.astype(np.float32)) < 1e-7 for f in TRUE_METRICS.values()] == [True] * 3

@pytest.mark.parametrize('name', TRUE_METRICS)
def test_true_metrics_ignore_order(name):
    conf, p, turn = drawn(300, decimals=1)[0], np.random.default_rng([6, 9]).random(300), np.random.default_rng(1).permutation(300)
    assert TRUE_METRICS[name](conf, p) == pytest.approx(TRUE_METRICS[name](conf[turn], p[turn]), abs=1e-12)
