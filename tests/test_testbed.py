"Worlds whose truth is known: against enumeration of every text, against simulation, and against what each shift promises."
import itertools, math, subprocess, sys
from collections import Counter
from dataclasses import replace
import numpy as np
import pytest
from plcal_study.lm.examples import to_dataset
from plcal_study.lm.testbed import FRAMES, as_task, corpus, lexicon, new_topic, pair_world, reframe, shift_covariate, shift_prior, text_world, train_tokenizer
from plcal_study.measure.metrics import ece, ece_null, true_calibration_error, true_ece

TINY = dict(k=2, bayes_accuracy=.75, length=(3, 3), vocab=4, topics=1, prior=[.6, .4], seed=2)
TWO = dict(k=2, bayes_accuracy=.7, length=(1, 3), vocab=8, topics=2, seed=3)

@pytest.fixture(scope='module')
def world(): return text_world(k=4, bayes_accuracy=.8, seed=0)

@pytest.fixture(scope='module')
def pairs(): return pair_world(bayes_accuracy=.8, seed=0)


# ---- the definition, as a loop -------------------------------------------------------------------------------------------
def p_word(w, v, y, t):
    "P(word | class, main topic), from the definition."
    p = math.exp(w.logp[y, v])
    if w.topic[v] < 0: return (1 - w.topical) * p
    return w.topical * ((1 - w.stray) * (w.topic[v] == t) + w.stray / len(w.mix)) * p

def all_texts(w):
    "Every text, with P(text, class) summed over the topics: (text, (k,))."
    sizes = range(w.length[0], w.length[1] + 1)
    for n in sizes:
        for text in itertools.product(range(len(w.words)), repeat=n):
            yield ' '.join(w.words[v] for v in text), np.array([w.prior[y] / len(sizes) * sum(w.mix[t] * math.prod(p_word(w, v, y, t) for v in text) for t in range(len(w.mix))) for y in range(w.k)])

@pytest.mark.parametrize('make', [lambda: text_world(**TINY), lambda: text_world(**TWO), lambda: shift_prior(text_world(**TWO), [.9, .1]), lambda: shift_covariate(text_world(**TWO), 1.5),
                                  lambda: replace(new_topic(text_world(**TWO | dict(length=(1, 2)))), stray=.3)], ids=['3 of 4 words', 'two topics', 'prior', 'covariate', 'new topic'])
def test_the_posterior_is_that_of_every_text_enumerated(make):
    w = make()
    texts, joint = zip(*all_texts(w), strict=True)
    joint = np.array(joint)
    assert joint.sum() == pytest.approx(1, abs=1e-12) and joint.sum(0) == pytest.approx(w.prior)
    np.testing.assert_allclose(w.posterior(texts), joint / joint.sum(1, keepdims=True), rtol=1e-10)
    assert w.bayes_accuracy(200_000, 5) == pytest.approx(joint.max(1).sum(), abs=3e-3)
    assert len(texts) == sum(len(w.words)**n for n in range(w.length[0], w.length[1] + 1))

def test_texts_are_drawn_as_often_as_they_should_be():
    w, n = text_world(**TINY), 100_000
    e = w.sample(n, seed=4)
    seen = Counter(zip(e.a, e.label.tolist(), strict=True))
    expected = {(t, y): n * p[y] for t, p in all_texts(w) for y in range(2)}
    chi2 = sum((seen[key] - m)**2 / m for key, m in expected.items())
    assert len(expected) == 128 and abs(chi2 - 127) < 4 * math.sqrt(2 * 127)

# ---- the knob ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('kw', [dict(bayes_accuracy=a) for a in (.55, .7, .85, .97)] + [dict(k=2, bayes_accuracy=.6, length=8), dict(k=10, vocab=1000, bayes_accuracy=.9),
                                dict(k=3, prior=[.6, .3, .1], bayes_accuracy=.75), dict(k=2, bayes_accuracy=.9, topics=1, seed=7)], ids=str)
def test_the_bayes_accuracy_asked_for_is_met_within_a_hundredth(kw):
    w = text_world(**kw)
    assert w.bayes_accuracy(100_000, seed=11) == pytest.approx(kw['bayes_accuracy'], abs=.01)
    e = w.sample(20_000, seed=12)
    assert (e.posterior.argmax(1) == e.label).mean() == pytest.approx(kw['bayes_accuracy'], abs=.01 + 4 * .5 / 20_000**.5)

def test_a_world_of_chance_says_nothing():
    w = text_world(k=4, bayes_accuracy=.25)
    assert w.bayes_accuracy() == pytest.approx(.25, abs=1e-3) and np.abs(w.sample(100).posterior - .25).max() < 1e-2

