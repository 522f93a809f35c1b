"What must hold of every metric whatever the data: ranges, symmetries, identities, slow definitions, and a named error where there is no answer."
import itertools, math
from fractions import Fraction
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from scipy.special import logit, stdtrit
from plcal_study.measure.bootstrap import bootstrap, bootstrap_diff, ece_interval, permutation_test
from plcal_study.measure.inference import auroc_interval, mean_difference
from plcal_study.measure.metrics import (
    METRICS, TRUE_METRICS, ace, auroc, augrc, aurc, bin_ids, brier, brier_top, cerr_neg, cerr_pos, classwise_ece, conf_gap, corp, corp_fit, coverage_at_risk, debiased_l2, eaurc,
    ece, ece_chen_mass100, ece_chen_width10, ece_mass, ece_null, ece_plaut, ece_plaut_width10, entropy, fpr95, margin, mass_ids, mce, mean_conf, nll, nll_top, reliability,
    risk_coverage, rmsce, smece, wilson)

few = settings(deadline=None, max_examples=40, derandomize=True)
EDGES = [0., 1., 5e-324, 1e-310, 1e-45, np.nextafter(1, 0), 1 / 15, 2 / 15, .1, .3, .5, .95]
OWN = [m for m in METRICS if m != 'debiased_l2_15'] # this one refuses bins of a single row, and is tried with bins of its own
SOURCES = dict(ece_plaut=lambda c, y: ece_plaut(c, y, drop_ones=False), ece_plaut_width10=lambda c, y: ece_plaut_width10(c, y, drop_ones=False),
               ece_chen_mass100=lambda c, y: ece_chen_mass100(c, np.zeros(len(c), int), 1 - y.astype(int)))
PAIRED = {m: METRICS[m] for m in OWN} | SOURCES | {'debiased_l2': lambda c, y: debiased_l2(c, y, 2), 'mcb': lambda c, y: corp(c, y).mcb, 'mcb_log': lambda c, y: corp(c, y, 'log').mcb}
RANGE = dict.fromkeys(PAIRED, (0, 1)) | dict(conf_gap=(-1, 1), nll_top=(0, -math.log(1e-7)), eaurc=(-1, 1), augrc=(0, .5), debiased_l2=(-.5, 1), mcb_log=(0, 20))
RANKS = ('auroc', 'aurc', 'eaurc', 'augrc')
GRID = [i / 32 for i in range(33)] # exact in every precision, and so is one less it


@st.composite
def pairs(draw, value=None, least=4, most=20):
    "Confidences with ties, edges, denormals and a few numbers of no kind; at least two right and two wrong."
    n = draw(st.integers(least, most))
    pool = EDGES + [i / 20 for i in range(21)] + draw(st.lists(st.floats(0, 1), min_size=2, max_size=2)) if value is None else value
    conf = [pool[i] for i in draw(st.lists(st.integers(0, len(pool) - 1), min_size=n, max_size=n))]
    bits = draw(st.integers(0, 2**n - 1))
    correct = np.array([bits >> i & 1 for i in range(n)], bool)
    correct[:4] = True, False, True, False
    return np.array(conf, float), correct

@st.composite
def tables(draw, k=3):
    "Probabilities of k options, some of them 0, and labels."
    n = draw(st.integers(2, 15))
    weights = np.array(draw(st.lists(st.lists(st.integers(0, 8), min_size=k, max_size=k), min_size=n, max_size=n)), float)
    weights[weights.sum(1) == 0] = 1
    return weights / weights.sum(1, keepdims=True), np.array(draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)))

def near(a, b, by=1e-9): return bool(np.all(np.isclose(a, b, by, by, equal_nan=True)))
def value(name, *x):
    "The metric; NaN where bins of one row leave it without a bias to take off."
    try: return PAIRED[name](*x)
    except ValueError as e:
        if name != 'debiased_l2' or 'at least two rows' not in str(e): raise
        return np.nan


# --- ranges, rows, precision -----------------------------------------------------------------------------------------------------

