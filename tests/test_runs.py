"Runs: what a cell is called, and that a finished one is never lost and a failing one never takes others with it."
import dataclasses, hashlib, json, os, random, shutil, signal, subprocess, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
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

def runner(out, tasks, *more, before='', **fields):
    "Another process that does a grid of these tasks."
    script = f"import signal, sys; sys.path[:] = {sys.path!r}; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom test_runs import cells, go, runs\n{before}\nprint(go(cells(*{tasks!r}, **{fields!r}), {str(out)!r}, {', '.join(more)}))"
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
    assert sorted(p.name for p in (tmp_path / 'runs').iterdir()) == sorted([run_id(r) for r in grid] + ['.guard', 'grid-fake-smoke.json']), 'litter'
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
    for said, gpus in [('-1', []), ('1,-1,0', ['1']), ('GPU-8932f937,MIG-7', ['GPU-8932f937', 'MIG-7'])]:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', said)
        assert runs._gpus() == gpus and runs.workers_here() == (len(gpus) or runs._cores())
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

def test_a_worker_that_died_between_two_cells_is_replaced(tmp_path):
    grid, folder = cells('write', 'write'), tmp_path / 'runs'
    folder.mkdir()
    g = runs._Grid(folder, runs._portable(fake_question.work), {run_id(r): 1. for r in grid}, {run_id(r): r for r in grid})
    try:
        for r in grid:
            assert g.take() == (run_id(r), r)
            runs._cell(g, 0, run_id(r), r)
            os.kill(g.workers[0].p.pid, signal.SIGKILL)
            os.waitid(os.P_PID, g.workers[0].p.pid, os.WEXITED | os.WNOWAIT) # till it has ended, and is not yet fetched
        assert set(g.done) == {run_id(r) for r in grid} and not g.failed
    finally: g.workers[0].end(0); g.workers[0].close()

def test_a_worker_that_is_gone_is_signalled_once_while_its_number_is_its_own(tmp_path, monkeypatch):
    w, told, kill = runs._Worker(0, tmp_path / 'log.txt'), [], os.killpg
    def killpg(pid, n):
        told.append((n, Path(f'/proc/{pid}').exists()))
        kill(pid, n)
    monkeypatch.setattr(runs.os, 'killpg', killpg)
    assert not w.gone() and not told
    os.kill(w.p.pid, signal.SIGKILL)
    until(w.gone)
    for _ in range(3): assert w.gone()
    w.signal(signal.SIGTERM); w.end(0); w.close()
    assert told == [(signal.SIGKILL, True)]

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

@pytest.mark.parametrize('change, free, later', [
    ({}, False, False), ({'pid': 2**22 + 1}, True, True), ({'born': '1'}, True, True), ({'host': 'elsewhere'}, False, True), ({'space': 'pid:[1]'}, False, True),
    ({'machine': 'other', 'boot': 'other'}, False, True), ({'boot': 'before'}, True, True), (None, False, True), ('{"pid": 3}', False, True)],
    ids=['ours', 'dead', 'a number used again', 'elsewhere', 'another container', 'another machine of this name', 'before this machine was started anew', 'never signed', 'of an older version'])
@pytest.mark.parametrize('clock', [0, -10 * 365 * 86400, 10 * 365 * 86400], ids=['now', 'ten years ago', 'in ten years'])
def test_whose_lock_it_is(tmp_path, monkeypatch, change, free, later, clock):
    "At once, and after long watching; what the time of day is, here or on the file, plays no part."
    here = runs._here() | dict(machine='this one')
    monkeypatch.setattr(runs, '_here', lambda: here)
    monkeypatch.setattr(runs, '_PATIENCE', .1); monkeypatch.setattr(runs, '_WRITING', .1)
    lock, watch = tmp_path / '.a.lock', {}
    text = json.dumps(json.loads(runs._me()) | change) if isinstance(change, dict) else change or ''
    lock.write_text(text)
    os.utime(lock, (time.time() + clock,) * 2)
    assert runs._claim(lock, watch) == free and sorted(os.listdir(tmp_path)) == ['.a.lock', '.guard']
    assert lock.read_text() == (runs._me() if free else text)
    if free: return
    for k in range(4): # as long as it is touched, it lives
        time.sleep(.05)
        os.utime(lock, (time.time() + clock + k * random.Random(k).choice([-3600, 3600]),) * 2)
        assert not runs._claim(lock, watch)
    time.sleep(.12)
    assert runs._claim(lock, watch) == later and lock.read_text() == (runs._me() if later else text)

