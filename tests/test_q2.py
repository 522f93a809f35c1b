"The tables of page q2 from answers that are made up, so that what must come out is known."
import numpy as np
import pytest
from dataclasses import replace
from plcal_study.measure.metrics import aurc, auroc, brier_top, cerr_neg, cerr_pos, ece
from plcal_study.measure.predictions import from_logits, probs_of
from plcal_study.study import q2, trials
from plcal_study.study.claims import decide

def answers(n, seed, sharp=1., name='x', split='test', k=3, drop=False):
    "Answers to the same questions for all seeds, said with logits of the posterior's, sharper and with some noise; with drop, as a learned calibrator leaves them."
    rng = np.random.default_rng([seed, len(split)])
    fixed = np.random.default_rng(len(split))
    z = fixed.normal(size=(n, k)) * 1.5
    true = probs_of(z)
    label = (true.cumsum(1) < fixed.random(n)[:, None]).sum(1).clip(max=k - 1)
    p = from_logits(sharp * (z + .2 * rng.normal(size=(n, k))), label, [f'{split}-{i}' for i in range(n)], dict(split=split, method=name), None, **{f'posterior{j}': true[:, j] for j in range(k)})
    if not drop: return p
    return replace(p, logits=None, label=None, conf=p.conf * .8, scores=p.scores | dict(option=p.logits.argmax(1).astype(float)))

SETS = ('val', 'top', 'test', 'covariate')
def cell(seed, part='methods', task='world-text', n=160, **more):
    "A finished cell: the plain model is too sure, smoothing less so, learned methods lower all confidence."
    own = {m: {s: answers(n, seed, 2.5, m, s) for s in SETS} for m in ('vanilla', 'EDA')}
    own |= {m: {s: answers(n, seed, 1.5, m, s) for s in SETS} for m in ('label smoothing', 'focal')}
    own |= {m: {s: answers(n, seed, 2.5, m, s, drop=True) for s in SETS if s != 'val'} for m in ('E-MLP', 'E-MLP (source)', 'E-PLM', 'I-Vanilla', 'I-Iter', 'I-Simul')}
    said = dict(part=part, task=task, seed=seed, size='2x64', n_train=100, n_val=100, methods={m: dict(sets=list(v), labels=1, seconds=2., parameters=3) for m, v in own.items()})
    return said | more, own

@pytest.fixture(scope='module')
def found(): return {'world-text': q2.collected([cell(s) for s in range(4)])}


def test_without_resampling_every_measure_is_that_of_the_measuring_floor(found):
    t = found['world-text']['vanilla', 'test']
    d = q2.measured(t).set_index('measure')['mean']
    for name, stat in dict(brier_top=brier_top, cerr_pos=cerr_pos, cerr_neg=cerr_neg, ece15=ece, auroc=auroc, aurc=aurc).items():
        alone = [stat(c, y > 0) for c, y in zip(t.conf, t.correct, strict=True)]
        assert abs(d[name] - np.mean(alone)) < (.01 if name.startswith('cerr') else 1e-9), name # CErr is a ratio of sums over all seeds
    assert abs(d.true_error - np.abs(t.conf - t.truth).mean()) < 1e-12

def test_the_truth_is_that_of_the_class_that_was_chosen():
    p = answers(50, 0, 2.)
    np.testing.assert_allclose(q2.truth_of(p), [p.scores[f'posterior{j}'][i] for i, j in enumerate(p.logits.argmax(1))])
    other = replace(p, scores=p.scores | dict(option=np.full(50, 2.)))
    np.testing.assert_allclose(q2.truth_of(other), p.scores['posterior2'])
    assert q2.truth_of(from_logits(np.eye(3), [0, 1, 2])) is None

def test_maps_on_learned_methods_are_fitted_on_labels_that_these_never_saw():
    _, own = cell(0)
    twisted = {m: dict(v) for m, v in own.items()}
    twisted['E-PLM']['top'] = replace(twisted['E-PLM']['top'], conf=1 - twisted['E-PLM']['top'].conf) # only the split `top` is another
    a, b = q2.with_maps(own), q2.with_maps(twisted)
    assert not np.allclose(a['E-PLM + Platt']['test'].conf, b['E-PLM + Platt']['test'].conf)
    assert 'E-PLM + vector' not in a and not any('val' in v or 'top' in v for v in a.values())
    twisted = {m: dict(v) for m, v in own.items()}
    twisted['vanilla']['top'] = twisted['vanilla']['test']
    np.testing.assert_array_equal(q2.with_maps(own)['temperature']['test'].conf, q2.with_maps(twisted)['temperature']['test'].conf)

def test_a_map_that_cannot_be_fitted_has_no_row():
    _, own = cell(0)
    own['vanilla']['val'] = replace(own['vanilla']['val'], correct=np.ones(160, bool))
    assert 'isotonic' not in q2.with_maps(own) and 'temperature' in q2.with_maps(own)

