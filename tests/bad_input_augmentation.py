"Bad inputs of `plcal_study.lm.augmentation`: (name, call, exception, part of the message)."
import numpy as np
from plcal_study.lm.augmentation import eda, random_deletion, random_insertion, random_swap, synonym_replacement
from plcal_study.lm.examples import Examples

E = Examples(['p', 'q'], ['one film', 'two'], [0, 1])
RNG = np.random.default_rng(0)
NONE = dict(synonyms=None)

CASES = [
    ('a text for words: swap',     lambda: random_swap('a film', 1, RNG),                       ValueError, "words must be a list of words, got the text 'a film'"),
    ('a text for words: delete',   lambda: random_deletion('a film', .1, RNG),                  ValueError, 'words must be a list of words'),
    ('a text for words: replace',  lambda: synonym_replacement('a film', 1, RNG),               ValueError, 'words must be a list of words'),
    ('a text for words: insert',   lambda: random_insertion('a film', 1, RNG),                  ValueError, 'words must be a list of words'),
    ('no swaps',                   lambda: random_swap(['a'], 0, RNG),                          ValueError, 'at least 1, got 0'),
    ('a share for a number',       lambda: random_swap(['a'], .1, RNG),                         ValueError, 'n must be a whole number of edits'),
    ('no replacements',            lambda: synonym_replacement(['a'], 0, RNG),                  ValueError, 'n must be a whole number of edits, at least 1, got 0'),
    ('no insertions',              lambda: random_insertion(['a'], -1, RNG),                    ValueError, 'at least 1, got -1'),
    ('p above 1',                  lambda: random_deletion(['a'], 1.5, RNG),                    ValueError, 'p must be a probability in [0, 1], got 1.5'),
    ('p nan',                      lambda: random_deletion(['a'], np.nan, RNG),                 ValueError, 'got nan'),
    ('a synonym for a list',       lambda: synonym_replacement(['film'], 1, RNG, dict(film='movie').get), ValueError, "synonyms('film') must be a list of words, got 'movie'"),
    ('synonyms with a gap',        lambda: random_insertion(['film'], 1, RNG, dict(film=['movie', None]).get), ValueError, 'must be a list of words'),
    ('no such field',              lambda: eda(E, 'text', **NONE),                              ValueError, "field must name a text of this split, a, got 'text'"),
    ('no second text',             lambda: eda(E, 'b', **NONE),                                 ValueError, "got 'b'"),
    ('the label is no text',       lambda: eda(E, 'label', **NONE),                             ValueError, 'field must name a text'),
    ('alpha 0',                    lambda: eda(E, alpha=0, **NONE),                             ValueError, 'alpha must be a share of the words in (0, 1], got 0'),
    ('alpha in percent',           lambda: eda(E, alpha=10, **NONE),                            ValueError, 'got 10'),
    ('alpha nan',                  lambda: eda(E, alpha=np.nan, **NONE),                        ValueError, 'got nan'),
    ('no copies',                  lambda: eda(E, copies=0, **NONE),                            ValueError, 'copies must be a whole number, at least 1, got 0'),
    ('half a copy',                lambda: eda(E, copies=.5, **NONE),                           ValueError, 'copies must be a whole number'),
    ('augmented twice',            lambda: eda(eda(E, **NONE), **NONE),                         ValueError, "uid 'p~1' says that this split is augmented already"),
    ('bad synonyms in a split',    lambda: eda(E, copies=4, synonyms=lambda w: w),              ValueError, 'must be a list of words'),
]
