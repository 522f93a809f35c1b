"The published results of 14 chat models: read exactly, computed by the paper's recipe, and equal cell by cell."
import os, random, subprocess, sys, tarfile
from itertools import product
import numpy as np, pandas as pd, pytest
from scipy.stats import mannwhitneyu
from plcal_study.study import plaut2024
from plcal_study.study.data import find
from plcal_study.study.plaut2024 import (DATASETS, GRADES, MODELS, PROMPTS, Key, abstention_table, auroc_table, calibration_table, cells, dataset_table,
                                         in_file_order, intervals, our_cells, predictions, read, regraded, reproduce, tables)
from plcal_study.study.published import KEY, is_equal, ledger, published, tally


@pytest.fixture(scope='module')
def cohort(plaut_data): return read(data=plaut_data)

@pytest.fixture(scope='module')
def measured(cohort): return cells(cohort, draws=0)

@pytest.fixture(scope='module')
def led(cohort, measured): return ledger(published(), our_cells(measured, tables(cohort, measured)))

@pytest.fixture(scope='module')
def texts():
    "A small study: three models of which one has no Max Logit, two data sets, files of unequal length, scores with ties."
    rng, out = np.random.default_rng(0), {}
    for (model, skill), (data, n), prompt in product({'Yi-6b': .4, 'Solar': .6, 'gpt-4-turbo': .8}.items(), {'arc': 130, 'mmlu': 260}.items(), PROMPTS):
        right = rng.random(n) < skill
        grade = np.where(right, 'Correct', np.where(rng.random(n) < .05, 'Unparseable', 'Wrong'))
        msp = np.where(grade == 'Unparseable', 0, np.round(rng.beta(1 + 2 * right, 2), 2))
        for score, value in {'norm': msp, 'raw': np.round(rng.normal(20 + 3 * right, 3), 1)}.items():
            if score == 'raw' and model.startswith('gpt'): continue
            for a in range(0, n, 50):
                b = min(a + 50, n)
                lines = [f'{g} {v}' for g, v in zip(grade[a:b], value[a:b], strict=True)]
                out[f'{data}_{model}-q{a}to{b}_no_abst_{score}_logits_{prompt}_prompt.txt'] = '\n'.join(['grade confidence_level', *lines, ''])
    return out

def write(texts, folder):
    (folder / 'main_results').mkdir(parents=True)
    for name, text in texts.items(): (folder / 'main_results' / name).write_text(text)
    return folder

@pytest.fixture(scope='module')
def small(texts, tmp_path_factory): return read(write(texts, tmp_path_factory.mktemp('small')))


# ---- reading

def test_every_number_is_read_as_python_reads_it(small, texts):
    for key, a in small.answers.items():
        rows = [line.split() for i, j in zip(a.edges, a.edges[1:], strict=False)
                for line in texts[f'{key.dataset}_{key.model}-q{i}to{j}_no_abst_{key.score}_logits_{key.prompt}_prompt.txt'].splitlines()[1:]]
        assert a.value.tolist() == [float(v) for _, v in rows] and [GRADES[g] for g in a.grade] == [g for g, _ in rows]
    assert len(small.answers) == 2 * 2 * (3 + 2) and not small.pinned

def test_an_archive_and_a_folder_are_read_alike(small, texts, tmp_path):
    folder = write(dict(random.Random(1).sample(sorted(texts.items()), len(texts))), tmp_path / 'set')
    with tarfile.open(tmp_path / 'set.tar.gz', 'w:gz') as tar: tar.add(folder / 'main_results', 'top/main_results')
    for other in read(tmp_path / 'set.tar.gz'), read(folder), read(folder / 'main_results'):
        for key, a in small.answers.items():
            np.testing.assert_array_equal(other.answers[key].value, a.value, strict=True)
            np.testing.assert_array_equal(other.answers[key].grade, a.grade, strict=True)
            assert other.answers[key].edges == a.edges

