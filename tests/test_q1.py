"The grids of q1, one cell of them, and the way from predictions to verdicts, on cells whose truth is made up here."
import json
from dataclasses import asdict
import numpy as np, pandas as pd, pytest
from plcal_study.measure.predictions import from_logits, load
from plcal_study.study import pages, q1
from plcal_study.study.claims import judge
from plcal_study.study.runs import Run, run_id

STEPS = (0, 1, 8, 32, 64)

def cell(task, seed, sharpness, part='steps', model='bert', init='pretrained', n=600, **more):
    "One cell: logits grow by `sharpness[i]` at probe i over what is calibrated, labels follow the calibrated ones."
    world = task in q1.WORLDS
    rng = np.random.default_rng([seed if world else 0, len(task)])
    z = rng.normal(size=(n, 4)) * 1.2
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    label = (p.cumsum(1) > rng.random((n, 1))).argmax(1)
    noise = np.random.default_rng([seed, 7]).normal(size=(n, 4)) * .05
    run = Run('q1', part, task, model, init=init, seed=seed, n_train=1024, **more)
    probes = []
    for step, s in zip(STEPS, sharpness, strict=True):
        logits = s * (z + noise)
        truth = dict(true_posterior=p[np.arange(n), logits.argmax(1)]) if world else {}
        probes.append(from_logits(logits, label, np.arange(n), dict(step=step), **truth))
    return asdict(run) | dict(id=run_id(run), params=1000, trainable=1000, last=STEPS[-1], n_train=1024, n_test=n, k=4, seconds=1., world='testbed' if world else 'real text', versions={}), probes

def study(sharpness, tasks, random=(1, 1, 1, 1, 1), model='bert'):
    out = []
    for seed in range(5):
        out += [cell(t, seed, sharpness, model=model) for t in tasks]
        out += [cell(t, seed, random, 'pretraining', model, 'random') for t in (tasks if model == 'minilm' else ['world-medium'])]
    return out

def found(cells):
    "What `records` does with the cells of a folder."
    probes = q1.probe_table(cells)
    real = [c for c in cells if c[0]['world'] == 'real text']
    ends, changes, rises = q1.levels(probes), q1.real_changes(real), q1.rises(real, probes)
    return probes, changes, rises, q1.evidence(dict(testbed=q1.testbed_effects(probes, ends), real=q1.real_effects(changes, ends)), rises, 'laptop')

def verdicts(cells): return judge(found(cells)[-1]).set_index('claim')

# ---- grids -----------------------------------------------------------------------------------------------------------
def test_every_scale_has_a_grid_without_twins():
    for scale in ('smoke', 'laptop', 'colab', 'paper'):
        cells = q1.grid(scale)
        assert len({run_id(c) for c in cells}) == len(cells) and {c.scale for c in cells} == {scale}
        assert {'steps', 'samples', 'tunable', 'scale', 'pretraining'} == {c.part for c in cells}
    with pytest.raises(ValueError, match='scale must be one of smoke, laptop, colab, paper'): q1.grid('huge')

def test_the_laptop_has_five_seeds_of_everything_and_fits_its_budget():
    cells = pd.DataFrame([asdict(c) for c in q1.grid('laptop')])
    assert set(cells.groupby([c for c in cells.columns if c != 'seed']).seed.nunique()) == {5}
    assert sum(map(q1.cost, q1.grid('laptop'))) / 2 < 35 * 60

