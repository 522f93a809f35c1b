"What the one door for all logs refuses, with what the message must say; run by the one shared test."
import json, tempfile
from pathlib import Path
import pandas as pd
from plcal_study.measure.logs import format_of, read_log


def _read(name, text='', read=read_log, **how):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if name.endswith('/'): path.mkdir()
        else: path.write_text(text)
        return read(path, **how)

LINE = json.dumps(dict(doc_id=0, filtered_resps=[]))
T = pd.DataFrame(dict(conf=[.5], correct=[1]))

CASES = [
    ('no file',               lambda: read_log('no such file.csv'), FileNotFoundError, 'no such file.csv'),
    ('no format',             lambda: _read('a.log', 'hello', format_of), ValueError, 'say what it is by format='),
    ('unknown format',        lambda: _read('a.log', 'hello', format='xls'), ValueError, "format must be one of lm-eval"),
    ('format of a frame',     lambda: read_log(T, format='csv'), ValueError, "format is for files"),
    ('empty folder',          lambda: _read('run/'), ValueError, 'a folder must be a run of HELM'),
    ('cut-off json',          lambda: _read('a.json', '{"samples": ['), ValueError, 'not JSON'),
    ('another json',          lambda: _read('a.json', '{"a": 1}'), ValueError, 'a .json file must be a log of inspect_ai'),
    ('no parquet',            lambda: _read('a.parquet', 'PAR1PAR1'), ValueError, 'not a readable Parquet file'),
    ('empty csv',             lambda: _read('a.csv'), ValueError, 'a.csv: the first line must name the columns'),
    ('columns of a harness',  lambda: _read('a.jsonl', LINE, columns=dict(conf='x')), ValueError, "columns must name the cluster only for lm-eval"),
    ('label of a harness',    lambda: _read('a.jsonl', LINE, label=[0]), ValueError, "label must be a function of the record for lm-eval, got list"),
    ('label of a table',      lambda: read_log(T, label=[0]), ValueError, 'label= is not for a table'),
    ('label of HELM',         lambda: _read('scenario_state.json', '{"request_states": []}', label=str), ValueError, 'label= is not for HELM'),
    ('filter of responses',   lambda: _read('a.jsonl', json.dumps(dict(choices=[{}])), filter='a=1', label=[0]), ValueError, 'filter= is not for responses'),
    ('no number',             lambda: read_log(3), ValueError, 'must be a file, a data frame or a data set, got int'),
]
