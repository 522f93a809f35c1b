"What others send is never run, leads nowhere, and unpacks to no more than it may; what is secret is not said; what is fetched is what it should be. And the audit of what the package is made with."
import ast, gzip, importlib.util, io, json, os, re, struct, tarfile, zipfile
from html.parser import HTMLParser
from pathlib import Path
import numpy as np
import pytest
import log_files
from log_files import questions
from plcal_study.lm import tasks
from plcal_study.measure import responses, safe
from plcal_study.measure.logs import read_log
from plcal_study.measure.predictions import from_grades
from plcal_study.study import cluster, data, runs, shards
from plcal_study.study.cli import main
from plcal_study.study.report import report
from plcal_study.study.runs import Run, run_id
from test_fuzz import CELL, READERS, cell

ROOT = Path(__file__).parents[1]
CODE = sorted((ROOT / 'plcal_study').rglob('*.py'))


# ---- nothing that comes from others is run

DANGEROUS = { # what could run code out of a file -> modules that may use it, and why
    'pickle': {'runs': 'between a runner and the workers that it started, through their pipes; of a file nothing', 'cluster': 'of the job that the driver itself made, within Ray; of a file nothing'},
    'marshal': {}, 'shelve': {}, 'dill': {}, 'cloudpickle': {}, 'joblib': {}, 'yaml': {}, 'xml': {}, 'ctypes': {}, 'code': {}, 'runpy': {}}

def names(tree):
    "Modules that are imported, and calls by their last name."
    for n in ast.walk(tree):
        if isinstance(n, ast.Import): yield from (('import', a.name.split('.')[0], n) for a in n.names)
        elif isinstance(n, ast.ImportFrom) and not n.level: yield 'import', (n.module or '').split('.')[0], n
        elif isinstance(n, ast.Call): yield 'call', ast.unparse(n.func), n

def test_no_code_comes_out_of_a_file():
    for path in CODE:
        tree = ast.parse(path.read_text())
        for kind, name, n in names(tree):
            where = f'{path.name}:{n.lineno}: {name}'
            if kind == 'import': assert name not in DANGEROUS or path.stem in DANGEROUS[name], where
            else:
                assert name not in ('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen') and not name.startswith(('torch.load', 'torch.jit.load', 'np.load', 'np.fromfile', 'pd.read_pickle', 'pd.eval', 'torch.hub')), where
                assert not name.endswith(('.extractall', '.extract')), where
                assert not name.endswith('.query') or isinstance(n.args[0], ast.Constant), where # pandas reads it as an expression
                for k in n.keywords:
                    said = ast.unparse(k.value)
                    assert not (k.arg in ('shell', 'allow_pickle', 'trust_remote_code') and said != 'False'), where
                    assert not (k.arg == 'use_safetensors' and said != 'True'), where

def test_what_is_unpickled_came_through_a_pipe_or_with_the_job():
    text = {p.stem: p.read_text() for p in CODE}
    assert sorted(re.findall(r'pickle\.loads?\([^)]*\)', text['runs'])) == ['pickle.load(self.pipe(self.p.stdout)', 'pickle.load(sys.stdin.buffer)', 'pickle.loads(work)']
    assert re.findall(r'pickle\.loads?\([^)]*\)', text['cluster']) == ['pickle.loads(job)']

def test_the_hub_is_never_asked_for_code():
    text = (ROOT / 'plcal_study' / 'lm' / 'models.py').read_text()
    calls = re.findall(r'\.from_pretrained\(.*', text)
    assert len(calls) == 3 and all('**safe' in c for c in calls) and 'trust_remote_code=False' in text and text.count('use_safetensors=True') == 1

def test_checkpoints_of_the_trainer_are_read_without_code():
    "trl resumes through torch.load, which must be told to take tensors only."
    spec = importlib.util.find_spec('transformers')
    loads = [n for _, name, n in names(ast.parse((Path(spec.origin).parent / 'trainer.py').read_text())) if name == 'torch.load']
    assert loads and all(any(k.arg == 'weights_only' and ast.unparse(k.value) == 'True' for k in n.keywords) for n in loads)


