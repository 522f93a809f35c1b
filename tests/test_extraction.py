"Extraction: six modes against the slow way (`slow_reading`) and by hand, the fact world whose truth is known, two real decoders, and what happens when it is stopped."
import functools, json, os
from pathlib import Path
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from tokenizers import Tokenizer, decoders, models as tk_models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast
import slow_reading as slow
from endpoint import Speaker, serving
from plcal_study.lm import extraction, facts, scoring
from plcal_study.lm.api import Endpoint, EndpointError
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.lm.extraction import KEYS, add_p_true, estimate, extract, fingerprint, open_model, position_bias, read_answer, read_permuted, rotated
from plcal_study.lm.models import build, load, save
from plcal_study.lm.prompts import Prompt, ask, parse_answer
from plcal_study.lm.scoring import Scorer
from plcal_study.lm.testbed import reframe, train_tokenizer
from plcal_study.measure.metrics import ece
from plcal_study.measure.predictions import from_logits
from test_scoring import MISTRAL, family, of_config, seamed, tokenizer

ASKS = ['the red cat sat on', 'a big dog ran in by the old house ?', 'Question: the tree?', 'the red house, the old tree stood by a', 'a', 'the red cat sat on', 'in the big old red house the dog stood by']
CHOICES = [('the tree', 'the', 'a'), ('A', 'B', 'C', 'D'), ('old house', 'old house', 'the old house stood'), ('a cat', 'cat'), ('dog', 'the dog', 'a dog', 'big dog', 'dog ran in by'), ('the tree', 'the', 'a'), ('cat', 'dog')]
LABELS, GROUPS = [0, 3, 2, 1, 4, 1, 0], list('aabbccd')
QUIZ = Examples([f'q{i}' for i in range(7)], ASKS, LABELS, options=CHOICES, cluster=GROUPS)
TRAIN = Examples([f't{i}' for i in range(4)], ['the dog ran', 'a tree stood', 'the house', 'the old cat'], [0, 1, 0, 2], options=[('in', 'by'), ('on', 'in', 'by'), ('A', 'B'), ('ran', 'sat', 'stood')])
TASK = Task('quiz', dict(train=TRAIN, test=QUIZ))
SPACED = Prompt('spaced', '{examples}Question: {question}\nAnswer: ', '{a}', example='Question: {question}\nAnswer: {text}\n')
LINES = Prompt('lines', '{examples}Question: {question}\nAnswer:\n\n', '{a}') # as 'first' ends
EVERY = [('bert', 'word'), ('bert', 'bpe'), ('t5', 'word'), ('gpt_neox', 'word'), ('gpt_neox', 'bpe'), ('llama', 'bpe'), ('short', 'bpe'), ('long', 'word')]

def scorer(name='llama', kind='bpe', **how): return Scorer(*(seamed() if kind == 'seam' else family(name, kind)), **how)
def run(s, mode, task=TASK, **how): return extract(s, task, mode, progress=False, **how)
def nan(rows, k): return np.array([np.r_[np.asarray(r, float), np.full(k - len(r), np.nan)] for r in rows])

def of_options(p, z, q):
    "What every set of predictions with logits must hold, from the right logits."
    k = [len(o) for o in q.options]
    want = [softmax(x[:n]) for x, n in zip(z, k, strict=True)]
    pick = [int(np.argmax(x[:n])) for x, n in zip(p.logits, k, strict=True)]
    assert_array_equal(p.uid, q.uid); assert_array_equal(p.label, q.label)
    assert_array_equal(np.isnan(p.logits), np.isnan(z))
    assert_allclose(p.conf, [w.max() for w in want], rtol=0, atol=1e-4)
    assert_array_equal(p.correct, [a == b for a, b in zip(pick, q.label, strict=True)])
    tops = [np.sort(w)[::-1] for w in want]
    assert_allclose(p.scores['margin'], [t[0] - t[1] for t in tops], rtol=0, atol=1e-4)
    assert_allclose(p.scores['entropy'], [-(w * np.log(w)).sum() for w in want], rtol=0, atol=2e-4)
    if q.cluster is not None: assert_array_equal(p.cluster, q.cluster)
    return pick


# ---- letters

def right_letters(s, p, q, special=True):
    k = [len(o) for o in q.options]
    z = nan([slow.letters(s.model, s.tokenizer, t, n, special) for t, n in zip(q.prompt, k, strict=True)], p.logits.shape[1])
    assert_allclose(p.logits, z, rtol=0, atol=1e-5)
    of_options(p, z, q)
    words = [slow.of_words(s.model, s.tokenizer, t, special) for t in q.prompt]
    assert_allclose(p.scores['msp'], [w['msp'] for w in words], rtol=0, atol=1e-5)
    assert_allclose(p.scores['off_option_mass'], [1 - np.exp(x[:n]).sum() for x, n in zip(z, k, strict=True)], rtol=0, atol=1e-5)

@pytest.mark.parametrize('name, kind', EVERY)
def test_letters(name, kind):
    for how in (dict(), dict(batch_tokens=1), dict(batch_tokens=100, share=False)):
        s = scorer(name, kind, **how)
        right_letters(s, run(s, 'letters')['letters'], ask(TASK))

def test_letters_have_the_largest_logit_and_know_ties():
    s = scorer()
    p, q = run(s, 'letters')['letters'], ask(TASK)
    with torch.no_grad(): z = [s.model(input_ids=torch.tensor([s.tokenizer(t)['input_ids']])).logits[0, -1].max().item() for t in q.prompt]
    assert_allclose(p.scores['max_logit'], z, rtol=0, atol=1e-5)
    assert not p.scores['tie'].any() and not p.scores['cut'].any()
    tied = extraction._graded(ask(TASK), nan([[1., 1., 0.], [2, 0, 1, 2], [0, 1, 1], [0, 0], [1, 2, 3, 4, 5], [3, 2, 1], [1, 0]], 5))
    assert tied.scores['tie'].tolist() == [1, 1, 1, 1, 0, 0, 0]

def test_off_mass_counts_the_letters_that_a_question_has():
    "Question 3 has two options: what the model gives to C, D and E is off."
    s = scorer()
    p = run(s, 'letters')['letters']
    z = slow.letters(s.model, s.tokenizer, ask(TASK).prompt[3], 5)
    assert np.exp(z[2:]).sum() > 1e-3 and p.scores['off_option_mass'][3] == pytest.approx(1 - np.exp(z[:2]).sum(), abs=1e-5)

def test_the_order_of_questions_and_their_company_change_nothing():
    s = scorer()
    for mode in ('letters', 'options'):
        whole, order = run(s, mode), [5, 0, 3, 6, 1, 4, 2]
        for other in (run(s, mode, Task('quiz', dict(test=take(QUIZ, order)))), run(scorer(batch_tokens=1), mode, Task('quiz', dict(test=take(QUIZ, order))))):
            for key, p in whole.items():
                assert_array_equal(other[key].uid, p.uid[order])
                assert_allclose(other[key].logits, p.logits[order], rtol=0, atol=1e-5)
        one = run(s, mode, Task('quiz', dict(test=take(QUIZ, [3]))))
        for key, p in whole.items(): assert_allclose(one[key].logits[0], p.logits[3, :2], rtol=0, atol=1e-5)

@pytest.mark.parametrize('mode', ['letters', 'options'])
def test_examples_before_the_question_are_read_once_and_change_nothing(mode, monkeypatch):
    lent, lend = [], scoring._lend
    monkeypatch.setattr(scoring, '_lend', lambda s, ids: lent.append(len(ids)) or lend(s, ids))
    a, b = (run(scorer(share=share), mode, shots=3, draw='fixed') for share in (True, False))
    q = ask(TASK, prompt='plain' if mode == 'letters' else 'bare', shots=3)
    s = scorer()
    ids = [[s.tokenizer.bos_token_id, *s.tokenizer(t, add_special_tokens=False)['input_ids']] for t in q.prompt]
    assert len(set(lent)) >= 2 and max(lent) == scoring.common([x[:-1] for x in ids]) > 40
    for key in a: assert_allclose(a[key].logits, b[key].logits, rtol=0, atol=1e-5)
    if mode == 'letters': right_letters(s, a['letters'], q)
    else: right_options(s, a, q)
    lent.clear()
    run(scorer(), mode, shots=2, draw='each')
    assert len(lent) == 1, 'the trial alone: here nothing is common'