# ---- the Bayes predictor is calibrated -------------------------------------------------------------------------------------
def bayes(e):
    "Confidence, truth and grade of the best predictor."
    answer = e.posterior.argmax(1)
    return e.posterior.max(1), e.posterior[np.arange(len(e)), answer], answer == e.label

SHIFTS = dict(none=lambda w: w, prior=lambda w: shift_prior(w, np.arange(1, w.k + 1) / sum(range(1, w.k + 1))), covariate=lambda w: shift_covariate(w, 1.), topic=lambda w: new_topic(w, 3))

@pytest.mark.parametrize('shift', SHIFTS)
@pytest.mark.parametrize('kind', ['world', 'pairs'])
def test_the_bayes_predictor_has_no_error_and_its_ece_lies_in_its_null(kind, shift, request):
    w = SHIFTS[shift](request.getfixturevalue(kind))
    conf, truth, correct = bayes(w.sample(6000, seed=21))
    assert true_calibration_error(conf, truth) == true_ece(conf, truth) == 0
    assert ece_null(conf, correct, draws=500).p > .01
    assert ece(conf**.5, correct) > ece_null(conf**.5, draws=200).hi    # and the null is not simply wide

@pytest.mark.parametrize('kind', ['world', 'pairs'])
def test_every_class_has_the_probability_it_is_given(kind, request):
    e = request.getfixturevalue(kind).sample(8000, seed=22)
    for y in range(e.posterior.shape[1]):
        p = e.posterior[:, y]
        for lo, hi in [(0, .2), (.2, .6), (.6, 1)]:
            if (rows := (p > lo) & (p <= hi)).sum() > 50: assert abs((e.label[rows] == y).sum() - p[rows].sum()) < 4 * math.sqrt((p[rows] * (1 - p[rows])).sum())

# ---- shifts --------------------------------------------------------------------------------------------------------------
def test_covariate_shift_changes_the_texts_and_no_posterior(world):
    w, texts = shift_covariate(world, 1.), world.sample(300, 5).a
    np.testing.assert_array_equal(w.posterior(texts), world.posterior(texts))
    topical = set(world.words[world.topic >= 0])
    share = [np.mean([v in topical for t in x.sample(300, 6).a for v in t.split()]) for x in (world, w)]
    assert share[0] == pytest.approx(.5, abs=.02) and share[1] == pytest.approx(.5 * math.exp(-.5), abs=.02)
    assert w.bayes_accuracy() < world.bayes_accuracy() - .05
    assert np.bincount(w.sample(4000).extra['topic']).argmax() == 3

def test_prior_shift_multiplies_the_odds(world, pairs):
    for w, x, prior in ((world, (world.sample(200, 5).a,), [.4, .3, .2, .1]), (pairs, (pairs.sample(200, 5).a, pairs.sample(200, 5).b), [.5, .3, .2])):
        new, old = shift_prior(w, prior).posterior(*x), w.posterior(*x)
        want = old * np.array(prior) / w.prior
        np.testing.assert_allclose(new, want / want.sum(1, keepdims=True), rtol=1e-10)
        np.testing.assert_allclose(np.bincount(shift_prior(w, prior).sample(20_000, 6).label) / 20_000, prior, atol=.015)

def test_no_shift_is_no_shift(world, pairs):
    for w in (world, pairs):
        for same in (shift_covariate(w, 0), shift_prior(w, w.prior)):
            np.testing.assert_allclose(same.sample(50, 3).posterior, w.sample(50, 3).posterior, rtol=1e-12)
            assert same.sample(50, 3).a.tolist() == w.sample(50, 3).a.tolist()

def test_a_class_can_vanish(world):
    e = shift_prior(world, [.5, .5, 0, 0]).sample(500)
    assert e.label.max() == 1 and (e.posterior[:, 2:] == 0).all()

def test_new_topics_use_words_never_seen(world, pairs):
    w = new_topic(world, 4)
    said = Counter(v for t in w.sample(500, 1).a for v in t.split())
    old = set(world.words[world.topic >= 0])
    assert 0 < sum(said[v] for v in old) / said.total() < .05               # only strays
    assert set(w.words) - set(world.words) and not set(w.words[len(world.words):]) & set(lexicon(world))
    assert w.bayes_accuracy() == pytest.approx(world.bayes_accuracy(), abs=.08)
    assert new_topic(world, 4).words.tolist() == w.words.tolist() != new_topic(world, 5).words.tolist()
    twice = new_topic(w, 5)
    assert len(set(twice.words)) == len(twice.words) and twice.sample(5).posterior.shape == (5, 4)
    assert not (set(new_topic(pairs).entities) | set(new_topic(pairs).values)) & set(lexicon(pairs))

