"`plcal doctor`: what is here, what is missing or broken and what to do, and what a scale would cost."
import json, os, subprocess, sys
from pathlib import Path
import pytest
from plcal_study.study import cli, doctor
from plcal_study.study.cli import main
from plcal_study.study.doctor import Finding

ROOT = Path(__file__).parents[1]
BARE = '''
import importlib.util, sys
gone = {names}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in gone: raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Hide())
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.split('.')[0] in gone else real(name, package)
import importlib.metadata as m
version = m.version
def hidden(name):
    if name in gone: raise m.PackageNotFoundError(name)
    return version(name)
m.version = hidden
from plcal_study.study.cli import main
sys.exit(main({argv}))
'''
LM = ('torch', 'transformers', 'datasets', 'accelerate', 'peft', 'trl', 'safetensors', 'tokenizers', 'sklearn', 'scikit-learn')

def bare(tmp_path, *argv, names=LM, **env):
    "plcal in a process of its own, where these packages are hidden."
    return subprocess.run([sys.executable, '-c', BARE.format(names=set(names), argv=list(argv))], capture_output=True, text=True, cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(ROOT)) | env)

def by_name(part): return {f.name: f for f in part}


def test_without_the_extra_all_is_well_and_the_scales_are_priced(tmp_path):
    p = bare(tmp_path, 'doctor', '--json')
    said = json.loads(p.stdout)
    assert p.returncode == said['exit'] == 0 and 'nothing is broken' in p.stderr
    found = {f['name']: f for f in said['findings']}
    assert found['extra lm']['state'] == 'note' and found['extra lm']['said'].startswith('torch, ') and ' missing: models can be' in found['extra lm']['said'] and "plcal_study[lm]" in found['extra lm']['todo']
    assert found['GPU']['said'] == 'not asked for, as torch is missing' and found['the measuring floor']['state'] == 'ok'
    assert {(r['question'], r['scale']) for r in said['prices']} == {(q, s) for q in cli.QUESTIONS for s in doctor.SCALES} and all(r['seconds'] > 0 for r in said['prices'])
    assert all(f['todo'] for f in said['findings'] if f['state'] != 'ok') and not os.listdir(tmp_path), 'nothing is left'

def test_grids_that_cannot_be_loaded_are_said(monkeypatch, tmp_path):
    (tmp_path / 'needs.py').write_text('import torch_that_is_not_here')
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.prices(dict(q='needs')) == ([], 'not known, as torch_that_is_not_here is missing: install the extra lm to price the scales')

@pytest.mark.parametrize('gone, says', [('scipy', 'FAULT scipy: scipy is missing'), ('pyarrow', 'FAULT pyarrow: pyarrow is missing')])
def test_a_broken_installation_is_status_1_and_says_what_to_do(tmp_path, gone, says):
    p = bare(tmp_path, 'doctor', names=(gone, *LM))
    assert p.returncode == 1 and says in p.stdout and 'FAULT the measuring floor: does not work (ModuleNotFoundError' in p.stdout and 'pip install .' in p.stdout and 'Traceback' not in p.stderr

def test_quiet_says_what_is_broken_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, 'gpus', lambda: [])
    (tmp_path / 'results').touch()
    assert main(['doctor', '--quiet', '--out', str(tmp_path / 'results')]) == 1
    out = capsys.readouterr().out.strip().splitlines()
    assert out[0] == 'results' and out[1].strip().startswith('FAULT folder:') and out[1].endswith('is a file') and out[-1] == '1 thing is broken: see FAULT above' and len(out) == 5

# ---- parts ---------------------------------------------------------------------------------------------------------------
def test_what_the_installed_package_needs_is_what_settings_say(monkeypatch):
    monkeypatch.setattr(doctor, 'requires', lambda name: ['numpy>=2.0', 'wn==0.0.23; extra == "eda"', 'torch>=2.6 ; extra == "lm"', "nbdev<3,>=2.4.14; extra == 'dev'", 'tqdm'])
    assert doctor.needs() == dict(numpy='2.0', tqdm='') and doctor.needs('lm') == dict(torch='2.6') and doctor.needs('dev') == dict(nbdev='2.4.14') and doctor.needs('eda') == dict(wn='0.0.23')

def test_versions_are_compared_as_numbers(monkeypatch):
    here = dict(a='2.10', b='2.9', c='2.13.0+cpu', d='3.0rc1')
    monkeypatch.setattr(doctor, 'version', here.__getitem__)
    assert doctor.installed(dict(a='2.9', b='2.10', c='2.13', d='3.0'))[2] == ['b 2.9 is older than 2.10']

def test_wrong_arithmetic_is_a_fault(monkeypatch):
    from plcal_study.measure import metrics
    monkeypatch.setattr(metrics, 'ece', lambda *a: .4 + 1e-6)
    assert doctor._floor().state == 'fault' and 'computes wrongly' in doctor._floor().said

def test_gpus_are_named_with_their_memory(monkeypatch):
    monkeypatch.setattr(doctor, 'gpus', lambda: [('NVIDIA T4', 16_000_000_000, 15_500_000_000)])
    assert by_name(doctor.device())['GPU'].said == 'NVIDIA T4, 16.0 GB, 15.5 GB free'
    def broken(): raise OSError('libcuda is not here')
    monkeypatch.setattr(doctor, 'gpus', broken)
    assert by_name(doctor.device())['torch'] == Finding('device', 'torch', 'fault', 'cannot be loaded: libcuda is not here', 'install it again: pip install --force-reinstall torch')

