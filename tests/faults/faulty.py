"A question as `plcal run` knows them, whose cells do real work with checkpoints; and ways to end a process in the middle of it."
import io, json, os, signal, sys, time
from pathlib import Path
import numpy as np
from plcal_study.measure.predictions import atomic_write, from_logits, load, save
from plcal_study.study.runs import Run, run_id

STEPS = 12

def grid(scale):
    "Logistic regressions by gradient descent; at scale laptop, small networks of torch."
    if scale == 'laptop': return [Run('faulty', 'torch', 'noise', 'lstm', n_train=48, epochs=2, batch=8, lr=.01, seed=s, scale=scale) for s in range(2)]
    return [Run('faulty', 'descent', 'noise', 'linear', n_train=100 + 20 * s, seed=s, scale=scale) for s in range(6)]

def cost(run): return run.n_train / 100 + 3 * (run.part == 'torch')

def records(out, scale):
    import pandas as pd
    rows = [dict(id=i) | json.loads((f / 'cell.json').read_text()) for r in grid(scale) if (f := Path(out) / 'runs' / (i := run_id(r))).is_dir()]
    return dict(faulty_cells=pd.DataFrame(rows))

def provenance(out, scale): return dict(scale=scale)

def diary(run, folder, what):
    "One line for all to read, of what began and what was there; written whole, as it is short and added at the end."
    line = f"{what} {run_id(run)} {(folder.parent / run_id(run)).exists()} {os.getpid()}\n".encode()
    to = os.open(os.environ.get('FAULTY_DIARY') or folder.parents[1] / 'diary.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(to, line); os.close(to)

def sample(run):
    rng = np.random.default_rng(run.seed)
    x = rng.normal(size=(run.n_train, 5))
    return x, (x @ rng.normal(size=5) + rng.logistic(size=run.n_train) > 0).astype(int)

def work(run, folder):
    die_here()
    diary(run, folder, 'began')
    (_descent if run.part == 'descent' else _torch)(run, folder)
    diary(run, folder, 'ended')

def _descent(run, folder):
    x, y = sample(run)
    kept = folder / 'checkpoint' / 'state.npy'
    kept.parent.mkdir(exist_ok=True)
    state = np.load(kept) if kept.exists() else np.zeros(6) # steps, weights
    while state[0] < STEPS:
        p = 1 / (1 + np.exp(-x @ state[1:]))
        state = np.r_[state[0] + 1, state[1:] + .5 * x.T @ (y - p) / len(x)]
        time.sleep(float(os.environ.get('FAULTY_PAUSE', .01)))
        if state[0] % 4 == 0:
            z = np.c_[np.zeros(len(x)), x @ state[1:]]
            save(from_logits(z, y, meta=dict(step=int(state[0]), seed=run.seed)), folder / f'probe-{int(state[0]):03d}.parquet')
        if state[0] % 2 == 0:
            np.save(sink := io.BytesIO(), state)
            atomic_write(kept, sink.getvalue())
    accuracy = {f.stem: float(load(f).correct.mean()) for f in sorted(folder.glob('probe-*.parquet'))}
    atomic_write(folder / 'cell.json', json.dumps(dict(weights=state[1:].tolist(), accuracy=accuracy)))
    kept.unlink(); kept.parent.rmdir()

def _torch(run, folder):
    import shutil
    from plcal_study.lm import baselines, training
    from plcal_study.lm.examples import Examples, Task
    rng = np.random.default_rng(run.seed)
    def draw(n):
        label = rng.integers(0, 2, n)
        words = np.where(rng.random((n, 6)) < .7, np.array(['up', 'down'])[label][:, None], np.array(['left'])[None])
        return Examples(np.array([f'{n}-{i}' for i in range(n)], object), np.array([' '.join(w) for w in words], object), label)
    task = Task('noise', dict(train=draw(run.n_train), test=draw(40)), classes=['down', 'up'])
    clf = baselines.LSTM(task, baselines.vocabulary(task['train']), seed=run.seed, layers=1, hidden=8, embed=8, max_length=8)
    cfg = training.Training(lr=run.lr, epochs=run.epochs, batch=run.batch, seed=run.seed, checkpoint_every=2)
    training.train(clf, task['train'], cfg, folder, {'test': task['test']}, [0, 4, 8, 12], dict(seed=run.seed))
    shutil.rmtree(folder / 'checkpoint', ignore_errors=True)
    last = load(sorted((folder / 'probes').glob('*.parquet'))[-1])
    atomic_write(folder / 'cell.json', json.dumps(dict(accuracy=float(last.correct.mean()))))


# ---- how it ends -----------------------------------------------------------------------------------------------------
FILES = {'open', 'os.rename', 'os.remove', 'os.mkdir', 'os.rmdir', 'shutil.rmtree', 'os.utime'}
_armed = []

def die_here():
    "FAULTY_DIE=who:n: `who` (worker, runner or both) is killed before its n-th operation on a file of results. Read once."
    who, _, n = os.environ.get('FAULTY_DIE', '').partition(':')
    runner = os.environ.get('FAULTY_RUNNER')
    if _armed or not who or (who == 'runner') != (str(os.getpid()) == runner): return
    _armed.append(int(n))
    sys.addaudithook(lambda event, args: _count(who, event, args))

def _count(who, event, args):
    "An operation on a file under `runs`; opening to read is none."
    if event not in FILES or event == 'open' and (len(args) < 3 or not isinstance(args[2], int) or not args[2] & (os.O_WRONLY | os.O_RDWR)): return
    if not isinstance(args[0], (str, os.PathLike)) or f'{os.sep}runs{os.sep}' not in os.fspath(args[0]): return
    _armed[0] -= 1
    if _armed[0] > 0: return
    if who == 'both': os.kill(int(os.environ['FAULTY_RUNNER']), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == '__main__': # a runner: faulty.py OUT SCALE WORKERS
    import faulty # under its own name, so that workers can import it
    from plcal_study.study import cli
    from plcal_study.study.cli import main
    os.environ['FAULTY_RUNNER'] = str(os.getpid())
    cli.QUESTIONS['faulty'] = 'faulty'
    faulty.die_here()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main(['run', 'faulty', '--scale', sys.argv[2], '--out', sys.argv[1], '--workers', sys.argv[3]]))
