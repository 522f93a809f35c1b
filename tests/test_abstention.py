"Protects `plcal_study.measure.abstention`: twins written from the definition, every draw enumerated, promises checked against known truth."
from itertools import combinations, product
import random
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest
from plcal_study.measure.abstention import (best_threshold, certify_threshold, draw_abstention, draw_certified, evaluate_plaut,
                                            fit_threshold_plaut, grid_certified, grid_plaut, place, score_at, split_plaut, sweep)
from plcal_study.measure.abstention import _most_wrong

rows = st.lists(st.tuples(st.sampled_from([0., .1, .25, .5, .75, 1.]), st.booleans()), min_size=1, max_size=12)
quick = settings(deadline=None, max_examples=50, derandomize=True)

def slow_points(score, correct, t, penalty):
    "The definition, one question after the other."
    total = 0
    for s, c in zip(score, correct, strict=True):
        if s >= t: total += 1 if c else -penalty
    return 100 * total / len(score)

def slow_fit(sets, penalty, grid):
    "One threshold for all sets: upwards, the first maximum wins; ties in whole numbers."
    best, at = -np.inf, None
    for t in grid:
        mean = np.mean([slow_points(s, c, t, penalty) for s, c in sets])
        if mean > best + 1e-9: best, at = mean, t
    return at

def slow_certify(score, correct, grid, risk, delta):
    "Walk down from the highest threshold with scipy's binomial test."
    at = np.inf
    for t in grid[::-1]:
        answered = [c for s, c in zip(score, correct, strict=True) if s >= t]
        wrong = len(answered) - sum(answered)
        if not answered or binomtest(wrong, len(answered), risk, alternative='less').pvalue > delta * (1 + 1e-9): break
        at = t
    return at

def world(n, seed):
    rng = np.random.default_rng([seed, 0])
    s = rng.random(n)
    return s, rng.random(n) < s

@quick
@given(rows, st.sampled_from([0, 1, 2, .5]))
def test_sweep_is_the_definition(pairs, penalty):
    score, correct = map(np.array, zip(*pairs, strict=True))
    s = sweep(score, correct, penalty)
    assert s.threshold.tolist() == sorted(set(score.tolist())) + [np.inf]
    for t, coverage, points in zip(*s, strict=True):
        assert points == pytest.approx(slow_points(score, correct, t, penalty))
        assert coverage == pytest.approx(np.mean(score >= t))
        assert score_at(score, correct, t, penalty) == pytest.approx((points, 100 - 100 * coverage))

@quick
@given(rows, st.sampled_from([1, 2, .5]))
def test_best_threshold_is_the_lowest_of_the_best(pairs, penalty):
    score, correct = map(np.array, zip(*pairs, strict=True))
    t = best_threshold(score, correct, penalty)
    earned = {u: slow_points(score, correct, u, penalty) for u in [*score, np.inf]}
    assert t == min(u for u in earned if earned[u] > max(earned.values()) - 1e-9)

@quick
@given(rows, st.randoms(use_true_random=False))
def test_order_and_scale_of_the_score_do_not_matter(pairs, r):
    shuffled = pairs[:]; r.shuffle(shuffled)
    (a, ca), (b, cb) = (map(np.array, zip(*p, strict=True)) for p in (pairs, shuffled))
    x, y = sweep(a, ca, 2), sweep(np.exp(3 * b) - 7, cb, 2)
    np.testing.assert_allclose(x.points, y.points, strict=True)
    np.testing.assert_allclose(x.coverage, y.coverage, strict=True)

@pytest.mark.parametrize('score,correct,best', [
    ([.3, .3, .3], [1, 1, 1], .3), ([.3, .3, .3], [0, 0, 0], np.inf), ([.3], [1], .3), ([.3], [0], np.inf),
    ([-5., 12., 30.], [0, 0, 1], 30.), ([.3, .3], [1, 0], .3)]) # the last: nothing earned, nothing lost, so answer
def test_limits(score, correct, best):
    assert best_threshold(score, correct) == best
    assert len(sweep(score, correct).threshold) == len(set(score)) + 1

def test_float32_scores_meet_double_thresholds():
    s = np.float32([.1, .3, .7])
    t = sweep(s, [0, 1, 1])
    assert [score_at(s, [0, 1, 1], u).points for u in t.threshold] == t.points.tolist()
    assert score_at(s, [0, 1, 1], .3).pct_abstained == pytest.approx(100 / 3) # float32 0.3 is a little more than 0.3
    assert score_at(s, [0, 1, 1], .7).pct_abstained == 100                   # and float32 0.7 a little less

@quick
@given(st.lists(rows, min_size=1, max_size=3), st.sampled_from([1, 2]))
def test_paper_procedure_is_the_definition(data, penalty):
    sets = [tuple(map(np.array, zip(*pairs, strict=True))) for pairs in data]
    grid = grid_plaut(1.)[::7]
    t = fit_threshold_plaut(sets, penalty, grid)
    assert t == slow_fit(sets, penalty, grid)
    points = np.mean([slow_points(s, c, t, penalty) for s, c in sets])
    silent = 100 * np.mean([np.mean(s < t) for s, c in sets])
    assert evaluate_plaut(sets, t, penalty) == pytest.approx((points, silent))

