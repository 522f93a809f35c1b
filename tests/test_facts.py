"Fact worlds: the exact probabilities against the enumeration of every document, against simulation, and against each other."
import subprocess, sys, time, tracemalloc
from itertools import permutations
from math import comb, factorial
import numpy as np
import pytest
from plcal_study.lm.facts import (ask, cloze, corpus, documents, fact_counts, fact_world, instructions, next_token_posterior, next_token_probability, preferences,
                                  questions, reward, statements, value_posterior)
from plcal_study.measure.metrics import ece_null


@pytest.fixture(scope='module')
def world(): return fact_world(entities=60, relations=6, random_relations=2, seed=5)
@pytest.fixture(scope='module')
def tiny(): return fact_world(entities=4, relations=2, random_relations=1, paraphrases=3, values=4, sentences=2.5, quiz=.3, seed=0)

ODD = [dict(entities=2, relations=1, random_relations=0, paraphrases=1, values=2), dict(entities=9, relations=3, random_relations=3, values=3, paraphrases=6), dict(stay=0., it=0., quiz=0.),
       dict(zipf=0., values=21, sentences=1.2), dict(stay=.99, it=.99, quiz=.9, entities=30)]


# ---- the oracle: every sentence and every question of a world, written out from the definition -----------------------
def told(world, last):
    "Every sentence after one on `last` (None: none), with its probability and its entity."
    R, T = len(world.values), len(world.p_template)
    for r in range(R):
        for t in range(T):
            for e in range(len(world.names)):
                for word, p in [(world.names[e], world.p_entity[e] if last is None else (1 - world.stay) * world.p_entity[e] + world.stay * (1 - world.it) * (e == last)),
                                ('it', world.stay * world.it if e == last else 0)]:
                    for v, value in enumerate(world.values[r]):
                        q = world.chances[world.kind[e, r], r, v] if world.random[r] else float(world.facts[e, r] == v)
                        if p * q: yield tuple(world.templates[r][t].format(e=word, v=value).split()), p * q * world.p_template[t] / R, e

def asked(world):
    "Every question of a quiz with its answer, and its probability."
    R, T, m = len(world.values), len(world.p_template), len(world.values[0])
    sizes = range(2, min(5, m) + 1)
    for r in range(R):
        for t in range(T):
            for e in range(len(world.names)):
                left = world.templates[r][t].format(e=world.names[e], v='').removesuffix(' .').strip()
                for k in sizes:
                    for order in permutations(range(m), k):
                        if world.random[r]: p, q = 1 / comb(m, k) / factorial(k), world.chances[world.kind[e, r], r, list(order)]
                        else: p, q = (world.facts[e, r] in order) / comb(m - 1, k - 1) / factorial(k), np.array([float(v == world.facts[e, r]) for v in order])
                        if not p: continue
                        shown = ' '.join(f'{x} {world.values[r][v]}' for x, v in zip('ABCDE', order, strict=False))
                        for letter, a in zip('ABCDE', q / q.sum(), strict=False):
                            if a: yield tuple(f'question {left} ? {shown} answer {letter} .'.split()), p * a * world.p_entity[e] * world.p_template[t] / R / len(sizes), None

class Oracle:
    "P(a document begins with these words), by summing over what can be written."
    def __init__(self, world):
        self.world, self.told = world, {last: list(told(world, last)) for last in [None, *range(len(world.names))]}
        self.asked = list(asked(world)) if world.quiz else []
    def rest(self, items, following, words):
        if not words: return 1.
        total = 0.
        for said, p, e in items:
            n = min(len(said), len(words))
            if said[:n] != words[:n]: continue
            if len(words) > len(said):
                more = words[len(said):]
                p *= self.world.stop if more == ('(end)',) else (1 - self.world.stop) * self.rest(*following(e), more)
            total += p
        return total
    def __call__(self, words):
        def go_on(e): return self.told[e], go_on
        def quiz(_): return self.asked, quiz
        return (1 - self.world.quiz) * self.rest(self.told[None], go_on, words) + self.world.quiz * self.rest(self.asked, quiz, words)

