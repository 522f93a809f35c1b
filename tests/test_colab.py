"""Every page opens in Colab: its first cell installs the package, and the page then runs from nothing but its own file.

The long version, PLCAL_LONG=1, installs everything from the package index into a clean environment, and runs every page at smoke scale as well.
"""
import json, os, re, subprocess, sys, sysconfig, time, venv
from configparser import ConfigParser
from pathlib import Path
import nbformat, pytest
from plcal_study.lm.tasks import own_data
from plcal_study.study import pages
from plcal_study.study.pages import PAGES, prepare

ROOT = Path(__file__).parents[1]
LONG = bool(os.environ.get('PLCAL_LONG'))
CFG = ConfigParser(delimiters=['=']); CFG.read(ROOT / 'settings.ini'); CFG = CFG['DEFAULT']
FIRST = {page: ''.join(json.loads((ROOT / 'nbs' / f).read_text())['cells'][1]['source']) for page, f in PAGES.items()}

def pins(text): return dict(re.findall(r'^([\w.-]+)==(\S+)$', text.replace(' ', '\n'), re.M))


# ---- the cell ----------------------------------------------------------------------------------------------------------
def test_the_seven_cells_are_one():
    assert len(FIRST) == 7 and len({c.replace(f"prepare('{page}'", "prepare('PAGE'") for page, c in FIRST.items()}) == 1
    for page, c in FIRST.items(): assert c.startswith('#| hide\n') and c.endswith(f"prepare('{page}', SCALE)") and c.count('\nSCALE = \'\'\n') == 1

def test_it_installs_this_version_from_this_repository():
    assert f"'plcal_study[colab] @ git+{CFG['git_url']}@v{CFG['version']}'" in FIRST['q1']

def test_the_extra_of_colab_pins_what_the_constraints_pin():
    "All that the pages' models need, its torch left as it is."
    pinned, known = pins(CFG['colab_requirements']), pins((ROOT / 'constraints.txt').read_text())
    names = {re.split('[=<>]', r)[0] for r in CFG['colab_requirements'].split()}
    assert names == {re.split('[=<>]', r)[0] for key in ('lm_requirements', 'search_requirements') for r in CFG[key].split()}
    assert {'transformers', 'trl', 'peft', 'optuna'} <= pinned.keys() and 'torch' not in pinned
    assert pinned == {k: known[k] for k in pinned}

def test_it_does_nothing_elsewhere(monkeypatch):
    monkeypatch.delenv('COLAB_RELEASE_TAG', raising=False)
    monkeypatch.setattr(subprocess, 'run', lambda *a, **k: pytest.fail('something was installed'))
    before = dict(os.environ)
    for c in FIRST.values():
        space: dict = {}
        exec(c, space)
        assert space.keys() <= {'__builtins__', 'SCALE', 'importlib', 'os', 'subprocess', 'sys'} and dict(os.environ) == before

def test_the_site_does_not_show_it():
    sys.path.insert(0, str(ROOT / 'docs'))
    try: from nbdev_sphinx import transform
    finally: sys.path.pop(0)
    for f in PAGES.values(): assert 'COLAB' not in json.dumps(transform(json.loads((ROOT / 'nbs' / f).read_text())))


# ---- prepare -----------------------------------------------------------------------------------------------------------
@pytest.fixture
def clean(monkeypatch, tmp_path):
    monkeypatch.setenv('PLCAL_RECORDS', 'nowhere')
    monkeypatch.chdir(tmp_path)
    return tmp_path

def test_without_a_scale_the_records_are_those_of_the_site(clean, capsys):
    assert prepare('q1') == own_data('records') == Path(os.environ['PLCAL_RECORDS']) and not list(clean.iterdir())
    assert pages.records_dir() == own_data('records') and 'records of the site' in capsys.readouterr().out

