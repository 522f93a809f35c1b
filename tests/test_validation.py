"Signals, folds, searches and nested choices against their definitions; an interrupted search ends as one that was not."
import json, os, signal, subprocess, sys, textwrap
from pathlib import Path
import numpy as np, pandas as pd, pytest
pytest.importorskip('torch')
from plcal_study.lm import testbed, validation as v
from plcal_study.lm.baselines import LSTM, vocabulary
from plcal_study.lm.training import Training
from plcal_study.measure.metrics import brier, ece, nll
from plcal_study.measure.predictions import from_logits

@pytest.fixture(scope='module')
def world(): return testbed.text_world(k=3, bayes_accuracy=.85, length=12, vocab=120, topics=2, seed=0)

def told(n, k, seed):
    rng = np.random.default_rng([seed, n])
    return from_logits(rng.normal(size=(n, k)), rng.integers(0, k, n), range(n))

# ---- signals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('n, k', [(1, 2), (7, 4), (300, 3)])
def test_signals_are_those_of_scikit_learn(n, k):
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support
    p = told(n, k, 0)
    got, own = v.signals(p), precision_recall_fscore_support(p.label, p.logits.argmax(1), labels=range(k), average='macro', zero_division=0)
    assert list(got) == list(v.SIGNALS) and [got[x] for x in ('precision', 'recall', 'macro_f1')] == pytest.approx(own[:3])
    assert got['accuracy'] == accuracy_score(p.label, p.logits.argmax(1)) and (got['nll'], got['brier'], got['ece15']) == (nll(p.logits, p.label), brier(p.probs, p.label), ece(p.conf, p.correct))

def test_the_best_is_the_first_of_the_best():
    t = pd.DataFrame(dict(accuracy=[.1, .9, .9], ece15=[.3, .1, .1], own=[np.nan, 2, 5]))
    assert [v.best(t, x) for x in ('accuracy', 'ece15', '+own', '-own')] == [1, 1, 2, 1]

# ---- folds -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('kind', v.KINDS)
def test_folds_deal_every_example_once_a_repeat(kind):
    e = testbed.pair_world(seed=0).sample(60, 0)
    parts = v.folds(e, 4, 3, kind, seed=1)
    assert len(parts) == 12 and str(parts) == str(v.folds(e, 4, 3, kind, seed=1)) and str(parts) != str(v.folds(e, 4, 3, kind, seed=2))
    for r in range(3): assert sorted(np.concatenate([t for _, t in parts[4 * r:4 * r + 4]])) == list(range(60))
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(parts[:4], parts[4:8], strict=False)), 'a repeat deals anew'
    for a, b in parts:
        assert sorted([*a, *b]) == list(range(60))
        if 'grouped' in kind: assert not set(e.cluster[a]) & set(e.cluster[b])

def constant(z): return lambda e, seed: lambda q: np.tile(np.asarray(z, float), (len(q), 1))

def test_cross_validation_is_a_loop_and_its_table_the_corrected_interval(world):
    from scipy.stats import t as student
    e, seen = world.sample(30, 0), []
    def fit(part, seed):
        seen.append((len(part), seed))
        return constant([0., 1, 0])(part, seed)
    got = v.cross_validate(fit, e, v.folds(e, 5), seed=3)
    assert seen == [(24, 3 + j) for j in range(5)] and [p.meta['fold'] for p in got] == list(range(5))
    x = np.array([(e.label[t] == 1).mean() for _, t in v.folds(e, 5)])
    row = v.cv_table(got).set_index('signal').loc['accuracy']
    half = student.ppf(.975, 4) * x.std(ddof=1) * np.sqrt(1 / 5 + 6 / 24)
    assert row['mean'] == pytest.approx(x.mean()) and (row.lo, row.hi) == pytest.approx((x.mean() - half, x.mean() + half)) and row.naive_hi < row.hi

def test_nested_never_shows_the_outer_fold_to_the_choice(world):
    e, shown = world.sample(40, 0), []
    def spy(part, seed):
        shown.append(set(part.uid))
        return constant([1., 0, 0])(part, seed)
    outer = v.folds(e, 4)
    got = v.nested([spy, spy], e, outer, lambda part, j: v.folds(part, 3, seed=j), 'nll')
    assert len(shown) == 4 * (2 * 3 + 1) and len(got) == 4 and (got.chosen == 0).all()
    for j, (_, test) in enumerate(outer):
        assert all(not own & set(e.uid[test]) for own in shown[7 * j:7 * j + 7])
        assert got.accuracy[j] == pytest.approx((e.label[test] == 0).mean())

def test_a_recipe_starts_anew_each_time(world):
    task = testbed.as_task(world, 40, 0, 20)
    fit = v.recipe(lambda seed: LSTM(task, vocabulary(task['train']), embed=8, hidden=4, layers=1, seed=seed), Training(lr=1e-2, epochs=1))
    a, b = (fit(task['train'], 1)(task['test']) for _ in range(2))
    assert np.array_equal(a, b) and not np.array_equal(a, fit(task['train'], 2)(task['test']))