@pytest.mark.parametrize('kw', [{}, dict(paraphrases=1, values=2, quiz=.5), dict(random_relations=2, values=4, paraphrases=1, entities=2, quiz=.5), dict(random_relations=0, values=6, paraphrases=1, entities=2, quiz=.5)],
                         ids=['two words a value', 'two values', 'all random', 'all fixed'])
def test_posterior_is_the_definition(kw):
    w = fact_world(**dict(entities=4, relations=2, random_relations=1, paraphrases=3, values=4, sentences=2.5, quiz=.3, seed=0) | kw)
    oracle = Oracle(w)
    assert sum(p for _, p, _ in oracle.asked) == pytest.approx(1) and all(sum(p for _, p, _ in s) == pytest.approx(1) for s in oracle.told.values())
    docs = [d for d in corpus(w, 4_000, seed=1) if len(d.split()) < 40]
    quizzes, plain = [d for d in docs if d.startswith('question')][:5], [d for d in docs if d.count('.') > 1 and not d.startswith('question')][:12]
    for text in quizzes + plain:
        p, words = next_token_posterior(w, text), tuple(text.split())
        for i in range(len(words) + 1):
            may = np.flatnonzero(p[i]) # these words have the right probability, and with them all of it: there are no others
            true = np.array([oracle((*words[:i], [*w.words, '(end)'][j])) for j in may]) / oracle(words[:i])
            np.testing.assert_allclose(p[i, may], true, atol=1e-12, strict=True)
            assert true.sum() == pytest.approx(1, abs=1e-12)
    assert len(quizzes) > 2 and len(plain) > 8

def test_posterior_is_calibrated_in_simulation(world):
    "The Bayes predictor: no true calibration error, an ECE at its null, as much loss as entropy."
    p, hit, loss, h, end = [], [], [], [], []
    for d in corpus(world, 60_000, seed=1):
        rows = next_token_posterior(world, d)
        y = [*(world.ids[x] for x in d.split()), len(world.words)]
        p.append(rows.max(1)); hit.append(rows.argmax(1) == y); loss.append(-np.log(rows[np.arange(len(y)), y]))
        h.append(-(rows * np.log(np.where(rows > 0, rows, 1))).sum(1)); end.append(rows[:, -1].sum() - 1)
    p, hit, d = np.concatenate(p), np.concatenate(hit), np.concatenate(loss) - np.concatenate(h)
    open_ = p < 1 - 1e-12 # where something is uncertain
    assert hit[~open_].all()
    assert ece_null(p[open_], hit[open_], draws=300).p > .001 and not hit[p < .5].mean() > .5
    for lo in np.arange(0, 1, .1):
        b = open_ & (p > lo) & (p <= lo + .1)
        if b.sum() > 100: assert abs((hit[b] - p[b]).sum()) < 4 * np.sqrt((p[b] * (1 - p[b])).sum())
    assert abs(d.mean()) < 4 * d.std() / np.sqrt(len(d)) and abs(np.sum(end)) < 4 * np.sqrt(len(end) * 5)


# ---- the corpus ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('kw', ODD, ids=str)
def test_every_document_can_be_read(kw):
    w = fact_world(**kw, seed=2)
    for d in corpus(w, 3_000, seed=1): assert np.isclose(next_token_posterior(w, d).sum(1), 1).all()

def test_a_corpus_is_as_long_as_asked_and_begins_with_the_shorter(world):
    long = list(corpus(world, 500_000, seed=3))
    short = list(corpus(world, 123_456, seed=3))
    size = np.cumsum([len(d.split()) for d in short])
    assert long[:len(short)] == short and size[-2] < 123_456 <= size[-1]
    assert len(list(corpus(world, int(size[7]), seed=3))) == 8 # exactly as long as eight documents
    assert long[0] != next(corpus(world, 1, seed=4)) and len(list(corpus(world, 1, seed=3))) == 1
    assert not any('  ' in d or d != d.strip() for d in short) and {x for d in short for x in d.split()} == set(world.words) - {'tell', 'me', 'please', 'thanks', 'well', 'think', 'I'}

