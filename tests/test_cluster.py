"Cells whose results go to an address: whole copies count, half ones do not; a cell that was interrupted goes on elsewhere. Grids over a real cluster: tests/faults/test_on_ray.py."
import json, os, signal, subprocess, sys, threading, time
from pathlib import Path
import pytest

pytest.importorskip('fsspec')
import fake_question
from plcal_study.study import cluster, runs
from plcal_study.study.runs import Run, run_id
from plcal_study.study.shards import gather

def cell(task, **more): return Run('fake', 'a', task, 'coin', **more)

def test_a_finished_cell_lies_there_whole_and_is_not_done_again(bucket, tmp_path):
    address, fs, root = bucket
    run = cell('print')
    assert cluster._far(run, fake_question.work, address, 60) == ('done', '')
    assert fs.exists(f'{root}/runs/{run_id(run)}/run.json') and not fs.exists(f'{root}/runs/{run_id(run)}.unfinished')
    assert cluster._far(run, fake_question.work, address, 60) == ('skipped', '')
    assert gather([address], tmp_path).came == (run_id(run),)
    assert (tmp_path / 'runs' / run_id(run) / 'log.txt').read_text() == 'loss 0.5\na warning\n'

def test_a_cell_that_fails_leaves_what_it_had_and_goes_on_from_there(bucket):
    address, fs, root = bucket
    run = cell('flaky')
    state, why = cluster._far(run, fake_question.work, address, 60)
    assert (state, why) == ('failed', 'RuntimeError: the first time') and len(cluster._copies(fs, f'{root}/runs/{run_id(run)}.unfinished')) == 1
    assert cluster._far(run, fake_question.work, address, 60) == ('done', '') # it found what it had left
    assert fs.cat_file(f'{root}/runs/{run_id(run)}/checkpoint') == b'half' and not fs.exists(f'{root}/runs/{run_id(run)}.unfinished')

def test_why_a_cell_failed_lies_beside_it_until_it_is_done(bucket):
    address, fs, root = bucket
    run = cell('flaky')
    cluster._far(run, fake_question.work, address, 60)
    why = json.loads(fs.cat_file(f'{root}/runs/{run_id(run)}.failed.json'))
    assert (why['id'], why['error'], why['message']) == (run_id(run), 'RuntimeError', 'the first time')
    assert cluster._far(run, fake_question.work, address, 60) == ('done', '') and not fs.exists(f'{root}/runs/{run_id(run)}.failed.json')

def test_a_copy_that_does_not_go_out_is_said_once_and_tried_again(bucket, monkeypatch, capsys):
    address, fs, root = bucket
    copy, tries = cluster._copy_out, []
    def refused(*what):
        tries.append(1)
        if len(tries) < 3: raise RuntimeError('the token has expired')
        copy(*what)
    monkeypatch.setattr(cluster, '_copy_out', refused)
    assert cluster._far(cell('sleep', n_train=2000), fake_question.work, address, .2) == ('done', 'a copy of what it had did not go out (RuntimeError: the token has expired)')
    assert len(tries) > 3 and capsys.readouterr().err.count('the token has expired') == 1

def test_half_a_copy_does_not_count(bucket, tmp_path):
    _, fs, root = bucket
    (tmp_path / 'cell').mkdir()
    for step in 'old', 'new':
        (tmp_path / 'cell' / 'checkpoint').write_text(step)
        cluster._send(tmp_path / 'cell', fs, f"{root}/x.unfinished/.part-{9 if step == 'old' else 10}")
    copies = cluster._copies(fs, f'{root}/x.unfinished')
    assert [c.rsplit('-', 1)[1] for c in copies] == ['9', '10'], 'by number, not by letter'
    fs.rm(f'{copies[1]}/{cluster._LIST}')
    assert not cluster._fetch(fs, copies[1], tmp_path / 'a') and not (tmp_path / 'a').exists()
    assert cluster._fetch(fs, copies[0], tmp_path / 'b') and (tmp_path / 'b' / 'checkpoint').read_text() == 'old'

def test_copies_go_out_while_a_cell_is_at_work(bucket):
    address, fs, root = bucket
    run, seen, ended = cell('sleep', n_train=2500), [], threading.Event()
    def look():
        while not ended.wait(.05):
            seen.extend(c for c in cluster._copies(fs, f'{root}/runs/{run_id(run)}.unfinished') if fs.exists(f'{c}/{cluster._LIST}') and fs.exists(f'{c}/pid'))
    t = threading.Thread(target=look, daemon=True); t.start()
    assert cluster._far(run, fake_question.work, address, .3) == ('done', '')
    ended.set(); t.join()
    assert len(set(seen)) >= 2

def test_a_process_stands_still_while_it_is_copied(tmp_path):
    p = subprocess.Popen([sys.executable, '-c', 'import time\nwhile True: time.sleep(.01)'], start_new_session=True)
    try:
        (tmp_path / '.worker').write_text(json.dumps(dict(pid=p.pid, born=runs._born(p.pid)) | runs._here()))
        def state(): return Path(f'/proc/{p.pid}/stat').read_text().rpartition(')')[2].split()[0]
        with cluster._stopped(tmp_path):
            time.sleep(.1)
            assert state() == 'T'
        time.sleep(.1)
        assert state() in 'SR'
        with cluster._stopped(tmp_path / 'nobody'): pass
    finally: os.killpg(p.pid, signal.SIGKILL); p.wait()

def test_what_cells_share_goes_along(bucket, tmp_path, monkeypatch):
    address, fs, root = bucket
    (tmp_path / 'sharing.py').write_text('''
def work(run, folder):
    shared = folder.parents[1] / 'shared' / 'model'
    (folder / 'found').write_text(str(shared.exists()))
    shared.mkdir(parents=True, exist_ok=True)
    (shared / 'weights').write_text('dear')
''')
    monkeypatch.syspath_prepend(tmp_path)
    import sharing
    for seed, found in (0, b'False'), (1, b'True'):
        assert cluster._far(cell('any', seed=seed), sharing.work, address, 60)[0] == 'done'
        assert fs.cat_file(f"{root}/runs/{run_id(cell('any', seed=seed))}/found") == found

def test_one_part_at_an_address_leaves_the_list_of_the_others(bucket):
    address, fs, root = bucket
    a, b = cell('write'), Run('fake', 'b', 'write', 'coin')
    def parts(): return sorted(r['part'] for r in json.loads(fs.cat_file(f'{root}/runs/grid-fake-smoke.json'))['runs'])
    assert cluster._begun([a, b], b'', address, {run_id(a): 1., run_id(b): 1.})[0] == set() and parts() == ['a', 'b']
    fs.pipe_file(f'{root}/runs/{run_id(a)}/run.json', b'{}')
    assert cluster._begun([a], b'', address, {run_id(a): 1.})[0] == {run_id(a)} and parts() == ['a', 'b']
    fs.pipe_file(f'{root}/runs/grid-fake-smoke.json', b'{')
    with pytest.raises(ValueError, match=f'{root}/runs/grid-fake-smoke.json is damaged'): cluster._begun([a], b'', address, {run_id(a): 1.})

def test_without_ray_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ImportError, match=r"ray is missing, which --ray needs; pip install 'plcal_study\[ray\]'"): cluster.run_on_ray([cell('write')], fake_question.work, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
