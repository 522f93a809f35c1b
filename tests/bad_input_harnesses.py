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


import pyarrow as pa
import pyarrow.parquet as pq
from plcal_study.measure.harnesses import read_helm, read_lighteval

def _light(columns=('doc', 'metric', 'model_response'), **change):
    "Read details of one row, with some fields changed."
    row = dict(choices=['a', 'b'], gold_index=0, logprobs=[-.5, -1.], acc=1) | change
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'details_t_1.parquet'
        pq.write_table(pa.Table.from_pylist([{columns[0]: dict(choices=row['choices'], gold_index=row['gold_index'], id='0', query='Q'), columns[1]: dict(acc=row['acc']), columns[2]: dict(logprobs=row['logprobs'])}]), path)
        return read_lighteval(path, quiet=True)

def _helm(method='multiple_choice_joint', stats=None, text='A', tags=('correct',), logprob=-.5, **change):
    "Read a run of one question, with something changed."
    state = dict(instance=dict(id='i', references=[dict(output=dict(text='Rome'), tags=list(tags)), dict(output=dict(text='Oslo'), tags=[])]), train_trial_index=0, output_mapping={'A': 'Rome', 'B': 'Oslo'},
                 reference_index=0, request_mode='original', result=dict(success=True, completions=[dict(text=text, logprob=logprob, tokens=[dict(text=text, logprob=logprob)])])) | change
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder)/'scenario_state.json').write_text(json.dumps(dict(adapter_spec=dict(method=method), request_states=[state])))
        (Path(folder)/'per_instance_stats.json').write_text(json.dumps([dict(instance_id='i', train_trial_index=0, stats=[dict(name=dict(name=k), count=1, mean=v) for k, v in (stats or {}).items()])]))
        return read_helm(folder, quiet=True)

CASES += [
    ('lm_eval: mc2',                 lambda: _read(acc=.37), ValueError, 'acc is 0.37, which is no grade'),
    ('lm_eval: exact_match',         lambda: _read(acc=1.0, exact_match=1), ValueError, 'exact_match is 1, but option 0'),
    ('lm_eval: in the context',      lambda: _read(arguments={f'gen_args_{i}': {'arg_0': str(i), 'arg_1': ' x'} for i in range(2)}, target='x'), ValueError, 'the options stand in the context'),
    ('lm_eval: argument no text',    lambda: _read(arguments={f'gen_args_{i}': {'arg_0': 'Q', 'arg_1': {'until': []}} for i in range(2)}), ValueError, 'only multiple_choice tasks'),
    ('lighteval: other columns',     lambda: _light(('a', 'b', 'c')), ValueError, "no column 'doc'"),
    ('lighteval: no scores',         lambda: _light(logprobs=[]), ValueError, 'got 0 for 2; only multiple-choice tasks'),
    ('lighteval: one score short',   lambda: _light(logprobs=[-1.]), ValueError, 'got 1 for 2'),
    ('lighteval: probability',       lambda: _light(logprobs=[.3, .7]), ValueError, 'must be at most 0'),
    ('lighteval: gold out of range', lambda: _light(gold_index=2), ValueError, 'one of 2 options, got 2'),
    ('lighteval: no gold',           lambda: _light(gold_index=[]), ValueError, 'must name a right option'),
    ('lighteval: contradicts',       lambda: _light(acc=0), ValueError, 'metric.acc is 0, but option 0'),
    ('helm: another method',         lambda: _helm('generation'), ValueError, "must be multiple choice, got 'generation'"),
    ('helm: no gold',                lambda: _helm(tags=()), ValueError, 'none of the references is tagged'),
    ('helm: failed',                 lambda: _helm(result=dict(success=False, error='busy')), ValueError, 'instance i: the request failed: busy'),
    ('helm: no logprobs',            lambda: _helm(logprob=0.), ValueError, 'all log-probabilities are 0'),
    ('helm: grade contradicts',      lambda: _helm(stats=dict(exact_match=0)), ValueError, 'exact_match is 0, but the answer'),
    ('helm: probability contradicts', lambda: _helm(stats=dict(max_prob=.9)), ValueError, 'max_prob is 0.9, but the log gives'),
    ('helm: no tokens',              lambda: _helm('multiple_choice_separate_original'), ValueError, "do not end with the option 'Rome'"),
    ('helm: no file',                lambda: read_helm('no such folder'), FileNotFoundError, 'scenario_state.json'),
]
