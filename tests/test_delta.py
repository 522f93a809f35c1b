"Protects delta tuning: each delta against its definition in every family, what is frozen, and whose delta a file is."
import copy
from dataclasses import replace
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import erf
from plcal_study.lm import delta as D
from plcal_study.lm.delta import Adapter, adapter, load_delta, lora, save_delta, soft_prompt, soft_template, trainable_parameters
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.models import HeadClassifier, LanguageModel, PromptClassifier, build, count, hidden
from plcal_study.lm.testbed import as_task, lexicon, reframe, text_world, train_tokenizer

FAMILIES = ['bert', 'roberta', 't5', 'gpt_neox', 'llama']
WORLD = text_world(k=2, bayes_accuracy=.9, seed=0)
TASK = replace(as_task(WORLD, 40, 20, 20, seed=0), template='{a} . It was {m}')
TOKENIZER = train_tokenizer(lexicon(WORLD), keep=WORLD.labels)
FRAMES = dict(bert='cls', roberta='cls', t5='eos', gpt_neox='none', llama='bos')
WIDTH, LAYERS = 16, 2
E = TASK['val']
PAIRS = Examples(E.uid, E.a, E.label, b=E.a[::-1])
DELTAS = dict(adapter=lambda c: adapter(c, 3), lora=lambda c: lora(c, 2), soft_prompt=lambda c: soft_prompt(c, 2))


def prompted(family, seed=0, task=TASK, max_length=48, **config):
    tok = reframe(TOKENIZER, FRAMES[family])
    kind = dict(t5='seq2seq', bert='masked', roberta='masked').get(family, 'causal')
    return PromptClassifier(build(family, (LAYERS, WIDTH, 2), tok, kind, seed=seed, **config), tok, task, max_length=max_length)

def headed(family, seed=0, task=TASK, k=2):
    tok = reframe(TOKENIZER, FRAMES[family])
    return HeadClassifier(build(family, (LAYERS, WIDTH, 2), tok, 'classify', n_labels=k, seed=seed), tok, task, max_length=48)

MAKE = dict(prompt=prompted, head=headed)

def scores(clf, e=E):
    with torch.no_grad(): return clf.eval()(**clf.collate(clf.encode(e)))

def states(clf, e=E):
    batch = {n: t for n, t in clf.collate(clf.encode(e)).items() if n not in ('label', 'position')}
    with torch.no_grad(): return hidden(clf.eval().model, **batch)

def shake(clf, seed=0, size=.3):
    "Give the delta weights that do something."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in D._parts(clf)['delta'].values(): p.copy_(size * torch.randn(p.shape, generator=g))
    return clf

def some_steps(clf, n=4):
    "A few steps of Adam without decay, which leaves alone what has no gradient."
    opt = torch.optim.Adam(trainable_parameters(clf).values(), lr=1e-2)
    for _ in range(n):
        total, m = clf.train().loss(**clf.collate(clf.encode(E)))
        opt.zero_grad(); (total / m).backward(); opt.step()
    return clf


# -- what is trained -----------------------------------------------------------------------------------------------------------------

D_, B, R, N = WIDTH, 3, 2, 2
ADAPTER, V = 2 * D_ * B + B + D_, R * 2 * D_ # an adapter; LoRA on a square map
BY_HAND = dict(
    adapter=dict(bert=4 * ADAPTER, roberta=4 * ADAPTER, t5=8 * ADAPTER, gpt_neox=4 * ADAPTER, llama=4 * ADAPTER),
    lora=dict(bert=4 * V, roberta=4 * V, t5=4 * V + 8 * V, gpt_neox=2 * R * (D_ + 3 * D_), llama=4 * V), # T5: query and value in 2 + 2 + 2 attentions
    soft_prompt={f: 2 * N * D_ for f in FAMILIES})
HEAD = dict(bert=D_ * D_ + D_ + 2 * D_ + 2, roberta=D_ * D_ + D_ + 2 * D_ + 2, t5=D_ * D_ + D_ + 2 * D_ + 2, gpt_neox=2 * D_, llama=2 * D_)

