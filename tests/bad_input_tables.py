"Tables that must be refused, with what the message must say; run by the one shared test."
import tempfile
from pathlib import Path
import pandas as pd
from plcal_study.measure.tables import read_columns, read_table


def _t(columns=None, skip_bad=False, filter=None, **cols): return read_table(pd.DataFrame(cols), columns, filter, skip_bad, quiet=True)

def _f(text, name='a.csv', **how):
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / name).write_bytes(text)
        return read_table(path, quiet=True, **how)

CASES = [
    ('nothing to read',           lambda: _t(question=['a'], text=['b']), ValueError, "needs a confidence and a grade"),
    ('unknown role',              lambda: _t(dict(confidence='c'), c=[.5], correct=[1]), ValueError, "columns must map conf, correct"),
    ('column not there',          lambda: _t(dict(conf='c'), d=[.5], correct=[1]), ValueError, "columns['conf'] names 'c', which the table does not have"),
    ('column misspelt',           lambda: _t(dict(conf='p_mx'), p_max=[.5], correct=[1]), ValueError, "did you mean 'p_max'?"),
    ('column is a number',        lambda: _t(dict(conf=3), p_max=[.5], correct=[1]), ValueError, "must be the name of a column or a list"),
    ('two confidences',           lambda: _t(conf=[.5], msp=[.6], correct=[1]), ValueError, "'conf' and 'msp' could all be the conf"),
    ('two grades',                lambda: _t(conf=[.5], acc=[1], hit=[1]), ValueError, "'acc' and 'hit' could all be the correct"),
    ('two clusters',              lambda: _t(conf=[.5] * 4, correct=[1] * 4, subject=list('aabb'), topic=list('abab')), ValueError, "'subject' and 'topic' could both be the cluster"),
    ('logits and probs',          lambda: _t(logits=[[0., 1.]], probs=[[.3, .7]], label=[0]), ValueError, "both logits ('logits') and probs ('probs')"),
    ('percentages',               lambda: _t(conf=[.5, 90.], correct=[1, 0]), ValueError, "row 1 (from 0): conf (conf) must lie in [0, 1], got 90.0"),
    ('confidence missing',        lambda: _t(conf=[.5, None], correct=[1, 0]), ValueError, "row 1 (from 0): conf"),
    ('grade of 2',                lambda: _t(conf=[.5], correct=[2]), ValueError, "must hold 0 and 1 (or False and True), got 2"),
    ('grade in words',            lambda: _t(conf=[.5], correct=['maybe']), ValueError, "got 'maybe'"),
    ('label from 1',              lambda: _t(probs=[[.5, .5]], label=[2]), ValueError, "do the labels count from 1?"),
    ('label of 0.5',              lambda: _t(probs=[[.5, .5]], label=[.5]), ValueError, "must be an option from 0 to 1"),
    ('label is the grade',        lambda: _t(probs=[[.5, .5]], label=[True]), ValueError, "is it the grade?"),
    ('logits as probs',           lambda: _t(probs=[[2., 3.]], label=[0]), ValueError, "sum to at most 1, got [2.0, 3.0]"),
    ('one option',                lambda: _t(probs=[[1.]], label=[0]), ValueError, "two or more options, got [[1.0]]"),
    ('a score is missing',        lambda: _t(logits=[[1., None]], label=[0]), ValueError, "two or more options"),
    ('impossible options',        lambda: _t(logits=[[-float('inf')] * 2], label=[0]), ValueError, "must be finite, or -inf"),
    ('no list',                   lambda: _t(dict(probs='p'), p=[.5], label=[0]), ValueError, "must hold lists, one score for each option"),
    ('grade contradicts',         lambda: _t(probs=[[.9, .1]], label=[0], acc=[0], skip_bad=True), ValueError, "but option 0 has the largest score and option 0 is right"),
    ('kinds differ',              lambda: _t(conf=[.5], pred=['a'], label=[1]), ValueError, "must be of one kind"),
    ('uid missing',               lambda: _t(conf=[.5, .5], correct=[1, 1], id=['a', None]), ValueError, "uid (id) must be there"),
    ('uid twice',                 lambda: _t(conf=[.5, .5], correct=[1, 1], id=['a', 'a']), ValueError, "question 'a' (id) stands in row 0"),
    ('score infinite',            lambda: _t(dict(scores=['s']), conf=[.5], correct=[1], s=[float('inf')]), ValueError, "score 's' must be finite"),
    ('filter without value',      lambda: _t(filter='a', conf=[.5], correct=[1]), ValueError, "filter must read 'name=value'"),
    ('filter: no column',         lambda: _t(filter='seed=1', conf=[.5], correct=[1]), ValueError, "filter names 'seed', which the table does not have"),
    ('filter: no row',            lambda: _t(filter='seed=1', conf=[.5], correct=[1], seed=[0]), ValueError, "which no row has; there are 0"),
    ('all rows bad',              lambda: _t(conf=[2.], correct=[1], skip_bad=True), ValueError, "no row could be read"),
    ('no rows',                   lambda: _t(conf=[], correct=[]), ValueError, "no rows"),
    ('csv: empty',                lambda: _f(b''), ValueError, "the first line must name the columns"),
    ('csv: no header',            lambda: _f(b'.5,1\n.6,0\n'), ValueError, "the first line must name the columns, got '.5,1'"),
    ('csv: ragged',               lambda: _f(b'conf,correct\n.5,1\n.6\n'), ValueError, "a.csv: line 3: 2 columns expected, got 1"),
    ('csv: another encoding',     lambda: _f('conf,correct,é\n.5,1,x\n'.encode('latin-1')), ValueError, "line 1: not UTF-8 text"),
    ('csv: a name twice',         lambda: _f(b'conf,conf\n.5,1\n'), ValueError, "two columns are named 'conf'"),
    ('jsonl: cut off',            lambda: _f(b'{"conf": .5, "correct": 1}\n{"conf": ', 'a.jsonl'), ValueError, "a.jsonl, line 1: not JSON"),
    ('jsonl: no UTF-8',           lambda: _f(b'{"id": "a", "conf": 0.5, "correct": 1}\n{"id": "\xb2", "conf": 0.5, "correct": 1}\n', 'a.jsonl'), ValueError, "a.jsonl, line 2: not JSON"),
    ('parquet: none',             lambda: _f(b'PAR1', 'a.parquet'), ValueError, "not a readable Parquet file"),
    ('xls',                       lambda: _f(b'x', 'a.xls'), ValueError, "must be csv, tsv, parquet or jsonl, got 'xls'"),
    ('several splits',            lambda: read_table(dict(train=1, test=2)), ValueError, "must be one split, got 'train', 'test'"),
    ('no table',                  lambda: read_table(3), ValueError, "must be a file, a data frame or a data set, got int"),
    ('columns: no table',         lambda: read_columns(3), ValueError, "got int"),
]
