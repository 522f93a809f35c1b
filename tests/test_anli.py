"Eight published softmaxes: read exactly, repaired by the rule, and the published cells of Chen et al."
import csv, io, json, math, os
from functools import cache
from itertools import product
from pathlib import Path
import numpy as np, pandas as pd, pytest
from scipy.special import softmax
from plcal_study.lm import tasks
from plcal_study.measure.calibrators import CALIBRATORS, EPS, cross_fit
from plcal_study.measure.inference import holm, mean_difference
from plcal_study.measure.metrics import auroc, brier, brier_top, ece, ece_null, nll, nll_top
from plcal_study.measure.predictions import from_logits, load, save, select
from plcal_study.study.anli import ADVERSARIES, CARRIED, COLUMNS, FILES, LEAST, LEFT, METHODS, MODELS, _judged, changes, levels, read_models, records, repair, rounds, row_scores, softmaxes, transfer, verdict
from plcal_study.study.published import KEY, ledger, published, tally


def made(times=1., n=900, seed=0, wrong=False):
    "A made-up model: labels drawn from a softmax, reported with logits `times` as large; three rounds, two questions a premise."
    rng = np.random.default_rng([seed, 47])
    z = rng.normal(0, 2, (n, 3))
    label = np.array([rng.choice(3, p=q) for q in softmax(z, axis=1)])
    if wrong: label = (z.argmax(1) + 1 + rng.integers(2, size=n)) % 3
    return from_logits(times * z, label, [f'q{i}' for i in range(n)], dict(model='made', split='test'), [f'premise-{i % (n // 2)}' for i in range(n)], round=np.arange(n) % 3 + 1.)

@cache
def table(): return repair(dict(honest=made(), sure=made(3.), never=made(wrong=True)), draws=100)

@cache
def carried(): return transfer(dict(honest=made(), sure=made(3.), never=made(wrong=True)), draws=100)


# ---- reading

def test_softmaxes_are_read_to_the_last_digit():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    cells, said = [json.dumps(q.tolist()) for q in p], ['enc'[q.argmax()] for q in p]
    assert np.array_equal(softmaxes(cells, said, 'f'), p)

def files(folder, seed=0, n=40):
    "Three files in the layout of the authors', with made-up answers; what they hold."
    rng, held = np.random.default_rng(seed), {}
    (folder / 'anli_dev').mkdir()
    for r, f in enumerate(FILES, 1):
        rows = [dict(context=f'Premise number {i // 2} of round {r}.', statement=f'Statement {i} of {r}.', gold_label='enc'[rng.integers(3)], adversary_pred='e', uid=f'{r}-{i}') for i in range(n)]
        for row in rows:
            for m in MODELS:
                p = rng.dirichlet(np.ones(3))
                if rng.random() < .1: p = np.eye(3)[rng.integers(3)]
                row |= {f'preds-{m}': json.dumps(p.tolist()), f'preds-{m}PredLabel': 'enc'[p.argmax()]}
        held[r] = rows
        with (folder / f).open('w', newline='') as out:
            w = csv.DictWriter(out, list(rows[0]), quoting=csv.QUOTE_ALL)
            w.writeheader(); w.writerows(rows)
    return held

def test_all_answers_of_all_models_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, 'files', dict) # these files are of no known checksum
    held = files(tmp_path)
    models = read_models(tmp_path)
    task = tasks.anli(tmp_path)['test']
    assert list(models) == list(MODELS)
    for m, p in models.items():
        rows = [row for r in (1, 2, 3) for row in held[r]]
        assert p.meta == dict(model=m, task='anli', split='test')
        assert p.uid.tolist() == task.uid.tolist() == [f'anli-dev-{i}' for i in range(120)]
        assert p.label.tolist() == ['enc'.index(row['gold_label']) for row in rows]
        assert p.correct.tolist() == [row['gold_label'] == row[f'preds-{m}PredLabel'] for row in rows]
        np.testing.assert_allclose(p.probs, [json.loads(row[f'preds-{m}']) for row in rows], atol=3 * EPS)
        assert p.scores['round'].tolist() == [1.] * 40 + [2.] * 40 + [3.] * 40
        assert p.cluster.tolist() == task.cluster.tolist() and len(set(p.cluster)) == 60
        zeros = np.array([json.loads(row[f'preds-{m}']) for row in rows]) == 0
        assert zeros.any() and np.array_equal(p.logits[zeros], np.full(zeros.sum(), np.log(EPS))), 'a printed zero counts as EPS'