@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('name', DELTAS)
def test_trainable_counts_by_hand(name, family):
    assert count(DELTAS[name](prompted(family)))[0] == BY_HAND[name][family]
    assert count(DELTAS[name](headed(family)))[0] == BY_HAND[name][family] + HEAD[family]

@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('way', MAKE)
@pytest.mark.parametrize('name', DELTAS)
def test_training_changes_the_delta_and_the_head_and_nothing_else(name, way, family):
    clf = DELTAS[name](MAKE[way](family))
    was = {n: p.detach().clone() for n, p in clf.named_parameters()}
    some_steps(clf)
    changed = {n for n, p in clf.named_parameters() if not torch.equal(p, was[n])}
    assert changed == set(trainable_parameters(clf)), 'every delta has a gradient, and no other parameter'
    assert all(p.grad is None for p in clf.parameters() if not p.requires_grad)
    heads = [n for n in changed if not any(m in n for m in ('.adapter.', 'lora_', 'soft_vectors'))]
    assert bool(heads) == (way == 'head') and all(any(h in n for h in ('classifier', 'classification_head', 'score', 'pooler')) for n in heads)
    assert not any('norm' in n.lower() for n in changed), 'no layer norm, as in the source'

@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('way', MAKE)
@pytest.mark.parametrize('name', ['adapter', 'lora'])
def test_at_first_the_model_is_what_it_was(name, way, family):
    clf = MAKE[way](family)
    before = scores(clf)
    assert torch.equal(scores(DELTAS[name](clf)), before)
    assert not torch.equal(scores(shake(clf)), before)

def test_mode_seed_and_the_worlds_dice():
    torch.manual_seed(3); dice = torch.get_rng_state()
    for make in (lambda s: adapter(prompted('bert'), 3, seed=s), lambda s: lora(prompted('bert'), 2, dropout=.5, seed=s)):
        one, same, other = (make(s) for s in (0, 0, 1))
        a, b, c = (list(trainable_parameters(x).values()) for x in (one, same, other))
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True)) and not all(torch.equal(p, q) for p, q in zip(a, c, strict=True))
        assert not any(m.training for m in one.model.modules()), 'a built model is in eval mode, and so is its delta'
    assert torch.equal(torch.get_rng_state(), dice)
    clf = prompted('bert'); clf.train()
    assert all(m.training for m in adapter(clf, 2).model.modules())

def test_dropout_of_lora_is_on_in_training_only():
    clf = shake(lora(prompted('llama'), 2, dropout=.5))
    assert torch.equal(scores(clf), scores(clf))
    batch = clf.train().collate(clf.encode(E))
    assert not torch.equal(clf(**batch), clf(**batch))


# -- adapters ------------------------------------------------------------------------------------------------------------------------

def test_the_bottleneck_by_its_formula():
    a = Adapter(5, 3, .5, .5)
    with torch.no_grad(): a.down.bias.normal_(); a.up.bias.normal_()
    h = torch.randn(4, 2, 5)
    w = {n: p.detach().double().numpy() for n, p in a.named_parameters()}
    z = h.double().numpy() @ w['down.weight'].T + w['down.bias']
    exact = z * (1 + erf(z / np.sqrt(2))) / 2 # gelu; OpenDelta's gelu_new is its approximation by tanh
    tanh = z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + .044715 * z**3)))
    out, h = a(h).detach().numpy(), h.numpy()
    assert_allclose(out, h + tanh @ w['up.weight'].T + w['up.bias'], atol=1e-5)
    assert np.abs(out - (h + exact @ w['up.weight'].T + w['up.bias'])).max() > 1e-5

