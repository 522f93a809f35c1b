"""Every reader of files is given files that are damaged or hostile: it reads them, or raises the error that it names, and nothing else.

A few cases a reader here; the long version is `PLCAL_FUZZ=2000 python tests/test_fuzz.py`, which also writes down what it did."""
import contextlib, json, math, os, random, shutil, signal, sys, tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
import pytest
import log_files, mutations
from log_files import GRADED, WITH_LOGITS, questions
from plcal_study.lm import tasks
from plcal_study.measure.logs import format_of, read_log
from plcal_study.measure.predictions import Predictions, from_logits, load, save
from plcal_study.measure.tables import read_columns
from plcal_study.study import anli, cluster, data, pages, plaut2024, rating, runs, shards, tracking
from plcal_study.study.runs import Run, run_id

CASES, PATIENCE = int(os.environ.get('PLCAL_FUZZ', 20)), 20 # cases of each reader; seconds for one


@dataclass
class Subject:
    "A reader with whole files that it has read."
    read: Callable[[], object]              # reads them; what it returns is not looked at, but for predictions
    files: list[Path]                       # those that are damaged
    errors: tuple = (ValueError,)           # that it may raise
    says: Callable[[str], bool] = lambda message: True # does an error say enough?
    clean: Callable[[], object] = lambda: None         # after each case
    whole: dict[Path, bytes] = field(init=False)

    def __post_init__(self): self.whole = {p: p.read_bytes() for p in self.files}


def sound(p):
    "No number came out that the checks forbid."
    assert isinstance(p, Predictions) and len(p) and np.isfinite(p.conf).all() and 0 <= p.conf.min() and p.conf.max() <= 1 and p.correct.dtype == bool and len(set(p.uid.tolist())) == len(p)
    assert p.label is None or ((p.label >= 0) & (p.label < (~np.isnan(p.logits)).sum(1))).all()
    json.dumps(p.meta), repr(p)


# ---- logs and tables

def log(make):
    def subject(folder, rng):
        path, how = make(folder, questions(4, rng.randrange(7)))
        files = [p for p in sorted(folder.rglob('*')) if p.is_file()]
        def read():
            p = read_log(path, skip_bad=(skip := rng.random() < .5), quiet=True, **how)
            sound(p)
            assert p.meta['read']['rows'] == len(p) and (skip or not p.meta['read']['skipped'])
        return Subject(read, files, (ValueError, *([FileNotFoundError] if path.is_dir() else [])), lambda m: any(str(x) in m for x in (path, path.name, *(f.name for f in files))) or 'label=' in m)
    return subject

def several(folder, rng):
    "The files of one run, in a folder."
    for task in 'ab':
        path, _ = log_files.lm_eval(folder, questions(4, rng.randrange(7)))
        path.rename(folder / f'samples_{task}_2026.jsonl')
    (folder / 'results_2026.json').write_text(json.dumps({'model_name': 'm', 'n-shot': dict(a=1, b=1), 'task_hashes': dict(a='x'), 'lm_eval_version': '0.4'}))
    return Subject(lambda: sound(read_log(folder, quiet=True)), sorted(folder.iterdir()), says=lambda m: str(folder) in m)

def unnamed(folder, rng):
    "A file whose kind is told by what is in it."
    path, how = rng.choice(list(WITH_LOGITS.values()))(folder, questions(3))
    file = path if path.is_file() else path / 'scenario_state.json'
    return Subject(lambda: format_of(file), [file], says=lambda m: file.name in m)

def columns(kind):
    def subject(folder, rng):
        path, _ = getattr(log_files, kind)(folder, questions(4, rng.randrange(7)))
        return Subject(lambda: read_columns(path), [path], says=lambda m: str(path) in m)
    return subject

def predictions(folder, rng):
    path, _ = log_files.saved(folder, questions(4, rng.randrange(7)))
    return Subject(lambda: sound(load(path)), [path], says=lambda m: str(path) in m)


