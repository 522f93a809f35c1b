"Runs: what a cell is called, and that a finished one is never lost and a failing one never takes others with it."
import dataclasses, hashlib, json, os, random, shutil, signal, socket, subprocess, sys, threading, time
from pathlib import Path
import numpy as np, pytest
import fake_question
from fake_question import alive
from plcal_study.study import runs
from plcal_study.study.runs import Run, plan, read_cell, read_run, run_grid, run_id, status, wall

def cells(*tasks, **more): return [Run('fake', 'a', t, 'coin', seed=i, **more) for i, t in enumerate(tasks)]
def go(grid, out, **more): return run_grid(grid, fake_question.work, out, **{'workers': 2, 'progress': False, **more})
def said(out, run): return json.loads((read_run(out, run) / 'said.json').read_text())
def failed(out, run): return json.loads((Path(out) / 'runs' / f'{run_id(run)}.failed.json').read_text())
def began(out): return Path(out, 'began.txt').read_text().splitlines()
def inside(folder): return {p.relative_to(folder): p.read_bytes() for p in sorted(Path(folder).rglob('*')) if p.is_file()}

def until(true, seconds=10):
    "Wait for something that another process does."
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, 'it never came'
        time.sleep(.02)

def runner(out, tasks, *more):
    "Another process that does a grid of these tasks."
    script = f"import signal, sys; sys.path[:] = {sys.path!r}; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom test_runs import cells, go\nprint(go(cells(*{tasks!r}), {str(out)!r}, {', '.join(more)}))"
    return subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


# ---- names -----------------------------------------------------------------------------------------------------------
def test_ids_are_what_they_have_always_been():
    "Results of last year are found under these names: if this fails, a default was changed, or a field renamed."
    assert run_id(Run('q1', 'steps', 'sst2', 't5-base')) == '8f0668f051b5'
    assert run_id(Run('q1', 'delta', 'mnli', 'roberta-base', lr=5e-3, delta='soft_prompt', delta_size=20, seed=4, scale='paper')) == '1d1bf859f2f8'

def test_a_new_field_with_a_default_renames_nothing():
    New = dataclasses.make_dataclass('New', [('gain', 'float', 1.)], bases=(Run,), frozen=True)
    for r in cells('a', 'b', lr=1e-3): assert run_id(New(**dataclasses.asdict(r))) == run_id(r)
    assert run_id(New('fake', 'a', 'a', 'coin', gain=2)) not in {run_id(Run('fake', 'a', 'a', 'coin')), run_id(New('fake', 'a', 'a', 'coin', gain=3))}

def test_every_field_tells_cells_apart():
    base = Run('q', 'p', 't', 'm')
    other = {f.name: {'str': 'x', 'int': 3, 'float': .5}[f.type] for f in dataclasses.fields(Run)}
    ids = [run_id(base)] + [run_id(dataclasses.replace(base, **{k: v})) for k, v in other.items()]
    assert len(set(ids)) == len(other) + 1

def test_the_id_is_the_hash_of_the_definition():
    r = Run('q', 'p', 't', 'm', seed=2, lr=.1)
    text = '{"lr":0.1,"model":"m","part":"p","question":"q","seed":2,"task":"t"}'
    assert run_id(r) == hashlib.sha256(text.encode()).hexdigest()[:12]

def test_numbers_have_one_spelling():
    a, b = Run('q', 'p', 't', 'm', lr=1, epochs=5), Run('q', 'p', 't', np.str_('m'), lr=np.float64(1), epochs=np.int64(5))
    assert a == b and run_id(a) == run_id(b) and all(type(v) in (str, int, float) for v in dataclasses.asdict(b).values())

def test_a_plan_has_each_cell_once_with_its_cost():
    grid = cells('write', 'fail')
    t = plan(grid, fake_question.cost)
    assert list(t.id) == [run_id(r) for r in grid] and list(t.seconds) == [1, 2] and list(t.settings) == ['', 'seed=1']

def test_wall_time_is_bounded_by_share_and_by_the_longest():
    assert wall([3, 3, 3, 3], 2) == 6 and wall([9, 1, 1], 3) == 9 and wall([], 2) == 0


