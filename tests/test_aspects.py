"Three aspects of a decoder: sums against plain metrics, streams against memory, intervals and changes against the measuring floor, a base model made once."
import threading, tracemalloc
from dataclasses import replace
import numpy as np, pytest
from plcal_study.lm import facts
from plcal_study.measure import metrics
from plcal_study.measure.bootstrap import bootstrap, ece_interval
from plcal_study.measure.inference import mean_difference
from plcal_study.measure.predictions import Predictions, from_logits, select
from plcal_study.study import aspects as A
from plcal_study.study import ladder


def drawn(docs=30, size=(5, 40), seed=0, sharp=1.):
    "Tokens of documents, overconfident by `sharp`, with known probabilities; names sorted as they come."
    rng = np.random.default_rng(seed)
    n = rng.integers(*size, docs)
    truth = np.clip(np.repeat(rng.uniform(.2, .8, docs), n) + rng.normal(0, .1, n.sum()), .01, .99)
    conf = truth**(1 / sharp)
    whose = np.repeat([f'd{i:04d}' for i in range(docs)], n)
    return Predictions({}, [f'{u}:{i}' for i, u in enumerate(whose)], rng.random(len(truth)) < truth, conf, cluster=whose,
                       scores=dict(true_posterior=truth, logprob=np.log(truth) - .1, true_logprob=np.log(truth), bytes=rng.integers(1, 9, len(truth)).astype(float)))

P = drawn(sharp=2.)

# ---- sums ------------------------------------------------------------------------------------------------------------
def test_measures_are_those_of_the_measuring_floor():
    m, s = A.measures(P), P.scores
    assert m['n'] == len(P) and m['documents'] == 30
    wanted = dict(accuracy=P.correct.mean(), conf=P.conf.mean(), conf_gap=metrics.conf_gap(P.conf, P.correct), ece15=metrics.ece(P.conf, P.correct), brier_top=metrics.brier_top(P.conf, P.correct), nll=-s['logprob'].mean(),
                  bits_per_byte=-s['logprob'].sum() / np.log(2) / s['bytes'].sum(), true_conf=s['true_posterior'].mean(), true_error=metrics.true_calibration_error(P.conf, s['true_posterior']), excess=.1)
    for k, v in wanted.items(): assert m[k] == pytest.approx(v, rel=1e-9), k
    gaps = [abs((P.conf - s['true_posterior'])[metrics.bin_ids(P.conf, 15) == b].sum()) for b in range(15)]
    assert m['true_ece15'] == pytest.approx(sum(gaps) / len(P))
    assert m['auroc'] == pytest.approx(metrics.auroc(P.conf, P.correct), abs=.005)

def test_the_auroc_is_exact_where_confidences_lie_in_steps():
    q = replace(P, conf=(np.floor(P.conf * A.FINE) + .5) / A.FINE)
    assert A.measures(q)['auroc'] == pytest.approx(metrics.auroc(q.conf, q.correct), abs=1e-12)

def test_hand_worked():
    "Two documents; confidences .8 .8 | .4; right, wrong | right; the truth 1, 0 | .4."
    p = Predictions({}, ['a', 'b', 'c'], [1, 0, 1], [.8, .8, .4], cluster=['x', 'x', 'y'], scores=dict(true_posterior=np.array([1, 0, .4])))
    m = A.measures(p)
    assert np.allclose([m['accuracy'], m['conf'], m['ece15'], m['true_error'], m['true_ece15'], m['auroc']], [2 / 3, 2 / 3, (.6 + .6) / 3, 1 / 3, .2, .25])
    assert np.isnan([m['nll'], m['bits_per_byte'], m['excess']]).all()

def test_the_loss_of_options_is_that_of_their_softmax():
    z, y = np.array([[1., 2, 0], [0, 0, np.nan], [-np.inf, 0, 1]]), np.array([1, 0, 2])
    want = [np.log(np.exp([1, 2, 0]).sum()) - 2, np.log(2), np.log(np.exp([-27.6, 0, 1]).sum()) - 1]
    assert np.allclose(A._nats(from_logits(z, y, list('abc'))), want)

def test_the_null_is_that_of_a_calibrated_model():
    m, null = A.measures(A.tally([P], draws=2000)), metrics.ece_null(P.conf, P.correct, draws=2000)
    assert m['ece15_null'] == pytest.approx(null.mean, rel=.03) and m['ece15_p'] == pytest.approx(null.p, abs=.01)
    calm = A.measures(A.tally([drawn(seed=3)], draws=500))
    assert calm['ece15_p'] > .01