def test_gpus_that_torch_and_the_runner_count_differently_are_said(monkeypatch):
    monkeypatch.setattr(doctor, 'gpus', lambda: [('NVIDIA T4', 16_000_000_000, 15_500_000_000)])
    for said, differs in ('0', False), ('0,1', True), ('-1', True):
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', said)
        assert ('GPU count' in by_name(doctor.device())) == differs

def test_every_extra_that_a_user_may_want_is_known():
    import configparser
    c = configparser.ConfigParser()
    c.read(ROOT / 'settings.ini')
    extras = {k.removesuffix('_requirements') for k in c['DEFAULT'] if k.endswith('_requirements')}
    assert set(doctor._EXTRAS) == extras - {'dev', 'docs', 'colab'}

def test_little_memory_or_disk_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, 'memory_free', lambda: int(1e9))
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda p: type('U', (), dict(free=int(1e9))))
    assert by_name(doctor.device())['memory'].state == 'note' and '--workers' in by_name(doctor.device())['memory'].todo
    assert by_name(doctor.results(tmp_path))['disk'].state == 'note'

def test_texts_are_here_damaged_at_the_hub_or_nowhere(tmp_path):
    from plcal_study.lm.tasks import files
    assert by_name(doctor.data(tmp_path)).keys() >= {'tasks at the hub', 'tasks nowhere'}
    own = {f: n for f, (n, _) in files().items() if f.startswith('sst5/')}
    for f, n in own.items():
        (tmp_path / f).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f).write_bytes(b' ' * n)
    found = by_name(doctor.data(tmp_path))
    assert found['tasks here'].said == '2 of 36: sst5, sst3' and 'sst5' not in found['tasks at the hub'].said.split(', ')
    first = next(iter(own))
    (tmp_path / first).write_bytes(b'')
    assert f'{first} has 0 of {own[first]:,} bytes' in by_name(doctor.data(tmp_path))['task sst5'].said
    (tmp_path / first).unlink()
    assert by_name(doctor.data(tmp_path))['task sst3'].said == f'{first} is missing' and by_name(doctor.data(tmp_path))['task sst3'].state == 'fault'

def test_the_published_results_are_here_missing_double_or_no_archive(tmp_path):
    place = tmp_path / 'plaut2024'
    assert by_name(doctor.data(tmp_path))['plaut2024'].todo == 'plcal data get plaut2024'
    place.mkdir()
    (place / 'a.tar.gz').write_bytes(b'\x1f\x8b\x08')
    assert by_name(doctor.data(tmp_path))['plaut2024'].said == f"here: {place / 'a.tar.gz'}"
    (place / 'b.tar.gz').touch()
    assert 'holds 2 copies' in by_name(doctor.data(tmp_path))['plaut2024'].said
    (place / 'a.tar.gz').unlink()
    assert by_name(doctor.data(tmp_path))['plaut2024'].state == 'fault' # an empty file

def test_the_encoder_and_the_models_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
    (tmp_path / 'models--google-bert--bert-base-uncased').mkdir()
    monkeypatch.setenv('PLCAL_ENCODER', str(tmp_path))
    encoder, hub = doctor.encoder()
    assert encoder.state == 'fault' and 'holds no model.safetensors' in encoder.said and hub.facts['kept'] == ['google-bert/bert-base-uncased']
    (tmp_path / 'model.safetensors').touch()
    assert next(doctor.encoder()).said == f'here: {tmp_path}'
    monkeypatch.delenv('PLCAL_ENCODER')
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    assert next(doctor.encoder()).state == 'note'

def test_without_jupyter_or_a_checkout_the_pages_are_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, 'find_spec', lambda name: None)
    monkeypatch.setattr(doctor.plcal_study, '__file__', str(tmp_path / 'plcal_study' / '__init__.py'))
    monkeypatch.setattr(doctor.shutil, 'which', lambda name: None)
    monkeypatch.setattr(doctor.sys, 'platform', 'linux')
    assert [f.state for f in doctor.pages()] == ['note'] * 3 and all(f.todo for f in doctor.pages())

def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def denied(**how): raise PermissionError(13, 'Permission denied')
    monkeypatch.setattr(doctor.tempfile, 'TemporaryFile', denied)
    f = next(doctor.results(tmp_path / 'a' / 'b'))
    assert (f.state, f.said) == ('fault', f'nothing can be written to {tmp_path}: Permission denied') and '--out' in f.todo

def test_the_time_here_is_an_equal_share_or_the_longest_cell():
    row = dict(question='q', scale='laptop', cells=3, seconds=90.)
    def here(**more): return ' '.join(doctor.price_table([row | more], 3).splitlines()[1].split()[-2:])
    assert here(longest=20.) == '30 s' or here(longest=20.).endswith('30 s')
    assert here(longest=80.) == '1 min 20 s'[-len(here(longest=80.)):]
    assert doctor.price_table([row | dict(longest=1., scale='paper')], 3).count('needs a GPU') == 1
