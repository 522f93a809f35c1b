"What the baselines must refuse, with what the message must say; run by the one shared test."
import numpy as np
from plcal_study.lm.baselines import LSTM, UNK, bag_of_words, lstm_rate, tf_idf, vocabulary
from plcal_study.lm.examples import Examples, Task

TRAIN = Examples(['1', '2', '3', '4'], ['fine film', 'dull film', 'warm film', 'cold film'], [1, 0, 1, 0])
PLAIN = Examples(['1', '2'], ['fine film', 'dull film'], None)
BLANK = Examples(['1', '2'], ['', ' '], [0, 1])
TASK = Task('films', dict(train=TRAIN), ('bad', 'good'))
V = vocabulary(TRAIN)
TINY = dict(embed=2, hidden=2)

CASES = [
    ('vocabulary: no words',        lambda: vocabulary(BLANK), ValueError, 'the vocabulary is empty'),
    ('vocabulary: no room',         lambda: vocabulary(TRAIN, 2), ValueError, 'limit must be at least 3'),
    ('LSTM: no unknown word',       lambda: LSTM(TASK, {'fine': 0}), ValueError, f'an entry {UNK!r}'),
    ('LSTM: empty vocabulary',      lambda: LSTM(TASK, {}), ValueError, f'an entry {UNK!r}'),
    ('LSTM: only the unknown word', lambda: LSTM(TASK, {UNK: 0}), ValueError, 'vocabulary is empty but for'),
    ('LSTM: no state',              lambda: LSTM(TASK, V, hidden=0), ValueError, 'hidden must be at least 1, got 0'),
    ('LSTM: no embedding',          lambda: LSTM(TASK, V, embed=0), ValueError, 'embed must be at least 1, got 0'),
    ('LSTM: no layer',              lambda: LSTM(TASK, V, layers=0), ValueError, 'layers must be at least 1, got 0'),
    ('LSTM: no word kept',          lambda: LSTM(TASK, V, max_length=0), ValueError, 'max_length must be at least 1, got 0'),
    ('LSTM: all dropped',           lambda: LSTM(TASK, V, dropout=1), ValueError, 'dropout must lie in [0, 1), got 1'),
    ('LSTM: options by row',        lambda: LSTM(Task('quiz', dict(test=TRAIN)), V), ValueError, 'at least 2 classes'),
    ('LSTM: labels of another task', lambda: LSTM(TASK, V, **TINY).encode(Examples(['1'], ['fine'], [2])), ValueError, 'label must lie in [0, 2), got 2'),
    ('lstm_rate: past the end',     lambda: lstm_rate(8.5), ValueError, 'epoch must lie in [0, 8]'),
]
for f in (bag_of_words, tf_idf):
    CASES += [
        (f'{f.__name__}: no words',     lambda f=f: f(BLANK, TRAIN), ValueError, 'the vocabulary is empty'),
        (f'{f.__name__}: no labels',    lambda f=f: f(PLAIN, TRAIN), ValueError, 'train needs labels'),
        (f'{f.__name__}: k too small',  lambda f=f: f(TRAIN, PLAIN, k=1), ValueError, 'must lie in [0, 1), got 1'),
        (f'{f.__name__}: no trees',     lambda f=f: f(TRAIN, PLAIN, trees=0), ValueError, 'trees must be at least 1, got 0'),
        (f'{f.__name__}: no features',  lambda f=f: f(TRAIN, PLAIN, max_features=0), ValueError, 'max_features must be at least 1, got 0'),
        (f'{f.__name__}: NaN for a text', lambda f=f: f(Examples(['1'], [np.nan], [0]), PLAIN), ValueError, 'a must be text'),
    ]