@pytest.mark.parametrize('family, config', [('bert', {}), ('roberta', {}), ('gpt_neox', {}), ('llama', dict(attention_bias=True, mlp_bias=True))])
def test_an_adapter_that_adds_a_constant_is_a_bias_of_its_sublayer(family, config):
    "Where an adapter sits: a constant behind the layer norm of BERT is its bias; behind a sublayer of GPT-NeoX and Llama, the bias of its last map."
    clf, plain = prompted(family, **config), prompted(family, **config)
    adapter(clf, 1)
    body, rng = plain.model.base_model, np.random.default_rng(0)
    layers = body.encoder.layer if family in ('bert', 'roberta') else body.layers
    last = dict(bert=lambda y: (y.attention.output.LayerNorm, y.output.LayerNorm), roberta=lambda y: (y.attention.output.LayerNorm, y.output.LayerNorm),
                gpt_neox=lambda y: (y.attention.dense, y.mlp.dense_4h_to_h), llama=lambda y: (y.self_attn.o_proj, y.mlp.down_proj))[family]
    adapters = [m for m in clf.model.modules() if isinstance(m, Adapter)]
    assert len(adapters) == 2 * len(layers)
    with torch.no_grad():
        for a, m in zip(adapters, [m for y in layers for m in last(y)], strict=True):
            c = torch.tensor(rng.normal(size=WIDTH), dtype=torch.float32)
            a.up.bias.copy_(c); m.bias.add_(c)
    torch.testing.assert_close(states(clf), states(plain), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores(clf), scores(plain), rtol=1e-4, atol=1e-4)

class Behind(torch.nn.Module):
    "The definition without hooks: the output of a sublayer goes through the adapter."
    def __init__(self, inner, a): super().__init__(); self.inner, self.a = inner, a
    def forward(self, *args, **kwargs):
        out = self.inner(*args, **kwargs)
        return (self.a(out[0]), *out[1:]) if isinstance(out, tuple) else self.a(out)

@pytest.mark.parametrize('family', FAMILIES)
def test_adapters_stand_between_a_sublayer_and_what_reads_it(family):
    "T5: behind the residual sums of self-attention and feed-forward, not behind the attention to the encoder."
    clf, plain = shake(adapter(prompted(family), 3)), prompted(family)
    found = iter([m for m in clf.model.modules() if isinstance(m, Adapter)])
    body = plain.model.base_model
    layers = [block.layer for stack in (body.encoder, body.decoder) for block in stack.block] if family == 't5' else body.encoder.layer if family in ('bert', 'roberta') else body.layers
    for layer in layers:
        for name in dict(t5=('0', str(len(layer) - 1) if family == 't5' else ''), gpt_neox=('attention', 'mlp'), llama=('self_attn', 'mlp')).get(family, ('attention', 'output')):
            layer._modules[name] = Behind(layer._modules[name], next(found))
    assert next(found, None) is None
    assert torch.equal(states(clf), states(plain)) and not torch.equal(states(clf), states(prompted(family)))

def test_the_beginning_of_the_source():
    clf = adapter(prompted('bert'), 64, std_up=.01)
    up, down = (torch.cat([p.flatten() for n, p in trainable_parameters(clf).items() if f'{x}.weight' in n]) for x in ('up', 'down'))
    assert abs(up.std() - .01) < .0005 and abs(down.std() - .01) < .0005 and not any(p.any() for n, p in trainable_parameters(clf).items() if 'bias' in n)
    gap = (scores(clf) - scores(prompted('bert'))).abs().max()
    assert 0 < gap < .02, 'near, but not the same'

@pytest.mark.parametrize('name', DELTAS)
def test_a_copy_has_a_delta_of_its_own(name):
    clf = shake(DELTAS[name](prompted('bert')))
    twin = copy.deepcopy(clf)
    before = scores(twin)
    assert torch.equal(before, scores(clf))
    shake(clf, 1)
    assert torch.equal(scores(twin), before) and not torch.equal(scores(clf), before)

def test_a_delta_in_full_precision_on_a_half_precision_model():
    for name, make in DELTAS.items():
        clf = prompted('llama'); clf.model.bfloat16()
        make(clf)
        assert {p.dtype for p in trainable_parameters(clf).values()} == {torch.float32}, name
        total, _ = clf.loss(**clf.collate(clf.encode(E)))
        total.backward()
        assert torch.isfinite(total) and all(torch.isfinite(p.grad).all() for p in trainable_parameters(clf).values())