def test_predictions_hold_both_scores_and_count_what_could_not_be_parsed(small):
    p, q = predictions(small, 'Solar', 'mmlu', 'first'), predictions(small, 'Solar', 'mmlu', 'first', unparseable=False)
    grade = small.answers[Key('Solar', 'mmlu', 'first', 'norm')].grade
    assert len(p) == 260 and len(q) == (grade != 2).sum() < 260 and p.correct.sum() == q.correct.sum() == (grade == 1).sum()
    assert p.uid[17] == 'mmlu/17' and set(q.uid) == {f'mmlu/{i}' for i in np.flatnonzero(grade != 2)}
    np.testing.assert_array_equal(p.scores['max_logit'], small.answers[Key('Solar', 'mmlu', 'first', 'raw')].value)
    assert predictions(small, 'gpt-4-turbo', 'arc', 'second').scores == {}

def test_file_order_is_the_order_of_the_bytes(small, texts):
    "What the paper's pipeline saw: rows of the files as a shell lists them, both prompts."
    want = [line.split() for name in sorted(texts) if name.startswith('mmlu_Solar-') and '_norm_' in name for line in texts[name].splitlines()[1:]]
    value, correct = in_file_order(small, 'Solar', 'mmlu', 'norm')
    assert value.tolist() == [float(v) for _, v in want] and correct.tolist() == [g == 'Correct' for g, _ in want]


# ---- computing, against slow twins

def test_abstention_is_the_recipe(small):
    "The paper's protocol as loops over rows."
    def rows(m, d, s):
        pairs = list(zip(*in_file_order(small, m, d, s), strict=True))
        random.Random(2549900867).shuffle(pairs)
        return pairs
    def points(pairs, t, w): return 100 * sum((1 if y else -w) for x, y in pairs if x >= t) / len(pairs)
    got = abstention_table(small, 20).set_index(['model', 'score', 'penalty'])
    for score, models in {'norm': small.models, 'raw': ['Solar', 'Yi-6b']}.items():
        train = {m: [rows(m, d, score)[:20] for d in small.datasets] for m in models}
        test = {m: [rows(m, d, score)[20:] for d in small.datasets] for m in models}
        top = max(x for sets in train.values() for pairs in sets for x, _ in pairs)
        grid = sorted({-.0001, *np.linspace(0, top, 200)} | ({*np.linspace(.99, 1, 100)} if score == 'norm' else set()))
        for m, w in product(models, (1, 2)):
            best = max(grid, key=lambda t: (round(np.mean([points(p, t, w) for p in train[m]]), 9), -t)) # noqa: B023
            want = [best, *(np.mean([points(p, t, w) for p in test[m]]) for t in (-.0001, best)), 100 * np.mean([np.mean([x < best for x, _ in p]) for p in test[m]])]
            np.testing.assert_allclose(got.loc[(m, score, w)].astype(float), want, rtol=1e-12, atol=1e-12)
    assert len(got) == 2 * (3 + 2)

def test_tables_are_means_over_cells(small):
    c = cells(small, draws=0)
    a, d = auroc_table(c), dataset_table(c)
    assert a.loc['Solar', 'AUROC %, MSP'] == pytest.approx(100 * c.query("model == 'Solar' and score == 'norm'")['auroc'].mean())
    assert a.loc['Solar', 'p<1e-4, MSP'] == f"{(c.query('model == @m and score == @s', local_dict=dict(m='Solar', s='norm'))['p'] < 1e-4).sum()}/4"
    assert np.isnan(a.loc['gpt-4-turbo', 'AUROC %, Max Logit']) and list(a.index) == ['Solar', 'Yi-6b', 'gpt-4-turbo'], 'in the order of the paper'
    assert d.loc['arc', 'Q&A accuracy %'] == pytest.approx(100 * c.query("dataset == 'arc'")['accuracy'].mean()), 'a model with two scores counts twice'
    conf = np.concatenate([predictions(small, 'Solar', d, p).conf for d in small.datasets for p in PROMPTS])
    assert calibration_table(small).loc['Solar', 'share with MSP 1'] == (conf == 1).mean()

def test_intervals_do_not_depend_on_the_company_and_hold_the_estimate(small):
    c, again = cells(small, draws=200, seed=3), intervals(small, draws=200, seed=3)
    assert (c['auroc_lo'] < c['auroc']).all() and (c['auroc'] < c['auroc_hi']).all()
    pd.testing.assert_frame_equal(c[['auroc_lo', 'auroc_hi']], again)
    assert not intervals(small, draws=200, seed=4).equals(again)

