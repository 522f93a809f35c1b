"A question as `plcal run` knows them, whose cells take no time: each does what its task says."
import json, os, signal, sys, threading, time
from pathlib import Path
import pandas as pd
from plcal_study.study.runs import Run, read_run, run_id

def grid(scale):
    if scale == 'paper': return [Run('fake', f'part{i % 3}', 'write', 'coin', seed=i, scale=scale) for i in range(1000)]
    return [Run('fake', part, 'write', 'coin', seed=s, scale=scale) for part in ('a', 'b') for s in range(2)]

def cost(run): return float(run.seed + 1)

def records(out, scale):
    cells = [json.loads((read_run(out, r) / 'said.json').read_text()) for r in grid(scale) if (Path(out) / 'runs' / run_id(r)).is_dir()]
    return dict(fake_cells=pd.DataFrame([dict(seed=c['seed'], threads=c['threads']) for c in cells]))

def provenance(out, scale): return dict(scale=scale, cells=len(grid(scale)))

def work(run, folder):
    with open(folder.parent.parent / 'began.txt', 'a') as f: f.write(f'{run.task} {run.seed}\n')
    (folder / 'pid').write_text(str(os.getpid()))
    globals()[f'_{run.task}'](run, folder)
    said = dict(seed=run.seed, pid=os.getpid(), threads=os.environ['OMP_NUM_THREADS'], data=os.environ.get('PLCAL_DATA'), main=sys.modules['__main__'].__dict__.get('__file__'), torch='torch' in sys.modules)
    (folder / 'said.json').write_text(json.dumps(said))

def _write(run, folder): pass
def _print(run, folder): print('loss 0.5'); print('a warning', file=sys.stderr)
def _late(run, folder):
    print('in time')
    threading.Timer(.2, lambda: print('late')).start()
def _sleep(run, folder): time.sleep(run.n_train / 1000)
def _tick(run, folder):
    "A line every moment by who works here, into a file that is opened anew each time."
    for k in range(run.n_train):
        with open(folder / 'ticks', 'a') as f: f.write(f'{k} {os.getpid()}\n')
        time.sleep(.02)
def _wait(run, folder):
    while not (folder.parent.parent / 'enough').exists(): time.sleep(.02)
def _fail(run, folder): raise ValueError('loss is NaN at step 7; lower lr')
def _quit(run, folder): sys.exit('enough')
def _exit(run, folder): print('adieu'); os._exit(3)
def _kill(run, folder): os.kill(os.getpid(), signal.SIGKILL)
def _segfault(run, folder): os.kill(os.getpid(), signal.SIGSEGV)

def _orphan(run, folder):
    "Dies, and leaves a process that holds its pipes open."
    if pid := os.fork():
        (folder / 'orphan').write_text(str(pid))
        os._exit(3)
    time.sleep(60)

def _flaky(run, folder):
    "Fails once; the second time it finds what it left."
    if (folder / 'checkpoint').exists(): return
    (folder / 'checkpoint').write_text('half')
    raise RuntimeError('the first time')

def _long(run, folder):
    "Half of the work, then a minute of waiting; the second time, the other half."
    if (folder / 'checkpoint').exists(): return
    (folder / 'checkpoint').write_text('half')
    time.sleep(60)

def alive(pid):
    "Does a process live? One that is dead and not yet fetched by its parent does not."
    try: return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError: return False
