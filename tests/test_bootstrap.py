"What protects measure.bootstrap: the law of the counts, slow twins, and intervals that cover as often as they say."
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from plcal_study.measure.bootstrap import (Interval, auroc_draws, auroc_intervals, bootstrap, bootstrap_diff, ece_interval, mean_draws,
                                           permutation_test, resample_counts)
from plcal_study.measure.metrics import auroc, brier_top, conf_gap, ece


def graded(n, seed, ties=False):
    rng = np.random.default_rng([seed, n])
    p = rng.uniform(.4, 1, n)
    return (p.round(1) if ties else p), rng.random(n) < p


def rows(w): return np.repeat(np.arange(len(w)), w)


# counts

@pytest.mark.parametrize('n', [2, 7, 40])
def test_counts_are_multinomial(n):
    w = resample_counts(n, draws=20000, seed=3)
    assert (w.sum(0) == n).all()
    np.testing.assert_allclose(w.mean(1), 1, atol=5 * np.sqrt(1 / 20000))
    np.testing.assert_allclose(np.cov(w), np.eye(n) - 1 / n, atol=6 / np.sqrt(20000))
    seen = np.bincount(w[0], minlength=n + 1)
    expected = 20000 * stats.binom.pmf(np.arange(n + 1), n, 1 / n)
    big = expected > 5
    seen, expected = (np.r_[x[big], x[~big].sum()] for x in (seen, expected))
    assert stats.chisquare(seen[expected > 0], expected[expected > 0]).pvalue > 1e-4


def test_draws_do_not_depend_on_how_many_follow():
    np.testing.assert_array_equal(resample_counts(5000, 300)[:, :210], resample_counts(5000, 210))
    np.testing.assert_array_equal(auroc_draws(*graded(5000, 0), draws=300)[:7], auroc_draws(*graded(5000, 0), draws=7))


def test_another_seed_gives_other_counts():
    assert (resample_counts(50, 10, seed=0) != resample_counts(50, 10, seed=1)).any()


def test_blocks_are_not_copies_of_each_other():
    w = resample_counts(20, 600)
    assert len(np.unique(w, axis=1).T) == 600


# fast paths against the definition

@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('n', [10, 101, 1000])
def test_auroc_draws_are_sklearns_on_the_same_rows(n, ties):
    score, correct = graded(n, 1, ties)
    w = resample_counts(n, 40, seed=5).T
    slow = [roc_auc_score(correct[rows(c)], score[rows(c)]) for c in w if 0 < correct[rows(c)].sum() < n]
    np.testing.assert_allclose(auroc_draws(score, correct, 40, seed=5), slow, rtol=1e-12, strict=True)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), min_size=4, max_size=40))
def test_auroc_draws_with_ties_and_clusters(data):
    score, correct, cluster = map(np.array, zip(*data, strict=True))
    names = np.unique(cluster)
    if correct.all() or not correct.any() or len(names) < 2: return
    unit = np.searchsorted(names, cluster)
    slow = []
    for c in resample_counts(len(names), 30).T:
        r = rows(c[unit])
        if 0 < correct[r].sum() < len(r): slow.append(auroc(score[r], correct[r]))
    if len(slow) < 15: return
    np.testing.assert_allclose(auroc_draws(score, correct, 30, cluster=cluster), slow, atol=1e-12)