# ---- doing a grid ----------------------------------------------------------------------------------------------------
def test_a_grid_is_done_once_by_few_processes_of_one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '8')
    grid = cells(*['write'] * 7, 'print')
    s = go(grid, tmp_path)
    assert (len(s.done), s.skipped, s.failed, s.code) == (8, (), (), 0) and set(s.done) == {run_id(r) for r in grid}
    told = [said(tmp_path, r) for r in grid]
    assert [t['seed'] for t in told] == list(range(8)) and {t['threads'] for t in told} == {'1'}
    assert 1 <= len({t['pid'] for t in told} - {os.getpid()}) <= 2 and os.getpid() not in {t['pid'] for t in told}
    assert {t['main'] for t in told} == {None}, 'a worker must not import the program that started it'
    assert not any(t['torch'] for t in told)
    for r in grid: assert read_cell(read_run(tmp_path, r))[0] == r
    assert (read_run(tmp_path, grid[7]) / 'log.txt').read_text() == 'loss 0.5\na warning\n' and not (read_run(tmp_path, grid[0]) / 'log.txt').exists()
    assert sorted(p.name for p in (tmp_path / 'runs').iterdir()) == sorted([run_id(r) for r in grid] + ['grid-fake-smoke.json']), 'litter'
    before = inside(tmp_path)
    s = go(grid, tmp_path)
    assert (s.done, len(s.skipped), s.failed) == ((), 8, ()) and inside(tmp_path) == before

def test_longest_first(tmp_path):
    grid = cells(*['write'] * 6)
    random.Random(0).shuffle(grid)
    go(grid, tmp_path, workers=1, cost=fake_question.cost)
    assert began(tmp_path) == [f'write {i}' for i in (5, 4, 3, 2, 1, 0)]

def test_what_is_printed_late_is_not_added_to_a_finished_cell(tmp_path):
    late, other = cells('late', 'sleep', n_train=700)
    go([late, other], tmp_path)
    assert (read_run(tmp_path, late) / 'log.txt').read_text() == 'in time\n'

def test_the_importer_of_runs_needs_neither_torch_nor_pandas():
    script = "import sys, plcal_study.study.runs; print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout.strip() == '[]'

def test_every_worker_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '3,5')
    assert [runs._environment(k)['CUDA_VISIBLE_DEVICES'] for k in range(3)] == ['3', '5', '3'] and runs.workers_here() == 2
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert runs.workers_here() >= 1 and runs._environment(1)['CUDA_VISIBLE_DEVICES'] == ''


# ---- failing ---------------------------------------------------------------------------------------------------------
def test_whatever_happens_to_a_cell_the_others_go_on(tmp_path, capsys):
    tasks = ['fail', 'write', 'exit', 'write', 'kill', 'write', 'quit', 'segfault', 'write', 'orphan', 'write']
    grid = cells(*tasks)
    start = time.monotonic()
    s = go(grid, tmp_path, progress=True)
    assert time.monotonic() - start < 12, 'a dead worker must be noticed at once'
    assert {grid[i] for i, t in enumerate(tasks) if t == 'write'} == {r for r in grid if run_id(r) in s.done} and s.code == 1
    assert set(s.failed) == {run_id(r) for r in grid if r.task != 'write'}
    why = {r.task: failed(tmp_path, r) for r in grid if r.task != 'write'}
    assert (why['fail']['error'], why['fail']['message']) == ('ValueError', 'loss is NaN at step 7; lower lr')
    assert 'in _fail' in why['fail']['traceback'] and Run(**why['fail']['run']) == grid[0]
    assert (why['quit']['error'], why['quit']['message']) == ('SystemExit', 'enough')
    assert why['exit']['error'] == why['kill']['error'] == why['segfault']['error'] == 'WorkerDied'
    assert why['exit']['message'] == 'the process of this cell ended by itself with status 3; its last words: adieu' and 'adieu' in why['exit']['traceback']
    assert 'killed by SIGKILL; out of memory?' in why['kill']['message'] and 'killed by SIGSEGV' in why['segfault']['message']
    assert not alive(int((tmp_path / 'runs' / f'.{run_id(grid[9])}.partial' / 'orphan').read_text()))
    err = capsys.readouterr().err
    assert f'failed: {run_id(grid[4])} a kill coin seed=4\n  WorkerDied: the process of this cell was killed by SIGKILL' in err
    assert set(status(tmp_path).state) == {'done', 'failed'}