# ---- results of runs

CELL = Run('q1', 'steps', 'toy', 'tiny', seed=3)

def cell(folder, run=CELL, **said):
    "A finished cell, as the runner leaves it."
    out = folder / 'runs' / run_id(run)
    (out / 'probes').mkdir(parents=True)
    save(from_logits(np.log([[.7, .3], [.4, .6]]), np.array([0, 0]), meta=dict(step=2)), out / 'probes' / 'test-000002.parquet')
    (out / 'cell.json').write_text(json.dumps(dict(params=7, versions=dict(numpy='2'), source=dict(a=1)) | said))
    runs._write_json(out / 'run.json', id=run_id(run), run=runs.asdict(run), seconds=1.5, made=dict(code='x'), files=runs._files(out))
    return out

def files_of(folder): return [p for p in sorted(folder.rglob('*')) if p.is_file()]

def a_cell(folder, rng):
    "What was finished says so only where each byte is what it was."
    out = cell(folder)
    subject = Subject(lambda: (runs.read_cell(out, deep=True), unchanged(subject)), files_of(out), (ValueError, FileNotFoundError), lambda m: out.name in m)
    return subject

def unchanged(s):
    run = next(p for p in s.whole if p.name == 'run.json')
    listed = {run.parent / n for n in json.loads(run.read_bytes()).get('files', {})} # a list that was shortened vouches for less
    assert all(p.read_bytes() == b for p, b in s.whole.items() if p in listed), 'a changed file was taken for what it was'

def a_folder(folder, rng):
    cell(folder)
    runs._note([CELL, Run('q1', 'steps', 'toy', 'tiny', seed=4)], folder / 'runs')
    failed = folder / 'runs' / f"{run_id(Run('q1', 'steps', 'toy', 'tiny', seed=4))}.failed.json"
    runs._write_json(failed, id=failed.name[:12], run=runs.asdict(Run('q1', 'steps', 'toy', 'tiny', seed=4)), seconds=1., error='ValueError', message='no', traceback='')
    def read():
        runs.status(folder).to_csv()
        runs.made_from([c for c, _ in runs.finished(folder, 'q1')], 2)
    return Subject(read, files_of(folder), (ValueError, FileNotFoundError), lambda m: 'runs' in m)

def a_note(folder, rng):
    "Lists of cells that are written anew."
    (folder / 'runs').mkdir()
    runs._note([CELL], folder / 'runs')
    return Subject(lambda: runs._note([Run('q1', 'other', 'toy', 'tiny')], folder / 'runs'), files_of(folder), says=lambda m: 'grid-q1-smoke.json' in m)

def gathered(folder, rng):
    "Somebody else's results; what comes is what was written, and nothing is written elsewhere."
    out = cell(folder / 'theirs')
    runs._note([CELL], folder / 'theirs' / 'runs')
    def read():
        g = shards.gather([folder / 'theirs'], folder / 'ours')
        if g.came: runs.read_cell(folder / 'ours' / 'runs' / out.name, deep=True)
        strays = [p for p in files_of(folder) if not p.is_relative_to(folder / 'theirs') and not p.is_relative_to(folder / 'ours')]
        assert not strays, strays
    return Subject(read, files_of(folder), (ValueError, FileNotFoundError), clean=lambda: shutil.rmtree(folder / 'ours', ignore_errors=True))

def fetched(folder, rng):
    "The copy of an unfinished cell, from an address."
    (folder / 'half').mkdir()
    (folder / 'half' / 'state.txt').write_text('x')
    fs, place = shards.files_at(f'file://{folder}/there')
    cluster._send(folder / 'half', fs, place)
    def read():
        cluster._fetch(fs, place, folder / 'deep' / 'here')
        assert not [p for p in files_of(folder) if p.relative_to(folder).parts[0] not in ('half', 'there') and not p.is_relative_to(folder / 'deep' / 'here')]
    return Subject(read, [folder / 'there' / '.whole.json'], (ValueError, FileNotFoundError), clean=lambda: shutil.rmtree(folder / 'deep', ignore_errors=True))

