"Bad inputs of `plcal_study.lm.examples`: (name, call, exception, part of the message)."
from dataclasses import replace
import numpy as np
from plcal_study.lm.examples import Examples, Task, cut, disjoint, few_shot, sample

E = Examples(['p', 'q', 'r'], ['one', 'two', 'three'], [0, 1, 0])

CASES = [
    ('no rows',                lambda: Examples([], [], []),                    ValueError, 'at least one example'),
    ('a uid twice',            lambda: replace(E, uid=['p', 'p', 'r']),         ValueError, 'uid must be unique'),
    ('a text missing',         lambda: replace(E, a=['one', None, 'three']),    ValueError, 'a must be text, got None in row 1'),
    ('a number for a text',    lambda: replace(E, b=['x', 'y', 3.]),            ValueError, 'b must be text, got 3.0 in row 2'),
    ('too few texts',          lambda: replace(E, a=['one']),                   ValueError, 'a must have 3 rows like uid, got 1'),
    ('labels as words',        lambda: replace(E, label=['yes', 'no', 'yes']),  ValueError, 'map names to numbers first'),
    ('labels as floats',       lambda: replace(E, label=[0., 1., 0.]),          ValueError, 'label must be integers'),
    ('no gold label',          lambda: replace(E, label=[0, -1, 0]),            ValueError, 'drop these rows'),
    ('labels too many',        lambda: replace(E, label=[0, 1]),                ValueError, 'label must have 3 rows'),
    ('label beyond options',   lambda: replace(E, options=[('x',)] * 3),        ValueError, 'must point at one of the options'),
    ('options too few',        lambda: replace(E, options=[('x', 'y')]),        ValueError, 'options must have 3 rows'),
    ('posterior not to 1',     lambda: replace(E, posterior=np.full((3, 2), .4)), ValueError, 'sum to 1'),
    ('posterior nan',          lambda: replace(E, posterior=np.full((3, 2), np.nan)), ValueError, 'sum to 1'),
    ('posterior one column',   lambda: replace(E, posterior=np.ones(3)),        ValueError, 'rows of probabilities'),
    ('extra too short',        lambda: replace(E, extra=dict(z=[1])),           ValueError, "extra['z'] must have 3 rows"),
    ('words and classes',      lambda: Task('t', dict(test=E), ('a', 'b'), ('x',)), ValueError, '1 label words for 2 classes'),
    ('words equal',            lambda: Task('t', dict(test=E), ('a', 'b'), ('x', 'x')), ValueError, 'share a label word'),
    ('label beyond classes',   lambda: Task('t', dict(test=E), ('a',)),         ValueError, 'label 1 is out of range for 1 classes'),
    ('splits share a uid',     lambda: Task('t', dict(train=E, test=E)),        ValueError, 'splits share examples'),
    ('shots of plain text',    lambda: few_shot(replace(E, label=None), 1),     ValueError, 'needs labels'),
    ('no shots',               lambda: few_shot(E, 0),                          ValueError, 'at least 1, got 0'),
    ('too many shots',         lambda: few_shot(E, 2),                          ValueError, 'at most 1, the size of the smallest class'),
    ('a sample of none',       lambda: sample(E, 0),                            ValueError, 'n must be at least 1'),
    ('shares above 1',         lambda: cut(E, dict(train=.9, test=.2)),         ValueError, 'sum to at most 1'),
    ('a share of 0',           lambda: cut(E, dict(train=1., test=0.)),         ValueError, 'must be positive shares'),
    ('clusters missing',       lambda: cut(E, dict(train=.5, test=.5), by_cluster=True), ValueError, 'needs a cluster column'),
    ('nothing for a split',    lambda: cut(E, dict(train=.9, val=.05, test=.05)), ValueError, 'would be empty'),
    ('the same file twice',    lambda: disjoint(dict(train=E, test=replace(E, uid=list('xyz')))), ValueError, "every example of split 'train' occurs in a later split"),
]