def test_large_data_do_not_overflow():
    "60000 > 2^15, and the pairs of a merge exceed 2^31 in the second set."
    for n in (60_000, 140_000):
        correct = np.r_[np.zeros(n // 2, bool), np.ones(n // 2, bool)]
        np.testing.assert_array_equal(auroc_draws(np.arange(n), correct, 3), np.ones(3))
        score, _ = graded(n, 2)
        w = resample_counts(n, 2).T
        np.testing.assert_allclose(auroc_draws(score, correct, 2), [auroc(score[rows(c)], correct[rows(c)]) for c in w], rtol=1e-10)


@pytest.mark.parametrize('stat', [ece, brier_top, conf_gap, auroc])
@pytest.mark.parametrize('cluster', [None, np.arange(90) // 4])
def test_fast_and_slow_statistics_agree(stat, cluster):
    data = graded(90, 4)
    fast, slow = (bootstrap(s, *data, cluster=cluster, draws=60, method='bca') for s in (stat, lambda *x: stat(*x)))
    np.testing.assert_allclose(fast[:3], slow[:3], atol=1e-10)


def test_mean_draws_are_means():
    x = graded(50, 0)[0]
    np.testing.assert_allclose(mean_draws(x, 20, seed=2), [x[rows(c)].mean() for c in resample_counts(50, 20, seed=2).T])


def test_spread_is_delongs():
    "Placement values by the definition; the bootstrap differs by its own noise only."
    score, correct = graded(2000, 6)
    pos, neg = score[correct], score[~correct]
    v10 = np.array([((neg < x) + .5 * (neg == x)).mean() for x in pos])
    v01 = np.array([((pos > x) + .5 * (pos == x)).mean() for x in neg])
    assert auroc_draws(score, correct, 4000).var() == pytest.approx(v10.var(ddof=1) / len(pos) + v01.var(ddof=1) / len(neg), rel=.1)


def test_draws_have_the_law_of_index_resampling():
    score, correct = graded(150, 7, ties=True)
    rng = np.random.default_rng(8)
    index = [auroc(score[i], correct[i]) for i in (rng.integers(0, 150, 150) for _ in range(2000))]
    assert stats.ks_2samp(auroc_draws(score, correct, 2000), index).pvalue > .001


# intervals

def test_percentile_and_basic_are_scipys():
    x = graded(80, 9)[0]
    d, est = mean_draws(x, 500), x.mean()
    lo, hi = np.quantile(d, [.05, .95])
    assert bootstrap(np.mean, x, draws=500, level=.9)[1:3] == pytest.approx((lo, hi))
    assert bootstrap(np.mean, x, draws=500, level=.9, method='basic')[1:3] == pytest.approx((2 * est - hi, 2 * est - lo))


@pytest.mark.parametrize('stat, near', [(np.mean, .04), (lambda x: np.var(x), .1)]) # the far tail of a variance is noisy
def test_bca_is_scipys(stat, near):
    x = np.random.default_rng(10).exponential(size=60)
    theirs = stats.bootstrap((x,), stat, n_resamples=6000, method='BCa', rng=np.random.default_rng(1), vectorized=False).confidence_interval
    ours = bootstrap(stat, x, draws=6000, method='bca')
    width = theirs.high - theirs.low
    assert ours.lo == pytest.approx(theirs.low, abs=near * width) and ours.hi == pytest.approx(theirs.high, abs=near * width)
    assert abs(bootstrap(stat, x, draws=6000).hi - ours.hi) > near * width # and not the percentile interval


def test_grouped_acceleration_is_the_jackknifes():
    x = np.random.default_rng(11).exponential(size=3000)
    exact = bootstrap(np.mean, x, draws=4000, method='bca')
    d, u = mean_draws(x, 4000), x - x.mean()
    accel, z0 = (u**3).sum() / (6 * (u**2).sum()**1.5), stats.norm.ppf((d < x.mean()).mean())
    z = z0 + stats.norm.ppf([.025, .975])
    np.testing.assert_allclose(exact[1:3], np.quantile(d, stats.norm.cdf(z0 + z / (1 - accel * z))), atol=.1 * d.std())


def cover(truth, times, interval): return np.mean([lo <= truth <= hi for lo, hi in (interval(s)[1:3] for s in range(times))])


@pytest.mark.parametrize('method', ['percentile', 'basic', 'bca'])
@pytest.mark.parametrize('stat, truth', [(auroc, 31 / 42), (brier_top, .18), (lambda: None, .7)])
def test_intervals_cover(stat, truth, method):
    "conf uniform in [.4, 1] and right with that probability: accuracy .7, Brier E p(1-p) = .18, AUROC by integration 31/42."
    def interval(seed):
        conf, correct = graded(200, seed)
        if truth == .7: return bootstrap(np.mean, correct, draws=300, method=method)
        return bootstrap(stat, conf, correct, draws=300, method=method)
    assert .895 <= cover(truth, 200, interval) <= .99


def test_the_truths_above():
    p = .4 + .6 * (np.arange(4000) + .5) / 4000
    below = np.cumsum(1 - p) - (1 - p) / 2
    assert (p * below).sum() / (p.sum() * (1 - p).sum()) == pytest.approx(31 / 42, abs=1e-6)
    assert (p * (1 - p)).mean() == pytest.approx(.18, abs=1e-6)


def test_clusters_are_resampled_whole():
    "Ten copies of 60 questions hold no more than the 60."
    x = graded(60, 12)[0]
    once, copies = bootstrap(np.mean, x), bootstrap(np.mean, np.repeat(x, 10), cluster=np.repeat(np.arange(60), 10))
    assert copies[1:3] == pytest.approx(once[1:3], abs=1e-12) and (copies.n, copies.clusters) == (600, 60)
    blind = bootstrap(np.mean, np.repeat(x, 10))
    assert (blind.hi - blind.lo) < .4 * (once.hi - once.lo)


def test_clustered_intervals_cover():
    def interval(seed):
        rng = np.random.default_rng([seed, 77])
        return bootstrap(np.mean, (rng.normal(size=(50, 1)) + rng.normal(size=(50, 4))).ravel(), cluster=np.arange(200) // 4, draws=300)
    assert .89 <= cover(0, 200, interval) <= .985


def test_strata_keep_their_size():
    seen = []
    bootstrap(lambda x, c: seen.append(c.sum()) or x.mean(), *graded(30, 13), one_class='stratify', draws=20)
    assert len(set(seen)) == 1
    names = np.array(['b', 'a', 'c'])[np.arange(30) % 3]
    seen.clear()
    bootstrap(lambda x, s: seen.append(np.unique(s, return_counts=True)[1].tolist()) or x.mean(), graded(30, 13)[0], names, strata=names, draws=20)
    assert seen == [[10, 10, 10]] * 21


def test_one_class_resamples_are_counted():
    few = [.9, .8, .7, .6, .5, .4], [1, 1, 0, 1, 1, 0]
    kept = bootstrap(auroc, *few)
    assert kept.draws == len(auroc_draws(*few)) < 1000 and f'{1000 - kept.draws} of 1000 resamples discarded' in kept.method
    lost = ((resample_counts(6)[[2, 5]].sum(0) == 0) | (resample_counts(6)[[0, 1, 3, 4]].sum(0) == 0)).sum()
    assert 1000 - kept.draws == lost
    assert bootstrap(auroc, *few, one_class='stratify').draws == len(auroc_draws(*few, one_class='stratify')) == 1000


def test_nothing_varies_is_said():
    perfect = [.1, .2, .8, .9] * 5, [0, 0, 1, 1] * 5
    for method in ('percentile', 'basic', 'bca'): assert 'degenerate' in bootstrap(auroc, *perfect, method=method).method
    assert 'degenerate' in ece_interval([1.] * 9, [1] * 9).method


def test_bca_without_an_answer_is_said():
    assert bootstrap(lambda x: len(np.unique(x)), np.arange(20.), method='bca', draws=200).method == 'percentile; bca undefined'


def test_interval_prints():
    assert str(Interval(.683, .6601, .7049, .95, '', 9, 9)) == '0.683 [0.660, 0.705]'


# many data sets

def test_many_are_each_and_threads_do_not_matter():
    sets = [graded(n, s, ties=s % 2 == 0) for n, s in [(50, 0), (300, 1), (50, 2), (6000, 3)]]
    calls = []
    one, two = auroc_intervals(sets, threads=1), auroc_intervals(sets, threads=2, progress=lambda *x: calls.append(x))
    assert one == two == [bootstrap(auroc, *s) for s in sets]
    assert calls[-1][0] == calls[-1][1] == len(calls)
    assert auroc_intervals([]) == []


# two models

def test_difference_is_paired():
    conf, correct = graded(300, 14)
    a, b = (conf**.5, correct), (conf, correct)
    w = resample_counts(300, 80).T
    slow = [brier_top(a[0][rows(c)], correct[rows(c)]) - brier_top(conf[rows(c)], correct[rows(c)]) for c in w]
    d = bootstrap_diff(brier_top, a, b, draws=80)
    np.testing.assert_allclose(d[1:3], np.quantile(slow, [.025, .975]))
    assert d.estimate == pytest.approx(brier_top(*a) - brier_top(*b))
    back = bootstrap_diff(brier_top, b, a, draws=80)
    assert (back.lo, back.hi) == pytest.approx((-d.hi, -d.lo))


def test_identical_models_do_not_differ():
    x = graded(40, 15)
    assert bootstrap_diff(brier_top, x, x)[:3] == (0, 0, 0)
    assert permutation_test(brier_top, x, x).p == permutation_test(auroc, x, x, draws=20).p == 1


def test_swap_is_mcnemars():
    "Accuracy: the exact McNemar test is the binomial on the questions that only one got right."
    rng = np.random.default_rng(16)
    a, b = rng.random(60) < .8, rng.random(60) < .6
    exact = stats.binomtest(int((a & ~b).sum()), int((a != b).sum())).pvalue
    assert permutation_test(np.mean, [a], [b], draws=40000).p == pytest.approx(exact, abs=.006)


def test_swap_is_never_zero(): assert permutation_test(np.mean, [np.ones(40)], [np.zeros(40)], draws=99).p == 1 / 100


def test_swap_fast_and_slow_agree():
    conf, correct = graded(70, 17)
    models, cluster = ((conf**.8, correct), (conf, correct)), np.arange(70) // 3
    for kw in ({}, {'cluster': cluster}):
        assert permutation_test(brier_top, *models, draws=200, **kw) == pytest.approx(permutation_test(lambda *x: brier_top(*x), *models, draws=200, **kw))


def test_swap_takes_probabilities_of_many_options():
    x, y = np.random.default_rng(18).dirichlet([1, 1, 1], (2, 30))
    assert permutation_test(lambda p: p.max(1).mean(), [x], [y], draws=50).p > 1 / 51


def test_swap_holds_its_level():
    def p(seed):
        x, y = np.random.default_rng([seed, 19]).exponential(size=(2, 40))
        return permutation_test(np.mean, [x], [y], draws=199).p
    ps = np.array([p(s) for s in range(400)])
    assert (ps <= .05).mean() <= .09 and (ps <= .5).mean() == pytest.approx(.5, abs=.1)


# ECE

def test_ece_interval_covers_where_the_percentile_one_does_not():
    def world(seed):
        rng = np.random.default_rng([seed, 20])
        p = rng.uniform(.5, 1, 500)
        return p, rng.random(500) < p
    assert cover(0, 100, lambda s: bootstrap(ece, *world(s), draws=200)) == 0
    assert .92 <= cover(0, 100, lambda s: ece_interval(*world(s), draws=200)) <= 1


def test_ece_interval_far_from_zero_is_the_basic_one():
    "Where no bin is near its null, absolute values do not bend: nothing is left to correct."
    rng = np.random.default_rng(21)
    conf = np.repeat([.55, .75, .95], 1500)
    correct = rng.random(4500) < conf - .3
    ours, basic = ece_interval(conf, correct), bootstrap(ece, conf, correct, method='basic')
    np.testing.assert_allclose(ours[:3], basic[:3], atol=.1 * (basic.hi - basic.lo))


def test_ece_interval_of_one_bin_is_that_of_the_gap():
    conf, correct = np.full(400, .9), np.arange(400) % 2 == 0
    one, gap = ece_interval(conf, correct, bins=1), bootstrap(conf_gap, conf, correct, method='basic')
    np.testing.assert_allclose(one[:3], gap[:3], atol=.003)


def test_ece_interval_is_ordered_and_clusters_widen_it():
    conf, correct = graded(400, 22)
    conf = conf**.3
    alone = ece_interval(conf, correct)
    copies = ece_interval(np.repeat(conf, 5), np.repeat(correct, 5), cluster=np.repeat(np.arange(400), 5))
    assert 0 <= alone.lo <= alone.estimate <= alone.hi <= 1
    assert copies[:3] == pytest.approx(alone[:3], abs=1e-9)
    assert ece_interval(conf, correct, level=.5).lo >= alone.lo