def test_the_paper_grid_is_that_of_the_source():
    cells = q1.grid('paper')
    for model in ('t5-base', 'roberta-base'):
        own = [c for c in cells if c.model == model]
        assert {c.task for c in own} == {'sst2', 'ag_news', 'mnli', 'yahoo'}
        assert {c.delta_size for c in own if c.delta == 'adapter'} == {1, 4, 16, 64, 256, 1024}
        assert {(c.delta_size, c.lr) for c in own if c.delta == 'soft_prompt'} == {(n, lr) for n in (1, 5, 10, 20, 50) for lr in (5e-3, 1e-5)}
        shots = sorted({c.per_class for c in own if c.part == 'samples' and c.task == 'sst2'})
        assert shots == [2**i for i in range(12)] and 2 * shots[-1] <= 6920 < 4 * shots[-1]
        assert {c.dropout for c in own if c.init == 'pretrained'} == {'on', 'off'} and {c.dropout for c in own if c.init == 'random'} == {'on', 'always'}
        assert {c.order for c in own if c.part == 'samples' and c.task == 'mnli'} == {'openprompt', 'hf'}
        assert {(c.dropout, c.probe_every) for c in own if c.part == 'steps' and c.task == 'sst2'} == {('on', 100), ('off', 100)}
        assert not any(c.probe_every or c.probes for c in own if c.part != 'steps'), 'only the dynamics need probes on the way'
        seeds = {k: len({c.seed for c in own if c.per_class == k and c.task == 'sst2'}) for k in (64, 512, 1024)}
        assert seeds == {64: 5, 512: 3, 1024: 1}
    scale = [c for c in cells if c.part == 'scale']
    assert {c.batch for c in scale} == {8} and {c.model for c in scale} == {'t5-small', 't5-base', 't5-large', 't5-3b', *(f'bert-{s}' for s in ('tiny', 'mini', 'small', 'medium', 'base', 'large'))}
    assert {c.model for c in cells if c.part == 'pretraining'} == {'t5-base', 'roberta-base', 'lstm', 'tfidf', 'bow'}
    assert {c.epochs for c in cells if c.model != 'lstm'} == {10} and {(c.epochs, c.lr, c.dropout) for c in cells if c.model == 'lstm'} == {(5, 1e-3, 'on'), (5, 1e-3, 'always')}

# ---- one cell --------------------------------------------------------------------------------------------------------
def test_a_cell_leaves_its_probes_and_is_the_same_again(tmp_path):
    run = next(c for c in q1.grid('smoke') if c.part == 'steps')
    for name in 'ab':
        folder = tmp_path / name / 'runs' / 'x'
        folder.mkdir(parents=True)
        q1.work(run, folder)
    a, b = ([load(f) for f in sorted((tmp_path / n / 'runs' / 'x' / 'probes').glob('*'))] for n in 'ab')
    info = json.loads((tmp_path / 'a' / 'runs' / 'x' / 'cell.json').read_text())
    assert [p.meta['step'] for p in a] == q1.probe_steps(run, info['last']) and info['last'] // 2 in q1.probe_steps(run, info['last']) and info['last'] == 64 // 16 * 2
    assert all(np.array_equal(p.logits, q.logits) and 'true_posterior' in p.scores for p, q in zip(a, b, strict=True))
    assert not np.array_equal(a[0].logits, a[-1].logits) and not (tmp_path / 'a' / 'runs' / 'x' / 'checkpoint').exists()

def test_seeds_have_worlds_of_their_own_and_shots_are_per_class():
    run = next(c for c in q1.grid('laptop') if c.part == 'samples' and c.per_class == 4)
    task = q1.task_of(run)
    assert np.bincount(task['train'].label).tolist() == [4] * 4 and len(task['test']) == q1.N_TEST['world']
    other = next(c for c in q1.grid('laptop') if c.part == 'samples' and c.per_class == 4 and c.seed != run.seed)
    assert q1.task_of(other)['test'].a[0] != task['test'].a[0] and q1.task_of(other).words != task.words

def test_every_seed_answers_the_same_questions_of_real_text(plaut_data):
    runs = [c for c in q1.grid('laptop') if c.part == 'steps' and c.task == 'sst2'][:2]
    a, b = map(q1.task_of, runs)
    assert a['test'].uid.tolist() == b['test'].uid.tolist() and len(a['test']) == q1.N_TEST['real']
    assert set(a['train'].uid) != set(b['train'].uid) and len(a['train']) == len(b['train']) == 200

