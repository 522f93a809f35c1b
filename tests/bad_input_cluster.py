"Bad inputs of `plcal_study.study.cluster`: (name, call, exception, part of the message)."
import tempfile
import fake_question
from plcal_study.study.cluster import run_on_ray
from plcal_study.study.runs import Run

RUN = Run('fake', 'a', 'write', 'coin')

def _grid(runs=(RUN,), work=fake_question.work, **more): return lambda: run_on_ray(list(runs), work, tempfile.mkdtemp(), progress=False, **more)

CASES = [
    ('no cell',           _grid([]),                             ValueError, 'runs must hold at least one cell, got none'),
    ('a cell twice',      _grid([RUN, RUN]),                     ValueError, 'got the same cell in places 0 and 1'),
    ('a lambda for work', _grid(work=lambda run, folder: None),  ValueError, 'work must be a function of a module'),
    ('no cost',           _grid(cost=lambda r: float('nan')),    ValueError, 'cost must be seconds from 0, got nan'),
    ('no tries',          _grid(tries=0),                        ValueError, 'tries must be a whole number from 1, got 0'),
    ('no time',           _grid(every=0),                        ValueError, 'every must be seconds above 0, got 0'),
]