# -- LoRA ----------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('family', FAMILIES)
def test_lora_is_the_map_plus_the_scaled_product(family):
    clf, merged = shake(lora(prompted(family), 2, alpha=5)), prompted(family)
    w = dict(clf.model.named_parameters())
    plain = dict(merged.model.named_parameters())
    touched = [n.split('.lora_A')[0] for n in w if '.lora_A.' in n]
    with torch.no_grad():
        for n in touched: plain[n + '.weight'].add_(5 / 2 * w[n + '.lora_B.default.weight'] @ w[n + '.lora_A.default.weight'])
    assert touched
    torch.testing.assert_close(states(clf), states(merged), rtol=1e-4, atol=1e-4)

def test_lora_takes_the_maps_it_is_told():
    clf = lora(prompted('llama'), 2, modules=('down_proj',))
    assert {n.split('.')[4] for n in trainable_parameters(clf)} == {'mlp'} and len(trainable_parameters(clf)) == 2 * LAYERS


# -- soft prompts --------------------------------------------------------------------------------------------------------------------

SOME = [9, 11, 12, 14] # words, none of them special

@pytest.mark.parametrize('e, task', [(E, TASK), (PAIRS, replace(TASK, template='{a} {b} It was {m}', splits=dict(val=PAIRS)))], ids=['one text', 'two texts'])
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('way', MAKE)
def test_a_soft_prompt_of_words_is_these_words(way, family, e, task):
    "Vectors with the values of four words: as the words in front of the text, or behind the start token if a head reads that."
    clf, by_hand = soft_prompt(MAKE[way](family, task=task), 2), MAKE[way](family, task=task)
    soft = clf.model.get_input_embeddings()
    with torch.no_grad(): soft.soft_vectors.copy_(soft.weight[SOME])
    rows = by_hand.encode(e)
    start = len(by_hand.parts[0]) if way == 'head' else 0
    for r in rows:
        r['input_ids'] = [*r['input_ids'][:start], *SOME, *r['input_ids'][start:]]
        if 'position' in r and family != 't5': r['position'] += 4
        if 'second' in r: r['second'] += 4
    with torch.no_grad(): expected = by_hand.eval()(**by_hand.collate(rows))
    assert torch.equal(scores(clf, e), expected)
    if way == 'head' and family in ('bert', 'roberta'): assert all(r['input_ids'][0] == TOKENIZER.cls_token_id for r in clf.encode(e))

@pytest.mark.parametrize('family', FAMILIES)
def test_texts_keep_their_length_and_vectors_begin_as_the_first_rows_twice(family):
    short, long = prompted(family, max_length=14), soft_prompt(prompted(family, max_length=14), 5)
    bare, rows = short.encode(E), long.encode(E)
    v = short.model.get_input_embeddings().num_embeddings
    assert [r['input_ids'] for r in rows] == [list(range(v, v + 10)) + r['input_ids'] for r in bare] and [r['cut'] for r in rows] == [r['cut'] for r in bare]
    assert max(r['cut'] for r in bare) > 0 and long.max_length == 24
    soft = long.model.get_input_embeddings()
    assert torch.equal(soft.soft_vectors, torch.cat([soft.weight[:5]] * 2))

def test_more_vectors_than_words_start_over():
    clf = prompted('llama')
    v = clf.model.get_input_embeddings().num_embeddings
    soft = soft_prompt(clf, v + 1).model.get_input_embeddings()
    assert torch.equal(soft.soft_vectors[v], soft.weight[0]) and torch.equal(soft.soft_vectors[v + 1], soft.weight[0])

def test_the_longest_that_fits():
    clf = prompted('bert', max_length=512 - 2 * 5)
    assert scores(soft_prompt(clf, 5), Examples(['1'], ['it was ' * 400], [0])).isfinite().all()
    assert soft_prompt(prompted('roberta', max_length=502), 5).max_length == 512

def test_the_bare_template():
    assert soft_template(TASK).template == '{a} {m} .' and soft_template(TASK, causal=True).template == '{a} {m}'
    pairs = Task('pairs', dict(val=PAIRS), TASK.classes, TASK.words, 'x {m} {a}')
    assert soft_template(pairs).template == '{a} {b} {m} .' and soft_template(pairs).words == TASK.words


