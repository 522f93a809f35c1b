"Inference: twins written as the definition, limit cases, golden values, known truth, and rates that simulation must show."
import json, math
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar as sm_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired
import statsmodels.api as sm
import statsmodels.regression.mixed_linear_model as mlm
from plcal_study.measure import inference
from plcal_study.measure.metrics import augrc, aurc
from plcal_study.measure.inference import (correlation_difference, Test, answer, augrc_interval, auroc_interval, aurc_interval, bh, delong, detectable_correlation, holm, kendall, leave_one_out,
    mann_whitney, mcnemar, mean_difference, mixed_model, n_for_mean, pearson, power_correlation, power_mean, spearman, tost)

GOLDEN = json.loads((Path(__file__).parent / 'golden.json').read_text())
SETS = [k for k in GOLDEN if 'delong_var' in GOLDEN[k]]

def drawn(g):
    "The data behind the golden values: confidence, margin, and whether the answer was right."
    rng = np.random.default_rng(g['seed'])
    z = rng.normal(size=(g['n'], g['k'])) * 1.5
    label = np.array([rng.choice(g['k'], p=p) for p in softmax(z, axis=1)])
    probs = softmax(z / g['T'], axis=1)
    top = np.sort(probs, axis=1)
    return top[:, -1], top[:, -1] - top[:, -2], probs.argmax(1) == label

@st.composite
def answers(draw, least=1, models=1):
    "Scores with ties and grades with at least so many of both kinds."
    n = draw(st.integers(2 * least, 40))
    scores = [draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n)) for _ in range(models)]
    correct = draw(st.permutations([True] * (k := draw(st.integers(least, n - least))) + [False] * (n - k)))
    return np.array(scores, float), np.array(correct)

COMMON = settings(deadline=None, max_examples=30, derandomize=True, database=None)


# ── golden values ────────────────────────────────────────────────────────────────────────────────

def test_golden_sets_are_there(): assert len(SETS) == 4

@pytest.mark.parametrize('name', SETS)
def test_golden(name):
    g = GOLDEN[name]
    conf, margin, correct = drawn(g)
    d, u = delong([conf, margin], correct), mann_whitney(conf, correct)
    assert d.cov[0, 0] == pytest.approx(g['delong_var'], rel=1e-9)
    assert (d.auc[0], d.auc[1]) == (pytest.approx(g['sk_auroc'], abs=1e-12), pytest.approx(g['margin_auroc'], abs=1e-12))
    assert math.log10(d.compare(0, 1).p) == pytest.approx(g['delong_log10p_msp_vs_margin'] or 0., rel=1e-9) # null: the same order
    assert (u.u, u.p) == (g['mwu_U'], pytest.approx(2 * g['mwu_p_greater'], rel=1e-12))
    assert spearman(conf, correct).estimate == pytest.approx(g['spearman'], rel=1e-12)
    assert kendall(conf, correct).estimate == pytest.approx(g['kendall_b'], rel=1e-12)


# ── DeLong ───────────────────────────────────────────────────────────────────────────────────────

def slow_components(score, correct):
    "V10 and V01 pair by pair."
    x, y = score[correct], score[~correct]
    wins = np.array([[(a > b) + (a == b) / 2 for b in y] for a in x])
    return wins.mean(1), wins.mean(0)

def slow_cov(scores, correct):
    "DeLong et al. 1988, as they write it."
    parts = [slow_components(s, correct) for s in scores]
    s10, s01 = (np.atleast_2d(np.cov([p[i] for p in parts])) for i in (0, 1))
    return s10 / correct.sum() + s01 / (~correct).sum()

def slow_obuchowski(score, correct, cluster):
    "Obuchowski 1997, eq. 1–4, cluster by cluster."
    v10, v01 = slow_components(score, correct)
    m, n, auc = correct.sum(), (~correct).sum(), v10.mean()
    right, wrong, names = cluster[correct], cluster[~correct], np.unique(cluster)
    a = {c: v10[right == c].sum() - (right == c).sum() * auc for c in names}
    b = {c: v01[wrong == c].sum() - (wrong == c).sum() * auc for c in names}
    i10, i01, i = len(np.unique(right)), len(np.unique(wrong)), len(names)
    s10 = i10 / ((i10 - 1) * m) * sum(v**2 for v in a.values())
    s01 = i01 / ((i01 - 1) * n) * sum(v**2 for v in b.values())
    s11 = i / (i - 1) * sum(a[c] * b[c] for c in names)
    return s10 / m + s01 / n + 2 * s11 / (m * n)

@COMMON
@given(answers(least=2, models=3))
def test_delong_is_the_definition(data):
    scores, correct = data
    d = delong(scores, correct)
    np.testing.assert_allclose(d.cov, slow_cov(scores, correct), rtol=1e-9, atol=1e-15, strict=True)
    np.testing.assert_allclose(d.auc, [roc_auc_score(correct, s) for s in scores], atol=1e-12, strict=True)
    assert np.linalg.eigvalsh(d.cov).min() >= -1e-15
    assert (0 <= d.lo).all() and (d.lo <= d.auc).all() and (d.auc <= d.hi).all() and (d.hi <= 1).all()
    np.testing.assert_allclose([auroc_interval(s, correct)[:3] for s in scores], np.column_stack([d.auc, d.lo, d.hi]), rtol=1e-7, strict=True)