# ---- pairs ---------------------------------------------------------------------------------------------------------------
def relation_of(a, b):
    "Read off the texts, apart from the code."
    facts = dict(f.split(' is ') for f in a.split(' , '))
    entity, value = b.split(' ', 1)[1].split(' is ')
    return 1 if entity not in facts else 0 if facts[entity] == value else 2

def test_pairs_mean_what_their_relation_says(pairs):
    e = pairs.sample(900, seed=2)
    assert e.extra['relation'].tolist() == [relation_of(a, b) for a, b in zip(e.a, e.b, strict=True)]
    assert (e.posterior.argmax(1) == e.extra['relation']).all()
    np.testing.assert_allclose(pairs.posterior(e.a, e.b), e.posterior)
    assert e.label.tolist() != e.extra['relation'].tolist() # labels are noisy

def test_the_label_noise_is_the_one_known(pairs):
    e = pairs.sample(30_000, seed=3)
    for h in range(4):
        rows, rate = e.extra['hedge'] == h, 1 - pairs.sample(3000).posterior[pairs.sample(3000).extra['hedge'] == h].max()
        assert (e.label != e.extra['relation'])[rows].mean() == pytest.approx(rate, abs=.02)
    assert pairs.bayes_accuracy() == pytest.approx(.8, abs=1e-12)

def test_neither_text_alone_says_anything():
    "Enumerated: P(hypothesis | label) and P(premise | label) are equal for all labels in a world of two values and three entities."
    w = pair_world(entities=3, values=2, facts=1, noise=(.5, 1.5), per_premise=1)
    e = w.sample(60_000, seed=5)
    for side in (e.a, [b.split(' ', 1)[1] for b in e.b], e.b):
        names, which = np.unique(np.asarray(side, str), return_inverse=True)
        table = np.zeros((3, len(names)))
        np.add.at(table, (e.label, which), 1)
        expected = table.sum(1, keepdims=True) * table.sum(0) / len(e)
        df = 2 * (len(names) - 1)
        assert ((table - expected)**2 / expected).sum() < df + 4 * math.sqrt(2 * df)
    assert w.hypothesis_only() == pytest.approx(1 / 3)

def test_a_rule_that_reads_the_hypothesis_alone_is_at_chance_unless_there_is_a_shortcut():
    for shortcut in (0., .6):
        w = pair_world(shortcut=shortcut, seed=3)
        train, test = w.sample(12_000, 1), w.sample(12_000, 2)
        count = {}
        for b, y in zip(train.b, train.label, strict=True):
            for word in b.split(): count.setdefault(word, np.ones(3))[y] += 1
        guess = [np.argmax(sum(np.log(count[v] / count[v].sum()) for v in b.split())) for b in test.b]  # naive Bayes on its words
        assert np.mean(guess == test.label) == pytest.approx(w.hypothesis_only(), abs=.02)
        assert w.bayes_accuracy() == pytest.approx(.85, abs=1e-12)
    assert w.hypothesis_only() > .6

def test_hypotheses_of_one_premise_share_its_cluster(pairs):
    e = pairs.sample(100, seed=1, name='x-')
    assert len(set(e.cluster)) == 34 and all(len({a for a, c in zip(e.a, e.cluster, strict=True) if c == k}) == 1 for k in set(e.cluster))
    assert e.cluster[0] == 'x-p0' and e.uid[99] == 'x-99'

def test_covariate_shift_of_pairs(pairs):
    w = shift_covariate(pairs, 1.)
    e = pairs.sample(300, 4)
    np.testing.assert_allclose(w.posterior(e.a, e.b), e.posterior)
    assert w.facts == 4 and w.sample(1).a[0].count(' is ') == 4 and w.bayes_accuracy() < .77 and w.joint.sum() == pytest.approx(1)

# ---- tasks, corpora, tokenizers ------------------------------------------------------------------------------------------
def test_a_task_has_all_splits_and_the_same_ones_each_time(world):
    make = lambda seed=3: as_task(world, 50, 20, 30, seed=seed, name='w', shifts=dict(topic=new_topic(world)))
    t = make()
    assert {s: len(e) for s, e in t.splits.items()} == dict(train=50, val=20, test=30, topic=30) and t.classes == t.words == world.labels
    assert all(make()[s].a.tolist() == t[s].a.tolist() for s in t.splits) and make(4)['train'].a[0] != t['train'].a[0]
    assert len({a for e in t.splits.values() for a in e.a}) == 130
    assert as_task(world, 5, 0, 5).splits.keys() == {'train', 'test'}
    assert len({a for e in as_task(world, 20, 20, 20).splits.values() for a in e.a}) == 60 # splits of one size are not one draw
    assert not set(world.labels) & set(world.words) and '{m}' in t.template and '{a}' in t.template