@given(pairs(), st.sampled_from([np.float32, np.float64]))
@few
def test_a_metric_stays_in_its_range_at_every_edge(data, dtype):
    conf, correct = data
    for name, (lo, hi) in RANGE.items():
        x = value(name, conf.astype(dtype), correct)
        assert isinstance(x, float) and not x < lo - 1e-6 and not x > hi + 1e-6 and (x == x or name == 'debiased_l2'), name

@given(pairs(), st.integers(0, 99))
@few
def test_the_order_of_the_rows_does_not_matter(data, seed):
    conf, correct = data
    order = np.random.default_rng(seed).permutation(len(conf))
    for name in PAIRED: assert near(value(name, conf, correct), value(name, conf[order], correct[order])), name

@given(pairs(), st.integers(2, 4))
@few
def test_a_metric_of_proportions_does_not_see_that_all_rows_were_copied(data, times):
    "Left out: quantile bins, which count rows; AURC, which is a sum over ranks; and what takes off a bias that falls with n."
    conf, correct = data
    for name in PAIRED.keys() - {'aurc', 'eaurc', 'ece_mass15', 'debiased_l2', 'ece_plaut', 'ece_chen_mass100'}:
        assert near(value(name, conf, correct), value(name, np.tile(conf, times), np.tile(correct, times)), 1e-7), name

@given(pairs(), st.integers(2, 5), st.integers(2, 3))
@few
def test_bins_of_equal_mass_do_not_see_copies_where_the_rows_divide_evenly(data, bins, times):
    conf, correct = (np.tile(x, bins) for x in data)
    assert near(ece_mass(conf, correct, bins), ece_mass(np.tile(conf, times), np.tile(correct, times), bins))

@given(pairs(GRID))
@few
def test_single_precision_and_grades_as_numbers_give_the_same(data):
    conf, correct = data
    for name in PAIRED:
        x = value(name, conf, correct)
        assert near(value(name, conf.astype(np.float32), correct), x, 1e-6) and near(value(name, conf, correct.astype(int)), x) and near(value(name, conf, correct.astype(float)), x), name


# --- where there is no answer ----------------------------------------------------------------------------------------------------

NOT_FINITE, OUTSIDE = [np.nan, np.inf, -np.inf], [-5e-324, -1e-9, np.nextafter(1, 2), 2., 100.]

@given(pairs(), st.sampled_from(NOT_FINITE + OUTSIDE), st.integers(0, 3))
@few
def test_a_confidence_that_is_none_is_an_error_wherever_it_stands(data, bad, row):
    "Scores that are only ranked must be finite; every other must lie in [0, 1]."
    conf, correct = data
    conf[row] = bad
    for name, f in PAIRED.items():
        if name in RANKS and bad in OUTSIDE: continue
        with pytest.raises(ValueError, match='must'): f(conf, correct)

@given(pairs(), st.sampled_from([np.nan, 2., -1., .5]), st.integers(0, 3))
@few
def test_a_grade_that_is_none_is_an_error(data, bad, row):
    conf, correct = data
    grade = correct.astype(float); grade[row] = bad
    for name in PAIRED.keys() - {'conf', 'ece_chen_mass100'}: # these are not given any grade
        with pytest.raises(ValueError, match='correct'): PAIRED[name](conf, grade)

@given(tables(), st.sampled_from([np.nan, np.inf, -.2, 1.2]))
@few
def test_a_table_of_probabilities_is_checked_cell_by_cell(data, bad):
    probs, label = data
    probs[-1, 1] = bad
    for f in (brier, classwise_ece, ace):
        with pytest.raises(ValueError, match='probs|logits'): f(probs, label)
    for g in (entropy, margin):
        with pytest.raises(ValueError, match='probs|logits'): g(probs)

@given(pairs(), st.sampled_from(NOT_FINITE + OUTSIDE))
@few
def test_a_true_probability_is_checked_too(data, bad):
    conf, p = data[0], np.full(len(data[0]), .5)
    p[-1] = bad
    for f in TRUE_METRICS.values():
        with pytest.raises(ValueError, match='p_correct'): f(conf, p)


# --- what only the order of the scores decides -----------------------------------------------------------------------------------

STRETCH = [lambda x: x**3 - 2, np.exp, lambda x: 1e6 * x, lambda x: np.unique(x, return_inverse=True)[1].astype(float), lambda x: -1 / (x + .5)]

