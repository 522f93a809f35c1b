"From raw files to records, figures and the command line; on the cohort of the testbed always, on the published results where they are."
import json, os, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest
from plcal_study.measure.metrics import auroc, ece
from plcal_study.study import figures, pages, plaut2024, q5, q6, readers
from plcal_study.study.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='session')
def cohort():
    return pages.testbed_cohort(n=300, seed=3)

@pytest.fixture(scope='session')
def records(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sim') / 'records'
    return pages.make_records(folder, *cohort, draws=100, nulls=400)

@pytest.fixture(scope='session')
def cells(cohort): return q5.cells_of(cohort[0])

@pytest.fixture(scope='session')
def by_cell(records): return pages.read_record('q5_calibration_cells', records)


# ---- the cohort of the testbed --------------------------------------------------------------------------------------------
def test_the_files_hold_every_digit_that_was_drawn(cohort, cells):
    answers = readers.readings(300, 3)
    assert set(cells) == set(answers)
    for key, a in answers.items():
        np.testing.assert_array_equal(cells[key].conf, a.conf)
        np.testing.assert_array_equal(cells[key].scores['max_logit'], a.max_logit)
        np.testing.assert_array_equal(cells[key].correct, a.correct)

def test_what_a_reader_saw_is_right_as_often_as_it_says():
    "P(correct | words seen) and P(correct | the whole text) against the labels that the worlds drew, in three bands of each."
    both = [(p, a.correct) for seed in range(4) for a in readers.readings(300, seed).values() for p in (a.given, a.posterior)]
    for which in (0, 1):
        p, hit = (np.concatenate([x[i] for x in both[which::2]]) for i in (0, 1))
        for lo, hi in ((0, .5), (.5, .8), (.8, 1)):
            rows = (p > lo) & (p <= hi)
            assert abs(hit[rows].mean() - p[rows].mean()) < .03, (which, lo)    # answers of one question go together, so this is wider than a binomial

def test_the_posterior_given_some_words_is_the_mean_over_the_others():
    "Enumerated in a tiny world: every text that agrees with what was seen, weighted by its probability."
    from plcal_study.lm.testbed import text_world
    w = text_world(k=2, bayes_accuracy=.75, length=(3, 3), vocab=4, topics=1, seed=2)
    text, seen = list(w.words[[2, 3, 2]]), (True, False, True)
    rng = np.random.default_rng(0)
    while (got := readers.glance(w, [' '.join(text)], .6, rng)[0].split()) != [v if s else w.words[0] for v, s in zip(text, seen, strict=True)]: pass
    joint = np.zeros(2)
    for v in range(4):
        ids = [list(w.words).index(text[0]), v, list(w.words).index(text[2])]
        joint += [np.prod([(1 - w.topical if w.topic[i] < 0 else w.topical) * np.exp(w.logp[y, i]) for i in ids]) / 2 for y in (0, 1)]
    np.testing.assert_allclose(w.posterior([' '.join(got)])[0], joint / joint.sum())

def test_true_errors_of_the_calibrated_and_of_the_others(records):
    t = pages.read_record('truth', records).set_index('model')
    assert (t.loc[['reader-A', 'reader-D']].true_ece15 < 1e-12).all() and (t.loc[['reader-B', 'reader-C', 'reader-F']].true_ece15 > .01).all()
    assert (t.loc[['reader-A', 'reader-D']].true_error > .05).all()                       # calibrated, and yet far from the truth of each text
    assert (t.true_error >= t.true_ece15 - .05).all() and t.grouping_loss.groupby('model').mean().is_monotonic_decreasing # the more is seen, the less hides
    assert np.corrcoef(t.ece15 - t.ece15_null, t.true_ece15)[0, 1] > .9

def test_true_auroc_is_the_mean_over_all_grades():
    "Brute force: every way to grade six answers, weighted by its probability and its number of pairs."
    rng = np.random.default_rng([1, 25])
    conf, post = np.round(rng.random(6), 1), rng.random(6)
    top = low = 0.
    for code in range(2**6):
        y = np.array([code >> i & 1 for i in range(6)], bool)
        if not 0 < y.sum() < 6: continue
        w = np.prod(np.where(y, post, 1 - post)) * y.sum() * (~y).sum()
        top, low = top + w * auroc(conf, y), low + w
    np.testing.assert_allclose(readers.true_auroc(conf, post), top / low)

def test_intervals_hold_the_truth_as_often_as_they_say(records):
    t = pages.read_record('truth', records)
    assert len(t) == 36 and t.covered.mean() > .8 # 36 cells of one draw; coverage over many draws is tested below

def test_intervals_of_auroc_cover_the_truth_over_many_cohorts():
    from plcal_study.measure.inference import auroc_interval
    held = []
    for seed in range(12):
        for a in readers.readings(300, seed).values():
            i = auroc_interval(a.conf, a.correct)
            held.append(i.lo <= readers.true_auroc(a.conf, a.posterior) <= i.hi)
    assert .93 <= np.mean(held) <= .99

def test_calibrated_models_pass_and_the_others_do_not(records):
    cal = pages.read_record('q5_calibration', records)
    assert set(cal[cal.p_holm < .05].model) == {'reader-B', 'reader-C', 'reader-E', 'reader-F'}

# ---- q5 --------------------------------------------------------------------------------------------------------------
def test_pooling_keeps_every_answer_once(cells):
    pooled = q5.pool(cells)
    assert sum(map(len, pooled.values())) == sum(map(len, cells.values()))
    own = [p for k, p in cells.items() if (k[0], k[2]) == ('reader-B', 'second')]
    np.testing.assert_array_equal(np.sort(pooled['reader-B', 'second'].conf), np.sort(np.concatenate([p.conf for p in own])))

def test_model_means_are_means_of_cells(cells, by_cell):
    m = q5.by_model(cells, by_cell).set_index('model').loc['reader-E']
    own = [p for k, p in cells.items() if k[0] == 'reader-E']
    np.testing.assert_allclose(m.auroc_msp, np.mean([auroc(p.conf, p.correct) for p in own]))
    np.testing.assert_allclose(m.ece15, np.mean([ece(p.conf, p.correct) for p in own]))
    np.testing.assert_allclose(m.accuracy, np.mean([p.correct.mean() for p in own]))

def test_correlation_on_a_subset_is_that_of_the_rows_left(cells, by_cell):
    m = q5.by_model(cells, by_cell)
    c = q5.correlations(m, {'few': ['reader-A']})
    left = m[m.model != 'reader-A']
    np.testing.assert_allclose(c[c.measure == 'ece15'].r.item(), np.corrcoef(left.accuracy, left.ece15)[0, 1])

def test_repair_helps_the_overconfident_and_leaves_the_calibrated(records):
    r = pages.read_record('q5_repair', records)
    over = r[(r.model == 'reader-C') & (r['where'] == 'within') & (r.method == 'temperature')]
    fine = r[(r.model == 'reader-D') & (r.method == 'temperature')]
    assert (over.change < 0).all() and (fine.change.abs() < .01).all()

def test_unparseable_answers_can_be_left_out(tmp_path):
    d = readers.write_results(readers.readings(60), tmp_path)
    for f in (d / 'main_results').glob('*_reader-A-*'):
        lines = f.read_text().split('\n')
        f.write_text('\n'.join([lines[0], lines[1].replace('Correct', 'Unparseable').replace('Wrong', 'Unparseable'), *lines[2:]]))
    u = q5.unparseable(plaut2024.read(d / 'main_results')).set_index('model')
    assert u.unparseable['reader-A'] == 6 and u.unparseable.drop('reader-A').sum() == 0
    assert u.accuracy_left_out['reader-A'] != u.accuracy_wrong['reader-A']

# ---- q6 --------------------------------------------------------------------------------------------------------------
def test_draws_agree_with_drawing_by_hand(cohort):
    "The mean over draws against the paper's rule, run draw by draw on shuffled rows."
    c = cohort[0]
    from plcal_study.measure.abstention import evaluate_plaut, fit_threshold_plaut
    sets, grid = q6.sets_of(c, 'reader-C', 'norm'), q6.grid_of(c, 'norm')
    rng, points = np.random.default_rng([2, 27]), []
    for _ in range(300):
        parts = [rng.permutation(len(s)) for s, _ in sets]
        t = fit_threshold_plaut([(s[o[:20]], y[o[:20]]) for (s, y), o in zip(sets, parts, strict=True)], 1, grid)
        points.append(evaluate_plaut([(s[o[20:]], y[o[20:]]) for (s, y), o in zip(sets, parts, strict=True)], t, 1).points)
    row, got = q6._drawn(c, q6.Cell('k=20', 'reader-C', 'norm', 1), 2000, 0)
    se = np.std(points) / 300**.5
    assert abs(np.mean(points) - row['points_mean']) < 4 * se
    np.testing.assert_allclose(np.std(points), got.points.std(), rtol=.25)

def test_hindsight_is_the_best_of_all_thresholds(cohort):
    from plcal_study.measure.abstention import score_at
    h = q6.hindsight(cohort[0]).set_index(['model', 'score', 'penalty'])
    sets = q6.sets_of(cohort[0], 'reader-B', 'norm')
    tried = [np.mean([score_at(*s, t, 2).points for s in sets]) for t in np.linspace(0, 1, 200)]
    best = h.best['reader-B', 'norm', 2]
    assert max(tried) <= best + 1e-9 and best - max(tried) < 2

def test_the_certified_rule_keeps_its_promise(records):
    g = pages.read_record('q6_guarantees', records)
    sure = g[g.rule == 'certified']
    assert (sure.broken <= .1 + 3 * (.09 / 100)**.5).all() and len(sure) == 18
    drawn = pages.read_record('q6_draws', records).query("kind == 'k=20' and score == 'norm' and penalty == 2").set_index('model').points_mean
    paper = g[g.rule == 'paper, conservative'].groupby('model').points.first()
    np.testing.assert_allclose(paper[drawn.index], drawn) # the same draws, judged by risk and coverage

# ---- records, pages, figures -----------------------------------------------------------------------------------------
def test_records_say_what_they_were_made_from(records):
    facts = pages.about(records)
    assert facts['scale'] == 'testbed' and 'ledger' not in {p.stem for p in records.glob('*.csv')}
    assert facts['scored'] == 2 * facts['answers'] == 6 * 3 * 2 * 2 * 300

def test_every_figure_of_a_testbed_cohort_says_so(records, tmp_path):
    import matplotlib.pyplot as plt
    drawn = {name: draw for name, draw in figures.FIGURES.items() if name[:2] in ('q5', 'q6')} # the others are of models trained here
    for name, draw in drawn.items():
        fig = draw(records)
        assert 'TESTBED' in fig._suptitle.get_text(), name
        words = [t.get_text() for t in fig.findobj(lambda a: hasattr(a, 'get_text'))]
        assert 'n' in words or 'n = ' in ' '.join(words), name # a column of n, or in words
        plt.close(fig)

def test_work_that_counts_drives_a_bar_to_its_end():
    seen = []
    def wrap(items):
        yield from (seen.append(i) or i for i in items)
        seen.append('end')
    step = pages._counted(wrap)
    for done in (1, 3, 3, 5): step(done, 5)
    assert seen == [0, 1, 2, 3, 4, 'end']

def test_a_failed_write_leaves_the_old_record(tmp_path):
    good = {'a': pd.DataFrame(dict(x=[1]))}
    pages.write_records(tmp_path, good, {})
    with pytest.raises(TypeError): pages.write_records(tmp_path, good, dict(bad=object()))
    assert sorted(os.listdir(tmp_path)) == ['a.csv', 'about.json'] and json.loads((tmp_path / 'about.json').read_text()) == {}

def test_committed_records_are_those_of_the_published_data(plaut_data):
    "The records anew, row by row: all that are cheap, and of the drawn ones some cells at their seeds."
    c = plaut2024.read(data=plaut_data)
    assert c.pinned
    cells = q5.cells_of(c)
    models = q5.by_model(cells, pages.read_record('q5_calibration_cells'))
    fresh = dict(q5_models=models, q5_unparseable=q5.unparseable(c), q6_hindsight=q6.hindsight(c), q6_explorer=q6.explorer(c), q5_families=q5.without_families(models), q5_curves=q5.curves(cells), q5_mixed=q5.mixed(cells))
    for name, frame in fresh.items(): assert pages.difference(frame, pages.read_record(name), 1e-5) == '', name
    drawn, facts = pages.read_record('q6_draws').set_index(['kind', 'model', 'score', 'penalty']), pages.about()
    for cell in (q6.Cell('k=20', 'Mixtral', 'norm', 1), q6.Cell('k=10', 'Yi-6b', 'raw', 2), q6.Cell('truthfulqa', 'gpt-4-turbo', 'norm', 2)):
        row, _ = q6._drawn(c, cell, facts['draws'], 0)
        np.testing.assert_allclose([row[k] for k in ('points_mean', 'points_sd', 'base', 'gain', 'p_worse')], drawn.loc[cell, ['points_mean', 'points_sd', 'base', 'gain', 'p_worse']].astype(float), rtol=1e-8)
    some = {k: p for k, p in cells.items() if k[0] == 'Yi-34b'}
    own = pages.read_record('q5_calibration').query('model == "Yi-34b"').set_index('prompt')
    for (_, prompt), p in q5.pool(some).items(): np.testing.assert_allclose([ece(p.conf, p.correct), p.conf.mean() - p.correct.mean()], own.loc[prompt, ['ece15', 'conf_gap']].astype(float), rtol=1e-8)

def test_committed_verdicts_follow_from_the_committed_records():
    from plcal_study.study.claims import judge
    own = 'published results'
    fresh = judge([*q5.evidence(pages.read_record('q5_models'), pages.read_record('q5_repair'), own), *q6.evidence(pages.read_record('q6_draws'), own)])
    assert pages.difference(fresh, pages.read_record('verdicts'), 1e-5) == ''

def test_committed_ledger_stands_at_its_counts():
    led = pages.read_record('ledger')
    assert len(led) == 1549 and (led.status == 'equal').all()
    assert list(led.columns) == ['table', 'model', 'dataset', 'metric', 'published', 'ours', 'status', 'reason']

# ---- the command line ------------------------------------------------------------------------------------------------
def test_help_reads_like_a_manual(capsys):
    with pytest.raises(SystemExit) as e: main(['--help'])
    text = capsys.readouterr().out
    assert e.value.code == 0 and all(w in text for w in ('plcal data get NAME', 'plcal reproduce plaut2024', 'plcal study', 'PLCAL_DATA', 'Exit status'))

def test_wrong_usage_is_status_2(capsys):
    for argv in ([], ['reproduce', 'unknown'], ['data'], ['study', '--draws', 'x']):
        with pytest.raises(SystemExit) as e: main(argv)
        assert e.value.code == 2
    capsys.readouterr()

def test_missing_data_is_one_line_and_status_1(tmp_path, capsys):
    assert main(['reproduce', 'plaut2024', '--data-dir', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')]) == 1
    err = capsys.readouterr().err
    assert err.startswith('plcal: ') and err.count('\n') == 1 and not (tmp_path / 'out').exists()

def test_unknown_data_set_is_named(tmp_path, capsys):
    assert main(['data', 'get', 'nothing', '--data-dir', str(tmp_path)]) == 1
    assert 'plaut2024' in capsys.readouterr().err

def test_help_is_quick_and_loads_no_science():
    code = "import sys, plcal_study.study.cli; print(sorted({'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'

def test_reproduce_writes_ledger_and_tables(plaut_data, tmp_path, capsys):
    assert main(['reproduce', 'plaut2024', '--data-dir', str(plaut_data), '--out', str(tmp_path), '--no-figures']) == 0
    assert '1,549 of 1,549 published cells are equal' in capsys.readouterr().out
    led = pd.read_csv(tmp_path / 'ledger.csv')
    assert len(led) == 1549 and list(led.columns)[:8] == ['table', 'model', 'dataset', 'metric', 'published', 'ours', 'status', 'reason']
    cells = pd.read_csv(tmp_path / 'cells.csv')
    assert len(cells) == 260 and (cells.auroc_lo <= cells.auroc).all() and (cells.auroc <= cells.auroc_hi).all()

def test_a_page_run_by_hand_stands_alone(records, tmp_path):
    "No citation key, no anchor, no link to a notebook is left raw, and every caption is there."
    text = pages.run_page('q6', records, tmp_path).read_text()
    assert 'readers of the TESTBED' in text and '[@' not in text and '.ipynb' not in text.split('<main')[-1]
    assert 'Points against the threshold on the MSP' in text

def test_every_relative_link_of_the_readme_exists():
    import re
    links = re.findall(r'\]\(([^)#]+)|src="([^"]+)"', (ROOT / 'README.md').read_text())
    missing = [u for pair in links for u in pair if u and not u.startswith('http') and not (ROOT / u).exists()]
    assert links and not missing, missing

def test_text_in_the_scatter_figures_does_not_overlap(records):
    import matplotlib.pyplot as plt
    for name in ('q5_accuracy_auroc', 'q5_accuracy_calibration'):
        fig = figures.FIGURES[name](records)
        fig.canvas.draw()
        for ax in fig.axes:
            boxes = [t.get_window_extent() for t in [*ax.texts, ax.title, ax._left_title, ax._right_title, ax.xaxis.label] if t.get_text()]
            assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)], name
        plt.close(fig)
