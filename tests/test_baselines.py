"Protects the baselines: the LSTM against the recurrence written out, the words against BERT's own tokenizer, the forests against the source's dense pipeline."
import copy
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, log_softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from plcal_study.lm.baselines import FLOOR, LSTM, LSTM_TRAINING, PAD, UNK, bag_of_words, lstm_rate, tf_idf, vocabulary, words
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.measure.predictions import from_logits


def pairs(n, seed=0, k=3, b=True):
    "Pairs whose label is the number of words that the two texts share; texts of different lengths."
    rng = np.random.default_rng(seed)
    names = np.array([f'word{i}' for i in range(12)])
    a = [' '.join(rng.choice(names, rng.integers(1, 6), replace=False)) for _ in range(n)]
    c = [' '.join(rng.choice(names, rng.integers(1, 4), replace=False)) for _ in range(n)]
    y = [min(len(set(x.split()) & set(z.split())), k - 1) for x, z in zip(a, c, strict=True)]
    return Examples([f'{seed}-{i}' for i in range(n)], a, np.array(y), b=c if b else None)

TRAIN, TEST = pairs(120), pairs(60, 1)
TASK = Task('pairs', dict(train=TRAIN, test=TEST), ('none', 'one', 'more'))
SMALL = dict(embed=5, hidden=4)

def small(**kwargs): return LSTM(TASK, vocabulary(TRAIN), **SMALL | kwargs).eval()
def scores(model, e):
    with torch.no_grad(): return model(**{n: t for n, t in model.collate(model.encode(e)).items() if n != 'label'}).numpy()