# -- alone on disk -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('way', MAKE)
@pytest.mark.parametrize('name', DELTAS)
def test_a_delta_comes_back_on_its_base(name, way, family, tmp_path):
    clf = some_steps(DELTAS[name](MAKE[way](family)))
    file = save_delta(clf, tmp_path / 'delta.safetensors')
    again = load_delta(MAKE[way](family), file)
    assert torch.equal(scores(again), scores(clf)) and again.delta == clf.delta
    assert set(trainable_parameters(again)) == set(trainable_parameters(clf)) and count(again) == count(clf)
    assert file.stat().st_size < 4 * count(clf)[0] + 20_000, 'the base is not in the file'
    assert [p.name for p in tmp_path.iterdir()] == ['delta.safetensors']

def test_a_head_of_other_beginnings_is_no_other_base(tmp_path):
    "The head is in the file, so the head that a model is built with does not matter."
    clf = some_steps(adapter(headed('bert'), 2))
    other = headed('bert')
    with torch.no_grad(): other.model.classifier.weight.add_(1)
    assert torch.equal(scores(load_delta(other, save_delta(clf, tmp_path / 'd'))), scores(clf))

def test_a_delta_of_a_language_model_serves_a_classifier(tmp_path):
    tok = reframe(TOKENIZER, 'bos')
    lm = LanguageModel(build('llama', (LAYERS, WIDTH, 2), tok, 'causal', seed=0), tok, max_length=32)
    clf = load_delta(prompted('llama'), save_delta(shake(lora(lm, 2)), tmp_path / 'd'))
    merged = PromptClassifier(lm.model, tok, TASK, max_length=48)
    assert torch.equal(scores(clf), scores(merged))

@pytest.mark.parametrize('other, says', [
    (lambda: prompted('bert', seed=1), 'the weights are not'), (lambda: prompted('bert', vocab_size=1000), 'of other shapes'), (lambda: prompted('roberta'), 'another base: bert, and this model is roberta'),
    (lambda: headed('bert'), 'a masked language model, and this model is a head for 2 classes')])
def test_another_base_is_refused_with_the_reason_and_left_as_it_was(other, says, tmp_path):
    file = save_delta(shake(adapter(prompted('bert'), 2)), tmp_path / 'd')
    clf = other()
    before = scores(clf)
    with pytest.raises(ValueError, match=says): load_delta(clf, file)
    assert torch.equal(scores(clf), before) and all(p.requires_grad for p in clf.parameters())

def test_one_bit_of_the_base_is_enough(tmp_path):
    file = save_delta(lora(prompted('bert'), 2), tmp_path / 'd')
    clf = prompted('bert')
    with torch.no_grad(): clf.model.bert.encoder.layer[1].output.dense.weight[3, 4] += 1e-6
    with pytest.raises(ValueError, match='the weights are not'): load_delta(clf, file)

def test_the_same_weights_in_another_order_are_another_base(tmp_path):
    file = save_delta(lora(prompted('bert'), 2), tmp_path / 'd')
    clf = prompted('bert')
    layers = clf.model.bert.encoder.layer
    layers[0], layers[1] = layers[1], layers[0]
    with pytest.raises(ValueError, match='the weights are not'): load_delta(clf, file)

def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = save_delta(shake(adapter(prompted('bert'), 2)), tmp_path / 'd')
    was = file.read_bytes()
    monkeypatch.setattr('os.replace', lambda *a: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'): save_delta(shake(adapter(prompted('bert'), 3)), file)
    assert file.read_bytes() == was and [p.name for p in tmp_path.iterdir()] == ['d']


# -- with the training loop ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', DELTAS)
def test_the_training_loop_trains_a_delta(name, tmp_path):
    from plcal_study.lm.training import Training, predict, train
    clf = DELTAS[name](prompted('bert'))
    was = {n: p.detach().clone() for n, p in clf.named_parameters()}
    history = train(clf, TASK['train'], Training(lr=1e-2, steps=6, batch=8), out=tmp_path / 'run')
    changed = {n for n, p in clf.named_parameters() if not torch.equal(p, was[n])}
    assert changed == set(trainable_parameters(clf)) and len(history.losses) == 6
    assert_allclose(predict(clf, E), scores(clf), atol=1e-5)