@COMMON
@given(answers(least=2, models=2), st.integers(0, 99))
def test_delong_ignores_order_and_scale(data, seed):
    scores, correct = data
    order = np.random.default_rng(seed).permutation(len(correct))
    d, e = delong(scores, correct), delong(3 * scores[:, order] - 7, correct[order])
    np.testing.assert_allclose(e.cov, d.cov, rtol=1e-12, atol=1e-18, strict=True)
    np.testing.assert_array_equal(d.auc, e.auc, strict=True)

@COMMON
@given(answers(least=2, models=2))
def test_models_that_rank_alike_do_not_differ(data):
    scores, correct = data
    assert delong([scores[0], np.exp(scores[0])], correct).compare(0, 1)[:4] == (0, 0, 0, 1)
    assert delong([scores[0], scores[0], 2 * scores[0]], correct).equal() == 1

def test_compare_by_hand():
    rng = np.random.default_rng(0)
    correct = rng.random(120) < .6
    scores = rng.normal(size=(2, 120)) + correct
    d = delong(scores, correct)
    t, se = d.compare(0, 1), math.sqrt(d.cov[0, 0] + d.cov[1, 1] - 2 * d.cov[0, 1])
    assert t.estimate == pytest.approx(d.auc[0] - d.auc[1])
    assert (t.lo, t.hi) == (pytest.approx(t.estimate - 1.959963984540054 * se), pytest.approx(t.estimate + 1.959963984540054 * se))
    assert t.p == pytest.approx(2 * stats.norm.sf(abs(t.estimate) / se)) and t.n == 120
    assert d.equal() == pytest.approx(t.p) # with two models the joint test is this one
    assert d.compare(1, 0)[:4] == pytest.approx((-t.estimate, -t.hi, -t.lo, t.p))
    assert d.contrast([.5, -.5]).p == pytest.approx(t.p)

def test_equal_is_the_wald_test():
    rng = np.random.default_rng(1)
    correct = rng.random(200) < .6
    d = delong(rng.normal(size=(4, 200)) + correct * np.array([[.4], [.6], [.8], [1.]]), correct)
    step = np.eye(4)[1:] - np.eye(4)[0]
    wald = (step @ d.auc) @ np.linalg.solve(step @ d.cov @ step.T, step @ d.auc)
    assert d.equal() == pytest.approx(stats.chi2.sf(wald, 3))

def test_grades_of_their_own():
    "With the same grades for all, one row or m rows of them say the same; with other grades, the diagonal is that of each model alone."
    rng = np.random.default_rng(2)
    grades = rng.random((2, 150)) < [[.5], [.7]]
    scores = rng.normal(size=(2, 150)) + grades
    d, same = delong(scores, grades), delong(scores, np.stack([grades[0]] * 2))
    np.testing.assert_array_equal(same.cov, delong(scores, grades[0]).cov)
    for i in (0, 1): assert d.cov[i, i] == pytest.approx(slow_cov(scores[i:i+1], grades[i])[0, 0])

@pytest.mark.parametrize('mixed', [True, False])
def test_clusters_are_obuchowski(mixed):
    "Exactly where every cluster holds both kinds; where some lack one, the product of the kinds has their factors too, a matter of 1/clusters."
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(20), 8)
    correct = np.tile([True, False] * 4, 20) if mixed else rng.random(160) < rng.random(20)[cluster]
    score = rng.normal(size=20)[cluster] + rng.normal(size=160) + correct
    a, b = delong(score, correct, cluster), slow_obuchowski(score, correct, cluster)
    assert a.cov[0, 0] == pytest.approx(b, rel=1e-9 if mixed else .01)
    names = np.array([f'c{i}' for i in cluster])
    ci = auroc_interval(score, correct, names)
    assert (ci.estimate, ci.lo, ci.hi) == pytest.approx((a.auc[0], a.lo[0], a.hi[0]))
    assert (ci.clusters, ci.n, ci.draws, ci.method, a.df) == (20, 160, 0, 'Obuchowski, logit', 19)
    assert (ci.hi - ci.lo) > (auroc_interval(score, correct).hi - auroc_interval(score, correct).lo)

def test_one_question_a_cluster_is_delong():
    rng = np.random.default_rng(4)
    correct = rng.random(80) < .6
    scores = rng.normal(size=(2, 80)) + correct
    np.testing.assert_allclose(delong(scores, correct, np.arange(80)).cov, delong(scores, correct).cov, rtol=1e-12, strict=True)

def test_clustered_comparison_uses_student():
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(6), 20)
    correct = rng.random(120) < .6
    d = delong(rng.normal(size=(3, 120)) + correct, correct, cluster)
    t = d.compare(0, 1)
    se = math.sqrt(np.square(d.influence[0] - d.influence[1]).sum())
    assert t.hi - t.estimate == pytest.approx(stats.t.ppf(.975, 5) * se) and t.p == pytest.approx(2 * stats.t.sf(abs(t.estimate) / se, 5))
    assert delong(d.influence[:2] @ np.zeros((6, 120)) + rng.normal(size=(2, 120)), correct, cluster).equal() <= 1

