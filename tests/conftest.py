"Shared by all tests: where the raw data lie, and the folder of bad-input tables on the path."
import os, shutil, subprocess, sys
from pathlib import Path
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope='session')
def plaut_data():
    "The folder of raw data; tests that need it skip, with the reason, where it is absent."
    root = os.environ.get('PLCAL_DATA')
    if not root or not (Path(root) / 'plaut2024').exists():
        pytest.skip('the raw results of Plaut et al. are not here: set PLCAL_DATA, or run `plcal data get plaut2024`')
    return Path(root)


@pytest.fixture(scope='session')
def dist(tmp_path_factory):
    "A source distribution of the checkout, and the wheel that is built from it and from nothing else."
    root, to = Path(__file__).parents[1], tmp_path_factory.mktemp('dist')
    files = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard'], cwd=root, capture_output=True, text=True).stdout.split() or [p.relative_to(root) for p in root.rglob('*')]
    for f in files: # a copy: nothing that was built before gets in
        if not (root / f).is_file(): continue
        (to / 'source' / f).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / f, to / 'source' / f)
    made = subprocess.run([sys.executable, '-m', 'build', '--no-isolation', '-o', to, to / 'source'], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return next(to.glob('*.tar.gz')), next(to.glob('*.whl'))


@pytest.fixture(params=['memory', 's3'])
def bucket(request, monkeypatch):
    "An empty place that is no folder: its address, its file system and its root. The second speaks to a server as S3 does."
    pytest.importorskip('fsspec')
    from plcal_study.study.shards import files_at
    if request.param == 's3':
        pytest.importorskip('s3fs', reason='s3fs is not installed; pip install s3fs "moto[server]" to try the protocol of S3')
        server = pytest.importorskip('moto.server', reason='moto is not installed; pip install s3fs "moto[server]" to try the protocol of S3').ThreadedMotoServer(port=0, verbose=False)
        server.start()
        request.addfinalizer(server.stop)
        for name, value in dict(AWS_ENDPOINT_URL='http://{}:{}'.format(*server.get_host_and_port()), AWS_ACCESS_KEY_ID='any', AWS_SECRET_ACCESS_KEY='any', AWS_DEFAULT_REGION='us-east-1').items():
            monkeypatch.setenv(name, value)
    address = f'{request.param}://far/results'
    fs, root = files_at(address)
    if request.param == 's3':
        fs.clear_instance_cache() # one that knows another server
        fs, root = files_at(address)
        fs.mkdir('far')
    yield address, fs, root
    if fs.exists('far'): fs.rm('far', recursive=True)


def pytest_sessionfinish(session):
    "With the data present no test may skip for want of them: a skip that says so fails the run."
    root, reporter = os.environ.get('PLCAL_DATA'), session.config.pluginmanager.get_plugin('terminalreporter')
    if not root or not (Path(root) / 'plaut2024').exists() or reporter is None: return
    missed = [r.nodeid for r in reporter.stats.get('skipped', []) if 'plcal data get' in str(r.longrepr) or 'PLCAL_DATA' in str(r.longrepr)]
    if missed:
        reporter.write_line(f'the data are here, and yet these tests skipped for want of them: {missed}', red=True)
        session.exitstatus = 1