@given(pairs(GRID), st.sampled_from(STRETCH))
@few
def test_ranks_survive_every_rising_map(data, stretch):
    conf, correct = data
    for f in (auroc, aurc, eaurc, augrc, fpr95): assert f(stretch(conf), correct) == f(conf, correct)
    assert coverage_at_risk(stretch(conf), correct, .3) == coverage_at_risk(conf, correct, .3)
    a, b = risk_coverage(stretch(conf), correct), risk_coverage(conf, correct)
    assert a.coverage.tolist() == b.coverage.tolist() and a.risk.tolist() == b.risk.tolist()

@given(pairs(GRID))
@few
def test_turning_the_scores_or_the_grades_round_turns_auroc_round(data):
    conf, correct = data
    assert near(auroc(-conf, correct), 1 - auroc(conf, correct)) and near(auroc(conf, ~correct), 1 - auroc(conf, correct)) and near(auroc(-conf, ~correct), auroc(conf, correct))

@given(pairs([0, .25, .5, .75, 1], most=12))
@few
def test_auroc_and_augrc_with_ties_are_counts_of_pairs(data):
    conf, correct = data
    right, wrong = conf[correct], conf[~correct]
    beats = sum(Fraction(int(a > b)) + Fraction(int(a == b), 2) for a in right for b in wrong)
    assert near(auroc(conf, correct), float(beats / (len(right) * len(wrong))))
    above = sum(Fraction(int(a > b)) + Fraction(int(a == b), 2) for a in wrong for b in conf) # a wrong answer is there when b is answered
    assert near(augrc(conf, correct), float(above / len(conf)**2))

@given(pairs([0, .5, 1], most=5))
@few
def test_aurc_with_ties_is_the_mean_over_all_orders_of_the_tied(data):
    conf, correct = data
    def area(order):
        risk = np.cumsum(~correct[list(order)]) / np.arange(1, len(conf) + 1)
        return (risk.sum() + (risk[0] - risk[-1]) / 2) / len(conf)
    orders = [o for o in itertools.permutations(range(len(conf))) if all(conf[a] >= conf[b] for a, b in itertools.pairwise(o))]
    assert near(aurc(conf, correct), np.mean([area(o) for o in orders]))

@given(pairs())
@few
def test_augrc_is_what_auroc_and_accuracy_make_it(data):
    conf, correct = data
    acc = correct.mean()
    assert near(augrc(conf, correct), (1 - auroc(conf, correct)) * acc * (1 - acc) + (1 - acc)**2 / 2)

@given(pairs(), st.floats(0, 1), st.floats(0, 1))
@few
def test_more_risk_allows_more_coverage_and_keeps_its_word(data, a, b):
    conf, correct = data
    small, large = sorted((a, b))
    assert coverage_at_risk(conf, correct, small) <= coverage_at_risk(conf, correct, large)
    c = risk_coverage(conf, correct)
    assert near(c.risk[-1], 1 - correct.mean()) and c.coverage[-1] == 1 and (np.diff(c.coverage) > 0).all() and (np.diff(c.threshold) < 0).all()


# --- calibration -----------------------------------------------------------------------------------------------------------------

@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=6), st.integers(1, 3))
@few
def test_groups_that_are_as_good_as_they_say_have_no_error(groups, times):
    conf = np.concatenate([np.full(n * times, min(k, n) / n) for n, k in groups])
    correct = np.concatenate([np.tile(np.arange(n) < min(k, n), times) for n, k in groups])
    for bins in (1, 7, 10, 15): assert ece(conf, correct, bins) < 1e-12 and ece(conf, correct, bins, 'left') < 1e-12 and ece_mass(conf, correct, bins) < 1e-12
    assert mce(conf, correct) < 1e-9 and rmsce(conf, correct) < 1e-9 and smece(conf, correct) < 1e-6
    assert abs(corp(conf, correct).mcb) < 1e-12 and abs(conf_gap(conf, correct)) < 1e-12 and np.allclose(corp_fit(conf, correct), conf)
    assert ece_plaut_width10(conf, correct, drop_ones=False) < 1e-9