# -- words ---------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('text', ["The Café's film -- FINE!", 'état 3.5% of e-mail', '日本 x', 'a\tb\n c\x00d', "don't,stop"])
def test_words_are_those_of_bert_joined_again(text):
    "The source: tokenize, join the pieces as the slow tokenizer of 2022 did, split at spaces. With a vocabulary of all single characters no word is lost."
    from transformers import BertTokenizer
    letters = sorted(set(text.lower()) | set('etacf日本'))
    vocab = {w: i for i, w in enumerate(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', *letters, *('##' + c for c in letters)])}
    bert = BertTokenizer(vocab=vocab, do_lower_case=True)
    assert words(text) == ' '.join(bert.tokenize(text)).replace(' ##', '').strip().split(' ')

def test_vocabulary_counts_both_texts_and_cuts_the_rarest():
    e = Examples(['1', '2'], ['y x', 'X'], None, b=['z z z', 'y'])
    assert vocabulary(e) == {PAD: 0, UNK: 1, 'z': 2, 'x': 3, 'y': 4} # x and y twice each: alphabetical
    assert list(vocabulary(e, 4)) == [PAD, UNK, 'z', 'x']

def test_an_unknown_word_and_an_empty_text_are_one_unknown_word():
    model = small()
    rows = model.encode(Examples(['1', '2'], ['word1 nowhere', ''], None))
    v = model.vocabulary
    assert rows == [dict(input_ids=[v['word1'], v[UNK]], b_ids=[v[UNK]]), dict(input_ids=[v[UNK]], b_ids=[v[UNK]])]

def test_max_length_cuts_each_text():
    whole, cut = small().encode(TRAIN), small(max_length=2).encode(TRAIN)
    assert [r['input_ids'][:2] for r in whole] == [r['input_ids'] for r in cut] and [r['b_ids'][:2] for r in whole] == [r['b_ids'] for r in cut]
    assert max(len(r['input_ids']) for r in whole) > 2


# -- the LSTM ------------------------------------------------------------------------------------------------------------------------

def run(w, x, hidden):
    "One direction of one layer by the definition (Hochreiter & Schmidhuber; gates in torch's order i, f, g, o): all states."
    h, c, out = np.zeros(hidden), np.zeros(hidden), []
    for t in x:
        i, f, g, o = np.split(w[0] @ t + w[2] + w[1] @ h + w[3], 4)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        out.append(h)
    return np.array(out)

def oracle(model, ids, b_ids):
    "The logits of one pair, from the definition in `references/papers.md` §1.5."
    p = {n: t.detach().double().numpy() for n, t in model.named_parameters()}
    def read(x):
        x = p['embedding.weight'][x]
        for layer in range(2):
            forth, back = ([p[f'lstm.{n}_l{layer}{end}'] for n in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')] for end in ('', '_reverse'))
            f, b = run(forth, x, 4), run(back, x[::-1], 4)[::-1]
            x = np.hstack([f, b])
        return np.concatenate([f[-1], b[0]]) # the end of each direction
    u, v = read(ids), read(b_ids)
    return p['linear.weight'] @ np.concatenate([u, v, np.abs(u - v), u * v]) + p['linear.bias']

def test_the_lstm_is_the_recurrence_written_out_padded_or_not():
    model = small()
    rows = model.encode(TEST)[:12]
    assert len({len(r['input_ids']) for r in rows}) > 2, 'texts of one length would not show padding'
    assert_allclose(scores(model, take(TEST, slice(0, 12))), [oracle(model, r['input_ids'], r['b_ids']) for r in rows], atol=1e-6)

def test_a_task_with_one_text_reads_the_empty_second_one():
    model = small()
    e = take(pairs(4, b=False), slice(0, 4))
    assert_array_equal(scores(model, e), scores(model, Examples(e.uid, e.a, e.label, b=[''] * 4)))

def test_the_size_of_the_paper():
    with torch.device('meta'): model = LSTM(TASK, {UNK: 0, 'w': 30_521})
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters()}
    assert shapes['embedding.weight'] == (30_522, 300) and shapes['linear.weight'] == (3, 8192)
    assert shapes['lstm.weight_ih_l1_reverse'] == (4096, 2048) and not any('l2' in n for n in shapes) and model.lstm.dropout == .1

def test_the_loss_is_a_sum_and_its_parts_add_up():
    model = small()
    rows = model.encode(TEST)[:8]
    whole, n = model.loss(**model.collate(rows))
    parts = [model.loss(**model.collate(rows[i:i + 4])) for i in (0, 4)]
    assert n == 8 == sum(m for _, m in parts)
    assert_allclose(whole.item(), sum(x.item() for x, _ in parts), rtol=1e-5)
    assert_allclose(whole.item(), -log_softmax(scores(model, take(TEST, slice(0, 8))), 1)[np.arange(8), TEST.label[:8]].sum(), rtol=1e-5)

def test_seeds_make_the_weights_and_leave_the_worlds_dice_alone():
    torch.manual_seed(7); before = torch.get_rng_state()
    one, same, other = small(seed=3), small(seed=3), small(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
    assert not any(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))

def test_dropout_is_on_in_training_only():
    model = small(dropout=.5)
    assert_array_equal(scores(model, TEST), scores(model, TEST))
    model.train()
    assert not np.array_equal(scores(model, TEST), scores(model, TEST))
    assert_array_equal(scores(copy.deepcopy(model).eval(), TEST), scores(small(dropout=0), TEST))

def test_the_lstm_learns_what_is_between_the_texts():
    "Training reaches every parameter, and the label needs both texts."
    model, rng = small(embed=16, hidden=16).train(), np.random.default_rng(0)
    rows, opt, before = model.encode(TRAIN), torch.optim.AdamW(model.parameters(), lr=1e-2), copy.deepcopy(model)
    torch.manual_seed(0)
    for _ in range(150):
        total, n = model.loss(**model.collate([rows[i] for i in rng.choice(len(rows), 16)]))
        opt.zero_grad(); (total / n).backward(); opt.step()
    assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True))
    assert (scores(model.eval(), TRAIN).argmax(1) == TRAIN.label).mean() > .9
    blind = Examples(TRAIN.uid, TRAIN.a, TRAIN.label, b=['word0'] * len(TRAIN))
    assert (scores(model, blind).argmax(1) == TRAIN.label).mean() < .75

def test_the_schedule_is_that_of_transformers():
    from transformers import get_linear_schedule_with_warmup
    steps = 10 # an epoch
    opt = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=LSTM_TRAINING['lr'])
    schedule = get_linear_schedule_with_warmup(opt, 3 * steps, 8 * steps)
    for step in range(LSTM_TRAINING['epochs'] * steps):
        assert_allclose(schedule.get_last_lr()[0], 1e-3 * lstm_rate(step / steps), rtol=1e-12)
        opt.step(); schedule.step()