def test_the_ledger_wants_the_whole_study(small):
    with pytest.raises(ValueError, match='these models are missing or unknown: Falcon-40b'): our_cells(c := cells(small, draws=0), tables(small, c))

@pytest.mark.parametrize('printed, ours, digits, equal', [
    ('51.8', 51.75, 1, True), ('51.8', 51.85, 1, True), ('51.8', 51.7499, 1, False), ('51.8', 51.8501, 1, False), ('-0.3', -.25, 1, True), ('0.0', -.05, 1, True),
    ('0', .04, 1, True), ('0', .4, 0, True), ('0', .6, 0, False), ('0.3', .3049, 2, True), ('0.3', .306, 2, False), ('2/2', '2/2', 0, True), ('2/2', '1/2', 0, False),
    ('<1e-3', 9.9e-4, 0, True), ('<1e-3', 1.1e-3, 0, False), ('<1e-3', '0', 0, False), ('1', '1', 0, True), ('51.8', float('nan'), 1, False)])
def test_equal_is_within_half_a_unit(printed, ours, digits, equal): assert is_equal(printed, ours, digits) is equal

def test_no_cell_differs_without_a_reason():
    three = pd.DataFrame([('t', 'a', 'd', m, v) for m, v in (('x', '1.0'), ('y', '2.00'), ('z', '3'))], columns=[*KEY, 'published'])
    out = ledger(three, {('t', 'a', 'd', 'x'): 1.04, ('t', 'a', 'd', 'y'): 2.2}, {('t', 'a', 'd', 'z'): 'not released'})
    assert out['status'].tolist() == ['equal', 'differs', 'unreachable'] and out['reason'].tolist() == ['', 'unexplained: 2.2', 'not released']
    assert out['ours'].tolist() == ['1.040', '2.2000', ''] and list(out) == [*KEY, 'published', 'ours', 'status', 'reason']


# ---- the published results

def test_all_published_cells_are_equal(led):
    assert len(led) == 1549 and not led.duplicated(KEY).any()
    assert led[led['status'] != 'equal'].empty and (led['reason'] == '').all()
    assert tally(led)['equal'].sum() == 1549 and len(tally(led)) == 24

def test_what_was_read(cohort):
    "The counts that the data's own description gives."
    assert cohort.pinned and repr(cohort) == 'Cohort(14 models, 5 data sets, 260 cells, 1,113,164 graded answers)'
    assert cohort.models == list(MODELS) and cohort.datasets == list(DATASETS)
    count = np.bincount(np.concatenate([a.grade for a in cohort.answers.values()]), minlength=4)
    assert dict(zip(GRADES, count.tolist(), strict=True)) == {'Wrong': 460382, 'Correct': 649725, 'Unparseable': 3057, 'Abstained': 0}
    assert {k.dataset: len(a.value) for k, a in cohort.answers.items()} == dict(arc=2590, hellaswag=6000, mmlu=6000, truthfulqa=817, winogrande=6000)
    logits = np.concatenate([a.value for k, a in cohort.answers.items() if k.score == 'raw'])
    assert (logits.min().round(3), logits.max()) == (-.594, 54.875)

def test_six_grades_differ_between_the_two_files(cohort):
    r = regraded(cohort)
    assert set(r['model'] + r['prompt']) == {'Falcon-7bfirst'} and r['dataset'].value_counts().to_dict() == dict(arc=2, hellaswag=2, mmlu=1, winogrande=1)

def test_u_and_p_are_scipys_to_the_last_bit(cohort, measured):
    for row in measured.iloc[::5].to_dict('records'):
        a = cohort.answers[Key(row['model'], row['dataset'], row['prompt'], row['score'])]
        ref = mannwhitneyu(a.value[a.grade == 1], a.value[a.grade != 1])
        assert (row['u'], row['p']) == (ref.statistic, ref.pvalue)
        assert row['auroc'] == pytest.approx(ref.statistic / (a.grade == 1).sum() / (a.grade != 1).sum(), rel=1e-15)

def _released(plaut_data, name):
    "A table of the authors' own statistics, where the copy of their archive holds it."
    at = find('plaut2024', plaut_data)
    if at.is_dir(): return pd.read_csv(at.parent / 'stat_tests_output' / name)
    with tarfile.open(at) as tar: return pd.read_csv(tar.extractfile(next(m for m in tar.getmembers() if m.name.endswith(f'stat_tests_output/{name}'))))

