"Bad inputs of `plcal_study.study.runs`: (name, call, exception, part of the message)."
import json, tempfile
from pathlib import Path
import fake_question
from plcal_study.study.runs import Run, plan, read_cell, read_run, run_grid, run_id, status, wall

RUN = Run('fake', 'a', 'write', 'coin')

def _run(**fields): return lambda: Run(**dict(question='q1', part='p', task='t', model='m') | fields)
def _grid(runs=(RUN,), work=fake_question.work, **more): return lambda: run_grid(list(runs), work, tempfile.mkdtemp(), progress=False, **more)

def _into_a_file():
    with tempfile.NamedTemporaryFile() as f: run_grid([RUN], fake_question.work, f.name)

def _grid_file(text):
    "What the runner says where the list of cells was spoiled."
    def call():
        with tempfile.TemporaryDirectory() as d:
            (Path(d) / 'runs').mkdir()
            (Path(d) / 'runs' / 'grid-fake-smoke.json').write_text(text)
            run_grid([RUN], fake_question.work, d, progress=False)
    return call

def _no_cell():
    with tempfile.TemporaryDirectory() as d: return read_cell(Path(d) / run_id(RUN))

def _of_main(run, folder): "A function of the script that was started."
_of_main.__module__, _of_main.__qualname__ = '__main__', 'main_work'
import __main__; __main__.main_work = _of_main # noqa: E402, E702

CASES = [
    ('a number as text',      _run(epochs='100'),       ValueError, "epochs must be a whole number from 0, got '100'"),
    ('half an epoch',         _run(epochs=.5),          ValueError, 'epochs must be a whole number from 0, got 0.5'),
    ('a negative number',     _run(seed=-1),            ValueError, 'seed must be a whole number from 0, got -1'),
    ('a truth for a number',  _run(n_train=True),       ValueError, 'n_train must be a whole number from 0, got True'),
    ('no learning rate',      _run(lr=float('nan')),    ValueError, 'lr must be a finite number, got nan'),
    ('no size',               _run(size=None),          ValueError, 'size must be a string, got None'),
    ('a part that is a path', _run(part='../x'),        ValueError, "part must be of letters, digits and . + - _, got '../x'"),
    ('a question of nothing', _run(question=''),        ValueError, "question must be of letters, digits and . + - _, got ''"),
    ('no cell',               _grid([]),                ValueError, 'runs must hold at least one cell, got none'),
    ('a cell twice',          _grid([RUN, Run('fake', 'b', 'write', 'coin'), RUN]), ValueError, 'got the same cell in places 0 and 2'),
    ('no workers',            _grid(workers=0),         ValueError, 'workers must be a whole number from 1, got 0'),
    ('half a worker',         _grid(workers=1.5),       ValueError, 'workers must be a whole number from 1, got 1.5'),
    ('no worker to be through', lambda: wall([1.], 0),   ValueError, 'workers must be a whole number from 1, got 0'),
    ('less than no worker',   lambda: wall([1.], -2),    ValueError, 'workers must be a whole number from 1, got -2'),
    ('a cost below nothing',  _grid(cost=lambda r: -1), ValueError, 'cost must be seconds from 0, got -1.0'),
    ('a cost without number', lambda: plan([RUN], lambda r: float('nan')), ValueError, 'cost must be seconds from 0, got nan'),
    ('a lambda for work',     _grid(work=lambda run, folder: None), ValueError, 'work must be a function of a module'),
    ('work of a notebook',    _grid(work=_of_main),     ValueError, 'put it into a file of its own'),
    ('a file as folder',      _into_a_file,             ValueError, 'out must be a folder, got'),
    ('a spoiled list',        _grid_file('{"format": 1, "ru'), ValueError, 'delete it: the next run writes it again'),
    ('a list of a later version', _grid_file(json.dumps(dict(format=9, plcal_study='9.0'))), ValueError, 'it was written by plcal_study 9.0: use that version'),
    ('not finished',          lambda: read_run('nowhere', RUN), FileNotFoundError, 'run `plcal run fake --scale smoke --out nowhere`'),
    ('no such cell',          _no_cell,                 FileNotFoundError, 'is not there'),
    ('nothing run',           lambda: status('nowhere'), FileNotFoundError, 'nothing was run in nowhere'),
]