def test_failed_cells_are_tried_again_with_what_they_left(tmp_path):
    grid = cells('flaky', 'write')
    assert len(go(grid, tmp_path).failed) == 1 and 'the first time' in status(tmp_path).error[0]
    s = go(grid, tmp_path)
    assert (s.done, s.skipped, s.code) == ((run_id(grid[0]),), (run_id(grid[1]),), 0)
    assert (read_run(tmp_path, grid[0]) / 'checkpoint').exists() and not list((tmp_path / 'runs').glob('*.failed.json'))

def test_a_fault_of_the_runner_itself_is_raised_and_leaves_no_worker(tmp_path, monkeypatch):
    def full(path, **_):
        if path.name == 'run.json': raise OSError(28, 'No space left on device')
    monkeypatch.setattr(runs, '_write_json', full)
    start = time.monotonic()
    with pytest.raises(OSError, match='No space left'): go(cells('write', 'sleep', n_train=30_000), tmp_path)
    assert time.monotonic() - start < 15
    until(lambda: not any(alive(int(p.read_text())) for p in (tmp_path / 'runs').rglob('pid')))
    assert not list((tmp_path / 'runs').glob('.*.lock'))


# ---- going on --------------------------------------------------------------------------------------------------------
def test_ctrl_c_ends_at_once_and_the_next_run_goes_on(tmp_path):
    grid = cells('write', 'long', 'long', 'write')
    p = runner(tmp_path, [r.task for r in grid], 'cost=lambda r: -r.seed + 5.')
    until(lambda: len(list(tmp_path.rglob('checkpoint'))) == 2)
    pids = [int(q.read_text()) for q in (tmp_path / 'runs').glob('.*.partial/pid')]
    assert len(pids) == 2 and set(status(tmp_path).state) == {'done', 'running', 'waiting'}
    time.sleep(.3)
    p.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = p.communicate(timeout=10)
    assert time.monotonic() - start < 2 and p.returncode != 0
    assert 'interrupted; 1 of 4 cells are finished' in err and 'when you run the same command again' in err
    assert not any(alive(i) for i in pids)
    assert sorted(status(tmp_path).state) == ['done', 'partial', 'partial', 'waiting'] and not list((tmp_path / 'runs').glob('.*.lock'))
    s = go(grid, tmp_path)
    assert (len(s.done), len(s.skipped)) == (3, 1) and sorted(began(tmp_path)) == sorted(['write 0', 'write 3'] + ['long 1', 'long 2'] * 2)
    for r in grid[1:3]: assert .3 < read_cell(read_run(tmp_path, r))[1] < 10, 'seconds of both times count'

def test_a_runner_that_is_killed_takes_its_workers_along_and_its_locks_are_taken_over(tmp_path):
    p = runner(tmp_path, ['long', 'write'], 'workers=1')
    until(lambda: list(tmp_path.rglob('checkpoint')))
    pid = int(next((tmp_path / 'runs').glob('.*.partial/pid')).read_text())
    p.kill(); p.communicate()
    until(lambda: not alive(pid), 3)
    assert list((tmp_path / 'runs').glob('.*.lock')) and sorted(status(tmp_path).state) == ['partial', 'waiting']
    s = go(cells('long', 'write'), tmp_path)
    assert len(s.done) == 2 and not list((tmp_path / 'runs').glob('.*.lock'))

def test_two_runners_share_a_folder(tmp_path):
    tasks = ['sleep'] * 12
    both = [runner(tmp_path, tasks, 'workers=2') for _ in range(2)]
    ends = [p.communicate(timeout=30) for p in both]
    assert [p.returncode for p in both] == [0, 0], ends
    assert sorted(began(tmp_path)) == sorted(f'sleep {i}' for i in range(12)), 'a cell was done twice'
    done, skipped = zip(*((int(out.split()[0]), int(out.split()[4])) for out, _ in ends), strict=True)
    assert sum(done) == 12 and [a + b for a, b in zip(done, skipped, strict=True)] == [12, 12], 'each waits for the other to end'
    assert set(status(tmp_path).state) == {'done'}