def lock(folder, rng):
    "What a lock and a worker's note say; nobody is ended but the one who signed, and only where he is known to live."
    path, note = folder / '.0123456789ab.lock', folder / '.0123456789ab.partial' / '.worker'
    note.parent.mkdir()
    path.write_text(runs._me())
    note.write_text(json.dumps(dict(pid=os.getpid(), born='1') | runs._here()))
    def read():
        assert runs._stale(path, {}) in (True, False)
        runs._holder(path.read_text(errors='replace')), runs._worker(note), runs._end_orphan(note)
        with cluster._stopped(note.parent): pass
    return Subject(read, [path, note], ())

def begun(folder, rng):
    made = dict(format=1, code='x', numpy='2')
    (folder / '.begun.json').write_text(json.dumps(made))
    (folder / 'run.json').write_text('{}')
    (folder / 'run.json').unlink()
    (folder / '.seconds').write_text('12.5')
    def read():
        assert 0 <= runs._spent(folder) < math.inf
        runs._go_on(folder, made)
    return Subject(read, files_of(folder), says=lambda m: 'begun by another version' in m)

def whole(folder, rng):
    "A cell that was whole when its runner died is taken as it is, or done again."
    out = cell(folder)
    subject = Subject(lambda: runs._whole(out, out.name) is None or unchanged(subject), files_of(out), (FileNotFoundError,))
    return subject

def tracked(folder, rng):
    out = cell(folder)
    return Subject(lambda: tracking.numbers_of(out), files_of(out), (ValueError, FileNotFoundError), lambda m: out.name in m)


# ---- data and records

def texts(folder, rng):
    "A data set in its archive: the bytes of the pinned revision, or an error."
    import gzip, io, tarfile
    path, out = folder / 'toy.tar.gz', io.BytesIO()
    rows = b'grade confidence_level\nCorrect 0.5\nWrong 0.25\n'
    with tarfile.open(fileobj=out, mode='w') as t:
        for name in ('x/readme.md', 'x/main_results/a.txt', 'x/main_results/b.txt'):
            (member := tarfile.TarInfo(name)).size = len(rows)
            t.addfile(member, io.BytesIO(rows))
    path.write_bytes(gzip.compress(out.getvalue()))
    right = data.read_texts(path, 'main_results')
    d = data.DataSet('toy', '', '', '', '0' * 40, 'main_results', 2, 6, data.content_hash(right))
    def read():
        got = data.read_texts(path, 'main_results')
        data.check_content(d, got)
        assert got == right
    return Subject(read, [path], says=lambda m: 'toy' in m)

def answers(folder, rng):
    "Graded answers, one a line."
    for kind in ('norm', 'raw'): (folder / f'arc_a-q0to2_no_abst_{kind}_logits_first_prompt.txt').write_bytes(b'grade confidence_level\nCorrect 0.5\nWrong 0.25\n')
    def read():
        got = data.read_texts(folder, 'x')
        rows = plaut2024._sound(got, [plaut2024._key(n) for n in got])
        assert np.isfinite(rows.value).all() and (rows.grade >= 0).all()
    return Subject(read, files_of(folder), says=lambda m: '.txt' in m or 'line' in m or 'answers' in m)

def raw(folder, rng):
    "A file of the manifest is that very file."
    (folder / 'trec').mkdir()
    file, body = 'trec/test.txt', b'NUM:dist How far is it ?\n'
    (folder / file).write_bytes(body)
    def read():
        known, tasks.files = tasks.files, lambda: {file: (len(body), tasks.hashlib.sha256(body).hexdigest())}
        try: assert tasks.read_raw(folder, file) == body
        finally: tasks.files = known
    return Subject(read, [folder / file], says=lambda m: file in m)