# ---- options

def right_options(s, found, q, special=True, atol=1e-4):
    z = [slow.options(s.model, s.tokenizer, t, o, special) for t, o in zip(q.prompt, q.options, strict=True)]
    assert tuple(found) == KEYS['options']
    most = max(map(len, q.options))
    raw = nan([x['raw'] for x in z], most)
    for key, p in found.items():
        want = nan([x[key] for x in z], most)
        assert_allclose(p.logits, want, rtol=0, atol=2 * atol if key == 'pmi' else atol, err_msg=key)
        pick = of_options(p, want, q)
        assert_allclose(p.scores['loglik'], raw[np.arange(len(q)), pick], rtol=0, atol=atol)

ENDS = [(*x, 'bare') for x in [*EVERY, ('llama', 'seam')]] + [(*x, SPACED) for x in [('bert', 'bpe'), ('t5', 'word'), ('gpt_neox', 'word'), ('llama', 'bpe'), ('llama', 'seam')]] + [(*x, LINES) for x in [('gpt_neox', 'word'), ('llama', 'bpe'), ('llama', 'seam')]]

@pytest.mark.parametrize('name, kind, prompt', ENDS, ids=lambda x: x if isinstance(x, str) else x.name)
def test_options_in_five_ways(name, kind, prompt):
    for how in (dict(), dict(batch_tokens=1, share=False)):
        s = scorer(name, kind, **how)
        right_options(s, run(s, 'options', prompt=prompt), ask(TASK, prompt=prompt))

def test_equal_options_tie_and_the_first_is_taken():
    for share in (True, False):
        for p in run(scorer(share=share), 'options').values():
            assert p.logits[2, 0] == p.logits[2, 1] and (p.scores['tie'][2] == 1) == (np.nanargmax(p.logits[2]) < 2)

def test_the_order_of_options_changes_nothing():
    s, turned = scorer(), rotated(QUIZ, 1)
    a, b = run(s, 'options'), run(s, 'options', Task('quiz', dict(test=turned)))
    for key in a:
        for x, y, o in zip(a[key].logits, b[key].logits, CHOICES, strict=True): assert_allclose(np.roll(x[:len(o)], 1), y[:len(o)], rtol=0, atol=1e-5)

def test_options_of_the_task_where_rows_have_none():
    "Class names are the options, and the letters too."
    task = Task('films', dict(test=Examples(['1', '2'], ['the red cat', 'a dog'], [0, 1])), ('old', 'big house'))
    s = scorer()
    right_options(s, run(s, 'options', task), ask(task, prompt='bare'))
    right_letters(s, run(s, 'letters', task)['letters'], ask(task))

@pytest.mark.parametrize('mode', ['letters', 'options'])
def test_a_prompt_that_is_too_long_is_cut_at_its_beginning_and_says_so(mode):
    tok, room = tokenizer('bpe', 'bos'), 40 if mode == 'letters' else 24
    model = build('llama', (2, 32, 4), tok, 'causal', seed=1, initializer_range=.25, max_position_embeddings=room)
    s = Scorer(model, tok)
    with pytest.raises(ValueError, match=r"question 'q\d' has \d+ tokens.*truncate"): run(s, mode, shots=1)
    found = run(s, mode, shots=1, truncate=True)
    q = ask(TASK, prompt='plain' if mode == 'letters' else 'bare', shots=1)
    for i in range(7):
        ids = tok(q.prompt[i], add_special_tokens=False)['input_ids']
        parts = [tok(' ' + o, add_special_tokens=False)['input_ids'] for o in CHOICES[i]] if mode == 'options' else [[0]]
        keep = room - 1 - (max(map(len, parts)) - 1)
        stem = [tok.bos_token_id, *ids[-keep:]]
        for p in found.values(): assert p.scores['cut'][i] == max(0, len(ids) - keep)
        if mode == 'options': assert_allclose(found['raw'].logits[i, :len(parts)], [slow.loglik(model, stem, b) for b in parts], rtol=0, atol=1e-4)
        else: assert_allclose(found['letters'].scores['msp'][i], slow.told(model, stem, [0])[0].exp().max(), rtol=0, atol=1e-5)
    for p in found.values(): assert p.meta['truncated'] == (p.scores['cut'] > 0).sum() > 0

def test_a_chat_template_brings_its_own_beginning():
    tok = tokenizer('bpe', 'bos')
    tok = reframe(tok, 'bos') # a copy
    tok.chat_template = "{{ bos_token }}the {{ messages[0]['content'] }} a{% if add_generation_prompt %} Answer:{% endif %}"
    model = family('llama', 'bpe')[0]
    s = Scorer(model, tok)
    for chat in (True, None): # 'first' is made for chat models
        q = ask(TASK, prompt='first', tokenizer=tok, chat=chat)
        p = run(s, 'letters', prompt='first', chat=chat)['letters']
        assert p.meta['chat'] and q.prompt[0].startswith(tok.bos_token) and tok(q.prompt[0], add_special_tokens=False)['input_ids'].count(tok.bos_token_id) == 1
        right_letters(s, p, q, special=False)
    assert not run(s, 'letters', prompt='first', chat=False)['letters'].meta['chat']
    q = ask(TASK, prompt='bare', tokenizer=tok, chat=True)
    right_options(s, run(s, 'options', chat=True), q, special=False)


# ---- answers

class Bytes:
    "A tokenizer of bytes with a few longer tokens, for answers made by hand."
    def __init__(self, *longer):
        table = {b: c for c, b in __import__('endpoint').TABLE.items()}
        vocab = {t: i for i, t in enumerate(['<pad>', '</s>', *(table[b] for b in range(256))])}
        merges = []
        for word in longer: # from the left
            word = [table[b] for b in word.encode()]
            for j in range(1, len(word)):
                pair = (''.join(word[:j]), word[j])
                if pair not in merges: merges.append(pair); vocab.setdefault(''.join(pair), len(vocab))
        raw = Tokenizer(tk_models.BPE(vocab, merges))
        raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
        self.tok = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token='<pad>', eos_token='</s>', clean_up_tokenization_spaces=False)
    def ids(self, text): return self.tok(text, add_special_tokens=False)['input_ids']

@pytest.mark.parametrize('longer, text, target, token', [
    ((), 'A.', 'A', 0), (('A.',), 'A.', 'A', 0), ((' A',), ' A.', 'A', 0), ((), ' A.', 'A', 1), (('so', ' A.'), 'so A.', 'A', 1), (('so',), 'so A.', 'A', 2),
    ((), 'é A.', 'A', 3), ((), '🙂B.', 'B', 4), (('é',), 'éé A.', 'A', 3), (('the', ' cat'), 'the cat', 'cat', 1), ((), 'the cat', 'cat', 4), ((), 'x日A', 'A', 4), (('日A.',), 'x日A.', 'A', 1)])
def test_the_token_that_wrote_a_character(longer, text, target, token):
    b = Bytes(*longer)
    ids = b.ids(text)
    at = extraction._token_at(b.tok, ids, text.index(target))
    assert at == token
    assert target in b.tok.decode(ids[at:at + 1]) or target[0] in b.tok.decode(ids[at:at + 1])

def chain(tok, next_of):
    "A model in which the last token alone decides: `next_of` has for a token its followers and their logits."
    n = -(-len(tok) // 8) * 8
    model = of_config(LlamaConfig, tok, hidden_size=n, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, tie_word_embeddings=False, initializer_range=.001)
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(len(tok), n))
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_(); layer.mlp.down_proj.weight.zero_()
        head = torch.randn(len(tok), n, generator=torch.Generator().manual_seed(0)) * 1e-3
        for t, following in next_of.items():
            for u, z in following.items(): head[u, t] = z / n ** .5
        model.lm_head.weight.copy_(head)
    return model

