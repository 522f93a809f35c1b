"What the unlearnable methods refuse, with what the message must say; run by the one shared test."
from functools import partial
import numpy as np, pytest

torch = pytest.importorskip('torch')
from plcal_study.lm.unlearnable import Focal, LabelSmoothing, mc_dropout

def _bag(**how):
    from test_unlearnable import Bag
    return Bag(**dict(dropout=.1) | how)

def _ask(model=None, **how):
    from test_unlearnable import TEST
    return mc_dropout(model or _bag(), TEST, **how)

def _two_classes(criterion): return criterion(torch.zeros(1, 2), torch.tensor([0]))

FAULTS = [(LabelSmoothing, 'eps', [-.1, 1, np.nan, np.inf, '.1', None, True]), (Focal, 'gamma', [-1, -1e-9, np.nan, np.inf, '2', None, True])]
CASES = [(f'{f.__name__}: {name}={value!r}', partial(f, **{name: value}), ValueError, f'{name} must be a number in [0, ') for f, name, values in FAULTS for value in values]
CASES += [(f'mc_dropout: {name}={value!r}', partial(_ask, **{name: value}), ValueError, f'{name} must be a whole number of at least {least}, got {value!r}')
          for name, least, values in (('draws', 1, [0, -1, 2.5, '20', True, None]), ('seed', 0, [-1, .5, None])) for value in values]
CASES += [
    ('LabelSmoothing: summed by name',    lambda: LabelSmoothing(.1, 'sum'), ValueError, "summed must be True or False, got 'sum'"),
    ('LabelSmoothing: the label no more than others', lambda: _two_classes(LabelSmoothing(.5)), ValueError, 'eps must lie below 1 - 1/k = 0.5 for k = 2'),
    ('LabelSmoothing: the label turned round', lambda: _two_classes(LabelSmoothing(.9)), ValueError, 'got 0.9'),
    ('LabelSmoothing: one class',         lambda: LabelSmoothing(0)(torch.zeros(1, 1), torch.tensor([0])), ValueError, 'for k = 1'),
    ('mc_dropout: no dropout',            lambda: _ask(_bag(dropout=0.)), ValueError, 'nothing would vary: no layer of this Bag has a dropout above 0'),
    ('mc_dropout: no budget',             lambda: _ask(batch_tokens=0), ValueError, 'batch_tokens must be at least 1, got 0'),
    ('mc_dropout: precision',             lambda: _ask(precision='fp16'), ValueError, "precision must be 'fp32' or 'bf16', got 'fp16'"),
]
