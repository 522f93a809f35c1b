"`--track`: each finished cell sent once, to a tracker that may be missing or fail; on recording stand-ins, and on the real ones where they are installed."
import importlib.util, json, signal, subprocess, sys, threading, time
import pytest
import fake_question
from plcal_study.study import cli, runs, tracking
from plcal_study.study.cli import main
from plcal_study.study.runs import Run, run_grid, run_id
from plcal_study.study.tracking import Tracker, following, open_tracker

STANDIN = dict(
    trackio='''
import json, os
def _say(**what):
    with open(os.environ['HEARD'], 'a') as f: f.write(json.dumps(what) + chr(10))
def init(project, name=None, config=None, embed=True, auto_log_gpu=None, auto_log_cpu=None):
    print('* Created new run')
    assert embed is False
    _say(project=project, name=name, config=config)
def log(metrics, step=None):
    if os.environ.get('FAIL'): raise ConnectionError('no route to host')
    _say(metrics=metrics, step=step)
def finish(): _say(finished=True)
''', wandb='''
import os, types
from trackio import _say, init as _init, log as _log, finish as _finish
class Settings:
    def __init__(self, silent): self.silent = silent
def setup(): return types.SimpleNamespace(settings=types.SimpleNamespace(mode=os.environ.get('WANDB_MODE', 'online')))
def login(prompt): return False
class _Run:
    def log(self, metrics, step=None): _log(metrics, step)
    def finish(self): _finish()
def init(project, name, config, settings):
    assert settings.silent
    _init(project, name, config, False)
    return _Run()
''')

@pytest.fixture(autouse=True)
def question(monkeypatch): monkeypatch.setitem(cli.QUESTIONS, 'fake', 'fake_question')

@pytest.fixture
def heard(tmp_path, monkeypatch):
    "Stand-ins on the path; what they hear, line after line."
    for name, code in STANDIN.items():
        (tmp_path / f'{name}.py').write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setenv('HEARD', str(tmp_path / 'heard.jsonl'))
    yield lambda: [json.loads(x) for x in (tmp_path / 'heard.jsonl').read_text().splitlines()] if (tmp_path / 'heard.jsonl').exists() else []
    for name in STANDIN: sys.modules.pop(name, None)

def go(tmp_path, target='trackio:mine', *more): return main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path / 'out'), '--track', target, *more])


@pytest.mark.parametrize('target', ['trackio:mine', 'wandb:mine'])
def test_each_cell_is_sent_once(tmp_path, heard, capsys, monkeypatch, target):
    monkeypatch.setenv('WANDB_MODE', 'offline')
    assert go(tmp_path, target) == 0
    ids = sorted(run_id(r) for r in fake_question.grid('smoke'))
    said = capsys.readouterr().out
    assert f'{target}: 4 sent' in said and 'Created new run' not in said, 'its chatter is not ours'
    opened = [h for h in heard() if 'project' in h]
    assert sorted(h['name'] for h in opened) == ids and {h['project'] for h in opened} == {'mine'} and sorted((h['config']['part'], h['config']['seed']) for h in opened) == [('a', 0), ('a', 1), ('b', 0), ('b', 1)]
    assert sum('finished' in h for h in heard()) == 4 and all(h['metrics']['seconds'] >= 0 for h in heard() if 'metrics' in h)
    before = heard()
    assert go(tmp_path, target) == 0 and heard() == before and f'{target}: 0 sent' in capsys.readouterr().out
    assert go(tmp_path, target.replace('mine', 'other')) == 0 and len(heard()) == 2 * len(before), 'another project has seen nothing yet'

def test_verdicts_are_sent_at_the_end_and_again_when_they_change(tmp_path, heard, monkeypatch):
    import pandas as pd
    verdict = dict(claim='c', page='q', text='t', estimate=.5, lo=.1, hi=.9, p_holm=.01, verdict='replicates')
    records = fake_question.records
    monkeypatch.setattr(fake_question, 'records', lambda out, scale: records(out, scale) | dict(fake_question_verdicts=pd.DataFrame([verdict])))
    for _ in range(2): assert go(tmp_path) == 0
    own = [h for h in heard() if h.get('name') == 'fake-smoke-verdicts']
    assert len(own) == 1 and own[0]['config'] == dict(c='replicates')
    assert [h['metrics'] for h in heard() if 'c/lo' in h.get('metrics', {})] == [{'c/estimate': .5, 'c/lo': .1, 'c/hi': .9, 'c/p_holm': .01}]
    verdict['verdict'] = 'undecided'
    assert go(tmp_path) == 0 and [h['config'] for h in heard() if h.get('name') == 'fake-smoke-verdicts'] == [dict(c='replicates'), dict(c='undecided')]

