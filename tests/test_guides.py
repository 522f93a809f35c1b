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
