"Logs that must be refused, with what the message must say; run by the one shared test."
import json, tempfile
from pathlib import Path
from plcal_study.measure.harnesses import read_lm_eval


def _read(text='', label=None, **change):
    "Read a log of one line: `text`, or a good line with some fields changed (None: left out)."
    line = dict(doc_id=0, doc={}, target='0', arguments={f'gen_args_{i}': {'arg_0': 'Q', 'arg_1': f' {i}x'} for i in range(2)},
                filtered_resps=[['-1.0', 'False'], ['-2.0', 'False']], filter='none') | change
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'samples_toy_1.jsonl'
        path.write_text(text or json.dumps({k: v for k, v in line.items() if v is not None}))
        return read_lm_eval(path, label=label)


CASES = [
    ('lm_eval: empty file',          lambda: _read(' '), ValueError, 'has no lines'),
    ('lm_eval: not JSON',            lambda: _read('doc_id,target'), ValueError, 'line 1: not JSON'),
    ('lm_eval: another JSON',        lambda: _read('[1, 2]'), ValueError, 'a line must hold one record'),
    ('lm_eval: file missing',        lambda: read_lm_eval('no such file'), FileNotFoundError, 'no such file'),
    ('lm_eval: field missing',       lambda: _read(arguments=None), ValueError, "line 1: field 'arguments' is missing"),
    ('lm_eval: option missing',      lambda: _read(arguments={'gen_args_1': {'arg_0': 'Q', 'arg_1': ' 1x'}}), ValueError, "field 'gen_args_0' is missing"),
    ('lm_eval: generated text',      lambda: _read(filtered_resps=['3 apples']), ValueError, 'only multiple_choice tasks'),
    ('lm_eval: no number',           lambda: _read(filtered_resps=[['x', 'y'], ['1', 'y']]), ValueError, 'could not convert'),
    ('lm_eval: NaN',                 lambda: _read(filtered_resps=[['nan', 'y'], ['-1', 'y']]), ValueError, 'at most 0, one of them finite'),
    ('lm_eval: probability',         lambda: _read(filtered_resps=[['0.3', 'y'], ['0.7', 'y']]), ValueError, 'at most 0'),
    ('lm_eval: nothing possible',    lambda: _read(filtered_resps=[['-inf', 'y'], ['-inf', 'y']]), ValueError, 'one of them finite'),
    ('lm_eval: one score short',     lambda: _read(filtered_resps=[['-1', 'y']]), ValueError, '2 options and 1 scores'),
    ('lm_eval: several golds',       lambda: _read(target='[0, 1]'), ValueError, 'one right option, got [0, 1]'),
    ('lm_eval: no gold',             lambda: _read(target='[]'), ValueError, 'one right option, got []'),
    ('lm_eval: gold out of range',   lambda: _read(target='2'), ValueError, 'gold -100'),
    ('lm_eval: gold -100',           lambda: _read(target='-100'), ValueError, 'gold -100'),
    ('lm_eval: letter out of range', lambda: _read(target='C'), ValueError, "got 'C'"),
    ('lm_eval: unknown text',        lambda: _read(target='Lima'), ValueError, "got 'Lima'"),
    ('lm_eval: grade contradicts',   lambda: _read(acc=0.0), ValueError, 'acc is 0.0, but option 0'),
    ('lm_eval: gold contradicts',    lambda: _read(brier_score=[1, '[0.7 0.3]']), ValueError, 'the harness took 1'),
    ('lm_eval: label fails',         lambda: _read(label=lambda r: r['doc']['answer']), ValueError, "field 'answer' is missing"),
    ('lm_eval: label from 1',        lambda: _read(label=lambda r: 2), ValueError, 'got 2'),
]
