"What the guides tell a reader to type works as it stands."
import json, re, shlex
from pathlib import Path
import matplotlib.pyplot as plt
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / 'nbs' / 'guides'


def blocks(name):
    "Every block of code of a guide that is to be typed: its language and its text, in order. Blocks of `text` need a GPU, a cluster or Colab."
    return re.findall(r'```(python|sh)\n(.*?)```', (GUIDES / name).read_text(), re.S)

def walk(name, here, monkeypatch, also=()):
    "Do what the guide says, in an empty folder: Python in one namespace, `plcal` by its own entry; what else a shell is told is left out."
    from plcal_study.study.cli import main
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    space, seen = {'__name__': 'guide'}, 0
    for language, code in blocks(name):
        if language == 'python': exec(compile(code, name, 'exec'), space)
        else:
            for line in (x for x in code.strip().splitlines() if x.startswith('plcal ')): assert main([*shlex.split(line, comments=True)[1:], *also]) == 0, line
        seen += 1
    plt.close('all')
    return seen

def tiny(at):
    "A model in the hub's layout that knows letters and little else."
    pytest.importorskip('torch')
    from plcal_study.lm import models, testbed
    words = 'A B C D True False the of what'.split()
    tokenizer = testbed.train_tokenizer([' '.join(words)], keep=words)
    models.save(models.build('llama', (1, 16, 2), tokenizer, 'causal', max_position_embeddings=2048), tokenizer, at)


def test_five_minutes(tmp_path, monkeypatch, capsys):
    "With a log of the harness where the guide has one."
    import log_files
    log_files.lm_eval(tmp_path, log_files.questions())[0].rename(tmp_path / 'samples_mytask.jsonl')
    assert walk('measure_your_model.md', tmp_path, monkeypatch) >= 8
    out = capsys.readouterr().out
    assert 'ECE15 0.1' in out and 'Brier score 0.2' in out and 'method=temperature, cross_fit=5' in out
    assert re.search(r'Certified\(threshold=0\.\d+', out), 'nothing could be promised'

def test_asking_a_model(tmp_path, monkeypatch, capsys, plaut_data):
    "Line after line, with a tiny model in the folder `my-model`; questions are limited, the rest is as it stands."
    tiny(tmp_path / 'my-model')
    from plcal_study.lm import extraction
    from plcal_study.study.cli import main
    text = (GUIDES / 'ask_a_model.md').read_text()
    monkeypatch.chdir(tmp_path)
    lines = [x for language, code in blocks('ask_a_model.md') if language == 'sh' for x in code.strip().splitlines()]
    assert len(lines) == 2 and all(x.startswith('plcal extract ') for x in lines)
    for x in lines: assert main([*x.split()[1:], '--limit', '12']) == 0
    assert 'about' in capsys.readouterr().out
    space: dict = {}
    for language, code in blocks('ask_a_model.md'):
        if language == 'python': exec(compile(code, 'ask_a_model.md', 'exec'), space)
    out = capsys.readouterr().out
    assert 'off_option_mass' in out and "'dtype': 'float32'" in out and 'pmi Predictions(model=my-model, task=openbookqa' in out
    assert set(re.findall(r'^\| `(\w+)` \|', text, re.M)) == set(extraction.KEYS)

def test_adding_a_task(tmp_path, monkeypatch, capsys):
    tiny(tmp_path / 'my-model')
    assert walk('add_a_task.md', tmp_path, monkeypatch) >= 6
    out = capsys.readouterr().out
    assert 'Task(quiz: 0 classes; train 20, val 15, test 25)' in out and 'Tick: A' in out
    assert 'task=quiz, split=test, prompt=mine, shots=1, mode=letters' in out and "'plus 0'" in out

def test_a_grid_on_a_cluster(tmp_path, monkeypatch, capsys):
    pytest.importorskip('torch')
    assert walk('cluster.md', tmp_path, monkeypatch) >= 4
    out = capsys.readouterr().out
    assert '6 cells done now, 0 done before, 0 failed' in out and '0 cells done now, 6 done before' in out
    assert re.search(r'done +6\n', out) and '6 of 6 cells done' in out and '(0.2, 2, 0.4)' in out

def test_commands_that_need_a_gpu_are_commands(capsys):
    "Those in blocks of `text` are not run, but their options exist."
    from plcal_study.study.cli import _parser
    said = {name: [line.strip().removeprefix('!') for block in re.findall(r'```text\n(.*?)```', (GUIDES / name).read_text(), re.S) for line in block.splitlines() if line.strip().removeprefix('!').startswith('plcal ')]
            for name in ('colab.md', 'cluster.md', 'ask_a_model.md')}
    assert all(said.values())
    for lines in said.values():
        for line in lines: _parser().parse_args(shlex.split(line, comments=True)[1:])

def test_dry_runs_that_the_guides_name(tmp_path, monkeypatch, capsys):
    pytest.importorskip('torch')
    walk('colab.md', tmp_path, monkeypatch)
    assert 'in all' in capsys.readouterr().out and not list(tmp_path.iterdir())

def cells(name): return json.loads((GUIDES / name).read_text())['cells']

def test_adding_a_calibrator_and_one_that_reads():
    "The cells run in order; the learned one, which is shown only, on a world of texts."
    space: dict = {}
    for c in cells('add_a_calibrator.ipynb'):
        if c['cell_type'] == 'code': exec(''.join(c['source']), space)
    pytest.importorskip('torch')
    from plcal_study.lm import testbed
    from plcal_study.measure.predictions import from_grades
    shown = next(m[1] for c in cells('add_a_calibrator.ipynb') if (m := re.search(r'```python\n(.*?)```', ''.join(c['source']), re.S)))
    exec(compile(shown, 'shown', 'exec'), space)
    task = testbed.as_task(testbed.text_world(k=2, length=12, vocab=60, topics=1), 40, 200, 100, name='toy')
    def said(split): # the short ones are right
        size = np.char.str_len(task[split].a.astype(str))
        return from_grades(np.full(len(size), .6), (size <= np.median(size)) ^ (np.arange(len(size)) % 10 == 0), uid=task[split].uid, meta=dict(split=split))
    after = space['fit_by_length'](said('val'), task).on(task)(said('test'))
    assert after.meta['method'] == 'by length' and len(np.unique(after.conf)) == 2 and after.conf.max() > .8 and after.conf.min() < .2
    with pytest.raises(ValueError, match='fitted on split'): space['fit_by_length'](said('test'), task)

def test_the_diagram_is_explained_as_drawn():
    "The numbers in the first figure are those of the list below it, and every figure has words."
    text = [''.join(c['source']) for c in cells('read_a_diagram.ipynb')]
    drawn = next(s for s in text if 'fig-parts' in s)
    marks = {*map(int, re.findall(r'\((\d), ', drawn.split('for mark in')[1])), 6}
    assert marks == {*map(int, re.findall(r'^(\d)\. \*\*', next(s for s in text if '**The diagonal.**' in s), re.M))} == set(range(1, 7))
    figures = [s for s in text if 'fig-cap' in s]
    assert len(figures) == 4 and all(len(re.search(r'fig-alt: "(.+)"', s)[1]) > 60 for s in figures)

def test_every_guide_is_on_the_site_and_walked_through():
    conf = (ROOT / 'docs' / 'conf.py').read_text()
    for p in GUIDES.glob('*.*'):
        assert f'"guides/{p.stem}"' in conf, p.name
        if p.suffix == '.md' and re.search(r'```python', p.read_text()): assert p.name in Path(__file__).read_text(), f'{p.name} has code that no test runs'