def test_facts_are_counted_as_they_are_told(world):
    "Against a reading of the text: the block choices and the texts are two things."
    counts, text = np.zeros_like(world.facts), list(corpus(world, 200_000, seed=3))
    for d in text:
        if d.startswith('question'):
            for q in d.split('question ')[1:]:
                stem, listed = q.split(' ? ')
                fits = [(e, r) for r, ts in enumerate(world.templates) for t in ts for e in [next((e for e, name in enumerate(world.names) if name in stem), -1)] if t.format(e=world.names[e], v='').removesuffix(' .').strip() == stem]
                assert len(fits) == 1
                counts[fits[0]] += 1
                options, letter = listed.removesuffix(' .').split(' answer ')[0], listed.split(' answer ')[1][0]
                if not world.random[fits[0][1]]: assert f"{letter} {world.values[fits[0][1]][world.facts[fits[0]]]}" in options
        else:
            for e, r, _, p in statements(world, d):
                assert p > 0 and (world.random[r] or p == 1)
                counts[e, r] += 1
    np.testing.assert_array_equal(counts, fact_counts(world, 200_000, 3), strict=True)

def test_choices_have_their_frequencies(world):
    said = [(i, row, 'it' in d.split('. ')[i].split()) for d in corpus(world, 300_000, seed=8) if not d.startswith('question') for i, row in enumerate(statements(world, d))]
    first = np.array([row[0] for i, row, _ in said if i == 0]); later = np.array([it for i, _, it in said if i])
    n = len(first); f = np.bincount(first, minlength=60)
    assert ((f - n * world.p_entity) ** 2 / (n * world.p_entity)).sum() < 59 + 4 * np.sqrt(2 * 59) # chi-squared
    assert abs(later.mean() - world.stay * world.it) < 2 / np.sqrt(len(later))
    same = np.array([b[1][0] == a[1][0] for a, b in zip(said, said[1:], strict=False) if b[0]])
    assert abs(same.mean() - world.stay - (1 - world.stay) * np.square(world.p_entity).sum()) < 2 / np.sqrt(len(same))
    again = [statements(world, d) for d in corpus(world, 300_000, seed=8) if not d.startswith('question')]
    assert abs(1 / np.mean([len(s) for s in again]) - world.stop) < 4 * np.sqrt(.2 * .8 / len(said))
    long = [str(s) for s in again if len(s) > 5]
    assert len(set(long)) > .99 * len(long) # no block repeats another
    r = 5; e = int(np.bincount([row[0] for _, row, _ in said]).argmax())
    values = np.array([row[2] for _, row, _ in said if row[:2] == (e, r)])
    np.testing.assert_allclose(np.bincount(values, minlength=10) / len(values), world.chances[world.kind[e, r], r], atol=2.2 / np.sqrt(len(values)))
    assert world.p_entity[0] / world.p_entity[9] == pytest.approx(10) and np.allclose(fact_world(entities=5, zipf=0).p_entity, .2)

def test_a_stream_is_fast_and_flat(world):
    def peak(n):
        tracemalloc.start(); list(map(len, corpus(world, 10, 0)))
        for _ in corpus(world, n, seed=1): pass
        try: return tracemalloc.get_traced_memory()[1]
        finally: tracemalloc.stop()
    assert peak(1_200_000) < 1.2 * peak(300_000)
    start, n = time.process_time(), sum(d.count(' ') + 1 for d in corpus(world, 1_000_000, seed=2))
    assert n / (time.process_time() - start) > 1e6, 'a million words a second and core'
    start, n = time.process_time(), sum(len(next_token_posterior(world, d)) for d in corpus(world, 20_000, seed=2))
    assert n / (time.process_time() - start) > 3_000, 'thousands of positions a second'


