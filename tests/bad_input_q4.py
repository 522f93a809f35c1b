"Page q4: scales that are none, answers that are not the model's own."
import numpy as np
from plcal_study.measure.predictions import Predictions
from plcal_study.study import q4

def p(): return Predictions({}, np.arange(4).astype(str), [1, 0, 1, 0], [.9, .8, .7, .6])

CASES = [
    ('grid: scale',          lambda: q4.grid('huge'), ValueError, "scale must be one of smoke, laptop, colab, paper, got 'huge'"),
    ('_again: other model',  lambda: q4._again(p(), np.zeros((4, 3)), np.zeros(4, int)), ValueError, 'the confidences must be those that were read before, and one differs by'),
]
