"What the numbers of q7 must refuse, and what they must say."
import numpy as np
from plcal_study.measure.predictions import from_grades
from plcal_study.study import q7, trials

graded = from_grades([.9, .4], [1, 0], ['a', 'b'])
plain = q7.Examples(['x'], ['y'], None)

CASES = [
    ('unknown scale', lambda: q7.grid('huge'), ValueError, "scale must be one of smoke, laptop, colab, paper, got 'huge'"),
    ('texts of one sentence', lambda: q7.beginnings(['one .', 'question a ? A b answer A . more .'], 5), ValueError, 'texts must hold at least one with two sentences, got none'),
    ('outcomes of grades alone', lambda: q7.outcomes(graded), ValueError, 'outcomes need logits and labels'),
    ('dev sets of grades alone', lambda: q7.dev_values(graded, np.zeros((1, 2), int)), ValueError, 'dev_values needs logits and labels'),
    ('counts without labels', lambda: q7.bayes({'x': 0}, np.ones((1, 3)), 1., np.arange(3))(plain, 0), ValueError, 'bayes needs labels'),
    ('a world that there is not', lambda: trials.world_of('world-flat'), ValueError, "the world must be one of"),
]
