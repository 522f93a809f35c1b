"Verdicts follow their rule, whatever the numbers."
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from plcal_study.study.claims import Claim, Evidence, decide, judge, p_text, verdict_table


def claim(says='+', sesoi=.3, id='c', source='s'): return Claim(id, source, 'text', 'q0', 'effect', says, sesoi)
def evidence(estimate, lo, hi, p, **kw): return Evidence(claim(**kw), estimate, lo, hi, p, 10, 'models', 'demo')

NUMBERS = st.floats(-2, 2, allow_nan=False)

@settings(deadline=None, max_examples=50, derandomize=True)
@given(NUMBERS, NUMBERS, st.floats(0, 1))
def test_a_negative_claim_is_a_positive_one_mirrored(a, b, p):
    lo, hi = sorted((a, b))
    assert decide(claim('+'), lo, hi, p) == decide(claim('-'), -hi, -lo, p)

@settings(deadline=None, max_examples=50, derandomize=True)
@given(NUMBERS, NUMBERS, st.floats(0, 1))
def test_no_interval_replicates_both_an_effect_and_its_absence(a, b, p):
    lo, hi = sorted((a, b))
    assert 'replicates' not in (decide(claim('+'), lo, hi, p), decide(claim('-'), lo, hi, p)) or decide(claim('0'), lo, hi, p) != 'replicates'

def test_an_interval_as_wide_as_the_world_is_undecided():
    assert {decide(claim(s), -2, 2, p) for s in '+-0' for p in (1e-9, .5)} == {'undecided'}

@pytest.mark.parametrize('lo, hi, p, verdict', [(.31, .9, .01, 'replicates'), (.01, .31, .01, 'replicates'), (.01, .29, .01, 'contradicts'),
                                                (.31, .9, .051, 'undecided'), (-.1, .9, .01, 'undecided'), (-.9, -.1, .01, 'contradicts')])
def test_the_rule_of_a_positive_claim(lo, hi, p, verdict): assert decide(claim('+'), lo, hi, p) == verdict

@pytest.mark.parametrize('lo, hi, p, verdict', [(-.29, .29, .9, 'replicates'), (.05, .2, .001, 'replicates'), (-.31, .2, .9, 'undecided'),
                                                (.05, .4, .01, 'contradicts'), (.05, .4, .06, 'undecided'), (-.9, -.4, .01, 'contradicts')])
def test_the_rule_of_an_absence(lo, hi, p, verdict): assert decide(claim('0'), lo, hi, p) == verdict

@pytest.mark.parametrize('lo, hi, p, verdict', [ # of 'not-', smallest effect .3
    (.1, .9, .01, 'replicates'), (-.29, .9, .5, 'replicates'), (-.29, -.1, .01, 'replicates'), (-.9, -.1, .01, 'contradicts'), (-.3, -.1, .01, 'contradicts'),
    (-.9, -.31, .049, 'contradicts'), (-.9, -.31, .05, 'undecided'), (-.31, .2, .5, 'undecided'), (-.31, .2, .01, 'undecided'), (-.3, .2, .5, 'undecided')])
def test_the_rule_of_a_denial(lo, hi, p, verdict):
    assert decide(claim('not-'), lo, hi, p) == verdict
    assert decide(claim('not+'), -hi, -lo, p) == verdict, 'and its mirror image'

@settings(deadline=None, max_examples=100, derandomize=True)
@given(NUMBERS, NUMBERS, st.one_of(st.floats(0, 1), st.floats(0, .05)), st.sampled_from('+-'))
def test_what_speaks_for_a_claim_speaks_against_its_denial(a, b, p, sign):
    lo, hi = sorted((a, b))
    other = dict(replicates='contradicts', contradicts='replicates', undecided='undecided')
    assert decide(claim('not' + sign), lo, hi, p) == other[decide(claim(sign), lo, hi, p)]

@pytest.mark.parametrize('says, rule', [
    ('+', 'lies above 0 with Holm-adjusted p < 0.05 and its far end is at least 0.3; contradicts if it lies wholly below 0.3;'),
    ('-', 'lies below 0 with Holm-adjusted p < 0.05 and its far end is at most -0.3; contradicts if it lies wholly above -0.3;'),
    ('not+', 'lies wholly below 0.3; contradicts if it lies above 0 with Holm-adjusted p < 0.05 and its far end is at least 0.3;'),
    ('not-', 'lies wholly above -0.3; contradicts if it lies below 0 with Holm-adjusted p < 0.05 and its far end is at most -0.3;')])
def test_the_rule_in_words_is_the_rule(says, rule):
    assert claim(says).rule == f'Replicates if the 95% interval of the effect {rule} otherwise undecided.'

def test_p_values_are_adjusted_over_all_claims_of_the_source():
    many = judge([evidence(.6, .4, .8, .04, id=f'c{i}') for i in range(3)])
    alone = judge([evidence(.6, .4, .8, .04)])
    assert many.verdict.tolist() == ['undecided'] * 3 and alone.verdict.tolist() == ['replicates']
    np.testing.assert_allclose(many.p_holm, .12)

def test_false_positives_stay_below_five_percent_of_families():
    "Eleven claims of nothing: a 'replicates' of any of them in at most about 5% of the families."
    rng = np.random.default_rng([0, 22])
    wrong = 0
    for _ in range(400):
        x = rng.normal(size=(11, 200))
        t = x.mean(1) / (x.std(1, ddof=1) / 200**.5)
        se = x.std(1, ddof=1) / 200**.5
        from scipy.stats import t as student
        p = 2 * student.sf(abs(t), 199)
        v = judge([evidence(m, m - 1.972 * s, m + 1.972 * s, q, id=f'c{i}', sesoi=.05) for i, (m, s, q) in enumerate(zip(x.mean(1), se, p, strict=True))])
        wrong += (v.verdict == 'replicates').any()
    assert wrong / 400 < .05

def test_the_table_names_every_claim_and_links_its_page():
    v = judge([evidence(.6, .4, .8, 1e-6, id='a'), evidence(.6, -.4, .8, .5, id='b')])
    text = verdict_table(v, {'q0': 'research/q0.ipynb'})
    assert text.count('[q0](research/q0.ipynb)') == 2 and '**replicates**' in text and '< 0.001' in text

def test_p_stands_beside_every_claim():
    says = ('+', '-', '0', 'not+', 'not-')
    rows = verdict_table(judge([evidence(.1, 0, .2, .004, id=f'c{i}', says=s) for i, s in enumerate(says)])).splitlines()[2:]
    assert [r.split(' | ')[3] for r in rows] == ['0.020'] * 5

def test_p_text_never_shows_a_bare_zero():
    assert [p_text(p) for p in (0, 1e-9, .0009, .001, .0494, 1)] == ['< 0.001', '< 0.001', '< 0.001', '0.001', '0.049', '1.000']

def test_judge_keeps_everything_a_reader_needs():
    assert {'claim', 'text', 'rule', 'estimate', 'lo', 'hi', 'p', 'p_holm', 'n', 'unit', 'scale', 'verdict'} <= set(judge([evidence(.1, 0, .2, .1)]).columns)
    assert isinstance(judge([evidence(.1, 0, .2, .1)]), pd.DataFrame)