# ---- from predictions to numbers -------------------------------------------------------------------------------------
def test_a_probe_is_summed_up_as_defined():
    _, probes = cell('world-hard', 1, (1, 1, 1, 1, 3))
    p, s = probes[-1], q1.summary(probes[-1])
    assert s['accuracy'] == p.correct.mean() and np.isclose(s['conf_wrong'], p.conf[~p.correct].mean()) and np.isclose(s['conf_right'], p.conf[p.correct].mean())
    np.testing.assert_allclose(s['nll'], -np.log(p.probs[np.arange(len(p)), p.label]).mean(), rtol=1e-9)
    np.testing.assert_allclose(s['true_error'], np.abs(p.conf - p.scores['true_posterior']).mean())
    assert s['gain'] > .1 and abs(q1.summary(probes[0])['gain']) < .01, 'what is three times too sure gains, what is calibrated does not'
    assert abs(s['true_conf'] - s['accuracy']) < .05

def test_all_right_has_no_confidence_in_wrong_answers():
    p = from_logits(np.eye(4)[[0, 1, 2, 3] * 10] * 5., np.array([0, 1, 2, 3] * 10))
    s = q1.summary(p)
    assert np.isnan(s['conf_wrong']) and np.isnan(s['auroc']) and s['accuracy'] == 1

def test_a_cell_is_held_against_itself_at_half_of_its_steps():
    h = q1.halves(q1.probe_table([cell('world-medium', 0, (1, 1, 2, 3, 4))]))
    p = cell('world-medium', 0, (1, 1, 2, 3, 4))[1]
    assert h.step.tolist() == [64] and np.isclose(h.early_conf.item(), p[3].conf.mean()) and np.isclose(h.conf.item(), p[4].conf.mean())

def test_one_answer_alone_in_a_bin_costs_no_record():
    p = from_logits(np.array([[9., 0]] * 99 + [[.1, 0]]), np.array([0] * 90 + [1] * 10), true_posterior=np.full(100, .9))
    assert np.isnan(q1.summary(p).get('grouping_loss', np.nan)) and 'true_ece' in q1.summary(p)

def test_levels_know_their_factor():
    cells = study((1, 1, 1, 1, 1), list(q1.WORLDS))
    cells += [cell('world-medium', s, (1,) * 5, 'tunable', delta='adapter', delta_size=4) for s in range(5)] + [cell('world-medium', s, (1,) * 5, 'scale', size='1x16') for s in range(5)]
    ends = q1.levels(q1.probe_table(cells))
    assert set(ends[ends.factor == 'difficulty'].level) == set(q1.WORLDS)
    assert set(ends[ends.factor == 'tunable'].level) == {'all', 'adapter 4'} and set(ends[ends.factor == 'scale'].task) == {'world-medium'}
    assert set(ends[ends.factor == 'pretraining'].level) == {'bert, pretrained', 'bert, random'}
    assert (ends.step == ends['last']).all()

def test_slopes_find_the_effect_that_was_put_in():
    rng = np.random.default_rng([3, 26])
    ends = pd.DataFrame([dict(world='testbed', factor='scale', level='', task='t', seed=s, x=float(x), nll=.1 * x + .05 * s + rng.normal(0, .01)) for s in range(5) for x in range(5)])
    empty = pd.DataFrame(dict(part=[], step=[], dropout=[]))
    row = q1.slopes(ends, empty, ['nll']).iloc[0]
    np.testing.assert_allclose(row.estimate, np.mean([np.polyfit(g.x, g.nll, 1)[0] for _, g in ends.groupby('seed')]))
    assert row.lo < .1 < row.hi and row.p_holm < .001 and row.seeds == 5

def test_slopes_of_trajectories_are_not_taken_for_more_than_they_are():
    "Random walks have no trend on average; with an intercept for each seed alone two fifths of them would seem to have one."
    wrong = []
    for rep in range(200):
        rng = np.random.default_rng([rep, 27])
        probes = pd.DataFrame([dict(world='testbed', part='steps', dropout='on', task='t', seed=s, step=2**i, nll=y) for s in range(5) for i, y in enumerate(rng.normal(size=9).cumsum())])
        wrong.append(q1.slopes(pd.DataFrame(columns=['world', 'factor', 'level', 'task', 'seed', 'x']), probes, ['nll']).p[0] < .05)
    assert .01 <= np.mean(wrong) <= .11

