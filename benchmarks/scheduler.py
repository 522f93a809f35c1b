"""How well would a thousand workers be used? `python benchmarks/scheduler.py` simulates it and writes results/scheduler.json.

A simulation, no measurement: the cells of the paper grids with their estimated costs are given to workers by the rules of the code itself (`_in_turn`
orders the list and a free worker takes the first cell that nobody is at, as in run_grid and run_on_ray; `_division` cuts shares).  Between cells nothing is counted: no start of
a process, no network.  The rule is held against the real runner first, on a grid of naps.  Situations:
exact      every cell takes what was estimated;
wrong      it takes that times a log-normal factor whose spread is the largest of the recorded grids (`--recorded DIR` reads them again from run.json files);
lost       workers are lost at random, on average every week or every day of work; each is back after ten minutes, and its cell goes on from its last checkpoint, at its old
           place in the order once the lock is stale (a folder that machines share), or at the end of the queue (Ray, which gives a cell up when it was lost `tries` times)."""
import argparse, heapq, importlib, inspect, itertools, json, math, os, statistics, tempfile, time

from testbed import machine, spread # sets one thread before numpy is loaded
from pathlib import Path
import numpy as np
from plcal_study.study.cli import QUESTIONS
from plcal_study.study.cluster import run_on_ray
from plcal_study.study.runs import _PATIENCE, Run, _in_turn, plan, read_cell, run_grid, wall
from plcal_study.study.shards import _division

OUT = Path(__file__).resolve().parent / "results" / "scheduler.json"
WORKERS, SEEDS, BACK, DAY = (1, 10, 100, 1000), 11, 600., 86_400.
TRIES, EVERY = (inspect.signature(run_on_ray).parameters[k].default for k in ("tries", "every"))
TARGET = .9 # of the best that is possible, max(longest cell, work / workers)


# ---- the simulation ------------------------------------------------------------------------------------------------
def through(seconds, workers, since=()):
    "When the last of the cells ends, which are taken in this order by whoever is free; workers begin at 0, or at their times in `since`."
    free = sorted(since) or [0.] * workers
    for s in seconds: heapq.heapreplace(free, free[0] + s)
    return max(free)

def through_losses(seconds, workers, life, rng, ray):
    "The same when workers are lost after so many seconds of work, on average; also how often that was, and how many cells were given up."
    left, rest, lost = [(k, k) for k in range(len(seconds))], list(seconds), [0] * len(seconds)  # (place in the order, cell)
    heapq.heapify(left)
    tick, events, idle, now, end, given_up = itertools.count(len(left)), [], workers, 0., 0., 0
    while left or events:
        while left and idle:
            _, cell = heapq.heappop(left)
            idle -= 1
            dies = rng.exponential(life)
            heapq.heappush(events, (now + min(dies, rest[cell]), next(tick), "lost" if dies < rest[cell] else "done", cell, dies))
        now, _, what, cell, worked = heapq.heappop(events)
        if what in ("done", "back"): idle += 1
        if what == "done": end = max(end, now)
        if what == "again": heapq.heappush(left, (next(tick) if ray else cell, cell))
        if what == "lost":
            rest[cell] -= worked // EVERY * EVERY
            lost[cell] += 1
            heapq.heappush(events, (now + BACK, next(tick), "back", cell, 0.))
            if ray and lost[cell] == TRIES: given_up += 1
            else: heapq.heappush(events, (now + (1 if ray else _PATIENCE), next(tick), "again", cell, 0.))
    return end, sum(lost), given_up

def shares(cells, seconds, workers):
    "When the last share ends, each on a machine of its own."
    share, load = _division(list(zip(cells.id, cells.seconds, strict=True)), workers), dict.fromkeys(range(1, workers + 1), 0.)
    for i, s in zip(cells.id, seconds, strict=True): load[share[i]] += s
    return max(load.values())


