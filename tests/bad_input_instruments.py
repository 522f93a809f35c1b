"What the simulation of the instruments does not answer with a number."
import numpy as np
from plcal_study.study.instruments import Cell, bias_cells, bias_row, cells, population, sample, trial_row

CASES = [
    ('population: no such confidences', lambda: population('flat', 'none'), ValueError, "conf must be one of ['spread'"),
    ('population: no such fault', lambda: population('spread', '.5'), ValueError, "how must be one of ['none'"),
    ('sample: no questions', lambda: sample(np.random.default_rng(0), population('two', 'none'), 0), ValueError, 'n must be at least 1, got 0'),
    ('cells: too few draws', lambda: cells(5), ValueError, 'draws must be at least 10, got 5'),
    ('bias_cells: too few draws', lambda: bias_cells(0), ValueError, 'draws must be at least 10, got 0'),
    ('bias_row: no such population', lambda: bias_row('spread', 'bad', 100, False, 2), ValueError, 'how must be one of'),
    ('bias_row: no draws', lambda: bias_row('spread', 'none', 100, False, 0), ValueError, 'draws must be at least 1, got 0'),
    ('trial_row: no such instrument', lambda: trial_row(Cell('guess', '', 0., 10, 0, 1)), ValueError, 'instrument must be one of'),
    ('trial_row: no draws', lambda: trial_row(Cell('wilson', 'spread, none', 0., 10, 0, 0)), ValueError, 'draws must be at least 1, got 0'),
]