def test_the_time_of_day_decides_nothing():
    source = Path(runs.__file__).read_text()
    assert 'time.time(' not in source and 'datetime' not in source

def test_a_lock_that_another_takes_over_in_the_same_moment_is_theirs(tmp_path, monkeypatch):
    lock = tmp_path / '.a.lock'
    lock.write_text('stale')
    def meanwhile(*_):
        lock.write_text('theirs')
        return True
    monkeypatch.setattr(runs, '_stale', meanwhile)
    assert not runs._claim(lock, {}) and lock.read_text() == 'theirs' and sorted(os.listdir(tmp_path)) == ['.a.lock', '.guard']

def test_a_lock_that_cannot_be_signed_is_not_left_behind(tmp_path, monkeypatch):
    def full(): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(runs, '_me', full)
    with pytest.raises(OSError, match='No space left'): runs._claim(tmp_path / '.a.lock', {})
    assert os.listdir(tmp_path) == ['.guard']

def test_a_lock_of_another_is_not_given_back(tmp_path):
    lock = tmp_path / '.a.lock'
    lock.write_text('theirs')
    runs._free(lock)
    assert lock.read_text() == 'theirs'
    lock.write_text(runs._me())
    runs._free(lock)
    assert not lock.exists()

def test_a_worker_that_outlived_its_runner_is_ended_before_its_cell_is_taken(tmp_path):
    orphan = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)
    lock, note = tmp_path / '.a.lock', tmp_path / '.a.partial' / '.worker'
    note.parent.mkdir()
    note.write_text(json.dumps(dict(pid=orphan.pid, born=runs._born(orphan.pid)) | runs._here()))
    lock.write_text(json.dumps(json.loads(runs._me()) | dict(pid=2**22 + 1)))
    assert not runs._claim(lock, {}) and orphan.wait(5) == -signal.SIGKILL and runs._claim(lock, {})

def test_a_runner_that_was_away_leaves_its_cell_to_the_one_that_took_it_over(tmp_path):
    "A machine is suspended; another waits for its patience to end and does the cell; the first wakes up in the middle of it."
    elsewhere = "runs._PATIENCE = 1.; runs._here = lambda: dict(host='b', machine='b', boot='b', space='b')"
    a = runner(tmp_path, ['sleep', 'write'], 'workers=1', n_train=6000)
    until(lambda: len(list(tmp_path.rglob('pid'))) == 1)
    pid = int(next(tmp_path.rglob('pid')).read_text())
    os.kill(a.pid, signal.SIGSTOP); os.kill(pid, signal.SIGSTOP)
    b = runner(tmp_path, ['sleep', 'write'], 'workers=1', n_train=6000, before=elsewhere)
    until(lambda: began(tmp_path).count('sleep 0') == 2, 15)
    os.kill(a.pid, signal.SIGCONT); os.kill(pid, signal.SIGCONT)
    until(lambda: not alive(pid), 5)
    ends = [p.communicate(timeout=30) for p in (a, b)]
    assert [p.returncode for p in (a, b)] == [0, 0], ends
    assert set(status(tmp_path).state) == {'done'} and began(tmp_path).count('sleep 0') == 2
    assert sum(int(out.split()[0]) for out, _ in ends) == 2 and not list((tmp_path / 'runs').glob('*.failed.json'))