def test_the_training_loop_trains_it_on_the_schedule_of_the_source(tmp_path):
    from plcal_study.lm.training import Training, predict, train
    model, per_epoch = small(embed=16, hidden=16), len(TRAIN) // 8
    cfg = Training(lr=5e-3, epochs=5, batch=8, weight_decay=.01, schedule='linear', warmup=3 * per_epoch, horizon=8 * per_epoch)
    history = train(model, TRAIN, cfg, out=tmp_path / 'run')
    assert np.mean(history.losses[-10:]) < np.mean(history.losses[:10]) - .1
    assert_allclose(predict(model, TEST), scores(model, TEST), atol=1e-5)


# -- the forests ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('f, vectorizer', [(bag_of_words, CountVectorizer), (tf_idf, TfidfVectorizer)])
def test_the_forest_is_the_sources_dense_pipeline(f, vectorizer):
    count = vectorizer(analyzer='word', tokenizer=None, preprocessor=None, stop_words=None, max_features=5000)
    x = count.fit_transform([f'{a} {b}' for a, b in zip(TRAIN.a, TRAIN.b, strict=True)]).toarray()
    z = count.transform([f'{a} {b}' for a, b in zip(TEST.a, TEST.b, strict=True)]).toarray()
    p = RandomForestClassifier(n_estimators=100, random_state=5).fit(x, TRAIN.label).predict_proba(z)
    assert_allclose(np.exp(f(TRAIN, TEST, seed=5)), p + FLOOR, atol=1e-12)

@pytest.mark.parametrize('f', [bag_of_words, tf_idf])
def test_a_forest_answers_row_by_row_and_by_its_seed(f):
    s = f(TRAIN, TEST, trees=10)
    assert_array_equal(s, f(TRAIN, TEST, trees=10))
    assert not np.array_equal(s, f(TRAIN, TEST, trees=10, seed=1))
    turned = np.arange(len(TEST))[::-1]
    assert_array_equal(s[turned], f(TRAIN, take(TEST, turned), trees=10))

def test_the_counts_are_of_both_texts_and_weighed_differently():
    swapped = Examples(TEST.uid, TEST.a, TEST.label, b=TEST.b[::-1])
    assert not np.array_equal(bag_of_words(TRAIN, TEST, trees=10), bag_of_words(TRAIN, swapped, trees=10))
    assert not np.array_equal(bag_of_words(TRAIN, TEST, trees=10), tf_idf(TRAIN, TEST, trees=10))
    assert not np.array_equal(bag_of_words(TRAIN, TEST, trees=10), bag_of_words(TRAIN, TEST, trees=10, max_features=3))

@pytest.mark.parametrize('seen', [[0, 2], [1], [2, 3]])
def test_a_class_that_training_never_saw_keeps_its_column(seen):
    label = np.array(seen)[np.arange(len(TRAIN)) % len(seen)]
    s = bag_of_words(Examples(TRAIN.uid, TRAIN.a, label, b=TRAIN.b), TEST, k=5, trees=5)
    absent = np.setdiff1d(np.arange(5), seen)
    assert s.shape == (len(TEST), 5) and (s[:, absent] == np.log(FLOOR)).all()
    assert_allclose(np.exp(s[:, seen]).sum(1), 1)

def test_the_tables_of_the_study_take_what_a_forest_says():
    p = from_logits(bag_of_words(TRAIN, TEST, trees=5), TEST.label, TEST.uid)
    assert_allclose(p.conf, np.exp(bag_of_words(TRAIN, TEST, trees=5)).max(1), atol=1e-12)
