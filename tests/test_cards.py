"The cards name every file that is published, and everything that it was made from."
import json, re
from pathlib import Path
import pandas as pd

ROOT = Path(__file__).parents[1]
CARD = json.loads((ROOT / 'nbs' / 'cards.ipynb').read_text())['cells']
SOURCE = '\n'.join(''.join(c['source']) for c in CARD)
SHOWN = '\n'.join(''.join(o.get('data', {}).get('text/markdown', '')) for c in CARD for o in c.get('outputs', []))
RECORDS = sorted((ROOT / 'data' / 'records').iterdir())


def test_every_record_is_described_with_its_rows():
    assert RECORDS and '**not described**' not in SHOWN
    rows = {m[1]: m[2] for m in re.finditer(r'^\| `([\w.]+)` \| ([\d,]*) \| \S.{10,} \|$', SHOWN, re.M)}
    assert rows.keys() == {p.name for p in RECORDS}, 'describe it in WHAT of nbs/cards.ipynb, and run it'
    stale = [p.name for p in RECORDS if p.suffix == '.csv' and rows[p.name] != f'{len(pd.read_csv(p)):,}']
    assert not stale, f'python docs/nbtool.py run nbs/cards.ipynb: {stale}'

def test_sizes_costs_and_cells_are_those_of_the_records():
    for p in RECORDS:
        if not p.name.endswith('_about.json') or p.name.startswith('instruments'): continue
        a = json.loads(p.read_text())
        assert f"{a['cells']} of {a['planned']} cells" in SHOWN and f"{a['core_minutes']:g} core minutes" in SHOWN, p.name

def test_every_data_set_and_task_is_named_with_its_licence():
    for name in ('datasets', 'tasks'):
        for row in pd.read_csv(ROOT / 'data' / f'{name}.csv', dtype=str, keep_default_na=False).itertuples(index=False):
            assert re.search(rf'^\| `{row.name}` \| .*{re.escape(row.licence)}', SHOWN, re.M), row.name

def test_the_readme_of_the_data_names_every_set_of_records():
    text = (ROOT / 'data' / 'README.md').read_text()
    sets = {re.match(r'(q\d|ladder|instruments)_|', p.name)[0] or p.name for p in RECORDS} - {'about.json'}
    assert all(f'`{s}*`' in text or f'`{s}`' in text for s in sets), sets

def test_the_glossary_has_every_verdict_scale_and_mark_of_the_pages():
    text = (ROOT / 'nbs' / 'glossary.md').read_text()
    for word in ('replicates', 'contradicts', 'undecided', 'smoke', 'laptop', 'colab', 'paper', 'CORP', 'Holm', 'ledger', 'testbed', 'cross_fit', 'certify_threshold'): assert word in text, word
    tables = [t for t in re.split(r'\n\n', text) if t.startswith('|')]
    assert len(tables) == 3
    for t in tables:
        wide = {len(re.sub(r'\\\|', '', line).split('|')) for line in t.splitlines()}
        assert len(wide) == 1, wide

def test_what_is_said_of_formats_on_disk_is_so():
    from plcal_study.study import runs
    text = (ROOT / 'nbs' / 'versions.md').read_text()
    assert isinstance(runs.FORMAT, int) and '`format`' in text and '`version`' in text
    assert "'plcal'" in (ROOT / 'plcal_study' / 'measure' / 'predictions.py').read_text()
