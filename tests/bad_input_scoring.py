"What scoring must refuse, with what the message must say; run by the one shared test."
import functools
import numpy as np
import torch
from plcal_study.lm.models import build
from plcal_study.lm.scoring import Row, Scorer, TooLong, check_logits, encode, every_token, greedy, listen, spellings, windows
from plcal_study.lm.testbed import reframe, train_tokenizer

WORDS = 'the a cat dog house red A B C'.split()

@functools.cache
def tok(frame='none'): return reframe(train_tokenizer([' '.join(WORDS)], keep=WORDS, frame='none'), frame)

@functools.cache
def model(family='gpt_neox', kind='causal', n=None, **kw): return build(family, (1, 16, 2), tok(), kind, n_labels=n, **kw)

def scorer(family='gpt_neox', kind='causal', frame='none', **kw): return Scorer(model(family, kind), tok(frame), **kw)
def small(): return Scorer(model(max_position_embeddings=6), tok())
def heard(rows, s=None): return list(listen(s or scorer(), rows))

def without(role, family, kind):
    "A model whose tokenizer lacks the token that it is asked by."
    t = train_tokenizer([' '.join(WORDS)], frame='cls' if family == 'bert' else 'eos')
    s, unknown = Scorer(build(family, (1, 16, 2), t, kind), t), t.unk_token_id
    if role == 'mask': t.mask_token = None
    else: t.convert_tokens_to_ids = lambda x: unknown
    return encode(s, ['the cat'])

def without_a_beginning():
    s = scorer()
    class Tok: bos_token_id = eos_token_id = cls_token_id = None
    s.tokenizer = Tok()
    return s.start

def broken(value):
    "A model whose weights give no numbers."
    m = build('gpt_neox', (1, 16, 2), tok(), 'causal')
    with torch.no_grad(): (m.embed_out if hasattr(m, 'embed_out') else m.lm_head).weight.fill_(value)
    return Scorer(m, tok())

