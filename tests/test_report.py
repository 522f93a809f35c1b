"The report: numbers are those of the measuring floor, nothing from a log gets out of its text, and a poor log is answered in words."
import argparse, json, re, shlex
from dataclasses import replace
from html.parser import HTMLParser
import numpy as np
import pandas as pd
import pytest
import log_files
from scipy.special import expit, logit
from scipy.stats import chi2
from plcal_study.measure.abstention import certify_threshold, grid_certified
from plcal_study.measure.bootstrap import ece_interval
from plcal_study.measure.calibrators import repair_report
from plcal_study.measure.inference import auroc_interval, augrc_interval, aurc_interval, delong, holm, mcnemar, mean_difference
from plcal_study.measure.logs import read_log
from plcal_study.measure.metrics import brier, brier_top, corp, corp_fit, ece, ece_null, nll, nll_top, smece, wilson
from plcal_study.measure.plots import corp_curve
from plcal_study.measure.predictions import from_grades, from_logits, pair, save, select
from plcal_study.study import report_numbers
from plcal_study.study.cli import main
from plcal_study.study.report import methods, report
from plcal_study.study.report_figures import p_say, say
from plcal_study.study.report_numbers import COLUMNS, as_model, corp_null, decimal_of

HOSTILE = '</script><img src=x onerror=alert(1)>"\'&amp;<b>'


def asked(n=400, seed=0, times=2., clusters=10, name='a'):
    "Answers of a model that is too sure."
    rng = np.random.default_rng(seed)
    z = np.random.default_rng(7).normal(size=(n, 4)) * 1.5
    label = (z + np.random.default_rng(8).gumbel(size=z.shape)).argmax(1)
    return from_logits(times * (z + rng.normal(0, .3, z.shape)), label, meta=dict(model=name), cluster=None if clusters is None else np.arange(n) % clusters)

@pytest.fixture(scope='module')
def one(): return report(asked())

@pytest.fixture(scope='module')
def two(): return report(asked(clusters=None), asked(seed=1, times=1., clusters=None, name='b'))

def row(r, section, measure, group='', model=None):
    t = r.numbers
    found = t[(t.section == section) & (t.measure == measure) & (t.group == group) & (t.model == (model or r.models[0].name))]
    assert len(found) == 1, (section, measure, group, len(found))
    return found.iloc[0]

def ends(r): return tuple(r[['estimate', 'lo', 'hi']])


# ---- the numbers ---------------------------------------------------------------------------------------------------
def test_summary_is_the_measuring_floor(one):
    p = one.models[0].p
    c, codes = p.conf, one.models[0].codes
    assert ends(row(one, 'summary', 'auroc')) == auroc_interval(c, p.correct, codes)[:3]
    assert ends(row(one, 'summary', 'aurc')) == aurc_interval(c, p.correct, codes)[:3]
    assert ends(row(one, 'summary', 'augrc')) == augrc_interval(c, p.correct, codes)[:3]
    assert ends(row(one, 'summary', 'ece15_true')) == ece_interval(c, p.correct, cluster=codes)[:3]
    assert ends(row(one, 'summary', 'conf_gap')) == mean_difference(c, p.correct.astype(float), codes)[:3]
    assert row(one, 'summary', 'brier').estimate == pytest.approx(brier(p.probs, p.label))
    assert row(one, 'summary', 'nll').estimate == pytest.approx(nll(p.logits, p.label))
    null = ece_null(c, p.correct, draws=1000, cluster=codes)
    assert tuple(row(one, 'summary', 'ece15')[['estimate', 'null', 'null_lo', 'null_hi', 'p']]) == (ece(c, p.correct), *null[:4])
    assert row(one, 'summary', 'smece').estimate == smece(c, p.correct)
    for m in ('smece', 'mcb'): assert row(one, 'summary', m)[['null', 'null_lo', 'p']].isna().all() and 'clusters' in row(one, 'summary', m).note
    assert tuple(row(one, 'summary', m).estimate for m in ('mcb', 'dsc', 'unc')) == corp(c, p.correct)[:3]

def test_single_questions_have_all_their_nulls(two):
    p = two.models[0].p
    for measure, metric, draws in (('ece15', ece, 1000), ('smece', smece, 100)):
        null = ece_null(p.conf, p.correct, draws=draws, metric=metric)
        assert tuple(row(two, 'summary', measure)[['estimate', 'null', 'p']]) == (metric(p.conf, p.correct), null.mean, null.p)
    assert row(two, 'summary', 'mcb').p > 0 and 'these confidences gets' in two.html() and 'too narrow' not in two.html()

def test_calibrated_answers_in_clusters_are_called_miscalibrated_as_rarely_as_promised():
    "Within a cluster all grades hang on one draw: each answer is right with the probability of its confidence, and the clusters' luck is no miscalibration."
    rng, naive, ours = np.random.default_rng(0), 0, 0
    cluster = np.repeat(np.arange(20), 15)
    for _ in range(200):
        conf = rng.uniform(.3, 1, 300)
        m = as_model(from_grades(conf, rng.random(20)[cluster] < conf, cluster=cluster), 'm')
        naive += ece_null(conf, m.p.correct, draws=99).p < .05
        ours += report_numbers._ece(m, m.p, 99 * 300)['p'] < .05
    assert naive > 60 and ours < 22 # 5% of 200 and three standard deviations

def test_clusters_stand_beside_the_null_on_the_page(one):
    assert row(one, 'summary', 'ece15').resampled == 'signs of 10 clusters' == row(one, 'repair', 'ece15', 'temperature').resampled
    assert 'random signs of 10 clusters' in row(one, 'repair', 'ece15', 'isotonic').method
    html = one.html()
    assert 'where random signs of 10 clusters give' in html and 'these confidences gets' not in html and html.count('so the band is too narrow') == 2 and 'random signs of whole clusters' in html

