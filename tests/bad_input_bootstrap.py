"Bad inputs of the bootstrap, and the part of the message that names the fault."
import numpy as np
from plcal_study.measure.bootstrap import (auroc_draws, auroc_intervals, bootstrap, bootstrap_diff, ece_interval, mean_draws,
                                           permutation_test, resample_counts)
from plcal_study.measure.metrics import auroc, brier_top

C, Y = [.9, .8, .4, .6], [1, 1, 0, 0]
CASES = [
    ('level as a percentage',    lambda: bootstrap(auroc, C, Y, level=95),                       ValueError, 'level must lie between 0 and 1, got 95'),
    ('no draws',                 lambda: bootstrap(auroc, C, Y, draws=0),                        ValueError, 'draws must be an integer of at least 2, got 0'),
    ('draws as a float',         lambda: auroc_draws(C, Y, draws=1e3),                           ValueError, 'draws must be an integer of at least 2, got 1000.0'),
    ('draws of counts',          lambda: resample_counts(4, draws=0),                            ValueError, 'draws must be an integer'),
    ('no units',                 lambda: resample_counts(0),                                     ValueError, 'units must be at least 1, got 0'),
    ('unknown method',           lambda: bootstrap(auroc, C, Y, method='BCA'),                   ValueError, "method must be one of ('percentile', 'basic', 'bca'), got 'BCA'"),
    ('unknown one_class',        lambda: auroc_draws(C, Y, one_class='drop'),                    ValueError, "one_class must be one of"),
    ('unequal lengths',          lambda: bootstrap(brier_top, C, Y[:3]),                         ValueError, 'same number of rows, got [4, 3]'),
    ('no arrays',                lambda: bootstrap(np.mean),                                     ValueError, 'at least one array'),
    ('a single row',             lambda: bootstrap(np.mean, [1.]),                               ValueError, 'at least 2 rows'),
    ('missing value',            lambda: bootstrap(np.mean, [1., np.nan, 2.]),                   ValueError, 'must be finite on the full data, got nan'),
    ('missing score',            lambda: mean_draws([1., np.nan]),                               ValueError, 'must be finite, got nan in row 1'),
    ('one class',                lambda: auroc_draws(C, [1, 1, 1, 1]),                           ValueError, 'must hold right and wrong answers for an AUROC'),
    ('one class among many',     lambda: auroc_intervals([(C, Y), (C, [0, 0, 0, 0])]),           ValueError, 'must hold right and wrong answers for an AUROC'),
    ('one class in resamples',   lambda: auroc_draws(C, Y, one_class='error'),                   ValueError, 'resamples have no value (one class only)'),
    ('cluster of wrong length',  lambda: bootstrap(auroc, C, Y, cluster=['a', 'b']),             ValueError, 'cluster must have shape (4,)'),
    ('cluster of floats',        lambda: bootstrap(auroc, C, Y, cluster=[1., 2., np.nan, 3.]),   ValueError, 'cluster must be names or integers, got float64'),
    ('cluster with a gap',       lambda: bootstrap(auroc, C, Y, cluster=['a', None, 'b', 'b']),  ValueError, 'cluster has a missing value in row 1'),
    ('one cluster',              lambda: bootstrap(auroc, C, Y, cluster=['a'] * 4),              ValueError, 'at least 2 clusters, got 1'),
    ('strata cut a cluster',     lambda: bootstrap(auroc, C, Y, cluster=[1, 2, 2, 1], strata=Y), ValueError, 'strata must not cut a cluster in two'),
    ('strata of wrong length',   lambda: bootstrap(auroc, C, Y, strata=[1, 2]),                  ValueError, 'strata must have shape (4,)'),
    ('nothing to stratify by',   lambda: bootstrap(np.mean, C, one_class='stratify'),            ValueError, 'needs 0/1 grades as the last array'),
    ('stratify a difference',    lambda: bootstrap_diff(auroc, (C, Y), (C, Y), one_class='stratify'), ValueError, 'ambiguous for two models'),
    ('two sets of questions',    lambda: bootstrap_diff(auroc, (C, Y), (C[:3], Y[:3])),          ValueError, 'same number of rows, got [4, 3]'),
    ('swap of unequal shapes',   lambda: permutation_test(brier_top, (C, Y), (C[:3], Y[:3])),    ValueError, 'arrays of the same shapes'),
    ('swap of missing values',   lambda: permutation_test(np.mean, [[1., np.nan]], [[1., 2.]]),  ValueError, 'must be finite'),
    ('percentages',              lambda: ece_interval([90., 80.], [1, 0]),                       ValueError, 'conf must lie in [0, 1]'),
    ('no bins',                  lambda: ece_interval(C, Y, bins=0),                             ValueError, 'bins'),
    ('negative seed',            lambda: auroc_draws(C, Y, seed=-1),                             ValueError, 'seed must be an integer of at least 0, got -1'),
    ('no threads',               lambda: auroc_intervals([(C, Y)], threads=0),                   ValueError, 'threads'),
]
