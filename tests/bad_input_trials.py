"What the trials of q2 must refuse."
from dataclasses import replace
from plcal_study.study import q2, trials
from plcal_study.study.runs import Run
import numpy as np
from plcal_study.measure.predictions import from_logits

def one(uid): return from_logits(np.eye(3), [0, 1, 2], uid)

CASES = [
    ('unknown scale', lambda: trials.grid('huge'), ValueError, "scale must be one of smoke, laptop, colab, paper, got 'huge'"),
    ('unknown world', lambda: trials.world_of('world-odd'), ValueError, "must be one of world-text, world-rare, world-pairs, got 'world-odd'"),
    ('more labels than there are', lambda: trials._with_top(dict(val=trials.suite_of(replace(trials.grid('smoke')[0], n_val=8))['val']), 50, 40), ValueError, 'must have 50 + 40 examples'),
    ('a model that there is not', lambda: trials.model_of(Run('q2', 'methods', 'nli', 'gpt-9'), None, None), KeyError, 'gpt-9'),
    ('seeds with other questions', lambda: q2.told([one([1, 2, 3]), one([1, 2, 4])]), ValueError, 'did not answer the same questions'),
]
