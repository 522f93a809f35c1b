"Bad inputs of `plcal_study.study.report`: (name, call, exception, part of the message)."
import numpy as np
from plcal_study.measure.predictions import from_grades
from plcal_study.study.report import report

P = from_grades([.5, .6], [1, 0])

CASES = [
    ('no log',            lambda: report(),                            ValueError, 'at least one model, got none'),
    ('an array',          lambda: report(np.array([.5, .6])),          ValueError, 'must be Predictions or files, got ndarray'),
    ('a missing file',    lambda: report('no/such/file.csv'),          FileNotFoundError, 'no/such/file.csv'),
    ('too few names',     lambda: report(P, P, names=['a']),           ValueError, 'one name for each of 2 logs, got 1'),
    ('an empty name',     lambda: report(P, names=[' ']),              ValueError, 'must be texts that are not empty'),
    ('two names alike',   lambda: report(P, P, names=['a', 'a']),      ValueError, 'names must differ'),
    ('negative seed',     lambda: report(P, seed=-1),                  ValueError, 'seed must be an integer of at least 0, got -1'),
    ('seed of a half',    lambda: report(P, seed=.5),                  ValueError, 'got 0.5'),
    ('another ending',    lambda: report(P, out='report.pdf'),         ValueError, "out must end in .html, .json or .csv, got 'report.pdf'"),
    ('no ending',         lambda: report(P).save('report'),            ValueError, 'must end in .html, .json or .csv'),
]