def test_two_workers_that_live_never_write_into_one_folder(tmp_path):
    "A runner stands still and its worker does not; another machine takes the cell over and goes on with a copy."
    elsewhere = "runs._PATIENCE = 1.; runs._here = lambda: dict(host='b', machine='b', boot='b', space='b')"
    a = runner(tmp_path, ['tick'], 'workers=1', n_train=400)
    until(lambda: list(tmp_path.rglob('ticks')))
    first = int(next(tmp_path.rglob('pid')).read_text())
    os.kill(a.pid, signal.SIGSTOP)
    b = runner(tmp_path, ['tick'], 'workers=1', n_train=400, before=elsewhere)
    until(lambda: began(tmp_path).count('tick 0') == 2, 15)
    assert alive(first), 'it knows of nothing yet'
    assert list(status(tmp_path).state) == ['running']
    out, err = b.communicate(timeout=60)
    assert b.returncode == 0 and out.startswith('1 cells done now'), err
    os.kill(a.pid, signal.SIGCONT)
    out, err = a.communicate(timeout=60)
    assert a.returncode == 0 and '0 cells done now, 1 done before, 0 failed' in out, (out, err)
    writers = [int(line.split()[1]) for line in (read_run(tmp_path, cells('tick', n_train=400)[0]) / 'ticks').read_text().splitlines()]
    second = writers[-1]
    assert set(writers) == {first, second} and writers == sorted(writers, key=[first, second].index), 'what the first wrote before is kept, and after the copy it wrote elsewhere'
    assert writers.count(second) == 400
    assert len(go(cells('tick', n_train=400), tmp_path).skipped) == 1 and sorted(p.name for p in (tmp_path / 'runs').iterdir() if p.name not in ('.guard', 'grid-fake-smoke.json')) == [run_id(cells('tick', n_train=400)[0])]

def test_a_takeover_that_was_killed_before_its_copy_was_whole_is_gone_on_with(tmp_path):
    lock = tmp_path / '.a.lock'
    for name, text in [('.a.aside-1', 'all'), ('.a.copy-2', 'ha')]:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'checkpoint').write_text(text)
    assert runs._begin(lock) == tmp_path / '.a.partial-2' == runs._begin(lock) and (tmp_path / '.a.partial-2' / 'checkpoint').read_text() == 'all'
    runs._set_aside(lock)
    assert runs._begin(lock) == tmp_path / '.a.partial-3' and sorted(os.listdir(tmp_path)) == ['.a.aside-1', '.a.aside-2', '.a.partial-3']
    runs._clear(lock)
    assert os.listdir(tmp_path) == []

def test_a_terminal_that_takes_no_more_text_stops_no_sign_of_life(tmp_path):
    blocked = "import os; r, w = os.pipe(); os.set_blocking(w, False)\ntry:\n    while True: os.write(w, b'x' * 4096)\nexcept BlockingIOError: pass\nos.set_blocking(w, True); sys.stderr = open(w, 'w'); runs._BEAT = .1"
    p = runner(tmp_path, ['wait'], 'progress=True', before=blocked)
    try:
        until(lambda: list(tmp_path.rglob('pid')))
        lock = next((tmp_path / 'runs').glob('.*.lock'))
        for _ in range(2):
            os.utime(lock, (0, 0))
            until(lambda: lock.stat().st_mtime > 0, 5)
        (tmp_path / 'enough').touch()
        until(lambda: list((tmp_path / 'runs').glob('*/said.json')), 10)
    finally: p.kill(); p.communicate()


# ---- a finished cell is never lost -----------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp('finished')
    go(cells('write', 'write'), out)
    return out

def _rewrite(old, new): return lambda folder: (folder / 'run.json').write_text((folder / 'run.json').read_text().replace(old, new))