CHARS = Prompt('chars', '{examples}{question}', '{options}{a}', join=' ')

def said(text_of, options=('red', 'old', 'cat'), longer=(), loud=9.):
    "A model that says a text after the last character of the question, and the questions: one for each text."
    b = Bytes(*longer)
    edges, asks = {}, []
    for key, text in text_of.items():
        walk = [*b.ids(key), *b.ids(text), b.tok.eos_token_id]
        assert len(set(walk)) == len(walk), 'every token has one follower'
        for u, v in zip(walk, walk[1:], strict=False):
            assert edges.get(u, {v: 0}).keys() == {v}
            edges[u] = {v: loud + .1 * (v % 7)}
        asks.append(key)
    e = Examples([f'q{i}' for i in range(len(asks))], asks, [0] * len(asks), options=[options] * len(asks))
    return Scorer(chain(b.tok, edges), b.tok), ask(Task('said', dict(test=e)), prompt=CHARS), b

class Forwards:
    "How many passes a model makes, and how many rows in each."
    def __init__(self, s):
        self.rows = []
        self.hook = s.model.model.register_forward_pre_hook(lambda m, args, kw: self.rows.append(len(kw['input_ids'])), with_kwargs=True)
    def __enter__(self): return self
    def __exit__(self, *_): self.hook.remove()

@pytest.mark.parametrize('longer', [(), ('B.',), (' B',)])
def test_an_answer_stops_where_it_is_given_and_is_what_the_whole_would_be(longer):
    "One row says ' B. xyz', one 'k', and stops there or at the end: both as if they were written to the end."
    s, q, b = said({'1': ' B.uvwxyz', '2': 'k'}, longer=longer)
    n = len(b.ids(' B.'))
    s.share = False # no trial
    with Forwards(s) as seen: p = read_answer(s, q, max_tokens=40)['answer']
    assert len(seen.rows) == max(n, 2) and p.scores['tokens'].tolist() == [n, 1], 'no pass after the period'
    assert p.scores['option'].tolist() == [1, -1] and p.scores['unparseable'].tolist() == [0, 1] and p.correct.tolist() == [False, False] and p.conf[1] == 0
    tokens, rows = slow.write(s.model, b.tok, q.prompt[0], 40)
    assert b.tok.decode(tokens) == ' B.uvwxyz' and parse_answer(' B.uvwxyz', q.options[0]).option == 1
    at = 0 if longer == (' B',) else 1
    top = rows[at].exp().sort(descending=True).values
    assert_allclose([p.conf[0], p.scores['margin'][0], p.scores['entropy'][0]], [top[0], top[0] - top[1], -(rows[at].exp() * rows[at]).sum()], rtol=0, atol=1e-5)
    letters = [sum(rows[at][i].exp().item() for i in range(len(b.tok)) if b.tok.decode([i]).strip() in (x, x + '.')) for x in 'ABC']
    assert_allclose(p.scores['off_option_mass'][0], 1 - sum(letters), rtol=0, atol=1e-5)
    with torch.no_grad(): z = s.model(input_ids=torch.tensor([b.ids(q.prompt[0]) + tokens[:at]])).logits[0, -1].max().item()
    assert p.scores['max_logit'][0] == pytest.approx(z, abs=1e-4)

def test_every_way_of_saying_it():
    "The table of the source: a letter with a period, the text of an option in its own and in another case, a bare letter, several, nothing."
    s, q, b = said({'1': 'XC.', '2': 'red', '3': 'OLD', '4': 'mB', '5': 'A', '6': 'q', '7': 'wy'})
    p = read_answer(s, q, max_tokens=30)['answer']
    assert p.scores['option'].tolist() == [2, 0, 1, 1, 0, -1, -1] and p.correct.tolist() == [False, True, False, False, True, False, False]
    assert p.scores['unparseable'].tolist() == [0, 0, 0, 0, 0, 1, 1] and p.logits is None
    conf = [c.exp().max().item() for i, at in ((0, 1), (1, 0), (3, 1), (4, 0)) for c in [slow.write(s.model, b.tok, q.prompt[i], 30)[1][at]]]
    assert_allclose(p.conf[[0, 1, 3, 4]], conf, rtol=0, atol=1e-5)
    assert p.conf[2] == 0, 'the source reads the confidence at the text in its own case'
    assert p.conf[5] == p.conf[6] == 0 and p.scores['tokens'].tolist() == [3, 3, 3, 2, 1, 1, 2]
    assert p.scores['off_option_mass'][2] == 0 and 0 <= p.scores['off_option_mass'].min()

def test_an_answer_is_no_longer_than_it_may_be():
    s, q, b = said({'1': 'xyzB.', '2': 'A.'})
    p = read_answer(s, q, max_tokens=3)['answer']
    assert p.scores['tokens'].tolist() == [3, 2] and p.scores['option'].tolist() == [-1, 0]

@pytest.mark.parametrize('name, kind', [('llama', 'bpe'), ('gpt_neox', 'bpe'), ('short', 'bpe')])
def test_answers_of_random_models(name, kind):
    "They say a letter now and then; written to the end the slow way, cut by the rules, they are the same."
    e = Examples([f'q{i}' for i in range(8)], [f'{a} {b}' for a in ('the', 'a red', 'old', 'big dog') for b in ('cat', 'house ?')], [0] * 8, options=[('n', 'E', 'red cat')] * 8)
    task = Task('quiz', dict(test=e))
    q, found = ask(task, prompt='plain'), []
    for how in (dict(), dict(batch_tokens=1), dict(share=False)):
        s = scorer(name, kind, **how)
        found.append(run(s, 'answer', task, prompt='plain', max_tokens=10)['answer'])
    for i, text in enumerate(q.prompt):
        tokens, rows = slow.write(s.model, s.tokenizer, text, 10)
        whole = s.tokenizer.decode(tokens, skip_special_tokens=True)
        want = parse_answer(whole, q.options[i]).option
        for p in found:
            assert p.scores['option'][i] == (-1 if want is None else want)
            if want is None: assert p.conf[i] == 0 and not p.correct[i]
            elif p.conf[i]: assert min(abs(p.conf[i] - r.exp().max().item()) for r in rows) < 1e-5
    assert len({float(p.scores['option'].sum()) for p in found}) == 1 and (name == 'short' or (found[0].scores['option'] >= 0).any())
    for p in found[1:]: assert_allclose(p.conf, found[0].conf, rtol=0, atol=1e-5)


# ---- permuted

def test_rotated_moves_options_labels_and_truths_together():
    e = Examples(['1', '2'], ['x', 'y'], [0, 2], options=[('a', 'b'), ('a', 'b', 'c')], posterior=[[.9, .1, 0], [.2, .3, .5]])
    r = rotated(e, 1)
    assert r.options == [('b', 'a'), ('c', 'a', 'b')] and r.label.tolist() == [1, 0] and r.posterior.tolist() == [[.1, .9, 0], [.5, .2, .3]]
    for by in range(7):
        r = rotated(e, by)
        for o, p, y, o0, p0, y0 in zip(r.options, r.posterior, r.label, e.options, e.posterior, e.label, strict=True):
            assert o[y] == o0[y0] and dict(zip(o, p, strict=False)) == dict(zip(o0, p0, strict=False)) and o[by % len(o)] == o0[0]

TASTE, WORTH = np.array([.5, .2, .15, .1, .05]), dict(tree=.4, cat=.3, dog=.2, house=.1, red=.6)

def tasteful(s, a, truncate=False):
    "A reader that likes places and words: the probability of a letter is the product, off mass .1."
    z = np.full((len(a), max(map(len, a.options))), np.nan)
    for i, o in enumerate(a.options):
        w = TASTE[:len(o)] * [WORTH[t] for t in o]
        z[i, :len(o)] = np.log(.9 * w / w.sum())
    return dict(letters=from_logits(z, a.label, a.uid, a.meta, a.cluster, msp=np.ones(len(a)), off_option_mass=np.arange(len(a)) * .1, tie=np.zeros(len(a)), cut=np.zeros(len(a))))