# ---- one grid ------------------------------------------------------------------------------------------------------
def row(name, cells, workers, sigma):
    "`cells` as listed; every situation and order, over seeds."
    turn, said = _in_turn(cells).index.to_numpy(), cells.seconds.to_numpy()
    found = {}
    def note(key, seconds, ends, **more):
        best = wall(seconds, workers)
        x = found.setdefault(key, dict(efficiency=[], of_best=[]))
        x["efficiency"].append(seconds.sum() / workers / ends)
        x["of_best"].append(best / ends)
        for k, v in more.items(): x.setdefault(k, []).append(v)
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, workers])
        for situation, true in (("exact", said), ("wrong", said * np.exp(rng.normal(0, sigma, len(said))))):
            if situation == "wrong" or not seed:
                note(f"{situation}, longest first", true, through(true[turn], workers))
                note(f"{situation}, as listed", true, through(true, workers))
                note(f"{situation}, shares", true, shares(cells, true, workers))
            note(f"{situation}, at random", true, through(rng.permutation(true), workers))
        for every, life in (("week", 7 * DAY), ("day", DAY)):
            for how, ray in (("folder", False), ("Ray", True)):
                ends, lost, given_up = through_losses(said[turn], workers, life, rng, ray)
                note(f"lost every {every}, {how}", said, ends, lost=lost, given_up=given_up)
    return dict(grid=name, workers=workers, cells=len(said), work_hours=said.sum() / 3600, useful_workers=said.sum() / said.max(), longest_hours=said.max() / 3600, hours=wall(said, workers) / 3600,
                best=said.sum() / workers / wall(said, workers), situations={k: {m: spread(x) for m, x in v.items()} for k, v in found.items()})

def grids():
    "The paper grids, all of them together, and one that is not bound by its longest cell."
    every, out = [], {}
    for q, module in QUESTIONS.items():
        m = importlib.import_module(module)
        every.append(out.setdefault(q, plan(m.grid("paper"), m.cost)))
    import pandas as pd
    out["all"] = pd.concat(every, ignore_index=True)
    seconds = 3600 * np.exp(np.random.default_rng(0).normal(0, .5, 20_000))
    out["20,000 cells of about an hour"] = pd.DataFrame(dict(id=[f"{i:05}" for i in range(len(seconds))], seconds=seconds))
    return out


# ---- what is held against it ---------------------------------------------------------------------------------------
def nap(run: Run, folder: Path):
    begin = time.monotonic()
    time.sleep(run.lr)
    (folder / "cell.json").write_text(json.dumps(dict(begin=begin, end=time.monotonic(), worker=os.getpid())))

def naps(workers=4, n=24):
    "The real runner on cells that sleep: from the first nap to the last, and what the simulation makes of the same naps; how long a process takes to start is not its matter."
    import scheduler # so that the workers can import what they do
    rng = np.random.default_rng(0)
    runs = [Run("nap", "a", "sleep", "none", lr=round(float(x), 3), seed=i) for i, x in enumerate(rng.exponential(2, n) + .2)]
    with tempfile.TemporaryDirectory() as d:
        run_grid(runs, scheduler.nap, d, workers, lambda r: r.lr, progress=False)
        done = [json.loads(Path(d, "runs", i, "cell.json").read_text()) for i in _in_turn(plan(runs, lambda r: r.lr)).id]
    first, last = min(c["begin"] for c in done), max(c["end"] for c in done)
    since = [min(c["begin"] for c in done if c["worker"] == w) - first for w in {c["worker"] for c in done}]
    said = through([c["end"] - c["begin"] for c in done], workers, since)
    return dict(cells=n, workers=workers, real=last - first, simulated=said, ratio=(last - first) / said)

def recorded(folder):
    "How far the cells of finished grids are from their estimates: the standard deviation of the logarithm, within a grid."
    found = []
    for grid in sorted(Path(folder).glob("*/runs")):
        cells = [read_cell(c.parent) for c in grid.glob("[0-9a-f]*/run.json")]
        x = [math.log(s / importlib.import_module(QUESTIONS[r.question]).cost(r)) for r, s in cells if r.question in QUESTIONS]
        if len(x) >= 10: found.append(dict(grid=grid.parent.name, cells=len(x), median_factor=math.exp(statistics.median(x)), sigma=statistics.stdev(x)))
    return found

if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--recorded", metavar="DIR", help="a folder of finished grids, as `plcal run` makes them; default: what the last record says of them")
    a = ap.parse_args()
    known = recorded(a.recorded) if a.recorded else json.loads(OUT.read_text())["recorded"]
    sigma, real = max(r["sigma"] for r in known), naps()
    print(f"the real runner took {real['real']:.2f} s for {real['cells']} naps, the simulation says {real['simulated']:.2f} s")
    rows = [row(name, cells, w, sigma) for name, cells in grids().items() for w in WORKERS]
    for r in rows:
        x = r["situations"]
        print(f"{r['grid']}, {r['workers']:,} workers: {100 * r['best']:.1f} % is possible, " + ", ".join(f"{k} {100 * x[k]['efficiency']['median']:.1f} %" for k in ("exact, longest first", "wrong, longest first", "wrong, shares", "lost every week, folder")))
    record = dict(machine=machine(), seeds=SEEDS, target=TARGET, sigma=sigma, recorded=known, naps=real, back=BACK, patience=_PATIENCE, every=EVERY, tries=TRIES, rows=rows)
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    if not .95 < real["ratio"] < 1.25: raise SystemExit("the simulation is not what the runner does")