@pytest.mark.parametrize('text', ['null', 'null\n{"conf": 0.5, "correct": 1}', '{"conf": ' + '{"a":' * 50_000 + '1' + '}' * 50_000 + '}', '{"conf": ' + '[' * 50_000 + ']' * 50_000 + '}', '1', '[]'])
def test_a_text_that_would_end_the_process_in_arrow_is_refused(tmp_path, text):
    (tmp_path / 'a.jsonl').write_text(text)
    with pytest.raises(ValueError, match='a.jsonl'): read_log(tmp_path / 'a.jsonl', quiet=True)


# ---- archives

def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    path, _ = log_files.inspect_eval(tmp_path, questions(3))
    monkeypatch.setattr(responses, '_MOST', 100_000)
    assert len(read_log(path, quiet=True)) == 3
    entries = {n: z.read(n) for z in [zipfile.ZipFile(path)] for n in z.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z:
        for n, x in entries.items(): z.writestr(n, x)
        for i in range(20): z.writestr(f'padding/{i}.json', bytes(99_000)) # each small enough, all together not
    with pytest.raises(ValueError, match='unpacks to .* more than 100 times'): read_log(path, quiet=True)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('header.json', b' ' * 200_000)
    with pytest.raises(ValueError, match='more than'): read_log(path, quiet=True)
    monkeypatch.setattr(responses, '_ENTRIES', 3)
    with zipfile.ZipFile(path, 'w') as z:
        for n, x in entries.items(): z.writestr(n, x)
    with pytest.raises(ValueError, match='entries, more than 3'): read_log(path, quiet=True)

@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_ways_of_compression_that_no_log_uses_are_refused(tmp_path, method):
    with zipfile.ZipFile(path := tmp_path / 'a.eval', 'w', method) as z: z.writestr('header.json', json.dumps(log_files.HEAD))
    with pytest.raises(ValueError, match='compressed by method'): read_log(path, quiet=True)

def test_an_encrypted_entry_is_named(tmp_path):
    path, _ = log_files.inspect_eval(tmp_path, questions(2))
    raw = bytearray(path.read_bytes())
    for m in re.finditer(b'PK\x01\x02', bytes(raw)): raw[m.start() + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match='encrypted'): read_log(path, quiet=True)

def test_a_lie_about_the_size_of_an_entry_costs_no_memory(tmp_path):
    "What is unpacked is counted, not what the directory says."
    body = json.dumps(log_files.HEAD).encode() + b' ' * 10**6
    path = tmp_path / 'a.eval'
    log_files.zstd_zip(path, {'header.json': body})
    raw = bytearray(path.read_bytes())
    at = raw.index(b'PK\1\2')
    raw[at + 24:at + 28] = struct.pack('<I', 100)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match='is damaged'): read_log(path, quiet=True)

def tar(folder, members, name='a.tar.gz'):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        for n, body in members:
            (m := tarfile.TarInfo(n)).size = len(body)
            t.addfile(m, io.BytesIO(body))
    (folder / name).write_bytes(gzip.compress(out.getvalue()))
    return folder / name

def test_a_tar_of_too_many_members_is_refused(tmp_path, monkeypatch):
    path = tar(tmp_path, [(f'x/main/{i}.txt', b'a') for i in range(5)])
    assert len(data.read_texts(path, 'main')) == 5
    monkeypatch.setattr(data, 'MAX_MEMBERS', 4)
    with pytest.raises(ValueError, match='more than 4 members'): data.read_texts(path, 'main')
    monkeypatch.setattr(data, 'MAX_BYTES', 50)
    with pytest.raises(ValueError, match='more than 50 bytes'): data.read_texts(path, 'main')


# ---- names that lead elsewhere

def hostile(out, name):
    "A finished cell that says it has a file of this name."
    said = json.loads((out / 'run.json').read_text())
    said['files'][name] = [5, '0' * 16]
    (out / 'run.json').write_text(json.dumps(said))