def test_a_runner_gives_signs_of_life(tmp_path, monkeypatch):
    "Its locks are touched and the seconds noted, so that other machines see it alive and a loss of power loses little."
    monkeypatch.setattr(runs, '_BEAT', .1)
    run = cells('wait')[0]
    lock, partial, seen = tmp_path / 'runs' / f'.{run_id(run)}.lock', tmp_path / 'runs' / f'.{run_id(run)}.partial', []
    def look():
        try:
            until(lambda: (partial / '.seconds').exists())
            os.utime(lock, (0, 0))
            until(lambda: lock.stat().st_mtime > 0 and float((partial / '.seconds').read_text() or 0) > .5, 5)
            seen.append(True)
        finally: (tmp_path / 'enough').touch()
    t = threading.Thread(target=look); t.start()
    go([run], tmp_path); t.join()
    assert seen and not (read_run(tmp_path, run) / '.seconds').exists()

@pytest.mark.parametrize('change, age, free', [
    ({}, 0, False), ({'pid': 2**22 + 1}, 0, True), ({'born': '1'}, 0, True), ({'host': 'elsewhere'}, 0, False), ({'host': 'elsewhere'}, 3600, True),
    (None, 0, False), (None, 60, True)], ids=['ours', 'dead', 'a number used again', 'elsewhere', 'elsewhere, long ago', 'being written', 'never written'])
def test_whose_lock_it_is(tmp_path, change, age, free):
    lock = tmp_path / '.a.lock'
    text = json.dumps(dict(pid=os.getpid(), host=socket.gethostname(), born=runs._born(os.getpid())) | change) if change is not None else ''
    lock.write_text(text)
    os.utime(lock, (time.time() - age,) * 2)
    assert runs._claim(lock) == free and os.listdir(tmp_path) == ['.a.lock']
    assert (json.loads(lock.read_text())['pid'] == os.getpid() and lock.read_text() != text) if free else lock.read_text() == text

def test_a_lock_that_another_takes_over_in_the_same_moment_is_theirs(tmp_path, monkeypatch):
    lock = tmp_path / '.a.lock'
    lock.write_text('stale')
    def meanwhile(_):
        lock.write_text('theirs')
        return False
    monkeypatch.setattr(runs, '_alive', meanwhile)
    assert not runs._claim(lock) and lock.read_text() == 'theirs' and os.listdir(tmp_path) == ['.a.lock']


# ---- a finished cell is never lost -----------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp('finished')
    go(cells('write', 'write'), out)
    return out

@pytest.mark.parametrize('spoil, says', [
    (lambda p: p.write_bytes(p.read_bytes()[:100]),                                     'is damaged or cut short'),
    (lambda p: p.write_bytes(b''),                                                      'is damaged or cut short'),
    (lambda p: p.write_bytes(b'\xff\xfe'),                                              'is damaged or cut short'),
    (lambda p: p.write_text('[]'),                                                      'was not written by this package'),
    (lambda p: p.write_text(p.read_text().replace('"format": 1', '"format": 2')),       'has format version 2, this package reads 1; it was written by plcal_study'),
    (lambda p: p.write_text(p.read_text().replace('"seed": 0', '"seed": 7')),           'give the folder back its name'),
    (lambda p: p.write_text(p.read_text().replace('"seed": 0', '"seed": -1')),          'describes no run: seed must be'),
    (lambda p: p.write_text(p.read_text().replace('"seed": 0', '"gain": 0')),           "has the field 'gain', which this package"),
    (lambda p: p.unlink(),                                                              'has no run.json'),
], ids=['cut', 'empty', 'no text', 'another thing', 'another version', 'another run', 'impossible', 'a later version', 'gone'])
def test_a_finished_cell_that_cannot_be_read_stops_the_grid_and_stays(finished, tmp_path, spoil, says):
    out, grid = tmp_path / 'out', cells('write', 'write', 'write')
    shutil.copytree(finished, out)
    spoil(read_run(out, grid[0]) / 'run.json')
    before = inside(out)
    for ask in (lambda: go(grid, out), lambda: read_run(out, grid[0])):
        with pytest.raises(ValueError, match=says.replace('.', r'\.')) as e: ask()
        assert run_id(grid[0]) in str(e.value)
    assert inside(out) == before, 'nothing is changed, nothing is begun'
    t = status(out).set_index('id')
    assert list(t.state) == ['damaged', 'done'] and says in t.error.iloc[0]

