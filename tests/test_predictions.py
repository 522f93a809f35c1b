"What must hold of the one table: checks keep what is right and name what is wrong; disk and pairing lose nothing."
import json, os
from copy import deepcopy
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from scipy.special import softmax
from plcal_study.measure.predictions import (
    Predictions, _hash, _repeated, atomic_write, check_labels, check_logits, check_pairs, check_scores, from_grades, from_logits, load, pair, probs_of, save, select)


def ragged(n=40, k=5, seed=0, dtype=float):
    "Logits of rows with 2 to k options, NaN at the end of short ones, and labels."
    rng = np.random.default_rng([seed, 3])
    logits, options = rng.normal(size=(n, k)).astype(dtype), rng.integers(2, k + 1, n)
    logits[np.arange(k) >= options[:, None]] = np.nan
    return logits, rng.integers(0, options)

def full(seed=0, **kw):
    "A table with every field."
    logits, label = ragged(seed=seed, **kw)
    uid = [f'q{i}' for i in range(40)]
    return from_logits(logits, label, uid, dict(model='m', task='t', seed=seed, nested=dict(a=[1, None])), cluster=np.arange(40) // 4, max_logit=np.nanmax(logits, 1))


# --- checks ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('dtype, kept', [(np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32), (int, np.float64), (np.uint8, np.float64)])
def test_checks_keep_the_precision(dtype, kept):
    for check in (check_pairs, check_scores):
        conf, correct = check(np.array([0, 1], dtype), [1, 0])
        assert conf.dtype == kept and correct.dtype == bool and conf.tolist() == [0, 1] and correct.tolist() == [True, False]
    logits, label = check_logits(np.array([[0, 1]], dtype), [1])
    assert logits.dtype == kept and label.dtype == np.int64

@pytest.mark.parametrize('correct', [[1, 0, 1], [True, False, True], [1., 0., 1.], np.array([1, 0, 1], np.int8), (1, 0, 1)])
def test_grades_in_any_form(correct): assert check_pairs([.1, .2, .3], correct)[1].tolist() == [True, False, True]

def test_checks_do_not_change_what_they_are_given():
    logits, label = ragged()
    before = logits.copy(), label.copy()
    check_logits(logits, label); probs_of(logits); _ = select(from_logits(logits, label), [0, 1]).probs
    np.testing.assert_array_equal(logits, before[0]); np.testing.assert_array_equal(label, before[1])

@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_confidences_pass_if_and_only_if_they_are_probabilities(conf):
    if all(0 <= c <= 1 for c in conf): assert check_pairs(conf, [0] * len(conf))[0].tolist() == conf
    else:
        row = next(i for i, c in enumerate(conf) if not 0 <= c <= 1)
        with pytest.raises(ValueError, match=rf'conf must lie in \[0, 1\], got .* in row {row};'): check_pairs(conf, [0] * len(conf))

def test_scores_too_large_to_add_are_still_finite():
    with np.errstate(over='ignore'): assert check_scores([1e308, 1e308], [1, 0])[0].tolist() == [1e308, 1e308]

def test_limits_of_labels():
    assert check_labels([0, 1, 2], np.array([1, 2, 3])).tolist() == [0, 1, 2]
    for bad in (3, -1):
        with pytest.raises(ValueError, match='in row 1'): check_labels([0, bad], np.array([3, 3]))

@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_probabilities_are_the_softmax_of_each_row_by_itself(dtype):
    logits, _ = ragged(dtype=dtype)
    probs = probs_of(logits)
    assert probs.dtype == float
    for row, p in zip(logits, probs, strict=True):
        some = ~np.isnan(row)
        np.testing.assert_allclose(p[some], softmax(row[some].astype(float))); assert (p[~some] == 0).all()
    np.testing.assert_allclose(probs_of(logits.astype(float) + 1000), probs, atol=1e-12)
    assert probs_of([[0., -np.inf]]).tolist() == [[1, 0]] and probs_of([[800., 0.]])[0, 0] == 1


# --- ways in ---------------------------------------------------------------------------------------------------------------------

def test_answers_and_confidences_follow_from_the_logits():
    logits, label = ragged()
    p = from_logits(logits, label)
    for i, (row, y) in enumerate(zip(logits, label, strict=True)):
        options = row[~np.isnan(row)]
        assert p.correct[i] == (list(options).index(max(options)) == y) and p.conf[i] == pytest.approx(softmax(options).max())
    assert p.conf.dtype == float and p.correct.dtype == bool and len(p) == 40 and p.uid.tolist() == [str(i) for i in range(40)]
    np.testing.assert_allclose(p.probs.max(1), p.conf)

def test_of_equal_scores_the_first_is_the_answer():
    p = from_logits([[1., 1., 1.], [0., 2., 2.]], [0, 2])
    assert p.correct.tolist() == [True, False]

def test_grades_alone_have_no_probabilities():
    g = from_grades([.5, 1.], [0, 1], meta=dict(model='x'))
    assert g.logits is None and g.label is None and g.cluster is None and g.scores == {}
    with pytest.raises(ValueError, match='no logits'): _ = g.probs
    assert 'model=x' in repr(g) and 'n = 2' in repr(g) and 'accuracy 0.500' in repr(g) and 'mean confidence 0.750' in repr(g)

def test_a_table_is_frozen():
    with pytest.raises(AttributeError): full().conf = np.zeros(40)

def test_meta_is_copied():
    meta = dict(model='a')
    p = from_grades([.5], [1], meta=meta)
    meta['model'] = 'b'
    assert p.meta == dict(model='a')


def test_a_table_owns_what_it_holds():
    logits, label = ragged()
    given = dict(meta=dict(a=[1]), uid=np.array([f'q{i}' for i in range(40)]), correct=np.arange(40) % 2 == 0, conf=np.full(40, .5), logits=logits, label=label,
                 scores=dict(s=np.ones(40)), cluster=np.array(['c'] * 40))
    p = Predictions(**given)
    before = deepcopy(vars(p))
    for x in (given['conf'], logits, given['scores']['s']): x[:] = 0
    given['meta']['a'].append(2); given['scores']['t'] = 1
    given['uid'][:] = 'x'; given['cluster'][:] = 'x'; given['correct'][:] = True; label[:] = 0
    for name, value in before.items(): np.testing.assert_equal(getattr(p, name), value, err_msg=name)

@pytest.mark.parametrize('at', [(0, 1), (0, 999), (500, 501), (998, 999), (3, 700)])
@pytest.mark.parametrize('names', [np.arange(1000), np.arange(1000) - 500, np.array([f'mmlu/{i}' for i in range(1000)]), np.array([f'ü{i}' for i in range(1000)], object)[::-1]],
                         ids=['numbers', 'negative', 'text', 'objects'])
def test_a_name_that_is_there_twice_is_found_wherever_it_is(names, at):
    assert from_grades(np.full(1000, .5), np.ones(1000), names).uid.tolist() == [str(x) for x in names]
    twice = names.copy()
    twice[at[1]] = twice[at[0]]
    with pytest.raises(ValueError, match=f"uid must be unique, got '{names[at[0]]}' more than once"): from_grades(np.full(1000, .5), np.ones(1000), twice)

@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.text('ab1 é😀', max_size=3), min_size=1, max_size=12), st.integers(1, 4), st.sampled_from(['<', '>']))
def test_repeated_names_are_those_of_pandas(names, bad, order):
    names = np.array(names).astype(f'{order}U3')
    again = names[pd.Index(names).duplicated()]
    want = again[0] if len(again) else None
    assert _repeated(names) == want
    assert _repeated(names, lambda x: _hash(x) % np.uint64(bad)) == want # most hashes meet, or all

