"What the guides tell a reader to type works as it stands."
import re
from pathlib import Path
import matplotlib.pyplot as plt

GUIDE = Path(__file__).parents[1] / 'nbs' / 'guides' / 'measure_your_model.md'


def test_the_code_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    "Block after block in one namespace, with a log of the harness where the guide has one."
    from test_logs import record, write
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    blocks = re.findall(r'```python\n(.*?)```', GUIDE.read_text(), re.S)
    assert len(blocks) >= 5
    for code in blocks:
        if 'read_lm_eval' in code: write(tmp_path, record(0, [-1, -2], 0), record(1, [-3, -2], 0), name='samples_mytask.jsonl')
        exec(compile(code, GUIDE.name, 'exec'), space)
    plt.close('all')
    out = capsys.readouterr().out
    assert 'ECE15 0.0' in out and 'Brier 0.' in out

def test_the_commands_and_the_code_on_asking_a_model_run(tmp_path, monkeypatch, capsys, plaut_data):
    "Line after line, with a tiny model in the folder `my-model`; questions are limited, the rest is as it stands."
    import pytest
    pytest.importorskip('torch')
    from plcal_study.lm import extraction, models, testbed
    from plcal_study.study.cli import main
    text = (GUIDE.parent / 'ask_a_model.md').read_text()
    monkeypatch.chdir(tmp_path)
    words = 'A B C D True False the of what'.split()
    tokenizer = testbed.train_tokenizer([' '.join(words)], keep=words)
    models.save(models.build('llama', (1, 16, 2), tokenizer, 'causal', max_position_embeddings=2048), tokenizer, tmp_path / 'my-model')
    lines = [x for block in re.findall(r'```sh\n(.*?)```', text, re.S) for x in block.strip().splitlines()]
    assert len(lines) == 2 and all(x.startswith('plcal extract ') for x in lines)
    for x in lines: assert main([*x.split()[1:], '--limit', '12']) == 0
    assert 'about' in capsys.readouterr().out
    space: dict = {}
    blocks = re.findall(r'```python\n(.*?)```', text, re.S)
    for code in blocks: exec(compile(code, 'ask_a_model.md', 'exec'), space)
    out = capsys.readouterr().out
    assert 'off_option_mass' in out and "'dtype': 'float32'" in out and 'pmi Predictions(model=my-model, task=openbookqa' in out
    assert set(re.findall(r'^\| `(\w+)` \|', text, re.M)) == set(extraction.KEYS)
