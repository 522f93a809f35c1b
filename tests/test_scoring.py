"Scoring against the slow way (`slow_reading`): families, tokenizers, batch shapes, shared beginnings, windows, memory that runs out, half precision, writing."
import functools, os
from pathlib import Path
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from tokenizers import Tokenizer, decoders, models as tk_models, trainers
from transformers import (AutoModelForCausalLM, BertConfig, BloomConfig, GemmaConfig, GPT2Config, GPTJConfig, GPTNeoConfig, LlamaConfig, MistralConfig, OPTConfig, PreTrainedTokenizerFast, Qwen2Config)
import slow_reading as slow
from plcal_study.lm import scoring
from plcal_study.lm.models import build, load
from plcal_study.lm.scoring import Row, Scorer, TooLong, check_logits, common, encode, every_token, greedy, halving, listen, of_words, pooled, spellings, windows
from plcal_study.lm.testbed import reframe, train_tokenizer

WORDS = 'the a cat dog house tree sat ran stood on in by red old big . , ? : A B C D E Answer Question'.split()
TEXTS = ['the red cat sat on the old house.', 'a big dog ran in by the tree', 'Question: the cat? Answer: A.', 'the old tree stood by a house', 'B C D E A', 'red big old, a cat on a dog']
FRAME = dict(bert='cls', t5='eos', gpt_neox='none', llama='bos', short='none', long='bos')
MISTRAL = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64)


