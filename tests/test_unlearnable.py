"Protects the unlearnable methods: losses against loops and closed forms, training in any heap, and passes with dropout against the average written out."
import json
from copy import deepcopy
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
import numpy as np, pytest

torch = pytest.importorskip('torch')
import torch.nn.functional as F
from torch import nn
from scipy.special import log_softmax, softmax
import plcal_study.lm.training as T
import plcal_study.lm.unlearnable as U
from plcal_study.lm.baselines import LSTM
from plcal_study.lm.examples import Examples, Task
from plcal_study.lm.models import CrossEntropy, HeadClassifier, LanguageModel, PromptClassifier, Trainable, build
from plcal_study.lm.testbed import train_tokenizer
from plcal_study.lm.training import Training, predict, to_predictions, train
from plcal_study.lm.unlearnable import Focal, LabelSmoothing, mc_dropout

GOLDEN = json.loads((Path(__file__).parent/'golden.json').read_text())['over_2000x4']
CRITERIA = [LabelSmoothing(.1), LabelSmoothing(.3), LabelSmoothing(.1, summed=True), LabelSmoothing(0), Focal(2.), Focal(.5), Focal(0)]


class Bag(Trainable):
    "A linear bag of words, with dropout."
    def __init__(self, k=3, dropout=0., seed=0):
        super().__init__()
        self.k = k
        g = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(30, k, generator=g) * .3)
        self.drop = nn.Dropout(dropout)

    def encode(self, e):
        rows = [dict(input_ids=[int(w) for w in a.split()]) for a in e.a]
        return rows if e.label is None else [r | dict(label=int(y)) for r, y in zip(rows, e.label, strict=True)]

    def collate(self, rows):
        ids = nn.utils.rnn.pad_sequence([torch.tensor(r['input_ids']) for r in rows], batch_first=True)
        return dict(input_ids=ids) | (dict(label=torch.tensor([r['label'] for r in rows])) if 'label' in rows[0] else {})

    def forward(self, input_ids, label=None): return (self.drop(self.weight[input_ids]) * (input_ids > 0)[..., None]).sum(1)


def texts(n=48, seed=0, k=3):
    rng = np.random.default_rng(seed)
    label = rng.integers(k, size=n)
    a = [' '.join(map(str, np.where(rng.random(m) < .4, y + 1, rng.integers(1, 30, size=m)))) for y, m in zip(label, rng.integers(1, 12, size=n), strict=True)]
    return Examples([f'{seed}-{i}' for i in range(n)], a, label, posterior=rng.dirichlet(np.ones(k), n))

FIT, TEST = texts(), texts(20, 1)
CFG = Training(lr=.01, steps=12, batch=8)

def scores(n=40, k=4, seed=0, scale=3.):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)) * scale, rng.integers(k, size=n)

def total(criterion, z, label): return float(criterion(torch.tensor(np.asarray(z)), torch.tensor(label))[0])

def gradient(criterion, z, label):
    z = torch.tensor(np.asarray(z), requires_grad=True)
    s, n = criterion(z, torch.tensor(label))
    (s / n).backward()
    return z.grad.numpy()

def weights(m): return np.concatenate([p.detach().double().numpy().ravel() for p in m.parameters()])
def with_(model, criterion):
    model.criterion = criterion
    return model


# ---- label smoothing ------------------------------------------------------------------------------------------------
def slow_smoothing(z, label, eps):
    "The definition, class by class."
    out = 0.
    for row, y in zip(z, label, strict=True):
        q = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        for c, qc in enumerate(q):
            t = 1 - eps if c == y else eps / (len(q) - 1)
            out += t * np.log(t / qc) if t else 0.
    return out

@pytest.mark.parametrize('k', [2, 3, 10])
@pytest.mark.parametrize('eps', [0., .1, .3])
def test_smoothing_is_the_definition(k, eps):
    z, y = scores(k=k)
    assert total(LabelSmoothing(eps), z, y) == pytest.approx(slow_smoothing(z, y, eps), rel=1e-12)
    assert LabelSmoothing(eps)(torch.tensor(z), torch.tensor(y))[1] == 40

def test_smoothing_by_hand():
    "Two classes, eps = 1/4, scores (ln 3, 0): right, the model says the target; wrong, 3/4 ln 3 - 1/4 ln 3."
    z = [[np.log(3.), 0.]]
    assert total(LabelSmoothing(.25), z, [0]) == pytest.approx(0, abs=1e-15)
    assert total(LabelSmoothing(.25), z, [1]) == pytest.approx(np.log(3) / 2)
    np.testing.assert_allclose(gradient(LabelSmoothing(.25), z, [1]), [[.5, -.5]], rtol=1e-12) # q - t