def test_the_same_seed_gives_the_same_world(world):
    again, other = text_world(k=4, bayes_accuracy=.8, seed=0), text_world(k=4, bayes_accuracy=.8, seed=1)
    assert again.words.tolist() == world.words.tolist() != other.words.tolist()
    np.testing.assert_array_equal(again.logp, world.logp)

def test_to_dataset_keeps_the_posterior(pairs):
    e = pairs.sample(12, 1)
    d = to_dataset(e)
    np.testing.assert_array_equal(np.array(d['posterior']), e.posterior)
    assert d.column_names == ['uid', 'a', 'b', 'label', 'cluster', 'posterior', 'relation', 'hedge']

@pytest.mark.parametrize('kind', ['world', 'pairs'])
@pytest.mark.parametrize('n', [1, 7, 1000, 350_001])
def test_a_corpus_has_as_many_words_as_asked_for(kind, n, request):
    w = request.getfixturevalue(kind)
    texts = [t.split() for t in corpus(w, n, seed=2, named=.1)]
    assert sum(map(len, texts)) == n and {v for t in texts for v in t} <= set(lexicon(w)) | {'.', '?'}
    assert all(texts)

def test_a_corpus_is_a_stream_that_begins_the_same(world):
    head = list(itertools.islice(corpus(world, 10**12, seed=3), 500))       # more than any memory holds
    assert head == list(itertools.islice(corpus(world, 10**6, seed=3), 500)) != list(itertools.islice(corpus(world, 10**6, seed=4), 500))

def test_named_texts_tell_their_class(world):
    "As often as asked, and as truly as the posterior says."
    texts = list(corpus(world, 200_000, seed=5, named=.5))
    ends = [t.split(' . It was ') for t in texts[:-1]]
    told = [(a, world.labels.index(rest[0].removesuffix(' .'))) for a, *rest in ends if rest]
    assert abs(len(told) / len(ends) - .5) < .03
    p = world.posterior([a for a, _ in told])[np.arange(len(told)), [y for _, y in told]]
    assert p.mean() == pytest.approx((world.posterior([a for a, _ in told])**2).sum(1).mean(), abs=.02)
    assert not any(label in t.split() for t in corpus(world, 20_000, named=0) for label in world.labels)

def test_corpus_texts_look_like_the_samples(world):
    "The same word frequencies in the stream and in `sample`."
    a, b = (Counter(v for t in texts for v in t.split()) for texts in (corpus(world, 100_000, named=0), world.sample(4000).a))
    for v, n in a.most_common(30): assert n / a.total() == pytest.approx(b[v] / b.total(), rel=.15)

@pytest.mark.parametrize('kind', ['word', 'bpe'])
def test_the_tokenizer_serves_every_family(kind, world, tmp_path):
    from transformers import AutoTokenizer
    tok = train_tokenizer(itertools.chain([' '.join(lexicon(world))] * 20, corpus(world, 20_000)), vocab=2000, kind=kind, keep=world.labels)
    assert [tok.pad_token, tok.unk_token, tok.cls_token, tok.sep_token, tok.mask_token, tok.bos_token, tok.eos_token] == ['<pad>', '<unk>', '<cls>', '<sep>', '<mask>', '<s>', '</s>']
    assert all(len(tok(' ' + v, add_special_tokens=False).input_ids) == 1 for v in [*world.labels, *world.words])
    text = world.template.format(a=world.sample(1).a[0], m='<extra_id_0>')
    ids = tok(text).input_ids
    assert tok.convert_tokens_to_ids('<extra_id_0>') in ids and tok.unk_token_id not in ids and tok(text).keys() == {'input_ids', 'attention_mask'}
    around = dict(cls=('<cls>', '<sep>'), eos=('', '</s>'), bos=('<s>', ''), none=('', ''))
    for frame in FRAMES:
        got, bare = reframe(tok, frame)(text).input_ids, tok(text, add_special_tokens=False).input_ids
        first, last = ([tok.convert_tokens_to_ids(t)] if t else [] for t in around[frame])
        assert got == first + bare + last
    assert tok('').input_ids == tok.convert_tokens_to_ids(['<cls>', '<sep>'])  # and the tokenizer itself is as it was
    tok.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(text, text).input_ids == tok(text, text).input_ids and again.mask_token_id == tok.mask_token_id

def test_a_small_vocabulary_gives_unk_for_rare_words(world):
    tok = train_tokenizer(corpus(world, 50_000), vocab=100)
    assert len(tok) == 100 and tok.unk_token_id in tok(' '.join(world.words)).input_ids

def test_it_needs_neither_torch_nor_transformers():
    code = "import sys; from plcal_study.lm import testbed as t; t.text_world().sample(5); list(t.corpus(t.pair_world(), 99)); print(sorted({'torch', 'transformers', 'datasets', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
