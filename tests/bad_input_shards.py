"Bad inputs of `plcal_study.study.shards`: (name, call, exception, part of the message)."
import tempfile
from plcal_study.study.runs import Run
from plcal_study.study.shards import files_at, gather, shard, shard_of

RUN = Run('fake', 'a', 'write', 'coin')

CASES = [
    ('no number',            lambda: shard_of('first'),      ValueError, "shard must be i/n with i from 1 to n, e.g. 3/16, got 'first'"),
    ('counted from 0',       lambda: shard_of('0/4'),        ValueError, "got '0/4'"),
    ('beyond the last',      lambda: shard([RUN], 5, 4),     ValueError, "got '5/4'"),
    ('half a share',         lambda: shard([RUN], 1.5, 4),   ValueError, "got '1.5/4'"),
    ('no results there',     lambda: gather([tempfile.mkdtemp()], tempfile.mkdtemp()), FileNotFoundError, "there is no folder 'runs' in it; name what was given to --out"),
    ('nothing there at all', lambda: gather(['nowhere'], tempfile.mkdtemp()), FileNotFoundError, 'nowhere holds no results'),
    ('no such address',      lambda: files_at('nope://x'),   ValueError, 'nope'),
]