def test_permuted_averages_over_the_rotations_that_a_question_has(monkeypatch):
    options = [('tree', 'cat', 'dog'), ('cat', 'red'), ('dog', 'tree', 'house', 'red', 'cat'), ('cat', 'cat', 'tree')]
    e = Examples(list('abcd'), ['x'] * 4, [0, 1, 4, 1], options=options, posterior=nan_to(options))
    monkeypatch.setattr(extraction, 'read_letters', tasteful)
    asks = [ask(Task('t', dict(test=rotated(e, r)))) for r in range(5)]
    found = read_permuted(None, asks)
    p, given = found['permuted'], found['given']
    assert tuple(found) == KEYS['permuted']
    assert_allclose(given.logits, tasteful(None, asks[0])['letters'].logits)
    for i, o in enumerate(options):
        k, each, places = len(o), [], []
        for r in range(k): # by hand: option j stands at place (j + r) mod k
            w = np.zeros(k)
            for j in range(k): w[(j + r) % k] = TASTE[(j + r) % k] * WORTH[o[j]]
            w /= w.sum(); places.append(w)
            each.append([w[(j + r) % k] for j in range(k)])
        mean = np.mean(each, 0)
        assert_allclose(p.logits[i, :k], np.log(mean)); assert np.isnan(p.logits[i, k:]).all()
        best = int(mean.argmax())
        assert p.conf[i] == pytest.approx(mean[best]) and p.correct[i] == (best == e.label[i])
        assert p.scores['order_sd'][i] == pytest.approx(np.std([x[best] for x in each]))
        assert p.scores['agree'][i] == np.mean([int(np.argmax(x)) == best for x in each])
        assert_allclose([p.scores[f'place_{x}'][i] for x in 'ABCDE'], np.pad(np.mean(places, 0), (0, 5 - k)))
        assert p.scores['true_posterior'][i] == e.posterior[i, best] and p.scores['off_option_mass'][i] == pytest.approx(.1 * i)
    assert p.label.tolist() == [0, 1, 4, 1], 'of the order as it is given'
    assert p.scores['agree'].min() < 1 and p.scores['order_sd'].max() > .05

def nan_to(options): return np.array([np.pad((x := np.arange(1., len(o) + 1)) / x.sum(), (0, 5 - len(o))) for o in options])

def test_a_taste_for_places_is_reported_and_averages_out(monkeypatch):
    words, rng = np.array(['tree', 'cat', 'dog', 'house']), np.random.default_rng(0)
    options = [tuple(rng.permutation(words)) for _ in range(20)] + [('cat', 'red')] * 3
    e = Examples([str(i) for i in range(23)], ['x'] * 23, [0] * 23, options=options)
    monkeypatch.setattr(extraction, 'read_letters', tasteful)
    p = read_permuted(None, [ask(Task('t', dict(test=rotated(e, r)))) for r in range(4)])['permuted']
    ranks = [tuple(np.array(o)[np.argsort(-x[:4])]) for o, x in zip(options[:20], p.logits, strict=False)]
    assert set(r[0] for r in ranks) == {'tree'}, 'over all orders only the word counts'
    b = position_bias(p)
    assert b.letter.tolist() == list('ABCD') and b.n.tolist() == [20] * 4 and b.even.tolist() == [.25] * 4
    assert b.mass.is_monotonic_decreasing and b.mass.sum() == pytest.approx(1) and b.mass[0] > .4

@pytest.mark.parametrize('share', [True, False])
def test_permuted_by_the_slow_way(share, monkeypatch):
    monkeypatch.setattr(extraction, '_CHUNK', 2) # pieces whose questions have fewer options than others
    s = scorer(share=share)
    p = run(s, 'permuted')
    q = ask(TASK)
    right_letters(s, p['given'], q)
    for i, o in enumerate(CHOICES):
        k, each = len(o), []
        for r in range(k):
            order = [(j - r) % k for j in range(k)] # of what stands at place j
            text = ask(Task('t', dict(test=Examples(['1'], [ASKS[i]], [0], options=[tuple(o[j] for j in order)])))).prompt[0]
            w = softmax(slow.letters(s.model, s.tokenizer, text, k))
            each.append([w[order.index(j)] for j in range(k)])
        assert_allclose(p['permuted'].logits[i, :k], np.log(np.mean(each, 0)), rtol=0, atol=1e-5)
        assert np.isnan(p['permuted'].logits[i, k:]).all()
    assert_allclose([p['permuted'].scores[f'place_{x}'] for x in 'DE'][1][[0, 1, 2, 3, 5, 6]], 0)


# ---- cloze, in a world whose truth is known

@functools.cache
def world(): return facts.fact_world(20, 4, random_relations=2, seed=3)

@functools.cache
def spoken():
    "A random decoder that knows the words of the world."
    tok = train_tokenizer([' '.join(world().words)], keep=world().words, frame='none')
    return of_config(LlamaConfig, tok, **MISTRAL), tok

@functools.cache
def statements(n=24): return Task('facts', dict(test=facts.cloze(world(), n=n, n_tokens=2000)))

def world_says(tok, text, tokens): # probability that a document that begins with a text goes on with some tokens
    total = 1.
    for t in tokens:
        word = tok.convert_ids_to_tokens(t)
        if word not in world().ids: return 0. # a special token
        total *= facts.next_token_posterior(world(), text)[-1, world().ids[word]]
        if not total: return 0.
        text += ' ' + word
    return total

@pytest.mark.parametrize('how', [dict(), dict(batch_tokens=1), dict(share=False)])
def test_cloze_against_the_world_and_the_slow_way(how):
    s, q = Scorer(*spoken(), **how), ask(statements(), prompt='text')
    p, tok = run(s, 'cloze', statements()), s.tokenizer
    assert tuple(p) == KEYS['cloze'] and all(x.logits is None for x in p.values())
    for i, text in enumerate(q.prompt):
        truth = tok(q.extra['answer'][i], add_special_tokens=False)['input_ids']
        w = slow.of_words(s.model, tok, text)
        assert_allclose([p['first'].conf[i], p['first'].scores['margin'][i], p['first'].scores['entropy'][i]], [w['msp'], w['margin'], w['entropy']], rtol=0, atol=1e-5)
        assert p['first'].correct[i] == (w['word'] == truth[0])
        assert p['first'].scores['true_posterior'][i] == pytest.approx(world_says(tok, text, [w['word']]))
        tokens, rows = slow.write(s.model, tok, text, len(truth))
        assert p['entity'].correct[i] == (tokens == truth)
        assert p['entity'].scores['loglik'][i] == pytest.approx(slow.said(s.model, tok, text, (' ' + q.extra['answer'][i],))[0][0], abs=1e-4)
        assert p['entity'].conf[i] == pytest.approx(np.prod([r.exp().max().item() for r in rows]), abs=1e-5)
        if len(tokens) == len(truth): assert p['entity'].scores['true_posterior'][i] == pytest.approx(world_says(tok, text, tokens))

@functools.cache
def reader_of_the_world():
    "A decoder that says after each statement the values in turn, one-word ones with a period: not always the truth."
    tok, w = spoken()[1], world()
    q, edges = ask(statements(), prompt='text'), {}
    for i, text in enumerate(q.prompt):
        value = w.values[q.extra['relation'][i]][i % 10].split()
        walk = tok.convert_tokens_to_ids([text.split()[-1], *value, '.'])
        for u, v in zip(walk, walk[1:], strict=False): edges.setdefault(u, {v: 4. + i % 3})
    return chain(tok, edges), tok

def test_the_truth_of_what_a_model_says():
    "What is said is a value, the beginning of one, or a value and what follows it; how probable each is, the world says word by word."
    s, q = Scorer(*reader_of_the_world()), ask(statements(), prompt='text')
    p, tok, seen = run(s, 'cloze', statements()), s.tokenizer, []
    for i, text in enumerate(q.prompt):
        truth = tok(q.extra['answer'][i], add_special_tokens=False)['input_ids']
        tokens, rows = slow.write(s.model, tok, text, len(truth))
        assert p['entity'].conf[i] == pytest.approx(np.prod([r.exp().max().item() for r in rows]), abs=1e-5) and p['entity'].correct[i] == (tokens == truth)
        assert p['first'].scores['true_posterior'][i] == pytest.approx(world_says(tok, text, tokens[:1]))
        assert p['entity'].scores['true_posterior'][i] == pytest.approx(world_says(tok, text, tokens)), tok.decode(tokens)
        seen.append((len(tokens), p['entity'].scores['true_posterior'][i] > 0))
    assert set(seen) >= {(1, True), (2, True)} and 0 < p['entity'].scores['true_posterior'].max() <= 1

