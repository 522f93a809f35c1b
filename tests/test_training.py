"Training: exact gradients, an order that covers, probes that change nothing, and runs that are killed and go on."
import json, math, os, signal, subprocess, sys, textwrap
from dataclasses import replace
from functools import cache
from pathlib import Path
import numpy as np, pytest

torch = pytest.importorskip('torch')
from torch import nn
from plcal_study.lm import training as T
from plcal_study.lm.examples import Examples
from plcal_study.lm.training import Training, train

torch.set_num_threads(1)
HERE = Path(__file__).resolve().parent


class Words(nn.Module):
    "A classifier with dropout: mean of word vectors, one hidden layer, LayerNorm."
    def __init__(self, k=3, dropout=.0, seed=0, vocab=30, width=8):
        super().__init__()
        self.k = k
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed, self.hidden, self.LayerNorm, self.out = nn.Embedding(vocab, width), nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, k)
        self.drop = nn.Dropout(dropout)
        self.register_buffer('calls', torch.zeros(()))  # a buffer, which a checkpoint has to hold

    def encode(self, e):
        rows = [dict(input_ids=[int(w) for w in a.split()]) for a in e.a]
        return [r | dict(label=int(y)) for r, y in zip(rows, e.label, strict=True)] if e.label is not None else rows

    def collate(self, rows):
        ids = torch.zeros(len(rows), max(len(r['input_ids']) for r in rows), dtype=torch.long)
        for i, r in enumerate(rows): ids[i, :len(r['input_ids'])] = torch.tensor(r['input_ids'])
        return dict(input_ids=ids) | (dict(label=torch.tensor([r['label'] for r in rows])) if 'label' in rows[0] else {})

    def forward(self, input_ids, label=None):
        if self.training: self.calls += 1
        mask = (input_ids > 0)[..., None].float()
        mean = (self.embed(input_ids) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.out(self.drop(self.LayerNorm(self.hidden(mean).tanh())))

    def loss(self, input_ids, label): return nn.functional.cross_entropy(self(input_ids), label, reduction='sum'), len(label)


class NextWord(Words):
    "A language model: the next word from this one; the loss is over words, of which rows have unequal numbers."
    def __init__(self, **how):
        super().__init__(k=30, **how)
        self.k = 0

    def encode(self, e): return [dict(input_ids=[int(w) for w in a.split()]) for a in e.a]
    def forward(self, input_ids): return self.out(self.drop(self.LayerNorm(self.hidden(self.embed(input_ids)).tanh())))
    def loss(self, input_ids):
        target = input_ids[:, 1:]
        kept = target > 0
        return nn.functional.cross_entropy(self(input_ids)[:, :-1][kept], target[kept], reduction='sum'), int(kept.sum())


def texts(n=60, seed=0, k=3, least=2, most=20, cluster=False):
    rng = np.random.default_rng(seed)
    label = rng.integers(k, size=n)
    a = [' '.join(map(str, np.where(rng.random(m) < .5, y + 1, rng.integers(1, 30, size=m)))) for y, m in zip(label, rng.integers(least, most, size=n), strict=True)]
    return Examples([f'{seed}-{i}' for i in range(n)], a, label, posterior=rng.dirichlet(np.ones(k), n), cluster=label if cluster else None)

FIT, TEST = texts(), texts(25, 1, cluster=True)
CFG = Training(lr=.01, steps=12, batch=8)

def weights(m): return np.concatenate([p.detach().double().numpy().ravel() for p in m.parameters()])
def same(a, b): return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
def files(folder, pattern='*.parquet'): return {p.name: p.read_bytes() for p in Path(folder).rglob(pattern)}


# ---- the gradient ---------------------------------------------------------------------------------------------------
def slow_train(model, e, cfg):
    "The definition: every step one batch, the mean loss over all that it is a sum over, torch's plain AdamW."
    rows, steps = model.encode(e), T.n_steps(len(e), cfg)
    free = [p for n, p in model.named_parameters() if 'bias' in n or 'LayerNorm.weight' in n]
    rest = [p for n, p in model.named_parameters() if not ('bias' in n or 'LayerNorm.weight' in n)]
    opt = torch.optim.AdamW([dict(params=rest, weight_decay=cfg.weight_decay), dict(params=free, weight_decay=0.)], lr=cfg.lr, foreach=False, fused=False)
    losses, epoch, model = [], 0, model.train()
    while len(losses) < steps:
        for ids in T.epoch_batches(np.array([len(r['input_ids']) for r in rows]), cfg.batch, cfg.seed, epoch, cfg.group_by_length):
            if len(losses) == steps: break
            opt.zero_grad()
            parts = [model.loss(**model.collate([rows[i]])) for i in ids]  # a row at a time
            loss = sum(s for s, _ in parts) / sum(n for _, n in parts)
            loss.backward()
            if cfg.clip:
                norm = math.sqrt(sum(float((p.grad ** 2).sum()) for p in model.parameters()))
                for p in model.parameters(): p.grad *= min(1., cfg.clip / norm)
            opt.step()
            losses.append(float(loss.detach()))
        epoch += 1
    return losses

@pytest.mark.parametrize('make', [Words, NextWord])
@pytest.mark.parametrize('how', [dict(), dict(micro=1), dict(micro=3), dict(micro=8), dict(clip=.05), dict(micro=3, clip=.05, group_by_length=False)], ids=str)
def test_a_step_is_the_mean_over_the_whole_step(make, how):
    "1×8 = 8×1 = 3+3+2, for classes and for words, whatever the lengths; against a loop that takes a row at a time."
    cfg = replace(CFG, weight_decay=.5, **how)
    h, slow = train(ours := make(), FIT, cfg), slow_train(oracle := make(), FIT, cfg)
    np.testing.assert_allclose(h.losses, slow, rtol=1e-5)
    np.testing.assert_allclose(weights(ours), weights(oracle), rtol=0, atol=2e-5)
    assert h.steps == 12 and h.losses.shape == (12,)

def test_unequal_counts_are_not_averaged_twice():
    "The rows of a batch must differ enough in length for a mean of means to be seen: otherwise the test above proves nothing."
    m, rows = NextWord(), NextWord().encode(FIT)
    ids = T.epoch_batches(np.array([len(r['input_ids']) for r in rows]), 8, 0, 0, False)[0]
    with torch.no_grad(): parts = [m.loss(**m.collate([rows[i]])) for i in ids]
    right, wrong = sum(float(s) for s, _ in parts) / sum(n for _, n in parts), np.mean([float(s) / n for s, n in parts])
    assert abs(right - wrong) > 1e-3 * right

def test_bf16_is_near_and_leaves_the_weights_in_fp32():
    full, half = (train(m := Words(), FIT, replace(CFG, precision=p)) and m for p in ('fp32', 'bf16'))
    assert all(p.dtype == torch.float32 for p in half.parameters()) and not same(full, half)
    np.testing.assert_allclose(weights(half), weights(full), atol=.05)

def test_the_rate_is_that_of_the_schedule():
    "With one weight and a steady gradient AdamW moves by the learning rate: the path of the bias is the sum of the rates."
    cfg = Training(lr=.01, steps=6, schedule='linear', warmup=2, horizon=10, batch=4, weight_decay=0.)
    class Bias(Words):
        def forward(self, input_ids, label=None): return self.out.bias.expand(len(input_ids), 3)
    m = Bias()
    with torch.no_grad(): m.out.bias.zero_()
    train(m, Examples(range(4), ['1'] * 4, [0] * 4), cfg)
    rates = [T.lr_at(s, cfg, 6) for s in range(6)]
    assert rates == pytest.approx([0, .005, .01, .00875, .0075, .00625])
    assert float(m.out.bias[0].detach()) == pytest.approx(sum(rates), rel=.02)

def test_transformers_schedules_agree():
    transformers = pytest.importorskip('transformers')
    for name, make in dict(linear=transformers.get_linear_schedule_with_warmup, cosine=transformers.get_cosine_schedule_with_warmup).items():
        opt = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.)
        schedule = make(opt, 3, 10)
        for s in range(12):
            assert T.lr_at(s, Training(steps=10, lr=2., schedule=name, warmup=3), 10) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12) or s > 10
            opt.step(); schedule.step()

