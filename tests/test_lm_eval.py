"Our log-likelihoods and picks against those of lm-evaluation-harness 0.4.13, kept in lm_eval_golden.json by benchmarks/lm_eval_golden.py."
import hashlib, importlib.util, json, os
from pathlib import Path
import numpy as np
import pytest
from plcal_study.lm.extraction import read_options
from plcal_study.lm.models import load
from plcal_study.lm.prompts import Asked
from plcal_study.lm.scoring import Scorer

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / 'lm_eval_golden.json').read_text())
spec = importlib.util.spec_from_file_location('lm_eval_golden', HERE.parent / 'benchmarks' / 'lm_eval_golden.py')
maker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(maker)
WAYS = dict(acc='raw', acc_norm='char', acc_bytes='byte', acc_mutual_info='pmi') # their accuracy, our confidence
CLOSE = 1e-4


@pytest.fixture(scope='module', params=list(GOLDEN['models']))
def model(request):
    if request.param == 'neox': return request.param, *maker.neox(GOLDEN['neox'])
    folder = Path(os.environ.get('PLCAL_DATA', '.')).parent / 'models' / request.param
    if not folder.exists(): pytest.skip(f'the decoder {request.param} is not in the folder models beside the data')
    return request.param, *load(folder, 'causal')

def asked(task):
    "The questions of a task as `ask` would give them."
    rows = GOLDEN['questions']
    options = [tuple(maker.LETTERS[:len(r['options'])]) if task == 'letters' else tuple(r['options']) for r in rows]
    n = len(rows)
    return Asked(np.array([f'q{i}' for i in range(n)]), [r['prompt'][task] for r in rows], options, np.array([r['label'] for r in rows]), None, None, {}, np.zeros(n, int), dict(task=task, n=n))

def table(rows): return np.array([np.pad(np.array(r, float), (0, 6 - len(r)), constant_values=np.nan) for r in rows])

def divided(found, q):
    "Their log-likelihoods, as each of our five ways weighs them."
    given, alone = (table([r[name] for r in found['rows']]) for name in ('given', 'alone'))
    return dict(raw=given, char=given / table([[len(o) for o in own] for own in q.options]), byte=given / table([[len(o.encode()) for o in own] for own in q.options]),
                token=given / table([r['tokens'] for r in found['rows']]), pmi=given - alone)

def agree(found, ours, q):
    "The same numbers five ways, the same picks and the same four accuracies."
    theirs = divided(found, q)
    for name, p in ours.items():
        z = np.pad(p.logits, ((0, 0), (0, 6 - p.logits.shape[1])), constant_values=np.nan)
        np.testing.assert_allclose(z, theirs[name], atol=CLOSE, rtol=0, err_msg=name, strict=True)
    for j, (metric, name) in enumerate(WAYS.items()):
        assert np.nanargmax(ours[name].logits, 1).tolist() == [r['picks'][j] for r in found['rows']], metric # of equal options the first, as theirs
        assert ours[name].correct.mean() == pytest.approx(found['accuracy'][j]), metric



# ---- what is kept

def test_the_kept_record_is_what_its_maker_asks():
    "A question changed in the script, and not in the record, would go unseen."
    assert GOLDEN['questions'] == [dict(prompt={t: maker.prompt(t, q, o) for t in maker.DELIMITER}, options=o, label=y) for q, o, y in maker.QUESTIONS]
    assert (GOLDEN['neox'], GOLDEN['delimiter'], tuple(GOLDEN['metrics']), GOLDEN['versions']['lm-eval']) == (maker.NEOX, maker.DELIMITER, maker.METRICS, '0.4.13')

def test_the_kept_record_can_tell_the_ways_apart():
    "The four accuracies pick differently, options differ in their numbers of tokens and of bytes a letter, and some are equal."
    picks = np.array([r['picks'] for m in GOLDEN['models'].values() for t in m['tasks'].values() for r in t['rows']])
    assert all((picks[:, a] != picks[:, b]).any() for a in range(4) for b in range(a))
    for m in GOLDEN['models'].values():
        tokens = [r['tokens'] for r in m['tasks']['options']['rows']]
        assert {len(t) for t in tokens} == {2, 3, 4, 5, 6} and min(map(min, tokens)) <= 2 and max(map(max, tokens)) > 15
    assert any(1 in r['tokens'] for r in GOLDEN['models']['neox']['tasks']['letters']['rows'])
    options = [r['options'] for r in GOLDEN['questions']]
    assert any(len(set(o)) < len(o) for o in options) and any(len(x.encode()) > len(x) for o in options for x in o)

def test_the_model_is_the_one_that_was_read(model):
    "If this fails and the real decoder agrees, torch's generator or the training of tokenizers has changed: make the record anew."
    name, net, tokenizer = model
    kept = GOLDEN['models'][name]
    assert hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16] == kept['tokenizer']
    assert maker.weights(net) == pytest.approx(kept['weights'], rel=1e-6, abs=1e-6)


# ---- the same numbers

@pytest.mark.parametrize('task, share, batch_tokens', [('options', True, 2048), ('options', False, 512), ('letters', True, 512), ('space', True, 2048)])
def test_the_numbers_of_lm_eval(model, task, share, batch_tokens):
    name, net, tokenizer = model
    q = asked(task)
    agree(GOLDEN['models'][name]['tasks'][task], read_options(Scorer(net, tokenizer, batch_tokens, share), q), q)

def test_a_newline_belongs_to_the_prompt(model):
    "lm-eval counts all white space that ends a prompt to the option, we count spaces alone: a constant of the question, so the raw picks are the same."
    name, net, tokenizer = model
    q, found = asked('newline'), GOLDEN['models'][name]['tasks']['newline']
    ours = read_options(Scorer(net, tokenizer), q)
    apart = ours['raw'].logits - divided(found, q)['raw']
    assert np.nanmax(np.nanmax(apart, 1) - np.nanmin(apart, 1)) < CLOSE and np.nanmin(apart) > .01
    for j, way in ((0, 'raw'), (3, 'pmi')): assert np.nanargmax(ours[way].logits, 1).tolist() == [r['picks'][j] for r in found['rows']]


# ---- live, where lm-eval is there

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('task', ['options', 'letters', 'space'])
def test_lm_eval_itself(model, task, tmp_path):
    pytest.importorskip('lm_eval', reason='lm-eval is not in this environment: that of benchmarks/peers.txt has it')
    _, net, tokenizer = model
    q = asked(task)
    agree(maker.lm_eval(net, tokenizer, task, tmp_path), read_options(Scorer(net, tokenizer), q), q)
