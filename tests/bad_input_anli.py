"Bad inputs of `plcal_study.study.anli`: (name, call, exception, part of the message)."
import tempfile
from dataclasses import replace
from pathlib import Path
import numpy as np
from plcal_study.measure.predictions import from_grades, from_logits, select
from plcal_study.study.anli import FILES, changes, read_models, records, repair, rounds, softmaxes, transfer, verdict

rng = np.random.default_rng(0)
P = from_logits(rng.normal(size=(60, 3)), rng.integers(3, size=60), cluster=np.arange(60) % 30, meta=dict(task='made', split='test'), round=np.arange(60) % 3 + 1.)
GRADED = from_grades(P.conf, P.correct, P.uid, P.meta, P.cluster, **P.scores)

def cells(cell, letter='e'): return lambda: softmaxes(['[0.7, 0.2, 0.1]', cell], ['e', letter], 'f.csv, preds-a')

def _folder(change, what=read_models):
    "What is said of a data folder whose anli_dev/ was changed."
    with tempfile.TemporaryDirectory() as d:
        change(Path(d))
        return what(d)

def _empty(d): (d / 'anli_dev').mkdir()
def _broken(d):
    _empty(d)
    (d / FILES[0]).write_bytes(b'context,statement\n')

CASES = [
    ('no JSON',              cells('0.7 0.2 0.1'),                  ValueError, "f.csv, preds-a, row 1: expected three probabilities [p(e), p(n), p(c)], got '0.7 0.2 0.1'"),
    ('broken off',           cells('[0.7, 0.2, '),                  ValueError, 'did the file break off?'),
    ('two classes',          cells('[0.7, 0.3]'),                   ValueError, 'row 1: expected three probabilities'),
    ('a matrix',             cells('[[0.7, 0.2, 0.1]]'),            ValueError, 'row 1: expected three probabilities'),
    ('words',                cells('["a", "b", "c"]'),              ValueError, 'row 1: expected three probabilities'),
    ('an object',            cells('{"e": 1}'),                     ValueError, 'row 1: expected three probabilities'),
    ('a missing cell',       cells(''),                             ValueError, "got ''"),
    ('logits',               cells('[3.1, 0.2, -1.0]'),             ValueError, 'must be in [0, 1] and sum to 1'),
    ('percentages',          cells('[70, 20, 10]'),                 ValueError, 'must be in [0, 1] and sum to 1'),
    ('not a number',         cells('[NaN, 0.5, 0.5]'),              ValueError, 'must be in [0, 1] and sum to 1'),
    ('negative',             cells('[1.2, -0.2, 0.0]'),             ValueError, 'must be in [0, 1] and sum to 1'),
    ('another order',        cells('[0.1, 0.2, 0.7]'),              ValueError, "the answer is 'e', but 'c' has the largest of [0.1, 0.2, 0.7]; are the classes in another order?"),
    ('an answer that is none', cells('[0.7, 0.2, 0.1]', 'en'),      ValueError, "the answer must be e, n or c, got 'en'"),
    ('an empty answer',      cells('[0.7, 0.2, 0.1]', ''),          ValueError, "the answer must be e, n or c, got ''"),
    ('no files',             lambda: _folder(lambda d: None),       FileNotFoundError, 'name that folder by PLCAL_DATA or data='),
    ('no such folder',       lambda: records('no/such/folder'),     FileNotFoundError, "'no/such/folder', which is no folder"),
    ('a file missing',       lambda: _folder(_empty),               FileNotFoundError, f'{FILES[0]} is missing'),
    ('a file missing for records', lambda: _folder(_empty, records), FileNotFoundError, f'{FILES[0]} is missing'),
    ('another version',      lambda: _folder(_broken),              ValueError, f'{FILES[0]} is not the file of the manifest'),
    ('other questions',      lambda: changes(select(P, np.arange(30)), P), ValueError, 'both must answer the same questions'),
    ('other labels',         lambda: changes(replace(P, label=(P.label + 1) % 3), P), ValueError, 'label differs'),
    ('no models',            lambda: repair({}),                    ValueError, 'models must hold at least one model'),
    ('no models to carry',   lambda: transfer({}),                  ValueError, 'models must hold at least one model'),
    ('no logits',            lambda: repair(dict(a=GRADED)),        ValueError, 'predictions must have logits'),
    ('no rounds',            lambda: repair(dict(a=replace(P, scores=dict(margin=P.conf)))), ValueError, "the round of each question in scores['round'], got margin"),
    ('no premises',          lambda: rounds(replace(P, cluster=None)), ValueError, 'the premise of each question as cluster'),
    ('no draws',             lambda: repair(dict(a=P), draws=0),    ValueError, 'draws must be a whole number of at least 1'),
    ('one round alone',      lambda: transfer(dict(a=select(P, P.scores['round'] == 2))), ValueError, 'a has round 2 alone'),
    ('p above 1',            lambda: verdict(1.5, .4, .01, -.2, -.1, .01), ValueError, 'must be p values in [0, 1], got 1.5'),
    ('p not a number',       lambda: verdict(.01, .4, .01, -.2, -.1, np.nan), ValueError, 'must be p values in [0, 1]'),
    ('ends turned round',    lambda: verdict(.01, .4, .01, .2, -.1, .01), ValueError, 'lo must not exceed hi'),
    ('an end missing',       lambda: verdict(.01, .4, .01, np.nan, -.1, .01), ValueError, 'lo must not exceed hi'),
    ('an excess missing',    lambda: verdict(.01, .4, np.nan, -.2, -.1, .01), ValueError, 'left must be finite'),
    ('no margin',            lambda: verdict(.01, .4, .01, -.2, -.1, .01, 0), ValueError, 'least must be above 0'),
]
