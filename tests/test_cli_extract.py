"`plcal extract`: a grid of tasks, prompts and shots asked of a real tiny model, and what it says when something is wrong."
import importlib.util, json
import numpy as np, pytest

pytest.importorskip('torch')
from plcal_study.lm import extraction, models, tasks, testbed
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.measure.predictions import load
from plcal_study.study.cli import main

WORDS = 'the a cat dog house tree sat ran what is in can run . ? : A B C D Question Answer Response'.split()


def toy(data=None, seed=0, long=False):
    n = 9
    e = Examples([f'q{i}' for i in range(n)], ['what can run ?' + (' the cat sat' * 40 if long and i == 4 else '') for i in range(n)], np.arange(n) % 3, options=[('the cat', 'the house', 'a tree')] * n)
    return Task('long' if long else 'toy', dict(train=take(e, [7, 8]), test=take(e, range(7))))

@pytest.fixture(autouse=True)
def known(monkeypatch, tmp_path):
    monkeypatch.setitem(tasks.TASKS, 'toy', toy)
    monkeypatch.setitem(tasks.TASKS, 'long', lambda data=None, seed=0: toy(long=True))
    monkeypatch.chdir(tmp_path)

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "A tiny decoder in the hub's layout."
    tokenizer = testbed.train_tokenizer([' '.join(WORDS)], keep=WORDS)
    model = models.build('llama', (2, 32, 2), tokenizer, 'causal', initializer_range=.3, max_position_embeddings=100)
    return str(models.save(model, tokenizer, tmp_path_factory.mktemp('models') / 'tiny'))

def names(d): return sorted(p.name for p in d.iterdir())


def test_every_task_prompt_and_number_of_shots_has_a_file(folder, tmp_path, capsys):
    args = ['extract', '--model', folder, '--task', 'toy', '--prompt', 'plain,quiz', '--shots', '0,1', '--out', str(tmp_path / 'out')]
    assert main(args) == 0
    said = capsys.readouterr()
    assert names(tmp_path / 'out') == [f'toy-tiny-{p}-{s}shot-letters.parquet' for p in ('plain', 'quiz') for s in (0, 1)]
    p = load(tmp_path / 'out' / 'toy-tiny-quiz-1shot-letters.parquet')
    assert (p.meta['prompt'], p.meta['shots'], p.meta['model'], p.meta['dtype'], p.meta['attention']) == ('quiz', 1, 'tiny', 'float32', 'sdpa') and len(p) == 7
    assert f'accuracy {p.correct.mean():.3f}, mean confidence {p.conf.mean():.3f}, ECE15' in said.out and f"predictions: {tmp_path / 'out'}" in said.out and '100%' in said.err
    before = {f.name: f.read_bytes() for f in (tmp_path / 'out').iterdir()}
    assert main(args) == 0 and before == {f.name: f.read_bytes() for f in (tmp_path / 'out').iterdir()} and '100%' not in capsys.readouterr().err # nothing is asked again

def test_all_definitions_of_a_mode_are_written(folder, tmp_path):
    for mode, keys in (('options', ('byte', 'char', 'pmi', 'raw', 'token')), ('permuted', ('given', ''))):
        assert main(['extract', '--model', folder, '--task', 'toy', '--mode', mode, '--out', str(tmp_path / mode)]) == 0
        assert names(tmp_path / mode) == sorted(f"toy-tiny-{'bare' if mode == 'options' else 'plain'}-0shot-{mode}{'-' * bool(k)}{k}.parquet" for k in keys)
    assert np.isclose(load(tmp_path / 'permuted' / 'toy-tiny-plain-0shot-permuted.parquet').scores['place_A'].mean(), extraction.position_bias(load(tmp_path / 'permuted' / 'toy-tiny-plain-0shot-permuted.parquet')).mass[0])

def test_a_dry_run_says_the_cost_and_writes_nothing(folder, tmp_path, capsys):
    assert main(['extract', '--model', folder, '--task', 'toy', '--shots', '0,1', '--out', str(tmp_path / 'out'), '--dry-run']) == 0
    said = capsys.readouterr().out
    q = extraction.ask(toy(), prompt='plain')
    tokens = sum(len(x) for x in models._ids(models.load(folder, 'causal')[1], q.prompt))
    assert f'toy, its own prompt, 0 shots, letters: 7 questions, {tokens:,} tokens, ' in said and 'GB, about' in said and 'in all; nothing was written' in said and not (tmp_path / 'out').exists()

def test_a_failed_extraction_is_named_and_the_others_go_on(folder, tmp_path, capsys):
    args = ['extract', '--model', folder, '--task', 'long,toy', '--out', str(tmp_path / 'out')]
    assert main(args) == 1
    assert "plcal: long, its own prompt, 0 shots, letters: the prompt of question 'q4' has" in capsys.readouterr().err and 'toy-tiny-plain-0shot-letters.parquet' in names(tmp_path / 'out')
    assert main(['extract', '--model', folder, '--task', 'long', '--truncate', '--out', str(tmp_path / 'cut')]) == 0
    assert load(tmp_path / 'cut' / 'long-tiny-plain-0shot-letters.parquet').meta['truncated'] == 1