def test_the_two_definitions_of_smoothing_on_golden_scores():
    "The cross-entropies of the source's target and of torch's at the same eps, and that K / (K - 1) is between them."
    rng = np.random.default_rng(GOLDEN['seed'])
    z = rng.normal(size=(GOLDEN['n'], GOLDEN['k'])) * 1.5
    y = np.array([rng.choice(4, p=p) for p in softmax(z, axis=1)])
    z, entropy = z / GOLDEN['T'], -.9 * np.log(.9) - .1 * np.log(.1 / 3)
    def torchs(eps): return float(F.cross_entropy(torch.tensor(z), torch.tensor(y), label_smoothing=eps))
    assert total(CrossEntropy(), z, y) / 2000 == pytest.approx(GOLDEN['sk_nll'])
    assert total(LabelSmoothing(.1), z, y) / 2000 + entropy == pytest.approx(1.36989, abs=5e-6) == torchs(.1 * 4 / 3)
    assert torchs(.1) == pytest.approx(1.29200, abs=5e-6)

def test_no_smoothing_is_cross_entropy():
    z, y = scores()
    assert total(LabelSmoothing(0), z, y) == pytest.approx(total(CrossEntropy(), z, y), rel=1e-12)
    np.testing.assert_allclose(gradient(LabelSmoothing(0), z, y), gradient(CrossEntropy(), z, y), rtol=1e-12, atol=1e-15)

@pytest.mark.parametrize('k', [2, 3, 7])
def test_the_optimum_of_smoothing_is_a_line_in_the_truth(k):
    "Labels that come in known proportions: no slope at q, and a higher loss everywhere else."
    rng = np.random.default_rng(k)
    count = rng.integers(1, 20, size=k)
    p, y = count / count.sum(), np.repeat(np.arange(k), count)
    q = (1 - .1 - .1 / (k - 1)) * p + .1 / (k - 1)
    def at(q): return np.tile(np.log(q), (len(y), 1))
    np.testing.assert_allclose(gradient(LabelSmoothing(.1), at(q), y).sum(0), 0, atol=1e-13)
    least = total(LabelSmoothing(.1), at(q), y)
    assert all(total(LabelSmoothing(.1), at(q) + .05 * rng.normal(size=k), y) > least for _ in range(20))

def test_the_sum_is_the_batch_times_the_mean():
    z, y = scores()
    mean, summed = LabelSmoothing(.1), LabelSmoothing(.1, summed=True)
    assert total(mean, z, y) == total(summed, z, y) and summed(torch.tensor(z), torch.tensor(y))[1] == 1
    np.testing.assert_allclose(gradient(summed, z, y), 40 * gradient(mean, z, y), rtol=1e-12)

def test_adamw_does_not_see_the_sum_but_for_its_eps():
    "Batches of 16, a power of 2: with eps out of the way the factor falls out, also beside weight decay."
    def end(summed, **how): return weights(with_trained(LabelSmoothing(.1, summed), replace(CFG, batch=16, weight_decay=.5, **how)))
    def with_trained(c, cfg): train(m := with_(Bag(), c), FIT, cfg); return m
    np.testing.assert_allclose(end(True, eps=1e-20), end(False, eps=1e-20), rtol=0, atol=1e-7)
    assert 0 < abs(end(True, eps=1e-3) - end(False, eps=1e-3)).max()

def test_the_sum_is_divided_by_the_number_of_passes():
    "As `summed` says: one divisor for each forward pass, so four micro-batches give a quarter."
    def first(**how): return train(with_(Bag(), LabelSmoothing(.1, summed=True)), FIT, replace(CFG, steps=1, **how)).losses[0]
    mean = train(with_(Bag(), LabelSmoothing(.1)), FIT, replace(CFG, steps=1)).losses[0]
    assert first() == pytest.approx(8 * mean, rel=1e-5) and first(micro=2) == pytest.approx(8 * mean / 4, rel=1e-5)


# ---- focal loss -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('gamma', [0., .5, 1., 2., 5.])
def test_focal_is_the_definition(gamma):
    z, y = scores(scale=2.)
    q = softmax(z, axis=1)[np.arange(40), y]
    assert total(Focal(gamma), z, y) == pytest.approx(sum(-(1 - x)**gamma * np.log(x) for x in q), rel=1e-9)
    assert Focal(gamma)(torch.tensor(z), torch.tensor(y))[1] == 40