def test_mann_whitney_is_the_authors_own_table(plaut_data, measured):
    theirs = _released(plaut_data, 'mann_whitney.csv')
    theirs = theirs.assign(prompt=theirs['prompt'].str.removesuffix('_prompt'), score=theirs['value'].str.removesuffix('_logits'))
    both = theirs.merge(measured, on=['prompt', 'score', 'dataset', 'model'])
    assert len(both) == len(theirs) == 260
    np.testing.assert_array_equal(both['u_stat'], both['u'])
    np.testing.assert_allclose(both['p_value'], both['p'], rtol=1e-14)

def test_intervals_are_the_authors_up_to_resampling(plaut_data, cohort, measured):
    "They publish 200 unseeded intervals; two runs of their code differ from each other as much as ours differ from theirs."
    theirs = _released(plaut_data, 'confidence_intervals.csv')
    theirs = theirs.assign(prompt=theirs['prompt'].str.removesuffix('_prompt'), score=theirs['value'].str.removesuffix('_logits'))
    both = theirs.merge(measured.join(intervals(cohort, draws=300)), on=['prompt', 'score', 'dataset', 'model'])
    assert len(both) == 200
    np.testing.assert_allclose(both['sample_auroc'], both['auroc'], rtol=1e-12)
    gap = np.abs(both[['ci_lb', 'ci_ub']].to_numpy() - both[['auroc_lo', 'auroc_hi']].to_numpy())
    assert gap.max() < .012 and gap.mean() < .002

def test_the_tables_hang_on_the_order_of_the_files(cohort, monkeypatch):
    "With the ranges of questions in the order of their numbers hardly a cell of the main table survives."
    def by_number(cohort, model, dataset, score):
        a, b = (cohort.answers[Key(model, dataset, p, score)] for p in PROMPTS)
        cut = [slice(i, j) for i, j in zip(a.edges, a.edges[1:], strict=False)]
        return tuple(np.concatenate([part for s in cut for part in (x[s], y[s])]) for x, y in ((a.value, b.value), (a.grade == 1, b.grade == 1)))
    monkeypatch.setattr(plaut2024, 'in_file_order', by_number)
    wrong = abstention_table(cohort, 20)
    cells = published().query("table == 'Abstention score k=20' and not metric.str.contains('no abstention')")
    ours = plaut2024._abstention_cells('k=20', 'all5-mean', wrong)
    same = [is_equal(row.published, ours[row.table, row.model, row.dataset, row.metric], 1) for row in cells.itertuples()]
    assert len(same) == 52 and sum(same) <= 8

def test_reproduce_writes_everything_whole(plaut_data, tmp_path):
    seen = []
    r = reproduce(plaut_data, tmp_path / 'out', draws=20, progress=lambda done, of: seen.append((done, of)))
    assert seen and seen[-1][0] == seen[-1][1]
    assert r.pinned and len(r.cells) == 260 and (r.ledger['status'] == 'equal').all()
    back = pd.read_csv(tmp_path / 'out' / 'ledger.csv', dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(back, r.ledger.astype(str), check_dtype=False)
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == sorted(['cells.csv', 'ledger.csv', 'regraded.csv', *(f'table_{t}.csv' for t in r.tables)])
    assert {'auroc_lo', 'auroc_hi', 'ece15', 'ece15_null'} <= set(pd.read_csv(tmp_path / 'out' / 'cells.csv'))
    assert not [p for p in os.listdir(tmp_path / 'out') if p.startswith('.')]

def test_a_reproduction_loads_no_more_than_it_needs(texts, tmp_path):
    "These packages take longer to load than the answers to read."
    write(texts, tmp_path)
    code = f"""import sys
from plcal_study.study.plaut2024 import cells, read, tables
from plcal_study.measure.inference import pearson
c = read({str(tmp_path)!r}); tables(c, cells(c, draws=50)); pearson([1, 2, 3, 4, 6], [1, 3, 2, 4, 5])
print(*sorted({{'matplotlib', 'scipy.optimize', 'scipy.stats', 'seaborn', 'sklearn', 'statsmodels'}} & set(sys.modules)))"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == '\n', done.stdout + done.stderr