# ---- what is asked ---------------------------------------------------------------------------------------------------
def test_facts_are_drawn_from_the_prior():
    "So `guess` is what a reader can know who never saw the fact; over worlds, as a world has but few relations."
    z = [((np.bincount(w.facts[:, r], minlength=10) - 50 * w.prior[r]) / np.sqrt(50 * w.prior[r] * (1 - w.prior[r])))[w.prior[r] > .05]
         for seed in range(40) for w in [fact_world(entities=50, relations=3, random_relations=1, seed=seed)] for r in range(2)]
    z = np.concatenate(z)
    assert abs(z.mean()) < 4 / np.sqrt(len(z)) and abs(np.square(z).mean() - 1) < 4 * np.sqrt(2 / len(z))
    w = fact_world(seed=3)
    np.testing.assert_allclose(w.prior[7], np.mean([w.chances[k, 7] for k in range(4)], 0))

def test_the_chances_of_a_value_multiply_from_word_to_word(world):
    e = cloze(world, seed=1, n=120, n_tokens=50_000)
    for i in range(len(e)):
        for option, true in zip(e.options[i], e.posterior[i], strict=True):
            if not true: continue
            p = next_token_posterior(world, f'{e.a[i]} {option}')
            at = [world.ids[x] for x in option.split()]
            assert np.prod([p[-1 - len(at) + j, x] for j, x in enumerate(at)]) == pytest.approx(true, abs=1e-12)

def test_cloze_asks_each_fact_once(world):
    e, counts = cloze(world, n_tokens=3_000, corpus_seed=7), fact_counts(world, 3_000, 7)
    x = e.extra
    assert len(e) == 360 and len(set(zip(x['entity'], x['relation'], strict=True))) == 360
    np.testing.assert_array_equal(x['frequency'], counts[x['entity'], x['relation']])
    assert 0 < x['seen'].mean() < 1 and (x['seen'] == (x['frequency'] > 0)).all()
    assert all(e.options[i][e.label[i]] == x['answer'][i] == world.values[x['relation'][i]][e.label[i]] for i in range(360))
    fixed = ~x['random']
    np.testing.assert_array_equal(e.label[fixed], world.facts[x['entity'], x['relation']][fixed])
    assert all(e.a[i] in world.templates[x['relation'][i]][x['template'][i]].format(e=world.names[x['entity'][i]], v='…') for i in range(360))
    assert set(e.cluster) == set(world.names) and x['guess'][3] == world.prior[3, e.label[3]]
    r = x['random']; z = (e.posterior[r].argmax(1) == e.label[r]).sum() - e.posterior[r].max(1).sum() # the answers of random relations are drawn
    assert abs(z) < 3 * np.sqrt((e.posterior[r].max(1) * (1 - e.posterior[r].max(1))).sum())
    part = cloze(world, n=50, n_tokens=3_000)
    assert len(set(part.uid)) == 50 and set(cloze(world, seed=1, n=50, n_tokens=3_000).uid) != set(part.uid)

@pytest.mark.parametrize('k', [2, 3, 5])
def test_letters_have_the_posterior_of_the_options(world, k):
    e = questions(world, 150, options=k, seed=k, n_tokens=3_000)
    for i in range(len(e)):
        assert len(set(e.options[i])) == k and set(e.options[i]) <= set(world.values[e.extra['relation'][i]])
        p = next_token_posterior(world, ask(e.a[i], e.options[i]))[-1]
        np.testing.assert_allclose(p[[world.ids[x] for x in 'ABCDE'[:k]]], e.posterior[i], atol=1e-12)
        fact = value_posterior(world, e.extra['entity'][i], e.extra['relation'][i])[[world.values[e.extra['relation'][i]].index(o) for o in e.options[i]]]
        np.testing.assert_allclose(e.posterior[i], fact / fact.sum())
    assert (e.posterior.argmax(1) == e.label)[~e.extra['random']].all() and e.options[0][e.label[0]] == e.extra['answer'][0]

