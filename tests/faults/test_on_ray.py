"A grid over a Ray cluster: a node is killed in the middle; every cell ends once, with the bytes of an undisturbed run."
import importlib.util, json, os, subprocess, sys
from pathlib import Path
import pytest
import faulty
from plcal_study.study.runs import run_grid, run_id, status
from plcal_study.study.shards import gather
from test_kill import results

if importlib.util.find_spec('ray') is None: pytest.skip("ray is not installed: pip install 'plcal_study[ray]' to test grids over a cluster", allow_module_level=True)
HERE = Path(__file__).parent

@pytest.mark.parametrize('kind', ['folder', 'address'])
def test_a_node_that_is_killed_loses_nothing(tmp_path, kind):
    grid, out = faulty.grid('smoke'), tmp_path / 'out'
    run_grid(grid, faulty.work, tmp_path / 'undisturbed', progress=False)
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(HERE), *sys.path]), PYTHONWARNINGS='ignore')
    p = subprocess.run([sys.executable, str(HERE / 'on_ray.py'), str(tmp_path), str(out) if kind == 'folder' else f'file://{out}'], env=env, capture_output=True, text=True, timeout=500)
    if p.returncode == 77: pytest.skip('no node of Ray has started in five tries; this machine is too busy')
    assert p.returncode == 0, p.stderr
    said = json.loads(p.stdout.splitlines()[-1])
    ids = {run_id(r) for r in grid}
    assert set(said['done']) == ids == set(said['again']) and not said['failed'] and not said['skipped']
    assert 'was lost; it goes on elsewhere' in p.stderr
    lines = [w.split() for w in said['diary'].splitlines()]
    began, ended = ([w[1] for w in lines if w[0] == what] for what in ('began', 'ended'))
    assert sorted(ended) == sorted(ids) and len(began) == len(ids) + 1, 'one cell began twice, and none ended twice'
    first = [w[1] for w in lines[:2]]
    assert set(first) == {run_id(r) for r in sorted(grid, key=faulty.cost)[-2:]}, 'the dearest cells go first'
    if kind == 'address':
        assert not list(out.glob('runs/*.unfinished')), 'what is finished needs no copy of its half'
        assert len(gather([f'file://{out}'], tmp_path / 'here').came) == len(ids)
        out = tmp_path / 'here'
    assert results(out) == results(tmp_path / 'undisturbed') and set(status(out).state) == {'done'}