@pytest.mark.parametrize('n1, n0', [(1, 1), (1, 30), (2, 2), (40, 60)])
def test_perfect_order_is_not_certainty(n1, n0):
    correct = np.r_[np.ones(n1, bool), np.zeros(n0, bool)]
    up, down = auroc_interval(correct.astype(float), correct), auroc_interval(-correct.astype(float), correct)
    assert (up.estimate, up.hi, down.estimate, down.lo) == (1, 1, 0, 0) and up.method == down.method == 'Newcombe, score'
    assert 0 < up.lo < 1 and up.lo == pytest.approx(1 - down.hi)
    t, star = up.lo, (n1 + n0) / 2 - 1 # the bound is where the score test is just not rejected
    sd = math.sqrt(t * (1 - t) / (n1 * n0) * (1 + star * (1 - t) / (2 - t) + star * t / (1 + t)))
    assert (1 - t) / sd == pytest.approx(1.959963984540054, rel=1e-6)

def test_a_constant_score_is_chance_with_an_interval():
    ci = auroc_interval(np.ones(50), np.arange(50) < 20)
    assert ci.estimate == .5 and ci.lo < .4 and ci.hi == pytest.approx(1 - ci.lo)

def test_float32_and_extremes():
    rng = np.random.default_rng(6)
    correct, score = rng.random(60) < .5, rng.normal(size=60).astype(np.float32)
    assert auroc_interval(score, correct)[:3] == auroc_interval(score.astype(float), correct)[:3]
    assert auroc_interval(score * np.float32(1e30), correct)[:3] == auroc_interval(score, correct)[:3]
    assert auroc_interval(np.where(score > 0, 0., -0.), correct).estimate == .5 # −0 equals 0

def test_level_widens():
    correct = np.arange(40) % 3 > 0
    score = np.sin(np.arange(40.))
    a, b = auroc_interval(score, correct, level=.9), auroc_interval(score, correct, level=.99)
    assert b.lo < a.lo < a.hi < b.hi and (a.level, b.level) == (.9, .99)


# ── rates ────────────────────────────────────────────────────────────────────────────────────────

@pytest.mark.parametrize('n, acc, shift', [(60, .6, 1.), (200, .75, 1.), (300, .7, 2.5)])
def test_interval_covers(n, acc, shift):
    truth, hit = stats.norm.cdf(shift / 2**.5), []
    for r in range(600):
        rng = np.random.default_rng([1, r])
        correct = rng.random(n) < acc
        ci = auroc_interval(rng.normal(size=n) + shift * correct, correct)
        hit.append(ci.lo <= truth <= ci.hi)
    assert .93 <= np.mean(hit) <= .975

@pytest.mark.parametrize('own', [False, True], ids=['same grades', 'own grades'])
def test_paired_delong_keeps_its_level(own):
    "And ignoring the covariance would not: that test rejects far too seldom."
    paired, apart = [], []
    for r in range(500):
        rng = np.random.default_rng([2, r])
        shared = rng.normal(size=150)
        first = rng.random(150) < .6
        second = np.where(rng.random(150) < .7, first, rng.random(150) < .6) if own else first
        d = delong([shared + .5 * rng.normal(size=150) + c for c in (first, second)], [first, second])
        paired.append((t := d.compare(0, 1)).p < .05)
        apart.append(abs(t.estimate) > 1.96 * math.sqrt(d.cov.trace()))
    assert .03 <= np.mean(paired) <= .07 and np.mean(apart) < .02

def test_clusters_matter():
    "Twenty subjects of ten questions: the naive test of a difference that is not there rejects thrice as often as it says."
    naive, clustered = [], []
    cluster = np.repeat(np.arange(20), 10)
    for r in range(400):
        rng = np.random.default_rng([3, r])
        correct = rng.normal(size=20)[cluster] + rng.normal(size=200) > -.5
        scores = rng.normal(size=(2, 20))[:, cluster] + rng.normal(size=(2, 200)) + correct
        naive.append(delong(scores, correct).compare(0, 1).p < .05)
        clustered.append(delong(scores, correct, cluster).compare(0, 1).p < .05)
    assert np.mean(naive) > .12 and .03 <= np.mean(clustered) <= .075

@pytest.mark.parametrize('f, truth', [(pearson, lambda r: r), (spearman, lambda r: 6 / np.pi * np.arcsin(r / 2)), (kendall, lambda r: 2 / np.pi * np.arcsin(r))])
def test_correlation_covers(f, truth):
    hit, found = [], []
    for r in range(250):
        x, e = np.random.default_rng([4, r]).normal(size=(2, 14))
        t = f(x, .6 * x + .8 * e)
        hit.append(t.lo <= truth(.6) <= t.hi)
        found.append(f(x, e).p < .05)
    assert .92 <= np.mean(hit) <= .985 and .02 <= np.mean(found) <= .08


# ── Mann–Whitney, McNemar, means ─────────────────────────────────────────────────────────────────

