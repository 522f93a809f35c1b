"`plcal extract`: a grid of tasks, prompts and shots asked of a real tiny model, and what it says when something is wrong."
import importlib.util, json, os, subprocess, sys
import numpy as np, pytest

pytest.importorskip('torch')
from plcal_study.lm import extraction, models, tasks, testbed
from plcal_study.lm.examples import Examples, Task, take
from plcal_study.lm.training import train
from plcal_study.measure.predictions import load
from plcal_study.study.cli import main
import two_processes

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


# ---- several processes
@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "What two processes did that torchrun has started: their folder, and what they said."
    out = tmp_path_factory.mktemp('two')
    two_processes.model(out)
    p = subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--rdzv_backend=c10d', '--rdzv_endpoint=localhost:0', two_processes.__file__, str(out)],
                       capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true', CUDA_VISIBLE_DEVICES='', PYTHONPATH=os.pathsep.join(sys.path)))
    return out, p

@pytest.fixture
def alone(two, tmp_path, monkeypatch):
    "The same by one process: asked in the folder that is named."
    two_processes.prepare(monkeypatch.setattr)
    (tmp_path / 'tiny').symlink_to(two[0] / 'tiny')
    return tmp_path

def test_two_processes_ask_as_one(two, alone, capsys):
    "The files have the same bytes; each question is read once, by one or the other; the first alone speaks; a fault in the second is told by the first, and both go on."
    out, p = two
    said = [json.loads((out / f'seen-{i}.json').read_text()) for i in (0, 1)]
    assert [s['codes'] for s in said] == [[two_processes.ask(alone, *args) for args in two_processes.TOGETHER]] * 2 == [[0, 0, 0, 1]] * 2
    one = capsys.readouterr()
    files = {f.name: f.read_bytes() for f in (alone / 'asked').glob('*.parquet')}
    assert files == {f.name: f.read_bytes() for f in (out / 'asked').glob('*.parquet')} and len(files) == 10
    for mode, shots in (('letters', 0), ('letters', 1), ('permuted', 0), ('tokens', 0), ('options', 0)):
        own = [[u for m, n, task, uids in s['seen'] for u in uids if (m, n, task) == (mode, shots, 'toy')] for s in said]
        assert [len(x) for x in own] == [16, 12] and sorted(own[0] + own[1]) == sorted(two_processes.toy()['test'].uid), mode
    assert [x for x in p.stdout.splitlines() if 'asked' not in x] == [x for x in one.out.splitlines() if 'asked' not in x]
    assert f"plcal: broken, its own prompt, 0 shots, options: process 1 of 2: option 1 of question '{two_processes.BROKEN}' is empty" in p.stderr

def test_one_that_dies_is_noticed_and_one_process_ends_the_work(two, alone, monkeypatch):
    "The first does not wait for ever; what both have read is not read again, and the files have the bytes of an undisturbed run."
    out, p = two
    assert p.returncode and (out / 'last.txt').read_text() == '1'
    assert 'plcal: another process of this extraction has ended before its share was done' in p.stderr and 'the same command goes on, with any number of processes' in p.stderr
    args, parts, read, seen = ['--task', 'toy', '--prompt', 'quiz'], out / 'asked' / '.toy-tiny-quiz-0shot-letters.parts', extraction._read, []
    assert sorted(f.stem for f in parts.glob('0*.json')) == ['00000', '00001', '00002', '00003', '00004', '00006']
    monkeypatch.setattr(extraction, '_read', lambda plan, rows, kept=None: (seen.append(len(rows)), read(plan, rows, kept))[1])
    assert two_processes.ask(out, *args) == 0 and seen == [4] and not parts.exists()
    assert two_processes.ask(alone, *args) == 0
    a, b = ((d / 'asked' / 'toy-tiny-quiz-0shot-letters.parquet').read_bytes() for d in (out, alone))
    assert a == b

def test_a_decoder_that_is_spread_learns_and_is_saved_as_the_whole_one(two):
    "FSDP, layer by layer: the losses of both processes, and the weights in the file that all of them gather, are those of one process."
    (lm, rows), said = two_processes.learner(), [json.loads((two[0] / f'seen-{i}.json').read_text()) for i in (0, 1)]
    losses = train(lm, rows, two_processes.LEARN).losses
    for s in said:
        np.testing.assert_allclose(s['losses'], losses, rtol=1e-5)
        assert max(s['again']) < losses[0] and np.isfinite(s['again']).all() # it goes on from what it has learnt
    assert said[0]['layers'] == ['FSDPGPTNeoXLayer'] * 2
    saved = dict(models.load(two[0] / 'spread', 'causal')[0].named_parameters())
    for n, p in lm.model.named_parameters(): np.testing.assert_allclose(saved[n].detach(), p.detach(), rtol=0, atol=1e-5)
    assert len(saved) == len(list(lm.model.parameters()))

def test_several_processes_need_a_folder_and_a_gpu_each(folder, monkeypatch):
    for k, v in dict(RANK='5', WORLD_SIZE='8', LOCAL_RANK='5').items(): monkeypatch.setenv(k, v)
    with pytest.raises(ValueError, match='8 processes share an extraction through its folder, and none was given; give out='): extraction.extract(folder, toy())
    with pytest.raises(ValueError, match="device auto spreads one model over all GPUs, and 8 processes would each do so; start one process"): extraction.open_model(folder, device='auto')
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    assert [extraction._device(d) for d in (None, 'cuda', 'cuda:3', 'cpu')] == ['cuda:1', 'cuda:1', 'cuda:3', 'cpu']
    monkeypatch.setenv('WORLD_SIZE', '1')
    assert [extraction._device(d) for d in (None, 'auto')] == ['cuda', 'auto']