@pytest.mark.parametrize('step', [1, 7, 64])
def test_a_stream_is_the_same_as_all_at_once(step):
    whole, cut = A.tally([P]), A.tally(select(P, np.arange(i, min(i + step, len(P)))) for i in range(0, len(P), step))
    for a, b in zip(whole, cut, strict=True): np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-4, equal_nan=True)

def test_documents_may_be_mixed_within_a_part():
    order = np.random.default_rng(0).permutation(len(P))
    a, b = A.tally([P]), A.tally([select(P, order)])
    assert a.documents == b.documents and np.allclose(np.sort(a.sums, 0), np.sort(b.sums, 0), equal_nan=True)

def test_documents_that_share_rows_change_no_measure():
    few, many = A.tally([P], rows=4), A.tally([P])
    assert len(few.sums) == 4 and few.documents == many.documents == 30
    for k, v in A.measures(many).items(): assert A.measures(few)[k] == pytest.approx(v, nan_ok=True), k
    assert np.allclose(few.sums[1], many.sums[1::4].sum(0), equal_nan=True)

def test_memory_does_not_grow_with_the_tokens():
    def stream(docs): return (drawn(1, (300, 301), seed=i) for i in range(docs))
    def peak(docs):
        tracemalloc.start()
        A.tally(replace(p, cluster=np.full(len(p), f'{i}')) for i, p in enumerate(stream(docs)))
        try: return tracemalloc.get_traced_memory()[1]
        finally: tracemalloc.stop()
    small = peak(40)
    assert peak(400) < 1.2 * small < 20e6

# ---- intervals and changes -------------------------------------------------------------------------------------------
def test_intervals_are_those_of_the_one_engine():
    d = A.intervals(P, 300, seed=4).set_index('measure')
    b = bootstrap(np.mean, P.correct.astype(float), cluster=P.cluster, draws=300, seed=4)
    assert np.allclose(d.loc['accuracy', ['value', 'lo', 'hi']].astype(float), [b.estimate, b.lo, b.hi])
    e = ece_interval(P.conf, P.correct, cluster=P.cluster, draws=300, seed=4)
    assert np.allclose(d.loc['ece15', ['lo', 'hi']].astype(float), [e.lo, e.hi])
    assert list(d.index) == [m for m in A.MEASURES if m in d.index] and (d.lo <= d.hi).all()

def test_one_document_says_nothing_of_the_spread():
    one = select(P, P.cluster == 'd0000')
    assert A.intervals(one)[['lo', 'hi']].isna().all().all()

def test_a_change_of_means_is_the_clustered_t():
    q = drawn(sharp=3.)
    q = replace(q, correct=np.random.default_rng(9).random(len(q)) < q.scores['true_posterior'])
    d = A.change(q, P).set_index('measure')
    sums = dict(accuracy=lambda p: p.correct.astype(float), conf=lambda p: p.conf, conf_gap=lambda p: p.conf - p.correct, brier_top=lambda p: (p.conf - p.correct)**2, true_error=lambda p: np.abs(p.conf - p.scores['true_posterior']))
    for m, f in sums.items():
        t = mean_difference(f(q), f(P), P.cluster)
        assert np.allclose(d.loc[m, ['diff', 'lo', 'hi', 'p']].astype(float), [t.estimate, t.lo, t.hi, t.p]), m
    assert d['diff']['nll'] == 0 == d.lo['nll'] and d.p['nll'] == 1 and np.isnan(d.p['ece15']) and 'auroc' in d.index

def test_a_change_turned_round_has_the_other_sign():
    q = drawn(sharp=1.)
    a, b = A.change(q, P).set_index('measure'), A.change(P, q).set_index('measure')
    assert np.allclose(a['diff'], -b['diff']) and np.allclose(a.lo, -b.hi) and np.allclose(a.early, b.late)
    assert a.hi['ece15'] < 0 and a.hi['true_error'] < 0, 'less sharp is better here'

def test_a_change_is_paired_by_question():
    order = np.random.default_rng(1).permutation(len(P))
    assert A.change(select(P, order), P)['diff'].abs().max() < 1e-9

def test_sums_come_back_from_their_file(tmp_path):
    t = A.tally([P])
    for a, b in zip(t, A.load_tally(A.save_tally(t, tmp_path / 'x.safetensors')), strict=True): np.testing.assert_allclose(a, b, rtol=1e-6, equal_nan=True)
    assert [p.name for p in tmp_path.iterdir()] == ['x.safetensors']