def test_adapters_and_soft_prompts_are_two_lines():
    ends = pd.DataFrame([dict(world='testbed', factor='tunable', level=f'{k} {x}', task='t', seed=s, x=float(x), nll=x * sign + .1 * s * x) for s in range(4) for k, sign in (('adapter', 1), ('soft', -1)) for x in range(3)])
    got = q1.slopes(ends, pd.DataFrame(dict(part=[], step=[], dropout=[])), ['nll']).set_index('factor').estimate
    assert got['tunable: adapter'] > .5 and got['tunable: soft'] < -.5

@pytest.mark.parametrize('sd', [(.5, 1., 1.), (1., .3, .3)])
def test_crossed_intervals_cover(sd):
    "Seeds, clusters of questions and the rest vary; the interval must hold the mean of the population."
    held = []
    for rep in range(60):
        rng = np.random.default_rng([rep, 26])
        x = rng.normal(size=(5, 1)) * sd[0] + np.repeat(rng.normal(size=(1, 40)) * sd[1], 2, axis=1) + rng.normal(size=(5, 80)) * sd[2]
        est, se = q1.crossed(q1.ratio(x, np.ones_like(x)), 5, np.repeat(np.arange(40), 2), draws=200, seed=rep)
        t = q1.t_test(est, se, 4, 80, '')
        held.append(t.lo <= 0 <= t.hi)
    assert np.mean(held) >= .88

def test_questions_that_share_a_premise_are_drawn_together():
    rng = np.random.default_rng([5, 26])
    x = np.repeat(rng.normal(size=(1, 30)), 4, axis=1) + np.zeros((3, 1))
    alone, shared = (q1.crossed(q1.ratio(x, np.ones_like(x)), 3, c)[1] for c in (np.arange(120), np.repeat(np.arange(30), 4)))
    assert 1.6 < shared / alone < 2.5 # 4 copies of one answer are one answer

# ---- verdicts --------------------------------------------------------------------------------------------------------
def test_models_that_grow_too_sure_replicate_the_source():
    v = verdicts(study((1, 1, 1, 1.2, 4), list(q1.WORLDS)))
    assert v.loc[['wrong-rises-testbed', 'right-rises-testbed', 'not-learned-testbed'], 'verdict'].tolist() == ['replicates'] * 3
    assert v.verdict['pretrained-testbed'] == 'replicates' # the random twin stayed calibrated: pre-training did not help
    assert v.n['wrong-rises-testbed'] == 5 and set(v.unit) == {'seeds', 'levels'}

def test_models_that_come_to_be_calibrated_contradict_it():
    v = verdicts(study((1, 1, 1, 4, 1), list(q1.WORLDS), random=(4,) * 5))
    assert v.verdict['not-learned-testbed'] == v.verdict['wrong-rises-testbed'] == v.verdict['all-factors-testbed'] == 'contradicts'
    assert v.verdict['pretrained-testbed'] == 'contradicts'

def test_on_real_text_tasks_must_agree():
    grown = study((1, 1, 1, 1, 4), list(q1.REAL), model='minilm')
    v = verdicts(grown)
    assert v.loc[['wrong-rises-real', 'not-learned-real', 'pretrained-real'], 'verdict'].tolist() == ['replicates'] * 3 and v.n['wrong-rises-real'] == 4
    shrunk = [c for c in study((1, 1, 1, 4, 1), list(q1.REAL), model='minilm') if c[0]['task'] in q1.REAL[:2]]
    v = verdicts([c for c in grown if c[0]['task'] in q1.REAL[2:]] + shrunk)
    assert v.verdict['not-learned-real'] == 'undecided', 'two tasks grow worse and two grow better'

def test_a_change_has_as_many_degrees_of_freedom_as_seeds_less_one():
    from scipy.stats import t as student
    own = [cell('sst2', s, (1, 1, 1, 1, 3), model='minilm') for s in range(5)]
    late, early = q1.stack(own), q1.stack(own, early=True)
    t = q1.change(late, early, 'gain')
    def of(s): return q1.ratio(s['gain'], np.ones_like(s['gain']))
    est, se = q1.crossed(lambda w, q: of(late)(w, q) - of(early)(w, q), 5, late['cluster'])
    np.testing.assert_allclose([t.estimate, (t.hi - t.lo) / 2 / se], [est, student.ppf(.975, 4)])