@pytest.mark.parametrize('name', ['../../../stolen', '/etc/hostname', 'a/../../x', 'C:x', 'a\\..\\x', ''])
def test_a_cell_cannot_name_a_file_elsewhere(tmp_path, name):
    out = cell(tmp_path / 'theirs')
    hostile(out, name)
    with pytest.raises(ValueError, match='stays in its folder'): runs.read_cell(out)
    got = shards.gather([tmp_path / 'theirs'], tmp_path / 'ours')
    assert not got.came and 'stays in its folder' in next(iter(got.refused.values()))
    assert sorted(p.name for p in (tmp_path / 'ours' / 'runs').iterdir()) == ['.guard']

def test_only_what_a_cell_names_is_gathered(tmp_path):
    out = cell(tmp_path / 'theirs')
    (out / 'more.bin').write_bytes(b'x' * 100)
    (out / 'loop').symlink_to('.')
    assert shards.gather([tmp_path / 'theirs'], tmp_path / 'ours').came == (out.name,)
    assert not (tmp_path / 'ours' / 'runs' / out.name / 'more.bin').exists()

def test_a_copy_of_a_cell_writes_nothing_elsewhere(tmp_path):
    fs, place = shards.files_at(f'file://{tmp_path}/there')
    (tmp_path / 'there').mkdir()
    (tmp_path / 'there' / '.whole.json').write_text(json.dumps({'../../stolen': 5}))
    with pytest.raises(ValueError, match='stays in its folder'): cluster._fetch(fs, place, tmp_path / 'a' / 'b')
    (tmp_path / 'there' / '.whole.json').write_text(json.dumps({'.worker': 5, 'x': 1}))
    (tmp_path / 'there' / 'x').write_text('x')
    assert cluster._fetch(fs, place, tmp_path / 'a' / 'b') and [p.name for p in (tmp_path / 'a' / 'b').iterdir()] == ['x']

@pytest.mark.parametrize('pid', [0, 1, -1, True, '7', 7.5, None, 2**40, [1]])
def test_a_note_that_means_no_process_or_many_ends_nobody(tmp_path, monkeypatch, pid):
    def never(*a): raise AssertionError(a)
    monkeypatch.setattr(os, 'killpg', never)
    for born in ('', runs._born(os.getpid())):
        (tmp_path / '.worker').write_text(json.dumps(dict(pid=pid, born=born) | runs._here()))
        assert runs._worker(tmp_path / '.worker') is None and not runs._end_orphan(tmp_path / '.worker') and runs._holder((tmp_path / '.worker').read_text()) is None
        with cluster._stopped(tmp_path): pass

def test_a_name_out_of_a_log_is_no_path(tmp_path, monkeypatch):
    "A model, task or question may be called anything; files are named by the person who asks for them, or with the name made plain."
    from plcal_study.lm.extraction import _stem
    from types import SimpleNamespace
    plan = SimpleNamespace(asks=[SimpleNamespace(meta=dict(task='../../x', prompt='/etc/p', shots=0))], name='a/../../b\0', how=SimpleNamespace(mode='letters'))
    assert not set('/\\\0') & set(_stem(plan))
    from plcal_study.study.trials import answer_file
    assert answer_file(tmp_path, '../x', '..').parent == tmp_path / 'answers'
    for odd in ('../x', 'a/b', ''):
        with pytest.raises(ValueError, match='letters, digits'): Run(odd, 'p', 't', 'm')


# ---- pages

EVIL = '</script><img src=x onerror=alert(1)>"\'`&lt;\u2028{{x}}${y}'

class Tags(HTMLParser):
    "The elements of a page, and the attributes that could run something or ask for something."
    def __init__(self, text):
        super().__init__()
        self.seen, self.bad = set(), []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        for k, v in attrs:
            if k.startswith('on') or k in ('src', 'srcdoc', 'action', 'formaction', 'xlink:href') or k == 'href' and not (v or '').startswith(('#', 'data:,')): self.bad.append((tag, k, v))

def evil(name, seed=0):
    rng = np.random.default_rng(seed)
    n = 60
    conf = rng.uniform(.3, 1, n)
    p = from_grades(conf, rng.random(n) < conf, [f'{EVIL}{i}' for i in range(n)], {'model': name, 'task': EVIL, EVIL: EVIL, 'file': EVIL, 'sha256': EVIL, 'read': dict(format=EVIL, conf=EVIL, cluster=EVIL, note=EVIL)}, np.array([f'{EVIL}{i % 5}' for i in range(n)]))
    return p

