"What the calibrators must refuse, with what the message must say; run by the one shared test."
import numpy as np
from plcal_study.measure.calibrators import cross_fit, fit_beta, fit_histogram, fit_isotonic, fit_platt, fit_scaling_binning, fit_temperature, fit_vector, repair_report
from plcal_study.measure.predictions import from_grades, from_logits, select

VAL = dict(split='val')
GRADED = from_grades([.9, .8, .7, .6], [1, 0, 1, 0], meta=VAL)
SCORED = from_logits([[2., 1., 0.], [0., 1., 2.], [1., 2., 0.], [0., 1., 0.]], [0, 2, 0, 1], meta=VAL)
RIGHT = from_grades([.9, .8, .7], [1, 1, 1], meta=VAL)
WRONG = from_grades([.9, .8, .7], [0, 0, 0], meta=VAL)
RAGGED = from_logits([[2., 1., np.nan], [0., 1., 2.]], [0, 2], meta=VAL)
SHORT = from_logits([[1., 0., np.nan]] * 4, [0, 0, 1, 1], meta=VAL)
FITS = dict(temperature=fit_temperature, platt=fit_platt, beta=fit_beta, isotonic=fit_isotonic, histogram=fit_histogram, scaling_binning=fit_scaling_binning)

CASES = [(f'{name}: fitted on test', lambda f=f: f(select(GRADED, [0, 1], split='test')), ValueError, "fitted on split 'val', got 'test'") for name, f in FITS.items()]
CASES += [(f'{name}: no split named', lambda f=f: f(from_grades([.9, .8], [1, 0])), ValueError, "fitted on split 'val', got None") for name, f in FITS.items()]
CASES += [(f'{name}: all right', lambda f=f: f(RIGHT), ValueError, 'got 3 all right') for name, f in FITS.items()]
CASES += [(f'{name}: all wrong', lambda f=f: f(WRONG), ValueError, 'got 3 all wrong') for name, f in FITS.items()]
CASES += [
    ('temperature: fitted on logits of test', lambda: fit_temperature(select(SCORED, [0, 1], split='test')), ValueError, "got 'test'"),
    ('temperature: impossible label',   lambda: fit_temperature(from_logits([[0., -np.inf]], [1], meta=VAL)), ValueError, 'label of row 0 has logit -inf'),
    ('temperature: of logits, on conf', lambda: fit_temperature(SCORED)(GRADED), ValueError, 'these predictions have none'),
    ('vector: fitted on test',          lambda: fit_vector(select(SCORED, [0, 1], split='test')), ValueError, "got 'test'"),
    ('vector: no logits',               lambda: fit_vector(GRADED), ValueError, 'these predictions have none'),
    ('vector: options differ by row',   lambda: fit_vector(RAGGED), ValueError, 'k finite logits'),
    ('vector: class never seen',        lambda: fit_vector(select(SCORED, [0, 1, 2])), ValueError, '1 is in no row of 3'),
    ('vector: other k',                 lambda: fit_vector(SCORED)(from_logits([[1., 0.]], [0])), ValueError, '3 columns as in the fit, got 2'),
    ('histogram: no bins',              lambda: fit_histogram(GRADED, bins=0), ValueError, 'bins'),
    ('scaling_binning: no bins',        lambda: fit_scaling_binning(GRADED, bins=0), ValueError, 'bins'),
    ('cross_fit: one fold',             lambda: cross_fit(GRADED, fit_platt, folds=1), ValueError, 'folds must lie in [2, 4]'),
    ('cross_fit: too many folds',       lambda: cross_fit(GRADED, fit_platt, folds=5), ValueError, 'the number of answers, got 5'),
    ('cross_fit: few clusters',         lambda: cross_fit(from_grades([.9, .8, .7], [1, 0, 1], cluster=['a', 'a', 'a']), fit_platt, folds=2), ValueError, 'the number of clusters'),
    ('cross_fit: a fold of one class',  lambda: cross_fit(from_grades([.9, .8, .7, .6], [1, 1, 1, 0]), fit_platt, folds=4), ValueError, 'of 4: correct must hold right and wrong'),
    ('report: unknown method',          lambda: repair_report(GRADED, methods=['magic']), ValueError, "got 'magic'"),
    ('report: one class',               lambda: repair_report(from_grades([.9] * 9, [1] * 9)), ValueError, 'fit without fold 0 of 5'),
    ('report: vector on ragged',        lambda: repair_report(SHORT, methods=['vector'], folds=2), ValueError, 'k finite logits'),
]
