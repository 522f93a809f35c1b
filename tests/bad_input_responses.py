"Replies of chat models that must be refused, with what the message must say; run by the one shared test."
import json, math, tempfile
from pathlib import Path
import pandas as pd
from plcal_study.measure.responses import Told, letter_place, letter_scores, letters_told, read_inspect, read_openai, told, tokens_of


def _reply(tokens=(('A', .9, (('A', .9), ('B', .1))),), **more):
    content = [dict(token=t, logprob=math.log(p), top_logprobs=[dict(token=x, logprob=math.log(q)) for x, q in top]) for t, p, top in tokens]
    return dict(choices=[dict(message=dict(content=''.join(t for t, *_ in tokens)), logprobs=dict(content=content))]) | more

def _open(*records, name='a.jsonl', **how):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(''.join(json.dumps(r) + '\n' for r in records))
        return read_openai(path, quiet=True, **how)

def _inspect(name='a.json', log=None, **change):
    content = _reply()['choices'][0]['logprobs']['content']
    s = dict(id=1, epoch=1, choices=['x', 'y'], target='A', scores=dict(choice=dict(value='C', answer='A')), output=dict(choices=[dict(logprobs=dict(content=content))])) | change
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / name).write_text(json.dumps(dict(samples=[s]) if log is None else log))
        return read_inspect(path, quiet=True)

GOOD = _reply()
LOGITS = dict(choices=[dict(message=dict(content='A'), logprobs=dict(content=[dict(token='A', logprob=3.)]))])

CASES = [
    ('told: no choices',          lambda: told(dict(error='busy')), KeyError, 'choices'),
    ('told: several',             lambda: told(dict(choices=[{}, {}])), ValueError, 'one choice, got 2; ask with n=1'),
    ('told: no logprobs',         lambda: told(dict(choices=[dict(message={}, logprobs=None)])), ValueError, 'there are no logprobs'),
    ('told: logits',              lambda: told(LOGITS), ValueError, 'raw_logits'),
    ('told: token numbers',       lambda: told(_reply([('token_id:7', .5, ())])), ValueError, '--return-tokens-as-token-ids'),
    ('told: lengths',             lambda: told(dict(choices=[dict(text='A', logprobs=dict(tokens=['A'], token_logprobs=[]))])), ValueError, '1 tokens, 0 logprobs'),
    ('told: two texts',           lambda: told(dict(output=[dict(type='message', content=[])])), ValueError, 'one text, got 0'),
    ('tokens: none',              lambda: tokens_of('A', []), ValueError, 'there are no logprobs'),
    ('letters: sum above 1',      lambda: letter_scores([(b'A', 0.), (b'B', -.1)], 2, -1.), ValueError, 'sum to at most 1, got 1.905'),
    ('letters: none told',        lambda: letter_scores([(b'the', -.1)], 2, -1.), ValueError, 'none of the letters A to B is among'),
    ('letters: no letter',        lambda: letter_place(Told('so it is', [b'so', b' it', b' is'], [-.1] * 3, [[]] * 3), 4), ValueError, 'letters A to D'),
    ('letters: one option',       lambda: letters_told(told(GOOD), 1), ValueError, '2 to 26 options, got 1'),
    ('letters: not told',         lambda: letters_told(Told('A', [b'A'], [-9999.], [[]]), 2), ValueError, 'has no logprob'),
    ('openai: no labels',         lambda: _open(GOOD), ValueError, 'line 1: no field tells the label'),
    ('openai: label in words',    lambda: _open(GOOD, label=['yes']), ValueError, "a letter, got 'yes'"),
    ('openai: label from 1',      lambda: _open(GOOD, label=[2], columns=dict(k=2)), ValueError, 'do the labels count from 1?'),
    ('openai: too few labels',    lambda: _open(GOOD, GOOD, label=['A']), ValueError, 'each of 2 responses, got 1'),
    ('openai: no id',             lambda: _open(GOOD, label=dict(q='A')), ValueError, 'no custom_id by which label= could be joined'),
    ('openai: id not there',      lambda: _open(dict(custom_id='q', response=dict(body=GOOD)), label=dict(p='A')), ValueError, "'q of label=' is missing"),
    ('openai: failed',            lambda: _open(dict(custom_id='q', response=dict(status_code=429, body={})), label=dict(q='A')), ValueError, 'failed with status 429'),
    ('openai: expired',           lambda: _open(dict(custom_id='q', response=None, error='expired'), label=dict(q='A')), ValueError, 'the request failed: expired'),
    ('openai: question twice',    lambda: _open(*[dict(custom_id='q', response=dict(body=GOOD))] * 2, label=dict(q='A')), ValueError, "question 'q' stands there more than once"),
    ('openai: table has it twice', lambda: _open(GOOD, label=pd.DataFrame(dict(id=['q', 'q'], label=[0, 0]))), ValueError, "has question 'q' twice"),
    ('openai: two label columns', lambda: _open(GOOD, label=pd.DataFrame(dict(id=['q'], label=[0], answer=[0]))), ValueError, "'label' and 'answer' could all be the label"),
    ('openai: no table',          lambda: _open(GOOD, label=3), ValueError, 'got int'),
    ('inspect: no samples',       lambda: _inspect(log=dict(eval={})), ValueError, 'no samples, so this is no log of inspect_ai'),
    ('inspect: no zip',           lambda: _inspect('a.eval'), ValueError, 'not a readable log of inspect_ai'),
    ('inspect: no choices',       lambda: _inspect(choices=None), ValueError, 'choices must hold two or more options'),
    ('inspect: no score',         lambda: _inspect(scores={}), ValueError, 'was the log scored?'),
    ('inspect: part of a score',  lambda: _inspect(scores=dict(choice=dict(value='P'))), ValueError, "must be correct or incorrect, got 'P'"),
    ('inspect: contradicts',      lambda: _inspect(target='B'), ValueError, "score 'choice' is 'C', but the answer is A and the target 'B'"),
    ('inspect: no logprobs',      lambda: _inspect(output=dict(choices=[dict(logprobs=None)])), ValueError, 'run with --logprobs'),
    ('inspect: an error',         lambda: _inspect(error=dict(message='timeout')), ValueError, 'ended in an error: timeout'),
]
