"`plcal run` and `plcal status`, on a question whose cells take no time."
import importlib.util, json, signal, subprocess, sys, time
from pathlib import Path
import pandas as pd, pytest
import fake_question
from fake_question import alive
from plcal_study.study import cli
from plcal_study.study.cli import main
from plcal_study.study.runs import Run, Summary, run_id


@pytest.fixture(autouse=True)
def question(monkeypatch): monkeypatch.setitem(cli.QUESTIONS, 'fake', 'fake_question')

def files(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*') if p.is_file())


def test_run_status_and_run_again(tmp_path, capsys):
    out = tmp_path / 'fake'
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(out), '--workers', '2']) == 0
    said = capsys.readouterr()
    assert 'fake at scale smoke: 4 cells done now, 0 done before' in said.out and f"records: {out / 'records'}" in said.out and 'about' in said.err
    assert pd.read_csv(out / 'records' / 'fake_cells.csv').values.tolist() == [[0, 1], [1, 1]] * 2
    assert json.loads((out / 'records' / 'fake_question_about.json').read_text()) == dict(scale='smoke', cells=4)
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(out)]) == 0
    assert '0 cells done now, 4 done before, 0 failed' in capsys.readouterr().out
    for where in out, tmp_path: # a folder of results, or one that holds many
        assert main(['status', '--out', str(where)]) == 0
        shown = capsys.readouterr().out
        assert f'{out}: 4 of 4 cells done' in shown and f"records: {out / 'records'}" in shown
        rows = [line.split() for line in shown.splitlines()]
        assert ['fake', 'smoke', 'a', '2', '0', '0', '0', '0', '0', '1', 's'] in rows or ['fake', 'smoke', 'a', '2', '0', '0', '0', '0', '0', '0', 's'] in rows

def test_only_a_part_writes_no_records(tmp_path, capsys):
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path), '--only', 'b']) == 0
    assert '2 cells done now' in capsys.readouterr().out and not (tmp_path / 'records').exists()
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path), '--only', 'c']) == 1
    assert "fake has no part 'c' at scale smoke; there are: a, b" in capsys.readouterr().err
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path)]) == 0
    assert '2 cells done now, 2 done before' in capsys.readouterr().out and (tmp_path / 'records').exists()

def test_a_failed_cell_is_said_by_status_line_and_exit_code(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fake_question, 'grid', lambda scale: [Run('fake', 'a', t, 'coin') for t in ('write', 'fail', 'kill')])
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert '1 cells done now, 0 done before, 2 failed' in said.out and 'the records do without them' in said.out
    assert 'ValueError: loss is NaN at step 7; lower lr' in said.err and 'killed by SIGKILL' in said.err and len(pd.read_csv(tmp_path / 'records' / 'fake_cells.csv')) == 1
    assert main(['status', '--out', str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert f"failed: {run_id(Run('fake', 'a', 'fail', 'coin'))} a fail coin\n  ValueError: loss is NaN" in shown

@pytest.mark.parametrize('scale, n, total', [('smoke', 4, 'in all 4 cells, 6 s one after the other; about 3 s with 2 at a time'), ('paper', 1000, 'in all 1,000 cells, 139 h 01 min')])
def test_a_dry_run_lists_every_cell_and_touches_nothing(tmp_path, capsys, monkeypatch, scale, n, total):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None) # without the extra lm too
    assert main(['run', 'fake', '--scale', scale, '--dry-run', '--workers', '2']) == 0
    out = capsys.readouterr().out
    ids = {run_id(r) for r in fake_question.grid(scale)}
    assert {line.split()[0] for line in out.splitlines()} >= ids and len(ids) == n and total in out and not files(tmp_path)

def test_without_the_extra_the_way_out_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path)]) == 1
    assert "torch is missing; pip install 'plcal_study[lm]'" in capsys.readouterr().err and not files(tmp_path)
    (tmp_path / 'needs_torch.py').write_text('import tokenizers_that_are_not_here')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.QUESTIONS, 'fake', 'needs_torch')
    monkeypatch.setattr(cli, '_LM', ('tokenizers_that_are_not_here',))
    assert main(['run', 'fake', '--scale', 'smoke', '--dry-run']) == 1
    assert "tokenizers_that_are_not_here is missing; pip install 'plcal_study[lm]'" in capsys.readouterr().err

@pytest.mark.parametrize('argv, says', [
    (['run', 'q99', '--scale', 'smoke'], "argument question: invalid choice: 'q99'"), (['run', 'q1', '--scale', 'huge'], "argument --scale: invalid choice: 'huge'"),
    (['run', 'q1'], 'the following arguments are required: --scale'), (['run', 'q1', '--scale', 'smoke', '--workers', 'two'], "argument --workers: expected a whole number from 1, got 'two'"),
    *[([*argv, '--workers', n], f"argument --workers: expected a whole number from 1, got '{n}'") for argv in (['run', 'q1', '--scale', 'smoke'], ['doctor'], ['extract', '--model', 'm', '--task', 'arc']) for n in ('0', '1.5')]])
def test_an_unknown_question_or_scale_is_wrong_usage(capsys, argv, says):
    with pytest.raises(SystemExit) as e: main(argv)
    assert e.value.code == 2 and says in capsys.readouterr().err