def test_decay_goes_by_name_as_in_the_source():
    "T5's and GPT-NeoX's norms are decayed, BERT's are not; frozen parameters are in neither group."
    m = nn.ModuleDict({n: nn.LayerNorm(2) for n in ('LayerNorm', 'layer_norm', 'input_layernorm')})
    m['frozen'] = nn.Linear(2, 2).requires_grad_(False)
    names = {id(p): n for n, p in m.named_parameters()}
    decayed, free = [{names[id(p)] for p in g['params']} for g in T.decay_groups(m, CFG)]
    assert decayed == {'layer_norm.weight', 'input_layernorm.weight'}
    assert free == {'LayerNorm.weight', 'LayerNorm.bias', 'layer_norm.bias', 'input_layernorm.bias'}

def test_compile_is_asked_for_only_when_wanted(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, 'compile', lambda net, dynamic: seen.append(dynamic) or net)
    train(Words(), FIT, CFG)
    assert not seen
    train(Words(), FIT, replace(CFG, compile=True))
    assert seen == [True]


# ---- the order of the data ------------------------------------------------------------------------------------------
@pytest.mark.parametrize('n, batch', [(1, 16), (16, 16), (17, 16), (1000, 7), (1700, 16)])
@pytest.mark.parametrize('group', [True, False])
def test_an_epoch_shows_each_row_once(n, batch, group):
    lengths = np.random.default_rng(0).integers(1, 100, n)
    epochs = [T.epoch_batches(lengths, batch, 3, e, group) for e in (0, 1)]
    for b in epochs: assert len(b) == math.ceil(n / batch) and sorted(np.concatenate(b)) == list(range(n)) and max(map(len, b)) <= batch
    if n > batch: assert np.concatenate(epochs[0]).tolist() != np.concatenate(epochs[1]).tolist()
    if n > batch: assert np.concatenate(epochs[0]).tolist() != np.concatenate(T.epoch_batches(lengths, batch, 4, 0, group)).tolist()