def test_a_model_survives_the_one_table(tmp_path):
    p = made()
    q = load(save(p, tmp_path / 'p.parquet'))
    assert np.array_equal(q.scores['round'], p.scores['round']) and np.array_equal(q.cluster, p.cluster)


# ---- levels and changes

@pytest.mark.parametrize('times', [.3, 1., 4.])
def test_row_scores_are_the_metrics(times):
    p = made(times)
    s = {k: v.mean() for k, v in row_scores(p).items()}
    want = dict(brier_top=brier_top(p.conf, p.correct), nll_top=nll_top(p.conf, p.correct, EPS), brier=brier(p.probs, p.label), nll=nll(p.logits, p.label))
    assert s == pytest.approx(want)

def test_row_scores_one_by_one():
    "The definition as a loop."
    p = made(2., n=60)
    for i in range(60):
        q = [math.exp(z) for z in p.logits[i]]
        q = [x / sum(q) for x in q]
        right = q.index(max(q)) == p.label[i]
        got = {k: v[i] for k, v in row_scores(p).items()}
        assert got == pytest.approx(dict(brier_top=(max(q) - right)**2, nll_top=-math.log(max(q) if right else 1 - max(q)), brier=sum((x - (j == p.label[i]))**2 for j, x in enumerate(q)), nll=-math.log(q[p.label[i]])))

def test_limits_of_the_levels():
    sure = from_logits(np.array([[40., 0, 0]] * 8), np.zeros(8, int))
    got = levels(sure, draws=20)
    assert (got['accuracy'], got['brier_base'], got['ece15_p']) == (1, 0, 1) and got['brier_top'] < 1e-9 and got['nll_top'] < 1e-6
    wrong = levels(from_logits(np.array([[40., 0, 0]] * 8), np.ones(8, int)), draws=20)
    assert (wrong['accuracy'], wrong['conf_gap'], wrong['ece15']) == pytest.approx((0, 1, 1)) and wrong['brier'] == pytest.approx(2)
    assert wrong['nll'] == pytest.approx(40) and wrong['nll_top'] == pytest.approx(-math.log(EPS)), 'logits are not clipped, confidences are'

def test_the_seed_draws_the_null_and_nothing_else():
    a, b = levels(made(), draws=20), levels(made(), draws=20, seed=1)
    assert {k for k in a if a[k] != b[k]} <= {'ece15_null', 'ece15_p'} and a['ece15_null'] != b['ece15_null']

def test_changes_are_the_paired_tests_clustered_by_premise():
    p = made(3.)
    q = cross_fit(p, CALIBRATORS['temperature'])
    got = changes(q, p)
    assert got['decides'] == 'brier_top'
    for name in ('brier_top', 'nll_top', 'brier', 'nll'):
        d = row_scores(q)[name] - row_scores(p)[name]
        sums = np.array([(d - d.mean())[p.cluster == c].sum() for c in sorted(set(p.cluster))])
        se = math.sqrt((sums**2).sum() * len(sums) / (len(sums) - 1)) / len(d)
        assert got[f'{name}_change'] == pytest.approx(d.mean())
        assert got[f'{name}_hi'] - got[f'{name}_lo'] == pytest.approx(2 * 1.9653 * se, rel=1e-3) # t with 449 degrees of freedom
        assert got[f'{name}_change'] < 0 and got[f'{name}_p'] < .001

def test_changes_do_not_hang_on_the_order_of_the_rows():
    p = made(3.)
    q = cross_fit(p, CALIBRATORS['platt'])
    turned = select(q, np.random.default_rng(3).permutation(len(q)))
    assert changes(turned, p) == changes(q, p)

def test_an_answer_that_moved_takes_the_top_label_out_of_the_comparison():
    p = made(wrong=True)
    q = cross_fit(p, CALIBRATORS['vector'])
    got = changes(q, p)
    assert got['decides'] == 'brier' and not {k for k in got if 'top' in k} and got['brier_change'] < 0 and q.correct.any()
    assert 'brier_change' not in changes(cross_fit(made(3.), CALIBRATORS['isotonic']), made(3.)), 'a map of the confidence has no probabilities of all options'


# ---- the rule

