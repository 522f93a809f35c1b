"What training refuses, with what the message must say; run by the one shared test."
import tempfile
from dataclasses import replace
from functools import partial
import numpy as np, pytest

pytest.importorskip('torch')
from plcal_study.lm.examples import Examples
from plcal_study.lm.training import Training, log_steps, mean_loss, predict, predictions, read_probes, to_predictions, train

def _setting(**how): return Training(**(dict(steps=10) | how))

def _words(**how):
    from test_training import Words
    return Words(**how)

def _train(cfg=None, data=None, model=None, **how):
    from test_training import FIT
    return train(model or _words(), FIT if data is None else data, cfg or Training(steps=3, lr=.01), **how)

def _test(): return Examples(['x', 'y'], ['1 2', '3'], [0, 1])

def _language_model():
    from test_training import NextWord
    return NextWord()

def _frozen():
    m = _words()
    return m.requires_grad_(False)

def _in_folder(file=None, text=''):
    "Train into a folder in which something lies already."
    with tempfile.TemporaryDirectory() as d:
        from pathlib import Path
        if file:
            Path(d, file).parent.mkdir(exist_ok=True)
            Path(d, file).write_text(text)
        return _train(out=d)

FAULTS = dict(lr=[0, -1e-3, np.nan, np.inf, '1e-5', True], steps=[0, -1, 1.5, True], batch=[0, 2.5, '16'], micro=[0, 17], warmup=[-1, .1], horizon=[0], clip=[0, -1, np.nan], weight_decay=[-.1, np.nan],
              schedule=['warmup', ''], precision=['fp16', 'float32'], dropout=[True, 'yes'], seed=[-1, 1.5], checkpoint_every=[0, 2.5], eps=[0], betas=[(.9, 1.), (.9,)], no_decay=['bias'])

CASES = [(f'Training: {name}={value!r}', partial(_setting, **{name: value}), ValueError, f'{name} must be') for name, values in FAULTS.items() for value in values]
CASES += [
    ('Training: no length',             lambda: Training(), ValueError, 'give either steps or epochs'),
    ('Training: two lengths',           lambda: Training(steps=3, epochs=1), ValueError, 'give either steps or epochs'),
    ('Training: no epochs',             lambda: Training(epochs=0), ValueError, 'epochs must be a finite number above 0'),
    ('Training: endless',               lambda: Training(epochs=np.inf), ValueError, 'epochs must be'),
    ('train: no rows',                  lambda: _train(data=[]), ValueError, 'data is empty'),
    ('train: nothing to train',         lambda: _train(model=_frozen()), ValueError, 'no parameter to train'),
    ('train: rows of one word',         lambda: _train(model=_language_model(), data=Examples(['x'], ['1'], None)), ValueError, 'nothing to learn from'),
    ('train: probe beyond the end',     lambda: _train(probes=dict(t=_test()), probe_steps=[4]), ValueError, 'probe_steps must lie in [0, 3], the steps of this run, got 4'),
    ('train: probe before the start',   lambda: _train(probes=dict(t=_test()), probe_steps=[-1, 2]), ValueError, 'got -1'),
    ('train: probes never asked',       lambda: _train(probes=dict(t=_test())), ValueError, 'come together'),
    ('train: nobody to ask',            lambda: _train(probe_steps=[1]), ValueError, 'come together'),
    ('train: probes that go nowhere',   lambda: _train(probes=dict(t=_test()), probe_steps=[1]), ValueError, 'give out='),
    ('train: a probe named by a path',  lambda: _train(probes={'../t': _test()}, probe_steps=[1], on_probe=print), ValueError, "becomes a file name, got '../t'"),
    ('train: probes without labels',    lambda: _train(probes=dict(t=replace(_test(), label=None)), probe_steps=[1], on_probe=print), ValueError, 'need labels'),
    ('train: a class too many',         lambda: _train(data=Examples(['x'], ['1 2'], [3])), ValueError, 'data: labels must lie in [0, 3), the classes of the model, got 3'),
    ('train: a probe of other classes', lambda: _train(probes=dict(t=replace(_test(), label=[0, 7])), probe_steps=[3], on_probe=print), ValueError, 't: labels must lie in [0, 3)'),
    ('train: a probe of another world', lambda: _train(probes=dict(t=replace(_test(), posterior=np.full((2, 2), .5))), probe_steps=[3], on_probe=print), ValueError, 'must have 3 columns'),
    ('train: a language model probed',  lambda: _train(model=_language_model(), probes=dict(t=_test()), probe_steps=[0], on_probe=print), ValueError, 'no classes (k = 0)'),
    ('train: meta that is no JSON',     lambda: _in_meta(), ValueError, 'meta must hold JSON values only'),
    ('train: training.json is damaged',      lambda: _in_folder('training.json', '{"a'), ValueError, 'is damaged'),
    ('train: training.json of another run',  lambda: _in_folder('training.json', '{"version": "0.0.1"}'), ValueError, "version was '0.0.1'"),
    ('train: training.json is a list',       lambda: _in_folder('training.json', '[]'), ValueError, 'holds another run'),
    ('train: probes of nobody',         lambda: _in_folder('probes/x', ''), ValueError, 'left no training.json'),
    ('predict: no budget',              lambda: predict(_words(), _test(), 0), ValueError, 'batch_tokens must be at least 1, got 0'),
    ('train: shard alone',              lambda: _train(shard=True), ValueError, 'shard spreads a model over several processes, and there is one'),
    ('predict: a language model',       lambda: predict(_language_model(), _test()), ValueError, 'mean_loss'),
    ('predict: precision',              lambda: predict(_words(), _test(), precision='fp16'), ValueError, "precision must be 'fp32' or 'bf16', got 'fp16'"),
    ('mean_loss: one word',             lambda: mean_loss(_language_model(), Examples(['x'], ['1'], None)), ValueError, 'counts 0'),
    ('predictions: no labels',          lambda: predictions(_words(), replace(_test(), label=None)), ValueError, 'need labels'),
    ('predictions: another posterior',  lambda: predictions(_words(), replace(_test(), posterior=np.full((2, 2), .5))), ValueError, 'posterior must have the shape of the logits (2, 3)'),
    ('to_predictions: rows',            lambda: to_predictions(np.zeros((3, 3)), _test()), ValueError, 'must be 2 rows of logits, one for each example, got 3'),
    ('log_steps: one',                  lambda: log_steps(10, 1), ValueError, 'n must be at least 2'),
    ('log_steps: first after last',     lambda: log_steps(10, 3, 11), ValueError, 'first must lie between 1 and last = 10, got 11'),
    ('log_steps: from 0',               lambda: log_steps(10, 3, 0), ValueError, 'got 0'),
    ('read_probes: no folder',          lambda: read_probes('no/such/folder'), FileNotFoundError, 'no probes in'),
]

def _in_meta():
    with tempfile.TemporaryDirectory() as d: _train(out=d, meta=dict(model=object()))