@pytest.mark.parametrize('spoil, says', [
    (_rewrite('"format": 1', '"format": 2'), 'has format version 2, this package reads 1; it was written by plcal_study'),
    (_rewrite('"seed": 0', '"seed": 7'),     'give the folder back its name'),
    (_rewrite('"seed": 0', '"gain": 0'),     "has the field 'gain', which this package"),
], ids=['another version', 'another run', 'a later version'])
def test_a_finished_cell_of_another_version_stops_the_grid_and_stays(finished, tmp_path, spoil, says):
    out, grid = tmp_path / 'out', cells('write', 'write', 'write')
    shutil.copytree(finished, out)
    spoil(read_run(out, grid[0]))
    (read_run(out, grid[1]) / 'said.json').write_text('') # another one is damaged, and is not touched either
    before = inside(out)
    for ask in (lambda: go(grid, out), lambda: read_run(out, grid[0])):
        with pytest.raises(ValueError, match=says.replace('.', r'\.')) as e: ask()
        assert run_id(grid[0]) in str(e.value)
    assert inside(out) == before, 'nothing is changed, nothing is begun'
    t = status(out).set_index('id')
    assert set(t.state) == {'damaged'} and says in t.error[run_id(grid[0])]

@pytest.mark.parametrize('spoil, says, seen', [
    (lambda f: (f / 'run.json').write_bytes((f / 'run.json').read_bytes()[:100]), 'is damaged or cut short', True),
    (lambda f: (f / 'run.json').write_bytes(b''),           'is damaged or cut short', True),
    (lambda f: (f / 'run.json').write_bytes(b'\xff\xfe'),  'is damaged or cut short', True),
    (lambda f: (f / 'run.json').write_text('[]'),           'was not written by this package', True),
    (lambda f: (f / 'run.json').unlink(),                   'has no run.json', True),
    (_rewrite('"seed": 0', '"seed": -1'),                   'describes no run: seed must be', True),
    (lambda f: (f / 'said.json').write_text('{'),           'has 1 bytes, it had', True),
    (lambda f: (f / 'said.json').unlink(),                  'is missing, which was there when the cell was finished', True),
    (lambda f: (f / 'said.json').write_bytes((f / 'said.json').read_bytes().replace(b'seed', b'seeD')), 'holds other bytes than when the cell was finished', False),
], ids=['cut', 'empty', 'no text', 'another thing', 'gone', 'impossible', 'a result cut short', 'a result gone', 'a result garbled'])
def test_a_damaged_cell_is_moved_aside_done_again_and_said(finished, tmp_path, capsys, spoil, says, seen):
    out, grid = tmp_path / 'out', cells('write', 'write')
    shutil.copytree(finished, out)
    name, whole = run_id(grid[0]), inside(read_run(out, grid[0]))
    spoil(out / 'runs' / name)
    bad, other = inside(out / 'runs' / name), inside(read_run(out, grid[1]))
    if seen:
        with pytest.raises(ValueError, match=says): read_run(out, grid[0])
        t = status(out).set_index('id')
        assert (t.state[name], t.state[run_id(grid[1])]) == ('damaged', 'done') and says in t.error[name]
    s = go(grid, out, progress=True)
    aside = out / 'runs' / f'quarantined-{name}-1'
    assert (s.done, s.skipped, s.failed, s.quarantined) == ((name,), (run_id(grid[1]),), (), (aside.name,)) and '1 damaged and moved aside' in str(s)
    assert {k: v for k, v in inside(aside).items() if k.name != 'quarantine.json'} == bad, 'what was damaged is kept as it was'
    assert set(inside(read_run(out, grid[0]))) == set(whole) and inside(read_run(out, grid[1])) == other
    err = capsys.readouterr().err
    assert err.startswith('damaged: ') and says in err and f'it is kept as {aside}, and done again' in err
    t = status(out).set_index('id')
    assert list(t.state) == ['done', 'done'] and f'moved aside as {aside.name}: ' in t.error[name] and says in t.error[name] and not t.error[run_id(grid[1])]
    spoil(out / 'runs' / name)
    assert go(grid, out).quarantined == (f'quarantined-{name}-2',) and go(grid, out).quarantined == ()
    shutil.rmtree(aside)
    spoil(out / 'runs' / name)
    assert go(grid, out).quarantined == (f'quarantined-{name}-3',), 'a name that somebody made free is not a reason to fail'
    assert [c for c, _ in runs.finished(out, 'fake')] == [] # no cell.json anywhere: what lies aside is not read

