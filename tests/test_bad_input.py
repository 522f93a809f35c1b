"Bad input never gives a number: one table a module, `bad_input_<module>.py`, of what goes in and what is said."
import importlib, pytest
from pathlib import Path

TABLES = {p.stem: importlib.import_module(p.stem).CASES for p in sorted(Path(__file__).parent.glob('bad_input_*.py'))}
ROWS = [pytest.param(*row[1:], id=f'{table.removeprefix("bad_input_")}: {row[0]}') for table, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize('call, error, says', ROWS)
def test_bad_input(call, error, says):
    with pytest.raises(error) as e: call()
    assert says in str(e.value), f'it says: {e.value}'

def test_every_module_of_the_measuring_floor_has_a_table():
    modules = {p.stem for p in (Path(__file__).parents[1] / 'plcal_study' / 'measure').glob('[a-z]*.py')}
    assert modules <= {t.removeprefix('bad_input_') for t in TABLES}
