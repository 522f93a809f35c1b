"The rules of the house that no reviewer should have to remember."
import ast, json, os, re, statistics, subprocess, sys
from configparser import ConfigParser
from pathlib import Path
import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ['measure', 'lm', 'study']
NBS = sorted(p for p in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
CELLS = {p: json.loads(p.read_text())['cells'] for p in NBS}
EXPORTS = re.compile(r'^#\|\s*export(s|i)?\b', re.M)

def source(cell): return ''.join(cell['source'])
def name(p): return str(p.relative_to(ROOT / 'nbs').with_suffix(''))
def module(p):
    "The module a notebook exports to, or None."
    return next((m[1] for c in CELLS[p] if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', source(c), re.M))), None)
def code(p): return [source(c) for c in CELLS[p] if c['cell_type'] == 'code']

LIBRARY = [p for p in NBS if module(p)]
ORDER = {module(p): (FLOORS.index(p.parent.name), p.name) for p in LIBRARY}

def imported(p):
    "Modules of ours that the generated file imports, wherever in the file."
    here = module(p).split('.')
    for n in ast.walk(ast.parse((ROOT / 'plcal_study' / Path(*here)).with_suffix('.py').read_text())):
        if isinstance(n, ast.ImportFrom) and n.level:
            above = here[:len(here) - n.level]
            if n.module and n.module not in FLOORS: yield '.'.join([*above, *n.module.split('.')])
            elif n.module: yield from (f'{n.module}.{a.name}' for a in n.names)
            else: yield from ('.'.join([*above, a.name]) for a in n.names)
        elif isinstance(n, ast.ImportFrom) and (n.module or '').startswith('plcal_study.'):
            m = n.module.removeprefix('plcal_study.')
            yield from (f'{m}.{a.name}' for a in n.names) if m in FLOORS else [m]
        elif isinstance(n, ast.Import): yield from (a.name.removeprefix('plcal_study.') for a in n.names if a.name.startswith('plcal_study.'))


@pytest.mark.parametrize('p', LIBRARY, ids=name)
def test_imports_point_down(p):
    "study → lm → measure, and inside a floor to lower numbers only."
    for m in imported(p): assert ORDER[m] < ORDER[module(p)], f'{module(p)} imports {m}, which stands above it'

def test_one_notebook_one_module():
    assert len(ORDER) == len(LIBRARY)
    for p in LIBRARY: assert module(p) == f"{p.parent.name}.{p.stem.split('_', 1)[1]}"

def test_measure_never_loads_torch():
    mods = [f'plcal_study.{m}' for m in ORDER if m.startswith('measure.')]
    script = f"import importlib, sys; [importlib.import_module(m) for m in {mods}]; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    out = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True)
    assert len(mods) >= 7 and out.stdout.strip() == '[]'

@pytest.mark.parametrize('p', NBS, ids=name)
def test_notebook_is_fit_for_review(p):
    assert p.stat().st_size < 300_000, 'too big to read in a diff: shrink or drop figures'
    assert not any(c.get('execution_count') for c in CELLS[p]), 'run nbdev_clean'
    assert not any(o['output_type'] == 'error' for c in CELLS[p] for o in c.get('outputs', [])), 'committed with an error'
    assert re.match(r'# \S.*\n\n> \S', source(CELLS[p][0])), 'the first cell is a title and a one-line summary'

@pytest.mark.parametrize('p', LIBRARY, ids=name)
def test_library_notebook_is_literate(p):
    exported = [s for s in code(p) if EXPORTS.search(s)]
    assert all(len([l for l in s.splitlines() if l.strip()]) <= 41 for s in exported), 'split the cell: 40 lines at most'
    assert not any(re.search(r'^from \S+ import \*', s, re.M) for s in exported), 'name what you import'
    assert not any(re.search(r'^#\|\s*eval:\s*false', s, re.M) for s in code(p)), 'a cell that never runs is no test'
    assert any(re.search(r'\bassert\b|test_(eq|close|fail|is)|assert_\w+\(', s) for s in code(p) if not EXPORTS.search(s)), 'asserts nothing'

def test_half_of_the_exported_cells_have_at_most_12_lines():
    lines = [len([l for l in s.splitlines() if l.strip() and not l.startswith('#|')]) for p in LIBRARY for s in code(p) if EXPORTS.search(s)]
    assert len(lines) > 1000 and statistics.median(lines) <= 12, 'split long cells at their functions'

@pytest.mark.parametrize('p', [p for p in NBS if p.parent.name == 'research'], ids=name)
def test_a_page_has_its_eight_headings(p):
    heads = [m for c in CELLS[p] if c['cell_type'] == 'markdown' for m in re.findall(r'^## (.+)$', source(c), re.M)]
    assert heads == ['Question', 'Hypotheses', 'Method', 'Run', 'Figure', 'Table', 'Verdict', 'Threats to validity']
    assert not module(p), 'a page exports nothing'

def test_every_public_function_says_what_it_takes():
    "One-line docstring, and a comment beside every parameter of a public function."
    silent = []
    for m in ORDER:
        text = (ROOT / 'plcal_study' / Path(*m.split('.'))).with_suffix('.py').read_text()
        lines = text.splitlines()
        for f in ast.parse(text).body:
            if not isinstance(f, (ast.FunctionDef, ast.ClassDef)) or f.name.startswith('_'): continue
            if not ast.get_docstring(f): silent.append(f'{m}.{f.name}: docstring')
            if isinstance(f, ast.FunctionDef):
                silent += [f'{m}.{f.name}({a.arg})' for a in f.args.args + f.args.kwonlyargs
                           if a.annotation is None and '#' not in lines[a.lineno - 1]]
    assert not silent, silent

def test_no_path_of_one_machine():
    files = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split('\n')
    text = [f for f in files if Path(f).suffix in {'.py', '.ipynb', '.md', '.ini', '.toml', '.csv', '.json', '.txt', ''} and (ROOT / f).is_file()]
    found = [f for f in text if re.search(r'/(root|tmp|home|work)/[a-z]', (ROOT / f).read_text(errors='ignore')) and f != 'tests/test_house.py']
    assert not found, found

def test_settings_are_those_of_nbdev_2():
    "A top-level settings.ini means nbdev 2; version 3 refuses it."
    cfg = ConfigParser(delimiters=['=']); cfg.read(ROOT / 'settings.ini')
    assert 'nbdev>=2.4.14,<3' in cfg['DEFAULT']['dev_requirements']
    assert 'torch' not in cfg['DEFAULT']['requirements'], 'the measuring floor stays light'

def test_the_data_are_where_they_are_said_to_be():
    "With PLCAL_DATA set no test skips for want of data; a folder that is named but empty is a mistake."
    if not os.environ.get('PLCAL_DATA'): pytest.skip('PLCAL_DATA is not set: the tests on the original raw results are left out')
    assert any((Path(os.environ['PLCAL_DATA']) / 'plaut2024').glob('*')), 'PLCAL_DATA names a folder without plaut2024'