def test_focal_by_hand():
    assert total(Focal(), [[0., 0.]], [1]) == pytest.approx(np.log(2) / 4)
    assert total(Focal(1), [[np.log(3.), 0.]], [1]) == pytest.approx(np.log(4) * 3 / 4)

def test_gamma_zero_is_cross_entropy():
    z, y = scores()
    assert total(Focal(0), z, y) == pytest.approx(total(CrossEntropy(), z, y), rel=1e-12)
    np.testing.assert_allclose(gradient(Focal(0), z, y), gradient(CrossEntropy(), z, y), rtol=1e-9, atol=1e-15)

@pytest.mark.parametrize('gamma', [.5, 1., 2., 3.])
def test_the_optimum_of_focal_is_where_theory_says(gamma):
    "p in proportion to q / [(1 - q)^g - g (1 - q)^(g - 1) q log q]; there the slope is zero, and q is flatter than p."
    q = np.array([.6, .3, .1])
    p = q / ((1 - q)**gamma - gamma * (1 - q)**(gamma - 1) * q * np.log(q))
    p /= p.sum()
    slope = sum(p[c] * gradient(Focal(gamma), [np.log(q)], [c])[0] for c in range(3))
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    assert p[0] > q[0] + .03

@pytest.mark.parametrize('criterion', CRITERIA, ids=str)
def test_gradients_are_those_of_the_loss(criterion):
    z, y = scores(6, 3, scale=1.)
    assert torch.autograd.gradcheck(lambda z: criterion(z, torch.tensor(y))[0], torch.tensor(z, requires_grad=True))

@pytest.mark.parametrize('criterion', CRITERIA, ids=str)
@pytest.mark.parametrize('gap', [0., 10., 17., 40., 200.])
def test_an_answer_as_sure_as_can_be_has_a_finite_loss_and_slope(criterion, gap):
    "In single precision q is 1 from a gap of 17 on, where a power of 1 - q has no slope."
    for y in (0, 1):
        z = torch.tensor([[gap, 0.]], requires_grad=True)
        s, _ = criterion(z, torch.tensor([y]))
        s.backward()
        assert torch.isfinite(s) and torch.isfinite(z.grad).all()


# ---- criteria in training -------------------------------------------------------------------------------------------
def slow_train(model, e, cfg):
    "A row at a time, the criterion of one row after the other, torch's plain AdamW."
    rows, losses = model.encode(e), []
    opt = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay, foreach=False, fused=False)
    for ids in T.epoch_batches(np.array([len(r['input_ids']) for r in rows]), cfg.batch, cfg.seed)[:cfg.steps]:
        opt.zero_grad()
        loss = sum(model.criterion(model(**model.collate([rows[i]])), torch.tensor([rows[i]['label']]))[0] for i in ids) / len(ids)
        loss.backward()
        opt.step()
        losses.append(float(loss.detach()))
    return losses

@pytest.mark.parametrize('micro', [None, 1, 3])
@pytest.mark.parametrize('criterion', [LabelSmoothing(.2), Focal(2.)], ids=str)
def test_a_model_trains_by_its_criterion_in_any_heap(criterion, micro):
    cfg = replace(CFG, steps=6, micro=micro)
    h, slow = train(ours := with_(Bag(), criterion), FIT, cfg), slow_train(oracle := with_(Bag(), criterion), FIT, cfg)
    np.testing.assert_allclose(h.losses, slow, rtol=1e-4)
    np.testing.assert_allclose(weights(ours), weights(oracle), rtol=0, atol=2e-5)
    plain = train(Bag(), FIT, cfg)
    assert abs(h.losses - plain.losses).min() > .01 # it is not cross-entropy

def test_a_transformer_trains_by_its_criterion():
    "A label word at the mask; its scores are log-probabilities, which is the same to every criterion."
    cfg = replace(CFG, lr=1e-3, steps=3)
    ends = [train(with_(prompt('bert', 'masked'), c), FILMS, replace(cfg, micro=m, dropout='off')).losses for c, m in ((LabelSmoothing(.1), None), (LabelSmoothing(.1), 3), (Focal(), None), (CrossEntropy(), None))]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)
    assert ends[0][0] == pytest.approx(np.log(2) + .9 * np.log(.9) + .1 * np.log(.1), abs=.05) and ends[2][0] == pytest.approx(np.log(2) / 4, abs=.05) # it knows nothing
    assert len({float(x[0]) for x in ends}) >= 3

