"What the data of the site must refuse."
from plcal_study.study import browse

CASES = [
    ('a number that is none', lambda: browse.as_script('x', [float('nan')]), ValueError, 'not JSON compliant'),
    ('a number without end', lambda: browse.as_script('x', dict(t=float('inf'))), ValueError, 'not JSON compliant'),
    ('records that are not there', lambda: browse.explorer_data(browse.Path('nowhere')), FileNotFoundError, 'no record q6_explorer.csv'),
    ('a ledger that is not there', lambda: browse.ledger_rows(browse.Path('nowhere')), FileNotFoundError, 'ledger.csv'),
]