@pytest.mark.parametrize('n', [2, 3, 9, 16, 17, 18, 60, 500])
@pytest.mark.parametrize('digits', [0, 1, 12])
def test_mann_whitney_is_scipys_to_the_bit(n, digits):
    for r in range(15):
        rng = np.random.default_rng([n, digits, r])
        score, correct = rng.normal(size=n).round(digits), rng.permutation(np.arange(n) < rng.integers(1, n))
        ref, ours = stats.mannwhitneyu(score[correct], score[~correct]), mann_whitney(score, correct)
        assert (ours.p, ours.u) == (ref.pvalue, ref.statistic)
        assert ours.estimate == pytest.approx(2 * roc_auc_score(correct, score) - 1, abs=1e-12) and ours.lo <= ours.estimate <= ours.hi
        ci = auroc_interval(score, correct)
        assert (ours.lo, ours.hi, ours.auroc, ours.n) == (2 * ci.lo - 1, 2 * ci.hi - 1, ci.estimate, n)

def test_mann_whitney_of_a_constant():
    assert mann_whitney(np.ones(30), np.arange(30) < 10)[3:] == (1., 30, 'asymptotic', 100., .5)

@pytest.mark.parametrize('seed', range(6))
def test_mcnemar_is_the_definition(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 40)) < [[.7], [.5]]
    t = mcnemar(a, b)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert t.p == pytest.approx(sm_mcnemar(table, exact=True).pvalue) and t.estimate == pytest.approx(a.mean() - b.mean())
    p, q = (table[0][1] + 1) / 42, (table[1][0] + 1) / 42
    assert (t.lo + t.hi) / 2 == pytest.approx(p - q) and (t.hi - t.lo) / 2 == pytest.approx(1.959963984540054 * math.sqrt((p + q - (p - q)**2) / 42))
    assert mcnemar(b, a)[:4] == pytest.approx((-t.estimate, -t.hi, -t.lo, t.p))

@pytest.mark.parametrize('a, b', [([1], [0]), ([0] * 5, [1] * 5), ([1] * 200, [0] * 200), ([1, 0], [1, 0])])
def test_mcnemar_at_the_ends(a, b):
    t = mcnemar(a, b)
    assert -1 <= t.lo <= t.estimate <= t.hi <= 1 and (t.p == 1 if a == b or len(a) == 1 else t.p < .1)

def test_mean_difference_is_the_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    t, ref = mean_difference(a, b), stats.ttest_rel(a, b)
    assert t.p == pytest.approx(ref.pvalue)
    assert (t.lo, t.hi) == pytest.approx(tuple(ref.confidence_interval()))
    assert mean_difference(a, a)[:4] == (0, 0, 0, 1)

def test_mean_difference_by_cluster_is_that_of_statsmodels():
    rng = np.random.default_rng(1)
    cluster = np.sort(rng.integers(0, 8, 60))
    a, b = rng.normal(size=(2, 60)) + rng.normal(size=8)[cluster] * [[1], [.2]]
    fit = sm.OLS(a - b, np.ones(60)).fit(cov_type='cluster', cov_kwds=dict(groups=cluster), use_t=True)
    t = mean_difference(a, b, cluster)
    assert t.p == pytest.approx(fit.pvalues[0]) and (t.lo, t.hi) == pytest.approx(tuple(fit.conf_int()[0]))
    np.testing.assert_allclose(mean_difference(a, b, np.arange(60))[:4], mean_difference(a, b)[:4], rtol=1e-12)


# ── correlation, multiplicity, equivalence ───────────────────────────────────────────────────────

@pytest.mark.parametrize('n', [5, 14, 60])
def test_correlations_are_scipys(n):
    x, e = np.random.default_rng(n).normal(size=(2, n))
    y = x + e
    for f, ref in ((pearson, stats.pearsonr), (spearman, stats.spearmanr), (kendall, stats.kendalltau)):
        t, (r, p) = f(x, y), ref(x, y)
        assert (t.estimate, t.p, t.n) == (pytest.approx(r), pytest.approx(p), n)
        assert f(x, -y)[:3] == pytest.approx((-t.estimate, -t.hi, -t.lo))
    assert tuple(stats.pearsonr(x, y).confidence_interval(.9)) == pytest.approx(pearson(x, y, level=.9)[1:3])
    s, k = spearman(x, y), kendall(x, y)
    for t, c in ((s, math.sqrt((1 + s.estimate**2 / 2) / (n - 3))), (k, math.sqrt(.437 / (n - 4)))):
        assert [math.atanh(t.lo), math.atanh(t.hi)] == pytest.approx([math.atanh(t.estimate) - 1.959963984540054 * c, math.atanh(t.estimate) + 1.959963984540054 * c])

def test_perfect_ranks_are_not_certainty():
    x = np.arange(8.)
    for f in (spearman, kendall):
        up, down = f(x, x**3), f(x, -x**3)
        assert up.estimate == up.hi == 1 and 0 < up.lo < 1 and down[:3] == pytest.approx((-1, -1, -up.lo))
        near = f(x, np.r_[x[1], x[0], x[2:]])
        assert up.lo == pytest.approx(near.lo, abs=.01) # one exchange away
    assert spearman(x, x).p == 2 / math.factorial(8) == kendall(x, x).p # one order of 8! either way
    assert pearson(x, 2 * x)[:3] == pytest.approx((1, 1, 1)) # a straight line is one

