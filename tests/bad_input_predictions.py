"What the table must refuse, with what the message must say; run by the one shared test."
import numpy as np
from plcal_study.measure.predictions import check_labels, check_logits, check_pairs, check_scores, from_grades, from_logits, load, pair, select

g = from_grades([.9, .6], [1, 0], ['a', 'b'])
both = [('check_pairs', check_pairs), ('check_scores', check_scores)]

CASES = [(f'{name}: {fault}', lambda check=check, args=args: check(*args), ValueError, says) for name, check in both for fault, args, says in [
    ('empty',            ([], []),                          'is empty'),
    ('a number',         (.5, 1),                           'must have shape (n,), got ()'),
    ('two dimensions',   ([[.5, .2]], [[1, 0]]),            'got (1, 2)'),
    ('text',             (['a'], [1]),                      'must be numbers, got <U1'),
    ('complex',          ([.5j], [1]),                      'must be numbers, got complex128'),
    ('objects',          ([None, .5], [1, 0]),              'must be numbers, got object'),
    ('dates',            (np.array(['2020'], 'M8[Y]'), [1]), 'must be numbers'),
    ('NaN',              ([.5, np.nan], [1, 0]),            'got nan in row 1'),
    ('infinite',         ([.5, -np.inf], [1, 0]),           'got -inf in row 1'),
    ('lengths differ',   ([.5, .2], [1]),                   'correct must have shape (2,) like the confidence, got (1,)'),
    ('column of grades', ([.5, .2], [[1], [0]]),            'correct must have shape (n,)'),
    ('labels',           ([.5, .2], [1, 3]),                'got 3.0; labels instead of grades?'),
    ('-1 and 1',         ([.5, .2], [1, -1]),               'got -1'),
    ('NaN grade',        ([.5, .2], [1, np.nan]),           'got nan'),
    ('words for grades', ([.5, .2], ['right', 'wrong']),    'correct must be numbers')]]
CASES += [
    ('check_pairs: percentages',     lambda: check_pairs([90., 80.], [1, 0]), ValueError, 'got 90.0 in row 0; logits or percentages?'),
    ('check_pairs: one ulp above 1', lambda: check_pairs([.5, np.nextafter(1, 2)], [1, 0]), ValueError, 'in row 1'),
    ('check_pairs: just below 0',    lambda: check_pairs([.5, -5e-324], [1, 0]), ValueError, 'in row 1'),
    ('check_labels: letters',        lambda: check_labels(['A'], np.array([4])), ValueError, 'map letters or strings'),
    ('check_labels: fractions',      lambda: check_labels([1.], np.array([4])), ValueError, 'label must be integers'),
    ('check_labels: booleans',       lambda: check_labels([True], np.array([2])), ValueError, 'label must be integers'),
    ('check_labels: lists',          lambda: check_labels([[1]], np.array([4])), ValueError, 'label must have shape'),
    ('check_labels: -100',           lambda: check_labels([-100], np.array([4])), ValueError, 'got -100 in row 0'),
    ('check_labels: from 1',         lambda: check_labels([4], np.array([4])), ValueError, 'do the labels count from 1?'),
    ('check_logits: text',           lambda: check_logits([['a']], [0]), ValueError, 'logits must be numbers'),
    ('check_logits: one dimension',  lambda: check_logits([1., 2.], [0, 1]), ValueError, 'shape (n, k)'),
    ('check_logits: no rows',        lambda: check_logits(np.zeros((0, 3)), []), ValueError, 'shape (n, k)'),
    ('check_logits: no options',     lambda: check_logits(np.zeros((3, 0)), [0, 0, 0]), ValueError, 'shape (n, k)'),
    ('check_logits: inf',            lambda: check_logits([[0., 1.], [np.inf, 0.]], [0, 0]), ValueError, 'logits of row 1 must be finite'),
    ('check_logits: NaN first',      lambda: check_logits([[np.nan, 0.]], [0]), ValueError, 'NaN only as padding'),
    ('check_logits: all NaN',        lambda: check_logits([[np.nan, np.nan]], [0]), ValueError, 'logits of row 0'),
    ('check_logits: all -inf',       lambda: check_logits([[-np.inf, -np.inf]], [0]), ValueError, 'logits of row 0'),
    ('check_logits: in the padding', lambda: check_logits([[0., np.nan]], [1]), ValueError, 'label must lie in [0, 1)'),
    ('from_logits: repeated uid',    lambda: from_logits([[0., 1.]] * 2, [0, 1], ['q', 'q']), ValueError, "got 'q' more than once"),
    ('from_logits: bad score',       lambda: from_logits([[0., 1.]], [0], margin=[np.inf]), ValueError, "scores['margin'] must be finite"),
    ('from_grades: uid missing',     lambda: from_grades([.5, .5], [1, 0], ['a', None]), ValueError, 'uid has a missing value in row 1'),
    ('from_grades: uid fractions',   lambda: from_grades([.5], [1], [.5]), ValueError, 'uid must be strings or integers'),
    ('from_grades: cluster short',   lambda: from_grades([.5, .5], [1, 0], cluster=['a']), ValueError, 'cluster must be strings or integers of shape (2,)'),
    ('from_grades: meta object',     lambda: from_grades([.5], [1], meta=dict(f=print)), ValueError, 'JSON values only'),
    ('select: short mask',           lambda: select(g, np.array([True])), ValueError, 'mask of shape (2,)'),
    ('select: nothing',              lambda: select(g, []), (ValueError, IndexError), ''),
    ('select: out of range',         lambda: select(g, [2]), IndexError, 'out of bounds'),
    ('pair: other questions',        lambda: pair(g, from_grades([.9, .6], [1, 0], ['a', 'c'])), ValueError, 'the same questions; 2 are in one only'),
    ('load: not there',              lambda: load('no such file.parquet'), FileNotFoundError, ''),
]