def test_a_report_of_hostile_names_has_no_element_of_theirs(tmp_path):
    r = report(evil(EVIL), evil(EVIL + '2', 1), seed=1)
    page = r.html()
    tags = Tags(page)
    assert not tags.bad and 'img' not in tags.seen and '<img' not in page and 'onerror=alert' in page # said, and dead
    data_of = re.search(r'<script type="application/json" id="thresholds">(.*?)</script>', page, re.S)[1]
    assert json.loads(data_of)[0]['name'] == EVIL and '<' not in data_of
    assert len(re.findall(r'</script>', page)) == 2
    assert "default-src 'none'" in page
    assert json.loads(r.json())['models'][0]['name'] == EVIL
    plain = Tags(r._repr_html_())
    assert not plain.bad and plain.seen <= {'p', 'b', 'ul', 'li'}

def test_a_rating_sheet_of_hostile_texts(tmp_path):
    import pandas as pd
    from plcal_study.study.rating import rating_sheet
    sheet, _ = rating_sheet(pd.DataFrame(dict(model=[EVIL] * 3, prompt=[EVIL] * 3, text=[EVIL] * 3)), tmp_path)
    tags = Tags(sheet.read_text())
    assert 'img' not in tags.seen and not [b for b in tags.bad if b[0] != 'button' and b[1] != 'onclick' and b[1] != 'onsubmit' and b[1] != 'oninput' and b[1] != 'onchange']

def test_the_scripts_of_the_site_write_text_and_no_html():
    for path in (ROOT / 'docs' / '_static').glob('*.js'): assert not re.search(r'innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function', path.read_text()), path.name
    from plcal_study.study.browse import as_script
    assert as_script('a', {EVIL: EVIL}).count('\n') == 1


# ---- secrets

SECRET = 'correct-horse-battery-staple'

@pytest.fixture
def key(monkeypatch):
    for name in ('HF_TOKEN', 'OPENAI_API_KEY', 'AWS_SECRET_ACCESS_KEY'): monkeypatch.setenv(name, SECRET)
    return SECRET

@pytest.mark.parametrize('text', [f'https://me:{SECRET}@host/x', f'it says: {SECRET}', f'?token={SECRET}&a=1', f"{{'Authorization': 'Bearer {SECRET}'}}", f'authorization: {SECRET}', f's3://id:{SECRET}@bucket/x'])
def test_a_secret_is_masked_wherever_it_stands(key, text):
    assert SECRET not in safe.masked(text) and '***' in safe.masked(text)

def test_known_shapes_of_keys_are_masked_without_a_variable():
    for text in ('hf_' + 'a' * 34, 'sk-proj-' + 'a1' * 20, 'ghp_' + 'a' * 36, 'https://token@host/x', 'Bearer ' + 'x' * 30): assert '***' in safe.masked(f'no: {text}.')

def test_the_command_line_shows_no_secret(key, capsys, tmp_path):
    for more in ([], ['--debug'], ['--json']):
        assert main(['report', f'https://me:{SECRET}@host/log.csv', '-o', str(tmp_path / 'r.html'), *more]) == 1
        assert main(['gather', f'{tmp_path}/token={SECRET}', '--out', str(tmp_path / 'x'), *more]) == 1
        said = ''.join(capsys.readouterr())
        assert SECRET not in said and '***' in said

def test_a_download_shows_no_secret(key, tmp_path):
    with pytest.raises((ConnectionError, ValueError)) as e: data.get('plaut2024', tmp_path, f'http://me:{SECRET}@127.0.0.1:9/x.tar.gz?token={SECRET}', timeout=1, progress=False)
    assert SECRET not in str(e.value)

def test_what_is_kept_of_a_failed_cell_holds_no_secret(key, tmp_path):
    grid, i = runs._Grid(tmp_path / 'runs', b'', {}, {}), run_id(CELL)
    grid.folder.mkdir()
    grid.partial(i).mkdir()
    runs._fail(grid, i, CELL, 1., 'ValueError', f'no to {SECRET}', f'Traceback: https://me:{SECRET}@host')
    kept = ''.join(p.read_text() for p in (tmp_path / 'runs').rglob('*') if p.is_file()) + str(grid.failed) + str(grid.said)
    assert SECRET not in kept and 'ValueError' in kept

