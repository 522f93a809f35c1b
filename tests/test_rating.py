"Blind sheets: nothing shows who wrote what, nothing is lost on the way back, and agreement is what its authors computed."
import re
import numpy as np, pandas as pd, pytest
from plcal_study.study import rating as r

SAMPLES = pd.DataFrame(dict(model=['pythia', 'llama'] * 4, prompt=['<i>Tell</i>'] * 8, text=[f'text {i} & "more" <script>alert({i})</script>' for i in range(8)]))

@pytest.fixture
def made(tmp_path): return r.rating_sheet(SAMPLES, tmp_path, 1)

def filled(key, path, rater, mark=lambda i, q: 1 + i % 5):
    items = pd.read_csv(key).item
    pd.DataFrame([dict(sheet='s', rater=rater, item=u, question=q, mark=mark(i, q)) for i, u in enumerate(items) for q in r.ASKED]).to_csv(path, index=False)
    return path

def test_the_sheet_is_blind_escaped_and_whole(made):
    sheet, key = made
    page, k = sheet.read_text(), pd.read_csv(key)
    assert not re.search('pythia|llama|https?:', page) and page.count('<script>') == 1 and '<i>' not in page
    assert page.count('<article') == 8 and page.count('<fieldset') == 8 * len(r.ASKED) and page.count('type="radio"') == 8 * len(r.ASKED) * len(r.SCALE)
    assert sorted(k.text) == sorted(SAMPLES.text) and dict(zip(k.text, k.model, strict=False)) == dict(zip(SAMPLES.text, SAMPLES.model, strict=False))
    assert [page.index(f'id="{u}"') for u in k.item] == sorted(page.index(f'id="{u}"') for u in k.item)

def test_order_is_random_and_the_seed_decides_it(made, tmp_path):
    again, other = r.rating_sheet(SAMPLES, tmp_path / 'a', 1), r.rating_sheet(SAMPLES, tmp_path / 'b', 2)
    orders = [pd.read_csv(k).text.tolist() for _, k in (made, again, other)]
    assert orders[0] == orders[1] != orders[2] and orders[0] != SAMPLES.text.tolist() and made[0].name == again[0].name != other[0].name

def test_marks_come_back_with_who_wrote_what(made, tmp_path):
    d = r.read_ratings([filled(made[1], tmp_path / 'a.csv', 'A'), filled(made[1], tmp_path / 'b.csv', 'B', lambda i, q: 5)], made[1])
    key = pd.read_csv(made[1]).set_index('item')
    assert len(d) == 2 * 8 * len(r.ASKED) and (d.model == d['item'].map(key.model)).all() and set(d[d.rater == 'B'].mark) == {5}
    own = d[(d.rater == 'A') & (d.question == 'fluent')]
    assert own.mark.tolist() == [1 + i % 5 for i in range(8)]

@pytest.mark.parametrize('change, says', [
    (lambda d: d.assign(mark=d.mark.where(d.index != 4, 6)), "a.csv, row 6: mark '6'"), (lambda d: d.assign(mark=d.mark.astype(object).where(d.index != 4, '')), 'a.csv, row 6: no mark'),
    (lambda d: d.assign(mark=d.mark.astype(object).where(d.index != 4, '2.5')), "mark '2.5'"), (lambda d: d.iloc[:-2], 'a.csv: 2 rows are missing'),
    (lambda d: pd.concat([d, d.iloc[:1]]), "is marked twice by 'A'"), (lambda d: d.assign(question=d.question.where(d.index != 0, 'pretty')), "question 'pretty' is none of fluent"),
    (lambda d: d.assign(item=d['item'].where(d.index != 0, 'who')), "a.csv, row 2: item 'who' is not in the key"), (lambda d: d.assign(rater=''), 'it has no rater'), (lambda d: d.drop(columns='mark'), 'its columns must be sheet, rater, item, question, mark')])
def test_every_fault_is_named_and_the_file_is_as_it_was(made, tmp_path, change, says):
    f = filled(made[1], tmp_path / 'a.csv', 'A')
    change(pd.read_csv(f)).to_csv(f, index=False)
    before = f.read_bytes()
    with pytest.raises(ValueError, match='nothing was read') as e: r.read_ratings([f, filled(made[1], tmp_path / 'b.csv', 'B')], made[1])
    assert says in str(e.value) and f.read_bytes() == before

