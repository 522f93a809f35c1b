"What every part of `plcal` has in common: options, exit statuses, one-line errors, JSON, completion."
import json, os, re, shutil, subprocess, sys
from pathlib import Path
import numpy as np, pytest
import fake_question
from plcal_study.study import cli
from plcal_study.study.cli import main
from plcal_study.study.runs import Run

ROOT = Path(__file__).parents[1]
PLCAL = [sys.executable, '-c', 'import sys; from plcal_study.study.cli import main; sys.exit(main())']

@pytest.fixture(autouse=True)
def question(monkeypatch): monkeypatch.setitem(cli.QUESTIONS, 'fake', 'fake_question')

def shell(*argv, **how):
    "plcal in a process of its own."
    return subprocess.run([*PLCAL, *argv], capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(ROOT)), **how)

def fails(monkeypatch, error):
    def data(a): raise error
    monkeypatch.setattr(cli, '_data', data)


# ---- exit statuses -----------------------------------------------------------------------------------------------------
def test_the_exit_statuses_of_the_guide_are_those_of_the_manual():
    manual = dict(re.findall(r'^  (\d+) +(.+)$', cli.MANUAL.split('Exit status:')[1], re.M))
    guide = dict(re.findall(r'^\| (\d+) \| (.+) \|$', (ROOT / 'nbs' / 'guides' / 'command_line.md').read_text(), re.M))
    assert manual == guide and list(manual) == ['0', '1', '2', '70', '130', '141']

@pytest.mark.parametrize('error, code, says', [
    (ValueError('alpha must be in (0, 1), got 2'), 1, 'plcal: alpha must be in (0, 1), got 2'), (FileNotFoundError('no data'), 1, 'plcal: no data'), (ImportError('torch is missing'), 1, 'plcal: torch is missing'),
    (MemoryError(), 1, 'plcal: out of memory; ask for less at a time, e.g. fewer --workers'), (KeyboardInterrupt(), 130, 'plcal: interrupted; what was written is whole, run the same command again'),
    (KeyError('seed'), 70, f"plcal: unexpected KeyError: 'seed'; run again with --debug, and report it at {cli.REPORT}"), (RuntimeError('a\nb\n\n'), 70, 'plcal: unexpected RuntimeError: b; '), (AssertionError(), 70, 'plcal: unexpected AssertionError: no message; ')])
def test_every_error_is_one_line_and_a_status(monkeypatch, capsys, error, code, says):
    fails(monkeypatch, error)
    assert main(['data', 'list']) == code
    err = capsys.readouterr().err
    assert err.startswith(says) and err.count('\n') == 1
    assert main(['data', 'list', '--debug']) == code
    err = capsys.readouterr().err
    assert 'Traceback (most recent call last)' in err and 'raise error' in err and err.splitlines()[-1].startswith(says.split(' run again')[0])

def test_an_error_is_json_too(monkeypatch, capsys):
    fails(monkeypatch, KeyError('seed'))
    assert main(['data', 'list', '--json']) == 70
    said = capsys.readouterr()
    assert json.loads(said.out) | dict(error='') == dict(command='data', plcal_study=cli.plcal_study.__version__, exit=70, error='') and "KeyError: 'seed'" in json.loads(said.out)['error'] and said.err.startswith('plcal: ')