def test_results_are_kept_on_drive_where_it_is_mounted(clean, monkeypatch):
    assert pages._keep(None) == Path('results') and pages._keep('here') == Path('here')
    monkeypatch.setattr(pages, 'DRIVE', clean)
    assert pages._keep(None) == clean / 'plcal' and pages._keep('here') == Path('here')

def test_a_run_is_resumed_and_its_records_are_read(clean, monkeypatch, capsys):
    import fake_question
    monkeypatch.setattr('importlib.import_module', lambda name: fake_question)
    for done in '4 cells done now, 0 done before', '0 cells done now, 4 done before':
        at = prepare('q1', 'smoke')
        assert at == clean / 'results' / 'q1-smoke' / 'records' == Path(os.environ['PLCAL_RECORDS'])
        assert f'q1 at scale smoke: {done}' in capsys.readouterr().out and len(pages.read_record('fake_cells')) == 4
    monkeypatch.setattr(fake_question, 'grid', lambda scale: [fake_question.Run('fake', 'a', 'fail', 'coin')])
    monkeypatch.setattr(fake_question, 'records', lambda out, scale: {})
    with pytest.raises(RuntimeError, match='no cell of q2 is finished at scale .smoke., so there is nothing to show'): prepare('q2', 'smoke')

def test_published_records_are_made_once_and_those_of_the_testbed_until_the_others_can_be_had(clean, monkeypatch):
    made = []
    def make(folder, cohort, known, progress, **few):
        made.append((cohort, known, few))
        pages.write_records(folder, {}, dict(scale='testbed' if known else 'published results'))
    monkeypatch.setattr(pages, 'make_records', make)
    monkeypatch.setattr(pages, 'testbed_cohort', lambda: ('readers', 'truth'))
    monkeypatch.setattr(pages, 'published_cohort', lambda: None)
    for _ in range(2): prepare('q6', 'smoke')
    assert made == [('readers', 'truth', dict(draws=100, nulls=300))]
    monkeypatch.setattr(pages, 'published_cohort', lambda: 'models')
    for _ in range(2): prepare('q6', 'smoke')
    assert made[1:] == [('models', None, dict(draws=100, nulls=300))]
    prepare('q6', 'laptop')
    assert made[2:] == [('models', None, {})]

def test_without_the_models_the_way_out_is_named(clean, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"q4 trains models, and torch is missing; pip install 'plcal_study\[lm\]', or set SCALE = ''"): prepare('q4', 'smoke')


# ---- the pages, in a Colab that is only lacking Colab --------------------------------------------------------------------
RUN = """
import sys, nbclient, nbformat
nb = nbformat.read(sys.argv[1], 4)
try: nbclient.NotebookClient(nb, timeout=3600, kernel_name='python3', extra_arguments=['--log-level=ERROR']).execute()
finally: nbformat.write(nb, 'ran.ipynb')
"""

