"What cannot be aligned, and what it says."
import tempfile
from dataclasses import replace
from functools import cache
import numpy as np
from plcal_study.lm import alignment, facts, models, testbed
from plcal_study.lm.training import Training

@cache
def world(): return facts.fact_world(entities=6, relations=3, random_relations=1, values=4, seed=0)
@cache
def tokenizer(): return testbed.train_tokenizer(world().words, keep=world().words, frame='bos')
@cache
def model(): return models.build('llama', (1, 16, 1), tokenizer(), 'causal', seed=0)
def pairs(): return facts.instructions(world(), 6)
def ranked(): return facts.preferences(world(), 6)
def without(e, *names): return replace(e, extra={k: v for k, v in e.extra.items() if k not in names})
def changed(e, name, i, text):
    x = e.extra[name].copy(); x[i] = text
    return replace(e, extra=e.extra | {name: x})
def bare(role):
    t = testbed.train_tokenizer(world().words, keep=world().words, frame='bos')
    for r in role if isinstance(role, tuple) else (role,): setattr(t, f'{r}_token', None)
    return t
def larger(): return testbed.train_tokenizer([*world().words, 'one', 'more'], frame='bos')
def swapped():
    t = testbed.train_tokenizer(world().words, keep=world().words, frame='bos')
    t.eos_token = 'it'
    return t
def folder(): return tempfile.mkdtemp()
def instruct(m=None, t=None, e=None, cfg=None, **kw): return alignment.instruct(m or model(), t or tokenizer(), e or pairs(), cfg or Training(epochs=1), folder(), max_length=64, **kw)
def reinforce(reward=lambda p, r: np.arange(len(r)), cfg=None, e=None, **kw): return alignment.reinforce(model(), tokenizer(), e or ranked(), reward, cfg or Training(epochs=1, batch=8), folder(), max_new=4, **kw)
def bad_folder():
    from pathlib import Path
    d = Path(folder()); (d / 'alignment.json').write_text('{"step"')
    return d
def other_run():
    import json
    from pathlib import Path
    d = Path(folder()); (d / 'alignment.json').write_text(json.dumps(dict(step='prefer')))
    return d

