"Fetching: what arrives is the pinned content or nothing."
import io, os, subprocess, sys, tarfile, threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
import pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from plcal_study.study import data
from plcal_study.study.data import DATASETS, DataSet, content_hash, data_dir, facts, find, get, manifest, read_texts

ROOT = Path(__file__).parents[1]
TEXTS = {f'{i}.txt': b'line\n' * i for i in range(1, 40)}


def pack(path, texts, top='top/answers'):
    with tarfile.open(path, 'w:gz') as tar:
        for name, text in texts.items():
            (m := tarfile.TarInfo(f'{top}/{name}')).size = len(text)
            tar.addfile(m, io.BytesIO(text))

class Server(SimpleHTTPRequestHandler):
    asked: list[str] = []
    def log_message(self, *args): pass
    def do_GET(self):
        Server.asked.append(self.path)
        if self.path == '/slow': return threading.Event().wait(3)
        if self.path == '/short':
            body = Path(self.directory, 'good.tar.gz').read_bytes()
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body[:len(body) // 2])
        else: super().do_GET()

@pytest.fixture
def web(tmp_path, monkeypatch):
    "A set named demo, a server that has it in good and bad shape, and an empty data folder."
    (root := tmp_path / 'web').mkdir(); (home := tmp_path / 'home').mkdir()
    pack(root / 'good.tar.gz', TEXTS)
    pack(root / 'tampered.tar.gz', TEXTS | {'7.txt': b'LINE\n' * 7})
    pack(root / 'fewer.tar.gz', {k: v for k, v in TEXTS.items() if k != '7.txt'})
    pack(root / 'renamed.tar.gz', {'x' + k: v for k, v in TEXTS.items()})
    pack(root / 'escaping.tar.gz', TEXTS, '../answers')
    pack(root / 'elsewhere.tar.gz', TEXTS, 'top/others')
    good = (root / 'good.tar.gz').read_bytes()
    (root / 'truncated.tar.gz').write_bytes(good[:-100])
    (root / 'page.tar.gz').write_bytes(b'<html>not found</html>')
    server = HTTPServer(('127.0.0.1', 0), partial(Server, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f'http://127.0.0.1:{server.server_port}'
    demo = DataSet('demo', 'A demo', 'CC0', f'{at}/good.tar.gz', 'f' * 40, 'answers', len(TEXTS), sum(range(1, 40)), content_hash(TEXTS))
    monkeypatch.setitem(DATASETS, 'demo', demo)
    Server.asked.clear()
    yield at, home
    server.shutdown(); server.server_close()


def test_get_then_find_then_nothing_more(web):
    at, home = web
    path = get('demo', home, progress=False)
    assert path == find('demo', home) == home / 'demo' / 'demo-fffffff.tar.gz' and os.listdir(home / 'demo') == [path.name]
    assert read_texts(path, 'answers') == {k: TEXTS[k] for k in sorted(TEXTS)}
    assert get('demo', home, progress=False) == path and Server.asked == ['/good.tar.gz'], 'the second call fetches nothing'

@pytest.mark.parametrize('what, error, says', [
    ('tampered.tar.gz', ValueError, 'expected content hash'), ('fewer.tar.gz', ValueError, 'expected files 39, got 38'),
    ('renamed.tar.gz', ValueError, 'expected content hash'), ('escaping.tar.gz', ValueError, 'leads out of the archive'),
    ('elsewhere.tar.gz', ValueError, 'holds no answers/'), ('truncated.tar.gz', ValueError, 'is truncated'), ('page.tar.gz', ValueError, 'is no gzip archive'),
    ('short', ConnectionError, 'broke off after'), ('absent', ConnectionError, 'HTTP Error 404')])
def test_a_wrong_archive_leaves_nothing_behind(web, what, error, says):
    at, home = web
    with pytest.raises(error, match=says): get('demo', home, f'{at}/{what}', progress=False)
    assert not list(home.rglob('*')) and not list(home.parent.glob('answers*'))
    get('demo', home, progress=False) # and the way is free

def test_silence_is_an_error_in_time(web):
    at, home = web
    with pytest.raises(ConnectionError, match='could not fetch'): get('demo', home, f'{at}/slow', timeout=.3, progress=False)
    with pytest.raises(ConnectionError, match='could not fetch'): get('demo', home, 'http://127.0.0.1:9/x', timeout=1, progress=False)
    assert not list(home.rglob('*'))

def test_too_much_is_refused(web, monkeypatch):
    at, home = web
    with pytest.raises(ValueError, match='sends more than 100 bytes'): get('demo', home, limit=100, progress=False)
    monkeypatch.setattr(data, 'MAX_BYTES', 20_000)
    with pytest.raises(ValueError, match='unpacks to more than 20000 bytes'): get('demo', home, progress=False)
    assert not list(home.rglob('*'))

def test_a_wrong_copy_is_named_and_not_touched(web):
    at, home = web
    (home / 'demo').mkdir()
    pack(mine := home / 'demo' / 'mine.tar.gz', TEXTS | {'7.txt': b''})
    before = mine.read_bytes()
    with pytest.raises(ValueError, match='demo is not revision fffffff: expected lines'): get('demo', home, progress=False)
    assert mine.read_bytes() == before and Server.asked == []

def test_an_unpacked_copy_will_do(web):
    at, home = web
    (folder := home / 'demo' / 'top' / 'answers').mkdir(parents=True)
    for name, text in TEXTS.items(): (folder / name).write_bytes(text)
    assert get('demo', home, progress=False) == find('demo', home) == folder and Server.asked == []

def test_progress_shows_bytes(web, capsys):
    at, home = web
    get('demo', home)
    assert 'good.tar.gz: 100%' in capsys.readouterr().err

def test_where_data_lie(tmp_path, monkeypatch):
    monkeypatch.setenv('PLCAL_DATA', str(tmp_path))
    assert data_dir() == tmp_path and data_dir(ROOT) == ROOT
    monkeypatch.setenv('PLCAL_DATA', str(tmp_path / 'typo'))
    with pytest.raises(FileNotFoundError, match='PLCAL_DATA names'): data_dir()
    monkeypatch.delenv('PLCAL_DATA')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert data_dir() == tmp_path / 'cache' / 'plcal'
    with pytest.raises(FileNotFoundError, match='plcal data get'): find('plaut2024')
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert data_dir() == Path.home() / '.cache' / 'plcal'

@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.dictionaries(st.text('abc.', min_size=1, max_size=4), st.binary(max_size=6), max_size=4), st.randoms(use_true_random=False))
def test_the_hash_is_of_content_not_of_order(texts, random):
    items = list(texts.items())
    random.shuffle(items)
    assert content_hash(dict(items)) == content_hash(texts)
    assert content_hash(texts | {'new': b''}) != content_hash(texts)

def test_the_manifest_in_the_open_is_that_of_the_code():
    assert pd.read_csv(ROOT / 'data' / 'datasets.csv').equals(manifest())
    assert all(len(d.sha256) == 64 and d.revision in d.url and d.licence for d in DATASETS.values())

def test_the_pinned_content(plaut_data):
    d = DATASETS['plaut2024']
    data.check_content(d, read_texts(find('plaut2024', plaut_data), d.inside))
    assert get('plaut2024', plaut_data, url='http://127.0.0.1:9/', progress=False) == find('plaut2024', plaut_data), 'nothing to fetch'

def test_an_installed_package_takes_its_facts_along(tmp_path):
    "Built as for a wheel, then read without the checkout beside it."
    pytest.importorskip('setuptools', reason='a package is built with setuptools, which is not here')
    subprocess.run([sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path / 'lib')], cwd=ROOT, check=True, capture_output=True)
    script = "from plcal_study.study.published import published; import plcal_study; print(len(published()), plcal_study.__file__)"
    out = subprocess.run([sys.executable, '-c', script], cwd=tmp_path, env=os.environ | {'PYTHONPATH': str(tmp_path / 'lib')}, check=True, capture_output=True, text=True)
    assert out.stdout.split()[0] == '1549' and str(tmp_path) in out.stdout
    assert facts('datasets.csv') == ROOT / 'data' / 'datasets.csv'