@pytest.mark.parametrize('name, kind', [('bert', 'word'), ('bert', 'bpe'), ('t5', 'word'), ('gpt_neox', 'bpe'), ('llama', 'bpe'), ('short', 'bpe')])
def test_cloze_of_every_family(name, kind):
    e = Examples([f'q{i}' for i in range(5)], [a + (' ' if i == 3 else '') for i, a in enumerate(ASKS[:5])], None, extra=dict(answer=['the tree', 'house', 'old house', 'a', 'big dog ran']))
    s, task = scorer(name, kind), Task('facts', dict(test=e))
    p, q = run(s, 'cloze', task), ask(Task('facts', dict(test=e)), prompt='text')
    assert tuple(p) == (('first',) if name in ('bert', 't5') else KEYS['cloze'])
    for i, text in enumerate(q.prompt):
        w, answer = slow.of_words(s.model, s.tokenizer, text.rstrip(' ')), e.extra['answer'][i] # the space belongs to what follows
        truth = s.tokenizer(' ' + answer, add_special_tokens=False)['input_ids']
        assert_allclose([p['first'].conf[i], p['first'].scores['margin'][i]], [w['msp'], w['margin']], rtol=0, atol=1e-5)
        assert p['first'].correct[i] == (w['word'] == truth[0])
        if 'entity' in p:
            tokens, rows = slow.write(s.model, s.tokenizer, text.rstrip(' '), len(truth))
            assert p['entity'].correct[i] == (tokens == truth)
            assert p['entity'].conf[i] == pytest.approx(np.prod([r.exp().max().item() for r in rows]), abs=1e-5)
    assert 'true_posterior' not in p['first'].scores

def test_cloze_from_options_and_labels_and_cut_at_the_beginning():
    tok = tokenizer('word', 'bos')
    model = build('llama', (2, 32, 4), tok, 'causal', seed=1, initializer_range=.25, max_position_embeddings=9)
    e = Examples(['a', 'b'], [ASKS[6], ASKS[0]], [0, 1], options=[('cat', 'dog'), ('old cat', 'tree')], posterior=[[.7, .3], [.5, .5]])
    s, task = Scorer(model, tok), Task('facts', dict(test=e))
    with pytest.raises(ValueError, match="question 'a' has 11 tokens"): run(s, 'cloze', task)
    p = run(s, 'cloze', task, truncate=True)
    stem = [tok.bos_token_id, *tok(ASKS[6], add_special_tokens=False)['input_ids'][-8:]]
    assert p['first'].scores['cut'].tolist() == [2, 0] and p['first'].conf[0] == pytest.approx(slow.told(model, stem, [0])[0].exp().max().item(), abs=1e-5)
    assert p['entity'].scores['loglik'][0] == pytest.approx(slow.loglik(model, stem, tok('cat', add_special_tokens=False)['input_ids']), abs=1e-5)


# ---- tokens

PLAIN = Examples(['x', 'y', 'z'], ['the red cat sat on the old house, a big dog ran in by the tree', 'é', 'a tree'], None)

