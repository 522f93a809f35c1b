"Examples: what is equal, what leaks, what a cut may not part."
import re, unicodedata
from dataclasses import replace
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from plcal_study.lm.examples import Examples, Task, cut, disjoint, few_shot, keys, leaks, normalise, sample, take, to_dataset

FAST = settings(deadline=None, max_examples=60, derandomize=True)
words = st.sampled_from(['a', 'A', 'á', 'b!', ' b', 'c d', 'c  D', '?', '!!', ''])

def make(texts, cluster=None, label=True, prefix='q'):
    return Examples([f'{prefix}{i}' for i in range(len(texts))], texts, [i % 2 for i in range(len(texts))] if label else None, cluster=cluster)

def plain(text):
    "Normalisation as its definition: letters and digits of the decomposed lower-case text, all else a space."
    chars = [c for c in unicodedata.normalize('NFKD', text.casefold()) if not unicodedata.combining(c)]
    return ' '.join(''.join(c if unicodedata.category(c)[0] in 'LN' else ' ' for c in chars).split())


@FAST
@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x24f), max_size=30))
def test_normalise_is_its_definition(text):
    assert normalise(text) == plain(text) and normalise(normalise(text)) == normalise(text)

@FAST
@given(st.lists(words, min_size=1, max_size=8), st.lists(words, min_size=1, max_size=8))
def test_leaks_is_a_loop_over_pairs(train, test):
    def same(x, y): return (plain(x) or x.strip()) == (plain(y) or y.strip())
    assert leaks(make(train), make(test)).tolist() == [any(same(x, y) for x in train) for y in test]

def test_a_pair_leaks_as_a_pair_and_a_question_with_its_options():
    a, b = replace(make(['p', 'p']), b=['h', 'i']), replace(make(['p', 'P!', 'h']), b=['i.', 'j', 'p'])
    assert leaks(a, b).tolist() == [True, False, False]
    one, other = replace(make(['which']), options=[('x', 'y')], label=[0]), replace(make(['which', 'which']), options=[('x', 'y'), ('y', 'x')], label=[1, 1])
    assert leaks(one, other).tolist() == [True, False]

@FAST
@given(st.lists(st.lists(words, min_size=1, max_size=8), min_size=2, max_size=4))
def test_disjoint_keeps_the_later_split_whole(texts):
    splits = {f's{i}': make(t, prefix=f's{i}-') for i, t in enumerate(texts)}
    try: out, removed = disjoint(splits)
    except ValueError as e:
        assert 'occurs in a later split' in str(e)
        return
    names = list(splits)
    assert list(out) == names and out[names[-1]].uid.tolist() == splits[names[-1]].uid.tolist() and removed[names[-1]] == 0
    for i, s in enumerate(names):
        later = {k for t in names[i + 1:] for k in keys(splits[t])}
        assert out[s].uid.tolist() == [u for u, k in zip(splits[s].uid, keys(splits[s]), strict=True) if k not in later]
        assert removed[s] == len(splits[s]) - len(out[s])

def pieces(texts, cluster):
    "Naive closure: rows that share a text or a cluster, again and again."
    part = list(range(len(texts)))
    for _ in texts:
        for i in range(len(texts)):
            for j in range(len(texts)):
                if keys(make(texts))[i] == keys(make(texts))[j] or (cluster and cluster[i] == cluster[j]): part[i] = part[j] = min(part[i], part[j])
    return part

@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.tuples(words, st.sampled_from('uvwxyz')), min_size=3, max_size=9), st.booleans(), st.integers(0, 9))
def test_a_cut_never_parts_what_hangs_together(rows, by_cluster, seed):
    texts, cluster = [t for t, _ in rows], [c for _, c in rows]
    e = make(texts, cluster)
    part = pieces(texts, cluster if by_cluster else None)
    try: out = cut(e, dict(train=.5, test=.5), seed, by_cluster)
    except ValueError as error:
        assert 'would be empty' in str(error)
        return
    where = {u: s for s, x in out.items() for u in x.uid}
    assert len(where) == len(e), 'with shares that sum to 1 nothing is lost'
    for i in range(len(e)):
        for j in range(len(e)):
            if part[i] == part[j]: assert where[e.uid[i]] == where[e.uid[j]]

def test_a_cut_is_seeded_sized_and_blind_to_the_order_of_rows():
    e = make([f'text {i}' for i in range(1000)], [str(i // 3) for i in range(1000)])
    for by_cluster in (False, True):
        out = cut(e, dict(train=.6, val=.2, test=.1), 4, by_cluster)
        assert all(abs(len(out[s]) - n) <= 3 for s, n in dict(train=600, val=200, test=100).items())
        assert all(len(set(x.uid)) == len(x) for x in out.values()) and not set(out['train'].uid) & set(out['test'].uid)
        turned = cut(take(e, np.arange(1000)[::-1]), dict(train=.6, val=.2, test=.1), 4, by_cluster)
        assert {s: set(x.uid) for s, x in turned.items()} == {s: set(x.uid) for s, x in out.items()}
        assert set(cut(e, dict(train=.6, val=.2, test=.1), 5, by_cluster)['test'].uid) != set(out['test'].uid)

def test_shots_are_equal_per_class_and_a_subset():
    e = make([f't{i}' for i in range(60)])
    e = replace(e, label=np.arange(60) % 3)
    for n in (1, 7, 20):
        shots = few_shot(e, n, seed=n)
        assert np.bincount(shots.label).tolist() == [n] * 3 and len(set(shots.uid)) == 3 * n
        assert all(e.label[np.flatnonzero(e.uid == u)[0]] == y for u, y in zip(shots.uid, shots.label, strict=True))
    assert (np.diff(few_shot(e, 20).label) < 0).any(), 'in random order, not class by class'
    assert len(sample(e, 1000)) == 60 and sorted(sample(e, 1000).uid) == sorted(e.uid)

def test_every_column_comes_along():
    n = 5
    e = Examples(np.arange(n), list('abcde'), np.arange(n) % 2, b=list('vwxyz'), options=[('x', str(i)) for i in range(n)], cluster=list('ccddd'), posterior=np.tile([.25, .75], (n, 1)), extra=dict(z=np.arange(n) * 10))
    t = take(e, [3, 1])
    assert (t.uid.tolist(), t.a.tolist(), t.b.tolist(), t.label.tolist(), t.options, t.cluster.tolist(), t.extra['z'].tolist()) == (['3', '1'], ['d', 'b'], ['y', 'w'], [1, 1], [('x', '3'), ('x', '1')], ['d', 'c'], [30, 10])
    assert take(e, slice(1, 3)).uid.tolist() == take(e, e.uid == '1').uid.tolist() + ['2']
    d = to_dataset(e)
    assert d.column_names == ['uid', 'a', 'b', 'label', 'cluster', 'posterior', 'options', 'z'] and d[3]['options'] == ['x', '3'] and d[3]['z'] == 30

def test_a_task_says_what_it_has():
    t = Task('t', dict(train=make(['a', 'b'], prefix='x'), test=make(['c'])), ('no', 'yes'), ('bad', 'good'), '{a} {m}')
    assert re.fullmatch(r'Task\(t: 2 classes; train 2, test 1\)', repr(t))
    with pytest.raises(KeyError, match='no split .dev.; it has train, test'): t['dev']
