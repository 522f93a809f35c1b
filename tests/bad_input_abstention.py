"Bad inputs of `plcal_study.measure.abstention`: (name, call, exception, part of the message)."
import numpy as np
from plcal_study.measure.abstention import (best_threshold, certify_threshold, draw_abstention, draw_certified, evaluate_plaut, fit_threshold_plaut,
                                            grid_certified, grid_plaut, score_at, split_plaut, sweep)

S, C = np.array([.1, .5, .9]), np.array([0, 1, 1])
CASES = [
    ('abstention: nan threshold', lambda: score_at(S, C, np.nan), ValueError, 'threshold must be a number'),
    ('abstention: negative penalty', lambda: score_at(S, C, .5, -1), ValueError, 'penalty must be one number of at least 0, got -1'),
    ('abstention: nan penalty', lambda: sweep(S, C, np.nan), ValueError, 'penalty must be one number'),
    ('abstention: two penalties', lambda: sweep(S, C, [1, 2]), ValueError, 'penalty must be one number'),
    ('abstention: nan score', lambda: sweep([.1, np.nan, .2], C), ValueError, 'score must be finite'),
    ('abstention: labels for grades', lambda: best_threshold(S, [0, 1, 2]), ValueError, 'labels instead of grades'),
    ('abstention: column of grades', lambda: best_threshold(S, C[:, None]), ValueError, 'correct must have shape (n,), got (3, 1)'),
    ('abstention: no questions', lambda: sweep([], []), ValueError, 'score is empty'),
    ('abstention: all labelled', lambda: split_plaut(5, 5), ValueError, 'k must lie in 1'),
    ('abstention: none labelled', lambda: split_plaut(5, 0), ValueError, 'k must lie in 1'),
    ('abstention: grid up to 0', lambda: grid_plaut(0.), ValueError, 'top must be a positive number'),
    ('abstention: grid up to nan', lambda: grid_plaut(np.nan), ValueError, 'top must be a positive number'),
    ('abstention: no sets', lambda: fit_threshold_plaut([], 1, [0., 1.]), ValueError, 'sets is empty'),
    ('abstention: nothing to judge', lambda: evaluate_plaut([], .5, 1), ValueError, 'sets is empty'),
    ('abstention: falling grid', lambda: fit_threshold_plaut([(S, C)], 1, [1., 0.]), ValueError, 'grid must be thresholds in rising order'),
    ('abstention: nan in grid', lambda: fit_threshold_plaut([(S, C)], 1, [0., np.nan]), ValueError, 'grid must be thresholds in rising order'),
    ('abstention: empty grid', lambda: draw_abstention([(S, C)], 1, 1, []), ValueError, 'grid must be thresholds in rising order'),
    ('abstention: k of the whole set', lambda: draw_abstention([(S, C)], 3, 1, [0., 1.]), ValueError, 'from 1 to below the size of each set, got 3'),
    ('abstention: fractional k', lambda: draw_abstention([(S, C)], .5, 1, [0., 1.]), ValueError, 'k must be whole numbers'),
    ('abstention: k for other sets', lambda: draw_abstention([(S, C)], [1, 1], 1, [0., 1.]), ValueError, 'k must be whole numbers'),
    ('abstention: no draws', lambda: draw_abstention([(S, C)], 1, 1, [0., 1.], draws=0), ValueError, 'draws must be at least 1'),
    ('abstention: risk in percent', lambda: certify_threshold(S, C, [.5], 20), ValueError, 'risk must lie strictly between 0 and 1, got 20'),
    ('abstention: delta 0', lambda: certify_threshold(S, C, [.5], .2, 0), ValueError, 'delta must lie strictly between 0 and 1'),
    ('abstention: nan risk', lambda: grid_certified(S, 10, np.nan), ValueError, 'risk must lie strictly'),
    ('abstention: no labels to come', lambda: grid_certified(S, 0, .2), ValueError, 'k and steps must be at least 1'),
    ('abstention: unequal k with a promise', lambda: draw_certified([(S, C), (S, C)], [1, 2], .2, [.5]), ValueError, 'k must be one whole number'),
]
