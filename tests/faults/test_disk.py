"Disks that are full, files that may not grow, folders that may not be written: the runner ends with a word on what to do, and the same command goes on."
import ctypes, os, resource, subprocess, time
from pathlib import Path
import pytest
from test_kill import LONG, at_the_end, done, lives_on, start, told, undisturbed # noqa: F401

@pytest.fixture
def small_disk(tmp_path):
    "A file system of one megabyte of our own."
    if os.name != 'posix' or os.geteuid(): pytest.skip('a small file system is mounted for this test, which only root may do')
    where = tmp_path / 'disk'
    where.mkdir()
    made = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', where], capture_output=True, text=True)
    if made.returncode: pytest.skip(f'a small file system cannot be mounted here: {made.stderr.strip()}')
    yield where
    subprocess.run(['umount', where], check=True)

def remount(where, how): subprocess.run(['mount', '-o', f'remount,{how}', where], check=True)

def closed(where, MS_RDONLY=1, MS_REMOUNT=32): # 0: it is; by the C library, as a command is too slow to come between two cells
    return ctypes.CDLL(None).mount(b'tmpfs', os.fsencode(where), b'tmpfs', MS_RDONLY | MS_REMOUNT, b'size=1m')

def one_line(err, says):
    "The last word is one line with the fault and the cure, and nothing is a traceback of the runner."
    last = err.strip().splitlines()[-1]
    assert last.startswith('plcal: ') and says in last and 'run the same command again' in last and 'Traceback' not in err, err

@pytest.mark.parametrize('free', [0, 4, 12, 20, 28, 36, 44, 52, 60, 72, 88, 104] if LONG else [0, 28])
def test_a_full_disk_loses_nothing(small_disk, undisturbed, free): # noqa: F811
    out, ballast = small_disk / 'out', small_disk / 'ballast'
    ballast.write_bytes(bytes(1024 * (1024 - free)))
    code, _, err = told(start(out))
    assert code == 1 and 'No space left on device' in err
    assert 'WorkerDied' not in err and 'failed: ' not in err, 'that a cell failed is no use where it cannot be written down: the runner ends'
    one_line(err, 'No space left on device; what is finished is whole and kept: make room on the disk')
    before = lives_on(out)
    ballast.unlink()
    remount(small_disk, 'size=8m')
    at_the_end(out, undisturbed)
    assert before <= done(out)

@pytest.mark.parametrize('limit', [100, 400, 700, 1200, 3000, 5000] if LONG else [400, 3000])
def test_files_that_may_not_grow_lose_nothing(tmp_path, undisturbed, monkeypatch, limit): # noqa: F811
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, 'Popen', lambda *a, **k: popen(*a, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)), **k))
    p = start(tmp_path)
    monkeypatch.undo()
    code, _, err = told(p)
    assert code == 1 and 'File too large' in err
    before = lives_on(tmp_path)
    at_the_end(tmp_path, undisturbed)
    assert before <= done(tmp_path)

def test_a_folder_that_may_not_be_written_is_named_before_anything_starts(small_disk):
    remount(small_disk, 'ro')
    code, _, err = told(start(small_disk / 'out'))
    assert code == 1
    one_line(err, 'Read-only file system; what is finished is whole and kept: make the folder writable, or give another --out')

def test_a_folder_that_is_closed_in_the_middle(small_disk, undisturbed, monkeypatch): # noqa: F811
    monkeypatch.setenv('FAULTY_PAUSE', '.1') # long enough for the folder to be closed before all is done
    p, end = start(small_disk, workers=1), time.monotonic() + 60
    while not list(Path(small_disk).glob('runs/.*.partial/checkpoint')):
        time.sleep(.02)
        assert time.monotonic() < end and p.poll() is None
    while closed(small_disk) and p.poll() is None: pass # refused while a file is open to be written, as the log of a cell is: until the next cell
    code, _, err = told(p)
    monkeypatch.undo()
    assert code == 1 and len(done(small_disk)) < 6 and 'Read-only file system' in err, err
    remount(small_disk, 'rw')
    at_the_end(small_disk, undisturbed)
