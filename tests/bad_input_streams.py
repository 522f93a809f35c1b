"Data sets that must be refused, with what the message must say; run by the one shared test."
import tempfile
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from plcal_study.measure.streams import stream, stream_auroc, stream_intervals, stream_null, stream_reliability


def _s(*files, data=None, **how):
    "A stream over files of these columns, or of these bytes."
    with tempfile.TemporaryDirectory() as folder:
        for i, columns in enumerate(files): pq.write_table(pa.table(columns), Path(folder) / f'part-{i}.parquet')
        if data is not None: (Path(folder) / 'part-9.parquet').write_bytes(data)
        return stream(folder, progress=False, **how)

def _cut(rows=20_000):
    "A file whose pages are damaged, its footer not."
    pq.write_table(pa.table(dict(conf=np.linspace(0, 1, rows), correct=np.arange(rows) % 2)), sink := pa.BufferOutputStream())
    raw = bytearray(sink.getvalue().to_pybytes())
    raw[100:3000] = bytes(2900)
    return bytes(raw)

OK = dict(conf=[.5, .6], correct=[1, 0], c=['a', 'b'])
ONE = dict(conf=[.5, .6], correct=[1, 1])

CASES = [
    ('no such file',            lambda: stream('nowhere.parquet'), FileNotFoundError, "nowhere.parquet is not there; source must be a Parquet file"),
    ('an empty folder',         lambda: _s(), ValueError, "holds no file that ends in .parquet"),
    ('an empty list',           lambda: stream([]), ValueError, "at least one Parquet file, got an empty list"),
    ('a file twice',            lambda: stream([__file__, __file__]), ValueError, "bad_input_streams.py twice; its rows would count twice"),
    ('no Parquet',              lambda: _s(data=b'conf,correct\n.5,1\n'), ValueError, "part-9.parquet: not a readable Parquet file"),
    ('damaged pages',           lambda: _s(OK, data=_cut()), ValueError, "part-9.parquet: damaged after row 0"),
    ('no such column',          lambda: _s(dict(confs=[.5], correct=[1])), ValueError, "part-0.parquet: conf names 'conf', which stands 0 times among its columns 'confs', 'correct'; did you mean 'confs'?"),
    ('missing in the last',     lambda: _s(OK, dict(conf=[.5])), ValueError, "part-1.parquet: correct names 'correct'"),
    ('column is a number',      lambda: _s(OK, conf=1), ValueError, "conf must be the name of a column, got 1"),
    ('one column for two',      lambda: _s(OK, correct='conf'), ValueError, "must be columns of their own, got 'conf', 'conf'"),
    ('confidence in words',     lambda: _s(dict(conf=['high'], correct=[1])), ValueError, "conf (conf) must hold numbers, got string"),
    ('grade in words',          lambda: _s(dict(conf=[.5], correct=['yes'])), ValueError, "correct (correct) must hold 0 and 1 (or False and True), got string"),
    ('cluster of floats',       lambda: _s(dict(conf=[.5], correct=[1], c=[.5]), cluster='c'), ValueError, "cluster (c) must hold names or integers, got double"),
    ('cluster of two kinds',    lambda: _s(OK, dict(conf=[.5], correct=[1], c=[1]), cluster='c'), ValueError, "cluster (c) must be of one kind, got text in"),
    ('percentage',              lambda: _s(OK, dict(conf=[.5, 60.], correct=[1, 0])), ValueError, "part-1.parquet: row 1 (from 0): conf (conf) must lie in [0, 1], got 60.0; logits or percentages?"),
    ('confidence below 0',      lambda: _s(dict(conf=[-.1, .6], correct=[1, 0])), ValueError, "row 0 (from 0): conf (conf) must lie in [0, 1], got -0.1"),
    ('confidence NaN',          lambda: _s(dict(conf=[.1, float('nan')], correct=[1, 0])), ValueError, "row 1 (from 0): conf (conf) must lie in [0, 1], got nan"),
    ('confidence missing',      lambda: _s(dict(conf=[.1, None], correct=[1, 0])), ValueError, "row 1 (from 0): conf (conf) is missing"),
    ('far down',                lambda: _s(dict(conf=np.r_[np.full(300_000, .5), 2], correct=np.ones(300_001))), ValueError, "row 300000 (from 0): conf"),
    ('grade of 2',              lambda: _s(dict(conf=[.1, .2], correct=[1, 2])), ValueError, "row 1 (from 0): correct (correct) must hold only 0 and 1 (or False and True), got 2; labels instead of grades?"),
    ('grade NaN',               lambda: _s(dict(conf=[.1, .2], correct=[1, float('nan')])), ValueError, "correct (correct) must hold only 0 and 1 (or False and True), got nan"),
    ('grade missing',           lambda: _s(dict(conf=[.1, .2], correct=[True, None])), ValueError, "row 1 (from 0): correct (correct) is missing"),
    ('cluster missing',         lambda: _s(dict(conf=[.1, .2], correct=[1, 0], c=['a', None]), cluster='c'), ValueError, "row 1 (from 0): cluster (c) is missing"),
    ('no rows',                 lambda: _s(dict(conf=np.zeros(0), correct=np.zeros(0))), ValueError, "holds no rows; at least two answers are needed"),
    ('one row',                 lambda: _s(dict(conf=[.5], correct=[1])), ValueError, "at least 2 random groups of rows are needed, got 1"),
    ('one cluster',             lambda: _s(dict(conf=[.5, .6], correct=[1, 0], c=[7, 7]), cluster='c'), ValueError, "at least 2 clusters are needed, got 1"),
    ('one unit',                lambda: _s(OK, units=1), ValueError, "units must be a whole number of at least 2, got 1"),
    ('bins of 0',               lambda: _s(OK, bins=0), ValueError, "bins must be a whole number of at least 1"),
    ('seed below 0',            lambda: _s(OK, seed=-1), ValueError, "seed must be an integer of at least 0, got -1"),
    ('level of 95',             lambda: stream_intervals(_s(OK), level=95), ValueError, "level must lie between 0 and 1, got 95"),
    ('one draw',                lambda: stream_intervals(_s(OK), draws=1), ValueError, "draws must be an integer of at least 2, got 1"),
    ('curve: one draw',         lambda: stream_reliability(_s(OK), draws=1), ValueError, "draws must be an integer of at least 2, got 1"),
    ('null: no draw',           lambda: stream_null(_s(OK), draws=0), ValueError, "draws must be a whole number of at least 1, got 0"),
    ('null: seed below 0',      lambda: stream_null(_s(OK), seed=-1), ValueError, "seed must be an integer of at least 0"),
    ('AUROC of one class',      lambda: stream_auroc(_s(ONE)), ValueError, "correct must hold right and wrong answers for an AUROC, got 2 right and 0 wrong"),
]