def test_p_true_and_16_bits_are_said_in_the_file(folder, tmp_path):
    words = [*WORDS, 'True', 'False']
    tokenizer = testbed.train_tokenizer([' '.join(words)], keep=words)
    home = models.save(models.build('llama', (2, 32, 2), tokenizer, 'causal', initializer_range=.3), tokenizer, tmp_path / 'm')
    assert main(['extract', '--model', str(home), '--task', 'toy', '--p-true', '--dtype', 'bfloat16', '--name', 'mine', '--out', str(tmp_path / 'out')]) == 0
    p = load(tmp_path / 'out' / 'toy-mine-plain-0shot-letters.parquet')
    assert (0 < p.scores['p_true']).all() and (p.scores['p_true'] < 1).all() and p.meta['dtype'] == 'bfloat16' and 0 < p.meta['dtype_error'] < 1 and p.meta['dtype_checked'] == 7

def test_an_interruption_says_what_stays_and_the_same_command_goes_on(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(extraction, '_CHUNK', 3)
    read, seen = extraction._read, []
    def interrupted(plan, rows, kept=None):
        if len(seen) == 1: raise KeyboardInterrupt
        seen.append(rows.tolist())
        return read(plan, rows, kept)
    monkeypatch.setattr(extraction, '_read', interrupted)
    args = ['extract', '--model', folder, '--task', 'toy', '--out', str(tmp_path / 'out')]
    assert main(args) == 130
    said = capsys.readouterr().err
    assert 'plcal: interrupted; 3 of 7 questions in all; the same command goes on' in said
    monkeypatch.setattr(extraction, '_read', lambda plan, rows, kept=None: (seen.append(rows.tolist()), read(plan, rows, kept))[1])
    assert main(args) == 0 and sorted(i for rows in seen for i in rows) == list(range(7)) and names(tmp_path / 'out') == ['toy-tiny-plain-0shot-letters.parquet']
    monkeypatch.setattr(extraction, '_CHUNK', 256)
    monkeypatch.setattr(extraction, '_read', read)
    assert main([*args[:-1], str(tmp_path / 'whole')]) == 0
    a, b = (load(tmp_path / d / 'toy-tiny-plain-0shot-letters.parquet') for d in ('out', 'whole'))
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-5)
    assert a.uid.tolist() == b.uid.tolist() and json.dumps(a.meta) == json.dumps(b.meta)

@pytest.mark.parametrize('change, says', [
    (['--task', 'nosuch'], "no task is named 'nosuch'"), (['--model', 'nowhere/at/all'], 'cannot be had from the hub'), (['--model', './gone'], 'there is no folder gone'),
    (['--chat'], 'the tokenizer has no chat template'), (['--prompt', 'third'], "no prompt is named 'third'"), (['--prompt', 'bare'], "mode 'letters' asks for a letter"),
    (['--split', 'dev'], "task toy has no split 'dev'"), (['--limit', '0'], 'limit must be a whole number of at least 1')])
def test_faults_are_one_line(folder, tmp_path, capsys, monkeypatch, change, says):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    assert main(['extract', '--model', folder, '--task', 'toy', '--out', str(tmp_path / 'out'), *change]) == 1
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith('plcal:')]
    assert len(lines) == 1 and says in lines[0]

def test_every_token_of_a_text_in_windows_of_ones_choice(folder, tmp_path, capsys):
    for out, more in (('a', []), ('b', ['--window', '4', '--stride', '1'])): assert main(['extract', '--model', folder, '--task', 'toy', '--mode', 'tokens', '--out', str(tmp_path / out), *more]) == 0
    a, b = (load(tmp_path / x / 'toy-tiny-text-0shot-tokens.parquet') for x in 'ab')
    assert a.uid.tolist() == b.uid.tolist() and b.meta['window'] == 4 and not np.allclose(a.scores['logprob'], b.scores['logprob'])
    assert main(['extract', '--model', folder, '--task', 'toy', '--mode', 'tokens', '--window', '1', '--out', str(tmp_path / 'c')]) == 1 and 'window must be a whole number of at least 2' in capsys.readouterr().err

def test_without_the_extra_the_way_out_is_named(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert main(['extract', '--model', 'm', '--task', 'toy']) == 1
    assert "torch is missing; pip install 'plcal_study[lm]'" in capsys.readouterr().err

def test_wrong_usage(capsys):
    for argv, says in [(['extract', '--task', 'toy'], '--model'), (['extract', '--model', 'm', '--task', 'toy', '--mode', 'letter'], 'invalid choice'), (['extract', '--model', 'm', '--task', 'toy', '--shots', 'two'], 'invalid')]:
        with pytest.raises(SystemExit) as e: main(argv)
        assert e.value.code == 2 and says in capsys.readouterr().err