def test_a_tracker_that_fails_later_is_said_once_and_the_run_goes_on(tmp_path, heard, capsys, monkeypatch):
    monkeypatch.setenv('FAIL', '1')
    assert go(tmp_path) == 0
    said = capsys.readouterr()
    assert said.err.count('trackio:mine failed (ConnectionError: no route to host); the run goes on without it') == 1 and '4 cells done now' in said.out and 'trackio:mine: 0 sent' in said.out
    assert (tmp_path / 'out' / 'records').is_dir()
    monkeypatch.delenv('FAIL')
    assert go(tmp_path) == 0 and 'trackio:mine: 4 sent' in capsys.readouterr().out, 'what is left is sent the next time'

@pytest.mark.parametrize('target, says', [('neptune:x', 'track must be one of'), ('wandb:x', "wandb:x cannot be opened (ValueError: it has no key: run `wandb login`, or set WANDB_MODE=offline)")])
def test_a_tracker_that_cannot_be_had_is_said_before_any_work(tmp_path, heard, capsys, monkeypatch, target, says):
    monkeypatch.delenv('WANDB_MODE', raising=False)
    assert go(tmp_path, target) == 1
    assert says in capsys.readouterr().err and not (tmp_path / 'out').exists()

def test_one_that_is_not_installed_is_said_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tracking, 'find_spec', lambda name: None)
    assert go(tmp_path, 'mlflow:x') == 1
    assert 'track asks for mlflow, which is not installed; pip install mlflow-skinny' in capsys.readouterr().err and not (tmp_path / 'out').exists()

def test_a_dry_run_opens_no_tracker(tmp_path, capsys):
    assert go(tmp_path, 'neptune:x', '--dry-run') == 0

def test_cells_are_sent_while_others_are_made(tmp_path):
    runs = [Run('fake', 'a', 'write', 'coin'), Run('fake', 'a', 'wait', 'coin')]
    got, seen = [], threading.Event()
    t = Tracker('x:y', tmp_path, lambda name, config, rows: (got.append(name), seen.set()))
    def free():
        assert seen.wait(20)
        (tmp_path / 'enough').touch()
    threading.Thread(target=free, daemon=True).start()
    with following(t, [run_id(r) for r in runs], every=.05): run_grid(runs, fake_question.work, tmp_path, progress=False)
    assert got == [run_id(r) for r in runs]

def test_after_an_interruption_no_more_is_sent(tmp_path):
    t = Tracker('x:y', tmp_path, lambda *what: None)
    with pytest.raises(KeyboardInterrupt), following(t, ['0' * 12]): raise KeyboardInterrupt
    assert t.failed == 'interrupted' and not t.sent

def test_two_runners_send_a_cell_once_between_them(tmp_path):
    run_grid([Run('fake', 'a', 'write', 'coin')], fake_question.work, tmp_path, progress=False)
    cell, got = next((tmp_path / 'runs').glob('[0-9a-f]*')), []
    both = [Tracker('x:y', tmp_path, lambda *what: got.append(what)) for _ in range(2)]
    for t in both: t.cell(cell)
    assert len(got) == 1 and [len(t.sent) for t in both] == [1, 0]

def finished(tmp_path):
    run_grid([Run('fake', 'a', 'write', 'coin')], fake_question.work, tmp_path, progress=False)
    return next((tmp_path / 'runs').glob('[0-9a-f]*'))

def test_a_cell_whose_sending_was_interrupted_is_sent_again(tmp_path):
    cell, got = finished(tmp_path), []
    script = f'''
import sys, time; sys.path[:] = {sys.path!r}
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from plcal_study.study.tracking import Tracker, following
def slow(*what): Path({str(tmp_path)!r}, 'sending').touch(); time.sleep(60)
with following(Tracker('x:y', Path({str(tmp_path)!r}), slow), [{cell.name!r}], every=.05): time.sleep(60)
'''
    for end in signal.SIGINT, signal.SIGKILL:
        p = subprocess.Popen([sys.executable, '-c', script], stderr=subprocess.PIPE)
        while not (tmp_path / 'sending').exists(): assert p.poll() is None; time.sleep(.02)
        assert not Tracker('x:y', tmp_path, lambda *what: got.append(what)).cell(cell) and not got, 'another is at it'
        p.send_signal(end); p.communicate(timeout=20)
        (tmp_path / 'sending').unlink()
    for n in 1, 0:
        t = Tracker('x:y', tmp_path, lambda *what: got.append(what))
        assert t.cell(cell) and len(t.sent) == n
    assert len(got) == 1 and sorted(p.name for p in (tmp_path / 'tracked' / 'x_y').iterdir()) == ['.guard', cell.name]

