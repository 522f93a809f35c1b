"Suites, grids and cells of page q2."
import json
from dataclasses import replace
import numpy as np
import pytest
from plcal_study.lm import examples
from plcal_study.lm.examples import Examples
from plcal_study.measure.predictions import load
from plcal_study.study import cli, trials
from plcal_study.study.runs import SCALES, plan, run_id

SMALL = replace(trials.grid('smoke')[0], n_train=32, n_val=60, epochs=1)

@pytest.mark.parametrize('scale', SCALES)
def test_no_cell_stands_twice_and_each_has_a_cost(scale):
    t = plan(trials.grid(scale), trials.cost)
    assert t.id.is_unique and (t.seconds > 0).all()

def test_every_suite_is_tried_and_every_seed_has_a_plain_model():
    cells = trials.grid('laptop')
    assert {c.task for c in cells if c.part == 'methods'} == {*trials.WORLDS, *trials.REAL}
    for task in trials.REAL: assert sorted(c.seed for c in cells if c.task == task and c.part in ('methods', 'members')) == list(range(5))
    for task, b in trials.BUDGET.items(): assert {c.n_train + c.n_val for c in cells if c.part == 'allocation' and c.task == task} == {b}
    assert {(c.size, c.n_val) for c in cells if c.part == 'emergent'} == {(z, n) for z in trials.SIZES for n in trials.N_VAL}

def test_a_suite_is_the_same_for_all_seeds_and_its_splits_share_no_text():
    a, b = (trials.suite_of(replace(SMALL, seed=s)) for s in (0, 7))
    assert list(a.splits) == ['train', 'val', 'test', 'prior', 'covariate', 'topic', 'top']
    for s in a.splits: np.testing.assert_array_equal(a[s].a, b[s].a)
    assert len(a['val']) == 60 and len(a['top']) == trials.N_TOP['smoke']
    for s in ('train', 'test', 'top'): assert not examples.leaks(a[s], a['val']).any()

def test_shifted_worlds_have_their_own_truth():
    w, moved = trials.world_of('world-text'), trials.shifts_of('world-text')
    assert moved['prior'].prior.tolist() != w.prior.tolist()
    e = trials.suite_of(SMALL)['prior']
    np.testing.assert_allclose(e.posterior, moved['prior'].posterior(e.a))
    assert np.abs(e.posterior - w.posterior(e.a)).max() > .05

def test_real_suites_have_their_sets(plaut_data):
    runs = {c.task: c for c in trials.grid('laptop') if c.part == 'methods' and c.seed == 0 and c.task in trials.REAL}
    for task, run in runs.items():
        t = trials.suite_of(run)
        named = {'train', 'val', 'top', 'test', *trials.REAL[task][1]} | (set(trials.OOD) if task == 'sentiment' else set())
        assert set(t.splits) == named and len(t['val']) == run.n_val and len(t['test']) == trials.N_TEST['laptop']
    assert trials.suite_of(runs['sentiment'])['encyclopedia'].label is None

def test_a_text_without_a_class_is_never_right():
    z = np.random.default_rng(0).normal(size=(50, 3))
    p = trials.answered(None, Examples(np.arange(50).astype(str), np.array(['x'] * 50, object), None), {}, z)
    assert not p.correct.any() and len(p) == 50

def test_a_merged_set_is_graded_after_the_merger():
    "The source's own grade, by the three-way choice, would call every answer of its third class wrong."
    rng = np.random.default_rng(1)
    z, label = rng.normal(size=(200, 3)) * 2, rng.integers(0, 2, 200)
    p = trials.merged(z, label, np.arange(200).astype(str), {}, None)
    three = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    yes = three[:, 1]
    np.testing.assert_array_equal(p.correct, np.where(yes >= .5, 0, 1) == label)
    np.testing.assert_allclose(p.conf, np.maximum(yes, 1 - yes), atol=1e-9)
    np.testing.assert_array_equal(p.scores['option'] == 1, yes >= .5)
    assert set(p.scores['option'][yes < .5]) == {0, 2}

def test_a_cell_keeps_what_is_done_and_tries_nothing_twice(tmp_path, monkeypatch):
    folder = tmp_path / 'runs' / run_id(SMALL)
    folder.mkdir(parents=True)
    trials.work(SMALL, folder)
    said = json.loads((folder / 'cell.json').read_text())
    assert set(said['methods']) == set(trials.ALL)
    first = {f.name: f.read_bytes() for f in (folder / 'answers').iterdir()}
    keep = {m: said['methods'][m] for m in trials.ALL if m != 'focal'}
    (folder / 'methods.json').write_text(json.dumps(keep))
    done = []
    again = trials._retrained
    monkeypatch.setattr(trials, '_retrained', lambda run, suite, shared, method: done.append(method) or again(run, suite, shared, method))
    trials.work(SMALL, folder)
    assert done == ['focal']
    for name, raw in first.items(): np.testing.assert_array_equal(load(folder / 'answers' / name).conf, load(folder / 'answers' / name).conf if name.startswith('focal') else _conf(raw, tmp_path))
    p = load(trials.answer_file(folder, 'E-PLM', 'topic'))
    assert p.meta['method'] == 'E-PLM' and {'posterior0', 'posterior1', 'posterior2', 'msp', 'option'} <= set(p.scores)
    m = said['methods']
    assert m['E-MLP']['parameters'] == 17 and m['E-MLP']['labels'] == 60 and m['P(True)']['labels'] == m['vanilla']['labels'] == 0
    assert 'val' in m['vanilla']['sets'] and 'val' not in m['E-PLM']['sets'] # what it has learned from says nothing of it

def _conf(raw, tmp_path):
    (tmp_path / 'x.parquet').write_bytes(raw)
    return load(tmp_path / 'x.parquet').conf

def test_too_few_errors_leave_a_method_out_and_nothing_else(tmp_path, monkeypatch):
    from plcal_study.lm import learned
    monkeypatch.setattr(learned, 'LEAST', 10**6)
    monkeypatch.setattr(learned.balanced, '__defaults__', (10**6,))
    folder = tmp_path / 'runs' / 'x'
    folder.mkdir(parents=True)
    trials.work(replace(SMALL, part='allocation'), folder)
    said = json.loads((folder / 'cell.json').read_text())['methods']
    assert said['vanilla']['sets'] and not said['E-MLP']['sets'] and not said['E-PLM']['sets']

def test_the_command_lists_the_grid(capsys):
    assert cli.QUESTIONS['q2'] == 'plcal_study.study.q2' and cli.main(['run', 'q2', '--scale', 'laptop', '--dry-run']) == 0
    assert f"in all {len(trials.grid('laptop'))} cells" in capsys.readouterr().out