def test_names_apart_have_hashes_apart():
    names = np.array([f'{a}{b}' for a in 'abcdefgh' for b in range(5000)])
    assert len(np.unique(_hash(names))) == len(names)

@pytest.mark.parametrize('uid', [[0], [-7], [10, 9], [-1, 100], np.array([2**64 - 1, 5], np.uint64), np.array([-2**63, 2**63 - 1]), np.array([-100, 99], np.int8)])
def test_numbers_become_the_names_that_python_gives_them(uid):
    assert from_grades([.5] * len(uid), [1] * len(uid), uid).uid.tolist() == [str(int(x)) for x in uid]


# --- choosing and pairing --------------------------------------------------------------------------------------------------------

def same(a, b):
    "Equal in every field."
    for name, value in vars(a).items(): np.testing.assert_equal(getattr(b, name), value, err_msg=name)

def test_selecting_takes_every_field_along():
    p, rows = full(), np.array([7, 3, 21])
    q = select(p, rows, split='val')
    for name in ('uid', 'correct', 'conf', 'logits', 'label', 'cluster'): np.testing.assert_array_equal(getattr(q, name), getattr(p, name)[rows])
    np.testing.assert_array_equal(q.scores['max_logit'], p.scores['max_logit'][rows])
    assert q.meta == {**p.meta, 'split': 'val'} and 'split' not in p.meta
    mask = np.zeros(40, bool); mask[[3, 7]] = True
    assert select(p, mask).uid.tolist() == ['q3', 'q7']
    same(select(p, np.arange(40)), p)