def earning(low, high, n=30):
    "n questions that earn `low` from .3 up and `high` from .6 up."
    sign = np.sign(low - high)
    score = np.repeat([.8, .4, .1], [high, abs(low - high), n - high - abs(low - high)])
    return score, (score > .6) | ((score > .3) & (sign > 0))

def test_a_tie_is_a_tie():
    "Equal in whole numbers but not in floating point: the lower threshold must win."
    parts = np.array([100 * i / 30 for i in range(11)])
    tricky = [(a, b, c, a + b - c) for a, b, c in product(range(11), repeat=3) if 0 <= a + b - c <= 10 and parts[a] + parts[b] < parts[c] + parts[a + b - c]]
    assert len(tricky) > 10
    for a, b, c, d in tricky: assert fit_threshold_plaut([earning(a, c), earning(b, d)], 1, [.3, .6]) == .3

def test_split_is_the_shuffle_of_the_rows():
    rows = [(i / 50, i % 3 == 0) for i in range(50)]
    shuffled = rows[:]; random.Random(2549900867).shuffle(shuffled)
    train, test = split_plaut(50, 20)
    assert [rows[i] for i in train] == shuffled[:20] and [rows[i] for i in test] == shuffled[20:]
    assert sorted([*train, *test]) == list(range(50))

def test_grid_of_the_paper():
    g = grid_plaut(1.)
    assert (len(g), g[0], g[1], g[-1]) == (300, -1e-4, 0, 1) and (np.diff(g) > 0).all()
    assert len(g[g > .99]) == 99 + 1 and g[2] == 1 / 199 # 99 of the fine grid, and 198/199
    raw = grid_plaut(39.8, msp=False)
    np.testing.assert_allclose(raw, [-1e-4, *np.arange(200) * .2], atol=1e-12, strict=True)

def enumerate_draws(sets, k, rule, penalty, least=-1e-4):
    "Every draw of k labelled questions from each set, and what it leads to."
    out = []
    for picks in product(*[combinations(range(len(s)), k) for s, c in sets]):
        masks = [np.isin(np.arange(len(s)), p) for (s, c), p in zip(sets, picks, strict=True)]
        t = rule([(s[m], c[m]) for (s, c), m in zip(sets, masks, strict=True)])
        rest = [(s[~m], c[~m]) for (s, c), m in zip(sets, masks, strict=True)]
        e = evaluate_plaut(rest, t, penalty)
        wrong, given = np.mean([[np.mean((s >= t) & ~c), np.mean(s >= t)] for s, c in rest], axis=0)
        out.append((t, e.points, e.pct_abstained, wrong / given if given else 0, evaluate_plaut(rest, least, penalty).points))
    return np.array(out)

TINY = [(np.array([.1, .3, .3, .6, .9, .9]), np.array([0, 0, 1, 1, 0, 1], bool)), (np.array([.2, .5, .5, .7, 1.]), np.array([0, 1, 0, 1, 1], bool))]

def same_law(draws, exact):
    "The frequency of each outcome lies within five standard errors of its probability."
    got = np.round(np.stack(draws, 1), 6)
    outcomes, times = np.unique(np.round(exact, 6), axis=0, return_counts=True)
    prob, freq = times / len(exact), np.array([(got == o).all(1).mean() for o in outcomes])
    assert freq.sum() == pytest.approx(1)
    assert (np.abs(freq - prob) < 5 * np.sqrt(prob * (1 - prob) / len(got)) + 1e-9).all()

@pytest.mark.parametrize('penalty', [1, 2])
@pytest.mark.parametrize('sets,k', [(TINY, 2), (TINY[:1], 3), (TINY, 3)])
def test_draws_follow_the_law_of_all_subsets(sets, k, penalty):
    grid = np.array([-1e-4, .25, .5, .8])
    same_law(draw_abstention(sets, k, penalty, grid, draws=20_000, seed=1), enumerate_draws(sets, k, lambda x: fit_threshold_plaut(x, penalty, grid), penalty))

@pytest.mark.parametrize('risk', [.4, .6])
def test_certified_draws_follow_the_law_of_all_subsets(risk):
    grid = np.array([.2, .4, .6])
    def rule(x): return certify_threshold(np.concatenate([s for s, c in x]), np.concatenate([c for s, c in x]), grid, risk, delta=.4).threshold
    d = draw_certified(TINY, 2, risk, grid, delta=.4, penalty=2, draws=20_000, seed=1)
    same_law(d, enumerate_draws(TINY, 2, rule, 2, least=.2))
    assert np.isinf(d.threshold).any() and np.isfinite(d.threshold).any()

