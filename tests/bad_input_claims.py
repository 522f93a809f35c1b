"What goes wrong with claims, and what is said."
from plcal_study.study.claims import Claim, Evidence, decide, judge

def claim(says='+', sesoi=.3, id='c', source='s'): return Claim(id, source, 'text', 'q0', 'effect', says, sesoi)
def evidence(p=.1, **kw): return Evidence(claim(**kw), .1, 0, .2, p, 10, 'models', 'demo')

CASES = [
    ('a direction that is none', lambda: claim('>'), ValueError, "says must be '+', '-', '0', 'not+' or 'not-', got '>'"),
    ('a denial of nothing', lambda: claim('not'), ValueError, "says must be '+', '-', '0', 'not+' or 'not-', got 'not'"),
    ('an absence denied', lambda: claim('not0'), ValueError, "says must be '+', '-', '0', 'not+' or 'not-', got 'not0'"),
    ('a denial without a smallest effect', lambda: claim('not-', sesoi=0), ValueError, 'sesoi must be positive, got 0'),
    ('an interval upside down, denied', lambda: decide(claim('not+'), 1, 0, .1), ValueError, 'need lo <= hi'),
    ('no smallest effect', lambda: claim(sesoi=0), ValueError, 'sesoi must be positive, got 0'),
    ('a NaN smallest effect', lambda: claim(sesoi=float('nan')), ValueError, 'sesoi must be positive, got nan'),
    ('an interval upside down', lambda: decide(claim(), 1, 0, .1), ValueError, 'need lo <= hi'),
    ('a NaN interval', lambda: decide(claim(), float('nan'), 0, .1), ValueError, 'need lo <= hi'),
    ('p above 1', lambda: decide(claim(), 0, 1, 1.1), ValueError, 'p in [0, 1]'),
    ('p NaN', lambda: judge([evidence(p=float('nan'))]), ValueError, 'p'),
    ('no evidence', lambda: judge([]), ValueError, 'evidence is empty'),
    ('two sources', lambda: judge([evidence(), evidence(source='t')]), ValueError, "one source at a time, got ['s', 't']"),
    ('a claim twice', lambda: judge([evidence(), evidence()]), ValueError, 'an id appears twice'),
]
