"on_ray.py FOLDER PLACE: a cluster of two nodes on this machine does a grid into PLACE; one node is killed in the middle. Prints what became of it, as JSON."
import json, os, shutil, socket, sys, tempfile, threading, time
from pathlib import Path

temp = tempfile.mkdtemp(prefix='ray') # all that Ray writes
os.mkdir(ray_home := os.path.join(temp, 'ray'))
os.environ.update(RAY_TMPDIR=temp, RAY_AUTH_MODE='disabled', RAY_USAGE_STATS_ENABLED='0', FAULTY_PAUSE='.4')
from ray.cluster_utils import Cluster
import faulty
from plcal_study.study import cluster as C

diary, place = Path(sys.argv[1]) / 'diary.txt', sys.argv[2]
os.environ['FAULTY_DIARY'] = str(diary)
def free():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def own():
    "A node of one core; its ports are said, since otherwise it waits for a helper to choose them, and on a busy machine not long enough."
    return dict(num_cpus=1, object_store_memory=80 * 2**20) | {k: free() for k in ('metrics_agent_port', 'metrics_export_port', 'dashboard_agent_listen_port', 'runtime_env_agent_port')}

def started(make):
    "Ray gives the helpers of a node a quarter of a minute to start, which is short on a busy machine: so try again."
    for _ in range(5):
        try: return make()
        except Exception as e: print('a node of Ray did not start:', e, file=sys.stderr)
    sys.exit(77)

nodes = started(lambda: Cluster(initialize_head=True, head_node_args=own() | dict(temp_dir=ray_home, include_dashboard=False)))
second = started(lambda: nodes.add_node(**own()))
said = {}

def kill():
    "When two cells are at work there is one on each node; give them time for a checkpoint."
    def lines(): return [w.split() for w in diary.read_text().splitlines()] if diary.exists() else []
    while sum(w[0] == 'began' for w in lines()) - sum(w[0] == 'ended' for w in lines()) < 2: time.sleep(.05)
    time.sleep(2.5)
    said['before'] = len(lines())
    nodes.remove_node(second, allow_graceful=False)

threading.Thread(target=kill, daemon=True).start()
grid = faulty.grid('smoke')
s = C.run_on_ray(grid, faulty.work, place, nodes.address, faulty.cost, every=.5)
again = C.run_on_ray(grid, faulty.work, place, nodes.address, faulty.cost, every=.5, progress=False)
print(json.dumps(said | dict(done=s.done, skipped=s.skipped, failed=s.failed, seconds=s.seconds, again=again.skipped, diary=diary.read_text())))
nodes.shutdown()
shutil.rmtree(temp, ignore_errors=True)