def test_a_pipe_that_is_gone(tmp_path):
    p = subprocess.run(['bash', '-c', f'set -o pipefail; {sys.executable} -c "import sys; from plcal_study.study.cli import main; sys.exit(main())" data list | true; echo ${{PIPESTATUS[0]}}'],
                       capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert p.stdout.strip() == '141' and p.stderr == ''

def test_the_version():
    p = shell('--version')
    assert (p.returncode, p.stdout) == (0, f'plcal_study {cli.plcal_study.__version__}\n')

# ---- options that every part knows ----------------------------------------------------------------------------------
PARTS = (['doctor'], ['report', 'x'], ['data', 'list'], ['data', 'get', 'x'], ['reproduce', 'plaut2024'], ['study'], ['run', 'q1', '--scale', 'smoke'], ['status'], ['extract', '--model', 'm', '--task', 'arc'])

@pytest.mark.parametrize('argv', PARTS, ids=' '.join)
def test_common_options_stand_before_or_after(argv):
    given = dict(quiet=True, json=True, debug=True, data_dir=Path('d'))
    more = ['--quiet', '--json', '--debug', '--data-dir', 'd']
    for a in (cli._parser().parse_args(line) for line in ([*more, *argv], [*argv, *more], [*more[:2], *argv, *more[2:]])): assert {k: getattr(a, k) for k in given} == given
    a = cli._parser().parse_args(argv)
    assert {k: getattr(a, k) for k in given} == dict(quiet=False, json=False, debug=False, data_dir=None)

def run_argv(tmp_path): return ['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path / 'out')]

def test_quiet_leaves_results_and_errors(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fake_question, 'grid', lambda scale: [Run('fake', 'a', t, 'coin') for t in ('write', 'fail')])
    assert main([*run_argv(tmp_path), '--quiet']) == 1
    said = capsys.readouterr()
    assert said.err == '' and [x.split(':')[0] for x in said.out.splitlines()] == ['fake at scale smoke', 'some cells failed, and the records do without them']
    assert main(['status', '--quiet', '--out', str(tmp_path / 'out')]) == 0
    assert 'runs:' not in capsys.readouterr().out
    assert main(['--quiet', 'data', 'list', '--data-dir', str(tmp_path)]) == 0
    assert 'data folder' not in capsys.readouterr().out

def test_no_bar_when_quiet(capsys):
    assert list(cli._bar('figures', True)([1, 2])) == [1, 2]
    step = cli._counter('rows', True)
    step(1, 2); step(2, 2)
    assert capsys.readouterr().err == ''
    assert list(cli._bar('figures')([1])) == [1] and 'figures' in capsys.readouterr().err

def test_run_and_status_as_json(tmp_path, capsys):
    assert main([*run_argv(tmp_path), '--json']) == 0
    said = capsys.readouterr()
    d = json.loads(said.out)
    assert (d['command'], d['exit'], len(d['done']), d['failed'], d['records']) == ('run', 0, 4, [], str(tmp_path / 'out' / 'records')) and 'fake at scale smoke' in said.err
    assert main(['--json', 'status', '--quiet', '--out', str(tmp_path)]) == 0
    said = capsys.readouterr()
    cells = json.loads(said.out)['folders'][0]['cells']
    assert len(cells) == 4 and {c['state'] for c in cells} == {'done'} and said.err == ''
    assert main([*run_argv(tmp_path), '--dry-run', '--json', '--workers', '2']) == 0
    d = json.loads(capsys.readouterr().out)
    assert (len(d['cells']), d['seconds'], d['wall']) == (4, 6, 3)

def test_data_list_as_json(tmp_path, capsys):
    assert main(['data', 'list', '--json', '--data-dir', str(tmp_path)]) == 0
    d = json.loads(capsys.readouterr().out)
    assert d['folder'] == str(tmp_path) and [(s['name'], s['at']) for s in d['datasets']] == [('plaut2024', None)]

def test_reproduce_as_json(plaut_data, tmp_path, capsys):
    assert main(['reproduce', 'plaut2024', '--data-dir', str(plaut_data), '--out', str(tmp_path), '--no-figures', '--json', '--quiet']) == 0
    said = capsys.readouterr()
    d = json.loads(said.out)
    assert (d['cells'], d['equal'], d['pinned'], d['figures'], said.err) == (1549, 1549, True, None, '')

def test_study_on_the_testbed_as_json(tmp_path, capsys):
    assert main(['study', '--testbed', '--records-only', '--out', str(tmp_path), '--json', '--quiet']) == 0
    said = capsys.readouterr()
    d = json.loads(said.out)
    assert d['cohort'] == 'testbed' and {v['verdict'] for v in d['verdicts']} <= {'replicates', 'contradicts', 'undecided'} and said.err == ''

def test_values_as_json_has_them():
    assert cli._plainly(dict(a=np.float64('nan'), b=np.int64(3), c=(Path('x'), None, True), d=float('inf'), e=np.bool_(True), f=np.float32(.5))) == dict(a=None, b=3, c=['x', None, True], d=None, e=True, f=.5)

# ---- completion ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def bash(tmp_path_factory):
    "The words that bash would offer for the last of these."
    script = tmp_path_factory.mktemp('bash') / 'plcal.bash'
    script.write_text(shell('--print-completion', 'bash').stdout)
    (script.parent / 'here').mkdir()
    def words(*line):
        ask = f'source {script}; COMP_WORDS=({" ".join(repr(w) for w in line)}); COMP_CWORD={len(line) - 1}; _shtab_plcal plcal "${{COMP_WORDS[-1]}}" x; printf "%s\\n" "${{COMPREPLY[@]}}"'
        return subprocess.run(['bash', '-c', ask], capture_output=True, text=True, check=True, cwd=script.parent).stdout.split()
    return words

@pytest.mark.parametrize('line, offered', [
    (['plcal', 'd'], ['doctor', 'data']), (['plcal', '--quiet', 'st'], ['study', 'status']), (['plcal', 'run', 'q'], list(cli.QUESTIONS)), (['plcal', 'run', 'q1', '--scale', 'la'], ['laptop']),
    (['plcal', 'data', 'get', ''], ['plaut2024']), (['plcal', 'extract', '--task', 'arc'], ['arc_challenge', 'arc_easy']), (['plcal', 'extract', '--prompt', 'f'], ['first']), (['plcal', 'run', 'q1', '--out', 'h'], ['here']),
    (['plcal', 'extract', '--model', 'h'], ['here']), (['plcal', 'status', '--js'], ['--json']), (['plcal', 'report', 'p'], ['plcal.bash']), (['plcal', 'report', 'x', '--out', 'p'], ['plcal.bash'])], ids=lambda x: ' '.join(x))
def test_bash_completes(bash, line, offered): assert [w for w in bash(*line) if w != 'fake'] == [w for w in offered if w != 'fake']

@pytest.mark.parametrize('name, check', [('zsh', ['zsh', '-n']), ('tcsh', ['tcsh', '-n'])])
def test_other_shells_can_read_theirs(tmp_path, name, check):
    p = shell('--print-completion', name)
    assert p.returncode == 0 and 'plcal' in p.stdout and 'laptop' in p.stdout
    (tmp_path / 'plcal').write_text(p.stdout)
    if shutil.which(name): assert subprocess.run([*check, str(tmp_path / 'plcal')], capture_output=True, text=True).stderr == ''

def test_an_unknown_shell_is_wrong_usage():
    assert shell('--print-completion', 'fish').returncode == 2

# ---- what is not there is left out, and said ---------------------------------------------------------------------------
def test_study_without_training_and_without_jupyter_ends_with_what_it_has(tmp_path, capsys, monkeypatch):
    from plcal_study.study import figures, pages
    def no_torch(a): raise ImportError(f"{a.question} trains models, and torch is missing; pip install 'plcal_study[lm]'")
    def no_jupyter(*a): raise ImportError('pages are run with jupyter: pip install jupyter')
    monkeypatch.setattr(cli, '_run', no_torch)
    monkeypatch.setattr(pages, 'run_page', no_jupyter)
    monkeypatch.setattr(figures, 'draw_all', lambda *a: None)
    monkeypatch.setattr(pages, 'testbed_cohort', lambda f=pages.testbed_cohort: f(n=120))
    monkeypatch.setattr(pages, 'make_records', lambda folder, *a, f=pages.make_records, **how: f(folder, *a, draws=50, nulls=100))
    assert main(['study', '--testbed', '--out', str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "torch is missing; pip install 'plcal_study[lm]'; left out: q1, q2, q3, q4, q5, q7" in out.replace(', fake', '') and 'pip install jupyter; the pages are left out' in out
    assert f'The results lie in {tmp_path}' in out and 'records/' in out

@pytest.mark.parametrize('option', ['--task', '--prompt', '--shots'])
@pytest.mark.parametrize('empty', ['', ','])
def test_a_list_that_names_nothing_is_a_wrong_command(capsys, option, empty):
    with pytest.raises(SystemExit) as e: main(['extract', '--model', 'm', *([] if option == '--task' else ['--task', 'mmlu']), option, empty])
    assert e.value.code == 2 and 'it names nothing' in capsys.readouterr().err

def test_a_folder_without_cells_has_none(tmp_path, capsys):
    (tmp_path / 'runs').mkdir()
    assert main(['status', '--out', str(tmp_path)]) == 0 and '0 of 0 cells done' in capsys.readouterr().out

def test_too_little_memory_on_a_gpu_is_no_fault_of_ours(capsys, monkeypatch):
    import torch
    def no(a): raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')
    monkeypatch.setattr(cli, '_extract', no)
    assert main(['extract', '--model', 'm', '--task', 'mmlu']) == 1 and 'plcal: out of memory' in capsys.readouterr().err