def test_a_cell_of_before_there_were_hashes_is_read(finished, tmp_path):
    out, grid = tmp_path / 'out', cells('write', 'write')
    shutil.copytree(finished, out)
    path = read_run(out, grid[0]) / 'run.json'
    old = json.loads(path.read_text())
    del old['files'], old['made']
    path.write_text(json.dumps(old))
    assert len(go(grid, out).skipped) == 2

def test_what_made_a_cell_is_said_with_it(finished):
    said = json.loads((read_run(finished, cells('write')[0]) / 'run.json').read_text())
    assert said['made']['plcal_study'] == runs.plcal_study.__version__ and len(said['made']['code']) == 16 and set(said['files']) == {'pid', 'said.json'}


# ---- half a cell of another version ------------------------------------------------------------------------------
@pytest.mark.parametrize('change, says', [
    (lambda p: p.write_text(p.read_text().replace('"format": 1', '"format": 0')), 'format was 0 and is 1'),
    (lambda p: p.write_text(json.dumps(json.loads(p.read_text()) | dict(code='0' * 16))), "code was '0000000000000000' and is '"),
    (lambda p: p.write_text(json.dumps(json.loads(p.read_text()) | dict(torch='1.0'))), "torch was '1.0' and is "),
    (lambda p: p.write_text('{'), 'by which, it does not say'), (lambda p: p.unlink(), 'by which, it does not say')],
    ids=['format', 'code', 'torch', 'cut short', 'none'])
def test_half_a_cell_of_another_version_is_refused_and_stays(tmp_path, change, says):
    grid = cells('flaky')
    assert len(go(grid, tmp_path).failed) == 1
    partial = tmp_path / 'runs' / f'.{run_id(grid[0])}.partial'
    change(partial / '.begun.json')
    for _ in range(2):
        assert len(go(grid, tmp_path).failed) == 1
        why = failed(tmp_path, grid[0])['message']
        assert f'{partial} was begun by another version of the code: ' in why and says in why and 'go on with that version, or delete this folder to begin the cell anew' in why
    assert began(tmp_path) == ['flaky 0'] and (partial / 'checkpoint').read_text() == 'half'
    shutil.rmtree(partial)
    assert len(go(grid, tmp_path).failed) == 1 and len(go(grid, tmp_path).done) == 1 # from the beginning

def test_other_code_is_other_code(tmp_path, monkeypatch):
    "The fingerprint is that of the code that fills the cell, and does not depend on which cells a worker had before."
    monkeypatch.syspath_prepend(tmp_path)
    import importlib
    seen = []
    for text in ('x = 1', 'x = 1', 'x = 2'):
        (tmp_path / 'own_work.py').write_text(f'def work(run, folder): {text}\n')
        sys.modules.pop('own_work', None); importlib.invalidate_caches(); shutil.rmtree(tmp_path / '__pycache__', ignore_errors=True)
        import own_work
        runs._loaded.cache_clear()
        seen.append(runs._loaded(runs.pickle.dumps(own_work.work))[1]['code'])
    assert seen[0] == seen[1] != seen[2]

def test_what_was_being_written_when_a_process_died_is_removed_and_nothing_else(tmp_path):
    litter = ['.cell.json.ab12_xyz', 'checkpoint/.new-ab12_xyz/state.json', 'probes/.test-0001.parquet.zzzzzzzz']
    own = ['.hidden', '.cell.json', 'checkpoint/00000100/state.json', 'a.parquet', '.config.yaml', 'x.ab12_xyz']
    for name in litter + own:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('x')
    runs._sweep(tmp_path)
    assert sorted(str(p) for p in inside(tmp_path)) == sorted(own)

def test_what_a_dead_worker_was_writing_is_removed_before_its_cell_goes_on(tmp_path):
    grid = cells('flaky')
    go(grid, tmp_path)
    (tmp_path / 'runs' / f'.{run_id(grid[0])}.partial' / '.said.json.ab12_xyz').write_text('half')
    go(grid, tmp_path)
    assert sorted(str(p) for p in inside(read_run(tmp_path, grid[0]))) == ['checkpoint', 'pid', 'run.json', 'said.json']