@pytest.mark.parametrize('r', [0, 1e-9, .5, -.9, .999999, 1 - 1e-9])
def test_pearson_to_the_last_digits(r):
    x, e = np.array([[1, -1, 0, 1, -1, 0.], [1, 1, -2, 1, 1, -2.]]) # at right angles
    y = r * x / 2 + math.sqrt(1 - r**2) * e / math.sqrt(12)
    for scale in (1, 1e-150, 1e150):
        assert pearson(x, scale * y)[::3] == pytest.approx(tuple(stats.pearsonr(x, y)), rel=1e-6, abs=1e-12)

@pytest.mark.parametrize('seed', range(20))
def test_adjusted_p(seed):
    rng = np.random.default_rng(seed)
    p = np.r_[rng.random(rng.integers(1, 15))**3, rng.integers(0, 5, 4) / 4] # with ties, zeros and ones
    for f, name in ((holm, 'holm'), (bh, 'fdr_bh')): np.testing.assert_allclose(f(p), multipletests(p, method=name)[1], rtol=1e-12, strict=True)
    assert (holm(p) >= p).all() and (bh(p) >= p * (1 - 1e-12)).all() and (holm(p) >= bh(p) * (1 - 1e-12)).all()

@pytest.mark.parametrize('margin', [.1, .5, 2.])
def test_tost_is_that_of_statsmodels(margin):
    a, b = np.random.default_rng(0).normal(size=(2, 40))
    d = a - b
    p, _, _ = ttost_paired(a, b, -margin, margin)
    t = tost(d.mean(), d.std(ddof=1) / 40**.5, margin, df=39)
    assert t.p == pytest.approx(p) and t.equivalent == (p <= .05)
    assert t.equivalent == (-margin <= t.lo and t.hi <= margin)
    assert (t.lo, t.hi) == pytest.approx(mean_difference(a, b, level=.9)[1:3])

def test_answer_has_three_values():
    assert [answer(*c) for c in ((.1, .2), (-.2, -.1), (-.1, .1), (0., .1), (-.1, 0.))] == ['yes', 'no', 'undecided', 'undecided', 'no']
    assert answer(.1, .2, least=.15) == 'undecided' and answer(-math.inf, math.inf) == 'undecided'


# ── power ────────────────────────────────────────────────────────────────────────────────────────

def test_power_of_a_mean():
    for diff, n in ((.3, 40), (-.3, 40), (.05, 5000)):
        assert power_mean(diff, 1., n) == pytest.approx(TTestPower().power(diff, n, .05), abs=1e-6)
    found = stats.ttest_1samp(np.random.default_rng(5).normal(.4, 1, (4000, 40)), 0, axis=1).pvalue < .05
    assert found.mean() == pytest.approx(power_mean(.4, 1., 40), abs=.025)
    assert n_for_mean(.3, 1.) == math.ceil(TTestPower().solve_power(.3, power=.8, alpha=.05))
    assert power_mean(5., 1., 1000) == 1 and n_for_mean(9., 1., power=.5) == 2

def test_power_of_a_correlation():
    for rho, n in ((.5, 14), (-.7, 14), (.3, 60)):
        x, e = np.random.default_rng([6, n]).normal(size=(2, 4000, n))
        x, y = (v - v.mean(1, keepdims=True) for v in (x, rho * x + math.sqrt(1 - rho**2) * e))
        r = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
        found = 2 * stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2) < .05
        assert power_correlation(rho, n) == pytest.approx(found.mean(), abs=.025)
    assert power_correlation(0., 14) == pytest.approx(.05, abs=.01)
    assert power_correlation(detectable_correlation(30, .9), 30) == pytest.approx(.9)


# ── mixed models ─────────────────────────────────────────────────────────────────────────────────

def cells(seed, model=1., data=1., slope=.5, models=12):
    "A balanced table of models × 5 data sets × 2 prompts; x is a property of models."
    rng = np.random.default_rng([seed, 7])
    x = rng.normal(size=models)
    df = pd.DataFrame([(f'm{i}', f'd{j}', k, x[i]) for i in range(models) for j in range(5) for k in range(2)], columns=['model', 'data', 'prompt', 'x'])
    df['y'] = slope * df.x + model * rng.normal(size=models).repeat(10) + data * np.tile(rng.normal(size=5).repeat(2), models) + rng.normal(size=len(df))
    return df

@pytest.mark.parametrize('scale', [1., .01, 1000.])
def test_balanced_mixed_model_is_the_regression_of_means(scale):
    "In a balanced table the t test of a property of models is that of the models' means, an exact truth; and the unit of y does not matter."
    df = cells(1).assign(y=lambda d: d.y * scale)
    m = mixed_model(df, 'y ~ x', ['model', 'data'])
    means = df.groupby('model').mean(numeric_only=True)
    ref = stats.linregress(means.x, means.y)
    t = m['x']
    assert m.method == 'REML' and not m.why
    assert (t.estimate, t.p, t.n) == (pytest.approx(ref.slope), pytest.approx(ref.pvalue, rel=.01), 120)
    half = stats.t.ppf(.975, 10) * ref.stderr
    assert (t.lo, t.hi) == (pytest.approx(ref.slope - half, rel=.01), pytest.approx(ref.slope + half, rel=.01))
    assert m.terms.loc['x', 'df'] == 10 and m.terms.loc['Intercept', 'df'] == 4