@pytest.mark.parametrize('seed', range(3))
def test_pairing_undoes_any_order(seed):
    p = full()
    shuffled = select(p, np.random.default_rng(seed).permutation(40))
    a, b = pair(p, shuffled)
    assert a is p
    same(a, b)

def test_pairing_refuses_what_is_not_the_same_question():
    p = full()
    with pytest.raises(ValueError, match="1 are in one only, e.g. 'q39'"): pair(p, select(p, np.arange(39)))
    other = from_logits(p.logits, np.where(np.arange(40) == 5, 1 - np.minimum(p.label, 1), p.label), p.uid)
    with pytest.raises(ValueError, match="label differs for question 'q5'"): pair(p, other)
    assert len(pair(p, from_grades(p.conf, p.correct, p.uid))[1]) == 40  # grades alone can be paired too


# --- on disk ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('table', [full(), full(dtype=np.float32), from_grades([.5, 1.], [0, 1]), from_grades([.5], [1], ['ü 1'], dict(a=[1, 2]), ['c'], s=[2.])],
                         ids=['full', 'single precision', 'grades', 'one row'])
def test_what_is_saved_comes_back(table, tmp_path):
    back = load(save(table, tmp_path/'p.parquet'))
    same(table, back)
    for name, value in vars(table).items():
        if isinstance(value, np.ndarray): assert getattr(back, name).dtype.kind == value.dtype.kind
    if table.logits is not None: assert back.logits.dtype == table.logits.dtype
    assert os.listdir(tmp_path) == ['p.parquet']

def test_other_tools_can_read_it(tmp_path):
    p = full()
    df = pd.read_parquet(save(p, tmp_path/'p.parquet'))
    assert df.uid.tolist() == p.uid.tolist() and df.conf.tolist() == p.conf.tolist() and {'correct', 'label', 'cluster', 'score:max_logit', 'logits'} <= set(df)

def test_saving_twice_gives_the_same_bytes(tmp_path):
    assert save(full(), tmp_path/'a.parquet').read_bytes() == save(full(), tmp_path/'b.parquet').read_bytes()

def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    f = save(full(), tmp_path/'p.parquet')
    f.write_bytes(f.read_bytes()[:-20])
    with pytest.raises(ValueError, match='not a readable Parquet file'): load(f)
    pq.write_table(pa.table({'conf': [.5]}), tmp_path/'q.parquet')
    with pytest.raises(ValueError, match='holds no predictions'): load(tmp_path/'q.parquet')
    pq.write_table(pa.table({'conf': [.5]}, metadata={'plcal': json.dumps(dict(version=2, meta={}))}), tmp_path/'r.parquet')
    with pytest.raises(ValueError, match='format version 2, this package reads 1'): load(tmp_path/'r.parquet')
    with pytest.raises(FileNotFoundError): load(tmp_path/'none.parquet')

def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    f = tmp_path/'f.txt'
    atomic_write(f, 'old')
    def fail(*a): raise OSError('disk full')
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='disk full'): atomic_write(f, 'new')
    assert f.read_text() == 'old' and os.listdir(tmp_path) == ['f.txt']
    monkeypatch.undo()
    atomic_write(f, b'new')
    assert f.read_text() == 'new' and os.listdir(tmp_path) == ['f.txt']

def test_written_files_can_be_read_by_others_as_the_umask_says(tmp_path):
    atomic_write(tmp_path/'f', 'x')
    umask = os.umask(0); os.umask(umask)
    assert (tmp_path/'f').stat().st_mode & 0o777 == 0o666 & ~umask

def test_every_field_is_checked():
    good = dict(meta={}, uid=['a', 'b'], correct=[1, 0], conf=[.5, .6])
    assert len(Predictions(**good)) == 2
    for change, says in [(dict(uid=['a', 'a']), 'uid must be unique'), (dict(uid=['a']), 'uid must be'), (dict(conf=[.5, 2]), 'conf must'), (dict(correct=[1, 2]), 'correct must'),
                         (dict(cluster=[.5, 1.5]), 'cluster must be strings or integers'), (dict(logits=[[0., 1.]] * 2), 'come together'), (dict(label=[0, 1]), 'come together'),
                         (dict(logits=[[0., 1.]], label=[0]), 'logits must have 2 rows'), (dict(scores=dict(s=[1.])), "scores\\['s'\\] must have shape"),
                         (dict(scores=dict(s=[1., np.nan])), "must be finite"), (dict(meta=dict(a=np.array([1]))), 'JSON values only')]:
        with pytest.raises(ValueError, match=says): Predictions(**{**good, **change})