def slow_verdict(before, after, left, lo, hi, p, least):
    "The four sentences of the notebook, one by one."
    better, calibrated = p < .05 and hi < 0, not after <= .05
    sentences = [('not needed', not before <= .05), ('yes', better and calibrated), ('no', (not calibrated and left > LEFT) or lo > -least), ('undecided', True)]
    return next(name for name, holds in sentences if holds)

def test_the_rule_is_what_was_written_down():
    assert (LEAST, LEFT) == (.005, .02), 'the margins were fixed before the table was made'
    ps, lefts = (.001, .05, .06), (.01, .02, .03)
    for before, after, left, p, lo, hi, least in product(ps, ps, lefts, (.01, .05, .2), (-.2, -.01, -.005, -.004), (-.004, 0., .1), (.005, .01)):
        assert verdict(before, after, left, lo, hi, p, least) == slow_verdict(before, after, left, lo, hi, p, least)

def test_every_answer_of_the_rule_occurs():
    assert set(table().repaired) >= {'', 'not needed', 'yes', 'no', 'no fit'}


# ---- the table

def test_the_table_has_a_row_for_everything():
    t = table()
    assert list(t) == COLUMNS and len(t) == 3 * 4 * (1 + len(METHODS)) and not t.duplicated(['model', 'round', 'method']).any()
    assert list(t['round'].unique()) == ['all', '1', '2', '3'] and not t.adversary.any()
    assert set(t[t['round'] == 'all'].n) == {900} and set(t[t['round'] != 'all'].n) == {300}

def test_known_truths_are_told_apart():
    t = table().set_index(['model', 'round', 'method']).repaired
    assert set(t.loc['honest'].drop('uncalibrated', level='method')) == {'not needed'}
    assert t.loc['sure', 'all', 'temperature'] == t.loc['sure', 'all', 'platt'] == t.loc['sure', 'all', 'beta'] == 'yes'
    assert set(t.loc['never'].drop(['uncalibrated', 'vector'], level='method')) == {'no', 'no fit'}, 'vector scaling may pick another answer, and be right'
    assert np.isnan(table().set_index(['model', 'round', 'method']).auroc['never', 'all', 'uncalibrated']), 'no AUROC where nothing is right'
    assert 'all wrong' in table().query('repaired == "no fit"').flag.iloc[0]

def test_the_table_is_made_of_its_parts():
    "One model, one round, every method, from the measuring floor alone."
    t, p = table().query('model == "sure" and round == "2"').set_index('method'), select(made(3.), made(3.).scores['round'] == 2)
    for m in METHODS:
        q, row = cross_fit(p, CALIBRATORS[m]), t.loc[m]
        null = ece_null(q.conf, q.correct, draws=100)
        assert (row.accuracy, row.mean_conf, row.ece15, row.ece15_null, row.ece15_p) == pytest.approx((q.correct.mean(), q.conf.mean(), ece(q.conf, q.correct), null.mean, null.p))
        name = row.decides
        d = mean_difference(row_scores(q)[name], row_scores(p)[name], p.cluster)
        assert (row[f'{name}_change'], row[f'{name}_lo'], row[f'{name}_hi'], row[f'{name}_p']) == pytest.approx(d[:4])
    assert t.loc['uncalibrated'].auroc == auroc(p.conf, p.correct) and t.drop('uncalibrated').auroc.isna().all()

def test_holm_is_over_the_whole_table_and_the_rule_reads_its_p():
    t = table()
    at = t[t.decides != '']
    p = np.array([r[f'{r.decides}_p'] for _, r in at.iterrows()])
    assert len(at) == 3 * 4 * len(METHODS) - 16 and np.array_equal(at.p_holm, holm(p)) and t[t.decides == ''].p_holm.isna().all()
    before = t[t.method == 'uncalibrated'].set_index(['model', 'round']).ece15_p
    for _, r in at.iterrows():
        assert r.repaired == slow_verdict(before[r.model, r['round']], r.ece15_p, r.ece15 - r.ece15_null, r[f'{r.decides}_lo'], r[f'{r.decides}_hi'], r.p_holm, LEAST * (2 if r.decides == 'brier' else 1))
    assert set(at[at.method == 'vector'].decides) == {'brier'} and set(at[at.method != 'vector'].decides) == {'brier_top'}

