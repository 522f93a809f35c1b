"`plcal extract`, killed again and again: the same command goes on, and its files have the bytes of one that was left alone."
import os, subprocess, sys
from pathlib import Path
import pytest
from test_kill import LONG

pytest.importorskip('torch')
HERE = Path(__file__).parent

def ask(out, kills):
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(HERE), *sys.path]), PYTHONWARNINGS='ignore')
    p = subprocess.run([sys.executable, str(HERE / 'extract_again.py'), str(out), str(kills)], env=env, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return int(p.stdout)

def test_nothing_that_was_asked_is_lost(tmp_path):
    kills = 40 if LONG else 4
    assert ask(tmp_path, 0) == 0
    os.rename(tmp_path / 'runs' / 'extract', tmp_path / 'undisturbed')
    expected = {f.name: f.read_bytes() for f in (tmp_path / 'undisturbed').iterdir()}
    assert len(expected) == 5 and ask(tmp_path, kills) == kills
    for folder in [tmp_path / 'runs' / 'extract', *tmp_path.glob('whole-*')]:
        assert {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob('*') if f.is_file()} == expected, folder