def test_a_large_rise_that_is_unsure_is_weaker_than_a_small_sure_one():
    assert q1.weakest(pd.DataFrame(dict(estimate=[.03, .2], lo=[.02, -.1], hi=[.04, .5]))).estimate == .2

def test_learning_means_better_than_guessing():
    assert q1.able(.7, .8, 4) and not q1.able(.6, .8, 4) and not q1.able(.26, .28, 4)

def test_no_text_of_the_pretraining_says_its_label(tmp_path, monkeypatch):
    asked = []
    corpus = q1.testbed.corpus
    monkeypatch.setattr(q1.testbed, 'corpus', lambda *a, **k: asked.append(k) or corpus(*a, **k))
    run = next(c for c in q1.grid('smoke') if c.part == 'steps')
    q1.model_of(run, q1.task_of(run), tmp_path)
    assert [k['named'] for k in asked] == [0.] and [p.name for p in tmp_path.iterdir()] == [f'smoke-{run.task}-0-1x16']

def test_records_keep_the_two_versions_of_dropout_apart(monkeypatch):
    cells = [cell('sst2', s, (1, 1, 1, 1, 3), dropout=d, model='minilm') for s in range(3) for d in ('on', 'off')]
    monkeypatch.setattr(q1, 'finished', lambda out, scale=None: iter(cells))
    frames = q1.records('', 'laptop')
    assert frames['q1_dynamics'].seeds.max() == 3 and set(frames['q1_changes'].seeds) == {3} and set(frames['q1_dynamics'].dropout) == {'on', 'off'}

def test_a_twin_that_learned_nothing_is_no_comparison():
    rng = np.random.default_rng([1, 26])
    cells = study((1, 1, 1, 1, 2), list(q1.REAL), model='minilm')
    for c, probes in cells:
        if c['init'] == 'random': probes[-1] = from_logits(rng.normal(size=(600, 4)) * .01, probes[-1].label, probes[-1].uid, probes[-1].meta)
    assert 'pretrained-real' not in verdicts(cells).index

def test_larger_models_that_are_worse_uphold_the_claim_and_better_ones_refute_it():
    for sharp, verdict in ((lambda i: 1 + i, 'replicates'), (lambda i: 5 - i, 'contradicts')):
        cells = []
        for s in range(5):
            for i, z in enumerate(('1x16', '1x32', '2x64', '2x128')):
                cells.append(cell('world-medium', s, (1, 1, 1, 1, sharp(i)), 'steps' if z == '2x64' else 'scale', size=z))
                cells[-1][0]['params'] = 1000 * 2**i
        assert verdicts(cells).verdict['larger-testbed'] == verdict

def test_every_level_counts_and_the_least_sure_decides():
    cells = study((1, 1, 1, 1.2, 4), list(q1.WORLDS)) + [cell('world-medium', s, (1, 1, 1, 4, 1), 'samples', per_class=4) for s in range(5)]
    for c, _ in cells:
        if c['part'] == 'samples': c['n_train'] = 16
    *_, rises, evidence = found(cells)
    e = next(e for e in evidence if e.claim.id == 'all-factors-testbed')
    assert 'samples, 16' in e.note and e.hi < 0 and e.n == 4 and (rises[rises.level != '16'].estimate > 0).all()

def test_few_cells_make_few_verdicts_and_no_crash():
    assert found([cell('world-medium', 0, (1,) * 5)])[-1] == []
    assert found([cell('sst2', 0, (1, 1, 1, 1, 2), model='minilm')])[-1]  # a seed alone has its questions
    only_real = study((1, 1, 1, 1, 4), ['sst2', 'ag_news'], model='roberta-base')
    assert {'wrong-rises-real', 'all-factors-real'} <= set(verdicts([c for c in only_real if c[0]['task'] in q1.REAL]).index)