@functools.cache
def tokenizer(kind='word', frame='none'):
    "'word', 'bpe' (bytes), or 'seam': merges go across spaces, so prompt and option cannot be encoded apart."
    if frame != 'none': return reframe(tokenizer(kind), frame)
    if kind != 'seam': return train_tokenizer([' '.join(WORDS), *TEXTS * 3], 420, kind=kind, keep=WORDS if kind == 'word' else (), frame='none')
    raw = Tokenizer(tk_models.BPE(unk_token='<unk>'))
    raw.decoder = decoders.Fuse()
    alphabet = sorted(set(' '.join([*WORDS, *TEXTS])) | {'\n'})
    raw.train_from_iterator([t for t in TEXTS for _ in range(9)], trainers.BpeTrainer(vocab_size=160, special_tokens=['<pad>', '<unk>', '<s>', '</s>'], initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token='<pad>', unk_token='<unk>', bos_token='<s>', eos_token='</s>', clean_up_tokenization_spaces=False)

def special(tok): return dict(vocab_size=len(tok), pad_token_id=tok.pad_token_id, bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id)

def of_config(cls, tok, seed=0, **fields):
    "A model of a family that `build` does not know."
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(cls(**dict(special(tok), initializer_range=.25) | fields)).eval()

@functools.cache
def family(name, kind='word'):
    "A small model with weights large enough that a wrong position shows, and its tokenizer."
    tok = tokenizer(kind, FRAME[name])
    if name in ('short', 'long'): model = of_config(MistralConfig, tok, sliding_window={'short': 7, 'long': 4096}[name], **MISTRAL)
    elif name == 't5': model = build('t5', (2, 32, 2), tok, 'seq2seq', seed=1, initializer_factor=1.3)
    else: model = build(name, (2, 32, 4), tok, 'masked' if name == 'bert' else 'causal', seed=1, initializer_range=.25, **dict(num_key_value_heads=2) if name == 'llama' else {})
    model.mask, model.sentinel = tok.mask_token_id, tok.convert_tokens_to_ids('<extra_id_0>')
    return model, tok

CAUSAL = ['gpt_neox', 'llama', 'short', 'long']

@functools.cache
def rows(name):
    "Stems with long, short and no common beginnings; branches of one and of many tokens, equal ones, one that begins with another; twins; a row without branches."
    model, tok = family(name)
    rng = np.random.default_rng(5)
    def ids(n): return rng.integers(8, len(tok), n).tolist()
    a, b, twin = ids(18), ids(21), ids(4)
    stems = [a + ids(3), a + twin, a + ids(1), b + ids(6), b + ids(2), ids(5), ids(1), a + twin, ids(30)]
    group = np.array([0, 0, 0, 1, 1, 2, 2, 0, 3])
    hole = {'bert': [model.mask], 't5': [model.sentinel]}.get(name, [])
    one, two = ids(1), ids(3)
    branches = [[one, two, two + ids(2), ids(2)], [ids(1) for _ in range(3)], [two, two], [ids(4), one + ids(2), one], [ids(6)], [ids(1), ids(3)], [two, one], [], [ids(2), ids(5)]]
    skip = [[], [], [1, 1], [0, 1, 0], [2], [], [], [], [1, 3]] if name in CAUSAL else [[]] * 9
    return [Row(s + hole, b, k) for s, b, k in zip(stems, branches, skip, strict=True)], group

@functools.cache
def slowly(name):
    "What is right for `rows`: log-probabilities after each stem, log-likelihood of each branch."
    return told_slowly(family(name)[0], rows(name)[0])

def told_slowly(model, own): return [slow.told(model, r.stem, [0])[0].numpy() for r in own], [[slow.loglik(model, r.stem, b, (r.skip or [0] * 9)[j]) for j, b in enumerate(r.branches)] for r in own]

def heard(s, rows, group=None):
    "The answers of `listen` in the order of the rows, each once."
    stems, liks = {}, {}
    for h in listen(s, rows, group):
        for i, z, x in zip(h.rows.tolist(), h.stem.double().log_softmax(1).cpu().numpy(), h.loglik, strict=True):
            assert i not in stems
            stems[i], liks[i] = z, x
    assert sorted(stems) == list(range(len(rows)))
    return [stems[i] for i in range(len(rows))], [liks[i] for i in range(len(rows))]

def same(got, want, atol=1e-5):
    for (z, x), (p, y) in zip(zip(*got, strict=True), zip(*want, strict=True), strict=True):
        assert_allclose(z, p, rtol=0, atol=atol)
        assert_allclose(x, y, rtol=0, atol=5 * atol) # a sum of up to six

def test_the_weights_are_loud_enough_for_a_mistake_to_show():
    for name in FRAME:
        z, _ = slowly(name)
        msp = np.exp(np.max(z, 1))
        assert .1 < msp.mean() < .95 and np.abs(z[0] - z[5]).max() > 1, name


# ---- against the definition

SHAPES = [(name, n, share, grouped) for name in FRAME for n in (1, 64, 4096) for share in (True, False) for grouped in (True, False) if name in CAUSAL or share and grouped]

@pytest.mark.parametrize('name, batch_tokens, share, grouped', SHAPES)
def test_every_family_at_every_batch_shape(name, batch_tokens, share, grouped):
    own, group = rows(name)
    s = Scorer(*family(name), batch_tokens=batch_tokens, share=share)
    got = heard(s, own, group if grouped else None)
    same(got, slowly(name))
    assert s.share == share and s.halved == 0, 'these families are shared'
    before = READINGS.setdefault(name, got)
    for x, y in zip(got[0] + got[1], before[0] + before[1], strict=True): assert np.abs(x - y).max(initial=0) < 1e-5, 'whatever stands beside a row'

READINGS = {} # the first of each family

@pytest.mark.parametrize('name', list(FRAME))
def test_the_order_of_rows_and_the_company_they_keep_change_nothing(name):
    own, group = rows(name)
    s, want = Scorer(*family(name), batch_tokens=128), slowly(name)
    order = np.random.default_rng(0).permutation(len(own))
    same(heard(s, [own[i] for i in order], group[order]), tuple([w[i] for i in order] for w in want))
    same(heard(s, own + own, np.r_[group, group]), tuple(w + w for w in want))
    for i in (0, 4, 6): same(heard(s, [own[i]], group[[i]]), tuple([w[i]] for w in want))

@pytest.mark.parametrize('name', list(FRAME))
def test_the_order_of_branches_changes_nothing(name):
    own, group = rows(name)
    turned = [Row(r.stem, r.branches[::-1], r.skip[::-1]) for r in own]
    a, b = (heard(Scorer(*family(name)), x, group) for x in (own, turned))
    for x, y in zip(a[1], b[1], strict=True): assert_allclose(x, y[::-1], rtol=0, atol=1e-5)
    same((b[0], [y[::-1] for y in b[1]]), slowly(name))

def test_no_row_is_no_work(): assert list(listen(Scorer(*family('llama')), [])) == []

def test_equal_branches_are_equal_to_the_last_bit():
    own, group = rows('llama')
    more = [Row(r.stem, r.branches + r.branches[:1], r.skip + r.skip[:1]) for r in own[:7]]
    for share in (True, False):
        for n in (1, 50, 4096):
            for x in heard(Scorer(*family('llama'), batch_tokens=n, share=share), more, group[:7])[1]: assert x[0] == x[-1]


# ---- how it is read

def lent(s, rows, group, monkeypatch):
    "Lengths of the beginnings whose cache is made for some rows, in order."
    heard(s, [Row(rows[0].stem)]) # the trial of `_trust`
    found, lend = [], scoring._lend
    with monkeypatch.context() as m:
        m.setattr(scoring, '_lend', lambda s, ids: found.append(len(ids)) or lend(s, ids))
        heard(s, rows, group)
    return sorted(found)

class Watch:
    "Counts what goes through a model: shapes of its inputs, rows that meet its head, caches that come along."
    def __init__(self, monkeypatch, model):
        self.shapes, self.asked, self.cached, self.masks = [], 0, [], 0
        body, head = model.base_model.forward, model.get_output_embeddings()
        def forward(input_ids=None, **more):
            self.shapes.append(tuple(input_ids.shape))
            self.cached.append(more['past_key_values'].get_seq_length() if more.get('past_key_values') is not None else 0)
            self.masks += more.get('attention_mask') is not None and more['attention_mask'].ndim == 4
            return body(input_ids=input_ids, **more)
        def ahead(module, args): self.asked += args[0][..., 0].numel()
        monkeypatch.setattr(model.base_model, 'forward', forward)
        self.hook = head.register_forward_pre_hook(ahead)
    def __enter__(self): return self
    def __exit__(self, *_): self.hook.remove()

@pytest.mark.parametrize('name', ['gpt_neox', 'llama', 'long'])
def test_a_common_beginning_is_read_once(name, monkeypatch):
    "Three rows of group 0 and their twin share 18 tokens, two of group 1 share 21: two caches, and the other tokens once each."
    own, group = rows(name)
    s = Scorer(*family(name))
    assert lent(s, own, group, monkeypatch) == [18, 21]
    with Watch(monkeypatch, s.model) as seen: got = heard(s, own, group)
    same(got, slowly(name))
    assert sorted(seen.cached) == [0, 0, 0, 18, 21] and seen.masks > 0
    assert sorted(seen.shapes)[:2] == [(1, 18), (1, 21)], 'each beginning alone, once'
    asked = sum(1 + sum(map(len, {tuple(b) for b in r.branches})) for r in own) # equal branches once
    assert asked <= seen.asked <= asked + 2, 'the head sees the asked positions, and the end of each beginning'

@pytest.mark.parametrize('n', [scoring._LEAST - 1, scoring._LEAST])
def test_a_beginning_that_is_too_short_is_not_worth_a_cache(n, monkeypatch):
    begin = np.random.default_rng(0).integers(8, 30, n).tolist()
    assert lent(Scorer(*family('llama')), [Row(begin + [8]), Row(begin + [9]), Row(begin + [10, 11])], np.zeros(3, int), monkeypatch) == [n] * (n >= scoring._LEAST)

def test_the_last_token_of_a_stem_is_never_in_the_cache(monkeypatch):
    "Of twins everything is common, and yet the last token must be read, as it is asked."
    begin = np.random.default_rng(0).integers(8, 30, 20).tolist()
    assert lent(Scorer(*family('llama')), [Row(begin), Row(begin)], np.zeros(2, int), monkeypatch) == [19]

def test_only_rows_that_are_said_to_share_are_looked_at(monkeypatch):
    own, _ = rows('llama')
    assert lent(Scorer(*family('llama')), own, None, monkeypatch) == []
    assert lent(Scorer(*family('llama')), own[:3], np.array([7, 7, 3]), monkeypatch) == [18]

@pytest.mark.parametrize('batch_tokens', [1, 40, 64, 4096])
def test_a_batch_keeps_to_its_budget_and_begins_with_the_longest(batch_tokens, monkeypatch):
    own, group = rows('llama')
    s = Scorer(*family('llama'), batch_tokens=batch_tokens, share=False)
    with Watch(monkeypatch, s.model) as seen: heard(s, own, group)
    assert all(b == 1 or b * t <= batch_tokens for b, t in seen.shapes)
    assert seen.shapes[0][1] == max(t for _, t in seen.shapes)
    if batch_tokens == 4096: assert len(seen.shapes) == 1

def test_common_is_what_all_begin_with():
    rng = np.random.default_rng(0)
    for _ in range(200):
        lists = [rng.integers(0, 2, rng.integers(0, 7)).tolist() for _ in range(rng.integers(1, 5))]
        assert common(lists) == max(n for n in range(8) if all(x[:n] == lists[0][:n] and len(x) >= n for x in lists))

def test_a_sliding_window_is_shared_only_where_it_hides_nothing(monkeypatch):
    own, group = rows('short')
    for window, shared in ((30, [18, 21]), (29, [])): # the longest row has 30 tokens, and its branches are of one token
        s = Scorer(of_config(MistralConfig, tokenizer(), sliding_window=window, **MISTRAL), tokenizer())
        assert s.window == window
        assert lent(s, [Row(r.stem) for r in own], group, monkeypatch) == shared
    assert Scorer(of_config(Qwen2Config, tokenizer(), sliding_window=7, use_sliding_window=False, **MISTRAL), tokenizer()).window is None


# ---- models that do not honour what sharing needs

@functools.cache
def odd(name):
    tok, small = tokenizer(), dict(n_embd=32, n_layer=2, n_head=4)
    if name == 'eager': return of_config(LlamaConfig, tok, attn_implementation='eager', **MISTRAL)
    if name == 'gpt2': return of_config(GPT2Config, tok, **small)
    if name == 'gptj': return of_config(GPTJConfig, tok, rotary_dim=8, **small)
    if name == 'opt': return of_config(OPTConfig, tok, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32, init_std=.25)
    if name == 'bloom': return of_config(BloomConfig, tok, hidden_size=32, n_layer=2, n_head=4)
    if name == 'qwen2': return of_config(Qwen2Config, tok, **MISTRAL)
    if name == 'bert': return of_config(BertConfig, tok, is_decoder=True, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    if name == 'gemma': return of_config(GemmaConfig, tok, head_dim=8, **MISTRAL)
    return of_config(GPTNeoConfig, tok, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=64, attention_types=[[['global', 'local'], 1]], window_size=24)

@functools.cache
def oddly(name): return told_slowly(odd(name), rows('gpt_neox')[0])

ODD = ['gpt2', 'opt', 'bloom', 'qwen2', 'gemma', 'eager', 'gptj', 'gpt_neo', 'bert']

@pytest.mark.filterwarnings('ignore:.*position_ids.*')
@pytest.mark.parametrize('first', ['letters', 'one branch', 'options'])
@pytest.mark.parametrize('name', ODD)
def test_other_families_are_read_right_whatever_was_read_before(name, first):
    "Letters, then options: what was found out about sharing on rows without branches must not be taken for more."
    own, group = rows('gpt_neox')
    s, want = Scorer(odd(name), tokenizer()), oddly(name)
    if first == 'letters': same(heard(s, [Row(r.stem) for r in own], group), (want[0], [()] * len(own)), 2e-5)
    if first == 'one branch': heard(s, [Row(r.stem, r.branches[-1:]) for r in own], group)
    same(heard(s, own, group), want, 2e-5)
    assert s.share == (name not in ('bloom', 'gpt_neo')), 'one takes no mask of four dimensions, the other has a window of its own'

class Deaf(torch.nn.Module):
    "A body that ignores positions, or masks of four dimensions."
    def __init__(self, body, what): super().__init__(); self.body, self.what, self.embed_tokens, self.layers = body, what, body.embed_tokens, body.layers
    def forward(self, **batch):
        if self.what == 'position_ids' or batch.get('attention_mask') is not None and batch['attention_mask'].ndim == 4: batch.pop(self.what, None)
        return self.body(**batch)

@pytest.mark.parametrize('first', [False, True])
@pytest.mark.parametrize('what', ['position_ids', 'attention_mask'])
def test_a_model_that_ignores_the_tree_is_found_out(what, first):
    own, group = rows('llama')
    model = build('llama', (2, 32, 4), tokenizer('word', 'bos'), 'causal', seed=1, initializer_range=.25, num_key_value_heads=2)
    assert model.base_model_prefix == 'model'
    model.model = Deaf(model.model, what)
    s = Scorer(model, tokenizer('word', 'bos'))
    if first: heard(s, [Row(r.stem) for r in own], group)
    same(heard(s, own, group), slowly('llama'))
    assert not s.share and s.checked

def test_a_model_that_takes_no_cache_is_found_out(monkeypatch):
    own, group = rows('llama')
    def refuse(*_): raise TypeError('no such argument')
    monkeypatch.setattr(scoring, '_lend', refuse)
    s = Scorer(*family('llama'))
    same(heard(s, own, group), slowly('llama'))
    assert not s.share

@pytest.mark.filterwarnings('ignore:.*position_ids.*')
@pytest.mark.parametrize('name', ODD)
def test_other_families_write_right(name):
    own, group = rows('gpt_neox')
    own, group = own[:5], group[:5]
    s = Scorer(odd(name), tokenizer())
    for p in paths(s, own, group, 12): right_path(s, own, p, 12, 2e-5)


def test_only_families_that_are_known_write_from_a_common_cache(monkeypatch):
    "Others may count positions by slots of the cache, where padding stands between the beginning and the rest."
    own, group = rows('gpt_neox')
    for model, shared in ((family('gpt_neox')[0], [18, 21]), (odd('gpt2'), [])):
        s, grown, grow = Scorer(model, tokenizer()), [], scoring._grown
        heard(s, own, group)
        with monkeypatch.context() as m:
            m.setattr(scoring, '_grown', lambda s, ids, grown=grown, grow=grow: grown.append(len(ids)) or grow(s, ids))
            paths(s, own, group, 3)
        assert s.share and sorted(grown) == shared


# ---- memory that runs out

class Small:
    "A machine on which a pass of more than `most` tokens does not fit."
    def __init__(self, monkeypatch, model, most, error):
        monkeypatch.setattr(scoring.gc, 'collect', lambda: None) # nothing to find here, and slow among many tests
        self.failed, forward = 0, model.base_model.forward
        def tight(input_ids=None, **more):
            if input_ids.numel() > most: self.failed += 1; raise error
            return forward(input_ids=input_ids, **more)
        monkeypatch.setattr(model.base_model, 'forward', tight)

ERRORS = [torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB'), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
          RuntimeError('DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes')]

@pytest.mark.parametrize('error', ERRORS, ids=['cuda', 'cpu', 'windows'])
@pytest.mark.parametrize('share', [True, False])
@pytest.mark.parametrize('name', ['llama', 'bert'])
def test_without_memory_the_batch_is_halved_and_goes_on(name, share, error, monkeypatch):
    own, group = rows(name)
    s = Scorer(*family(name), share=share)
    machine = Small(monkeypatch, s.model, 90, error)
    same(heard(s, own, group), slowly(name))
    assert machine.failed and s.halved and s.batch_tokens < 4096

@pytest.mark.parametrize('share', [True, False])
@pytest.mark.parametrize('name', ['llama', 'bert'])
def test_the_passes_of_one_row_are_halved_too(name, share, monkeypatch):
    "Two options of 34 tokens each do not fit together, and do one by one (shared: 36 tokens)."
    own, group = rows(name)
    s = Scorer(*family(name), share=share)
    Small(monkeypatch, s.model, 37, ERRORS[1])
    same(heard(s, own[8:], group[8:]), tuple(w[8:] for w in slowly(name)))

@pytest.mark.parametrize('share, most', [(True, 20), (True, 10), (False, 20)])
def test_a_single_row_that_does_not_fit_is_named(share, most, monkeypatch):
    own, group = rows('llama')
    s = Scorer(*family('llama'), share=share)
    Small(monkeypatch, s.model, most, ERRORS[1])
    with pytest.raises(MemoryError, match='alone does not fit into the memory of cpu'): heard(s, own[5:], group[5:])

def test_other_errors_are_not_taken_for_want_of_memory(monkeypatch):
    own, group = rows('llama')
    s = Scorer(*family('llama'))
    heard(s, own[:1], group[:1])
    Small(monkeypatch, s.model, 1, RuntimeError('shapes do not match'))
    with pytest.raises(RuntimeError, match='shapes do not match'): heard(s, own, group)
    assert s.halved == 0

def test_halves_are_halved_again_and_every_row_is_worked_on_once(monkeypatch):
    monkeypatch.setattr(scoring.gc, 'collect', lambda: None)
    s, done = Scorer(*family('llama'), batch_tokens=64), []
    def work(ids):
        if len(ids) > 2: raise torch.OutOfMemoryError('out of memory')
        done.extend(ids.tolist())
        return len(ids)
    assert sum(halving(s, work, np.arange(11))) == 11 and sorted(done) == list(range(11)) and s.batch_tokens < 64 and s.halved > 1

def test_writing_and_tokens_go_on_with_less_memory(monkeypatch):
    own, group = rows('llama')
    s, t = (Scorer(*family('llama')) for _ in range(2))
    Small(monkeypatch, s.model, 80, ERRORS[0])
    for p in paths(s, own, group, 4): right_path(s, own, p, 4)
    found = list(every_token(t, [r.stem for r in own]))
    assert s.halved and t.halved and sum(len(f.at) for f in found) == sum(len(r.stem) - 1 for r in own)


# ---- texts

PROMPTS = ['the red cat sat on', 'Question: the cat?\nAnswer:', 'the old tree ', 'a big dog ran in by the', 'the red', 'Question: a dog\n', 'the old  ', 'a', 'the red cat sat on the old house.']
OPTIONS = [['the old house', 'the old', 'a', 'the tree stood by', 'a'], ['A', 'B.', 'the old house'], ['stood by a house', 'sat', 'in'], ['tree', 'tree', 'tree stood'], ['cat sat on the', 'cat', 'house'],
           ['the cat', 'a cat'], ['tree', 'big'], ['big dog', 'dog ran in by'], ['the tree', 'a']]
KINDS = [('bert', 'word'), ('bert', 'bpe'), ('t5', 'word'), ('t5', 'bpe'), ('gpt_neox', 'word'), ('gpt_neox', 'bpe'), ('llama', 'bpe'), ('llama', 'word'), ('long', 'bpe'), ('short', 'bpe')]

def continued(): return [[o if p[-1:].isspace() else f' {o}' for o in own] for p, own in zip(PROMPTS, OPTIONS, strict=True)]

@functools.cache
def seamed():
    tok = tokenizer('seam')
    return of_config(LlamaConfig, tok, **MISTRAL), tok

def scorer_of(name, kind, **kw): return Scorer(*(seamed() if kind == 'seam' else family(name, kind)), **kw)

@pytest.mark.parametrize('share', [True, False])
@pytest.mark.parametrize('name, kind', [*KINDS, ('llama', 'seam')])
def test_texts_are_read_as_if_prompt_and_option_were_one(name, kind, share):
    s, texts = scorer_of(name, kind, share=share), continued()
    own, lost = encode(s, PROMPTS, texts)
    want = [slow.said(s.model, s.tokenizer, p, tuple(x)) for p, x in zip(PROMPTS, texts, strict=True)]
    _, got = heard(s, own)
    for x, y in zip(got, want, strict=True): assert_allclose(x, [v for v, _ in y], rtol=0, atol=1e-4)
    assert [[len(b) - k for b, k in zip(r.branches, r.skip or [0] * len(r.branches), strict=True)] for r in own] == [[n for _, n in y] for y in want]
    assert_array_equal(lost, 0)

@pytest.mark.parametrize('name, kind', [*KINDS, ('llama', 'seam')])
def test_prompts_alone(name, kind):
    s = scorer_of(name, kind)
    z, none = heard(s, encode(s, PROMPTS)[0])
    for x, p in zip(z, PROMPTS, strict=True): assert_allclose(x, slow.after(s.model, s.tokenizer, p), rtol=0, atol=1e-5)
    assert all(len(x) == 0 for x in none)

def test_the_seam_matters_here():
    "With merges across the boundary prompt and option have other tokens together than apart: the stem ends before the seam, and what is counted begins with the option's first letter."
    s = scorer_of('llama', 'seam')
    own, _ = encode(s, PROMPTS, continued())
    cut = [i for i, (p, r) in enumerate(zip(PROMPTS, own, strict=True)) if len(r.stem) < len(s.tokenizer(p.rstrip(' '))['input_ids'])]
    assert len(cut) >= 3
    for i, (r, t) in enumerate(zip(own, continued(), strict=True)):
        for b, k, x in zip(r.branches, r.skip, t, strict=True): assert s.tokenizer.decode(b[k:]).endswith(x) and (i in cut or k == 0)
    lengths = [len(s.tokenizer.decode(b[k:])) - len(x) for r, t in zip(own, continued(), strict=True) for b, k, x in zip(r.branches, r.skip, t, strict=True)]
    assert max(lengths) > 0, 'a token that is of both is counted'

@pytest.mark.parametrize('kind, whole', [('word', False), ('bpe', False), ('seam', True)])
def test_only_the_end_of_a_prompt_is_encoded_again_where_that_is_enough(kind, whole, monkeypatch):
    s, n, prompt = scorer_of('gpt_neox', kind), [0], 'the red cat sat on the old house, ' * 20 + 'a big'
    monkeypatch.setattr(scoring, '_ids', lambda tok, texts, *more, f=scoring._ids: n.append(sum(map(len, texts))) or f(tok, texts, *more))
    encode(s, [prompt], [[' dog', ' tree', ' old house']])
    assert sum(n) > 3 * len(prompt) if whole else sum(n) < 1.2 * len(prompt)

@pytest.mark.parametrize('kind', ['word', 'bpe', 'seam'])
def test_a_seam_that_only_a_later_prompt_has(kind):
    "The first eight prompts say nothing of the ninth."
    s = scorer_of('llama', kind)
    plain = [p for p in ('B C', 'D E', 'B D', 'E C', 'C B', 'E D', 'C E', 'D B')]
    prompts, texts = plain + PROMPTS, [[' D', ' C']] * 8 + continued()
    got = encode(s, prompts, texts)[0]
    want = [encode(s, [p], [t])[0][0] for p, t in zip(prompts, texts, strict=True)]
    assert got == want

def test_a_space_at_the_end_of_a_prompt_goes_to_the_option():
    s = scorer_of('gpt_neox', 'bpe')
    a, b = encode(s, ['the old tree ', 'the old tree'], [['stood by'], [' stood by']])[0]
    assert a == b and s.tokenizer.decode(a.branches[0]) == ' stood by'

def test_a_prompt_of_nothing_begins_with_the_beginning_token():
    for name in ('gpt_neox', 'llama'):
        s = scorer_of(name, 'bpe')
        own = encode(s, ['', ' '], [[' the old'], ['the old']])[0]
        assert own[0].stem == own[1].stem == [s.tokenizer.bos_token_id] and own[0].branches == own[1].branches

def test_a_beginning_token_that_a_text_has_is_not_doubled():
    tok = tokenizer('bpe', 'bos')
    text = tok.bos_token + ' the old tree' # as a chat template writes it
    for special in (True, False):
        s = Scorer(family('llama', 'bpe')[0], tok, special=special)
        for own in (encode(s, [text])[0], encode(s, [text], [[' stood']])[0]): assert own[0].stem.count(tok.bos_token_id) == 1
    assert Scorer(family('llama', 'bpe')[0], tok, special=False).start == tok.bos_token_id

def test_what_a_text_begins_with_when_there_is_no_beginning_token():
    tok = tokenizer('bpe')
    class Tok:
        bos_token_id, eos_token_id, cls_token_id = None, 7, 9
    s = Scorer(*family('gpt_neox', 'bpe'))
    assert s.start == tok.bos_token_id
    s.tokenizer = Tok()
    assert s.start == 7
    Tok.eos_token_id = None
    assert s.start == 9

@pytest.mark.parametrize('name', ['bert', 'gpt_neox', 'llama', 'opt'])
def test_a_prompt_that_is_too_long_loses_its_beginning(name):
    "Every option sees the same part, the beginning token and what stands around the mask stay, the last position is used."
    room, tok = 14, tokenizer('word', FRAME.get(name, 'none'))
    if name == 'opt': model = of_config(OPTConfig, tok, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32, init_std=.25, max_position_embeddings=room)
    else: model = build(name, (2, 32, 4), tok, 'masked' if name == 'bert' else 'causal', seed=1, initializer_range=.25, max_position_embeddings=room)
    model.mask = tok.mask_token_id
    s = Scorer(model, tok)
    rng = np.random.default_rng(0)
    prompts, texts = [' '.join(rng.choice(WORDS[:15], n)) for n in (40, 13, 12, 5)], [[' the', ' the old cat', ' a red']] * 4
    with pytest.raises(TooLong, match=r"question 'q0' has \d+ tokens, its answer 3, and the model reads 14; pass truncate=True"): encode(s, prompts, texts, ['q0', 'q1', 'q2', 'q3'])
    own, lost = encode(s, prompts, texts, truncate=True)
    before, after, hole = dict(bert=1, llama=1).get(name, 0), int(name == 'bert'), int(name == 'bert')
    ids = [tok(p, add_special_tokens=False)['input_ids'] for p in prompts]
    most = room - before - after - hole - 2 # two tokens of the longest option are fed behind the prompt
    assert_array_equal(lost, [max(0, len(x) - most) for x in ids])
    frame = ([tok.cls_token_id] if name == 'bert' else [tok.bos_token_id] if name == 'llama' else []), [*([model.mask] if hole else []), *([tok.sep_token_id] if after else [])]
    assert [r.stem for r in own] == [[*frame[0], *x[len(x) - min(len(x), most):], *frame[1]] for x in ids]
    z, x = heard(s, own)
    same((z, x), ([slow.told(model, r.stem, [0])[0].numpy() for r in own], [[slow.loglik(model, r.stem, b) for b in r.branches] for r in own]))
    alone, lost = encode(s, prompts, truncate=True, reserve=6)
    if name != 'bert': assert [len(r.stem) for r in alone] == [min(len(x) + before, room - 5) for x in ids], 'room for what is written'

def test_a_beginning_token_of_a_template_stays_when_the_rest_is_cut():
    tok = tokenizer('word', 'bos')
    s = Scorer(build('llama', (2, 32, 4), tok, 'causal', max_position_embeddings=8), tok, special=False)
    for own, lost in (encode(s, [tok.bos_token + ' ' + 'the red cat ' * 4], truncate=True), encode(s, [tok.bos_token + ' ' + 'the red cat ' * 4], [[' sat']], truncate=True)):
        assert own[0].stem == [tok.bos_token_id, *tok('cat the red cat the red cat', add_special_tokens=False)['input_ids']] and lost[0] == 5

def test_a_stem_that_fills_the_model_is_read_and_one_more_token_is_not():
    tok = tokenizer()
    s = Scorer(build('gpt_neox', (2, 32, 4), tok, 'causal', max_position_embeddings=12), tok)
    assert s.room == 12 and len(heard(s, [Row([9] * 12), Row([9] * 10, [[8, 8, 8]])])[0]) == 2
    for r in (Row([9] * 13), Row([9] * 10, [[8], [8, 8, 8, 8]])):
        with pytest.raises(ValueError, match='row 0 has 13 tokens and the model reads 12'): heard(s, [r])
    assert Scorer(*family('t5')).room is None

def test_a_mask_in_the_text_of_a_question_is_not_the_one_that_is_asked():
    model, tok = family('bert')
    s, plain = Scorer(model, tok), 'the red cat sat on'
    row = encode(s, [f'{tok.mask_token} cat sat on'], [[' the', ' a']])[0][0]
    stem = row.stem
    at = len(stem) - 2
    assert stem[at] == tok.mask_token_id
    z, x = heard(s, [row])
    p = slow.log_p(model, stem)[at]
    assert_allclose(z[0], p, rtol=0, atol=1e-5)
    assert_allclose(x[0], [p[b[0]] for b in row.branches], rtol=0, atol=1e-5)
    assert len(encode(s, [plain])[0]) == 1


# ---- words and letters

def test_a_letter_is_said_by_every_token_that_says_nothing_else():
    s = scorer_of('gpt_neox', 'bpe')
    tok = s.tokenizer
    found = spellings(tok, 'ABCDE')
    by_hand = [[i for i in range(len(tok)) if tok.decode([i]) in (x, ' ' + x, x + '.', ' ' + x + '.')] for x in 'ABCDE']
    assert found == by_hand and all(len(f) >= 2 for f in found), 'with and without a space'
    assert spellings(tokenizer('word'), 'AB') == [[tokenizer('word').convert_tokens_to_ids(x)] for x in 'AB']

def test_spellings_with_periods_and_the_marks_of_other_tokenizers():
    class Tok:
        words = ['A', 'A.', '▁A', ' A', '▁A.', 'A..', 'AA', 'a', 'B', '\nA', '.', '(A)', 'A B', 'B.', ' C']
        def get_vocab(self): return {w: 10 + i for i, w in reversed(list(enumerate(self.words)))}
        def batch_decode(self, rows): return [self.words[i - 10] for i, in rows]
    assert spellings(Tok(), 'AB') == [[10, 11, 12, 13, 14, 19], [18, 23]]
    assert spellings(Tok(), ['C']) == [[24]]
    with pytest.raises(ValueError, match="Tok has no token for the letter 'D'"): spellings(Tok(), 'ABCDE')

def test_pooled_is_the_log_of_a_sum_of_probabilities():
    z = torch.randn(4, 9, generator=torch.Generator().manual_seed(0)) * 3
    p = z.double().softmax(1)
    assert_allclose(pooled(z, [[1, 4], [2], [0, 3, 8]]).exp(), torch.stack([p[:, [1, 4]].sum(1), p[:, 2], p[:, [0, 3, 8]].sum(1)], 1), atol=1e-6)

def test_what_is_said_of_words_by_hand():
    z = torch.log(torch.tensor([[.5, .25, .25, 0.], [.1, .4, .4, .1]])) + 7
    w = of_words(z)
    assert_allclose(w['msp'], [.5, .4], atol=1e-6); assert_allclose(w['margin'], [.25, 0], atol=1e-6)
    assert_allclose(w['max_logit'], [7 + np.log(.5), 7 + np.log(.4)], atol=1e-5)
    assert_allclose(w['entropy'], [1.5 * np.log(2), -.8 * np.log(.4) - .2 * np.log(.1)], atol=1e-5)
    assert w['tie'].tolist() == [0, 1] and w['word'][0] == 0 and w['word'][1] in (1, 2)

@pytest.mark.parametrize('value, says', [(float('nan'), 'NaN or infinite'), (float('inf'), 'NaN or infinite'), ('all -inf', 'NaN or infinite'), ('flat', 'all equal')])
def test_logits_that_say_nothing_are_refused_by_name(value, says):
    z = torch.randn(3, 9, generator=torch.Generator().manual_seed(0))
    check_logits(z, ['a', 'b', 'c'])
    z[0, 3] = -torch.inf # a word that cannot be is no fault
    check_logits(z, ['a', 'b', 'c'])
    if value == 'flat': z[1] = 2.
    elif value == 'all -inf': z[1] = -torch.inf
    else: z[1, 4] = value
    with pytest.raises(ValueError, match=f"question 'b' are {says}"): check_logits(z, ['a', 'b', 'c'])


# ---- half precision

def test_a_head_of_float32_on_a_body_of_bfloat16_ties_less():
    "Logits of bfloat16 have 8 bits: the first two of a row tie now and then, and of these never."
    tok = tokenizer('bpe', 'bos')
    model = build('llama', (2, 64, 4), tok, 'causal', seed=1, initializer_range=.02, num_key_value_heads=2).to(torch.bfloat16)
    rng = np.random.default_rng(0)
    own = [Row(rng.integers(8, len(tok), 8).tolist()) for _ in range(300)]
    s = Scorer(model, tok)
    z = {int(i): x for h in listen(s, own) for i, x in zip(h.rows, h.stem, strict=True)}
    z = torch.stack([z[i] for i in range(300)])
    with torch.no_grad(): rough = model(input_ids=torch.tensor([r.stem for r in own])).logits[:, -1]
    assert z.dtype == torch.float32 and rough.dtype == torch.bfloat16 and next(s.model.parameters()).dtype == torch.bfloat16
    ties = [of_words(x)['tie'].mean().item() for x in (z, rough.float())]
    assert ties[0] == 0 < .01 < ties[1]
    assert (z - rough.float()).abs().max() < .02, 'the same model'
    assert s.head is not model.lm_head and Scorer(*family('llama')).head is family('llama')[0].lm_head, 'a copy only where it is needed'
    t = next(every_token(s, [own[0].stem]))
    with torch.no_grad(): states = model.model(input_ids=torch.tensor([own[0].stem])).last_hidden_state[0].float()
    p = (states @ model.lm_head.weight.float().T).log_softmax(1)
    assert_allclose(t.logprob, p[:-1].gather(1, torch.tensor(own[0].stem[1:])[:, None])[:, 0].detach(), atol=1e-4)


# ---- writing

def paths(s, own, group=None, most=8, **kw):
    found = [p for batch in greedy(s, [r.stem for r in own], np.full(len(own), most) if isinstance(most, int) else most, group=group, **kw) for p in batch]
    assert sorted(p.row for p in found) == list(range(len(own)))
    return sorted(found)

def right_path(s, own, p, most, atol=1e-5):
    "Token by token as the slow way would go on; `kept` is the largest logit."
    stem, end = own[p.row].stem, s.tokenizer.eos_token_id
    assert len(p.tokens) == len(p.kept) <= most
    with torch.no_grad(): z = s.model(input_ids=torch.tensor([stem + p.tokens]), attention_mask=torch.ones(1, len(stem) + len(p.tokens), dtype=torch.long)).logits[0, len(stem) - 1:]
    said = [*p.kept, *([] if p.ended is None else [p.ended])]
    assert z.argmax(1).tolist()[:len(said)] == [*p.tokens, *([] if p.ended is None else [end])]
    assert_allclose([x[0] for x in said], z.amax(1)[:len(said)], rtol=0, atol=2 * atol)
    assert p.ended is not None or len(p.tokens) == most

@pytest.mark.parametrize('batch_tokens, share', [(1, True), (64, True), (64, False), (4096, True), (4096, False)])
@pytest.mark.parametrize('name', CAUSAL)
def test_written_as_the_slow_way_writes(name, batch_tokens, share):
    own, group = rows(name)
    s = Scorer(*family(name), batch_tokens=batch_tokens, share=share)
    for p in paths(s, own, group): right_path(s, own, p, 8)

@pytest.mark.parametrize('window', [22, 26, 30])
def test_a_window_that_is_reached_while_writing(window):
    "Padding between a common beginning and the rest must not count as distance."
    tok, rng = tokenizer(), np.random.default_rng(0)
    begin = rng.integers(8, len(tok), 17).tolist()
    own = [Row(begin + rng.integers(8, len(tok), n).tolist()) for n in (1, 5, 3)]
    s = Scorer(of_config(MistralConfig, tok, sliding_window=window, **MISTRAL), tok)
    for p in paths(s, own, np.zeros(3, int), 12): right_path(s, own, p, 12)

def test_a_row_stops_at_its_own_length_at_its_end_or_when_it_is_through():
    own, group = rows('llama')
    s, most = Scorer(*family('llama')), np.arange(1, len(rows('llama')[0]) + 1)
    whole = paths(s, own, group, 12)
    for p, q, n in zip(paths(s, own, group, most), whole, most, strict=True): assert p.tokens == q.tokens[:n]
    asked = []
    def done(row, tokens): asked.append((row, len(tokens))); return len(tokens) == 1 + row % 3
    for p, q in zip(paths(s, own, group, 12, done=done), whole, strict=True): assert p.tokens == q.tokens[:1 + p.row % 3]
    assert len(asked) == len(set(asked))

def test_a_text_ends_at_every_end_token_of_the_model_and_the_end_is_not_part_of_it():
    own, _ = rows('llama')
    s = Scorer(*family('llama'))
    first = paths(s, own[:3], most=3)
    config = s.model.generation_config
    was = config.eos_token_id
    try:
        for ends in (first[0].tokens[1], [first[0].tokens[1], first[1].tokens[0]]):
            config.eos_token_id = ends
            p = paths(s, own[:3], most=3)
            assert p[0].ended is not None and p[0].tokens == first[0].tokens[:first[0].tokens.index(first[0].tokens[1])]
            if isinstance(ends, list): assert p[1].ended.shape == (1,) and p[1].tokens == [] and p[1].kept.shape == (0, 1)
    finally: config.eos_token_id = was

def test_rows_that_are_through_cost_nothing(monkeypatch):
    own, _ = rows('llama')
    s = Scorer(*family('llama'), share=False)
    with Watch(monkeypatch, s.model) as seen: paths(s, own[:4], most=np.array([1, 2, 2, 6]))
    assert [b for b, _ in seen.shapes] == [4, 3, 1, 1, 1, 1] and {t for _, t in seen.shapes[1:]} == {1}


# ---- every token

@pytest.mark.parametrize('n, window, stride', [(1, 4, 2), (4, 4, 2), (5, 4, 1), (9, 4, 3), (23, 6, 4), (24, 6, 5), (100, 7, 2)])
def test_windows_ask_for_every_token_once_and_show_as_much_as_they_can(n, window, stride):
    asked = [t for begin, end, first in windows(n, window, stride) for t in range(first, end)]
    assert asked == list(range(1, n))
    for begin, end, first in windows(n, window, stride):
        assert 0 <= begin and end - begin == min(n, window) and begin < max(first, 1)
        if begin: assert first - begin >= window - stride

@pytest.mark.parametrize('batch_tokens', [1, 64, 4096])
@pytest.mark.parametrize('window, stride', [(None, None), (6, 4), (5, 1), (7, None)])
@pytest.mark.parametrize('name', ['gpt_neox', 'llama', 'short'])
def test_every_token_as_the_slow_way_reads_it(name, window, stride, batch_tokens, monkeypatch):
    monkeypatch.setattr(scoring, '_PLACES', 10) # the distributions come in pieces
    texts, want = texts_slowly(name, window or 2048, stride or (window or 2048) // 2)
    s = Scorer(*family(name), batch_tokens=batch_tokens)
    got = {(f.text, t): (f.logprob[j], f.msp[j], f.word[j], f.entropy[j]) for f in every_token(s, texts, window, stride) for j, t in enumerate(f.at.tolist())}
    assert len(got) == sum(len(x) - 1 for x in texts)
    for i, of_text in enumerate(want):
        for t, lp, p in of_text:
            assert_allclose(got[i, t][:2] + got[i, t][3:], [lp, p.max().exp(), -(p.exp() * p).sum()], rtol=0, atol=2e-5)
            assert got[i, t][2] == p.argmax()

@functools.cache
def texts_slowly(name, window, stride):
    model, tok = family(name)
    rng = np.random.default_rng(3)
    texts = [rng.integers(8, len(tok), n).tolist() for n in (20, 1, 6, 2, 13)]
    return texts, [list(slow.every_token(model, x, window, stride)) for x in texts]

def test_every_token_of_a_family_whose_head_is_not_known():
    s, x = Scorer(odd('gpt2'), tokenizer(), batch_tokens=30), np.random.default_rng(0).integers(8, 30, 17).tolist()
    assert s.head is None
    for f in every_token(s, [x, x[:9]]):
        for (t, lp, p), at, a, b in zip(slow.every_token(s.model, x[:17 if f.text == 0 else 9], 2048, 1024), f.at, f.logprob, f.msp, strict=True): assert t == at and abs(lp - a) < 1e-5 and abs(p.max().exp() - b) < 1e-5

def test_the_window_is_what_the_model_reads_if_none_is_said():
    tok = tokenizer()
    s = Scorer(build('gpt_neox', (2, 32, 4), tok, 'causal', max_position_embeddings=8, initializer_range=.25), tok)
    x = np.random.default_rng(0).integers(8, len(tok), 21).tolist()
    got = np.concatenate([f.logprob for f in sorted(every_token(s, [x]), key=lambda f: f.at[0])])
    assert_allclose(got, [lp for _, lp, _ in slow.every_token(s.model, x, 8, 4)], rtol=0, atol=1e-5)


# ---- two real decoders

@pytest.fixture(scope='module', params=['stories260K', 'TinyStories-656K'])
def decoder(request):
    folder = Path(os.environ.get('PLCAL_DATA', '.')).parent / 'models' / request.param
    if not folder.exists(): pytest.skip(f'the decoder {request.param} is not in the folder models beside the data')
    return load(folder, 'causal')

STEMS = ['Once upon a time, there was a little girl named', 'Tom had a red ball. He liked to play with', 'Lily was sad because', 'Once upon a time, there was a little boy named ', '"Look, Mom!" said Sara. "It is a']
ENDS = [['Lily', 'Tim', 'the dog'], ['his ball', 'it', 'it in the park.', 'the moon'], ['she lost her toy.', 'she'], ['Tim', 'Lily. She loved to play', 'Tim'], ['big dog', 'butterfly']]

@pytest.mark.parametrize('share', [True, False])
def test_real_decoders_are_read_as_the_slow_way_reads_them(decoder, share):
    s = Scorer(*decoder, share=share)
    texts = [[o if p.endswith(' ') else f' {o}' for o in own] for p, own in zip(STEMS, ENDS, strict=True)]
    own, _ = encode(s, STEMS, texts)
    z, got = heard(s, own, np.zeros(5, int))
    for x, p, t in zip(got, STEMS, texts, strict=True): assert_allclose(x, [v for v, _ in slow.said(*decoder, p, tuple(t))], rtol=0, atol=1e-4)
    alone = encode(s, STEMS)[0]
    for x, p in zip(heard(s, alone)[0], STEMS, strict=True): assert_allclose(x, slow.after(*decoder, p), rtol=0, atol=2e-5) # down to -22 nats
    for p, text in zip(paths(s, alone, np.zeros(5, int), 10), STEMS, strict=True): assert p.tokens == slow.write(*decoder, text, 10)[0]
    assert s.share == share
