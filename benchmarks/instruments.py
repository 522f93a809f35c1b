"""The truth of the instruments: `python benchmarks/instruments.py [--draws N] [--out data/records]` simulates every estimator, interval, test and verdict
of the package on populations whose truth is known, and writes instruments_bias.csv, instruments_trials.csv and instruments_about.json.
A cell that stands in the records with the same number of data sets is not made again, so a run that was stopped goes on; delete its row to make it anew."""
import argparse, json, platform, time
from datetime import date
from pathlib import Path
import numpy, pandas as pd, scipy
from tqdm import tqdm
from plcal_study.measure.predictions import atomic_write
from plcal_study.study.instruments import Cell, bias_cells, bias_row, cells, trial_row


def table(file, keys, todo, make, bar):
    "Fill a table of records with the cells that are missing; the order is that of `todo`."
    old = pd.read_csv(file).to_dict('records') if file.exists() else []
    done = {tuple(str(r[k]) for k in keys): r for r in old}
    for cell in todo:
        key = tuple(str(cell[k]) for k in keys)
        bar.set_postfix_str(' '.join(key)[:60], refresh=False)
        if key not in done:
            done[key] = make(cell)
            rows = [done[k] for k in (tuple(str(c[k]) for k in keys) for c in todo) if k in done]
            atomic_write(file, pd.DataFrame(rows).to_csv(index=False))
        bar.update()


if __name__ == '__main__':
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument('--draws', type=int, default=500, help='data sets of a cell of middling cost (default 500: about eight minutes of one core)')
    ask.add_argument('--out', type=Path, default=Path(__file__).parents[1] / 'data' / 'records')
    said = ask.parse_args()
    trials, biases = [c._asdict() for c in cells(said.draws)], [d | dict(clustered=int(d['clustered'])) for d in bias_cells(said.draws)]
    start = time.process_time()
    with tqdm(total=len(trials) + len(biases), mininterval=5, unit='cell') as bar:
        table(said.out / 'instruments_trials.csv', Cell._fields, trials, lambda c: trial_row(Cell(**c)), bar)
        table(said.out / 'instruments_bias.csv', ('conf', 'how', 'n', 'clustered', 'draws'), biases, lambda d: bias_row(**d | dict(clustered=bool(d['clustered']))), bar)
    about = dict(date=str(date.today()), draws=said.draws, cells=len(trials), bias_cells=len(biases), processor_seconds_of_the_last_sitting=round(time.process_time() - start),
                 python=platform.python_version(), numpy=numpy.__version__, scipy=scipy.__version__)
    atomic_write(said.out / 'instruments_about.json', json.dumps(about, indent=1) + '\n')