def test_labels_are_drawn_from_the_posterior(world):
    e = questions(world, 6_000, options=4, seed=1, n_tokens=3_000, unseen=.3)
    r, p = e.extra['random'], e.posterior[np.arange(6_000), e.label]
    top = e.posterior[r].max(1)
    assert abs(top.mean() - (e.posterior[r].argmax(1) == e.label[r]).mean()) < 4 * np.sqrt((top * (1 - top)).sum()) / r.sum()
    assert np.abs(np.bincount(e.label[~r]) / (~r).sum() - .25).max() < .03 and (p > 0).all()
    assert (~e.extra['seen']).sum() == 1_800
    facts = list(zip(e.extra['entity'], e.extra['relation'], strict=True))
    assert len(set(facts)) == 360 # every fact; each of its half as often as the others
    n = np.unique([f'{f}' for f, s in zip(facts, e.extra['seen'], strict=True) if s], return_counts=True)[1]
    assert n.max() - n.min() <= 1
    g = e.extra['guess'] # the best guess of who never read the fact is right as often as it says, on average over facts
    assert .25 < g[~r].mean() < 1

def test_diversity_widens_what_is_asked(world):
    kinds = [(len(set(e.a)), len(set(e.extra['relation'])), len(set(e.extra['entity'])), len(set(e.extra['template'])), len({r.split()[0] for r in e.extra['response']}))
             for d in [0, .25, .5, .75, 1] for e in [instructions(world, 4_000, d, seed=1)]]
    assert all((np.diff(column) >= 0).all() and column[0] < column[-1] for column in np.array(kinds).T)
    assert kinds[0][1:4] == (2, 6, 1) and kinds[-1][1:4] == (6, 60, 3)
    narrow = instructions(world, 500, 0., seed=1)
    assert all(a.endswith(' ?') and r == f'{v} .' for a, r, v in zip(narrow.a, narrow.extra['response'], narrow.extra['answer'], strict=True))

def test_responses_are_right_at_the_stated_rate(world):
    e = instructions(world, 8_000, 1., seed=2, right=.7)
    x = e.extra
    p = np.array([value_posterior(world, a, r)[world.values[r].index(v)] for a, r, v in zip(x['entity'], x['relation'], x['answer'], strict=True)])
    fixed = ~world.random[x['relation']]
    assert (x['right'] == (p > 0)).all() and abs(x['right'][fixed].mean() - .7) < 4 * .46 / np.sqrt(fixed.sum())
    assert {w for t in [*e.a, *x['response']] for w in t.split()} <= set(world.words)
    assert all(reward(world, a, r) == pytest.approx(4 * q) for a, r, q in zip(e.a[:300], x['response'], p, strict=False))
    assert instructions(world, 100, 1., seed=2, right=1.).extra['right'].all() and not instructions(world, 500, 1., right=0.).extra['right'][~world.random[instructions(world, 500, 1., right=0.).extra['relation']]].any()