def test_grouping_saves_padding_and_keeps_the_order_of_batches_random():
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    def padded(b): return sum(len(i) * lengths[i].max() for i in b) / lengths.sum() - 1
    grouped = T.epoch_batches(lengths, 16, 0)
    assert padded(grouped) < .03 and padded(T.epoch_batches(lengths, 16, 0, group=False)) > .5
    few = T.epoch_batches(lengths[:64], 16, 0)  # one stretch of all rows would give the same batches in every epoch
    assert {frozenset(b) for b in few} != {frozenset(b) for b in T.epoch_batches(lengths[:64], 16, 0, 1)}
    means = np.array([lengths[i].mean() for i in grouped if len(i) == 16])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < .2

def test_history_counts_tokens_and_padding():
    h = train(Words(), FIT, Training(lr=1e-3, epochs=3, batch=4))
    assert h.tokens == 3 * sum(len(a.split()) for a in FIT.a) and h.steps == 45
    one = train(Words(), FIT, Training(lr=1e-3, epochs=3, batch=4, micro=1))
    assert one.padding == 0 < h.padding < train(Words(), FIT, Training(lr=1e-3, epochs=3, batch=4, group_by_length=False)).padding

def test_the_world_of_the_caller_is_left_alone():
    torch.manual_seed(5)
    before, handler, m = torch.get_rng_state(), signal.getsignal(signal.SIGINT), Words(dropout=.3).eval()
    train(m, FIT, CFG, probes=dict(test=TEST), probe_steps=[0, 3], on_probe=lambda *_: None)
    assert torch.equal(before, torch.get_rng_state()) and not m.training and signal.getsignal(signal.SIGINT) is handler


# ---- asking ---------------------------------------------------------------------------------------------------------
def test_scores_do_not_depend_on_the_batch_and_come_in_order():
    m = Words(dropout=.5)
    alone = np.concatenate([m.eval()(**m.collate(m.encode(texts_of(i)))).detach().numpy() for i in range(len(TEST))])
    for budget in (1, 7, 50, 10**6): np.testing.assert_allclose(T.predict(m, TEST, budget), alone, rtol=0, atol=1e-5)

def texts_of(i): return Examples(['x'], [TEST.a[i]], None)

def test_token_batches_keep_the_budget_longest_first():
    lengths = np.random.default_rng(0).integers(1, 60, 300)
    b = list(T.token_batches(lengths, 100))
    assert sorted(np.concatenate(b)) == list(range(300)) and all(len(i) * lengths[i].max() <= 100 for i in b)
    assert (np.diff(np.concatenate([lengths[i] for i in b])) <= 0).all()
    assert [len(i) for i in T.token_batches([500, 500], 100)] == [1, 1]

