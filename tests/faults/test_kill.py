"""A grid that is killed again and again loses nothing, does nothing twice, and ends with the bytes of one that was left alone.

With PLCAL_LONG=1 in the environment processes are killed more than 200 times, and cells of torch are among the work; otherwise a dozen times."""
import json, os, random, signal, subprocess, sys, time
from pathlib import Path
import pytest
import faulty
from plcal_study.study.runs import read_cell, run_id

HERE = Path(__file__).parent
LONG = os.environ.get('PLCAL_LONG') == '1'
SCALE, KILLS = ('laptop', 70) if LONG else ('smoke', 4) # kills of each kind

def start(out, die='', workers=2):
    env = os.environ | dict(FAULTY_DIE=die, PYTHONPATH=os.pathsep.join([str(HERE), *sys.path]), PYTHONWARNINGS='ignore')
    return subprocess.Popen([sys.executable, str(HERE / 'faulty.py'), str(out), SCALE, str(workers)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

def told(p, timeout=300):
    out, err = p.communicate(timeout=timeout)
    return p.returncode, out, err

def results(out):
    "The bytes of every finished cell, without the seconds it took; and of the records."
    found = {}
    for i in (run_id(r) for r in faulty.grid(SCALE)):
        for f in sorted((Path(out) / 'runs' / i).rglob('*')):
            if not f.is_file() or f.name == 'log.txt': continue
            said = f.read_bytes()
            if f.name == 'run.json': said = json.dumps(json.loads(said) | dict(seconds=0)).encode()
            found[str(f.relative_to(out))] = said
    return found | {str(f.relative_to(out)): f.read_bytes() for f in sorted(Path(out).glob('records/*'))}

def done(out): return {i for r in faulty.grid(SCALE) if (Path(out) / 'runs' / (i := run_id(r))).is_dir()}
def diary(out): return [line.split() for line in (Path(out) / 'diary.txt').read_text().splitlines()]

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp('undisturbed')
    began = time.monotonic()
    code, said, err = told(start(out))
    assert code == 0, err
    ended = [w for w in diary(out) if w[0] == 'ended']
    assert len(ended) == len(faulty.grid(SCALE)) == len(done(out)) and not litter(out)
    return results(out), time.monotonic() - began

def litter(out):
    "What should not lie there when all is done."
    own = {'.guard', f'grid-faulty-{SCALE}.json'} | {run_id(r) for r in faulty.grid(SCALE)}
    hidden = [p for p in (Path(out) / 'runs').rglob('.*') if p.parent.name != 'runs']
    return sorted(p.name for p in (Path(out) / 'runs').iterdir() if p.name not in own) + [str(p) for p in hidden]

def lives_on(out):
    "Every finished cell is whole, whatever happened."
    for i in done(out): read_cell(Path(out) / 'runs' / i, deep=True)
    return done(out)

def at_the_end(out, undisturbed):
    "Go on without a fault: all is there, once, and the same to the byte."
    code, said, err = told(start(out))
    assert code == 0, err
    assert results(out) == undisturbed[0] and not litter(out), litter(out)
    assert not [w for w in diary(out) if w[0] == 'began' and w[2] == 'True'], 'a finished cell was begun again'

def kill_at(out, who, rng, seconds):
    "Start a runner, and kill at one operation on a file, or at some moment; False if it ended before."
    if rng.random() < .7:
        code, _, err = told(start(out, f'{who}:{rng.randint(1, 60)}'))
        return code == -signal.SIGKILL or 'killed by SIGKILL' in err
    p = start(out)
    time.sleep(rng.uniform(.3, seconds))
    pids = [int(json.loads(f.read_text() or '{"pid": 0}')['pid']) for f in Path(out).glob('runs/.*/.worker')] if who != 'runner' else []
    hit = p.poll() is None and (who == 'runner' or bool(pids))
    for pid in pids[:1]:
        try: os.kill(pid, signal.SIGKILL) if pid else None
        except ProcessLookupError: hit = who == 'both'
    if who != 'worker': p.kill()
    told(p)
    return hit

@pytest.mark.parametrize('who', ['runner', 'worker', 'both'])
def test_nothing_is_lost_when_processes_are_killed(tmp_path, undisturbed, who):
    rng, kills, tries, k = random.Random(who), 0, 0, 0
    out, before = tmp_path / '0', set()
    while kills < KILLS:
        assert (tries := tries + 1) < 4 * KILLS + 20, 'too few of the kills hit anything'
        kills += kill_at(out, who, rng, undisturbed[1])
        after = lives_on(out)
        assert before <= after, 'a result was lost'
        before = after
        if len(after) == len(faulty.grid(SCALE)): # all is done: from the beginning
            at_the_end(out, undisturbed)
            k += 1
            out, before = tmp_path / str(k), set()
    at_the_end(out, undisturbed)
    print(f'{who}: {kills} kills in {tries} tries, {k + 1} grids')
