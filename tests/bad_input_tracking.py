"Bad inputs of `plcal_study.study.tracking`: (name, call, exception, part of the message)."
import json, tempfile
from pathlib import Path
from plcal_study.study import tracking
from plcal_study.study.tracking import numbers_of, open_tracker

def _cell(**files):
    "The numbers of a folder with these files."
    def call():
        with tempfile.TemporaryDirectory() as d:
            for name, text in files.items(): (Path(d) / f'{name}.json').write_text(text)
            numbers_of(d)
    return call

def _missing():
    tracking.TRACKERS['a_tracker_that_is_not_here'] = None
    try: open_tracker('a_tracker_that_is_not_here:mine')
    finally: del tracking.TRACKERS['a_tracker_that_is_not_here']

CASES = [
    ('no tracker of that name', lambda: open_tracker('neptune:mine'), ValueError, "got 'neptune:mine'"),
    ('no project', lambda: open_tracker('trackio:'), ValueError, "trackio:PROJECT, wandb:PROJECT, mlflow:PROJECT, got 'trackio:'"),
    ('no colon', lambda: open_tracker('trackio'), ValueError, 'track must be one of'),
    ('not installed', _missing, ImportError, 'is not installed; pip install a_tracker_that_is_not_here, or leave --track out'),
    ('no folder', lambda: numbers_of('nowhere'), FileNotFoundError, 'nowhere is not there'),
    ('no finished cell', _cell(), ValueError, 'has no run.json'),
    ('a run.json cut short', _cell(run='{"format": 1'), ValueError, 'is damaged or cut short'),
    ('another format', _cell(run=json.dumps(dict(format=99))), ValueError, 'format version 99'),
]