def test_a_temperature_on_a_merged_set_acts_before_the_merger():
    rng = np.random.default_rng(0)
    z, label = rng.normal(size=(80, 3)) * 3, rng.integers(0, 2, 80)
    hans = trials.merged(z, label, np.arange(80).astype(str), dict(split='hans'), None)
    c = q2.fit_temperature(replace(answers(400, 0, 2.5, split='val')))
    after = q2._applied(c, hans)
    three = probs_of(z / c.t)
    np.testing.assert_allclose(after.conf, np.maximum(three[:, 1], 1 - three[:, 1]), atol=1e-9)
    assert q2._applied(c, replace(hans, scores={})) is None

def test_the_ensemble_is_the_mean_of_probabilities(found):
    cells = [cell(s)[1] for s in range(4)]
    p = q2.pooled(cells)['test']
    mean = np.mean([probs_of(a['vanilla']['test'].logits) for a in cells], axis=0)
    np.testing.assert_allclose(p.conf, mean.max(1))
    assert found['world-text']['ensemble', 'test'].conf.shape == (1, 160) and ('ensemble + temperature', 'test') in found['world-text']

def test_an_ensemble_exists_where_all_members_were_asked():
    own = [cell(s)[1] for s in range(3)]
    own[0]['vanilla']['random words'] = own[0]['vanilla']['test']
    assert set(q2.pooled(own)) == set(own[1]['vanilla'])

def test_seeds_vary_as_much_as_they_do():
    "With seeds alone to vary, the spread of the draws is that of a mean of seeds."
    a, _ = q2._draws(5, 10, 20_000)
    x = np.array([0., 1, 2, 3, 10])
    np.testing.assert_allclose(((a @ x) / a.sum(1)).std(), x.std(ddof=1) / 5 ** .5, rtol=.02)

def test_the_pooled_answer_on_a_merged_set_can_be_warmed():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 60)
    own = [{'vanilla': {'hans': trials.merged(rng.normal(size=(60, 3)) * 3, label, np.arange(60).astype(str), dict(split='hans', seed=s), None)}} for s in range(3)]
    p = q2.pooled(own)['hans']
    np.testing.assert_allclose(p.probs, np.mean([a['vanilla']['hans'].probs for a in own], axis=0), atol=1e-9)
    assert q2._applied(q2.fit_temperature(answers(400, 0, 2.5, split='val')), p) is not None

def test_intervals_end_where_the_values_end():
    right = np.arange(40) < 3
    sure = q2.Told(np.full((2, 40), .99), np.array([right, ~right], float), None, np.zeros((2, 40)), np.arange(40))
    seen = q2.measured(sure).set_index('measure')
    assert (seen.loc['accuracy', ['lo', 'hi']] == [0, 1]).all() and seen.loc['conf_gap', 'hi'] == 1 and seen.loc['nll_top', 'hi'] > 1

def test_a_method_against_itself_is_no_change(found):
    t = found['world-text']['vanilla', 'test']
    assert q2.against(t, t)[:4] == (0., 0., 0., 1.)

def test_intervals_hold_the_truth_about_as_often_as_they_say():
    "Seeds and questions both vary; the mean Brier score of the process is known by brute force."
    rng = np.random.default_rng(0)
    def draw(s, n):
        c = np.clip(.7 + .05 * rng.normal(size=(s, 1)) + .1 * rng.normal(size=n), .02, .98)
        return q2.Told(c, (rng.random((s, n)) < .6).astype(float), None, np.zeros((s, n)), np.arange(n))
    def score(t): return float(((t.conf - t.correct) ** 2).mean())
    truth = np.mean([score(draw(200, 200)) for _ in range(20)])
    hits = [lo <= truth <= hi for _ in range(80) for lo, hi in [q2.measured(draw(4, 120)).set_index('measure').loc['brier_top', ['lo', 'hi']]]]
    assert np.mean(hits) > .88

def test_clusters_are_drawn_whole():
    t = q2.Told(np.full((1, 300), .5), np.repeat(np.random.default_rng(0).random(30) < .5, 10)[None].astype(float), None, np.zeros((1, 300)), np.repeat(np.arange(30), 10))
    wide, narrow = (q2.measured(x).set_index('measure').loc['accuracy'] for x in (t, t._replace(cluster=np.arange(300))))
    assert wide.hi - wide.lo > 2 * (narrow.hi - narrow.lo)

def test_tables_have_every_method_and_the_right_signs(found):
    t = q2.method_table(found).set_index(['set', 'method'])
    assert {'vanilla', 'temperature', 'temperature (source)', 'vector', 'isotonic', 'label smoothing + isotonic', 'E-MLP + Platt', 'ensemble'} <= set(t.loc['test'].index)
    assert t.loc[('test', 'vanilla'), 'conf_gap'] > .1 > abs(t.loc[('test', 'temperature'), 'conf_gap'])
    p = q2.paired_table(found).set_index(['set', 'method'])
    once = p.index.get_level_values('method').str.startswith('ensemble') # it exists once: no test beside the others
    assert p.loc[('test', 'temperature'), 'estimate'] < 0 and (p.p_holm >= p.p)[~once].all() and p[once][['p', 'p_holm']].isna().all(axis=None) and 'vanilla' not in p.loc['test'].index

