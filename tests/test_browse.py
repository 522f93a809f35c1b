"What the site's explorer and ledger are fed with: the records, and nothing else."
import json
import numpy as np, pandas as pd, pytest
from plcal_study.measure.abstention import score_at
from plcal_study.study import browse, pages, q6


@pytest.fixture(scope='module')
def cohort(): return pages.testbed_cohort(n=100, seed=5)[0]

def test_counts_are_those_of_answering_by_hand(cohort):
    "Points and silence from the counts against `score_at` on the answers, at every threshold, for both scores and data sets of unequal size."
    e = q6.explorer(cohort, 7)
    for (model, score), own in e.groupby(['model', 'score']):
        sets = q6.sets_of(cohort, model, score)
        for r in own.to_dict('records'):
            for d, (value, correct) in zip(cohort.datasets, sets, strict=True):
                by_hand = score_at(value, correct, r['threshold'], 2)
                assert 100 * (r[f'{d}_right'] - 2 * r[f'{d}_wrong']) / len(value) == pytest.approx(by_hand.points)
                assert 100 * (r[f'{d}_right'] + r[f'{d}_wrong']) / len(value) == pytest.approx(100 - by_hand.pct_abstained)
        first = own.iloc[0]
        assert [first[f'{d}_right'] + first[f'{d}_wrong'] for d in cohort.datasets] == [len(v) for v, _ in sets] # the lowest answers everything

def test_thresholds_rise_in_equal_shares_of_rows(cohort):
    e = q6.explorer(cohort, 5)
    own = e[(e.model == cohort.models[0]) & (e.score == 'raw')]
    value = np.concatenate([v for v, _ in q6.sets_of(cohort, cohort.models[0], 'raw')])
    assert own.threshold.is_monotonic_increasing and own.threshold.is_unique and len(own) == 5
    np.testing.assert_allclose([(value >= t).mean() for t in own.threshold], [1, .75, .5, .25, 0], atol=.011)

def test_thresholds_are_written_as_they_are_counted(cohort):
    "Six digits survive the record, so a reader who types the threshold gets the counts."
    for t in q6.explorer(cohort, 5).threshold: assert float(f'{t:.10g}') == t and round(t, 6) == t

def test_the_script_is_one_assignment_of_json():
    text = browse.as_script('a"b', dict(x=[1, None, 'ä</script>']))
    head, body = text.split(' = ', 1)[0], text.split('["a\\"b"] = ')[1]
    assert head == '(window.plcalData' and json.loads(body.rstrip(';\n')) == dict(x=[1, None, 'ä</script>'])

def test_the_explorer_has_the_records_and_no_other_number():
    data, e, d = browse.explorer_data(), pages.read_record('q6_explorer'), pages.read_record('q6_draws')
    for (score, model), own in e.groupby(['score', 'model']):
        c = data['counts'][score][model]
        assert c['threshold'] == own.threshold.tolist()
        for i, name in enumerate(data['datasets']): assert c['right'][i] == own[f'{name}_right'].tolist() and c['wrong'][i] == own[f'{name}_wrong'].tolist()
    assert sum(len(c['threshold']) for m in data['counts'].values() for c in m.values()) == len(e)
    assert len(data['draws']) == d.kind.isin(['k=20', *data['datasets']]).sum()
    r = d[(d.kind == 'mmlu') & (d.model == 'Mixtral') & (d.score == 'norm') & (d.penalty == 2)].iloc[0]
    np.testing.assert_allclose(data['draws']['norm|Mixtral|mmlu|2']['answered'], [100 - r.abstained_mean, 100 - r.abstained_hi, 100 - r.abstained_lo], atol=.006)
    assert (pages.records_dir() / 'q6_explorer.csv').stat().st_size < 150_000

def test_the_ledger_has_every_cell_of_both_records():
    rows = browse.ledger_rows()
    led, near = pages.read_record('ledger'), pages.read_record('q2_published')
    assert len(rows) == len(led) + len(near)
    assert rows.status.value_counts()['equal'] == (led.status == 'equal').sum()
    inside = (near.lo <= near.published) & (near.published <= near.hi)
    assert (rows.status == 'in our interval').sum() == inside.sum() and (rows.status == 'no interval').sum() == near.lo.isna().sum()
    assert not (set(rows.ours) & {'', 'nan'})

def test_status_beside_an_interval(tmp_path):
    cells = pd.DataFrame(dict(table='T', model='m', dataset='d', metric=list('abcde'), published=[1., 2., 3., 4., 5.], ours=[1, 1, 1, np.nan, 5], lo=[1, 0, 3, np.nan, np.nan], hi=[2, 1.9, 3, np.nan, np.nan]))
    pages.write_records(tmp_path, dict(ledger=pages.read_record('ledger').head(0), q2_published=cells), {})
    rows = browse.ledger_rows(tmp_path)
    assert rows.status.tolist() == ['in our interval', 'outside our interval', 'in our interval', 'no interval', 'no interval']
    assert rows.ours.tolist() == ['1.00 [1.00, 2.00]', '1.00 [0.00, 1.90]', '1.00 [3.00, 3.00]', 'not measured', '5.00']

def test_packing_the_ledger_loses_nothing():
    rows = browse.ledger_rows()
    packed = json.loads(json.dumps(browse.ledger_data(rows)))
    back = [[packed['values'][c][x] if c in packed['values'] else x for c, x in zip(packed['columns'], r, strict=True)] for r in packed['rows']]
    assert back == rows.to_numpy().tolist()
