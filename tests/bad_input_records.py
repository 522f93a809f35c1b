"What the shared parts of the readers refuse, with what the message must say; run by the one shared test."
import tempfile
from pathlib import Path
import numpy as np
from plcal_study.measure.records import Answer, Misread, Reading, at, conditions, finished, finite, gathered, json_lines, read_json, subjects

R = Reading('a.log', 'mine')

def _file(text, read, **how):
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / 'a.jsonl').write_bytes(text)
        x = read(path, Reading('a.jsonl', 'mine', **how))
        return x if isinstance(x, (dict, int)) else list(x)

def _contradiction():
    with Reading('a.log', 'mine', skip_bad=True).row('line 3'): raise Misread('acc is 1')

CASES = [
    ('row: field missing',            lambda: _file(b'{"a": 1', json_lines), ValueError, 'a.jsonl, line 1: not JSON'),
    ('row: no record',                lambda: _file(b'{}\n[1]', json_lines), ValueError, 'a.jsonl, line 2: a line must hold one record'),
    ('row: no UTF-8',                 lambda: _file(b'{"a": "\xff"}', json_lines), ValueError, 'line 1: not JSON'),
    ('row: nested without end',       lambda: _file(b'[' * 100_000, json_lines), ValueError, 'line 1: not JSON'),
    ('row: a contradiction stays',    _contradiction, Misread, 'a.log, line 3: acc is 1'),
    ('json: cut off',                 lambda: _file(b'{"a": ', read_json), ValueError, 'was the file cut off?'),
    ('at: not there',                 lambda: at({'a': {'b': 1}}, 'a.c'), KeyError, 'a.c'),
    ('subjects: not there',           lambda: subjects([dict(a=1), dict(a=2)], dict(cluster='b'), R), ValueError, "not every question has; there are 'a'"),
    ('subjects: two',                 lambda: subjects([dict(subject=s, topic=t) for s, t in ('ax', 'ay', 'bx', 'by', 'ax')], None, R), ValueError, "'subject' and 'topic' could both be the cluster"),
    ('gathered: none',                lambda: gathered([], R, {}), ValueError, 'a.log: no row could be read'),
    ('gathered: twice',               lambda: gathered([Answer('q', True, conf=.5)] * 2, R, {}), ValueError, "question 'q' stands there more than once"),
    ('gathered: no confidence',       lambda: gathered([Answer('q', True)], R, {}), ValueError, 'a.log: conf must lie in [0, 1], got nan'),
    ('gathered: confidence of 2',     lambda: gathered([Answer('q', True, conf=2.)], R, {}), ValueError, 'a.log: conf must lie in [0, 1], got 2.0'),
    ('finished: meta',                lambda: finished(R, dict(x=np.int64(1)), uid=['q'], correct=[1], conf=[.5]), ValueError, 'a.log: meta must hold JSON values only'),
    ('conditions: none',              lambda: conditions('one'), ValueError, "filter must read 'name=value', got 'one'"),
    ('conditions: unknown',           lambda: conditions('x=1', ['epoch']), ValueError, "must ask for epoch, got 'x'"),
    ('finite: text',                  lambda: finite('x', 'acc'), ValueError, 'could not convert'),
    ('finite: nan',                   lambda: finite(float('nan'), 'acc'), ValueError, 'acc must be a finite number, got nan'),
    ('finite: bool',                  lambda: finite(True, 'acc'), ValueError, 'acc must be a finite number, got True'),
]