def test_the_rule_in_the_table_takes_the_null_off_and_doubles_the_margin_for_all_options():
    row = dict(before_p=.001, ece15=.05, ece15_null=.04, ece15_p=.4, brier_lo=-.007, brier_hi=.1, brier_p=.5, brier_top_lo=-.007, brier_top_hi=.1, brier_top_p=.5)
    t = _judged([row | dict(decides='brier'), row | dict(decides='brier_top'), row | dict(decides='brier_top', ece15_p=.01), row | dict(decides='brier_top', ece15_p=.01, ece15=.07), {}], COLUMNS)
    assert t.repaired.tolist() == ['no', 'undecided', 'undecided', 'no', ''] and t.p_holm.tolist()[:4] == [1.] * 4

def test_the_same_input_gives_the_same_table():
    first, again, other = (repair(dict(sure=made(3., n=180)), draws=20, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    folded = first.method.isin(['platt', 'beta'])
    assert (other[folded].brier_top != first[folded].brier_top).all() and other.brier_top_change.min() < 0, 'the seed draws the folds too'

def test_a_single_round_stands_alone():
    one = select(made(), made().scores['round'] == 2)
    assert list(rounds(one)) == ['2'] and list(rounds(made())) == ['all', '1', '2', '3']
    assert set(repair(dict(a=one), draws=20)['round']) == {'2'}

def test_an_adversary_is_marked_in_its_own_round_only():
    t = repair({m: made(3., n=180) for m in ('bert-r1', 'anli-bart-large')}, draws=20)
    assert t[t.adversary].groupby('model')['round'].unique().apply(list).to_dict() == {'bert-r1': ['all', '1']}

def test_a_fit_that_is_refused_leaves_the_others_alone():
    t = repair(dict(never=made(wrong=True, n=180)), draws=20)
    assert (t[t.repaired == 'no fit'].groupby('round').size() == 4).all() and t[t.method == 'temperature'].brier_top_change.notna().all()
    assert t[t.repaired == 'no fit'][['accuracy', 'ece15', 'brier_top_change', 'p_holm']].isna().all().all(), 'no number where there is no fit'


# ---- transfer

def test_a_transfer_is_a_fit_on_the_first_round():
    p = made(3.)
    source = select(p, p.scores['round'] == 1, split='val')
    for r, m in product((2, 3), CARRIED):
        target = select(p, p.scores['round'] == r)
        q, own = CALIBRATORS[m](source)(target), cross_fit(target, CALIBRATORS[m])
        row = carried().set_index(['model', 'round', 'method']).loc['sure', str(r), m]
        assert (row.n, row.mean_conf, row.ece15) == pytest.approx((len(target), q.conf.mean(), ece(q.conf, q.correct)))
        assert row.brier_top_change == pytest.approx(brier_top(q.conf, q.correct) - brier_top(target.conf, target.correct))
        d = mean_difference(row_scores(q)['brier_top'], row_scores(own)['brier_top'], target.cluster)
        assert (row.behind, row.behind_lo, row.behind_hi) == pytest.approx(d[:3])

def test_the_transfer_table():
    t = carried()
    assert len(t) == 3 * 2 * 2 and list(t)[-3:] == ['behind', 'behind_lo', 'behind_hi'] and 'auroc' not in t
    assert set(t[t.model == 'honest'].repaired) == {'not needed'}
    assert t.query('model == "never" and method == "isotonic"').repaired.tolist() == ['no fit'] * 2 and t.query('model == "never" and method == "isotonic"').behind.isna().all()
    at = t[t.decides != '']
    assert np.array_equal(at.p_holm, holm(at.brier_top_p.to_numpy()))

def test_no_premise_is_on_both_sides_of_a_transfer():
    p = made(3.)
    cluster = p.cluster.copy()
    cluster[p.scores['round'] == 2] = np.where(np.arange(300) < 100, cluster[p.scores['round'] == 1][0], cluster[p.scores['round'] == 2])
    t = transfer(dict(a=from_logits(p.logits, p.label, p.uid, p.meta, cluster, **p.scores)), draws=20)
    assert t.query('round == "2"').n.tolist() == [200, 200] and t.query('round == "3"').n.tolist() == [300, 300]

def test_a_shift_shows():
    p = made(3.)
    harder = from_logits(p.logits * np.where(p.scores['round'] > 1, 3, 1)[:, None], p.label, p.uid, p.meta, p.cluster, **p.scores)
    t = transfer(dict(a=harder), draws=50)
    assert set(t[t.method == 'temperature'].repaired) == {'no'} and (t.behind_lo > 0).all()
    assert (carried().query('model == "sure" and method == "temperature"').behind.abs() < .01).all()


# ---- the published answers

@pytest.fixture(scope='module')
def real():
    root = os.environ.get('PLCAL_DATA')
    if not root or not (Path(root) / 'anli_dev').exists(): pytest.skip('the answers to ANLI are not here (nbs/study/47_anli.ipynb says which)')
    return read_models(root)

@pytest.fixture(scope='module')
def raw(real):
    def rows(f): return list(csv.DictReader(io.StringIO((Path(os.environ['PLCAL_DATA']) / f).read_text(encoding='utf-8'), newline='')))
    return [rows(f) for f in FILES]

def test_real_answers_are_those_of_the_files(real, raw):
    rows = [row for part in raw for row in part]
    assert len(rows) == 3198
    for m, p in real.items():
        printed = np.array([json.loads(row[f'preds-{m}']) for row in rows])
        np.testing.assert_allclose(p.probs, printed, rtol=0, atol=5e-7)
        assert printed.min() > EPS, 'no printed probability is touched by the floor'
        assert p.correct.tolist() == [row[f'preds-{m}PredLabel'] == row['gold_label'] for row in rows]
        assert p.uid.tolist() == tasks.anli(os.environ['PLCAL_DATA'])['test'].uid.tolist()

def test_the_adversary_of_the_first_round_was_never_right(real, raw):
    first = real['bert-r1'].scores['round'] == 1
    assert not real['bert-r1'].correct[first].any()
    assert [row['preds-bert-r1PredLabel'] for row in raw[0]] == [row['adversary_pred'] for row in raw[0]]
    assert all(row['adversary_pred'] != row['gold_label'] for part in raw for row in part)
    for m, r in ADVERSARIES.items(): assert real[m].correct[real[m].scores['round'] == int(r)].mean() < 1/3

def test_no_files_no_records(tmp_path):
    assert records(tmp_path) == {}

def test_the_records(real):
    frames = records(os.environ['PLCAL_DATA'])
    assert list(frames) == ['q2_anli', 'q2_anli_transfer']
    t, moved = frames['q2_anli'], frames['q2_anli_transfer']
    assert len(t) == 8 * 4 * 7 and len(moved) == 8 * 2 * 2 and list(t['model'].unique()) == list(MODELS)
    refused = t[t.repaired == 'no fit']
    assert set(refused.model) == {'bert-r1'} and set(refused['round']) == {'1'} and len(refused) == 4
    plain = t[t.method == 'uncalibrated']
    assert (plain.conf_gap > .15).all() and (plain.ece15_p < .01).all() and (plain.repaired == '').all()
    assert set(t.repaired) == {'', 'yes', 'no', 'undecided', 'no fit'}
    trained = moved[moved.model.str.startswith('anli-')]
    assert set(trained.repaired) == {'no'} and (trained.behind_lo > 0).all(), 'what was fitted on round 1 is too sure in rounds 2 and 3'


# ---- the published cells of Chen et al.

def test_cells_of_chen():
    cells = published('chen2023')
    assert len(cells) == 26 and not cells.duplicated(KEY).any() and list(cells) == [*KEY, 'published', 'source']
    assert cells.groupby('table').size().to_dict() == {'Table 1': 14, 'Table 5': 12}
    assert (cells.source.str.contains('secondary') & cells.source.str.contains('original table not seen')).all()
    assert cells.published.str.fullmatch(r'\d+\.\d\d').all() and cells.metric.str.contains(' %, ').all()
    base = cells.query('table == "Table 1" and dataset == "MNLI (ID)" and metric.str.endswith("Vanilla")').set_index('metric').published.astype(float)
    assert base['average confidence %, Vanilla'] - base['accuracy %, Vanilla'] == pytest.approx(base['ECE %, Vanilla'])

def test_the_ledger_reads_them():
    cells = published('chen2023')
    key = ('Table 1', 'T5-base', 'ANLI (OOD of MNLI)', 'ECE %, Vanilla')
    led = ledger(cells, {key: 54.27, (*key[:3], 'ECE %, Temperature scaling'): 44.2})
    assert tally(led).sum().to_dict() == dict(equal=1, differs=1, unreachable=24)

def test_the_public_readme_says_that_they_are_secondary():
    text = (Path(__file__).parents[1] / 'data' / 'published' / 'README.md').read_text()
    assert 'chen2023.csv' in text and 'SECONDARY' in text