def table_of_texts(folder, rng):
    path = folder / 'a.csv'
    path.write_text('a,label\n"one, two",1\nthree,0\n')
    def read():
        t = tasks.parse_csv(path.read_bytes(), 'a.csv', ('a', 'label'))
        assert list(t) == ['a', 'label'] and all(isinstance(x, str) for x in t.to_numpy().ravel())
        tasks.to_examples(t, 'a', '01')
    return Subject(read, [path])

def lines_of_texts(folder, rng):
    path = folder / 'a.jsonl'
    path.write_text('{"a": "one", "label": 1}\n{"a": "two", "label": 0}\n')
    return Subject(lambda: tasks.parse_jsonl(path.read_bytes(), 'a.jsonl', ('a', 'label')), [path])

def softmaxes(folder, rng):
    path = folder / 'a.csv'
    path.write_text('p\tsaid\n[0.7, 0.2, 0.1]\te\n[0.1, 0.2, 0.7]\tc\n')
    def read():
        t = tasks.parse_csv(path.read_bytes(), 'a.csv', ('p', 'said'), sep='\t')
        p = anli.softmaxes(t.p, t.said, 'a.csv')
        assert len(p) == 0 or p.shape == (len(t), 3) and np.isfinite(p).all()
    return Subject(read, [path])

def ratings(folder, rng):
    (folder / 'key.csv').write_text('item,model,prompt,text\ns-001,m,,one\ns-002,m,p,two\n')
    (folder / 'sheet.csv').write_text('sheet,rater,item,question,mark\n' + ''.join(f's,ab,{i},{q},3\n' for i in ('s-001', 's-002') for q in rating.ASKED))
    def read():
        d = rating.read_ratings([folder / 'sheet.csv'], folder / 'key.csv')
        assert d.mark.isin(rating.SCALE).all() and len(d) >= 2 * len(rating.ASKED)
    return Subject(read, files_of(folder))

def site_records(folder, rng):
    (folder / 'q9_cells.csv').write_text('model,value\na,1.5\nb,\n')
    (folder / 'verdicts.csv').write_text('page,claim,verdict\nq5,one,replicates\n')
    (folder / 'about.json').write_text('{"cells": 3, "versions": [{"numpy": "2"}]}')
    return Subject(lambda: (pages.read_record('q9_cells', folder), pages.read_verdicts(folder), pages.about(folder)), files_of(folder), says=lambda m: str(folder) in m)


# ---- models, and what is learned

_MADE: list = []

def small():
    "A classifier of a few weights; built once, and copied."
    import copy
    from plcal_study.lm.models import HeadClassifier, build
    from plcal_study.lm.testbed import as_task, lexicon, reframe, text_world, train_tokenizer
    if not _MADE:
        world = text_world(k=2, bayes_accuracy=.9, vocab=20, topics=2, seed=0)
        tok = reframe(train_tokenizer(lexicon(world), keep=world.labels), 'cls')
        _MADE.append(HeadClassifier(build('bert', (1, 8, 1), tok, 'classify', n_labels=2), tok, as_task(world, 8, 4, 4, seed=0), max_length=16))
    return copy.deepcopy(_MADE[0])

def delta_file(folder, rng):
    from plcal_study.lm.delta import adapter, load_delta, lora, save_delta
    save_delta(rng.choice([lambda c: adapter(c, 2), lambda c: lora(c, 2)])(small()), path := folder / 'a.safetensors')
    return Subject(lambda: load_delta(small(), path), [path], says=lambda m: path.name in m)