@pytest.mark.parametrize('window, stride', [(None, None), (6, 2), (5, None)])
@pytest.mark.parametrize('name', ['llama', 'gpt_neox', 'short'])
def test_every_token_of_a_text_once(name, window, stride, monkeypatch):
    s, task = scorer(name, 'bpe', batch_tokens=40), Task('plain', dict(test=PLAIN))
    tok = s.tokenizer
    monkeypatch.setattr(extraction, '_CHUNK', 2)
    p = run(s, 'tokens', task, window=window, stride=stride)['tokens']
    uid, rows, w = [], [], window or 2048
    for u, text in zip(PLAIN.uid, PLAIN.a, strict=True):
        ids = [tok.bos_token_id, *tok(text, add_special_tokens=False)['input_ids']]
        for t, lp, dist in slow.every_token(s.model, ids, w, stride or w // 2):
            uid.append(f'{u}:{t}'); rows.append((lp, dist.max().exp().item(), dist.argmax().item(), -(dist.exp() * dist).sum().item(), dist.argmax().item() == ids[t]))
    assert p.uid.tolist() == uid and p.cluster.tolist() == [u.split(':')[0] for u in uid]
    lp, msp, word, entropy, right = map(np.array, zip(*rows, strict=True))
    assert_allclose(np.c_[p.scores['logprob'], p.conf, p.scores['word'], p.scores['entropy']], np.c_[lp, msp, word, entropy], rtol=0, atol=2e-5)
    assert_array_equal(p.correct, right)
    size = sum(len(t.encode()) for t in PLAIN.a)
    assert p.meta['nll'] == pytest.approx(-lp.mean(), abs=1e-5) and p.meta['bits_per_byte'] == pytest.approx(-lp.sum() / np.log(2) / size, abs=1e-5)

def test_texts_without_tokens_are_left_out():
    s = scorer('llama', 'word')
    p = run(s, 'tokens', Task('plain', dict(test=Examples(['a', 'b'], ['', 'the cat'], None))))['tokens']
    assert p.uid.tolist() == ['b:1', 'b:2']


# ---- P(True)

def test_the_model_is_asked_whether_its_own_answer_is_true():
    s = scorer()
    for mode, kw in (('letters', {}), ('options', {}), ('answer', dict(max_tokens=6, prompt='plain'))):
        for p in run(s, mode, p_true=True, **kw).values():
            pick = np.nanargmax(p.logits, 1) if p.logits is not None else p.scores['option'].astype(int)
            for i, (a, o, j) in enumerate(zip(ASKS, CHOICES, pick, strict=True)):
                if j < 0: assert p.scores['p_true'][i] == 0; continue
                shown = '\n'.join(f'{x}. {t}' for x, t in zip('ABCDE', o, strict=False))
                text = f"Question: {a}\n{shown}\nProposed answer: {'ABCDE'[j]}. {o[j]}\nIs the proposed answer:\nA. True\nB. False\nThe proposed answer is:"
                assert p.scores['p_true'][i] == pytest.approx(softmax(slow.letters(s.model, s.tokenizer, text, 2))[0], abs=1e-5)

def test_p_true_finds_its_question_in_any_order():
    s = scorer()
    p = run(s, 'letters')['letters']
    a, b = add_p_true(s, p, QUIZ, TASK), add_p_true(s, p, take(QUIZ, [6, 5, 4, 3, 2, 1, 0]), TASK)
    assert_allclose(a.scores['p_true'], b.scores['p_true'], rtol=0, atol=1e-6)


# ---- stopping, going on, refusing

class Stop:
    "A reader that counts its pieces and fails at one of them."
    def __init__(self, monkeypatch, name, at, error):
        self.pieces, self.at, real = [], at, getattr(extraction, name)
        def read(s, q, *args):
            q0 = q[0] if isinstance(q, list) else q
            self.pieces.append(q0.uid.tolist())
            if len(self.pieces) == self.at: raise error
            return real(s, q, *args)
        monkeypatch.setattr(extraction, name, read)

@pytest.mark.parametrize('error', [RuntimeError('the power is out'), KeyboardInterrupt()], ids=['error', 'ctrl-c'])
@pytest.mark.parametrize('mode, kw', [('letters', {}), ('options', {}), ('permuted', {}), ('answer', dict(max_tokens=4, prompt='plain')), ('cloze', {}), ('tokens', {}), ('letters', dict(p_true=True))], ids=lambda x: x if isinstance(x, str) else '-'.join(x))
def test_what_was_read_stays_and_the_same_command_goes_on(mode, kw, error, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, '_CHUNK', 3)
    run(scorer(), mode, out=tmp_path / 'whole', **kw)
    want = {f.name: f.read_bytes() for f in sorted((tmp_path / 'whole').iterdir())}
    assert len(want) == len(KEYS[mode]) and all(n.startswith(f'quiz-LlamaForCausalLM-{dict(options="bare", cloze="text", tokens="text").get(mode, "plain")}-0shot-{mode}') for n in want)
    out = tmp_path / 'made' / 'here'
    with monkeypatch.context() as m:
        stopped = Stop(m, f'read_{mode}', 2, error)
        with pytest.raises(type(error)) as e: run(scorer(), mode, out=out, **kw)
        if isinstance(error, KeyboardInterrupt): assert '3 of 7 questions in all; the same command goes on' in str(e.value) and str(out) in str(e.value)
    assert not list(out.glob('*.parquet')) and len(list(out.iterdir())) == 1, 'nothing that looks finished'
    with monkeypatch.context() as m:
        again = Stop(m, f'read_{mode}', 0, error)
        found = run(scorer(), mode, out=out, **kw)
    assert again.pieces[0] == stopped.pieces[1] and len(again.pieces) == 2, 'the first piece is not read again'
    assert {f.name: f.read_bytes() for f in sorted(out.iterdir())} == want, 'to the last byte, and no folder of pieces is left'
    with monkeypatch.context() as m:
        third = Stop(m, f'read_{mode}', 1, error)
        same = run(scorer(), mode, out=out, **kw)
    assert third.pieces == [], 'what is finished is not read at all'
    for key in found: assert_array_equal(same[key].conf, found[key].conf); assert same[key].meta == found[key].meta
    assert_array_equal(found[KEYS[mode][0]].uid if mode != 'tokens' else list(dict.fromkeys(found['tokens'].cluster)), QUIZ.uid)

def half(tmp_path, monkeypatch, mode='letters', **kw):
    "A run that was stopped in its second piece, and its folder of pieces."
    monkeypatch.setattr(extraction, '_CHUNK', 3)
    with monkeypatch.context() as m:
        Stop(m, f'read_{mode}', 2, OSError('stop'))
        with pytest.raises(OSError, match='stop'): run(scorer(), mode, out=tmp_path, **kw)
    return next(tmp_path.glob('.*.parts'))

def test_pieces_of_another_extraction_are_refused(tmp_path, monkeypatch):
    parts = half(tmp_path, monkeypatch)
    for kw, says in ((dict(seed=1), 'seed was 0 and is 1'), (dict(truncate=True), 'truncate was False and is True'), (dict(limit=3), 'n was 7 and is 3'), (dict(task=Task('quiz', dict(test=rotated(QUIZ, 1)))), 'questions was')):
        with pytest.raises(ValueError, match=f'holds pieces of another extraction: .*{says}.*give another --out'): run(scorer(), 'letters', out=tmp_path, **kw)
    other = build('llama', (2, 32, 4), tokenizer('bpe', 'bos'), 'causal', seed=2, num_key_value_heads=2)
    with pytest.raises(ValueError, match='weights was'): run(Scorer(other, tokenizer('bpe', 'bos')), 'letters', out=tmp_path)
    monkeypatch.setattr(extraction, '_CHUNK', 2)
    with pytest.raises(ValueError, match='chunk was 3 and is 2'): run(scorer(), 'letters', out=tmp_path)
    assert parts.exists()
    run(scorer(), 'options', out=tmp_path) # another mode is another file
    monkeypatch.setattr(extraction, '_CHUNK', 3)
    run(scorer(), 'letters', out=tmp_path)
    assert not parts.exists()

def test_pieces_of_another_version_are_refused(tmp_path, monkeypatch):
    half(tmp_path, monkeypatch)
    monkeypatch.setattr(extraction, '_CHUNK', 3)
    for where, value, says in ((extraction, 2, 'format was 1 and is 2'), (extraction.torch, '9.9', "torch was '[^']*' and is '9.9'"), (extraction.plcal_study, '9.9', "plcal_study was '[^']*' and is '9.9'")):
        with monkeypatch.context() as m:
            m.setattr(where, '_PIECES' if where is extraction else '__version__', value)
            with pytest.raises(ValueError, match=f'holds pieces of another extraction: .*{says}'): run(scorer(), 'letters', out=tmp_path)

def test_what_was_being_written_when_a_process_was_killed_is_put_away(tmp_path, monkeypatch):
    found = run(scorer(), 'letters', out=tmp_path)
    file = next(tmp_path.glob('*.parquet'))
    (tmp_path / f'.{file.name}.ab12_xyz').write_text('half'); (tmp_path / '.other.parquet.ab12_xyz').write_text('of another')
    (parts := tmp_path / f'.{file.stem}.parts').mkdir(); (parts / '00000.json').write_text('[]') # it died while the pieces were being removed
    again = run(scorer(), 'letters', out=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['.other.parquet.ab12_xyz', file.name] and again['letters'].meta == found['letters'].meta

def test_finished_files_of_another_extraction_are_refused(tmp_path):
    run(scorer(), 'options', out=tmp_path)
    before = {f: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(ValueError, match='-raw.parquet is of another extraction: seed was 0 and is 1; give another --out'): run(scorer(), 'options', out=tmp_path, seed=1)
    changed = build('llama', (2, 32, 4), tokenizer('bpe', 'bos'), 'causal', seed=1, initializer_range=.25, num_key_value_heads=2)
    assert fingerprint(changed) == fingerprint(scorer().model)
    with torch.no_grad(): changed.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-3
    with pytest.raises(ValueError, match='weights was'): run(Scorer(changed, tokenizer('bpe', 'bos')), 'options', out=tmp_path)
    assert {f: f.read_bytes() for f in tmp_path.iterdir()} == before
    (tmp_path / next(f.name for f in before if f.name.endswith('-pmi.parquet'))).unlink() # one of five is gone
    assert tuple(run(scorer(), 'options', out=tmp_path)) == KEYS['options'] and len(list(tmp_path.iterdir())) == 5

@pytest.mark.parametrize('harm, says', [
    (lambda d: (d / 'job.json').write_text('{"task": "qu'), 'job.json is damaged or cut short; remove'), (lambda d: (d / 'job.json').write_text('[1]'), 'job.json is damaged'),
    (lambda d: (d / '00000.json').write_text('["lett'), '00000.json is damaged'), (lambda d: (d / '00000.json').write_text('{}'), '00000.json is damaged'),
    (lambda d: (d / '00000-letters.parquet').write_bytes(b'PAR1 and no more'), '00000-letters.parquet is not a readable Parquet file')], ids=['job', 'job of a list', 'piece', 'piece of a dict', 'table'])
def test_a_damaged_piece_is_named(harm, says, tmp_path, monkeypatch):
    harm(half(tmp_path, monkeypatch))
    with pytest.raises(ValueError, match=says): run(scorer(), 'letters', out=tmp_path)

def test_a_table_that_is_gone_is_named(tmp_path, monkeypatch):
    (half(tmp_path, monkeypatch) / '00000-letters.parquet').unlink()
    with pytest.raises(FileNotFoundError, match='00000-letters.parquet'): run(scorer(), 'letters', out=tmp_path)

def test_a_piece_without_its_seal_is_read_again(tmp_path, monkeypatch):
    "Tables are written before the file that says they are whole."
    parts = half(tmp_path, monkeypatch)
    (parts / '00000.json').unlink()
    (parts / '00000-letters.parquet').write_bytes(b'half a')
    stop = Stop(monkeypatch, 'read_letters', 0, None)
    run(scorer(), 'letters', out=tmp_path)
    assert len(stop.pieces) == 3

def test_pieces_go_by_group_and_then_by_length_and_come_back_in_order(monkeypatch):
    monkeypatch.setattr(extraction, '_CHUNK', 2)
    stop = Stop(monkeypatch, 'read_letters', 0, None)
    p = run(scorer(), 'letters')['letters']
    order = [u for piece in stop.pieces for u in piece]
    length = dict(zip(QUIZ.uid.tolist(), map(len, ask(TASK).prompt), strict=True))
    assert [length[u] for u in order] == sorted(length.values(), reverse=True) and [len(x) for x in stop.pieces] == [2, 2, 2, 1]
    right_letters(scorer(), p, ask(TASK))
    stop.pieces.clear()
    shots = Examples([f's{i}' for i in range(4)], ['the'] * 4, [0] * 4, options=[('a', 'the')] * 4, cluster=list('abcd'))
    run(scorer(), 'letters', Task('quiz', dict(train=shots, test=QUIZ)), shots=1)
    cluster = dict(zip(QUIZ.uid.tolist(), GROUPS, strict=True))
    groups = [cluster[u] for piece in stop.pieces for u in piece]
    assert len([1 for a, b in zip(groups, groups[1:], strict=False) if a != b]) == 3, 'each group in one go'

def test_memory_that_runs_out_changes_no_number(monkeypatch):
    whole = run(scorer(), 'options')
    model, tok = family('llama', 'bpe')
    forward = model.model.forward
    def tight(input_ids=None, **more):
        if input_ids.numel() > 70: raise torch.OutOfMemoryError('CUDA out of memory')
        return forward(input_ids=input_ids, **more)
    monkeypatch.setattr(scoring.gc, 'collect', lambda: None)
    monkeypatch.setattr(model.model, 'forward', tight)
    less = run(scorer(), 'options')
    for key in whole: assert_allclose(less[key].logits, whole[key].logits, rtol=0, atol=1e-5)
    assert less['raw'].meta['batch_tokens'] < whole['raw'].meta['batch_tokens'] == 4096


# ---- what is told

def test_meta_tells_how_it_was_read(tmp_path):
    import plcal_study, transformers
    s = scorer(batch_tokens=77)
    p = run(s, 'options', limit=4, seed=3, name='mine', out=tmp_path)['char']
    m = p.meta
    assert json.loads(json.dumps(m)) == m
    assert {k: m[k] for k in ('task', 'split', 'model', 'mode', 'prompt', 'shots', 'chat', 'seed', 'n', 'confidence', 'dtype', 'batch_tokens', 'attention', 'device', 'shared', 'truncate', 'truncated', 'p_true')} == \
        dict(task='quiz', split='test', model='mine', mode='options', prompt='bare', shots=0, chat=False, seed=3, n=4, confidence='char', dtype='float32', batch_tokens=77, attention='sdpa', device='cpu', shared=True, truncate=False, truncated=0, p_true=False)
    assert (m['torch'], m['transformers'], m['plcal_study']) == (torch.__version__, transformers.__version__, plcal_study.__version__)
    assert m['tie_rate'] == p.scores['tie'].mean() and m['weights'] == fingerprint(s.model) and len(p) == 4
    assert {f.name for f in tmp_path.iterdir()} == {f'quiz-mine-bare-0shot-options-{k}.parquet' for k in KEYS['options']}
    assert run(scorer(), 'answer', prompt='plain', max_tokens=3)['answer'].meta['max_tokens'] == 3
    assert {k: run(scorer(), 'tokens', window=9, stride=4)['tokens'].meta[k] for k in ('window', 'stride')} == dict(window=9, stride=4)
    assert not run(scorer('bert', 'word'), 'letters')['letters'].meta['shared'] and not run(scorer(share=False), 'letters')['letters'].meta['shared']

def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(scorer(), 'letters')
    assert list(tmp_path.iterdir()) == []
    Stop(monkeypatch, 'read_letters', 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt, match='nothing was written'): run(scorer(), 'letters')

def test_progress_is_shown_where_it_is_asked_for(capsys):
    extract(scorer(), TASK, 'letters')
    assert '7/7' in capsys.readouterr().err
    run(scorer(), 'letters')
    assert capsys.readouterr().err == ''

@pytest.mark.parametrize('name', ['llama', 'bert', 't5'])
def test_a_model_by_its_folder_is_of_the_kind_that_was_saved(name, tmp_path):
    model, tok = family(name, 'word')
    save(model, tok, tmp_path / 'm')
    s = open_model(tmp_path / 'm')
    assert s.kind == dict(llama='causal', bert='masked', t5='seq2seq')[name] and s.batch_tokens == 2048
    p = run(tmp_path / 'm', 'letters', batch_tokens=99)['letters']
    assert_allclose(p.logits, run(scorer(name, 'word'), 'letters')['letters'].logits, rtol=0, atol=1e-5)
    assert p.meta['model'] == 'm' and p.meta['batch_tokens'] == 99

def test_bfloat16_is_held_against_float32(tmp_path):
    model, tok = family('llama', 'bpe')
    save(model, tok, tmp_path / 'm')
    p = run(tmp_path / 'm', 'letters', dtype='bfloat16')['letters']
    exact = run(tmp_path / 'm', 'letters')['letters']
    low = Scorer(load(tmp_path / 'm', 'causal', dtype=torch.bfloat16)[0], tok, 2048) # rotary frequencies stay what they are
    def first(s): return {int(i): z.log_softmax(0) for h in scoring.listen(s, scoring.encode(s, ASKS)[0]) for i, z in zip(h.rows, h.stem, strict=True)}
    a, b = first(scorer()), first(low)
    top = {i: int(z.argmax()) for i, z in a.items()}
    assert p.meta['dtype'] == 'bfloat16' and p.meta['dtype_checked'] == 7
    assert p.meta['dtype_error'] == pytest.approx(max(abs(a[i][t] - b[i][t]).item() for i, t in top.items()), abs=1e-4) and p.meta['dtype_error'] > 1e-4
    assert p.meta['dtype_moved'] == sum(int(b[i].argmax()) != t for i, t in top.items())
    assert 'dtype_error' not in exact.meta and np.nanmax(np.abs(p.logits - exact.logits)) > 1e-4
    assert_allclose(p.logits, exact.logits, atol=.7)
    assert np.unique(p.logits[~np.isnan(p.logits)]).size == np.unique(exact.logits[~np.isnan(exact.logits)]).size, 'logits of float32: none fall together'

def test_what_it_would_cost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    s = scorer()
    def n(text): return len(s.tokenizer(text, add_special_tokens=False)['input_ids'])
    plain, bare = ask(TASK), ask(TASK, prompt='bare')
    want = dict(letters=sum(map(n, plain.prompt)), options=sum(map(n, bare.prompt)) + sum(n(' ' + o) for own in CHOICES for o in own), permuted=5 * sum(map(n, plain.prompt)), tokens=sum(map(n, ASKS)), cloze=sum(map(n, ASKS)))
    for mode, tokens in want.items():
        e = estimate(s, TASK, mode)
        assert (e.questions, e.tokens) == (7, tokens) and e.seconds > 0 and e.memory > 1e6, mode
    assert estimate(s, TASK, 'letters', limit=2).questions == 2 and estimate(s, TASK, 'answer', max_tokens=2, prompt='plain').tokens == want['letters']
    one = Task('q', dict(test=Examples(['1', '2'], ['the', 'a'], [0, 1], options=[('cat', 'dog'), ('old', 'red')]))) # every option of one token
    assert estimate(scorer('llama', 'word'), one, 'options').tokens == 2 * 5 + 4 + 0 * n('')
    assert list(tmp_path.iterdir()) == []


# ---- an endpoint

def test_replies_of_an_endpoint_survive_its_refusal(tmp_path, monkeypatch):
    "Three questions a piece; from the fifth request on the server refuses. What came is kept and not asked again."
    import ssl
    monkeypatch.setattr(ssl.SSLContext, 'load_verify_locations', lambda *args, **kwargs: None) # nothing here is encrypted
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'http_proxy', 'https_proxy', 'all_proxy', 'OPENAI_API_KEY'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(extraction, '_CHUNK', 3)
    model, tok = family('gpt_neox', 'bpe')
    speaker, refuse = Speaker(model, tok), [True]
    with serving(speaker, lambda n, path, q: ('status', 403) if refuse[0] and n >= 4 else None) as server:
        end = Endpoint(server.base, 'tiny', chat=False, top=len(tok), workers=1, wait=.01, retries=0, timeout=20)
        with pytest.raises(EndpointError, match='403'): run(end, 'letters', out=tmp_path)
        parts = next(tmp_path.glob('.*.parts'))
        assert {f.name for f in parts.iterdir()} >= {'job.json', '00000.json', '00000-letters.parquet', '00001.kept.json'} and not (parts / '00001.json').exists()
        refuse[0], before = False, len(server.asked)
        p = run(end, 'letters', out=tmp_path)['letters']
        assert len(server.asked) - before == 3, 'four of seven were kept'
    assert [f.name for f in tmp_path.iterdir()] == ['quiz-tiny-plain-0shot-letters.parquet']
    assert_allclose(p.logits, run(Scorer(model, tok), 'letters')['letters'].logits, rtol=0, atol=1e-4)
    assert_array_equal(p.uid, QUIZ.uid)
    e = estimate(end, TASK, 'letters')
    assert e.questions == 7 and e.tokens == sum(map(len, ask(TASK).prompt)) // 4 and np.isnan(e.seconds) and np.isnan(e.memory)


# ---- two real decoders

@pytest.fixture(scope='module', params=['stories260K', 'TinyStories-656K'])
def decoder(request):
    folder = Path(os.environ.get('PLCAL_DATA', '.')).parent / 'models' / request.param
    if not folder.exists(): pytest.skip(f'the decoder {request.param} is not in the folder models beside the data')
    return request.param, Scorer(*load(folder, 'causal'))

STORIES = ['Once upon a time, there was a little girl named Lily. She had a big red ball. Every day she played with the ball in the park. One day the ball rolled under a tree. Lily was sad. A dog came and got the ball for her. "Thank you, dog!" said Lily. They were happy and played all day.',
           'Tom and his mom went to the park. Tom saw a big slide. He wanted to go on it, but he was scared. "You can do it," said his mom. Tom went up and then he went down very fast. He laughed and said, "Again! Again!" Mom smiled and was very happy.',
           'One day, a little bird wanted to fly. It tried and tried, but it fell down. Its mom said, "Do not be sad. Try again." The little bird tried again and it flew up into the sky. The bird was so happy that it sang a song.'] # ours
NEWS = ['The central bank raised its benchmark interest rate by a quarter point on Wednesday, citing persistent inflation in services and a labour market that remained tight despite slower hiring in manufacturing.',
        'Shares of the semiconductor maker fell eleven percent after regulators opened an antitrust inquiry into licensing agreements with three of its largest customers, according to a filing published late on Tuesday.',
        'Negotiators adjourned without agreement on emissions targets, and delegates from several coastal states demanded compensation for infrastructure damaged by successive hurricanes.'] # ours

def test_a_decoder_is_at_home_in_stories_and_not_in_news(decoder):
    _, s = decoder
    a, b = (run(s, 'tokens', Task(n, dict(test=Examples([str(i) for i in range(3)], texts, None))))['tokens'] for n, texts in (('stories', STORIES), ('news', NEWS)))
    assert a.meta['bits_per_byte'] < 1 < 3 < b.meta['bits_per_byte'] and a.meta['nll'] < b.meta['nll'] - 1
    assert a.conf.mean() > b.conf.mean() + .09 and a.correct.mean() > b.correct.mean() + .2
    assert ece(a.conf, a.correct, 5) < .1 < .15 < ece(b.conf, b.correct, 5) and a.conf.mean() - a.correct.mean() < .1 < b.conf.mean() - b.correct.mean()
    ids = [s.tokenizer.bos_token_id, *s.tokenizer(STORIES[0], add_special_tokens=False)['input_ids']]
    with torch.no_grad(): z = s.model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    mine = a.cluster == '0'
    assert_allclose(a.scores['logprob'][mine], z[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0], rtol=0, atol=2e-5)
    assert_allclose(a.conf[mine], z[:-1].max(1).values.exp(), rtol=0, atol=1e-5)

TALES = Examples(['1', '2', '3'], ['Once upon a time, there was a little girl named', 'Tom had a red ball. He liked to play with his', 'The cat was hungry. It wanted to eat a'], [0, 1, 0], options=[('Lily', 'the moon', 'Tim'), ('moon', 'ball', 'mom'), ('fish', 'big tree')])

def test_a_decoder_completes_stories_in_every_mode(decoder):
    name, s = decoder
    task = Task('tales', dict(test=TALES))
    q = ask(task, prompt='text')
    found = run(s, 'options', task, prompt='text')
    right_options(s, found, q)
    for mode in ('cloze',):
        p = run(s, mode, task)
        for i, text in enumerate(q.prompt):
            if name == 'stories260K':
                assert p['first'].conf[i] == pytest.approx(slow.of_words(s.model, s.tokenizer, text)['msp'], abs=1e-5)
                assert p['entity'].scores['loglik'][i] == pytest.approx(slow.said(s.model, s.tokenizer, text, (' ' + TALES.options[i][TALES.label[i]],))[0][0], abs=1e-4)
    p = run(s, 'answer', task, prompt='text', max_tokens=12)['answer']
    for i, text in enumerate(q.prompt):
        whole = s.tokenizer.decode(slow.write(s.model, s.tokenizer, text, 12)[0], skip_special_tokens=True)
        want = parse_answer(whole, TALES.options[i]).option
        assert p.scores['option'][i] == (-1 if want is None else want)
    if name == 'stories260K': assert found['raw'].correct.sum() >= 2

def test_a_piece_without_logits_leaves_none_to_the_whole():
    "An endpoint that told no letter in some piece: its answers are kept, and no logits are made up for them."
    from plcal_study.lm.prompts import Asked
    from plcal_study.measure.predictions import from_grades, from_logits
    q = Asked(np.array(['a', 'b', 'c']), ['?'] * 3, [('x', 'y')] * 3, np.array([0, 1, 0]), None, None, {}, np.zeros(3, int), {})
    parts = [from_grades([0.], [False], ['c'], unparseable=np.array([1.])), from_logits(np.log([[.9, .1], [.3, .7]]), np.array([0, 1]), ['a', 'b'], unparseable=np.zeros(2))]
    p = extraction._join(parts, q)
    assert p.logits is None and p.uid.tolist() == ['a', 'b', 'c'] and p.scores['unparseable'].tolist() == [0, 0, 1]
    np.testing.assert_allclose(p.conf, [.9, .7, 0.])


# ---- a model larger than a GPU

@pytest.mark.parametrize('name, kind, dtype, modes', [('gpt_neox', 'bpe', 'float32', ('letters', 'options', 'answer')), ('llama', 'bpe', 'bfloat16', ('options', 'tokens')), ('t5', 'word', 'float32', ('options',)), ('bert', 'word', 'bfloat16', ('letters',))])
def test_a_model_in_parts_gives_the_numbers_of_the_whole(name, kind, dtype, modes, tmp_path):
    "Weights that stay on the disk until they are used, as those do for which GPUs and memory are too small; and the map that is found by itself."
    home = save(*family(name, kind), tmp_path / 'm')
    whole = open_model(home, dtype)
    for device, parted in (({'': 'disk'}, True), ('auto', False)):
        s = open_model(home, dtype, device=device)
        assert any(p.is_meta for p in s.model.parameters()) == parted and s.device.type == 'cpu' and fingerprint(s.model) == fingerprint(whole.model)
        for mode in modes:
            a, b = (run(x, mode, max_tokens=5) for x in (whole, s))
            for k in a: assert_allclose(a[k].conf, b[k].conf, rtol=0, atol=1e-6)

def test_where_float32_does_not_fit_the_model_is_read_unchecked(tmp_path, monkeypatch):
    t = tokenizer() if callable(tokenizer) else tokenizer
    save(build('llama', (1, 16, 2), t, 'causal'), t, tmp_path / 'm')
    first = extraction._first
    def no(s, texts):
        if next(s.model.parameters()).dtype == torch.float32: raise torch.OutOfMemoryError('CUDA out of memory')
        return first(s, texts)
    monkeypatch.setattr(extraction, '_first', no)
    said = open_model(tmp_path / 'm', 'bfloat16', check=['a']).said
    assert said['dtype_unchecked'] == 'float32 did not fit into memory' and 'dtype_error' not in said
