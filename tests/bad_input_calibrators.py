"What the calibrators must refuse, with what the message must say; run by the one shared test."
import numpy as np
from plcal_study.measure.calibrators import (cross_fit, fit_beta, fit_histogram, fit_isotonic, fit_platt, fit_scaling_binning, fit_temperature,
                                             fit_temperature_chen, fit_vector, pool, repair_report)
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
    ('chen: fitted on test',            lambda: fit_temperature_chen(select(SCORED, [0, 1], split='test')), ValueError, "fitted on split 'val', got 'test'"),
    ('chen: no logits',                 lambda: fit_temperature_chen(GRADED), ValueError, 'needs logits, these predictions have none; use fit_temperature'),
    ('chen: impossible label',          lambda: fit_temperature_chen(from_logits([[0., -np.inf]], [1], meta=VAL)), ValueError, 'label of row 0 has logit -inf'),
    ('chen: no steps',                  lambda: fit_temperature_chen(SCORED, steps=0), ValueError, 'steps must be a whole number of at least 1, got 0'),
    ('chen: half a step',               lambda: fit_temperature_chen(SCORED, steps=2.5), ValueError, 'got 2.5'),
    ('chen: T beyond 0',                lambda: fit_temperature_chen(from_logits([[1e-5, 0.]] * 4, [0, 0, 0, 1], meta=VAL)), ValueError, 'T must stay above 0, got -'),
    ('chen: T beyond 0 in the end',     lambda: fit_temperature_chen(from_logits([[1e-5, 0.]] * 4, [0, 0, 0, 1], meta=VAL), steps=106), ValueError, 'in step 106 of AdamW; use fit_temperature'),
    ('vector: fitted on test',          lambda: fit_vector(select(SCORED, [0, 1], split='test')), ValueError, "got 'test'"),
    ('vector: no logits',               lambda: fit_vector(GRADED), ValueError, 'these predictions have none'),
    ('vector: options differ by row',   lambda: fit_vector(RAGGED), ValueError, 'k finite logits'),
    ('vector: class never seen',        lambda: fit_vector(select(SCORED, [0, 1, 2])), ValueError, '1 is in no row of 3'),
    ('vector: other k',                 lambda: fit_vector(SCORED)(from_logits([[1., 0.]], [0])), ValueError, '3 columns as in the fit, got 2'),
    ('histogram: no bins',              lambda: fit_histogram(GRADED, bins=0), ValueError, 'bins'),
    ('scaling_binning: no bins',        lambda: fit_scaling_binning(GRADED, bins=0), ValueError, 'bins'),
    ('pool: no member',                 lambda: pool([]), ValueError, 'at least 2 members, got 0'),
    ('pool: one member',                lambda: pool([SCORED]), ValueError, 'at least 2 members, got 1; one model is no ensemble'),
    ('pool: not a list',                lambda: pool(SCORED), TypeError, 'not iterable'),
    ('pool: no logits',                 lambda: pool([SCORED, SCORED, GRADED]), ValueError, 'member 2 must have logits'),
    ('pool: first without logits',      lambda: pool([GRADED, SCORED]), ValueError, 'member 0 must have logits'),
    ('pool: a question is missing',     lambda: pool([SCORED, SCORED, select(SCORED, [0, 1, 2])]), ValueError, "member 2 against member 0: both must answer the same questions; 1 are in one only, e.g. '3'"),
    ('pool: labels differ',             lambda: pool([SCORED, from_logits(SCORED.logits, [0, 2, 1, 1], meta=VAL)]), ValueError, "member 1 against member 0: label differs for question '2'"),
    ('pool: another number of options', lambda: pool([SCORED, from_logits(np.c_[SCORED.logits, np.zeros(4)], SCORED.label)]), ValueError, 'member 1 must have as many options as member 0'),
    ('pool: fewer options in a row',    lambda: pool([select(SCORED, [2, 3]), from_logits([[0., 1., 2.], [1., 0., np.nan]], [0, 1], uid=[2, 3])]), ValueError, "for question '3'"),
    ('pool: other clusters',            lambda: pool([from_logits([[1., 0.]] * 2, [0, 1], cluster=c) for c in (['a', 'b'], ['a', 'a'])]), ValueError, 'member 1 must have the clusters of member 0'),
    ('pool: clusters in one only',      lambda: pool([from_logits([[1., 0.]] * 2, [0, 1], cluster=c) for c in (None, ['a', 'a'])]), ValueError, 'the clusters of member 0, got others'),
    ('cross_fit: one fold',             lambda: cross_fit(GRADED, fit_platt, folds=1), ValueError, 'folds must lie in [2, 4]'),
    ('cross_fit: too many folds',       lambda: cross_fit(GRADED, fit_platt, folds=5), ValueError, 'the number of answers, got 5'),
    ('cross_fit: few clusters',         lambda: cross_fit(from_grades([.9, .8, .7], [1, 0, 1], cluster=['a', 'a', 'a']), fit_platt, folds=2), ValueError, 'the number of clusters'),
    ('cross_fit: a fold of one class',  lambda: cross_fit(from_grades([.9, .8, .7, .6], [1, 1, 1, 0]), fit_platt, folds=4), ValueError, 'of 4: correct must hold right and wrong'),
    ('report: unknown method',          lambda: repair_report(GRADED, methods=['magic']), ValueError, "got 'magic'"),
    ('report: one class',               lambda: repair_report(from_grades([.9] * 9, [1] * 9)), ValueError, 'fit without fold 0 of 5'),
    ('report: vector on ragged',        lambda: repair_report(SHORT, methods=['vector'], folds=2), ValueError, 'k finite logits'),
]
