"Streams against the functions for arrays: the same numbers, however the rows are cut and read."
import math
from functools import lru_cache
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from plcal_study.measure import streams
from plcal_study.measure.bootstrap import bootstrap, ece_interval
from plcal_study.measure.metrics import METRICS, auroc, bin_ids, brier_top, conf_gap, ece_null, nll_top, reliability
from plcal_study.measure.logs import read_log
from plcal_study.measure.predictions import from_grades, save
from plcal_study.measure.streams import stream, stream_auroc, stream_intervals, stream_null, stream_reliability

N, TOPICS = 100_000, 300
SUMS = ('n', 'conf', 'correct', 'brier', 'nll', 'chance', 'ranks')


def put(folder, columns, cuts=(), **how):
    "Rows as files, cut before these rows."
    folder.mkdir(parents=True, exist_ok=True)
    t = pa.table(columns)
    for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(t)], strict=True)): pq.write_table(t[a:b], folder / f'part-{i:03}.parquet', **how)
    return folder

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "Single precision with ties, on bin edges too; topics that differ, in no order."
    rng = np.random.default_rng(0)
    topic = rng.integers(0, TOPICS, N)
    p = rng.beta(4, 2, N).astype(np.float32)
    p[:20_000] = np.round(p[:20_000] * 15) / np.float32(15)
    y = rng.random(N) < np.clip(p**1.3 + rng.normal(0, .15, TOPICS)[topic], 0, 1)
    names = np.array([f'topic {t}' for t in topic])
    folder = put(tmp_path_factory.mktemp('data') / 'all', dict(id=np.arange(N), conf=p, correct=y, topic=names, number=topic), [17, 30_000, 30_001, 77_777], row_group_size=20_000)
    return folder, p, y, names

def nll_rows(p, y): return -np.log(np.clip(np.where(y, p, 1 - p.astype(float)), 1e-7, 1 - 1e-7))

def close(a, b, rtol=1e-9): np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=rtol, atol=1e-13)

def same(a, b):
    assert a.unit == b.unit and (a.names is None) == (b.names is None)
    if a.names is not None: assert a.names.tolist() == b.names.tolist()
    for k in SUMS: close(getattr(a, k), getattr(b, k))

def in_memory(p, y, unit, draws=200, seed=0):
    "Every metric by the functions for arrays."
    how = dict(cluster=unit, draws=draws, seed=seed)
    return dict(acc=bootstrap(np.mean, y.astype(float), **how), conf=bootstrap(np.mean, p.astype(float), **how), conf_gap=bootstrap(conf_gap, p, y, **how),
                brier_top=bootstrap(brier_top, p, y, **how), nll_top=bootstrap(np.mean, nll_rows(p, y), **how), ece15=ece_interval(p, y, **how))


@pytest.mark.parametrize('column', ['topic', 'number', None])
def test_every_metric_is_the_one_of_memory(data, column):
    folder, p, y, names = data
    s = stream(folder, cluster=column, units=1000, progress=False)
    unit = np.array([slow_group(i, 1000, 0) for i in range(N)]) if column is None else names if column == 'topic' else np.array([int(t.split()[1]) for t in names])
    ours, theirs = stream_intervals(s, draws=200, seed=3), in_memory(p, y, unit, seed=3)
    assert list(ours) == list(theirs)
    for k, i in ours.items():
        close(i[:4], theirs[k][:4])
        assert i[5:] == theirs[k][5:] and i.method == f"{theirs[k].method}; {'clusters' if column else 'random groups of rows'}"
        if k != 'ece15': close(i.estimate, METRICS[k](p, y))
    assert len(s.n) == len(np.unique(unit)) and ours['acc'].n == N

