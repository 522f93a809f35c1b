"Bad inputs of `plcal_study.study.data`: (name, call, exception, part of the message)."
import io, tarfile, tempfile
from pathlib import Path
from plcal_study.study.data import data_dir, dataset, find, get, locate, read_texts


def _read(write):
    "What `read_texts` says of an archive that `write` makes."
    with tempfile.TemporaryDirectory() as d:
        write(Path(d) / 'a.tar.gz')
        return read_texts(Path(d) / 'a.tar.gz', 'in')

def _tar(*members):
    def write(path):
        with tarfile.open(path, 'w:gz') as tar:
            for name, change in members:
                m = tarfile.TarInfo(name)
                m.size = 0 if change else 2
                for k, v in change.items(): setattr(m, k, v)
                tar.addfile(m, io.BytesIO(b'x\n'))
    return write

def _cut(path):
    _tar(*((f'top/in/{i}.txt', {}) for i in range(50)))(path)
    path.write_bytes(path.read_bytes()[:-40])

def _two_copies():
    with tempfile.TemporaryDirectory() as d:
        for name in 'a', 'b': (Path(d) / name / 'in').mkdir(parents=True)
        return locate(Path(d), 'in')

CASES = [
    ('unknown name',          lambda: dataset('plaut'),                     ValueError,        "no data set is named 'plaut'; there are: plaut2024"),
    ('unknown name to fetch', lambda: get('Plaut2024'),                     ValueError,        "no data set is named 'Plaut2024'"),
    ('no such folder',        lambda: data_dir('no/such/folder'),           FileNotFoundError, "'no/such/folder', which is no folder"),
    ('data absent',           lambda: find('plaut2024', tempfile.mkdtemp()), FileNotFoundError, 'run `plcal data get plaut2024`'),
    ('a local url',           lambda: get('plaut2024', tempfile.mkdtemp(), 'file:///etc/hosts'), ValueError, 'url must start with https://'),
    ('two copies',            _two_copies,                                  ValueError,        'holds 2 copies (a/in, b/in); keep one'),
    ('no archive',            lambda: _read(lambda p: p.write_bytes(b'<html>')), ValueError,   'is no gzip archive, or a damaged one'),
    ('an empty file',         lambda: _read(lambda p: p.write_bytes(b'')),  ValueError,        'is truncated after 0 bytes'),
    ('cut short',             lambda: _read(_cut),                          ValueError,        'is truncated after'),
    ('nothing in it',         lambda: _read(_tar(('top/out/a.txt', {}))),   ValueError,        'holds no in/*.txt'),
    ('a way out',             lambda: _read(_tar(('../in/a.txt', {}))),     ValueError,        "'../in/a.txt' that leads out of the archive"),
    ('a way out, elsewhere',  lambda: _read(_tar(('top/in/a.txt', {}), ('top/../../x', {}))), ValueError, 'leads out of the archive'),
    ('an absolute name',      lambda: _read(_tar(('/in/a.txt', {}))),       ValueError,        'leads out of the archive'),
    ('a link',                lambda: _read(_tar(('top/in/a.txt', dict(type=tarfile.SYMTYPE, linkname='/etc/hosts')))), ValueError, 'no plain file'),
    ('a name twice',          lambda: _read(_tar(('a/in/a.txt', {}), ('b/in/a.txt', {}))), ValueError, 'holds a.txt twice'),
]