def test_ray_is_told_no_token(key, monkeypatch):
    monkeypatch.setenv('PLCAL_DATA', 'here')
    text = (ROOT / 'plcal_study' / 'study' / 'cluster.py').read_text()
    known = {k: v for k, v in os.environ.items() if k.startswith(('PLCAL_', 'HF_')) and safe.masked(v) == v}
    assert 'masked(v) == v' in text and 'HF_TOKEN' not in known and known['PLCAL_DATA'] == 'here'

def test_the_address_of_an_endpoint_and_its_key_are_in_no_result(key):
    from plcal_study.lm.api import Endpoint
    e = Endpoint(f'http://me:{SECRET}@localhost:1/v1?token={SECRET}', 'm', key=SECRET)
    assert SECRET not in repr(e) + e.address


# ---- what is fetched

def test_every_download_is_pinned_or_said_not_to_be():
    for d in data.DATASETS.values(): assert re.fullmatch('[0-9a-f]{64}', d.sha256) and re.fullmatch('[0-9a-f]{40}', d.revision) and d.revision in d.url
    loose = {str(n) for n, t in tasks.manifest().iterrows() if t.hub_id and not re.fullmatch('[0-9a-f]{40}', t.revision)}
    page = (ROOT / 'nbs' / 'safety.ipynb').read_text()
    assert 'unpinned' in page and loose
    from plcal_study.lm import alignment
    assert all(re.fullmatch('[0-9a-f]{40}', r) for _, r in alignment.HUB.values()) and set(alignment.FILES.values()) <= set(tasks.files())
    assert all(re.fullmatch('[0-9a-f]{64}', h) for _, h in tasks.files().values())

def test_a_hostile_file_of_the_manifest_is_not_read(tmp_path):
    "A gzip bomb in the place of a file whose hash is known is refused before it is unpacked."
    (tmp_path / 'hh_rlhf' / 'harmless-base').mkdir(parents=True)
    (tmp_path / 'hh_rlhf' / 'harmless-base' / 'test.jsonl.gz').write_bytes(gzip.compress(bytes(10**6)))
    from plcal_study.lm.alignment import real_pairs
    with pytest.raises(ValueError, match='is not the file of the manifest'): real_pairs('harmless', 'ranked', tmp_path)


# ---- the audit, and the record of the fuzzer

@pytest.fixture(scope='module')
def audit():
    spec = importlib.util.spec_from_file_location('audit', ROOT / 'docs' / 'audit.py')
    spec.loader.exec_module(m := importlib.util.module_from_spec(spec))
    return m

def test_the_audit_has_nothing_to_say(audit):
    assert audit.faults() == []

def test_the_audit_sees_what_is_wrong(audit, monkeypatch):
    from packaging.version import Version
    whole = audit.pins()
    monkeypatch.setattr(audit, 'pins', lambda: {n: v for n, v in whole.items() if n != 'numpy'} | {'urllib3': Version('1.0'), 'nobody-needs-this': Version('1')})
    monkeypatch.setattr(audit, 'licence', lambda n: 'GPL-3.0' if n == 'scipy' else 'MIT')
    said = '\n'.join(audit.faults())
    for what in ('numpy is required by settings.ini, and not pinned', 'nobody-needs-this is pinned, and nothing needs it', 'urllib3 is pinned at 1.0, and GHSA-mf9v', 'urllib3 is installed at', "scipy: its licence is none that is allowed, or not told: 'GPL-3.0'"): assert what in said, said

def test_the_long_run_of_the_fuzzer_is_on_record():
    r = json.loads((ROOT / 'data' / 'records' / 'fuzz.json').read_text())
    assert set(r['cases']) == set(READERS) and not r['left'] and all(len(m) > 20 for m in r['mended'])
    assert sum(r['cases'].values()) >= 100_000, 'the long version has that many: PLCAL_FUZZ=2000 python tests/test_fuzz.py'