# ---- search ----------------------------------------------------------------------------------------------------------
SPACE = dict(x=(-2., 2.), n=(1, 5), how=['a', 'b'])
def bowl(c, report=None, extra=0.):
    value = c['x'] ** 2 + .1 * c['n'] + (c['how'] == 'b') + extra
    if report:
        for step in (1, 2, 3): report(value + 1 / step, step)
    return dict(nll=value, accuracy=-value)

@pytest.fixture(scope='module')
def optuna(): return pytest.importorskip('optuna')

@pytest.mark.parametrize('pruner', v.PRUNERS)
@pytest.mark.parametrize('stop', [1, 6, 11])
def test_a_search_that_was_cut_off_ends_as_one_that_was_not(optuna, tmp_path, pruner, stop):
    calls = []
    def cut(c, report):
        calls.append(c)
        if len(calls) == stop: raise KeyboardInterrupt
        return bowl(c, report)
    whole = v.search(SPACE, bowl, tmp_path / 'whole', trials=12, pruner=pruner)
    with pytest.raises(KeyboardInterrupt): v.search(SPACE, cut, tmp_path / 'cut', trials=12, pruner=pruner)
    pd.testing.assert_frame_equal(v.search(SPACE, cut, tmp_path / 'cut', trials=12, pruner=pruner), whole)
    assert len(calls) == 13 and len(whole) == 12
    assert v.search(SPACE, lambda *_: 1 / 0, tmp_path / 'whole', trials=12, pruner=pruner).equals(whole), 'what is done is not done again'

def test_a_longer_search_begins_with_the_shorter_one_and_seeds_differ(optuna, tmp_path):
    a = v.search(SPACE, bowl, tmp_path / 'a', trials=4, pruner='none')
    pd.testing.assert_frame_equal(v.search(SPACE, bowl, tmp_path / 'a', trials=6, pruner='none').head(4), a)
    assert not v.search(SPACE, bowl, tmp_path / 'b', trials=4, seed=1, pruner='none').x.equals(a.x)

def test_accuracy_is_sought_upwards_and_a_run_that_blew_up_is_no_candidate(optuna, tmp_path):
    def evaluate(c, report):
        if c['n'] == 3: raise FloatingPointError('the loss became nan')
        return dict(accuracy=-c['x'] ** 2)
    got = v.search(SPACE, evaluate, tmp_path, 'accuracy', 25, pruner='none')
    assert set(got[got.n == 3].state) == {'fail'} and got[got.n == 3].accuracy.isna().all() and (got[got.n != 3].state == 'complete').all()
    assert abs(got.x[v.best(got, 'accuracy')]) < .4
    ok = got[got.state == 'complete'].accuracy
    assert ok[-8:].mean() > ok[:8].mean(), 'later proposals are better ones'

def test_a_killed_search_loses_nothing(optuna, tmp_path):
    "Killed by the system in its fifth trial: four stay, the fifth is taken up."
    script = textwrap.dedent(f'''
        import os, signal, sys
        from plcal_study.lm.validation import search
        def evaluate(c, report):
            with open({str(tmp_path / 'log')!r}, 'a') as f: f.write(f"{{c['x']!r}}\\n")
            if os.environ.get('DIE') and sum(1 for _ in open({str(tmp_path / 'log')!r})) == 5: os.kill(os.getpid(), signal.SIGKILL)
            return dict(nll=c['x'] ** 2)
        print(search(dict(x=(-2., 2.)), evaluate, {str(tmp_path / 's')!r}, trials=7).x.tolist())''')
    root = str(Path(__file__).parents[1])
    dead = subprocess.run([sys.executable, '-c', script], env=os.environ | dict(DIE='1', PYTHONPATH=root), capture_output=True)
    assert dead.returncode == -signal.SIGKILL
    again = subprocess.run([sys.executable, '-c', script], env=os.environ | dict(PYTHONPATH=root), capture_output=True, text=True, check=True)
    log = [float(x) for x in (tmp_path / 'log').read_text().split()]
    assert len(log) == 8 and log[4] == log[5] and [*log[:5], *log[6:]] == json.loads(again.stdout)

def test_a_watched_model_reports_every_epoch_and_is_the_model_trained(world):
    from plcal_study.lm import training
    task, dev = testbed.as_task(world, 40, 0, 0), world.sample(30, 5, 'd')
    def model(): return LSTM(task, vocabulary(task['train']), embed=8, hidden=4, layers=1, seed=0)
    heard, cfg = [], Training(lr=1e-2, epochs=3, batch=16)
    p = v.watched(a := model(), cfg, task['train'], dev, 'brier', lambda x, epoch: heard.append((epoch, x)))
    training.train(b := model(), task['train'], cfg)
    assert [e for e, _ in heard] == [1, 2, 3] and heard[-1][1] == v.signals(p)['brier']
    assert np.array_equal(training.predict(a, dev), training.predict(b, dev)), 'being watched changes nothing'
