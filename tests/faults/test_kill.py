"""A grid that is killed again and again loses nothing, does nothing twice, and ends with the bytes of one that was left alone.

With PLCAL_LONG=1 in the environment processes are killed more than 200 times, some of them while torch trains; otherwise a dozen times."""
import json, os, random, signal, subprocess, sys, time
from pathlib import Path
import pytest
import faulty
from plcal_study.study.runs import read_cell, run_id

HERE = Path(__file__).parent
LONG = os.environ.get('PLCAL_LONG') == '1'
KILLS = 70 if LONG else 4 # of each kind

def start(out, die='', workers=2, scale='smoke'):
    env = os.environ | dict(FAULTY_DIE=die, PYTHONPATH=os.pathsep.join([str(HERE), *sys.path]), PYTHONWARNINGS='ignore')
    return subprocess.Popen([sys.executable, str(HERE / 'faulty.py'), str(out), scale, str(workers)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

def told(p, timeout=300):
    out, err = p.communicate(timeout=timeout)
    return p.returncode, out, err

def results(out, scale='smoke'):
    "The bytes of every finished cell, without the seconds it took; and of the records."
    found = {}
    for i in (run_id(r) for r in faulty.grid(scale)):
        for f in sorted((Path(out) / 'runs' / i).rglob('*')):
            if not f.is_file() or f.name == 'log.txt': continue
            said = f.read_bytes()
            if f.name == 'run.json': said = json.dumps(json.loads(said) | dict(seconds=0)).encode()
            found[str(f.relative_to(out))] = said
    return found | {str(f.relative_to(out)): f.read_bytes() for f in sorted(Path(out).glob('records/*'))}

def done(out, scale='smoke'): return {i for r in faulty.grid(scale) if (Path(out) / 'runs' / (i := run_id(r))).is_dir()}
def diary(out): return [line.split() for line in (Path(out) / 'diary.txt').read_text().splitlines()]

def left_alone(out, scale):
    "Bytes and seconds of a grid that nobody disturbs."
    began = time.monotonic()
    code, said, err = told(start(out, scale=scale))
    assert code == 0, err
    ended = [w for w in diary(out) if w[0] == 'ended']
    assert len(ended) == len(faulty.grid(scale)) == len(done(out, scale)) and not litter(out, scale)
    return results(out, scale), time.monotonic() - began

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory): return left_alone(tmp_path_factory.mktemp('undisturbed'), 'smoke')

def litter(out, scale='smoke'):
    "What should not lie there when all is done."
    own = {'.guard', f'grid-faulty-{scale}.json'} | {run_id(r) for r in faulty.grid(scale)}
    hidden = [p for p in (Path(out) / 'runs').rglob('.*') if p.parent.name != 'runs']
    return sorted(p.name for p in (Path(out) / 'runs').iterdir() if p.name not in own) + [str(p) for p in hidden]

def lives_on(out, scale='smoke'):
    "Every finished cell is whole, whatever happened."
    for i in done(out, scale): read_cell(Path(out) / 'runs' / i, deep=True)
    return done(out, scale)

def at_the_end(out, undisturbed, scale='smoke'):
    "Go on without a fault: all is there, once, and the same to the byte."
    code, said, err = told(start(out, scale=scale))
    assert code == 0, err
    assert results(out, scale) == undisturbed[0] and not litter(out, scale), litter(out, scale)
    assert not [w for w in diary(out) if w[0] == 'began' and w[2] == 'True'], 'a finished cell was begun again'

def kill_at(out, who, rng, seconds, scale='smoke'): # how many were killed
    "Start a runner, and kill at some operation on a file (each worker at its own), or at some moment."
    if rng.random() < .7:
        code, _, err = told(start(out, f'{who}:{rng.randint(1, 60)}', scale=scale))
        return int(code == -signal.SIGKILL) + err.count('killed by SIGKILL')
    p = start(out, scale=scale)
    time.sleep(rng.uniform(.3, seconds))
    pids = [int(json.loads(f.read_text() or '{"pid": 0}')['pid']) for f in Path(out).glob('runs/.*/.worker')] if who != 'runner' else []
    for pid in filter(None, pids[:1]):
        try: os.kill(pid, signal.SIGKILL)
        except ProcessLookupError: pass
    alive = p.poll() is None
    if who != 'worker': p.kill()
    _, _, err = told(p)
    return int(alive and who != 'worker') + err.count('killed by SIGKILL')

def killed_again_and_again(tmp_path, undisturbed, who, wanted, scale='smoke'):
    rng, kills, tries, k = random.Random(who), 0, 0, 0
    out, before, began = tmp_path / '0', set(), time.monotonic()
    while kills < wanted:
        assert (tries := tries + 1) < 4 * wanted + 20, 'too few of the kills hit anything'
        kills += kill_at(out, who, rng, undisturbed[1], scale)
        after = lives_on(out, scale)
        assert before <= after, 'a result was lost'
        before = after
        if len(after) == len(faulty.grid(scale)): # all is done: from the beginning
            at_the_end(out, undisturbed, scale)
            k += 1
            out, before = tmp_path / str(k), set()
    at_the_end(out, undisturbed, scale)
    print(f'{who}, {scale}: {kills} kills in {tries} tries, {k + 1} grids, {time.monotonic() - began:.0f} s', flush=True)

@pytest.mark.parametrize('who', ['runner', 'worker', 'both'])
def test_nothing_is_lost_when_processes_are_killed(tmp_path, undisturbed, who): killed_again_and_again(tmp_path, undisturbed, who, KILLS)

def test_training_that_is_killed_goes_on_from_its_checkpoint(tmp_path):
    pytest.importorskip('torch')
    if not LONG: pytest.skip('torch is loaded anew after each kill, which takes minutes: set PLCAL_LONG=1')
    known = left_alone(tmp_path / 'undisturbed', 'laptop')
    for who in 'worker', 'both': killed_again_and_again(tmp_path / who, known, who, 6, 'laptop')