def test_what_becomes_of_a_cell_that_was_taken_over_is_not_for_us_to_say(tmp_path, monkeypatch):
    "Its failure is that of a runner that was away: no failed.json beside the cell of the other."
    monkeypatch.setattr(runs, '_PATIENCE', .2); monkeypatch.setattr(runs, '_WRITING', .2); monkeypatch.setattr(runs, '_BEAT', 1e9)
    run, do, times = cells('flaky')[0], runs._Worker.do, []
    def taken(self, *a):
        said = do(self, *a)
        if not times: (tmp_path / 'runs' / f'.{run_id(run)}.lock').write_text('{"host": "another"}')
        times.append(said[0])
        return said
    monkeypatch.setattr(runs._Worker, 'do', taken)
    s = go([run], tmp_path)
    assert times == ['failed', 'done'] and (len(s.done), s.failed) == (1, ()), 'it waited for the other, and when nothing more was heard of that one it went on'

def test_a_cell_that_lacks_nothing_but_its_name_gets_it(tmp_path):
    grid = cells('write', 'write')
    go(grid, tmp_path)
    whole, half = (tmp_path / 'runs' / f'.{run_id(r)}.partial' for r in grid)
    before = inside(read_run(tmp_path, grid[0]))
    for r, p in zip(grid, (whole, half), strict=True): os.rename(read_run(tmp_path, r), p)
    (half / 'said.json').write_text('')
    (whole / '.seconds').write_text('1')
    os.unlink(half / 'pid')
    shutil.rmtree(half); half.mkdir(); (half / 'run.json').write_text('{')
    assert len(go(grid, tmp_path).done) == 2 and began(tmp_path)[2:] == ['write 1'] and inside(read_run(tmp_path, grid[0])) == before

def test_what_a_dead_runner_left_beside_a_finished_cell_is_put_away(tmp_path):
    grid = cells('write')
    go(grid, tmp_path)
    folder, name = tmp_path / 'runs', run_id(grid[0])
    for litter, text in [(f'{name}.failed.json', '{}'), (f'.{name}.lock', json.dumps(json.loads(runs._me()) | dict(pid=2**22 + 1))), ('.grid-fake-smoke.json.abcdefgh', '{'), (f'.{name}.failed.json.abcdefgh', ''), (f'.{name}.77-140342990272192', '{}')]:
        (folder / litter).write_text(text)
    assert len(go(grid, tmp_path).skipped) == 1 and sorted(p.name for p in folder.iterdir()) == sorted(['.guard', name, 'grid-fake-smoke.json'])

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


# ---- found by a reader who tried to break it ----------------------------------------------------------------------------
@pytest.mark.parametrize('name', ['training.py', 'models.py', 'metrics.py', 'fake_question.py'])
def test_the_fingerprint_is_of_all_code_that_fills_a_cell_loaded_or_not(monkeypatch, name):
    job, real = runs._portable(fake_question.work), runs._hash
    def code(): return runs._loaded.__wrapped__(job)[1]['code']
    before = code()
    monkeypatch.setattr(runs, '_hash', lambda p: 'other' if Path(p).name == name else real(p))
    assert code() != before

def test_a_cell_that_has_ended_is_not_at_work_when_its_lock_goes(monkeypatch):
    "Or a sign of life in this moment would take it for taken over, kill the worker and do the cell again."
    seen, waiting = [], [('a', None)]
    grid = SimpleNamespace(take=lambda: waiting.pop() if waiting else None, lock=Path, running=dict(a=(0., 0.)), places=dict(a=Path('x')), lost=set(), error=[], ended=threading.Event())
    monkeypatch.setattr(runs, '_cell', lambda *a: None)
    monkeypatch.setattr(runs, '_free', lambda lock: seen.append((dict(grid.running), dict(grid.places))))
    runs._drive(grid, 0)
    assert seen == [({}, {})] and not grid.error