def test_mixed_model_recovers_the_truth():
    m = mixed_model(cells(2, model=.5, data=2., slope=1., models=30), 'y ~ x', ['model', 'data'])
    assert m['x'].lo <= 1 <= m['x'].hi and m.sd['model'] == pytest.approx(.5, abs=.2) and m.sd['rest'] == pytest.approx(1, abs=.1)
    assert .9 < m.sd['data'] < 4

def test_one_factor_is_statsmodels_own_random_intercept():
    df = cells(3, data=0.)
    fit = mlm.MixedLM.from_formula('y ~ x', df, groups='model').fit()
    m = mixed_model(df, 'y ~ x', 'model')
    np.testing.assert_allclose(m.terms.estimate, fit.fe_params, rtol=1e-5)
    assert m.sd['model']**2 == pytest.approx(float(fit.cov_re.iloc[0, 0]), rel=1e-3)

def jackknife_twin(df):
    "Slope and its error from leaving out one model at a time, through statsmodels."
    def slope(d): return sm.OLS(d.y, sm.add_constant(d.x)).fit().params['x']
    all_, parts = slope(df), [slope(df[df.model != m]) for m in df.model.unique()]
    return all_, math.sqrt(sum((p - all_)**2 for p in parts) * (len(parts) - 1) / len(parts))

def same_as_fallback(m, df, why):
    est, se = jackknife_twin(df)
    assert m.method == 'least squares, cluster jackknife' and why in m.why and m.sd == {}
    assert m['x'].estimate == pytest.approx(est) and m['x'].p == pytest.approx(2 * stats.t.sf(abs(est) / se, df.model.nunique() - 1))

FAILS = [('LinAlgError: Singular', dict(error=np.linalg.LinAlgError('Singular'))), ('did not converge', dict(converged=False)),
         ('no standard error', dict(bse_fe=np.array([np.nan, 1.]))), ('variance of model is 0', dict(vcomp=np.array([1e-9, .5]))),
         ('every fixed effect at 0', dict(fe_params=np.zeros(2)))]

@pytest.mark.parametrize('why, fault', FAILS, ids=[w for w, _ in FAILS])
def test_a_mixed_model_that_fails_is_seen(why, fault, monkeypatch):
    "Also when it fails without a word: fixed effects of exactly 0, converged = True (statsmodels issue 10239)."
    good = dict(converged=True, bse_fe=np.ones(2), fe_params=np.ones(2), vcomp=np.array([.5, .5]), scale=1., model=SimpleNamespace(exog_vc=SimpleNamespace(names=['model', 'data'])))
    def fit(self, **_):
        if 'error' in fault: raise fault['error']
        return SimpleNamespace(**(good | fault))
    monkeypatch.setattr(mlm.MixedLM, 'fit', fit)
    df = cells(4)
    same_as_fallback(mixed_model(df, 'y ~ x', ['model', 'data']), df, why)

def test_no_random_effect_falls_back_by_itself():
    df = cells(0, model=0., data=0.)
    same_as_fallback(mixed_model(df, 'y ~ x', ['model', 'data']), df, '')

def test_fallback_keeps_its_level():
    "Where 140 cells taken as independent would find a property of models that does nothing in a third of all tables."
    jack, naive = [], []
    codes = np.arange(14).repeat(10)
    for r in range(200):
        rng = np.random.default_rng([8, r])
        x, y = rng.normal(size=14)[codes], rng.normal(size=14)[codes] + rng.normal(size=140)
        beta, se = inference._jackknife(y, design := np.column_stack([np.ones(140), x]), codes)
        jack.append(2 * stats.t.sf(abs(beta[1] / se[1]), 13) < .05)
        naive.append(stats.linregress(design[:, 1], y).pvalue < .05)
    assert .02 <= np.mean(jack) <= .085 and np.mean(naive) > .25


# ── leaving out ──────────────────────────────────────────────────────────────────────────────────

def test_leave_one_out():
    rng = np.random.default_rng(0)
    family = np.array(list('aabbbccddddd'))
    x, y = rng.normal(size=(2, 12))
    t = leave_one_out(family, lambda keep: pearson(x[keep], y[keep]))
    assert list(t.columns) == ['left_out', 'kept', 'estimate', 'lo', 'hi', 'p'] and t.kept.tolist() == [12, 10, 9, 10, 7]
    for row in t.itertuples():
        assert row.estimate == pytest.approx(pearson(x[family != row.left_out], y[family != row.left_out]).estimate)
    assert leave_one_out(family, lambda keep: x[keep].mean()).estimate[0] == pytest.approx(x.mean())

def test_results_print_themselves():
    assert str(Test(.0432, -.05, .0499, .00321, 2000, 't')) == '0.043 [-0.050, 0.050], p = 0.0032, n = 2000'