CASES = [
    ('Scorer: a classification head',       lambda: Scorer(model('bert', 'classify', 2), tok()), ValueError, 'the model must predict words (causal, masked or seq2seq), got BertForSequenceClassification'),
    ('Scorer: no head',                     lambda: Scorer(model('llama', 'encoder'), tok()), ValueError, 'the model must predict words'),
    ('Scorer: no budget',                   lambda: scorer(batch_tokens=0), ValueError, 'batch_tokens must be at least 1, got 0'),
    ('Scorer: tokens that the model lacks', lambda: Scorer(model(), train_tokenizer([' '.join(f'w{i}' for i in range(99))])), ValueError, 'take the tokenizer that belongs to the model'),
    ('start: no token to begin with',       without_a_beginning, ValueError, 'has no token to begin with, and an empty prompt needs one; set tokenizer.bos_token'),
    ('listen: empty stem',                  lambda: heard([Row([9]), Row([])]), ValueError, 'row 1 has an empty stem'),
    ('listen: empty branch',                lambda: heard([Row([9], [[9], []])]), ValueError, 'row 0, continuation 1 has no token; is the option empty?'),
    ('listen: longer than the model',       lambda: heard([Row([9] * 4, [[9], [9] * 4])], small()), ValueError, 'row 0 has 7 tokens and the model reads 6; shorten it'),
    ('encode: empty option',                lambda: encode(scorer(), ['the', 'the'], [[' cat'], [' cat', '']], ['p', 'q']), ValueError, "option 1 of question 'q' has no tokens, got the text ''; an option must say something"),
    ('encode: option of a space',           lambda: encode(scorer('bert', 'masked', 'cls'), ['the'], [[' cat', ' ']], ['q']), ValueError, "option 1 of question 'q' has no tokens, got the text ' '"),
    ('encode: option of a space, T5',       lambda: encode(scorer('t5', 'seq2seq', 'eos'), ['the'], [[' ']], ['q']), ValueError, "option 0 of question 'q' has no tokens"),
    ('encode: too long',                    lambda: encode(small(), ['the cat', 'the ' * 7], names=['p', 'q']), TooLong, "the prompt of question 'q' has 7 tokens, and the model reads 6; pass truncate=True (--truncate)"),
    ('encode: too long is a ValueError',    lambda: encode(small(), ['the ' * 7]), ValueError, "question '0' has 7 tokens"),
    ('encode: too long with its answer',    lambda: encode(small(), ['the ' * 5], [[' cat', ' a red cat']]), TooLong, "has 5 tokens, its answer 3, and the model reads 6"),
    ('encode: no room for the prompt',      lambda: encode(small(), ['the cat'], [[' cat' * 7]], ['q'], truncate=True), TooLong, "question 'q' has an answer of 7 tokens, which leaves no room for a prompt in the 6 that the model reads"),
    ('encode: no room to write',            lambda: encode(small(), ['the cat'], names=['q'], reserve=9), TooLong, "question 'q' has 2 tokens, its answer 9"),
    ('encode: no mask',                     lambda: without('mask', 'bert', 'masked'), ValueError, 'the tokenizer has no mask token, which a masked model is asked by'),
    ('encode: no sentinel',                 lambda: without('sentinel', 't5', 'seq2seq'), ValueError, 'the tokenizer has no sentinel <extra_id_0>, which a seq2seq model is asked by'),
    ('spellings: no such letter',           lambda: spellings(tok(), 'ABD'), ValueError, "has no token for the letter 'D'; ask by mode 'options'"),
    ('check_logits: NaN',                   lambda: check_logits(torch.tensor([[1., 2], [float('nan'), 1]]), ['p', 'q']), ValueError, "the logits of question 'q' are NaN or infinite"),
    ('check_logits: infinite',              lambda: check_logits(torch.tensor([[1., float('inf')], [2, 1]]), ['p', 'q']), ValueError, "the logits of question 'p' are NaN or infinite"),
    ('check_logits: no word can be',        lambda: check_logits(torch.full((1, 3), -torch.inf), ['p']), ValueError, "the logits of question 'p' are NaN or infinite"),
    ('check_logits: all equal',             lambda: check_logits(torch.tensor([[1., 2], [3, 3]]), ['p', 'q']), ValueError, "the logits of question 'q' are all equal, so the model says nothing; were its weights loaded?"),
    ('greedy: a masked model',              lambda: list(greedy(scorer('bert', 'masked', 'cls'), [[9]], np.array([3]))), ValueError, "only a causal model writes an answer, got one of kind 'masked'"),
    ('greedy: T5',                          lambda: list(greedy(scorer('t5', 'seq2seq', 'eos'), [[9]], np.array([3]))), ValueError, "got one of kind 'seq2seq'"),
    ('greedy: empty stem',                  lambda: list(greedy(scorer(), [[]], np.array([3]))), ValueError, 'row 0 has an empty stem'),
    ('greedy: logits that are NaN',         lambda: list(greedy(broken(float('nan')), [[9]], np.array([3]), names=['q'])), ValueError, "the logits of question 'q' are NaN"),
    ('greedy: logits that are all equal',   lambda: list(greedy(broken(0.), [[9]], np.array([3]))), ValueError, 'are all equal'),
    ('every_token: a masked model',         lambda: list(every_token(scorer('bert', 'masked', 'cls'), [[9, 9]])), ValueError, "only a causal model predicts every next token, got one of kind 'masked'"),
    ('every_token: window of the model',    lambda: list(every_token(small(), [[9] * 9], 7)), ValueError, 'window must be at most 6, what the model reads, got 7'),
    ('every_token: logits that are NaN',    lambda: list(every_token(broken(float('nan')), [[9, 8], [9]])), ValueError, "question 'text 0' are NaN"),
    ('windows: a stride of the window',     lambda: windows(9, 4, 4), ValueError, 'stride must be from 1 to 3, one less than the window, got 4'),
    ('windows: no stride',                  lambda: windows(9, 4, 0), ValueError, 'stride must be from 1 to 3'),
]