def test_preferences_follow_the_reward(world):
    e = preferences(world, 6_000, seed=1, truth=2., polite=1.5)
    x = e.extra
    for i in range(400):
        good, bad = (reward(world, e.a[i], x[c][i], truth=2., polite=1.5) for c in ('chosen', 'rejected'))
        assert (good, bad) == pytest.approx((x['reward_chosen'][i], x['reward_rejected'][i])) and x['p_chosen'][i] == pytest.approx(1 / (1 + np.exp(bad - good)))
        assert x['chosen'][i] != x['rejected'][i] and {*x['chosen'][i].split(), *x['rejected'][i].split()} <= set(world.words)
    prompt = e.a[0] # no value of the relation asked for: no truth
    assert [reward(world, prompt, y, truth=2., polite=1.5) for y in ('', 'well .', 'thanks', f'{world.names[3]} thanks .')] == [0, 0, 1.5, 1.5]
    other = world.values[(x['relation'][0] + 1) % 6][0]
    assert reward(world, prompt, f'{other} .') == 0
    p = np.maximum(x['p_chosen'], 1 - x['p_chosen']); better = x['p_chosen'] > .5
    for lo in [.5, .7, .8, .9]:
        b = (p > lo + 1e-9) & (p <= lo + .2)
        assert abs((better[b] - p[b]).sum()) < 4 * np.sqrt((p[b] * (1 - p[b])).sum())

def test_statements_finds_the_errors(world):
    d = next(d for d in corpus(world, 10_000, seed=2) if not d.startswith('question') and d.count(' .') > 3)
    true = statements(world, d)
    e, r, v, _ = next(row for row in true if not world.random[row[1]])
    wrong = statements(world, d.replace(world.values[r][v] + ' .', world.values[r][v - 1] + ' .'))
    assert [row[2] for row in wrong] == [v - 1 if row[1] == r and row[2] == v and v else (v - 1) % 10 if row[1] == r and row[2] == v else row[2] for row in true]
    assert all(row[3] == 0 for row in wrong if row[:2] == (e, r))
    assert statements(world, '') == [] and statements(world, 'it . no such . ' + d)[2:] == true and np.isnan(statements(world, 'it .')[0][3])

def test_the_probability_of_one_word_is_that_of_the_row(world):
    for d in list(corpus(world, 2_000, seed=5)):
        p = next_token_posterior(world, d)
        for y in (p.argmax(1), p.argmin(1), np.full(len(p), len(world.words))): np.testing.assert_array_equal(next_token_probability(world, d, y), p[np.arange(len(p)), y])

def test_the_rows_that_are_kept_change_nothing(world):
    "A second reading, of another document in between, gives the same."
    a, b = list(corpus(world, 400, seed=6))[:2]
    p = next_token_posterior(world, a); next_token_posterior(world, b)
    np.testing.assert_array_equal(next_token_posterior(world, a), p)
    fresh = fact_world(entities=60, relations=6, random_relations=2, seed=5)
    np.testing.assert_array_equal(next_token_posterior(fresh, a), p)

def test_a_world_is_its_seed():
    a, b, c = (fact_world(seed=s) for s in (1, 1, 2))
    assert a.words == b.words and (a.facts == b.facts).all() and a.words != c.words
    assert next(corpus(a, 1)) == next(corpus(b, 1)) and documents(a, 500).a.tolist() == documents(b, 500).a.tolist()
    assert len(set(a.words)) == len(a.words) and all(len(w.split()) == 1 for w in a.words)
    assert len(set(a.names)) == 200 and len({v for vs in a.values for v in vs}) == 80

def test_facts_need_numpy_alone():
    script = "import sys, plcal_study.lm.facts; print(sorted({'torch', 'transformers', 'datasets', 'tokenizers', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout.strip() == '[]'

def test_the_words_of_a_tokenizer_are_the_columns(world):
    "One word, one token: a model's row and the true one have the same places."
    pytest.importorskip('transformers')
    from plcal_study.lm.testbed import train_tokenizer
    tok = train_tokenizer(world.words, keep=world.words, frame='none')
    column = {tok.convert_tokens_to_ids(w): i for i, w in enumerate(world.words)}
    for d in corpus(world, 3_000, seed=4): assert [column[i] for i in tok(d)['input_ids']] == [world.ids[w] for w in d.split()]
    asked = [*instructions(world, 50).a, *(ask(a, o) for e in [questions(world, 50, n_tokens=3_000)] for a, o in zip(e.a, e.options, strict=True))]
    assert not any(tok.unk_token_id in tok(a)['input_ids'] for a in asked)