def test_one_that_a_dead_machine_was_sending_is_waited_for_and_sent(tmp_path, monkeypatch):
    cell, got = finished(tmp_path), []
    monkeypatch.setattr(runs, '_PATIENCE', .6)
    place = tmp_path / 'tracked' / 'x_y'
    place.mkdir(parents=True)
    (place / f'{cell.name}.sending').write_text(json.dumps(json.loads(runs._me()) | dict(host='elsewhere')))
    with following(Tracker('x:y', tmp_path, lambda *what: got.append(what)), [cell.name], every=.05): pass
    assert len(got) == 1 and not (place / f'{cell.name}.sending').exists() and (place / cell.name).exists()

def test_what_others_print_while_a_cell_is_sent_is_seen(tmp_path, capsys):
    cell, seen, go_on, out = finished(tmp_path), threading.Event(), threading.Event(), sys.stdout
    def send(*what):
        print('chatter'); seen.set(); assert go_on.wait(10); print('more of it')
    with following(Tracker('x:y', tmp_path, send), [cell.name], every=.05):
        assert seen.wait(10)
        print('a result')
        go_on.set()
    assert capsys.readouterr().out == 'a result\n' and sys.stdout is out

def test_what_is_no_finite_number_is_left_out():
    assert tracking._flat(dict(a=1, b=float('nan'), c=float('inf'), d='x', e=[1], f=True, g=dict(h=2., versions=dict(numpy=2)), versions=dict(torch=2))) == {'a': 1., 'f': 1., 'g/h': 2.}

# ---- the real ones -----------------------------------------------------------------------------------------------------
def real(name): return pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f'{name} is not installed; pip install it to try the real one')

def numbers(seconds=1.5): return {0: {'probes/ece15': .25}, 8: {'probes/ece15': .125}, None: dict(seconds=seconds)}

@real('mlflow')
def test_the_real_mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'file:{tmp_path}')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    import mlflow
    mlflow.set_tracking_uri(f'file:{tmp_path}')
    for seed in range(2): open_tracker('mlflow:mine')(f'cell{seed}', dict(seed=seed), numbers() | {2: {f'm{i}': 1. for i in range(1500)}})
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name('mine').experiment_id])
    assert {r.info.run_name for r in runs} == {'cell0', 'cell1'} and {r.info.status for r in runs} == {'FINISHED'} and {r.data.params['seed'] for r in runs} == {'0', '1'}
    assert [(m.step, m.value) for m in client.get_metric_history(runs[0].info.run_id, 'probes/ece15')] == [(0, .25), (8, .125)] and len(runs[0].data.metrics) == 1502

SCRIPT = "import sys; sys.path[:] = {path!r}\nfrom plcal_study.study.tracking import open_tracker\nopen_tracker({target!r})('cell', dict(seed=3), {rows!r})"

def send(target, tmp_path, **env):
    import os
    return subprocess.run([sys.executable, '-c', SCRIPT.format(path=sys.path, target=target, rows=numbers())], capture_output=True, text=True, cwd=tmp_path, env=os.environ | env)

@real('trackio')
def test_the_real_trackio(tmp_path):
    import sqlite3
    p = send('trackio:mine', tmp_path, TRACKIO_DIR=str(tmp_path))
    assert p.returncode == 0, p.stderr
    with sqlite3.connect(tmp_path / 'mine.db') as db: rows = db.execute('select run_name, step, metrics from metrics order by id').fetchall()
    assert [(r[0], r[1]) for r in rows][:2] == [('cell', 0), ('cell', 8)] and json.loads(rows[1][2]) == {'probes/ece15': .125} and json.loads(rows[2][2]) == dict(seconds=1.5)

@real('wandb')
def test_the_real_wandb_offline(tmp_path):
    p = send('wandb:mine', tmp_path, WANDB_MODE='offline', WANDB_DIR=str(tmp_path))
    assert p.returncode == 0 and p.stdout == '' and len(list((tmp_path / 'wandb').glob('offline-run-*/*.wandb'))) == 1, p.stderr

def test_a_damaged_cell_is_sent_after_it_was_done_again(tmp_path, heard):
    "Its size is as it was, so that only its hash tells; the tracker is not given up for it."
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path / 'out'), '--quiet']) == 0
    file = next(p for p in sorted((tmp_path / 'out' / 'runs').rglob('*')) if p.is_file() and len(p.parent.name) == 12 and p.name not in ('run.json', 'log.txt'))
    said, cell = file.read_bytes(), file.parent
    file.write_bytes(b'?' * len(said))
    assert tracking.Tracker('trackio:mine', tmp_path / 'out', lambda *a: pytest.fail('sent damaged')).cell(cell) is False
    file.unlink()
    assert go(tmp_path) == 0 and file.is_file()
    there = {p.name for p in (tmp_path / 'out' / 'runs').iterdir() if (p / 'run.json').is_file() and not p.name.startswith('.') and 'damaged' not in p.name}
    assert {h['name'] for h in heard() if 'name' in h} >= {n for n in there if len(n) == 12}