def test_predictions_carry_what_is_known():
    m = Words()
    p = T.predictions(m, TEST, dict(model='words', split='test'))
    z = T.predict(m, TEST)
    probs = np.exp(z - z.max(1, keepdims=True)); probs /= probs.sum(1, keepdims=True)
    top = np.sort(probs, 1)
    np.testing.assert_allclose(p.scores['entropy'], -(probs * np.log(probs)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(p.scores['margin'], top[:, -1] - top[:, -2], atol=1e-6)
    np.testing.assert_array_equal(p.scores['true_posterior'], [q[i] for q, i in zip(TEST.posterior, z.argmax(1), strict=True)])
    assert p.cluster.tolist() == TEST.cluster.tolist() and p.uid.tolist() == TEST.uid.tolist() and (p.correct == (z.argmax(1) == TEST.label)).all()
    assert 'true_posterior' not in T.predictions(m, replace(TEST, posterior=None)).scores

def test_mean_loss_is_by_token():
    m, e = NextWord(), texts(9, 3)
    with torch.no_grad(): parts = [m.loss(**m.collate([r])) for r in m.encode(e)]
    right = sum(float(s) for s, _ in parts) / sum(n for _, n in parts)
    for budget in (1, 40, 10**6): assert T.mean_loss(m, e, budget) == pytest.approx(right, rel=1e-5)


# ---- dropout as in the two versions of the source ---------------------------------------------------------------------
def modes(dropout):
    "The mode of the model in each forward pass of training (with gradient) and of testing, for a run with a probe."
    seen, m = dict(train=set(), test=set()), Words(dropout=.5)
    m.drop.register_forward_hook(lambda mod, *_: seen['train' if torch.is_grad_enabled() and not torch.is_inference_mode_enabled() else 'test'].add(mod.training))
    train(m, FIT, replace(CFG, dropout=dropout), probes=dict(test=TEST), probe_steps=[0, 5], on_probe=lambda *_: None)
    return seen

@pytest.mark.parametrize('dropout, expected', [('on', dict(train={True}, test={False})), ('off', dict(train={False}, test={False})), ('always', dict(train={True}, test={True}))])
def test_dropout_is_a_switch(dropout, expected): assert modes(dropout) == expected

def test_dropout_switch_is_seen_in_the_numbers(tmp_path):
    "Off: as if the model had none. On: tested without. Always: two test passes differ."
    def losses(rate, dropout): return train(Words(dropout=rate), FIT, replace(CFG, dropout=dropout)).losses
    np.testing.assert_array_equal(losses(.5, 'off'), losses(0., 'on'))
    assert (losses(.5, 'on') != losses(0., 'on')).any()
    for dropout, varies in (('on', False), ('off', False), ('always', True)):
        train(m := Words(dropout=.5), FIT, replace(CFG, dropout=dropout), tmp_path / dropout, dict(test=TEST), [12])
        assert (T.read_probes(tmp_path / dropout)[0].logits != T.predict(m, TEST)).any() == varies


# ---- probes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('dropout', ['on', 'always'])
def test_probing_changes_nothing(tmp_path, dropout):
    cfg = replace(CFG, dropout=dropout)
    quiet, asked = Words(dropout=.4), Words(dropout=.4)
    a = train(quiet, FIT, cfg)
    b = train(asked, FIT, cfg, tmp_path, dict(test=TEST, fit=FIT), range(13), on_probe=lambda *_: torch.rand(7) is T.predict(asked, TEST, dropout=True))
    np.testing.assert_array_equal(a.losses, b.losses)
    np.testing.assert_array_equal(weights(quiet), weights(asked))

def test_probes_are_the_predictions_of_their_step(tmp_path):
    "Step 0 is before the first update, the last one after the last; each equals a run that stops there."
    train(Words(dropout=.2), FIT, CFG, tmp_path, dict(test=TEST), [0, 1, 12], dict(model='words', seed=3))
    found = T.read_probes(tmp_path)
    assert [p.meta for p in found] == [dict(model='words', seed=3, split='test', step=s) for s in (0, 1, 12)]
    assert sorted(files(tmp_path)) == [f'test-{s:06d}.parquet' for s in (0, 1, 12)]
    for p in found:
        m = Words(dropout=.2)
        if p.meta['step']: train(m, FIT, replace(CFG, steps=p.meta['step']))
        np.testing.assert_array_equal(p.logits, T.predict(m, TEST))

def test_read_probes_by_name(tmp_path):
    train(Words(), FIT, CFG, tmp_path, {'test': TEST, 'test-shifted': FIT}, [3])
    assert [len(p) for p in T.read_probes(tmp_path, 'test')] == [25] and [len(p) for p in T.read_probes(tmp_path, 'test-shifted')] == [60]
    assert len(T.read_probes(tmp_path)) == 2

@pytest.mark.parametrize('last, n, first', [(1, 2, 1), (2, 2, 1), (1000, 20, 1), (143_000, 30, 1), (500, 5, 10), (7, 50, 1)])
def test_log_steps(last, n, first):
    s = T.log_steps(last, n, first)
    assert s[0] == first and s[-1] == last and len(s) <= n and (np.diff(s) > 0).all() and all(type(i) is int for i in s)
    if n > 10 * last: assert s == tuple(range(first, last + 1))


# ---- killed, interrupted, resumed ------------------------------------------------------------------------------------
LONG = replace(CFG, steps=30, checkpoint_every=5)
def long_run(m, out, on_probe=None): return train(m, FIT, LONG, out, dict(test=TEST), range(0, 31, 3), dict(seed=1), on_probe=on_probe)
def die(): os.kill(os.getpid(), signal.SIGKILL)

def die_at_a_probe(step, found): step == 18 and die()
def die_before_the_first_checkpoint(step, found): step == 3 and die()

def die_writing_a_checkpoint(real=T.save_file, n=[]): # noqa: B006
    def cut(tensors, path):
        n.append(1)
        if len(n) < 3: return real(tensors, path)
        path.write_bytes(b'half')
        die()
    T.save_file = cut

def die_before_the_old_checkpoint_goes(real=T.shutil.rmtree, n=[]): # noqa: B006
    def cut(path):
        n.append(1)
        return real(path) if len(n) < 2 else die()
    T.shutil.rmtree = cut

RUN = "import sys; sys.path.insert(0, {here!r}); import test_training as t; {trap}; t.long_run(t.Words(dropout=.4), {out!r}, {hook})"
KILLS = dict(at_a_probe=('', 't.die_at_a_probe', 18), before_the_first_checkpoint=('', 't.die_before_the_first_checkpoint', 3),
             writing_a_checkpoint=('t.die_writing_a_checkpoint()', 'None', 15), before_the_old_checkpoint_goes=('t.die_before_the_old_checkpoint_goes()', 'None', 15))

@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp('undisturbed')
    h = long_run(m := Words(dropout=.4), out)
    return m, h, files(out)

@pytest.mark.parametrize('when', KILLS)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, undisturbed, when):
    "Killed by SIGKILL in another process; weights, buffers, losses and every probe are equal to the last bit."
    trap, hook, step = KILLS[when]
    script = RUN.format(here=str(HERE), out=str(tmp_path), trap=trap or 'pass', hook=hook)
    dead = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    early, (m, whole, probes) = files(tmp_path), undisturbed
    assert sorted(early) == [f'test-{s:06d}.parquet' for s in range(0, step + 1, 3)]
    again = Words(dropout=.4, seed=0 if step == 3 else 99)  # where there is a checkpoint, it decides
    h = long_run(again, tmp_path)
    assert same(again, m) and float(again.calls) == 30
    np.testing.assert_array_equal(h.losses, whole.losses)
    assert (h.steps, h.tokens, h.padding) == (whole.steps, whole.tokens, whole.padding)
    assert files(tmp_path) == probes and all(probes[k] == v for k, v in early.items())
    assert [p.name for p in (tmp_path / 'checkpoint').iterdir()] == ['00000030']

def test_a_finished_run_is_not_trained_again(tmp_path):
    cfg = replace(CFG, checkpoint_every=100)
    a, b = Words(), Words(seed=7)
    h = train(a, FIT, cfg, tmp_path)
    b.loss = None  # any step would fail
    again = train(b, FIT, cfg, tmp_path)
    assert same(a, b) and again.losses.tolist() == h.losses.tolist()

def test_ctrl_c_keeps_the_run(tmp_path):
    "The signal waits for the end of the step, the checkpoint is written, and the same call goes on."
    handler = signal.getsignal(signal.SIGINT)
    def hit(step, found): step == 4 and os.kill(os.getpid(), signal.SIGINT)
    def call(m, hook=None): return train(m, FIT, CFG, tmp_path, dict(test=TEST), range(0, 13, 2), on_probe=hook)
    with pytest.raises(KeyboardInterrupt, match='stopped after step 4 of 12; call train again with out='): call(Words(dropout=.4), hit)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / 'checkpoint' / '00000004').is_dir()
    call(m := Words(dropout=.4, seed=5))
    train(whole := Words(dropout=.4), FIT, CFG)
    assert same(m, whole) and not (tmp_path / 'checkpoint').exists()