def test_faults_of_all_files_are_told_at_once_and_gaps_can_be_allowed(made, tmp_path):
    files = [filled(made[1], tmp_path / f'{x}.csv', x, lambda i, q: '' if i == 3 else 9 if i == 5 else 2) for x in 'AB']
    with pytest.raises(ValueError, match='16 faults') as e: r.read_ratings(files, made[1])
    assert 'A.csv' in str(e.value) and 'B.csv' in str(e.value)
    gaps = [filled(made[1], tmp_path / f'{x}2.csv', x, lambda i, q: '' if i == 3 else 2) for x in 'AB']
    assert r.read_ratings(gaps, made[1], missing=True).mark.isna().sum() == 2 * len(r.ASKED)
    with pytest.raises(ValueError, match="rater 'A' has filled A.csv too"): r.read_ratings([files[0], files[0]], made[1])

# ---- agreement -------------------------------------------------------------------------------------------------------
o = np.nan
KRIPPENDORFF = np.array([[1, 2, 3, 3, 2, 1, 4, 1, 2, o, o, o], [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, o, 3], [o, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, o], [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, o]])

@pytest.mark.parametrize('level, published', dict(nominal=.743, ordinal=.815, interval=.849).items())
def test_alpha_is_the_published_one(level, published):
    got = r.krippendorff_alpha(KRIPPENDORFF, level, 200)
    assert got['alpha'] == pytest.approx(published, abs=6e-4) and got['lo'] < got['alpha'] < got['hi'] and (got['items'], got['raters']) == (11, 4)

@pytest.mark.parametrize('marks', [(1, 2, 3, 4, 5), (1, 2, 5)]) # also with a mark that nobody gives
def test_alpha_by_a_slow_twin(marks):
    "Observed and expected disagreement over all pairs of marks, interval level."
    rng = np.random.default_rng(0)
    x = rng.choice(np.array(marks, float), (3, 15))
    x[rng.random(x.shape) < .2] = np.nan
    own = [u[~np.isnan(u)] for u in x.T]
    own = [u for u in own if len(u) > 1]
    n = sum(map(len, own))
    observed = sum(((u[:, None] - u) ** 2).sum() / (len(u) - 1) for u in own) / n
    flat = np.concatenate(own)
    expected = ((flat[:, None] - flat) ** 2).sum() / (n * (n - 1))
    assert r.krippendorff_alpha(x, 'interval', 5)['alpha'] == pytest.approx(1 - observed / expected)

def test_agreement_of_perfect_and_of_random_raters():
    rng = np.random.default_rng(1)
    same = np.tile(rng.integers(1, 6, 40), (3, 1))
    assert r.krippendorff_alpha(same, draws=50)['alpha'] == 1 and (r.kappas(same, list('abc')).kappa == 1).all() and len(r.kappas(same, list('abc'))) == 3
    luck = r.krippendorff_alpha(rng.integers(1, 6, (3, 200)), draws=300)
    assert luck['lo'] < 0 < luck['hi'] or abs(luck['alpha']) < .1

def test_kappa_is_that_of_scikit_learn():
    sk = pytest.importorskip('sklearn.metrics')
    rng = np.random.default_rng(2)
    a, b = rng.integers(1, 6, (2, 30)).astype(float)
    b[:3] = np.nan
    got = r.kappas(np.stack([a, b]), ['A', 'B']).iloc[0]
    assert got.kappa == pytest.approx(sk.cohen_kappa_score(a[3:].astype(int), b[3:].astype(int), weights='quadratic', labels=r.SCALE)) and got['items'] == 27

@pytest.mark.parametrize('raw', [b'', b'a,b\n1,2,3\n', b'\xff\xfe\x00'])
def test_a_sheet_that_is_no_table_is_named(tmp_path, raw):
    _, key = r.rating_sheet(pd.DataFrame(dict(model=['A', 'B'], text=['one', 'two'])), tmp_path)
    (tmp_path / 'bad.csv').write_bytes(raw)
    with pytest.raises(ValueError, match='bad.csv'): r.read_ratings([tmp_path / 'bad.csv'], key)
    with pytest.raises(ValueError, match='bad.csv'): r.read_ratings([key], tmp_path / 'bad.csv')