def test_out_of_distribution_tables_compare_with_home():
    rng = np.random.default_rng(0)
    def at(level, n): return q2.Told(np.clip(level + .05 * rng.normal(size=(3, n)), 0, 1), np.zeros((3, n)), None, np.full((3, n), .1), np.arange(n))
    d = q2.ood_table({'sentiment': {('vanilla', 'test'): at(.9, 200), ('vanilla', 'random words'): at(.5, 100), ('blind', 'test'): at(.7, 200), ('blind', 'random words'): at(.7, 100)}}).set_index('method')
    assert d.auroc['vanilla'] > .99 and d.fpr95['vanilla'] < .05 and d.auroc_lo['blind'] < .5 < d.auroc_hi['blind'] and d.fpr95['blind'] > .8

def test_the_faults_stand_beside_what_should_have_been(found):
    f = q2.fault_table(found, [cell(s) for s in range(4)]).set_index(['fault', 'variant', 'measure']).value
    assert abs(f['E-MLP features', 'shuffled', 'cerr_sum'] - 1) < .03 < abs(f['E-MLP features', 'aligned', 'cerr_sum'] - 1)
    assert abs(f['E-MLP features', 'shuffled', 'auroc'] - .5) < .06 and f['temperature', 'T, seed 0', 'convex'] == pytest.approx(f['temperature', 'T, seed 0', 'source'], abs=.01)

def test_slopes_over_size_are_found():
    cells = []
    for seed in range(3):
        for size, gain in (('1x32', .0), ('2x128', -.05)):
            for n in (50, 200, 800):
                said, own = cell(seed, 'emergent', size=size, n_val=n)
                own = {m: {s: replace(p, conf=np.clip(p.correct * 1. - (p.correct * 2 - 1) * (.5 + (0 if m == 'vanilla' else (1 + .1 * seed) * (gain - .02 * np.log2(n / 50)))), 0, 1)) for s, p in v.items()} for m, v in own.items()}
                cells.append((said, own))
    out = q2.emergent_effects(cells)
    assert out['more-data-testbed'].hi < 0 and out['larger-model-testbed'].hi < 0
    assert set(q2.emergent_table(cells).method) == {'vanilla', 'temperature', *trials.LEARNABLE}

def test_one_budget_in_shares():
    cells = [cell(s, 'allocation', n_train=a, n_val=b) for s in range(3) for a, b in ((90, 10), (50, 50))]
    d = q2.allocation_table(cells)
    assert set(d.share) == {.1, .5} and set(d.method) == {'vanilla', 'temperature', 'E-MLP', 'E-PLM'}
    own = d[(d.method == 'vanilla') & (d.set == 'test')].iloc[0]
    expected = np.mean([((probs_of(answers(160, s, 2.5).logits) - np.eye(3)[answers(160, s, 2.5).label]) ** 2).sum(1).mean() for s in range(3)])
    assert own.brier == pytest.approx(expected, abs=1e-4)

def test_claims_are_judged_by_what_was_planted():
    found = {w: q2.collected([cell(s, task=w) for s in range(5)]) for w in ('world-text', 'world-rare')}
    tests = q2.effects(found)
    assert tests['learnable-wrong-testbed'].hi < 0 < tests['learnable-right-testbed'].lo and tests['temperature-shift-testbed'].n == 5
    c = q2.CLAIMS['learnable-wrong-testbed']
    assert decide(c, tests[c.id].lo, tests[c.id].hi, 1e-6) == 'replicates'
    assert not [k for k in tests if k.endswith('real')]

def test_every_claim_has_a_rule_and_a_place():
    assert len(q2.CLAIMS) == 16 and all(c.page == 'q2' and c.source == 'chen2023close' and c.rule for c in q2.CLAIMS.values())

def test_the_published_cells_stand_beside_ours_or_alone(found):
    d = q2.beside(q2.method_table(found))
    assert len(d) == 26 and d.ours.isna().all()
    own = q2.method_table({'nli': found['world-text']})
    d = q2.beside(own)
    row = d[(d.dataset == 'MNLI (ID)') & (d.metric == 'accuracy %, Vanilla')].iloc[0]
    assert row.published == 86.5 and row.ours == pytest.approx(100 * own[(own.method == 'vanilla') & (own.set == 'test')].accuracy.iloc[0])

def test_spread_leaves_a_distribution_and_its_order():
    rng = np.random.default_rng(0)
    p = probs_of(rng.normal(size=(100, 4)))
    q = q2.spread(p, rng.random(100))
    np.testing.assert_allclose(q.sum(1), 1)
    rest = p.argsort(1)[:, :3]
    assert (np.diff(np.take_along_axis(q, rest, 1), axis=1) >= -1e-12).all()