def test_ctrl_c_without_a_folder_says_that_nothing_is_kept():
    with pytest.raises(KeyboardInterrupt, match='nothing was kept'):
        train(Words(), FIT, CFG, probes=dict(test=TEST), probe_steps=[2], on_probe=lambda *_: os.kill(os.getpid(), signal.SIGINT))

CHANGES = {'settings.lr was 0.01 and is 0.02': dict(cfg=dict(lr=.02)), 'settings.seed was 0 and is 1': dict(cfg=dict(seed=1)), 'data was': dict(data=texts(60, 5)), 'rows was 60 and is 59': dict(data=texts(59)),
           'parameters was': dict(model=Words(width=16)), "meta.seed was None and is 2": dict(meta=dict(seed=2)), 'probe_steps was': dict(at=[0, 4]), 'probes.test was': dict(probes=dict(test=texts(25, 9))), 'model was': dict(model=Words(dropout=.1))}

@pytest.mark.parametrize('says', CHANGES)
def test_another_run_in_the_folder_is_refused(tmp_path, says):
    "The message says what differs; nothing in the folder changes."
    change = CHANGES[says]
    train(Words(), FIT, replace(CFG, checkpoint_every=4), tmp_path, dict(test=TEST), [0, 3])
    before = files(tmp_path, '*.*')
    with pytest.raises(ValueError, match='holds another run') as e:
        train(change.get('model', Words()), change.get('data', FIT), replace(CFG, checkpoint_every=4, **change.get('cfg', {})), tmp_path,
              change.get('probes', dict(test=TEST)), change.get('at', [0, 3]), change.get('meta'))
    assert says in str(e.value) and files(tmp_path, '*.*') == before

def test_another_version_is_refused(tmp_path, monkeypatch):
    train(Words(), FIT, CFG, tmp_path)
    monkeypatch.setattr('plcal_study.__version__', '9.9')
    with pytest.raises(ValueError, match="version was '[^']*' and is '9.9'"): train(Words(), FIT, CFG, tmp_path)

def test_a_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch):
    train(Words(), FIT, replace(CFG, checkpoint_every=4), tmp_path)
    monkeypatch.setattr(T, '_STATE', 99)
    with pytest.raises(ValueError, match='format was 2 and is 99. Choose another folder, or delete this one'): train(Words(), FIT, replace(CFG, checkpoint_every=4), tmp_path)