CASES = [(f'instruct: {name}', call, ValueError, says) for name, call, says in [
    ('no response',        lambda: instruct(e=without(pairs(), 'response')), "the examples must have 'response' in extra"),
    ('an empty response',  lambda: instruct(e=changed(pairs(), 'response', 2, ' \n')), 'response must not be empty: 1 of 6 are, the first is that of'),
    ('another tokenizer',  lambda: instruct(t=larger()), 'take the tokenizer that belongs to the model'),
    ('another end',        lambda: instruct(t=swapped()), 'eos_token_id is'),
    ('no end token',       lambda: instruct(t=bare('eos')), 'has no end token, and a response needs an end'),
    ('no pad token',       lambda: instruct(t=bare(('pad', 'eos', 'unk'))), 'has no token to pad with; set tokenizer.pad_token'),
    ('too long',           lambda: alignment.instruct(model(), tokenizer(), pairs(), Training(epochs=1), folder(), max_length=10**6), 'max_length must be at most'),
    ('steps',              lambda: instruct(cfg=Training(steps=3)), 'epochs must be a whole number'),
    ('half an epoch',      lambda: instruct(cfg=Training(epochs=1.5)), 'epochs must be a whole number'),
    ('micro',              lambda: instruct(cfg=Training(epochs=1, batch=16, micro=3)), 'micro must divide batch = 16, got 3'),
    ('dropout',            lambda: instruct(cfg=Training(epochs=1, dropout='off')), "dropout must be 'on' in alignment"),
    ('rank below 0',       lambda: instruct(lora=-1), 'lora must be a rank'),
    ('rank a share',       lambda: instruct(lora=.5), 'lora must be a rank'),
    ('rank True',          lambda: instruct(lora=True), 'lora must be a rank'),
    ('damaged folder',     lambda: alignment.instruct(model(), tokenizer(), pairs(), Training(epochs=1), bad_folder(), max_length=64), 'alignment.json is damaged'),
    ('folder of another',  lambda: alignment.instruct(model(), tokenizer(), pairs(), Training(epochs=1), other_run(), max_length=64), "holds another run: step was 'prefer' and is 'instruct'"),
]]
CASES += [
    ('prefer: same twice',      lambda: alignment.prefer(model(), tokenizer(), changed(ranked(), 'chosen', 1, ranked().extra['rejected'][1]), Training(epochs=1), folder(), max_length=64), ValueError, 'chosen and rejected must differ, and 1 of 6 do not'),
    ('prefer: beta',            lambda: alignment.prefer(model(), tokenizer(), ranked(), Training(epochs=1), folder(), beta=0., max_length=64), ValueError, 'beta must be a finite number above 0, got 0.0'),
    ('prefer: no rejected',     lambda: alignment.prefer(model(), tokenizer(), without(ranked(), 'rejected'), Training(epochs=1), folder(), max_length=64), ValueError, "must have 'rejected' in extra"),
    ('reward_model: not held',  lambda: alignment.reward_model(model(), tokenizer(), ranked(), ranked(), Training(epochs=1), folder(), max_length=64), ValueError, 'held must be pairs that are not learnt from'),
    ('reinforce: constant',     lambda: reinforce(lambda p, r: np.full(len(r), 3.)), ValueError, 'the rewards of the given responses are all 3 (standard deviation 0 over 12 responses): a constant reward teaches nothing'),
    ('reinforce: NaN reward',   lambda: reinforce(lambda p, r: np.full(len(r), np.nan)), ValueError, 'the rewards of the given responses must be finite numbers, got nan'),
    ('reinforce: one response', lambda: reinforce(generations=1), ValueError, 'generations must be at least 2 and divide batch = 8, got 1'),
    ('reinforce: three',        lambda: reinforce(generations=3), ValueError, 'generations must be at least 2 and divide batch = 8, got 3'),
    ('reinforce: few prompts',  lambda: reinforce(cfg=Training(epochs=1, batch=64)), ValueError, 'there must be prompts for one step, 16, got 6'),
    ('reinforce: temperature',  lambda: reinforce(temperature=0.), ValueError, 'temperature must be a finite number above 0'),
    ('reinforce: beta',         lambda: reinforce(beta=float('nan')), ValueError, 'beta must be a finite number above 0'),
    ('spread: one',             lambda: alignment.spread([[1., 2.]]), ValueError, 'vectors must have shape (n, d) with n of at least 2, got (1, 2)'),
    ('spread: zeros',           lambda: alignment.spread([[1., 2.], [0., 0.]]), ValueError, 'vectors must be finite and not zero'),
    ('real_pairs: name',        lambda: alignment.real_pairs('alpacca'), ValueError, 'name must be one of alpaca, oasst, self_instruct, dolly'),
    ('real_pairs: not ranked',  lambda: alignment.real_pairs('alpaca', 'ranked'), ValueError, "name must be one of oasst, polite, harmless for 'ranked'"),
    ('real_pairs: what',        lambda: alignment.real_pairs('alpaca', 'pairs'), ValueError, "what must be 'response' or 'ranked', got 'pairs'"),
    ('real_pairs: not here',    lambda: alignment.real_pairs('alpaca', data=folder()), FileNotFoundError, "the data 'alpaca' were not found; put alpaca_demo/alpaca_en_demo.json into a folder"),
    ('real_pairs: hub only',    lambda: alignment.real_pairs('oasst', data=folder()), FileNotFoundError, "data='hub' takes OpenAssistant/oasst1"),
    ('real_pairs: no hub',      lambda: alignment.real_pairs('dolly', data='hub'), FileNotFoundError, "'dolly' is not on the hub; put dolly_hhrlhf_small"),
    ('best_and_worst: columns', lambda: alignment.best_and_worst(__import__('pandas').DataFrame(dict(text=['a']))), ValueError, "expected a column 'message_id', got text"),
]
