"The simulation of the scheduler, by hand and against slower code; `python benchmarks/scheduler.py` holds it against the real runner."
import importlib.util, sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from plcal_study.study.runs import Run, _in_turn, plan, run_id, wall
from plcal_study.study.shards import shard

BENCH = Path(__file__).parents[1] / 'benchmarks'

@pytest.fixture(scope='module')
def sim():
    sys.path.insert(0, str(BENCH)) # it reads testbed.py beside it
    try:
        spec = importlib.util.spec_from_file_location('scheduler_bench', BENCH / 'scheduler.py')
        spec.loader.exec_module(m := importlib.util.module_from_spec(spec))
    finally: sys.path.remove(str(BENCH))
    return m


def slow(seconds, workers):
    "Tick by tick."
    left, busy, now = list(seconds), [0] * workers, 0
    while left or any(busy):
        busy = [left.pop(0) if not b and left else b for b in busy]
        busy, now = [max(b - 1, 0) for b in busy], now + 1
    return now

@pytest.mark.parametrize('seconds, workers, end', [([3, 2, 2], 2, 4), ([2, 2, 3], 2, 5), ([5], 3, 5), ([1, 1, 1, 1], 1, 4)])
def test_by_hand(sim, seconds, workers, end):
    assert sim.through(seconds, workers) == sim.through_losses(seconds, workers, 1e30, np.random.default_rng(0), False)[0] == end

@pytest.mark.parametrize('seed', range(5))
def test_tick_by_tick(sim, seed):
    rng = np.random.default_rng(seed)
    seconds, workers = rng.integers(1, 30, 40).tolist(), int(rng.integers(1, 12))
    assert sim.through(seconds, workers) == slow(seconds, workers) == sim.through_losses(seconds, workers, 1e30, rng, True)[0]
    assert wall(seconds, workers) <= sim.through(sorted(seconds, reverse=True), workers) <= wall(seconds, workers) + max(seconds)

def test_workers_that_begin_later(sim):
    assert sim.through([4, 2, 2], 2, [0, 3]) == 6 # 0–4; 3–5; 4–6

def test_lost_workers_cost_what_is_not_kept_and_what_is_waited(sim):
    rng = np.random.default_rng(0)
    plain = sim.through([7200.] * 40, 10)
    for ray in (False, True):
        end, lost, given_up = sim.through_losses([7200.] * 40, 10, 86_400., rng, ray)
        assert lost > 0 and not given_up and plain < end < 1.5 * plain
    end, lost, given_up = sim.through_losses([86_400. * 30], 1, 86_400., rng, True) # 30 days with a loss a day
    assert (lost, given_up) == (sim.TRIES, 1)
    end, lost, given_up = sim.through_losses([86_400. * 30], 1, 86_400., rng, False)
    assert given_up == 0 and 10 < lost < 70 and end == pytest.approx(86_400 * 30 + lost * sim.BACK, abs=lost * sim.EVERY)

def test_shares_are_those_of_the_command(sim):
    runs = [Run('toy', 'a', 'coin', 'none', n_train=n, seed=s) for n in (10, 40, 80, 5) for s in range(5)]
    def cost(r): return float(r.n_train)
    cells = plan(runs, cost)
    for n in (1, 3, 7, 30): assert sim.shares(cells, cells.seconds, n) == max(sum(map(cost, shard(runs, i, n, cost))) for i in range(1, n + 1))
    assert _in_turn(cells).seconds.tolist() == sorted(cells.seconds, reverse=True)
    assert _in_turn(cells).id.tolist()[:5] == [run_id(r) for r in runs if r.n_train == 80] # equal ones as they are listed

def test_a_row(sim, monkeypatch):
    monkeypatch.setattr(sim, 'SEEDS', 2)
    r = sim.row('toy', pd.DataFrame(dict(id=['a', 'b', 'c'], seconds=[3600., 3600., 7200.])), 2, .5)
    assert (r['cells'], r['work_hours'], r['longest_hours'], r['hours'], r['best'], r['useful_workers']) == (3, 4, 2, 2, 1, 2)
    assert r['situations']['exact, longest first']['efficiency']['median'] == 1 and r['situations']['exact, as listed']['efficiency']['median'] == pytest.approx(2 / 3)
    assert all(0 < x['of_best']['max'] <= 1 + 1e-9 for k, x in r['situations'].items() if not x.get('given_up', dict(max=0))['max'])