def test_a_process_that_dies_while_it_begins_can_begin_again(tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        def die(*_): raise KeyboardInterrupt
        m.setattr(T, 'atomic_write', die)
        with pytest.raises(KeyboardInterrupt): train(Words(), FIT, CFG, tmp_path)
    train(Words(), FIT, CFG, tmp_path)

def test_half_a_checkpoint_takes_no_room(tmp_path, monkeypatch):
    "The disk is full: what was being written is removed, the checkpoint before is kept."
    full, save = [4], T.save_file
    def once(tensors, path):
        save(tensors, path)
        full.append(full.pop() - 1)
        if full[0] == 2: raise OSError(28, 'No space left on device')
    monkeypatch.setattr(T, 'save_file', once)
    with pytest.raises(OSError, match='No space left'): train(Words(), FIT, replace(CFG, checkpoint_every=4), tmp_path)
    assert [p.name for p in (tmp_path / 'checkpoint').iterdir()] == ['00000004']

def test_frozen_weights_are_not_in_the_checkpoint_but_must_be_the_same(tmp_path):
    def frozen(seed):
        m = Words(seed=seed)
        m.embed.requires_grad_(False)
        return m
    train(frozen(0), FIT, replace(CFG, checkpoint_every=4), tmp_path)
    from safetensors.torch import load_file
    names = load_file(tmp_path / 'checkpoint' / '00000012' / 'state.safetensors')
    assert 'weight.out.weight' in names and 'optimizer.exp_avg.out.weight' in names and not any('embed' in n for n in names)
    with pytest.raises(ValueError, match='frozen_weights was'): train(frozen(1), FIT, replace(CFG, checkpoint_every=4), tmp_path)

@pytest.mark.parametrize('file', ['state.safetensors', 'state.json'])
def test_a_damaged_checkpoint_is_named(tmp_path, file):
    cfg = replace(CFG, checkpoint_every=4)
    train(Words(), FIT, cfg, tmp_path)
    f = tmp_path / 'checkpoint' / '00000012' / file
    f.write_bytes(f.read_bytes()[:20])
    m = Words()
    before = weights(m)
    with pytest.raises(ValueError, match='cannot be read .* to begin anew'): train(m, FIT, cfg, tmp_path)
    np.testing.assert_array_equal(weights(m), before)

def test_a_checkpoint_holds_no_pickle(tmp_path):
    train(Words(), FIT, replace(CFG, checkpoint_every=4), tmp_path)
    assert {p.suffix for p in tmp_path.rglob('*') if p.is_file()} == {'.json', '.safetensors'}


# ---- when it goes wrong -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, value):
    "The step, the rate and a remedy are named; the weights, the last checkpoint and the probes before are kept."
    class Breaks(Words):
        def loss(self, input_ids, label):
            s, n = super().loss(input_ids, label)
            return (s * value if self.calls == 8 else s), n
    m, before = Breaks(), []
    def look(step, found): before[:] = [weights(m)]
    with pytest.raises(FloatingPointError, match=rf'the loss became {value} in step 8 of 12, at learning rate 0.01; try a lower lr.*; the checkpoint of step 4 is kept'):
        train(m, FIT, replace(CFG, checkpoint_every=4), tmp_path, dict(test=TEST), range(0, 13), on_probe=look)
    np.testing.assert_array_equal(weights(m), before[0])
    assert [p.meta['step'] for p in T.read_probes(tmp_path)] == list(range(8))
    assert [p.name for p in (tmp_path / 'checkpoint').iterdir()] == ['00000004'] and (tmp_path / 'checkpoint' / '00000004' / 'state.safetensors').exists()

def test_an_interruption_keeps_nothing_of_a_run_that_has_gone_wrong(tmp_path, monkeypatch):
    "On a GPU the losses are looked at now and then; here it is made to be so."
    real = T._look
    monkeypatch.setattr(T, '_look', lambda r: None if sys._getframe(1).f_code.co_name == '_update' else real(r))
    class Breaks(Words):
        def loss(self, input_ids, label):
            s, n = super().loss(input_ids, label)
            return (s * math.nan if self.calls >= 6 else s), n
    def hit(done, of): done == 7 and os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(FloatingPointError, match='in step 6 of 12.*; the checkpoint of step 4 is kept'): train(Breaks(), FIT, replace(CFG, checkpoint_every=4), tmp_path, progress=hit)
    assert [p.name for p in (tmp_path / 'checkpoint').iterdir()] == ['00000004']

def test_what_is_a_number_in_a_part_of_the_model_is_part_of_the_run(tmp_path):
    "A setting that no weight shows; one that a model changes for itself, or where it lies in memory, is none."
    def with_(**more):
        m = Words()
        for k, v in more.items(): setattr(m.drop, k, v)
        return m
    train(with_(rate=.1, seen_cached=1, act=lambda x: x), FIT, CFG, tmp_path)
    with pytest.raises(ValueError, match='model was'): train(with_(rate=.2), FIT, CFG, tmp_path)
    train(with_(rate=.1, seen_cached=2, act=lambda x: x), FIT, CFG, tmp_path)

def test_scores_that_are_no_numbers_are_not_written(tmp_path):
    m = Words()
    with torch.no_grad(): m.out.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="the scores for 'test' are no finite numbers at step 0"): train(m, FIT, CFG, tmp_path, dict(test=TEST), [0])
    assert not files(tmp_path)


