"What rating must refuse, and what it must say; faults in filled sheets are in test_rating.py."
import tempfile
import numpy as np, pandas as pd
from plcal_study.study import rating as r

two = pd.DataFrame(dict(model=['a', 'b'], text=['x', 'y']))
def sheet(d): return r.rating_sheet(d, tempfile.mkdtemp())

CASES = [
    ('samples without a model', lambda: sheet(two[['text']]), ValueError, 'samples must have the columns model and text, got text; model is missing'),
    ('one sample', lambda: sheet(two[:1]), ValueError, 'samples must hold at least 2 texts, got 1'),
    ('an empty text', lambda: sheet(two.assign(text=['x', ' '])), ValueError, "every sample needs a text, and row 1 has ' '"),
    ('a text that is none', lambda: sheet(two.assign(text=['x', None])), ValueError, 'every sample needs a text, and row 1'),
    ('no sheet', lambda: r.read_ratings([], 'key.csv'), ValueError, 'files must name at least one filled sheet'),
    ('a key that is not there', lambda: r.read_ratings(['a.csv'], 'nowhere.csv'), FileNotFoundError, 'nowhere.csv'),
    ('one rater', lambda: r.krippendorff_alpha(np.ones((1, 5))), ValueError, 'with at least 2 raters, got (1, 5)'),
    ('nothing marked twice', lambda: r.krippendorff_alpha([[1, np.nan], [np.nan, 2]]), ValueError, 'at least 2 items must be marked by two raters, got 0'),
    ('all marks alike', lambda: r.krippendorff_alpha(np.full((2, 5), 3.)), ValueError, 'all marks are 3: without variation'),
    ('another level', lambda: r.krippendorff_alpha(np.ones((2, 5)), 'ratio'), ValueError, "level must be nominal, ordinal or interval, got 'ratio'"),
    ('a mark beyond the scale', lambda: r.kappas([[1, 7], [1, 2]], ['a', 'b']), ValueError, 'marks must be of 1 to 5, got 7'),
    ('half a mark', lambda: r.kappas([[1, 2.5], [1, 2]], ['a', 'b']), ValueError, 'got 2.5'),
    ('raters without a name', lambda: r.kappas([[1, 2], [1, 2]], ['a']), ValueError, 'got (2, 2) and 1 names'),
]
