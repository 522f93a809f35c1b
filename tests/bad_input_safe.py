"What somebody else's JSON, names and packed bytes must not be, with what the message must say."
import gzip
from plcal_study.measure.safe import from_json, gunzip, inside

CASES = [
    ('brackets without end',  lambda: from_json('[' * 10**5), ValueError, 'nested too deep'),
    ('objects without end',   lambda: from_json('{"a":' * 10**5), ValueError, 'nested too deep'),
    ('half of a text',        lambda: from_json('{"a": 1'), ValueError, 'delimiter'),
    ('a number of no size',   lambda: from_json('9' * 5000), ValueError, '4300'),
    ('bytes that are no text', lambda: from_json(b'\xff\xfe\xff'), ValueError, 'decode'),
    ('a way out',             lambda: inside('runs', '../x'), ValueError, "stays in its folder, got '../x'"),
    ('a way out in between',  lambda: inside('runs', 'a/../../x'), ValueError, 'do not trust where it came from'),
    ('from the root',         lambda: inside('runs', '/etc/passwd'), ValueError, 'stays in its folder'),
    ('of Windows',            lambda: inside('runs', 'a\\..\\..\\x'), ValueError, 'stays in its folder'),
    ('a drive',               lambda: inside('runs', 'C:x'), ValueError, 'stays in its folder'),
    ('a NUL',                 lambda: inside('runs', 'a\0b'), ValueError, 'stays in its folder'),
    ('a name too long',       lambda: inside('runs', 'a/' + 'ä' * 128), ValueError, 'stays in its folder'),
    ('no name',               lambda: inside('runs', ''), ValueError, "got ''"),
    ('the folder itself',     lambda: inside('runs', '.'), ValueError, 'stays in its folder'),
    ('a number for a name',   lambda: inside('runs', 7), ValueError, 'stays in its folder'),
    ('a bomb',                lambda: gunzip(gzip.compress(bytes(10**6)), 1000, 'a.gz'), ValueError, 'a.gz unpacks to more than 1000 bytes'),
    ('cut short',             lambda: gunzip(gzip.compress(b'text')[:-1], 1000, 'a.gz'), ValueError, 'a.gz is truncated'),
    ('not packed',            lambda: gunzip(b'text', 1000, 'a.gz'), ValueError, 'a.gz is no gzip archive'),
]