@given(pairs(), st.sampled_from(['brier', 'log']))
@few
def test_the_score_is_uncertainty_less_discrimination_plus_miscalibration(data, score):
    conf, correct = data
    mcb, dsc, unc, whole = corp(conf, correct, score)
    acc = correct.mean()
    assert near(whole, unc - dsc + mcb) and near(whole, (brier_top if score == 'brier' else nll_top)(conf, correct))
    assert near(unc, acc * (1 - acc) if score == 'brier' else -acc * math.log(acc) - (1 - acc) * math.log(1 - acc))
    assert mcb > -1e-6 and -1e-12 < dsc < unc + 1e-12

@given(pairs())
@few
def test_recalibrated_once_is_calibrated(data):
    conf, correct = data
    fit = corp_fit(conf, correct)
    assert abs(corp(fit, correct).mcb) < 1e-9 and near(fit.mean(), correct.mean()) and (np.diff(fit[np.argsort(conf, kind='stable')]) >= -1e-12).all()

@given(pairs())
@few
def test_the_errors_stand_in_their_order(data):
    "A signed gap is the least, then coarse bins, finer bins, their root mean square, the worst bin."
    conf, correct = data
    assert abs(conf_gap(conf, correct)) <= ece(conf, correct, 5) + 1e-12 <= ece(conf, correct, 10) + 2e-12 <= ece(conf, correct, 20) + 3e-12
    assert ece(conf, correct) <= rmsce(conf, correct) + 1e-12 <= mce(conf, correct) + 2e-12
    assert near(ece(conf, correct, 1), abs(conf_gap(conf, correct)), 1e-12) and abs(conf_gap(conf, correct)) <= ece_mass(conf, correct, 4) + 1e-12

@given(pairs(GRID))
@few
def test_seen_from_the_other_answer_it_is_the_same(data):
    "Of two answers the other has the confidence 1 − c, and is right where this one is wrong."
    conf, correct = data
    other = 1 - conf, ~correct
    for f in (brier_top, smece, lambda c, y: corp(c, y).mcb): assert near(f(*other), f(conf, correct), 1e-7)
    assert near(nll_top(*other), nll_top(conf, correct)) and near(conf_gap(*other), -conf_gap(conf, correct))
    for bins in (2, 8, 16): assert near(ece(*other, bins, 'left'), ece(conf, correct, bins))
    assert near(cerr_pos(*other), cerr_neg(conf, correct)) and near(auroc(*other), auroc(conf, correct))

@given(pairs())
@few
def test_the_two_halves_make_the_mean_confidence(data):
    conf, correct = data
    assert near(correct.mean() * (1 - cerr_pos(conf, correct)) + (1 - correct.mean()) * cerr_neg(conf, correct), mean_conf(conf))

@given(pairs(GRID, most=12), st.integers(1, 20))
@few
def test_ece_is_the_sum_over_bins_of_the_definition(data, bins):
    conf, correct = data
    inside = [[i for i, c in enumerate(conf) if (m / bins < c <= (m + 1) / bins) or (m == c == 0)] for m in range(bins)]
    gaps = [sum(Fraction(float(conf[i])) - int(correct[i]) for i in rows) for rows in inside]
    assert near(ece(conf, correct, bins), float(sum(map(abs, gaps)) / len(conf)), 1e-12)
    r = reliability(conf, correct, bins)
    assert r.n.tolist() == [len(rows) for rows in inside if rows] and near(float(r.n @ np.abs(r.acc - r.conf)) / len(conf), ece(conf, correct, bins), 1e-12)

@given(pairs(), st.integers(1, 30))
@few
def test_bins_keep_ties_together_and_rise_with_confidence(data, bins):
    conf, _ = data
    for ids in (bin_ids(conf, bins), mass_ids(conf, bins)):
        order = np.argsort(conf, kind='stable')
        assert ids.min() >= 0 and ids.max() < bins and (np.diff(ids[order]) >= 0).all()
        assert all(len(set(ids[conf == c])) == 1 for c in conf)

@given(pairs(), st.integers(0, 5))
@few
def test_the_null_of_a_calibrated_model(data, seed):
    conf, correct = data
    e = ece_null(conf, correct, draws=39, seed=seed)
    assert 1 / 40 <= e.p <= 1 and 0 <= e.lo <= e.hi <= 1 and e.draws.min() <= e.mean <= e.draws.max()
    sure = np.round(conf)
    assert ece_null(sure, draws=5).mean == 0 # who is sure and calibrated makes no error