def slow_group(i, groups, seed):
    "SplitMix64 of one number, in Python."
    x = (i + (seed + 1) * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return ((x ^ x >> 31) >> 32) * groups >> 32

def test_seed_changes_the_groups(data):
    a, b = (stream(data[0], units=100, seed=i, progress=False) for i in (0, 1))
    assert (a.n != b.n).any() and a.n.sum(0).tolist() == b.n.sum(0).tolist()

@pytest.mark.parametrize('column', ['topic', None])
@pytest.mark.parametrize('step, cuts', [(1 << 18, []), (999, []), (1 << 18, [1, 2, 50_000]), (10_007, [99_999])])
def test_neither_steps_nor_files_matter(data, tmp_path, monkeypatch, column, step, cuts):
    folder, p, y, names = data
    monkeypatch.setattr(streams, '_STEP', step)
    for k, units in ((column, 1000), (column, 50)): same(stream(put(tmp_path / 'x', dict(conf=p, correct=y, topic=names), cuts), cluster=k, units=units, progress=False), memory_of(folder, k, units))

@lru_cache
def memory_of(folder, column, units): return stream(folder, cluster=column, units=units, progress=False)

def test_more_clusters_than_units_fall_into_groups(data, tmp_path, monkeypatch):
    folder, p, y, names = data
    monkeypatch.setattr(streams, '_STEP', 1000) # the groups begin in the middle
    s = stream(folder, cluster='topic', units=50, progress=False)
    of = dict(zip(every := sorted(set(names)), streams._group_of_names(every, 50, 0), strict=True))
    assert s.unit == 'random groups of clusters' and s.names is None
    ours, theirs = stream_intervals(s, draws=100), in_memory(p, y, np.array([of[t] for t in names]), draws=100)
    for k in ours: close(ours[k][:3], theirs[k][:3])
    for order in (np.random.default_rng(1).permutation(N), np.argsort(names)): # at once, or one cluster after the other, so that full units are moved
        same(s, stream(put(tmp_path / 'x', dict(conf=p[order], correct=y[order], topic=names[order])), cluster='topic', units=50, progress=False))

def test_as_many_clusters_as_units_stay_apart(data):
    assert stream(data[0], cluster='topic', units=TOPICS, progress=False).unit == 'clusters'
    assert stream(data[0], cluster='topic', units=TOPICS - 1, progress=False).unit == 'random groups of clusters'

def test_one_more_cluster_when_the_units_are_full(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, '_STEP', 2)
    s = stream(put(tmp_path / 'x', dict(conf=[.5] * 8, correct=[1, 0] * 4, c=list('aabbccda'))), cluster='c', units=3, progress=False)
    assert s.unit == 'random groups of clusters' and s.n.sum() == 8

def test_clusters_of_every_type(data, tmp_path):
    folder, p, y, names = data
    want = stream(folder, cluster='topic', progress=False)
    for t in (pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        same(want, stream(put(tmp_path / 'x', dict(conf=p, correct=y, topic=pa.array(names).cast(t) if not pa.types.is_dictionary(t) else pa.array(names).dictionary_encode())), cluster='topic', progress=False))
    assert stream(folder, cluster='number', progress=False).names.tolist() == sorted({int(t.split()[1]) for t in names})

def test_reliability(data):
    folder, p, y, names = data
    for got, want in zip(stream_reliability(memory_of(folder, None, 1000)), reliability(p, y), strict=True): close(got, want, 1e-10)
    by, plain = stream_reliability(memory_of(folder, 'topic', 1000), draws=100, seed=2), reliability(p, y)
    for i in 0, 1, 4: close(by[i], plain[i])
    ids = bin_ids(p)
    for b, (lo, hi) in zip(np.unique(ids), zip(by.lo, by.hi, strict=True), strict=True):
        if b not in (4, 9, 14): continue
        hits, n = (np.bincount(np.unique(names, return_inverse=True)[1], w, TOPICS) for w in (y & (ids == b), ids == b))
        d = ratio_draws(hits, n, 100, 2)
        close((lo, hi), np.quantile(d, [.025, .975]))

def ratio_draws(a, b, draws, seed):
    from plcal_study.measure.bootstrap import resample_counts
    w = resample_counts(len(a), draws, seed).astype(float)
    return (a @ w) / (b @ w)

def test_a_bin_of_one_cluster_has_no_interval(tmp_path):
    c = stream_reliability(stream(put(tmp_path / 'x', dict(conf=[.1, .12, .9, .91, .9], correct=[0, 1, 1, 0, 1], c=list('aaaab'))), cluster='c', progress=False))
    assert c.n.tolist() == [2, 3] and np.isnan([c.lo[0], c.hi[0]]).all() and c.lo[1] <= c.acc[1] <= c.hi[1]
    c = stream_reliability(stream(put(tmp_path / 'x', dict(conf=[.1, .12, .9, .91, .9], correct=[0, 0, 1, 0, 1], c=list('abaab'))), cluster='c', progress=False))
    assert np.isnan(c.lo[0]) and c.acc[0] == 0 and c.hi[1] > c.lo[1] # nothing is right in the first bin

def test_null(data):
    folder, p, y, names = data
    ours, theirs = stream_null(memory_of(folder, 'topic', 1000), draws=300, seed=5), ece_null(p, y, cluster=names, draws=300, seed=5)
    close(ours.draws, theirs.draws)
    assert ours.p == theirs.p and ours.mean == pytest.approx(theirs.mean)
    ours, theirs = stream_null(memory_of(folder, None, 1000), draws=2000), ece_null(p, y, draws=2000)
    for q in (.05, .25, .5, .75, .95): assert np.quantile(ours.draws, q) == pytest.approx(np.quantile(theirs.draws, q), rel=.05)
    assert ours.p == theirs.p == 1 / 2001

def test_the_null_holds_where_there_is_nothing(tmp_path):
    "Calibrated answers are called miscalibrated about as often as said."
    rng, low = np.random.default_rng(3), 0
    for i in range(30):
        p = rng.uniform(.3, 1, 2000)
        low += stream_null(stream(put(tmp_path / 'x', dict(conf=p, correct=rng.random(2000) < p)), progress=False), draws=200, seed=i).p <= .1
    assert low <= 9 # 3 expected

def test_auroc_lies_between_its_bounds(data, tmp_path):
    folder, p, y, names = data
    lo, hi = stream_auroc(memory_of(folder, None, 1000))
    assert lo <= auroc(p, y) <= hi and hi - lo < 1e-2 # many ties
    lo, hi = stream_auroc(stream(put(tmp_path / 'x', dict(conf=(cells := np.arange(1, 2001) / 65536), correct=(right := np.random.default_rng(0).random(2000) < .5))), progress=False))
    assert lo == pytest.approx(auroc(cells, right), abs=1e-12) and hi == lo # one value a cell: no doubt is left

@pytest.mark.parametrize('values, dtype', [([0., .5, 1.], 'float16'), ([0., .1, 1 / 3, 1.], 'float32'), ([0., .1, 1 / 3, 1.], 'float64'), ([0, 1, 1], 'int8'), ([False, True], 'bool')])
def test_confidences_of_every_type(tmp_path, values, dtype):
    p, y = np.array(values, dtype), np.resize([0, 1], len(values))
    for grade in (np.int64, float, bool, np.uint8):
        s = stream(put(tmp_path / 'x', dict(conf=p, correct=y.astype(grade))), progress=False)
        close(s.conf.sum(), p.astype(float).sum())
        assert s.n.sum(0).tolist() == np.bincount(bin_ids(p), minlength=15).tolist()

def test_two_precisions_are_read_as_the_wider(tmp_path):
    p = np.array([.2, .4, .6, .8], np.float32) # above the edges 3/15 … in double precision, on them in single
    put(tmp_path / 'a', dict(conf=p, correct=[0, 1, 1, 1])); put(tmp_path / 'b', dict(conf=p.astype(float), correct=[0, 1, 1, 1]))
    one, two = (stream(f, progress=False).n.sum(0) for f in (tmp_path / 'a', [tmp_path / 'a', tmp_path / 'b']))
    assert one.tolist() == np.bincount(bin_ids(p), minlength=15).tolist()
    assert two.tolist() == np.bincount(bin_ids(np.r_[p, p].astype(float)), minlength=15).tolist()

def test_sums_lose_nothing(tmp_path):
    "A value that no binary fraction holds, a million times: the sum is right to the last digits."
    s = stream(put(tmp_path / 'x', dict(conf=np.full(1_000_000, .1), correct=np.zeros(1_000_000, bool))), units=2, progress=False)
    for got, each in ((s.conf.sum(), .1), (s.brier.sum(), .1**2), (s.nll.sum(), -math.log(.9)), (s.chance.sum(), .09)): assert abs(got / (each * 1e6) - 1) < 1e-11

def test_what_save_has_written(tmp_path):
    rng = np.random.default_rng(0)
    p = from_grades(rng.random(50), rng.random(50) < .5, cluster=np.repeat(list('abcde'), 10))
    s = stream(save(p, tmp_path / 'a.parquet'), cluster='cluster', progress=False)
    close(stream_intervals(s, draws=50)['brier_top'][:3], bootstrap(brier_top, p.conf, p.correct, cluster=p.cluster, draws=50)[:3])

def test_folders_and_lists(data, tmp_path):
    folder = data[0]
    want = memory_of(folder, 'topic', 1000)
    same(want, stream(sorted(folder.iterdir())[::-1], cluster='topic', units=1000, progress=False))
    deep = tmp_path / 'a' / 'b'
    deep.mkdir(parents=True)
    for f in folder.iterdir(): (deep / f.name).write_bytes(f.read_bytes())
    for name in ('_metadata.parquet', '.crc.parquet'): (deep / name).write_bytes(b'no table')
    same(want, stream(str(tmp_path), cluster='topic', units=1000, progress=False))
    put(tmp_path / 'none', dict(conf=np.zeros(0), correct=np.zeros(0, bool), topic=np.zeros(0, str)))
    same(want, stream([folder, tmp_path / 'none'], cluster='topic', units=1000, progress=False)) # a file without rows is no fault

def test_the_readers_of_logs_point_here(data):
    with pytest.raises(ValueError, match=r'read Parquet files that memory does not hold by plcal_study\.measure\.streams'): read_log(data[0])

def test_bar(data, capfd):
    stream(data[0])
    out, err = capfd.readouterr()
    assert 'reading' in err and '100k' in err and not out
    stream(data[0], progress=False)
    assert capfd.readouterr() == ('', '')

CONF = st.floats(0, 1) | st.sampled_from([i / 15 for i in range(16)] + [.5, 1e-300, 1 - 1e-16])

@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_rows_however_cut(tmp_path_factory, d):
    rows = d.draw(st.lists(st.tuples(CONF, st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
    p, y, c = (np.array(x) for x in zip(*rows, strict=True))
    if len(set(c)) < 2: c[0] = 9
    p = p.astype(d.draw(st.sampled_from([np.float32, np.float64])))
    cuts = sorted(d.draw(st.lists(st.integers(0, len(p)), max_size=4)))
    folder = put(tmp_path_factory.mktemp('h'), dict(conf=p, correct=y, c=c), cuts)
    streams._STEP, old = d.draw(st.integers(1, 20)), streams._STEP
    try: s = stream(folder, cluster='c', units=10, progress=False)
    finally: streams._STEP = old
    frame = pd.DataFrame(dict(c=c, bin=bin_ids(p), p=p.astype(float), y=y))
    for want, got in ((frame.groupby(['c', 'bin']).p.sum(), s.conf), (frame.groupby(['c', 'bin']).y.sum(), s.correct), (frame.groupby(['c', 'bin']).y.count(), s.n)):
        close(got, want.unstack(fill_value=0).reindex(columns=range(15), fill_value=0))
    got = stream_intervals(s, draws=10)
    for k in ('acc', 'conf', 'conf_gap', 'brier_top', 'nll_top'): close(got[k].estimate, METRICS[k](p, y))
    assert 0 <= got['ece15'].lo <= got['ece15'].hi <= 1
    close(stream_reliability(s, draws=10).acc, reliability(p, y).acc)
    if 0 < y.sum() < len(y):
        lo, hi = stream_auroc(s)
        assert lo - 1e-12 <= auroc(p, y) <= hi + 1e-12
    assert nll_top(p, y) == pytest.approx(got['nll_top'].estimate)