def test_fields_that_came_later_are_at_their_default(finished, tmp_path):
    out, run = tmp_path / 'out', cells('write')[0]
    shutil.copytree(finished, out)
    path = read_run(out, run) / 'run.json'
    old = json.loads(path.read_text())
    del old['run']['precision']
    path.write_text(json.dumps(old))
    assert read_cell(path.parent)[0] == run


# ---- what is seen ----------------------------------------------------------------------------------------------------
def at_work(cost, done=(), running=(), skipped=()):
    grid = runs._Grid(Path('nowhere'), b'', cost, {i: None for i in cost if i not in {**dict(done), **dict(skipped)} and i not in running})
    grid.done.update(done); grid.skipped.update(skipped); grid.running.update({i: (time.monotonic() - 3, 2.) for i in running})
    return grid

def test_time_left_is_the_estimate_corrected_by_what_was_measured():
    cost = dict(a=10., b=10., c=20., d=4.)
    assert runs._left(at_work(cost), 2) == 22
    assert runs._left(at_work(cost, done=dict(a=30.)), 2) == 60 # three times as long: (10 + 20 + 4) · 3 / 2, but c alone takes 60
    assert runs._left(at_work(cost, skipped=dict(c=10.)), 1) == 12 # finished before, in half the time
    assert runs._left(at_work(cost, skipped=dict(c=10.), done=dict(a=10.)), 1) == 14 # what this machine takes counts
    assert runs._left(at_work(cost, running=['a']), 1) == pytest.approx(39, abs=.1) # 3 s now and 2 s before are behind us

def test_progress_is_one_line_on_a_terminal_and_few_elsewhere(monkeypatch, capsys):
    line = runs._Line(True)
    line.at -= 20
    for i in range(5): line.show(f'{i}/5 cells done, 1 running')
    assert capsys.readouterr().err == '0/5 cells done, 1 running\n'
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    line = runs._Line(True)
    line.show('1/5 cells done'); line.show('2/5 cells done', ['failed: one']); line.end()
    assert capsys.readouterr().err == '\r\x1b[K1/5 cells done\r\x1b[Kfailed: one\n\r\x1b[K2/5 cells done\r\x1b[K'

def test_status_knows_what_waits_part_by_part(tmp_path):
    a, b = cells('write', 'write'), [Run('fake', 'b', 'write', 'coin')]
    go(a + b, tmp_path)
    go(a[:1], tmp_path) # the part got smaller; the other part stays as it was
    t = status(tmp_path)
    assert sorted(t.part.dropna()) == ['a', 'a', 'b'] and set(t.state) == {'done'}, 'what lies there is shown, wanted or not'
    shutil.rmtree(read_run(tmp_path, b[0])); shutil.rmtree(read_run(tmp_path, a[1]))
    assert status(tmp_path)[['part', 'state']].values.tolist() == [['b', 'waiting'], ['a', 'done']]

def test_finished_cells_of_one_question_come_with_what_they_say(tmp_path):
    own = cells('write', 'write')
    go(own, tmp_path)
    assert list(runs.finished(tmp_path, 'fake')) == [] # none left a cell.json
    for i, r in enumerate(own): (read_run(tmp_path, r) / 'cell.json').write_text(json.dumps(dict(steps=i, versions=dict(torch='2'))))
    got = {c['seed']: (c['id'], c['steps'], f.name) for c, f in runs.finished(tmp_path, 'fake', 'smoke', 'a')}
    assert got == {r.seed: (run_id(r), i, run_id(r)) for i, r in enumerate(own)}
    assert [list(runs.finished(tmp_path, *a)) for a in (('q1',), ('fake', 'laptop'), ('fake', None, 'b'))] == [[]] * 3
    said = runs.made_from([c for c, _ in runs.finished(tmp_path, 'fake')], 5)
    assert (said['cells'], said['planned'], said['seeds'], said['versions']) == (2, 5, 2, [dict(torch='2')])