def calibrator(folder, rng):
    "The file of a probe, or of a judge that did not learn."
    from safetensors.torch import save
    from plcal_study.lm.extraction import fingerprint
    from plcal_study.lm.learned import load_calibrator
    import torch
    clf, task = small(), object()
    said = dict(kind='probe', where='answer', name='E-MLP', saw=dict(model=fingerprint(clf.model), task='toy', used=4))
    (path := folder / 'a.safetensors').write_bytes(save(dict(w=torch.ones(8, dtype=torch.float64), b=torch.zeros(1, dtype=torch.float64)), metadata=dict(calibrator=json.dumps(said))))
    return Subject(lambda: load_calibrator(path, clf, task), [path], says=lambda m: path.name in m)

def tally(folder, rng):
    from plcal_study.study.aspects import Tally, load_tally, save_tally
    save_tally(Tally(np.ones((2, 3)), np.ones((2, 3)), np.ones(4), np.ones(4), 2), path := folder / 'a.safetensors')
    return Subject(lambda: load_tally(path), [path], says=lambda m: path.name in m)

def training(folder, rng):
    "The card of a training and its checkpoint."
    import torch
    from types import SimpleNamespace
    from plcal_study.lm import training as t
    model = torch.nn.Linear(2, 2)
    adam = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    adam.step()
    r = t._Run.__new__(t._Run)
    r.__dict__.update(home=folder, model=model, adam=adam, losses=torch.zeros(3), acc=SimpleNamespace(is_main_process=True), step=2, tokens=5, slots=6, seconds=.5, seen=0)
    identity = dict(format=1, rows=4, meta=dict(a=1))
    t._home(folder, identity)
    t._keep(r)
    def read():
        t._home(folder, identity)
        t._resume(r)
        assert type(r.step) is int and r.step >= 0
    return Subject(read, files_of(folder), says=lambda m: str(folder) in m)

def pieces(folder, rng):
    from plcal_study.lm.extraction import _json
    (folder / 'job.json').write_text('{"task": "toy", "chunk": 4}')
    (folder / '00001.json').write_text('["letters", "entity"]')
    def read():
        assert isinstance(_json(folder / 'job.json'), dict)
        assert all(Path(k).name == k for k in _json(folder / '00001.json'))
    return Subject(read, files_of(folder), says=lambda m: str(folder) in m)

def reply(folder, rng):
    "What a server says."
    from plcal_study.lm.api import EndpointError, _pause, option_of, reply_of
    q, path = questions(2, rng.randrange(7)), folder / 'a.json'
    body = rng.choice([log_files.chat, log_files.completion])(q.loglik[0])
    path.write_text(json.dumps(body))
    def read():
        try: said = json.loads(path.read_bytes())
        except (ValueError, RecursionError): return
        assert _pause(str(said)[:40], 1, .1) >= 0
        for ask in (reply_of, lambda b: option_of(b, 'Q? A', ' A')):
            with contextlib.suppress(EndpointError): ask(said)
    return Subject(read, [path], ())


READERS = {f'log {n}': log(f) for n, f in {**WITH_LOGITS, **GRADED}.items()} | {f'columns of {k}': columns(k) for k in ('csv', 'jsonl', 'parquet')} | dict(
    folder_of_logs=several, kind_of_log=unnamed, predictions=predictions, cell=a_cell, folder_of_runs=a_folder, list_of_cells=a_note, gathered=gathered, fetched=fetched, lock=lock, begun=begun, whole_cell=whole, tracked=tracked,
    archive=texts, graded_answers=answers, raw_file=raw, table_of_texts=table_of_texts, lines_of_texts=lines_of_texts, softmaxes=softmaxes, ratings=ratings, site_records=site_records,
    delta_file=delta_file, calibrator=calibrator, tally=tally, training=training, pieces=pieces, reply=reply)


# ---- the fuzzer

class Slow(BaseException): "A case takes too long."

@contextlib.contextmanager
def within(seconds):
    def late(*_): raise Slow
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try: yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

