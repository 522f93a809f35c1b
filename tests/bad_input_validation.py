"What validation must refuse, and what it must say."
import tempfile
import numpy as np, pandas as pd
from plcal_study.lm import testbed, validation as v
from plcal_study.lm.examples import Examples
from plcal_study.measure.predictions import from_grades

e = testbed.text_world(k=2, vocab=60, topics=1, seed=0).sample(20, 0)
plain = Examples(['a', 'b'], ['x', 'y'], None)
graded = from_grades([.9, .4], [1, 0], ['a', 'b'])
table = pd.DataFrame(dict(accuracy=[.5, .6], nll=[np.nan, np.nan]))
space = dict(x=(0., 1.))
def seek(space=space, evaluate=lambda c, report: dict(nll=c['x']), **kw): return v.search(space, evaluate, tempfile.mkdtemp(), **(dict(trials=2) | kw))

CASES = [
    ('grades without logits', lambda: v.signals(graded), ValueError, 'signals need logits and labels'),
    ('a signal that there is not', lambda: v.best(table, 'beauty'), ValueError, "and in the table, got 'beauty'; the table has accuracy, nll"),
    ('a column that is not there', lambda: v.best(table, '+words'), ValueError, "got '+words'"),
    ('a signal that nobody has', lambda: v.best(table, 'nll'), ValueError, 'no candidate has a value of nll'),
    ('one fold', lambda: v.folds(e, 1), ValueError, 'k must be a whole number of at least 2, got 1'),
    ('no repeat', lambda: v.folds(e, 5, 0), ValueError, 'repeats must be a whole number of at least 1, got 0'),
    ('another kind of fold', lambda: v.folds(e, 5, 1, 'random'), ValueError, "kind must be one of plain, stratified, grouped, stratified grouped, got 'random'"),
    ('folds of plain text', lambda: v.folds(plain), ValueError, 'folds need labels'),
    ('groups without clusters', lambda: v.folds(e, 5, 1, 'grouped'), ValueError, 'needs clusters, and these examples have none'),
    ('more folds than examples', lambda: v.folds(e, 21, kind='plain'), ValueError, 'k must be at most 20, the examples there are, got 21'),
    ('more folds than a class has', lambda: v.folds(e, 15), ValueError, 'the examples of the smallest class there are, got 15'),
    ('a fold that leaks', lambda: v.cross_validate(None, e, [(np.arange(5), np.arange(4, 9))]), ValueError, 'split 0 tests on rows that it trains on, e.g. row 4'),
    ('nothing to search', lambda: seek({}), ValueError, 'space must name at least one setting'),
    ('a range upside down', lambda: seek(dict(x=(1., 0.))), ValueError, "space['x'] must be (low, high)"),
    ('the logarithm of 0', lambda: seek(dict(x=(0., 1., 'log'))), ValueError, 'with low > 0'),
    ('no choice', lambda: seek(dict(x=[])), ValueError, 'or a list of choices, got []'),
    ('another objective', lambda: seek(by='beauty'), ValueError, "by must be one of accuracy, macro_f1"),
    ('no trial', lambda: seek(trials=0), ValueError, 'trials must be a whole number of at least 1, got 0'),
    ('another pruner', lambda: seek(pruner='axe'), ValueError, "pruner must be one of median, hyperband, none, got 'axe'"),
    ('a score that is no number', lambda: seek(evaluate=lambda c, report: dict(nll=float('nan'))), ValueError, 'evaluate must give a finite nll, got nan for'),
    ('no score', lambda: seek(evaluate=lambda c, report: {}), ValueError, 'evaluate must give a finite nll, got None for'),
    ('watching for another signal', lambda: v.watched(None, None, e, e, 'beauty'), ValueError, "by must be one of accuracy"),
]
