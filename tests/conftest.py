"Shared by all tests: where the raw data lie, and the folder of bad-input tables on the path."
import os, sys
from pathlib import Path
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope='session')
def plaut_data():
    "The folder of raw data; tests that need it skip, with the reason, where it is absent."
    root = os.environ.get('PLCAL_DATA')
    if not root or not (Path(root) / 'plaut2024').exists():
        pytest.skip('the raw results of Plaut et al. are not here: set PLCAL_DATA, or run `plcal data get plaut2024`')
    return Path(root)