@pytest.mark.parametrize('clusters, says', [(4, 'so few clusters can show no more'), (20, 'miscalibrated beyond chance'), (None, 'miscalibrated beyond chance')])
def test_few_clusters_are_not_taken_for_calibrated(clusters, says):
    "A model that is far too sure: with four clusters the test of ECE cannot show it, and the brief does not say that there is nothing."
    assert says in repr(report(asked(clusters=clusters)))

def test_accuracy_of_single_questions_is_wilsons(two):
    hit = two.models[0].p.correct
    assert ends(row(two, 'summary', 'acc')) == pytest.approx((hit.mean(), *wilson(hit.sum(), len(hit))))

def test_corp_curve_is_that_of_the_plots():
    p = asked()
    ours, theirs = corp_null(p.conf, p.correct), corp_curve(p.conf, p.correct)
    there = np.searchsorted(theirs.x, ours.x)
    np.testing.assert_allclose(ours.fit, theirs.fitted[there])
    assert np.abs(ours.lo - theirs.lo[there]).mean() < .03 and np.abs(ours.hi - theirs.hi[there]).mean() < .03 # other draws
    np.testing.assert_allclose(ours.fit, corp_fit(p.conf, p.correct)[np.argsort(p.conf)][np.searchsorted(np.sort(p.conf), ours.x)])

def test_ties_are_drawn_together():
    "With every answer thrice in the log, the band is that of three answers a place."
    conf, hit = np.repeat(np.linspace(.2, .9, 200), 3), np.tile([True, False, True], 200)
    tied, slow = corp_null(conf, hit), ece_null(conf, hit, draws=200, metric=lambda c, h: corp(c, h).mcb)
    assert abs(tied.mcb.mean() - slow.mean) < 4 * np.hypot(tied.mcb.std(), slow.draws.std()) / 200**.5

def test_random_groups_are_as_good_a_bootstrap_as_questions(monkeypatch):
    m = as_model(asked(2000, clusters=None), 'a')
    every = ece_interval(m.p.conf, m.p.correct)
    monkeypatch.setattr(report_numbers, 'GROUPS', 500)
    group, words = report_numbers._resampled(m)
    assert words == '500 random groups of 2,000 questions' and np.bincount(group).max() == 4
    np.testing.assert_allclose(ece_interval(m.p.conf, m.p.correct, cluster=group)[:3], every[:3], atol=.006)

def test_the_certified_threshold_is_that_of_the_measuring_floor(two):
    p = two.models[1].p
    order = np.random.default_rng([0, 5]).permutation(len(p))
    seen, test = order[:80], order[80:]
    c = certify_threshold(p.conf[test], p.correct[test], grid_certified(p.conf[seen], 320, .2), .2)
    assert row(two, 'abstention', 'certified_threshold', '20%', 'b').estimate == c.threshold < 1
    assert row(two, 'abstention', 'certified_coverage', '20%', 'b').estimate == c.answered / 320

def test_a_sweep_counts(one):
    s, p = one.models[0].curves['sweep'], one.models[0].p
    for i in (0, 20, len(s.threshold) - 1):
        kept = p.conf >= s.threshold[i]
        assert (s.answered[i], s.right[i]) == (kept.sum(), p.correct[kept].sum())
        assert s.lo[i] <= s.right[i] / s.answered[i] <= s.hi[i]
    i, kept = 100, p.conf >= s.threshold[100]
    e = np.bincount(one.models[0].codes[kept], p.correct[kept] - s.right[i] / s.answered[i])
    se = np.sqrt((e @ e) * 10 / 9) / kept.sum()
    a = s.right[i] / s.answered[i]
    assert (logit(s.hi[i]) - logit(a), logit(a) - logit(s.lo[i])) == pytest.approx((2.2621571628 * se / (a * (1 - a)),) * 2)

