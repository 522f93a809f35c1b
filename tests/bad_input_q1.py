"What q1 must refuse, and what it must say."
import numpy as np
from plcal_study.measure.predictions import from_grades, from_logits
from plcal_study.study import q1
from plcal_study.study.runs import Run

graded = from_grades(np.array([.5, .9]), np.array([True, False]))
def answered(uid): return [(dict(last=4), [from_logits(np.eye(3), [0, 1, 2], uid, dict(step=s)) for s in (0, 1, 4)])]

CASES = [
    ('unknown scale', lambda: q1.grid('huge'), ValueError, "scale must be one of smoke, laptop, colab, paper, got 'huge'"),
    ('predictions without labels', lambda: q1.summary(graded), ValueError, 'needs predictions with logits and labels'),
    ('seeds with other questions', lambda: q1.stack(answered([1, 2, 3]) + answered([1, 2, 4])), ValueError, 'did not answer the same questions'),
    ('a task that there is not', lambda: q1.task_of(Run('q1', 'steps', 'sst9', 'bert')), ValueError, "'sst9'"),
    ('more shots than there are', lambda: q1.task_of(Run('q1', 'samples', 'world-medium', 'bert', n_train=64, per_class=40)), ValueError, 'per_class must be at most'),
    ('a delta that there is not', lambda: q1.model_of(Run('q1', 'tunable', 'world-medium', 'bert', init='random', size='1x16', delta='prefix', n_train=64), q1.task_of(Run('q1', 'x', 'world-medium', 'bert', n_train=64)), None), ValueError, "delta must be"),
    ('a model that there is not', lambda: q1.model_of(Run('q1', 'steps', 'world-medium', 'gpt-9', n_train=64), q1.task_of(Run('q1', 'x', 'world-medium', 'bert', n_train=64)), None), ValueError, "model must be"),
]