# ---- two correlations that share a variable ---------------------------------------------------------------------------
def test_correlation_difference_keeps_its_level_and_its_coverage():
    "Two measures equally close to x, correlated with each other: 5% rejections, 95% of intervals hold 0."
    rng, low, held = np.random.default_rng([3, 3]), 0, 0
    for _ in range(600):
        x = rng.normal(size=20)
        shared = rng.normal(size=20)
        a, b = (.8 * x + .5 * shared + .5 * rng.normal(size=20) for _ in range(2))
        t = correlation_difference(x, a, b)
        low += t.p < .05; held += t.lo <= 0 <= t.hi
    assert .03 <= low / 600 <= .075 and .92 <= held / 600 <= .98

def test_correlation_difference_is_williams_as_printed():
    "Steiger (1980): r12 = .4, r13 = .5, r23 = .1 at n = 103 gives t = -.89 with 100 degrees of freedom."
    rng = np.random.default_rng([4, 3])
    want = np.array([[1, .4, .5], [.4, 1, .1], [.5, .1, 1]])
    z = rng.normal(size=(103, 3)); z = (z - z.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(z.T)).T) @ np.linalg.cholesky(want).T
    from scipy.stats import t as student
    r = np.corrcoef(z.T); assert np.allclose(r, want)
    np.testing.assert_allclose(correlation_difference(z[:, 0], z[:, 1], z[:, 2]).p, 2 * student.sf(.89, 100), atol=.01)

# ---- folds share data ------------------------------------------------------------------------------------------------
def test_the_resampled_interval_is_that_of_nadeau_and_bengio():
    from plcal_study.measure.inference import resampled_mean
    x, share = np.array([.7, .8, .75, .9, .65, .7]), 1 / 5
    se = np.sqrt((1 / 6 + share) * x.var(ddof=1))
    got = resampled_mean(x, share, .9)
    assert (got.lo, got.hi) == pytest.approx((x.mean() - stats.t.ppf(.95, 5) * se, x.mean() + stats.t.ppf(.95, 5) * se))
    assert got.p == pytest.approx(2 * stats.t.sf(x.mean() / se, 5)) and got.n == 6
    plain = stats.ttest_1samp(x, 0)
    assert resampled_mean(x, 0).p == pytest.approx(plain.pvalue) and resampled_mean(x, 0)[1:3] == pytest.approx(tuple(plain.confidence_interval()))
    assert resampled_mean([.5, .5], .25)[:4] == (.5, .5, .5, 0) and resampled_mean([0., 0.], .25).p == 1

def test_it_covers_where_the_naive_one_does_not():
    "Folds of a mean, repeated: 400 data sets."
    from plcal_study.measure.inference import resampled_mean
    hits = np.zeros(2)
    for s in range(400):
        rng = np.random.default_rng([s, 77])
        y, scores = rng.normal(size=40), []
        for _ in range(4):
            for test in np.split(rng.permutation(40), 4):
                scores.append(((y[test] - np.delete(y, test).mean()) ** 2).mean())
        hits += [t.lo <= 1 + 1 / 30 <= t.hi for t in (resampled_mean(scores, 0), resampled_mean(scores, 1 / 3))]
    assert hits[0] / 400 < .8 and .9 < hits[1] / 400 < .99


def test_ties_widen_the_interval_of_kendall_as_the_enumeration_of_all_orders_says():
    import itertools
    from plcal_study.measure.inference import _tied
    x, y, plain = np.array([1, 1, 2, 3, 3.]), np.array([1, 2, 2, 3, 4.]), np.arange(5.)
    def spread(a, b): return np.std([stats.kendalltau(a, np.array(o)).statistic for o in itertools.permutations(b)])
    assert _tied(plain, plain) == pytest.approx(1) and _tied(x, y) == pytest.approx(spread(x, y) / spread(plain, plain))
    t = kendall(x, y)
    assert np.arctanh(t.hi) - np.arctanh(t.lo) == pytest.approx(2 * 1.959964 * np.sqrt(.437) * _tied(x, y), rel=1e-6)


# ---- areas under risk–coverage curves -------------------------------------------------------------------------------
def jackknife(area, score, correct, unit):
    "Standard error by leaving out one unit at a time."
    left = np.array([area(score[unit != u], correct[unit != u]) for u in np.unique(unit)])
    return float(np.sqrt(((left - left.mean())**2).sum() * (len(left) - 1) / len(left)))

@pytest.mark.parametrize('interval, area', [(aurc_interval, aurc), (augrc_interval, augrc)])
@pytest.mark.parametrize('digits', [6, 1])
@pytest.mark.parametrize('of', [1, 4])
def test_area_intervals_are_those_of_the_jackknife(interval, area, digits, of):
    "A slow twin: with and without ties, with and without clusters."
    rng = np.random.default_rng(2)
    score = np.round(rng.beta(4, 1.5, 400), digits)
    correct, unit = rng.random(400) < score, np.arange(400) // of
    got = interval(score, correct, None if of == 1 else unit)
    se = math.log(got.hi / got.lo) / 2 / stats.t.ppf(.975, got.clusters - 1) * got.estimate
    assert got.estimate == area(score, correct) and got.lo < got.estimate < got.hi and got.clusters == 400 // of
    assert se == pytest.approx(jackknife(area, score, correct, unit), rel=.06)