def test_a_criterion_survives_a_copy_and_is_not_shared():
    m = with_(Bag(), Focal(1.))
    copy = deepcopy(m)
    m.criterion = LabelSmoothing(.2)
    assert copy.criterion == Focal(1.) and Bag().criterion == CrossEntropy() and m.criterion == LabelSmoothing(.2)
    a, b = (train(x, FIT, CFG).losses for x in (copy, with_(Bag(), Focal(1.))))
    np.testing.assert_array_equal(a, b)

def test_equal_settings_have_one_name_and_cannot_be_changed():
    assert repr(LabelSmoothing(np.float64(.1))) == repr(LabelSmoothing(.1)) == 'LabelSmoothing(eps=0.1, summed=False)' and repr(Focal(2)) == repr(Focal()) == 'Focal(gamma=2.0)'
    assert LabelSmoothing(.1) == LabelSmoothing(.1) != LabelSmoothing(.1, summed=True) and len({Focal(), Focal(2.), Focal(3.)}) == 2
    for c, name in ((LabelSmoothing(), 'eps'), (Focal(), 'gamma')):
        with pytest.raises(FrozenInstanceError): setattr(c, name, .5)

def test_a_run_is_not_gone_on_with_by_another_criterion(tmp_path):
    train(with_(Bag(), LabelSmoothing(.1)), FIT, CFG, tmp_path)
    assert json.loads((tmp_path / 'training.json').read_text())['loss'] == 'LabelSmoothing(eps=0.1, summed=False)'
    for other in (LabelSmoothing(.2), LabelSmoothing(.1, summed=True), Focal(), CrossEntropy()):
        with pytest.raises(ValueError, match='loss was'): train(with_(Bag(), other), FIT, CFG, tmp_path)
    train(with_(Bag(), LabelSmoothing(.1)), FIT, CFG, tmp_path)


# ---- dropout that stays on ------------------------------------------------------------------------------------------
TOKENIZER = train_tokenizer(['it was bad good . a the fine dull film story ending and very so'])
FILMS = Examples(range(24), ['a fine film', 'so dull', 'the story was so very dull and the ending'] * 8, [1, 0, 0] * 8)
TASK = Task('films', dict(train=FILMS), ('negative', 'positive'), ('bad', 'good'), '{a} . it was {m}')

def prompt(family, kind, **config): return PromptClassifier(build(family, (1, 8, 2), TOKENIZER, kind, **config), TOKENIZER, TASK, max_length=16)
def lstm(layers, dropout): return LSTM(TASK, {'[UNK]': 0, 'dull': 1, 'fine': 2, 'film': 3}, embed=4, hidden=3, layers=layers, dropout=dropout)

def test_passes_are_averaged_as_probabilities(monkeypatch):
    "By hand: (3/4, 1/4) and (1/4, 3/4) and (1, 0) make (2/3, 1/3); what predict is asked for is passed on."
    said, asked = iter(np.float32([[[np.log(3), 0]], [[0, np.log(3)]], [[1000, 0]]])), []
    monkeypatch.setattr(U, 'predict', lambda *args: asked.append(args[2:]) or next(said))
    got = mc_dropout(Bag(2, .1), Examples(['x'], ['1'], None), draws=3, batch_tokens=77, precision='bf16')
    np.testing.assert_allclose(np.exp(got), [[2 / 3, 1 / 3]], rtol=1e-6)
    assert asked == [(77, True, 'bf16')] * 3 and got.dtype == np.float64

def test_it_is_the_average_written_out():
    "Passes of predict under the same seed, softmax, mean, log; rows in the order of the examples."
    m = Bag(dropout=.5)
    with T._seeded(torch.device('cpu'), 7): passes = [predict(m, TEST, 30, dropout=True) for _ in range(6)]
    got = mc_dropout(m, TEST, 6, seed=7, batch_tokens=30)
    np.testing.assert_allclose(got, np.log(np.mean([softmax(z.astype(float), axis=1) for z in passes], 0)), rtol=1e-10)
    np.testing.assert_allclose(np.exp(got).sum(1), 1, rtol=1e-12)
    assert abs(got - log_softmax(np.mean(passes, 0), axis=1)).max() > .01 # not the mean of the scores
    np.testing.assert_allclose(mc_dropout(m, TEST, 1, 7, 30), log_softmax(passes[0].astype(float), axis=1), rtol=1e-10)