# ---- asking ----------------------------------------------------------------------------------------------------------
WORLD = facts.fact_world(entities=8, relations=3, random_relations=1, values=4, quiz=.3, seed=1)

@pytest.fixture(scope='module')
def scorer():
    pytest.importorskip('torch')
    from plcal_study.lm.scoring import Scorer
    return Scorer(*ladder.decoder(WORLD, '1x16', 3, 'gpt_neox'))

@pytest.fixture(scope='module')
def asked(): return ladder.questions(WORLD, 20, 400, 0)

def test_each_aspect_stands_beside_its_truth(scorer, asked):
    out = A.aspects(scorer, asked, WORLD)
    assert list(out) == list(A.ASPECTS)
    for k, p in out.items(): assert ((p.scores['true_posterior'] >= 0) & (p.scores['true_posterior'] <= 1)).all() and ('kind' in p.scores) == (k != 'generation')
    g = out['generation']
    text, words = dict(zip(asked['text'].uid, asked['text'].a, strict=True)), ladder.words_of(scorer.tokenizer, WORLD)
    row = len(g) // 2
    u, at = g.uid[row].rsplit(':', 1)
    assert g.scores['true_posterior'][row] == pytest.approx(facts.next_token_posterior(WORLD, text[u])[int(at) - 1][words[int(g.scores['word'][row])]] if words[int(g.scores['word'][row])] >= 0 else 0)

def test_texts_without_a_world_have_no_truth(scorer, asked):
    p = A.aspects(scorer, dict(text=asked['text']))
    assert list(p) == ['generation'] and 'true_posterior' not in p['generation'].scores and np.isnan(A.measures(p['generation'])['true_error'])

@pytest.mark.parametrize('chunk', [1, 5, 1000])
def test_a_stream_of_texts_is_read_like_a_task(scorer, asked, chunk):
    want = A.measures(A.aspects(scorer, dict(text=asked['text']), WORLD)['generation'])
    got = A.measures(A.tally(A.read_generation(scorer, iter(asked['text'].a), WORLD, chunk)))
    for m in ('n', 'documents', 'accuracy', 'conf', 'nll', 'bits_per_byte', 'true_error', 'excess'): assert got[m] == pytest.approx(want[m], rel=1e-4), m

def test_a_window_is_all_that_is_seen(scorer, asked):
    a, b = (A.aspects(scorer, dict(text=asked['text']), WORLD, window=w)['generation'] for w in (None, 8))
    assert len(a) == len(b) and not np.allclose(a.conf, b.conf)

# ---- a base model ----------------------------------------------------------------------------------------------------
def same(a, b): return all((x == y).all() for x, y in zip(a.parameters(), b.parameters(), strict=True))

def test_a_base_is_made_once_for_all_who_ask(tmp_path, monkeypatch):
    training = pytest.importorskip('plcal_study.lm.training')
    made, train = [], training.train
    monkeypatch.setattr(training, 'train', lambda *a, **k: (made.append(1), train(*a, **k))[1])
    found = []
    threads = [threading.Thread(target=lambda: found.append(A.base_of(WORLD, '1x16', 0, tmp_path, 600, 1)[0])) for _ in range(3)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert len(made) == 1 and len(found) == 3 and same(found[0], found[2]) and len(list(tmp_path.glob('[!.]*'))) == 1
    other, _ = A.base_of(WORLD, '1x16', 1, tmp_path, 600, 1)
    assert not same(found[0], other) and len(list(tmp_path.glob('[!.]*'))) == 2

def test_a_base_that_was_interrupted_is_gone_on_with(tmp_path, monkeypatch):
    models = pytest.importorskip('plcal_study.lm.models')
    want, _ = A.base_of(WORLD, '1x16', 0, tmp_path / 'a', 600, 1)
    with monkeypatch.context() as m:
        m.setattr(models, 'save', lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError): A.base_of(WORLD, '1x16', 0, tmp_path / 'b', 600, 1)
    assert [p.suffix for p in (tmp_path / 'b').glob('[!.]*')] == ['.training'], 'what was trained stays, the lock is gone'
    assert same(want, A.base_of(WORLD, '1x16', 0, tmp_path / 'b', 600, 1)[0])

def test_rows_are_cut_to_what_is_asked_for(scorer):
    texts = list(facts.corpus(WORLD, 2000, 0))
    reader, rows = A.packed(scorer.model, scorer.tokenizer, texts, 32, tokens=100)
    assert len(rows) == 4 and all(len(r['input_ids']) == 32 for r in rows) and len(A.packed(scorer.model, scorer.tokenizer, texts, 32)[1]) > 60