def test_many_labels_take_the_other_path_to_the_same_law():
    "Half of the data: numpy's other method, against shuffles made one by one."
    sets, grid = [world(400, 3), world(250, 4)], np.array([0., .3, .45, .6, .8])
    ks = [200, 125]
    fast = draw_abstention(sets, ks, 1, grid, draws=4000, seed=2)
    rng, slow = np.random.default_rng(5), []
    for _ in range(500):
        perms = [rng.permutation(len(s)) for s, c in sets]
        t = fit_threshold_plaut([(s[p[:k]], c[p[:k]]) for (s, c), p, k in zip(sets, perms, ks, strict=True)], 1, grid)
        slow.append((t, *evaluate_plaut([(s[p[k:]], c[p[k:]]) for (s, c), p, k in zip(sets, perms, ks, strict=True)], t, 1)))
    for a, b in zip(fast[:3], np.array(slow).T, strict=True):
        assert abs(a.mean() - b.mean()) < 4.5 * np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert .85 < a.std() / b.std() < 1.15

def test_draws_depend_on_the_seed_alone():
    a, b, c = (draw_abstention(TINY, 2, 1, [0., .5], draws=300, seed=s) for s in (1, 1, 2))
    for x, y in zip(a, b, strict=True): np.testing.assert_array_equal(x, y, strict=True)
    assert (a.points != c.points).any()
    for n in (1, 250, 251): assert len(draw_abstention(TINY, 2, 1, [0., .5], draws=n).points) == n

def test_place():
    d = np.array([1., 2., 3., 4.])
    assert [place(v, d) for v in (0, 1, 2.5, 3.04, 3.06, 9)] == [0, .125, .5, .625, .75, 1]
    assert place(2., np.full(7, 2.)) == .5

@quick
@given(rows, st.sampled_from([.1, .3, .5]), st.sampled_from([.05, .1, .3]))
def test_certificate_is_the_definition(pairs, risk, delta):
    score, correct = map(np.array, zip(*(pairs * 3), strict=True))
    grid = np.array([0., .1, .2, .5, .8])
    got = certify_threshold(score, correct, grid, risk, delta)
    assert got.threshold == slow_certify(score, correct, grid, risk, delta)
    if np.isfinite(got.threshold):
        assert got.p <= delta * (1 + 1e-9) and got.answered == (score >= got.threshold).sum() and got.wrong == ((score >= got.threshold) & ~correct).sum()

@pytest.mark.parametrize('risk,delta', [(.1, .1), (.2, .05), (.5, .125), (.5, .5)]) # 0.5³ = 0.125 exactly: p = delta passes
def test_most_wrong_against_scipy(risk, delta):
    for n, most in enumerate(_most_wrong(np.arange(61), risk, delta)[1:], 1):
        p = [binomtest(w, n, risk, alternative='less').pvalue for w in range(n + 1)]
        assert most == sum(x <= delta * (1 + 1e-9) for x in p) - 1
    assert _most_wrong(np.arange(61), risk, delta)[0] == -1

def test_the_promise_is_kept_in_a_calibrated_world():
    "The risk of answering above t is (1 - t)/2: the promise of 0.2 breaks below 0.6."
    grid, broken = grid_certified(world(5000, 9)[0], 150, .2), []
    for seed in range(1500):
        s, c = world(150, 100 + seed)
        broken.append(certify_threshold(s, c, grid, .2).threshold < .6 - 1e-9)
    assert .005 < np.mean(broken) <= .1 # not kept by silence

def test_the_promise_is_tight_where_the_risk_jumps():
    "One threshold, its risk just above the promise: broken in P(Bin(100, 0.2) ≤ 14) = 0.080 of the draws."
    wrong = np.arange(40_000) < 8040
    d = draw_certified([(np.ones(40_000), ~wrong)], 100, .2, [.5], draws=4000, seed=3)
    assert abs((d.risk > .2).mean() - .080) < .02

def test_the_promise_holds_for_a_stratified_draw():
    "Half of the labels from a set without error, half from one with 40.2%: the pooled errors vary less than the binomial."
    wrong = np.arange(20_000) < 8040
    d = draw_certified([(np.ones(20_000), ~wrong), (np.ones(20_000), np.ones(20_000, bool))], 50, .2, [.5], draws=4000, seed=4)
    assert 0 < (d.risk > .2).mean() < .08

def test_silence_where_nothing_can_be_promised():
    d = draw_certified([world(1000, 1)], 20, .05, [.2, .5], draws=50)
    assert (d.threshold == np.inf).all() and (d.pct_abstained == 100).all() and (d.points == 0).all() and (d.risk == 0).all()

def test_grid_certified_starts_where_twice_the_least_are_expected():
    s = world(20_000, 2)[0]
    g = grid_certified(s, 200, .2, delta=.1) # 0.8¹¹ = 0.086 < 0.1 < 0.8¹⁰
    assert len(g) == 20 and g[0] == s.min() and 200 * (s >= g[-1]).mean() == pytest.approx(22, abs=.05)
    np.testing.assert_array_equal(grid_certified(s, 10, .2), [s.min()]) # too few labels: the only try is to answer all
    assert set(grid_certified([1., 1., 2.], 1000, .2)) <= {1., 2.}
