"What an endpoint must refuse before anything is asked, with what the message must say; run by the one shared test. Nothing here reaches a server."
from dataclasses import replace
import numpy as np
from plcal_study.lm.api import Endpoint, EndpointError, answer_of, first_of, letters_of, option_of, read_endpoint, reply_of, token_at
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.prompts import ask

HOST = 'http://127.0.0.1:9/v1'
E = Endpoint(HOST, 'm')
TASK = Task('quiz', dict(test=Examples(['1', '2'], ['one?', 'two?'], [0, 1], options=[('x', 'y'), ('v', 'w')])))
Q, BARE = ask(TASK), ask(TASK, prompt='bare')
NONE = ask(Task('cloze', dict(test=Examples(['1'], ['one'], [0]))), prompt='text')

def asked(**change): return read_endpoint(E, replace(Q, **change))
def chosen(**lp): return dict(choices=[dict(message=dict(content='A'), logprobs=dict(content=[dict(token='A', **lp)]))])
def column(**lp): return dict(choices=[dict(text='', logprobs=dict(dict(tokens=['Q', ' a', '.'], token_logprobs=[None, -1., -1.], text_offset=[0, 1, 3]) | lp))])

CASES = [
    ('Endpoint: no scheme',          lambda: Endpoint('localhost:8000/v1', 'm'), ValueError, "base must be an address such as 'http://localhost:8000/v1', got 'localhost:8000/v1'"),
    ('Endpoint: no host',            lambda: Endpoint('http:///v1', 'm'), ValueError, 'base must be an address'),
    ('Endpoint: no port',            lambda: Endpoint('http://host:port/v1', 'm'), ValueError, 'base must be an address'),
    ('Endpoint: port too large',     lambda: Endpoint('http://host:99999/v1', 'm'), ValueError, 'base must be an address'),
    ('Endpoint: broken brackets',    lambda: Endpoint('http://[::1/v1', 'm'), ValueError, 'base must be an address'),
    ('Endpoint: no text',            lambda: Endpoint(None, 'm'), ValueError, 'base must be an address'),
    ('Endpoint: base too long',      lambda: Endpoint(HOST + '/chat/completions/', 'm'), ValueError, 'base must end before /chat/completions'),
    ('Endpoint: no model',           lambda: Endpoint(HOST, ''), ValueError, f'model must be the name that the server gives it, got \'\'; {HOST}/models lists them'),
    ('Endpoint: key is no text',     lambda: Endpoint(HOST, 'm', key=7), ValueError, 'key must be text or None, got int'),
    ('Endpoint: no tokens told',     lambda: Endpoint(HOST, 'm', top=0), ValueError, 'top must be a whole number of at least 1, got 0'),
    ('Endpoint: part of a worker',   lambda: Endpoint(HOST, 'm', workers=1.5), ValueError, 'workers must be a whole number of at least 1, got 1.5'),
    ('Endpoint: no worker',          lambda: Endpoint(HOST, 'm', workers=0), ValueError, 'workers must be a whole number of at least 1'),
    ('Endpoint: retries below 0',    lambda: Endpoint(HOST, 'm', retries=-1), ValueError, 'retries must be a whole number of at least 0, got -1'),
    ('Endpoint: no time',            lambda: Endpoint(HOST, 'm', timeout=0), ValueError, 'timeout must be a number of seconds above 0, got 0'),
    ('Endpoint: endless time',       lambda: Endpoint(HOST, 'm', timeout=float('inf')), ValueError, 'timeout must be a number of seconds above 0, got inf'),
    ('Endpoint: no number',          lambda: Endpoint(HOST, 'm', timeout='60'), ValueError, "timeout must be a number of seconds above 0, got '60'"),
    ('Endpoint: wait NaN',           lambda: Endpoint(HOST, 'm', wait=float('nan')), ValueError, 'wait must be a number of seconds, got nan'),
    ('read_endpoint: mode',          lambda: read_endpoint(E, Q, 'letter'), ValueError, "mode must be one of letters, answer, options, got 'letter'"),
    ('read_endpoint: max_tokens',    lambda: read_endpoint(E, Q, 'answer', 0), ValueError, 'max_tokens must be a whole number of at least 1, got 0'),
    ('read_endpoint: nothing',       lambda: asked(uid=np.array([], str), prompt=[], options=[], label=np.array([], int), group=np.array([], int)), ValueError, 'asked holds no question'),
    ('read_endpoint: no labels',     lambda: asked(label=None), ValueError, 'no labels'),
    ('read_endpoint: uid twice',     lambda: asked(uid=np.array(['1', '1'])), ValueError, 'uid must be unique, as replies are kept by it'),
    ('read_endpoint: no options',    lambda: read_endpoint(E, NONE, 'options'), ValueError, "question '1' has no options to choose from"),
    ('read_endpoint: label',         lambda: asked(label=np.array([0, 2])), ValueError, 'label must lie in [0, 2), got 2 in row 1'),
    ('read_endpoint: 27 letters',    lambda: asked(options=[('x', 'y'), tuple('x' * (i + 1) for i in range(27))]), ValueError, 'options beyond the alphabet'),
    ('read_endpoint: empty option',  lambda: read_endpoint(E, replace(BARE, options=[('x', 'y'), ('v', '')]), 'options'), ValueError, "question '2' has an empty option"),
    ('read_endpoint: empty prompt',  lambda: read_endpoint(E, replace(BARE, prompt=[' ', 'two']), 'options'), ValueError, "question '1' has an empty option or an empty prompt"),
    ('read_endpoint: no letters',    lambda: read_endpoint(E, BARE), ValueError, "prompt 'bare' shows no letters"),
    ('read_endpoint: two templates', lambda: asked(meta=Q.meta | dict(chat=True)), ValueError, 'went through a chat template already'),
    ('read_endpoint: other replies', lambda: read_endpoint(E, Q, kept={'1': dict(of='x', parts={})}), ValueError, "kept['1'] is the reply to another question, mode or model"),
    ('read_endpoint: foreign kept',  lambda: read_endpoint(E, Q, kept={'2': dict(text='A')}), ValueError, "kept['2'] is the reply to another question"),
    ('letters_of: no letters',       lambda: letters_of([('A', -1.)], 0), ValueError, 'at least one option'),
    ('letters_of: logits',           lambda: letters_of([('A', -.1), ('B', -.1)], 2), EndpointError, 'must sum to at most 1, got 1.81; does it send logits'),
    ('reply_of: no object',          lambda: reply_of(None), EndpointError, 'has no choices'),
    ('reply_of: no choices',         lambda: reply_of(dict(choices=[None])), EndpointError, 'has no choices'),
    ('reply_of: no logprobs',        lambda: reply_of(dict(choices=[dict(text='A')])), EndpointError, 'it gives no logprobs; reasoning models give none'),
    ('reply_of: no tokens',          lambda: reply_of(dict(choices=[dict(message=dict(content='A'), logprobs=dict(content=[]))])), EndpointError, 'it gives no logprobs'),
    ('reply_of: columns half',       lambda: reply_of(column(token_logprobs=None)), EndpointError, 'it gives no logprobs'),
    ('reply_of: lengths',            lambda: reply_of(column(token_logprobs=[-1.])), EndpointError, 'a form that is not known here (ValueError: 3 tokens, 1 logprobs'),
    ('reply_of: no numbers',         lambda: reply_of(chosen(logprob='x')), EndpointError, 'a form that is not known here'),
    ('reply_of: above 0',            lambda: reply_of(chosen(logprob=.5)), EndpointError, 'a logprob must be at most 0, got 0.5; does it send logits'),
    ('reply_of: token numbers',      lambda: reply_of(column(tokens=['token_id:1'] * 3)), EndpointError, 'numbers instead of tokens (token_id:1)'),
    ('first_of: no logprob',         lambda: first_of(chosen(logprob=None)), EndpointError, 'it gives no logprobs'),
    ('first_of: NaN',                lambda: first_of(chosen(logprob=float('nan'))), EndpointError, 'it gives no logprobs'),
    ('answer_of: not told',          lambda: answer_of(dict(text='A.', tokens=['A', '.'], logprobs=[-9999., -1.]), ('x', 'y')), EndpointError, "the token at character 0 of its answer 'A.' has no logprob"),
    ('token_at: other text',         lambda: token_at('A.', [b'B', b'.'], 0), EndpointError, 'do not spell its answer'),
    ('option_of: no echo',           lambda: option_of(column(), 'Q b', ' b'), EndpointError, 'does not echo the prompt, of which it gives 3 tokens'),
    ('option_of: no logprob',        lambda: option_of(column(token_logprobs=[None, None, -1.]), 'Q a', ' a'), EndpointError, "a token of the option 'a' has no logprob"),
    ('option_of: fused',             lambda: option_of(column(tokens=['Q', ' Q a', '.']), 'Q Q a', ' a'), EndpointError, "the option 'a' has no token of its own"),
]