# --- options ---------------------------------------------------------------------------------------------------------------------

@given(tables(), st.permutations(range(3)))
@few
def test_the_names_of_the_options_do_not_matter(data, names):
    probs, label = data
    other, relabelled = np.empty_like(probs), np.array(names)[label]
    other[:, names] = probs
    for f in (brier, classwise_ece, ace): assert near(f(other, relabelled), f(probs, label))
    assert np.allclose(entropy(other), entropy(probs)) and np.allclose(margin(other), margin(probs))
    with np.errstate(divide='ignore'): assert near(nll(np.log(other), relabelled), nll(np.log(probs), label))

@given(tables(2))
@few
def test_two_options_are_one_probability(data):
    probs, label = data
    assert near(brier(probs, label), 2 * brier_top(probs[:, 0], label == 0)) and near(ace(probs, label), (ece_mass(probs[:, 0], label == 0) + ece_mass(probs[:, 1], label == 1)) / 2)

@given(tables(), st.floats(-50, 50))
@few
def test_scores_before_softmax_are_free_of_their_level(data, shift):
    probs, label = data
    logits = np.log(probs + 1e-3)
    assert near(nll(logits + shift, label), nll(logits, label)) and 0 <= brier(probs, label) <= 2
    assert (entropy(probs) <= math.log(3) + 1e-12).all() and (entropy(probs) >= 0).all() and ((margin(probs) >= 0) & (margin(probs) <= 1)).all()


# --- intervals -------------------------------------------------------------------------------------------------------------------

@given(st.integers(1, 300), st.floats(0, 1), st.floats(.5, .999))
@few
def test_wilson_holds_the_fraction_and_is_symmetric(n, share, level):
    k = round(share * n)
    lo, hi = wilson(k, n, level)
    assert 0 <= lo <= k / n <= hi <= 1 and near(wilson(n - k, n, level)[0], 1 - hi)

@given(pairs(GRID, least=6), st.integers(0, 3))
@few
def test_clusters_of_one_are_no_clusters(data, seed):
    conf, correct = data
    alone, other = np.arange(len(conf)), (conf[::-1].copy(), correct)
    assert bootstrap(brier_top, conf, correct, draws=20, seed=seed) == bootstrap(brier_top, conf, correct, cluster=alone, draws=20, seed=seed)
    assert ece_interval(conf, correct, draws=20, seed=seed) == ece_interval(conf, correct, cluster=alone, draws=20, seed=seed)
    assert bootstrap_diff(brier_top, (conf, correct), other, draws=20, seed=seed) == bootstrap_diff(brier_top, (conf, correct), other, cluster=alone, draws=20, seed=seed)
    assert permutation_test(brier_top, (conf, correct), other, draws=20, seed=seed) == permutation_test(brier_top, (conf, correct), other, cluster=alone, draws=20, seed=seed)
    if len(set(gap := (conf - other[0]).tolist())) > 1: assert near(mean_difference(conf, other[0])[:4], mean_difference(conf, other[0], alone)[:4]), gap

@given(pairs(GRID, least=8), st.integers(2, 4))
@few
def test_auroc_of_clusters_of_one_differs_by_the_t_quantile_alone(data, times):
    conf, correct = data
    a, b = auroc_interval(conf, correct), auroc_interval(conf, correct, np.arange(len(conf)))
    assume(a.method == 'DeLong, logit' and 0 < a.lo and a.hi < 1 and b.hi < 1 and b.lo > 0)
    ratio = (logit(b.hi) - logit(b.lo)) / (logit(a.hi) - logit(a.lo))
    assert a.estimate == b.estimate and ratio == pytest.approx(stdtrit(len(conf) - 1, .975) / 1.959963984540054, rel=1e-6)

def test_the_estimator_of_chen_et_al_has_no_bin_for_zero():
    with pytest.raises(ValueError, match='above 0'): ece_chen_width10([0., .5], [0, 1])
    assert ece_chen_width10([.5, 5e-324], [1, 0]) == pytest.approx(.25)