def test_settings_are_not_taken_for_seeds():
    cells = [cell('sst2', s, (1, 1, 1, 1, k), dropout=d, model='minilm') for s in range(3) for d, k in (('on', 1), ('off', 4))]
    probes = q1.probe_table(cells)
    b = q1.bands(probes, ['task', 'dropout', 'step'], ['conf'])
    assert set(b.seeds) == {3} and len(b) == 2 * len(STEPS)
    assert set(q1.levels(probes).dropout) == {'on'}

def test_seeds_that_answered_other_questions_are_refused():
    cells = [cell('sst2', s, (1,) * 5, model='minilm') for s in range(2)]
    p = cells[1][1][-1]
    cells[1][1][-1] = from_logits(p.logits, p.label, np.arange(len(p)) + 1, p.meta)
    with pytest.raises(ValueError, match='did not answer the same questions'): q1.stack(cells)

# ---- settings reach the training loop --------------------------------------------------------------------------------
@pytest.mark.parametrize('change', [dict(lr=.05), dict(dropout='off'), dict(batch=8), dict(epochs=3), dict(delta='adapter', delta_size=2), dict(seed=3), dict(init='random')])
def test_a_setting_changes_what_is_trained(tmp_path, change):
    from dataclasses import replace
    run = next(c for c in q1.grid('smoke') if c.part == 'steps')
    ends = []
    for name, r in (('a', run), ('b', replace(run, **change))):
        folder = tmp_path / name / 'runs' / 'x'
        folder.mkdir(parents=True)
        q1.work(r, folder)
        ends.append(load(sorted((folder / 'probes').glob('*'))[-1]).logits)
    assert not np.array_equal(*ends)

def test_records_of_a_folder_that_is_half_done(tmp_path):
    from plcal_study.study.runs import run_grid
    runs = [c for c in q1.grid('smoke') if c.part in ('steps', 'pretraining') and c.model in ('bert', 'bow') and c.task == 'world-medium']
    run_grid(runs, q1.work, tmp_path, 1, q1.cost, progress=False)
    (tmp_path / 'runs' / '.0123456789ab.partial').mkdir()
    (tmp_path / 'runs' / '.0123456789ab.partial' / 'cell.json').write_text('{')
    frames, facts = q1.records(tmp_path, 'smoke'), q1.provenance(tmp_path, 'smoke')
    assert facts['cells'] == len(runs) < facts['planned'] and facts['versions'][0]['torch'] and q1.records(tmp_path, 'laptop') == {}
    assert set(frames['q1_probes'].id) == {run_id(r) for r in runs} and {'right-rises-testbed', 'pretrained-testbed'} & set(frames['q1_verdicts'].claim)

# ---- the committed records -------------------------------------------------------------------------------------------
def test_committed_records_follow_from_the_committed_probes():
    probes = pages.read_record('q1_probes')
    for c in ('size', 'delta', 'order'): probes[c] = probes[c].astype(object).fillna('')
    ends = q1.levels(probes)
    own = pages.read_record('q1_verdicts').set_index('claim')
    for name, t in q1.testbed_effects(probes, ends).items():
        np.testing.assert_allclose([own.estimate[f'{name}-testbed'], own.lo[f'{name}-testbed']], [t.estimate, t.lo], atol=2e-4)
    for name, t in q1.real_effects(pages.read_record('q1_changes'), ends).items(): np.testing.assert_allclose([own.estimate[f'{name}-real'], own.p[f'{name}-real']], [t.estimate, t.p], rtol=1e-6)
    facts = pages.about(name='q1_about')
    assert facts['scale'] == 'laptop' and facts['cells'] == facts['planned'] == len(q1.grid('laptop')) == probes.id.nunique()

# ---- the command -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('scale', ['smoke', 'laptop', 'colab', 'paper'])
def test_a_dry_run_lists_each_cell_with_its_cost(scale, capsys, tmp_path, monkeypatch):
    from plcal_study.study.cli import main
    monkeypatch.chdir(tmp_path)
    assert main(['run', 'q1', '--scale', scale, '--dry-run', '--workers', '2']) == 0
    out, cells = capsys.readouterr().out, q1.grid(scale)
    assert {run_id(c) for c in cells} <= {line.split()[0] for line in out.splitlines()} and f'in all {len(cells):,} cells' in out
    assert not any(tmp_path.iterdir())
