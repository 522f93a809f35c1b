"What q6 must refuse."
from types import SimpleNamespace
from plcal_study.study import q6

CASES = [
    ('a curve of one point', lambda: q6.explorer(SimpleNamespace(), 1), ValueError, 'steps must be at least 2, got 1'),
]