# ---- the line of progress ---------------------------------------------------------------------------------------------
def test_progress_is_silent_unless_asked_for(capfd):
    calls = []
    train(Words(), FIT, CFG)
    train(Words(), FIT, CFG, progress=lambda done, total: calls.append((done, total)))
    assert capfd.readouterr() == ('', '') and calls == [(s, 12) for s in range(1, 13)]
    train(Words(), FIT, CFG, progress=True)
    said = capfd.readouterr()
    assert '12/12' in said.err and 'loss=' in said.err and not said.out


# ---- several processes --------------------------------------------------------------------------------------------------
TWO = """
    import sys
    sys.path.insert(0, {here!r})
    from test_training import *
    out, rank, found, seen, told = {out!r}, int(os.environ['RANK']), {{}}, [], []
    gradient, keep = T._gradient, T._keep
    def watched(net, batches, weights, *rest):
        seen.append([' '.join(str(w) for w in row.tolist() if w) for b, x in zip(batches, weights) if x for row in b['input_ids']])
        return gradient(net, batches, weights, *rest)
    def stops(r):
        keep(r)
        if r.step == 10: raise KeyboardInterrupt
    def trained(name, m, **how):
        h = train(m, ODD, PAIR, out + '/' + name, **how)
        found.update({{name: weights(m), name + '.losses': h.losses, name + '.tokens': h.tokens}})
    T._gradient = watched
    trained('words', NextWord())
    T._gradient = gradient
    trained('probed', Words(), **PROBED, on_probe=lambda step, p: told.append(step))
    trained('whole', Words(dropout=.4), **PROBED)
    T._keep = stops
    with pytest.raises(KeyboardInterrupt): trained('again', Words(dropout=.4), **PROBED)
    T._keep = keep
    trained('again', Words(dropout=.4, seed=99), **PROBED)
    weights = lambda m: np.concatenate([p.full_tensor().detach().double().numpy().ravel() if hasattr(p, 'full_tensor') else p.detach().double().numpy().ravel() for p in m.parameters()])
    trained('spread', NextWord(), shard=True)
    trained('spread-probed', Words(), **PROBED, shard=True)
    T._keep = stops
    with pytest.raises(KeyboardInterrupt): trained('spread-again', Words(), **PROBED, shard=True)
    T._keep = keep
    trained('spread-again', m := Words(seed=99), **PROBED, shard=True)
    found['held'] = sum(p.to_local().numel() for p in m.parameters())
    np.savez(out + f'/end-{{rank}}.npz', told=told, **found)
    Path(out, f'seen-{{rank}}.json').write_text(json.dumps(seen))
    """
ODD = texts(57)
PAIR = Training(lr=.01, epochs=2, batch=7, micro=2, clip=.5, checkpoint_every=5) # 18 steps; the last batch of an epoch has one row, which leaves the second process nothing to do
PROBED = dict(probes=dict(test=TEST), probe_steps=range(0, 19, 3))

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "What two CPU processes trained that torchrun has started: their folders, and what each of them ended with."
    out = tmp_path_factory.mktemp('two')
    (out / 'two.py').write_text(textwrap.dedent(TWO.format(here=str(HERE), out=str(out))))
    e = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port=0', '--rdzv_backend=c10d', '--rdzv_endpoint=localhost:0', out / 'two.py'],
                       capture_output=True, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1', 'ACCELERATE_USE_CPU': 'true', 'CUDA_VISIBLE_DEVICES': ''})
    assert e.returncode == 0, e.stderr[-3000:]
    return out, [np.load(out / f'end-{i}.npz') for i in (0, 1)]

def test_two_processes_are_one(two):
    "The same losses and weights, on both of them; every row once an epoch, by one or the other."
    out, ends = two
    h = train(m := NextWord(), ODD, PAIR)
    assert len(ODD) % 7 == 1 and h.steps == 18
    for end in ends:
        np.testing.assert_allclose(end['words.losses'], h.losses, rtol=1e-5)
        np.testing.assert_allclose(end['words'], weights(m), rtol=0, atol=1e-5)
        assert int(end['words.tokens']) == h.tokens
    assert json.loads((out / 'words' / 'training.json').read_text())['processes'] == 2
    shares = [json.loads((out / f'seen-{i}.json').read_text()) for i in (0, 1)]
    for epoch in (slice(0, 9), slice(9, 18)): assert sorted(r for s in shares for step in s[epoch] for r in step) == sorted(ODD.a)
    assert [[len(step) for step in s[:9]].count(0) for s in shares] == [0, 1]

def test_two_processes_ask_the_probes_once(two):
    "The first one asks; what it hears is what one process alone hears."
    (out, ends), alone = two, {}
    train(m := Words(), ODD, PAIR, **PROBED, on_probe=lambda step, p: alone.update({step: p['test']}))
    assert [end['told'].tolist() for end in ends] == [list(range(0, 19, 3)), []]
    for end in ends: np.testing.assert_allclose(end['probed'], weights(m), rtol=0, atol=1e-5)
    found = T.read_probes(out / 'probed')
    assert [p.meta['step'] for p in found] == list(alone)
    for p in found:
        assert p.uid.tolist() == list(TEST.uid)
        np.testing.assert_allclose(p.logits, alone[p.meta['step']].logits, rtol=0, atol=1e-5)