def test_intervals_stay_where_their_values_can_be():
    "Five clusters, one of them wrong throughout: a plain t interval would reach beyond 1."
    hit = np.arange(100) // 20 != 0
    right = report(from_grades(np.where(hit, 1., .98), hit, cluster=np.arange(100) // 20))
    acc = row(right, 'summary', 'acc')
    assert mean_difference(hit.astype(float), np.zeros(100), np.arange(100) // 20).hi > 1
    half = 2.7764451 * .2 / (.8 * .2) # sd of five clusters' means, sqrt(.2), over sqrt(5)
    assert (acc.lo, acc.hi) == pytest.approx((expit(logit(.8) - half), expit(logit(.8) + half))) and acc.method == 't, clusters, logit'
    wrong = report(from_grades(np.r_[np.full(50, .99), np.full(50, .9)], np.r_[np.zeros(49), np.ones(51)], cluster=np.arange(100) // 50))
    for r in (right, wrong):
        for m, least, most in (('acc', 0, 1), ('conf', 0, 1), ('conf_gap', -1, 1), ('brier_top', 0, 1), ('nll_top', 0, np.inf)):
            t = r.numbers[(r.numbers.measure == m) & r.numbers.lo.notna()]
            assert (t.lo >= least).all() and (t.hi <= most).all(), m
        assert all(0 <= x <= 1 for s in (r.models[0].curves['sweep'],) for x in (*s.lo, *s.hi))

@pytest.mark.parametrize('right', [1, 0])
def test_all_right_in_clusters_is_as_sure_as_there_are_clusters(right):
    r = report(from_grades(np.linspace(.5, 1, 400), [right] * 400, cluster=np.arange(400) % 4))
    acc, s = row(r, 'summary', 'acc'), r.models[0].curves['sweep']
    assert (acc.lo, acc.hi) == pytest.approx(wilson(4 * right, 4)) == (s.lo[-1], s.hi[-1]) and acc.method == 'Wilson, of 4 clusters'
    assert (s.lo[0], s.hi[0]) == pytest.approx(wilson(right, 1)), 'one answer of one cluster'

def test_discrimination_has_no_null(two): assert np.isnan(row(two, 'summary', 'dsc').null)

def test_groups_are_the_measuring_floor_and_holm(one):
    p = one.models[0].p
    gaps = one.numbers[(one.numbers.section == 'groups') & (one.numbers.measure == 'conf_gap')]
    first = p.cluster == gaps.group.iloc[0]
    assert ends(gaps.iloc[0]) == mean_difference(p.conf[first], p.correct[first].astype(float))[:3] and len(gaps) == 10
    np.testing.assert_array_equal(gaps.p_holm, holm(gaps.p.to_numpy()))
    pooled = one.numbers[one.numbers.measure == 'conf_gap_pooled']
    assert pooled.estimate.std() <= gaps.estimate.std() and abs(pooled.estimate.mean() - gaps.estimate.mean()) < .01

def test_a_spread_of_gaps_has_a_test_by_hand(one):
    p, k = one.models[0].p, 10
    gap = np.array([(p.conf - p.correct)[p.cluster == str(c)].mean() for c in range(k)])
    within = sum(((p.conf - p.correct)[p.cluster == str(c)] - gap[c]) @ ((p.conf - p.correct)[p.cluster == str(c)] - gap[c]) for c in range(k)) / (400 - k)
    q = ((gap - gap.mean())**2).sum() / (within / 40)
    assert row(one, 'groups', 'spread').p == pytest.approx(chi2.sf(q, 9)) and row(one, 'groups', 'spread').estimate == pytest.approx(max(0, (q - 9) / (10 / (within / 40) * .9))**.5)

def test_gaps_that_do_not_differ_are_seldom_said_to(one):
    "Ten subjects of one and the same gap: the estimate of their spread is above 0 half of the time, the test speaks up in one of twenty."
    rng, above, shown = np.random.default_rng(0), 0, 0
    for _ in range(200):
        p = report_numbers._pooled(rng.normal(.1, .05, 10), np.full(10, .0025))[2]
        above, shown = above + (p['estimate'] > 0), shown + (p['p'] < .05)
    assert above > 60 and shown < 22

@pytest.mark.parametrize('estimate, p, says', [(.1, .001, 'differ by more than chance'), (.03, .3, 'is not shown'), (0., .6, 'no more than chance explains')])
def test_the_words_on_the_spread_follow_its_p(estimate, p, says):
    from plcal_study.study.report import _differ
    assert says in _differ(pd.Series(dict(estimate=estimate, p=p))) and p_say(p) in _differ(pd.Series(dict(estimate=estimate, p=p)))

def test_repair_is_that_of_the_calibrators(one):
    t = repair_report(one.models[0].p, ['temperature', 'isotonic'])
    for how in t.index[1:]:
        assert row(one, 'repair', 'brier_top', how).estimate == pytest.approx(t.brier_top[how])
        assert ends(row(one, 'repair', 'brier_top_change', how)) == pytest.approx(tuple(t.loc[how, ['brier_top_change', 'brier_top_lo', 'brier_top_hi']]))
        assert row(one, 'repair', 'ece15', how).estimate == pytest.approx(t.ece15[how])
    changes = one.numbers[(one.numbers.section == 'repair') & one.numbers.measure.str.endswith('_change')]
    np.testing.assert_array_equal(changes.p_holm, holm(changes.p.to_numpy()))

def test_the_paired_table_by_hand(two):
    a, b = pair(two.models[0].p, two.models[1].p)
    t = two.numbers[two.numbers.section == 'comparison'].set_index('measure')
    def loss(p): return ((p.probs - np.eye(4)[p.label])**2).sum(1), -np.log(p.probs[np.arange(len(p)), p.label])
    for name, x, y in zip(('brier', 'nll'), loss(b), loss(a), strict=True):
        d = x - y
        assert t.estimate[name] == pytest.approx(d.mean()) and t.hi[name] - t.lo[name] == pytest.approx(2 * 1.965927 * d.std(ddof=1) / 20, rel=1e-5)
    assert ends(t.loc['acc']) == mcnemar(b.correct, a.correct)[:3]
    assert ends(t.loc['auroc']) == delong([b.conf, a.conf], np.stack([b.correct, a.correct])).compare(0, 1)[:3]
    assert t.estimate['ece15'] == pytest.approx(ece(b.conf, b.correct) - ece(a.conf, a.correct)) and np.isnan(t.p['ece15']) and 'not tested' in t.note['ece15']
    tested = t.drop(index='ece15')
    np.testing.assert_array_equal(tested.p_holm, holm(tested.p.to_numpy()))
    assert (t.group == 'a').all() and (t.model == 'b').all()

def test_models_are_paired_by_question_not_by_row():
    a, b = asked(200, clusters=None), asked(200, seed=1, clusters=None, name='b')
    t, u = (report(a, q).numbers.query("section == 'comparison'") for q in (b, select(b, np.random.default_rng(0).permutation(200))))
    np.testing.assert_allclose(t.estimate, u.estimate)
    part = report(a, select(b, np.arange(150)))
    assert (part.numbers.query("section == 'comparison'").n == 150).all() and '50 are in one log only' in part.warnings[1] and part.warnings[1] in part.html().replace('&#x27;', "'")

def test_rows_without_ids_are_not_paired(tmp_path):
    "Two files in different orders, without a column of ids: the row number pairs nothing."
    p = asked(200, clusters=None)
    for name, rows in (('a', np.arange(200)), ('b', np.random.default_rng(0).permutation(200))):
        pd.DataFrame(dict(conf=p.conf[rows], correct=p.correct[rows].astype(int))).to_csv(tmp_path / f'{name}.csv', index=False)
        pd.DataFrame(dict(id=rows, conf=p.conf[rows], correct=p.correct[rows].astype(int))).to_csv(tmp_path / f'{name}_id.csv', index=False)
    for files, says in ((('a', 'b'), 'the logs of a and b do not name their questions'), (('a_id', 'b'), 'the log of b does not name its questions'), (('a', 'b_id'), 'the log of a does not name its questions')):
        r = report(*(tmp_path / f'{f}.csv' for f in files))
        assert (r.numbers.section != 'comparison').all() and says in r.warnings[0] and '--columns uid=COLUMN' in r.warnings[0] and says in r.html()
    save(read_log(tmp_path / 'a.csv', quiet=True), tmp_path / 'c.parquet')
    assert 'do not name their questions' in report(tmp_path / 'c.parquet', tmp_path / 'c.parquet').warnings[0], 'saving is no naming'
    same = report(tmp_path / 'a_id.csv', tmp_path / 'b_id.csv')
    assert same.numbers.query("section == 'comparison' and measure == 'brier_top'").estimate.item() == 0 and not same.warnings, 'the same answers'

def test_arrays_without_ids_are_paired_in_order_and_it_is_said(two):
    assert 'paired in the order in which they were given' in two.warnings[0] and 'paired in the order' in two.html()
    p = two.models[0].p
    named = from_logits(p.logits, p.label, [f'q{i}' for i in range(len(p))])
    assert not report(named, named).warnings

def test_clusters_that_either_log_declares_are_those_of_the_comparison():
    ids = [f'q{i}' for i in range(200)]
    def model(seed, cluster): return from_logits(asked(200, seed).logits, asked(200, seed).label, ids, dict(model=f'm{seed}'), cluster)
    tens, twenties, halves = np.arange(200) % 10, np.array([f'g{i}' for i in np.arange(200) % 10]), np.arange(200) // 100
    def compared(a, b): r = report(model(0, a), model(1, b)); return r, r.numbers.query("section == 'comparison' and measure == 'brier'").iloc[0]
    r, both = compared(tens, twenties)
    assert both.resampled == '10 clusters' and not r.warnings, 'other names, the same clusters'
    for a, b in ((tens, None), (None, tens)):
        r, one = compared(a, b)
        assert one.resampled == '10 clusters' and ends(one) == ends(both)
    r, other = compared(tens, halves)
    assert ends(other) == ends(both) and 'declare different clusters' in r.warnings[0] and r.warnings[0] in r.html()
    assert compared(None, None)[1].resampled == '200 questions'

def test_other_questions_are_not_compared():
    r = report(asked(60, clusters=None), from_grades([.5, .6], [1, 0], ['x', 'y']))
    assert (r.numbers.section != 'comparison').all() and '0 questions in common' in r.warnings[0] and r.warnings[0] in r.html()

def test_a_bias_of_place_is_found_and_said():
    p = asked(800, clusters=None)
    biased = report(from_logits(p.logits + np.array([1.5, 0, 0, 0]), p.label))
    assert row(biased, 'position', 'chosen_minus_right', 'A').p_holm < .01 and any('Answer A was chosen' in w for w in biased.models[0].warnings)
    assert row(biased, 'position', 'chosen', 'A').estimate == (biased.models[0].p.logits.argmax(1) == 0).mean()

def test_a_bias_beyond_the_smallest_number_is_said_too():
    "With so many questions its p is 0 to the last bit."
    p = asked(14_000, clusters=None)
    m = as_model(from_logits(p.logits + np.array([8., 0, 0, 0]), p.label), 'm')
    report_numbers.position(m); report_numbers.warn(m)
    assert min(r['p_holm'] for r in m.lines if r['p_holm'] is not None) == 0
    assert any('Answer A was chosen' in w and 'below 1e-300' in w for w in m.warnings)

def test_the_table_has_its_columns_and_a_reason_for_every_gap(one, two):
    for r in (one, two, report(from_grades([.5], [1]))):
        assert tuple(r.numbers.columns) == COLUMNS
        gaps = r.numbers[r.numbers.estimate.isna()]
        assert (gaps.note != '').all(), gaps[gaps.note == '']


# ---- warnings ------------------------------------------------------------------------------------------------------
def bf16(z): return (np.asarray(z, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)

@pytest.mark.parametrize('p, says', [
    (from_logits(bf16(asked().logits), asked().label), 'fits in bfloat16'),
    (from_logits(asked().logits.astype(np.float16), asked().label), 'fits in float16'),
    (from_grades(np.r_[np.ones(50), np.full(50, .6)], np.arange(100) % 2), 'exactly 1'),
    (from_grades(np.round(asked().conf, 1), asked().correct), 'share their confidence'),
    (from_logits(asked().logits, asked().label, off_option_mass=np.full(400, .3)), 'lay outside the options'),
    (from_grades([.7] * 40, [1] * 39 + [0]), '1 wrong answer only'),
    (from_grades([.7] * 40, [1] * 40), 'No answer is wrong'),
    (from_grades([.7] * 40, [1] * 39 + [0]), 'All confidences are the same'),
    (from_grades([.7, .8], [1, 0]), '2 questions only'),
    (from_grades(np.linspace(.5, 1, 40), np.arange(40) % 2, [f'passage{i // 4}_{i % 4}' for i in range(40)]), '10 groups (such as passage0, 4 questions)'),
    (from_grades([.7, .8], [1, 0], meta=dict(read=dict(format='csv', skipped=3, conf='column p'))), '3 lines of the log'),
    (from_grades([.7, .8], [1, 0], meta=dict(read=dict(format='csv', conf='column p', guessed=['conf']))), 'confidence from column p'),
    (from_grades([.7, .8], [1, 0], cluster=['x', 'x']), 'in one cluster, x'),
    (from_grades([.7, .8, .9], [1, 0, 1], cluster=['x', 'x', 'y']), 'p of ECE cannot be much below 0.5'),
    (from_grades(np.linspace(.5, 1, 190), np.arange(190) % 2, cluster=np.arange(190) % 19), '19 clusters only: intervals rest on how much these few differ, and those of the bootstrap (ECE without bias) are then too narrow'),
])
def test_a_warning_is_given(p, says):
    m = as_model(p, 'm')
    report_numbers.warn(m)
    assert any(says in w for w in m.warnings), m.warnings

def test_a_confidence_below_one_in_k_is_no_softmax():
    p = asked()
    low = report_numbers.replace(p, conf=np.minimum(p.conf, .2))
    assert 'below 1/k' in report_numbers._options(low)[0] and not report_numbers._options(p)

def test_twenty_clusters_are_enough():
    p = from_grades(np.linspace(.5, 1, 400), np.arange(400) % 2, cluster=np.arange(400) % 20)
    assert not report_numbers._few(as_model(p, 'm'))

def test_a_sound_log_has_no_warnings(two):
    assert not two.models[0].warnings

def test_only_guesses_are_to_be_wary_of(tmp_path):
    "What was asked for, or is named as it is called here, stands under the input; what was taken by a usual name is to be checked."
    p = asked(120, clusters=None)
    t = pd.DataFrame(dict(uid=[f'q{i}x' for i in range(120)], conf=p.conf, correct=p.correct.astype(int)))
    def wary(frame, **how): return [w for w in as_measured(read_log(frame, quiet=True, **how)) if 'Guessed' in w]
    def as_measured(p): report_numbers.warn(m := as_model(p, 'm')); return m.warnings
    assert not wary(t)
    assert not wary(t.rename(columns=dict(conf='p')), columns=dict(conf='p'))
    (w,) = wary(t.assign(subject=np.arange(120) % 30).rename(columns=dict(conf='msp', correct='acc', uid='id')))
    assert 'confidence from msp; grade from acc; question from id; cluster from subject, 30 values' in w
    r = report(read_log(t.drop(columns='uid'), quiet=True))
    assert not any('Guessed' in w for w in r.models[0].warnings) and 'confidence: conf; grade: correct; question: the row number, as no column names it (table)' in r.html()
    several = pd.DataFrame(dict(p_0=p.probs[:, 0], p_1=1 - p.probs[:, 0], gold=p.label % 2, uid=t.uid))
    (w,) = wary(several.rename(columns=dict(p_0='prob_0', p_1='prob_1')))
    assert 'confidence from largest of prob_0 … prob_1; right option from gold' in w
    save(read_log(t.rename(columns=dict(conf='msp')), quiet=True), tmp_path / 'a.parquet')
    assert 'confidence from msp' in wary(tmp_path / 'a.parquet')[0], 'a guess is a guess after saving too'

def test_the_methods_say_what_was_done_for_each_model():
    "Three sizes, two kinds of units: no clause speaks for a model that was measured otherwise."
    a, b, c = asked(400, name='a'), asked(300, clusters=None, name='b'), asked(400, clusters=3, name='c')
    t = methods((r := report(a, b, c)).models)
    for says in ('its null is the ECE of 1,000 random signs of whole clusters’ residuals (a, c); 1,000 models that are calibrated and have the same confidences (Bröcker and Smith 2007) (b)', 'a null, as questions come in clusters (a, c); with 100 draws of its null (b)',
                 '5-fold cross-fitting, folds of whole clusters (a); 5-fold cross-fitting (b); 3-fold cross-fitting, folds of whole clusters (c)', 'Wilson’s for accuracy, t intervals for means', 'have the seed 0.'): assert says in t, (says, t)
    assert t.replace('’', '').isprintable() and json.loads(r.json())['methods'] == t
    alone = methods(report(b).models)
    assert '(b)' not in alone and 'cluster' not in alone and 'judged by 5-fold cross-fitting. ' in alone
    assert 'no fold, as none could be fitted' in methods(report(from_grades([.5], [1])).models)

def test_draws_are_those_that_were_made(monkeypatch):
    "More answers than a null of 1,000 draws can take, and more clusters than the bootstrap tells apart."
    m = as_model(asked(3000, clusters=None), 'm')
    few = report_numbers.null_draws
    monkeypatch.setattr(report_numbers, 'null_draws', lambda n, work=1e8, most=1000: few(n, work / 1000, most))
    monkeypatch.setattr(report_numbers, 'GROUPS', 500)
    report_numbers.summary(m); report_numbers.repair(m)
    t, e = methods([m]), next(r for r in m.lines if r['measure'] == 'ece15' and r['section'] == 'summary')
    assert m.made['ece'] == 40 and 'ECE of 40 models' in t and 'null of 40 calibrated' in e['method'] and f'with {m.made["corp"]} draws.' in t and 'with 1,000 draws, of 500 random groups of 3,000 questions.' in t
    report_numbers.summary(small := as_model(asked(400, clusters=None), 's'))
    assert 'with 1,000 draws, of 500 random groups of 3,000 questions (m); 1,000 draws (s).' in methods([m, small])

@pytest.mark.parametrize('conf', [[1., 1., 0., 0., .7], [.2, .9, .5, 1 - 2**-24, .6]])
def test_losses_of_questions_are_those_of_the_measuring_floor(conf):
    p = from_grades(conf, [0, 1, 1, 0, 1])
    x = report_numbers._losses(p)
    assert x['nll_top'].mean() == pytest.approx(nll_top(p.conf, p.correct), abs=1e-15) and x['brier_top'].mean() == pytest.approx(brier_top(p.conf, p.correct), abs=1e-15)
    q = asked()
    y = report_numbers._losses(q)
    assert y['nll'].mean() == pytest.approx(nll(q.logits, q.label)) and y['brier'].mean() == pytest.approx(brier(q.probs, q.label)) and y['nll_top'].mean() == pytest.approx(nll_top(q.conf, q.correct))

def test_numbers_that_are_none_in_meta_become_null():
    r = report(from_grades([.5, .6], [1, 0], meta=dict(model='m', loss=float('nan'), of=[float('inf'), 1.5, dict(x=float('nan'))])))
    assert json.loads(r.json())['models'][0]['meta'] == dict(model='m', loss=None, of=[None, 1.5, dict(x=None)])

def test_saved_answers_are_no_guess(tmp_path):
    save(asked(clusters=None), tmp_path / 'a.parquet')
    assert not report(tmp_path / 'a.parquet').models[0].warnings


# ---- the page ------------------------------------------------------------------------------------------------------
class Tags(HTMLParser):
    VOID = {'meta', 'link', 'input', 'br', 'img'}
    def __init__(self, html):
        super().__init__(); self.open, self.seen, self.text = [], [], ''
        self.feed(html)
        assert not self.open, self.open
    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID: self.open.append(tag)
    def handle_startendtag(self, tag, attrs): self.seen.append((tag, dict(attrs)))
    def handle_endtag(self, tag): assert self.open.pop() == tag, tag
    def handle_data(self, data):
        if self.open[-1:] not in (['script'], ['style']): self.text += data

DEGENERATE = {
    'one right': from_grades([.5], [1]), 'two': from_grades([.5, .7], [1, 0]), 'all right': from_grades([.8] * 40, [1] * 40), 'all wrong': from_grades(np.linspace(0, 1, 40), [0] * 40),
    'no doubt': from_grades([1.] * 30, [1] * 30), 'no idea': from_grades([0.] * 30, [0] * 30), 'same confidence': from_grades([.7] * 50, [1, 0] * 25), 'few': from_grades(np.linspace(.1, .9, 12), [1, 0] * 6),
    'one cluster': from_grades(np.linspace(.1, .9, 40), [1, 0] * 20, cluster=['x'] * 40), 'two clusters': from_grades(np.linspace(.1, .9, 40), [1, 0] * 20, cluster=['x', 'y'] * 20),
    'clusters all right': from_grades(np.linspace(.1, .9, 40), [1] * 40, cluster=['x', 'y'] * 20), 'one option': from_logits(np.zeros((5, 1)), np.zeros(5, int)),
    'impossible was right': from_logits([[0., -np.inf], [0., 1.], [1., 0.]], [1, 1, 0]), 'ragged': from_logits([[0., 1., np.nan], [0., 1., 2.], [3., 1., 0.]], [0, 2, 0]),
    'each its own cluster': from_grades(np.linspace(.1, .9, 40), [1, 0] * 20, cluster=np.arange(40))}

@pytest.mark.parametrize('name', DEGENERATE)
def test_the_report_comes_and_never_says_nan(name):
    r = report(DEGENERATE[name])
    page = Tags(r.html())
    assert not re.search(r'\b(nan|NaN)\b|(?<!logit -)\binf\b|\bNone\b', page.text)
    assert 'NaN' not in r.json() and not re.search(r'\bnan\b', r.csv())
    assert all(not re.search('nan|inf', str(v)) for _, attrs in page.seen for k, v in attrs.items() if k in ('d', 'cx', 'cy', 'x', 'y', 'height')), 'a figure with no place to draw'
    if len(r.models[0].p) < 30: assert r.models[0].warnings

def test_two_degenerate_models_are_compared_in_words():
    r = report(DEGENERATE['all right'], from_grades([.9] * 40, [1] * 40))
    t = r.numbers.query("section == 'comparison'").set_index('measure')
    assert 'AUROC compares the two' in t.note['auroc'] or 'at least 2 right and 2 wrong' in t.note['auroc']
    Tags(r.html())

def test_hostile_text_stays_text():
    p = asked(120, clusters=None)
    cluster = np.array([HOSTILE + str(i % 3) for i in range(120)])
    q = from_logits(p.logits, p.label, meta=dict(model=HOSTILE, file=HOSTILE, read=dict(format=HOSTILE, conf=HOSTILE, uid=HOSTILE, guessed=['conf'])), cluster=cluster)
    page = Tags(html := report(q, from_logits(p.logits * .5, p.label, meta=dict(model=HOSTILE, task=HOSTILE), cluster=cluster)).html())
    assert not any(tag in ('img', 'b', 'iframe') for tag, _ in page.seen) and not any(k.startswith('on') for _, a in page.seen for k in a)
    assert [tag for tag, _ in page.seen].count('script') == 2 and HOSTILE in page.text and 'onerror=alert(1)>' not in html
    assert json.loads(re.search(r'id="thresholds">(.*?)</script>', html)[1])[0]['name'].startswith(HOSTILE)

def test_nothing_is_asked_of_the_network(two):
    html = two.html()
    assert not re.search(r'https?:|//[a-z]|@import|url\(', html.replace('//www.w3.org', '')), 'an address'
    assert all(not (k in ('src', 'href') and not v.startswith(('#', 'data:,'))) for _, a in Tags(html).seen for k, v in a.items())

def test_the_same_answers_give_the_same_bytes():
    a, b = (re.sub(r'\d{4}-\d\d-\d\d', '', report(asked(), seed=3).html()) for _ in range(2))
    assert a == b
    assert report(asked(), seed=4).numbers.null.ne(report(asked(), seed=3).numbers.null).any()

def test_every_figure_has_words_and_numbers(two):
    page = Tags(two.html())
    figures = [a for tag, a in page.seen if tag == 'svg' and 'aria-hidden' not in a]
    assert len(figures) >= 5 and all(a.get('role') == 'img' and len(a['aria-label']) > 30 for a in figures)
    ids = [a['id'] for _, a in page.seen if 'id' in a]
    assert len(ids) == len(set(ids)) and all(a['href'][1:] in ids for tag, a in page.seen if tag == 'a')

def test_words_of_a_figure_and_of_the_brief_do_not_contradict():
    "Most answers are sure and too sure; the few unsure ones lie far above the diagonal, and are most of the curve."
    conf = np.r_[np.linspace(.1, .6, 60), np.full(940, .9)]
    r = report(from_grades(conf, np.r_[np.ones(60), np.arange(940) % 10 < 7]))
    figure = next(a['aria-label'] for tag, a in Tags(r.html()).seen if tag == 'svg' and 'Reliability' in a.get('aria-label', ''))
    assert 'Overconfident' in repr(r) and 'underconfident' not in figure and 'right at confidence 0.90' in figure

def test_numbers_on_the_page_are_those_of_the_table(two):
    text = Tags(two.html()).text
    for model in ('a', 'b'):
        for measure in ('acc', 'ece15', 'brier', 'nll', 'auroc', 'aurc'):
            r = row(two, 'summary', measure, model=model)
            assert say(r.estimate) in text and (np.isnan(r.lo) or f'[{say(r.lo)}, {say(r.hi)}]' in text), (model, measure)


# ---- files and the command -----------------------------------------------------------------------------------------
def test_files_are_written_whole_and_read_back(two, tmp_path):
    for end in ('html', 'json', 'csv'): two.save(tmp_path / f'r.{end}')
    assert (tmp_path / 'r.html').read_text() == two.html()
    said = json.loads((tmp_path / 'r.json').read_text())
    assert len(said['numbers']) == len(two.numbers) == len(pd.read_csv(tmp_path / 'r.csv')) and said['numbers'][0]['estimate'] == two.numbers.estimate[0] and 'seed 0' in said['methods']

def test_the_command_reads_logs_and_keeps_their_hash(tmp_path, capsys):
    p = asked(120)
    pd.DataFrame(dict(id=p.uid, p=p.conf, ok=p.correct.astype(int), subject=p.cluster)).to_csv(tmp_path / 'a.csv', index=False)
    save(asked(120, seed=1, name='b'), tmp_path / 'b.parquet')
    code = main(['report', str(tmp_path / 'a.csv'), '--columns', 'conf=p,correct=ok,uid=id', '--cluster', 'subject', '--name', 'mine', '-o', str(tmp_path / 'r.html'), '--csv', str(tmp_path / 'r.csv'), '--quiet'])
    assert code == 0 and 'mine: 120 questions' in capsys.readouterr().out
    import hashlib
    assert hashlib.sha256((tmp_path / 'a.csv').read_bytes()).hexdigest() in (tmp_path / 'r.html').read_text()
    assert pd.read_csv(tmp_path / 'r.csv').query("section == 'summary' and measure == 'ece15'").estimate.item() == pytest.approx(ece(p.conf, p.correct))
    assert main(['report', str(tmp_path / 'b.parquet'), '-o', str(tmp_path / 's.html'), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['models'][0]['name'] == 'b'

@pytest.mark.parametrize('args, says', [(['no.csv'], 'no.csv'), (['a.csv', '-o', 'r.pdf'], '.html, .json or .csv'), (['a.csv', '--name', 'x', '--name', 'y', '--columns', 'conf=p,correct=ok'], 'one name for each of 1')])
def test_the_command_says_what_is_wrong(args, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.csv').write_text('p,ok\n.5,1\n.6,0\n')
    assert main(['report', *args]) == 1 and says in capsys.readouterr().err and not list(tmp_path.glob('r*'))

def rows(**columns): return pd.DataFrame(columns)

HALF, GRADES = [.6, .7, .8, .9] * 5, [1, 0, 1, 1, 1] * 4
TWO = [[p, 1 - p] for p in HALF]
WORDS = {'uid': 'id', 'conf': 'surety', 'correct': 'ok', 'probs': 'all', 'label': 'gold', 'seed': '0'} # what is meant by …
FAULTY = {
    'two confidences': (rows(conf=HALF, msp=HALF, correct=GRADES), 1),
    'two families': (rows(prob_0=HALF, prob_1=[1 - x for x in HALF], probs_0=HALF, probs_1=[1 - x for x in HALF], label=[0] * 20), 1),
    'logits and probs': (rows(logits=TWO, probs=TWO, label=[0] * 20), 2),
    'a confidence of its own': (rows(probs=TWO, label=[0] * 20, confidence=[.95] * 20), 2),
    'a grade that contradicts': (rows(probs=TWO, label=[0] * 20, correct=[0] * 20), 1),
    'two clusters': (rows(conf=HALF, correct=GRADES, subject=list('aabb') * 5, topic=list('abab') * 5), 2),
    'questions twice': (rows(id=list(range(10)) * 2, seed=[0] * 10 + [1] * 10, conf=HALF, correct=GRADES), 2),
    'other names': (rows(surety=HALF, ok=GRADES, all=TWO, gold=[0] * 20), 2),
    'a grade as label': (rows(probs=TWO, label=[True, False] * 10), 0),
}

@pytest.mark.parametrize('name', FAULTY)
def test_every_remedy_that_the_command_prints_works(name, tmp_path, capsys):
    table, remedies = FAULTY[name]
    table.to_json(log := tmp_path / 'a.jsonl', orient='records', lines=True)
    assert main(['report', str(log), '-o', str(tmp_path / 'r.html'), '--quiet']) == 1
    said = capsys.readouterr().err
    assert '{' not in said and 'columns=' not in said and 'filter=' not in said, said
    found = [' '.join(m) for m in re.findall(r"(--columns|--filter) ((?:'[^']*'|[^\s;'])+)", said)]
    assert len(found) >= remedies and not list(tmp_path.glob('r*')), said
    for option, value in (shlex.split(x.rstrip(',')) for x in found if remedies):
        value = re.sub('([a-z]+)=…', lambda m: f'{m[1]}={WORDS[m[1]]}', value)
        assert main(['report', str(log), option, value, '-o', str(tmp_path / 'r.html'), '--quiet']) == 0, capsys.readouterr().err
        capsys.readouterr()

def test_roles_of_the_command():
    from plcal_study.study.cli import _roles, _shell
    assert _roles('conf=p, correct = ok,uid=id,uid=seed,cluster=,k=4') == dict(conf='p', correct='ok', uid=['id', 'seed'], cluster=None, k=4)
    assert _roles('k=options,conf=a=b') == dict(k='options', conf='a=b')
    for bad in ('conf', '=p', 'conf=p,', 'uid=a,uid='):
        with pytest.raises(argparse.ArgumentTypeError): _roles(bad)
    for want in (dict(conf='my p, raw'), dict(conf="it's"), dict(uid=['a b', 'c,d'], cluster=None)): # what a remedy prints is what the option means
        assert _roles(shlex.split(_shell(f'choose by columns={want!r}'))[-1]) == want
    assert _shell("choose one by filter='epoch=1'") == 'choose one by --filter epoch=1' and _shell("choose one of ['a', 'b'] by `filter=`").endswith('by --filter') and _shell('say it by format=, one of').startswith('say it by --format, one of')
    assert 'in Python' in _shell('give `label=`') and _shell("columns['conf'] names 'x', which") == "--columns conf= names 'x', which"

@pytest.mark.parametrize('given, says', [('ab.csv', "ab.csv: there is no such file or folder; did you mean DIR/abc.csv?"), ('none/x.csv', 'none/x.csv: there is no such file or folder')])
def test_a_file_that_is_not_there_is_named_in_words(given, says, tmp_path, capsys):
    (tmp_path / 'abc.csv').write_text('conf,correct\n.5,1\n')
    assert main(['report', str(tmp_path / given)]) == 1
    said = capsys.readouterr().err.replace(str(tmp_path), 'DIR')
    assert says in said and 'Errno' not in said

def test_no_cluster_and_a_number_of_options_can_be_asked_for(tmp_path, capsys):
    rows(conf=HALF, correct=GRADES, subject=list('aabb') * 5).to_csv(tmp_path / 'a.csv')
    def resampled(*more): assert main(['report', str(tmp_path / 'a.csv'), '-o', str(tmp_path / 'r.html'), '--quiet', '--json', *more]) == 0; return json.loads(capsys.readouterr().out)['models'][0]['resampled']
    assert (resampled(), resampled('--columns', 'cluster='), resampled('--cluster', '')) == ('2 clusters', '20 questions', '20 questions')
    log_files.lines(tmp_path / 'a.jsonl', [dict(custom_id=f'q{i}', answer='A', choices=[dict(message=dict(content='A'), logprobs=dict(content=[log_files.token('A', -.1 - i / 50, [('A', -.1 - i / 50), ('B', -3.)])]))]) for i in range(12)])
    assert main(['report', str(tmp_path / 'a.jsonl'), '--columns', 'k=5', '-o', str(tmp_path / 'r.html'), '--csv', str(tmp_path / 'r.csv'), '--quiet']) == 0
    assert set(pd.read_csv(tmp_path / 'r.csv').query("section == 'position'").group) == set('ABCDE')

def test_names_at_the_top_of_the_package():
    import plcal_study
    assert plcal_study.report is report and {'read_log', 'report', 'Predictions', 'load', 'save', 'from_logits', 'from_grades'} == set(plcal_study.__all__) <= set(dir(plcal_study))
    with pytest.raises(AttributeError, match='no attribute'): plcal_study.nothing # noqa: B018


# ---- found by a reader who tried to break it ----------------------------------------------------------------------------
def test_names_that_would_meet_do_not():
    ps = [replace(asked(60, clusters=None, seed=i), meta=dict(file=f'{d}/{n}.jsonl')) for i, (d, n) in enumerate((('x', 'answers'), ('y', 'answers'), ('z', 'answers (1)')))]
    r = report(*ps)
    assert [m.name for m in r.models] == ['answers (2)', 'answers (3)', 'answers (1)']
    assert [row(r, 'summary', 'acc', model=m.name).estimate for m in r.models] == [p.correct.mean() for p in ps]

@pytest.mark.parametrize('conf, sizes', [(.9, (10, 20, 30, 50)), (.9, (10, 10, 10)), (.75, (10, 10, 10)), (.8, (12, 12, 12))])
def test_gaps_that_do_not_vary_are_shown_and_not_tested(conf, sizes):
    r = report(from_grades(np.full(sum(sizes), conf), np.ones(sum(sizes)), cluster=np.repeat(list('abcd')[:len(sizes)], sizes)))
    gaps = r.numbers[(r.numbers.section == 'groups') & (r.numbers.measure == 'conf_gap')]
    np.testing.assert_allclose(gaps.estimate, conf - 1)
    assert gaps.p.isna().all() and 'spread' not in set(r.numbers.measure) and 'differ by more than chance' not in r.html()

def test_clusters_that_are_alike_are_not_called_questions_that_are():
    r = report(from_grades([.8] * 20, ([1] * 7 + [0] * 3) * 2, cluster=np.repeat(['a', 'b'], 10)))
    assert 'the same in every cluster, so there is no interval' in row(r, 'summary', 'conf_gap').note and np.isnan(row(r, 'summary', 'aurc').lo)
    assert 'the same in every cluster' in r.html() and 'the same for every question' not in r.html()

def test_a_threshold_is_printed_so_that_it_answers_the_same_questions():
    rng = np.random.default_rng(0)
    conf = np.r_[rng.uniform(.99984, .99985, 2500), rng.uniform(.99981, .99982, 2500)]
    r = report(from_grades(conf, rng.random(5000) < np.repeat([.98, .5], 2500)))
    certified = r.numbers[r.numbers.measure == 'certified_threshold'].dropna(subset='estimate')
    assert len(certified)
    for t in certified.estimate:
        said = decimal_of(t, conf)
        assert f'<td class="num">{said}</td>' in r.html() and ((conf >= float(said)) == (conf >= t)).all() and len(said) < 12
    s = r.models[0].curves['sweep']
    for t, said, answered in zip(s.threshold, s.said, s.answered, strict=True): assert (conf >= float(said)).sum() == answered and float(said) <= t
    assert decimal_of(.5, np.array([.2, .6])) == '0.600' and decimal_of(.29, np.array([.28, .29])) == '0.290' and decimal_of(.99, np.array([1.])) == '1.000'

def test_models_that_share_no_question_were_not_compared():
    a, b = asked(60, clusters=None), replace(asked(60, clusters=None, name='b'), uid=np.array([f'other {i}' for i in range(60)]))
    said = 'Models were compared question by question'
    assert said not in report(a, b).html() and said in report(a, asked(60, clusters=None, seed=1, name='b')).html()
    assert 'five folds' not in report(asked(60, clusters=3)).html()