@pytest.fixture(scope='module')
def colab(dist, tmp_path_factory):
    "Runs a notebook, given as a name and a scale, in an environment that has jupyter and not this package; the cell is to install it."
    at = tmp_path_factory.mktemp('colab')
    venv.create(at / 'env', with_pip=True)
    python = at / 'env' / 'bin' / 'python'
    env = {k: v for k, v in os.environ.items() if not k.startswith(('PLCAL', 'PYTHON', 'PIP', 'HF', 'JUPYTER'))}
    env |= dict(COLAB_RELEASE_TAG='release', PLCAL_PIP=f'plcal_study[colab] @ {dist[1].as_uri()}', HF_HUB_OFFLINE='1', HOME=str(at), OMP_NUM_THREADS='1', PIP_CONSTRAINT=str(ROOT / 'constraints.txt'))
    if LONG: subprocess.run([python, '-m', 'pip', 'install', '-q', 'ipykernel', 'nbclient', 'jinja2'], check=True, env=env)
    else: # what others made is taken from here, so that no index is needed
        subprocess.run([python, '-m', 'pip', 'uninstall', '-q', '-y', 'setuptools'], check=True, env=env) # an old one, which came with pip
        (at / 'others').mkdir()
        for p in Path(sysconfig.get_path('purelib')).iterdir():
            if not re.match(r'plcal|__editable__|pip\b|pip-|.*\.pth$', p.name): (at / 'others' / p.name).symlink_to(p)
        site = subprocess.run([python, '-c', "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True).stdout.strip()
        (Path(site) / 'others.pth').write_text(f"{at / 'others'}\n")
        env |= dict(PIP_NO_INDEX='1', https_proxy='http://127.0.0.1:9')
    assert subprocess.run([python, '-c', 'import plcal_study'], env=env, cwd=at, capture_output=True).returncode, 'it is to be installed by the cell'
    def run(page, scale='', cells=None):
        folder = at / f'{page}-{scale}'
        folder.mkdir(exist_ok=True)
        nb = nbformat.read(ROOT / 'nbs' / PAGES[page], 4)
        nb.cells = nb.cells[:cells]
        nb.cells[1].source = nb.cells[1].source.replace("\nSCALE = ''\n", f'\nSCALE = {scale!r}\n')
        for c in nb.cells: c.pop('outputs', None) if c.cell_type != 'code' else c.update(outputs=[])
        nbformat.write(nb, folder / 'page.ipynb')
        start = time.monotonic()
        said = subprocess.run([python, '-c', RUN, 'page.ipynb'], env=env, cwd=folder, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr[-3000:]
        print(f'{page} {scale or "as on the site"}: {time.monotonic() - start:.0f} s')
        return nbformat.read(folder / 'ran.ipynb', 4), folder
    return run

def printed(cell): return ''.join(o.text for o in cell.outputs if o.output_type == 'stream')
def figures(nb): return [c.id for c in nb.cells if c.cell_type == 'code' and any('image/png' in o.get('data', {}) for o in c.outputs)]
def words(nb):
    "What the tables and sentences of a page say, by cell; how the cells of a table are numbered is left out."
    return {c.id: [re.sub(r' id="[^"]*"', '', o.get('data', {}).get(k) or '') for o in c.outputs for k in ('text/html', 'text/markdown')] for c in nb.cells[2:] if c.cell_type == 'code'}

@pytest.mark.parametrize('page', PAGES)
def test_a_page_shows_in_colab_what_it_shows_on_the_site(colab, page):
    "Every table and every sentence with numbers in it, and a figure wherever there is one."
    nb, folder = colab(page)
    site = nbformat.read(ROOT / 'nbs' / PAGES[page], 4)
    assert f"plcal_study {CFG['version']}, no GPU" in printed(nb.cells[1]) or 'GPU: ' in printed(nb.cells[1])
    assert words(nb) == words(site) and figures(nb) == figures(site) and len(figures(nb)) >= 3 - (page == 'q4')
    assert sorted(p.name for p in folder.iterdir()) == ['page.ipynb', 'ran.ipynb'], 'nothing is left behind'

@pytest.mark.parametrize('page', list(PAGES) if LONG else ['q3', 'q6'])
def test_a_question_is_run_in_colab_and_its_page_ends_with_the_same_figures(colab, page):
    nb, folder = colab(page, 'smoke')
    site = nbformat.read(ROOT / 'nbs' / PAGES[page], 4)
    assert (folder / 'results' / f'{page}-smoke' / 'records').is_dir() and str(folder) in printed(nb.cells[1])
    shown = ''.join(str(o.get('data', {}).get('text/markdown', '')) for c in nb.cells if c.cell_type == 'code' for o in c.outputs)
    assert ('readers of the TESTBED' if page in ('q5', 'q6') else 'made from a SMOKE run') in shown
    assert figures(nb) == figures(site)
    if page != 'q6': assert ' 0 cells done now' in printed(colab(page, 'smoke', cells=2)[0].cells[1]), 'what is done is not done again'