def test_two_processes_go_on_as_if_nothing_had_happened(two):
    "With dropout, from the checkpoint of step 10; to the last bit. One process is told why it cannot."
    out, ends = two
    for end in ends:
        assert (end['again'] == end['whole']).all() and (end['again'] == ends[0]['whole']).all()
        np.testing.assert_array_equal(end['again.losses'], end['whole.losses'])
    assert files(out / 'again') == files(out / 'whole') and len(files(out / 'again')) == 7
    with pytest.raises(ValueError, match='holds another run: processes was 2 and is 1. Choose another folder'): train(Words(dropout=.4), ODD, PAIR, out / 'again', **PROBED)


def test_a_model_that_is_spread_is_the_whole_one(two):
    "FSDP: each process holds its half, and losses, weights and probes are those of one process; so are those of a run that was stopped. (How a decoder is saved: `test_cli_extract`.)"
    out, ends = two
    held = [int(end['held']) for end in ends]
    assert sum(held) == len(ends[0]['probed']) and max(held) < .6 * sum(held)
    for end in ends:
        for whole, spread in (('words', 'spread'), ('probed', 'spread-probed'), ('probed', 'spread-again')):
            np.testing.assert_allclose(end[spread], end[whole], rtol=0, atol=1e-5)
            np.testing.assert_allclose(end[f'{spread}.losses'], end[f'{whole}.losses'], rtol=1e-5)
    for a in T.read_probes(out / 'spread-again'):
        b, = (p for p in T.read_probes(out / 'probed') if p.meta['step'] == a.meta['step'])
        np.testing.assert_allclose(a.logits, b.logits, rtol=0, atol=1e-5)
    assert len(files(out / 'spread-again')) == 7

def test_a_launch_that_shards_is_refused(monkeypatch):
    from accelerate.utils import DistributedType
    monkeypatch.setattr(T.Accelerator, 'distributed_type', DistributedType.FSDP)
    with pytest.raises(ValueError, match='train spreads a model over processes by itself, with shard=True, and this one was started with FSDP'): train(Words(), FIT, CFG)

# ---- with models of transformers ------------------------------------------------------------------------------------------
@cache
def little_world():
    from plcal_study.lm import models, testbed
    world = testbed.text_world(k=2, bayes_accuracy=.9, length=(3, 20), seed=0)
    task = replace(testbed.as_task(world, 40, 8, 24), template='{a} {m}')
    return models, task, testbed.train_tokenizer([*testbed.lexicon(world), *task.words])

@pytest.mark.parametrize('family, kind', [('bert', 'masked'), ('t5', 'seq2seq'), ('gpt_neox', 'causal'), ('gpt_neox', 'language model')])
def test_models_of_every_kind_train_the_same_in_any_heap(family, kind, tmp_path):
    "One step of eight rows is eight of one, and scores do not depend on the batch, for label words and for next tokens."
    models, task, tokenizer = little_world()
    def make():
        body = models.build(family, 'nano', tokenizer, 'causal' if kind == 'language model' else kind)
        return models.LanguageModel(body, tokenizer, 'causal', 24, pack=False) if kind == 'language model' else models.PromptClassifier(body, tokenizer, task, 32)
    data = replace(task['train'], label=None, posterior=None) if kind == 'language model' else task['train']
    cfg = Training(lr=1e-3, steps=6, batch=8, dropout='off')
    whole, parts = make(), make()
    np.testing.assert_allclose(train(whole, data, cfg).losses, train(parts, data, replace(cfg, micro=1)).losses, rtol=1e-4)
    if kind == 'language model': assert T.mean_loss(whole, data, 1) == pytest.approx(T.mean_loss(whole, data), rel=1e-5)
    else: np.testing.assert_allclose(T.predict(whole, task['test'], 1), T.predict(whole, task['test']), rtol=0, atol=1e-5)

def test_a_masked_model_hides_the_same_words_however_it_is_batched(tmp_path):
    "What is hidden is drawn by row from the seed of the step: in micro-batches, beside probes, and when its loss is measured twice."
    models, task, tokenizer = little_world()
    def make(): return models.LanguageModel(models.build('bert', 'nano', tokenizer, 'masked'), tokenizer, 'masked', 24, pack=False)
    data, cfg = replace(task['train'], label=None, posterior=None), Training(lr=1e-3, steps=6, batch=8, dropout='off')
    m = make()
    h = train(m, data, cfg, probe_steps=[0, 3], on_probe=lambda *_: T.mean_loss(m, data))
    np.testing.assert_allclose(h.losses, train(make(), data, replace(cfg, micro=1)).losses, rtol=1e-4)
    assert T.mean_loss(m, data) == pytest.approx(T.mean_loss(m, data, 30), rel=1e-5) != T.mean_loss(m, data, seed=1)