def tried(s, name, case):
    "What is wrong with the way a damaged file was met, or None."
    try:
        with within(PATIENCE): s.read()
    except s.errors as e: return None if s.says(str(e)) else f'{name}, case {case}: it does not say which file: {type(e).__name__}: {str(e)[:300]}'
    except Slow: return f'{name}, case {case}: not through in {PATIENCE} s'
    except Exception as e:
        t = e.__traceback__
        while t.tb_next: t = t.tb_next
        return f'{name}, case {case}: {type(e).__name__}: {str(e)[:300]} ({Path(t.tb_frame.f_code.co_filename).name}:{t.tb_lineno})'
    return None

def fuzz(name, cases, folder):
    "So many damaged files for one reader; what is wrong with the way some were met."
    for case in range(cases):
        rng = random.Random(f'{name} {case}')
        if case % 50 == 0: # new whole files now and then
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            s = READERS[name](folder, rng)
            s.read()
            s.clean()
        for _ in range(rng.choice([1, 1, 1, 2, 4])): (p := rng.choice(s.files)).write_bytes(mutations.damaged(p.read_bytes(), rng))
        if (fault := tried(s, name, case)): yield fault
        s.clean()
        for p, b in s.whole.items():
            p.parent.mkdir(parents=True, exist_ok=True)
            p.write_bytes(b)

def never(pid, n): raise AssertionError(f'a signal to {pid}')

@pytest.mark.parametrize('name', READERS)
def test_a_damaged_file_is_read_or_refused_by_name(tmp_path, name, monkeypatch):
    monkeypatch.setattr(os, 'killpg', never)
    for fault in fuzz(name, CASES, tmp_path / 'files'): raise AssertionError(fault)


def alone(name, cases, folder): # faults by kind
    "The cases of one reader in a process of its own, which may be ended by them."
    out = folder.with_suffix('.json')
    if not (pid := os.fork()):
        met = {}
        for fault in fuzz(name, cases, folder): met.setdefault(fault.rpartition('(')[2] + fault.partition(': ')[2][:30], []).append(fault)
        out.write_text(json.dumps(met))
        os._exit(0)
    if how := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        shutil.copytree(folder, kept := Path(tempfile.mkdtemp(), 'files'))
        return {'end': [f'{name}: its process ended with {how}; the files are in {kept}']}
    return json.loads(out.read_text())

def main(wanted):
    "Try all readers, or those that are named, quick ones ten times as often; each is written down when it is through."
    from datetime import date
    from importlib.metadata import version
    import warnings
    warnings.simplefilter('ignore')
    np.seterr(all='ignore')
    os.killpg = never
    path = Path(__file__).parents[1] / 'data' / 'records' / 'fuzz.json'
    with tempfile.TemporaryDirectory(dir='/dev/shm' if os.path.isdir('/dev/shm') else None) as tmp:
        for name in wanted or READERS:
            met = alone(name, 50, folder := Path(tmp, 'files'))
            cpu = os.times().children_user
            met = met or alone(name, CASES, folder)
            quick = (os.times().children_user - cpu) / CASES < .003
            n, met = CASES * (10 if quick else 1), met or (alone(name, 10 * CASES, folder) if quick else met)
            for faults in met.values(): print(f'FAULT ({len(faults)} times) {faults[0]}', flush=True)
            print(f'{name}: {n:,} cases, {1000 * (os.times().children_user - cpu) / (n + CASES * quick):.1f} ms each', flush=True)
            r = json.loads(path.read_text())
            r |= dict(date=str(date.today()), python=sys.version.split()[0], versions={n: version(n) for n in ('numpy', 'pandas', 'pyarrow', 'safetensors', 'torch')})
            r['cases'] = {n: c for n, c in (r['cases'] | {name: n}).items() if n in READERS}
            r['left'] = {n: k for n, k in (r['left'] | {name: len(met)}).items() if k and n in READERS}
            path.write_text(json.dumps(r, indent=1, ensure_ascii=False) + '\n')


if __name__ == '__main__': main(sys.argv[1:])