def test_what_tells_more_of_cells_that_failed_at_an_address(tmp_path, capsys, monkeypatch):
    from plcal_study.study import cluster
    monkeypatch.setattr(cluster, 'run_on_ray', lambda *what, **how: Summary((), (), ('0' * 12,), 1.))
    assert main(['run', 'fake', '--scale', 'smoke', '--ray', 'local', '--out', 's3://b/q']) == 1
    said = capsys.readouterr().out
    assert 'see s3://b/q/runs/ID.failed.json, and bring what is finished here by `plcal gather s3://b/q --out DIR`' in said and 'plcal status' not in said

def test_other_faults_are_one_line(tmp_path, capsys):
    for argv, says in [(['status', '--out', 'nowhere'], 'nothing was run in nowhere'),
                       (['run', 'fake', '--scale', 'smoke', '--data-dir', 'nowhere'], "data folder 'nowhere', which is no folder")]:
        assert main(argv) == 1
        err = capsys.readouterr().err
        assert says in err and err.startswith('plcal: ') and err.count('\n') == 1
    assert not files(tmp_path)

def test_the_data_folder_reaches_the_workers(tmp_path, monkeypatch):
    monkeypatch.setenv('PLCAL_DATA', 'elsewhere')
    assert main(['run', 'fake', '--scale', 'smoke', '--data-dir', str(tmp_path), '--out', str(tmp_path / 'out')]) == 0
    assert {json.loads(p.read_text())['data'] for p in tmp_path.rglob('said.json')} == {str(tmp_path.resolve())}
    assert cli.os.environ['PLCAL_DATA'] == 'elsewhere', 'the caller keeps its own'

def test_ctrl_c_in_the_shell(tmp_path):
    script = (f"import signal, sys; sys.path[:] = {sys.path!r}; signal.signal(signal.SIGINT, signal.default_int_handler)\nimport fake_question\nfrom plcal_study.study import cli\nfrom plcal_study.study.runs import Run\n"
              "cli.QUESTIONS['fake'] = 'fake_question'; fake_question.grid = lambda scale: [Run('fake', 'a', t, 'coin') for t in ('write', 'long')]\n"
              "fake_question.cost = lambda r: 5. * (r.task == 'write')\n"
              f"sys.exit(cli.main(['run', 'fake', '--scale', 'smoke', '--out', {str(tmp_path)!r}, '--workers', '1']))")
    p = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 15
    while not list(tmp_path.rglob('.*.partial/checkpoint')): time.sleep(.02); assert time.monotonic() < end
    pid = int(next(tmp_path.rglob('.*.partial/pid')).read_text())
    p.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = p.communicate(timeout=10)
    assert p.returncode == 130 and time.monotonic() - start < 2 and not alive(pid)
    assert err.splitlines()[-1] == 'plcal: interrupted; 1 of 2 cells are finished, and the others go on where they are when you run the same command again'

def test_help_needs_no_heavy_part():
    script = "import sys\nfrom plcal_study.study.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: print(sorted({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == '[]'

def test_shares_of_a_grid_and_what_they_gather_to(tmp_path, capsys):
    for i in (1, 2, 3):
        assert main(['run', 'fake', '--scale', 'smoke', '--shard', f'{i}/3', '--out', str(tmp_path / f'part{i}')]) == 0
        assert not (tmp_path / f'part{i}' / 'records').exists()
    capsys.readouterr()
    assert main(['gather', *(str(tmp_path / f'part{i}') for i in (1, 2, 3)), '--out', str(tmp_path / 'all')]) == 0
    said = capsys.readouterr().out
    assert '4 cells came, 0 were there already, 0 were refused' in said and f"plcal run QUESTION --scale SCALE --out {tmp_path / 'all'}" in said
    assert main(['run', 'fake', '--scale', 'smoke', '--out', str(tmp_path / 'all')]) == 0
    assert '0 cells done now, 4 done before' in capsys.readouterr().out and (tmp_path / 'all' / 'records' / 'fake_cells.csv').exists()
    damaged = next((tmp_path / 'part1' / 'runs').glob('*/said.json'))
    damaged.write_text('{')
    assert main(['gather', str(tmp_path / 'part1'), '--out', str(tmp_path / 'other')]) == 1
    assert f'{damaged} has 1 bytes, it had' in capsys.readouterr().out

def test_status_knows_the_cells_of_other_shares(tmp_path, capsys):
    assert main(['run', 'fake', '--scale', 'smoke', '--shard', '2/2', '--out', str(tmp_path)]) == 0
    assert main(['status', '--out', str(tmp_path)]) == 0
    assert '2 of 4 cells done' in capsys.readouterr().out

@pytest.mark.parametrize('more, says', [
    (['--shard', '0/3'], "shard must be i/n with i from 1 to n, e.g. 3/16, got '0/3'"), (['--shard', '9/9'], 'share 9/9 of fake at scale smoke is empty: there are 4 cells'),
    (['--out', 's3://bucket/x'], "out is the address 's3://bucket/x', where only a cluster can write"), (['--ray', '127.0.0.1:1'], 'ray')])
def test_shares_and_addresses_that_there_are_not(tmp_path, capsys, monkeypatch, more, says):
    monkeypatch.chdir(tmp_path)
    assert main(['run', 'fake', '--scale', 'smoke', *more]) == 1
    assert says in capsys.readouterr().err