@pytest.mark.parametrize('interval, area', [(aurc_interval, aurc), (augrc_interval, augrc)])
def test_area_intervals_hold_the_truth(interval, area):
    rng = np.random.default_rng(3)
    big = rng.beta(4, 1, 400_000)
    truth, held = area(big, rng.random(len(big)) < big), 0
    for _ in range(300):
        score = rng.beta(4, 1, 200)
        got = interval(score, rng.random(200) < score)
        held += got.lo <= truth <= got.hi
    assert .9 <= held / 300 <= .985

def test_influences_of_areas_sum_to_nothing_and_ignore_order():
    rng = np.random.default_rng(4)
    score, wrong, order = np.round(rng.random(60), 1), rng.random(60) < .3, rng.permutation(60)
    for f, g in zip(inference._area_influence(score, wrong), inference._area_influence(score[order], wrong[order]), strict=True):
        assert abs(f().sum()) < 1e-12
        np.testing.assert_allclose(f()[order], g(), atol=1e-12)


# ---- what has no spread, or no value -----------------------------------------------------------------------------------
@pytest.mark.parametrize('n', [2, 3, 10, 100, 500, 5000, 100_000])
@pytest.mark.parametrize('d', [.05, .3, .5, 1, 8, 21.3])
def test_power_has_a_value_everywhere_and_grows(d, n):
    p = power_mean(d, 1, n)
    assert 0 <= power_mean(d / 2, 1, n) <= p + 1e-12 and power_mean(-d, 1, n) == p and p <= power_mean(d, 1, 2 * n) + 1e-12
    with np.errstate(all='ignore'): theirs = TTestPower().power(d, n, .05)
    if np.isfinite(theirs): assert p == pytest.approx(theirs, abs=1e-6)

def test_few_questions_reach_a_power_when_they_do():
    assert power_mean(8, 1, 2) == pytest.approx(.625, abs=.001) and n_for_mean(8, 1, .8) == 3 and power_mean(21.3, 1, 2, level=.999) < .05

def test_a_measure_and_its_reverse_differ_by_twice_the_correlation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40); a = x + rng.normal(size=40)
    t, r = correlation_difference(x, a, 1 - a), pearson(x, a)
    assert (t.estimate, t.lo, t.hi, t.p) == pytest.approx((2 * r.estimate, 2 * r.lo, 2 * r.hi, r.p)) and 'reversed' in t.method and t.p < .001
    assert correlation_difference(x, a, 3 * a + 1).p == 1
    for pair in ((2 * x + 1, a), (a, -x)):
        with pytest.raises(ValueError, match='x itself up to scale'): correlation_difference(x, *pair)

def test_areas_that_differ_without_variance_are_no_equal_ones():
    right = np.arange(20) % 2 == 0
    for scores in ([right * 1., np.zeros(20)], [right * 1., right * -1.], [right * 1., np.zeros(20), np.arange(20.)]):
        with pytest.raises(ValueError, match='variance 0, so DeLong has no test'): delong(scores, right).equal()
    assert delong([right * 1., right * 2.], right).equal() == 1

def test_clusters_that_are_alike_say_nothing_of_the_spread():
    with pytest.raises(ValueError, match='in each of 2 clusters, though not for each question'): mean_difference([1, 0, 1, 0], [0, 1, 0, 1], cluster=[0, 0, 1, 1])
    with pytest.raises(ValueError, match='in each of 2 clusters alike'): aurc_interval([.8] * 20, [1] * 7 + [0] * 3 + [1] * 7 + [0] * 3, cluster=[0] * 10 + [1] * 10)
    assert mean_difference([1, 0, 1, 0], [1, 0, 1, 0], cluster=[0, 0, 1, 1])[:4] == (0, 0, 0, 1) # nobody differs

def test_series_that_were_filtered_are_taken_by_place():
    df = pd.DataFrame(dict(s=np.linspace(0, 1, 40), c=np.arange(40) % 3 > 0))[5:]
    assert auroc_interval(df.s, df.c) == auroc_interval(df.s.to_numpy(), df.c.to_numpy())
    assert delong([df.s, -df.s], df.c).auc.tolist() == delong([df.s.to_numpy(), -df.s.to_numpy()], df.c.to_numpy()).auc.tolist()

@pytest.mark.parametrize('gap', [None, np.nan])
def test_a_group_without_a_name_is_not_left_out(gap):
    with pytest.raises(ValueError, match='missing value in row 2'): leave_one_out(np.array(['a', 'a', gap, 'b'], object), lambda keep: 0.)

def test_only_columns_of_the_formula_must_be_there():
    rng = np.random.default_rng(0)
    df = pd.DataFrame(dict(y=rng.uniform(.3, 1, 60), acc=rng.normal(size=60), c=np.nan, g=np.repeat(list('abcdef'), 10)))
    df['y'] += np.repeat(rng.normal(size=6), 10)
    assert len(mixed_model(df, 'y ~ acc', 'g').terms) == 2
    with pytest.raises(ValueError, match="column 'c' has missing values"): mixed_model(df, 'y ~ acc + c', 'g')
    with pytest.raises(ValueError, match='is no number in some cells'): mixed_model(df, 'y ~ np.log(acc)', 'g')