def test_many_draws_come_to_the_expectation():
    "One word that is there or not: (softmax(0) + softmax(2 w)) / 2, by hand."
    m = Bag(dropout=.5)
    m.weight.data[1] = torch.tensor([np.log(3.) / 2, 0, 0])
    m.drop = RowDrop(.5)
    got = np.exp(mc_dropout(m, Examples(range(400), ['1'] * 400, None), 50))
    np.testing.assert_allclose(got.mean(0), (np.full(3, 1 / 3) + [.6, .2, .2]) / 2, atol=.01)

class RowDrop(nn.Dropout):
    "A word is dropped whole."
    def forward(self, x): return x * super().forward(torch.ones_like(x[..., :1]))

def test_the_seed_decides_and_the_caller_does_not_notice():
    m = Bag(dropout=.5)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a = mc_dropout(m, TEST, 3, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert np.array_equal(a, mc_dropout(m, TEST, 3, seed=1)) and not np.array_equal(a, mc_dropout(m, TEST, 3, seed=2))
    one, two = mc_dropout(m, TEST, 1, seed=1), mc_dropout(m, TEST, 2, seed=1)
    assert not np.allclose(one, two) # the second pass drops other things than the first

def test_modes_are_given_back_also_after_an_error(monkeypatch):
    m = Bag(dropout=.5)
    for mode in (True, False):
        m.train(mode)
        m.drop.train(not mode)
        mc_dropout(m, TEST, 2)
        assert m.training is mode and m.drop.training is not mode
        with pytest.raises(IndexError): mc_dropout(m, Examples(['x'], ['99'], None), 2)
        assert m.training is mode and m.drop.training is not mode

NO, YES = False, True
@pytest.mark.parametrize('make, varies', [
    (lambda: Bag(), NO), (lambda: Bag(dropout=.1), YES),
    (lambda: prompt('bert', 'masked'), YES), (lambda: prompt('bert', 'masked', hidden_dropout_prob=0., attention_probs_dropout_prob=0.), NO),
    (lambda: prompt('bert', 'masked', hidden_dropout_prob=0.), YES), # in attention only
    (lambda: prompt('gpt_neox', 'causal'), NO), (lambda: prompt('gpt_neox', 'causal', attention_dropout=.1), YES), (lambda: prompt('gpt_neox', 'causal', hidden_dropout=.1), YES),
    (lambda: prompt('llama', 'causal'), NO), (lambda: prompt('llama', 'causal', attention_dropout=.1), YES), # no module of torch
    (lambda: HeadClassifier(build('t5', (1, 8, 2), TOKENIZER, 'classify', n_labels=2), TOKENIZER, TASK), YES),
    (lambda: HeadClassifier(build('t5', (1, 8, 2), TOKENIZER, 'classify', n_labels=2, dropout_rate=0.), TOKENIZER, TASK), NO),
    (lambda: lstm(2, .5), YES), (lambda: lstm(2, 0.), NO), (lambda: lstm(1, .5), NO)])
def test_what_is_refused_is_what_does_not_vary(make, varies):
    "Against the numbers: with dropout on, two passes differ, or they do not and the model is refused."
    m = make()
    e = TEST if isinstance(m, Bag) else FILMS
    with T._seeded(torch.device('cpu'), 0): a, b = (predict(m, e, dropout=True) for _ in range(2))
    assert np.array_equal(a, b) is not varies
    if varies: assert np.isfinite(mc_dropout(m, e, 2)).all()
    else:
        with pytest.raises(ValueError, match='nothing would vary'): mc_dropout(m, e, 2)

@pytest.mark.filterwarnings('ignore:dropout option')
def test_one_layer_of_an_lstm_drops_nothing():
    assert U._rate(nn.LSTM(2, 2, 1, dropout=.5)) == 0 and U._rate(nn.LSTM(2, 2, 2, dropout=.5)) == .5 and U._rate(nn.MultiheadAttention(2, 1, dropout=.25)) == .25

def test_it_becomes_predictions():
    p = to_predictions(mc_dropout(Bag(dropout=.5), TEST, 4), TEST, dict(method='mc_dropout'))
    assert len(p) == 20 and p.meta['method'] == 'mc_dropout' and set(p.scores) == {'margin', 'entropy', 'true_posterior'}
    np.testing.assert_allclose(p.conf, np.exp(mc_dropout(Bag(dropout=.5), TEST, 4)).max(1), rtol=1e-12)

def test_a_language_model_has_no_classes():
    m = LanguageModel(build('bert', (1, 8, 2), TOKENIZER, 'masked'), TOKENIZER, 'masked', max_length=16)
    with pytest.raises(ValueError, match='no classes'): mc_dropout(m, FILMS)
