"The ladder of q5: cells of the smoke grid from training to verdicts; every number against its definition; the committed records against their own rule; the page with and without them."
import ast, json, re, shutil, warnings
from dataclasses import asdict, replace
from pathlib import Path
import numpy as np, pandas as pd, pytest
from plcal_study.lm import facts
from plcal_study.measure.inference import mean_difference
from plcal_study.measure.predictions import Predictions, from_logits, load
from plcal_study.study import ladder, pages, q5
from plcal_study.study.claims import judge
from plcal_study.study.runs import FORMAT, Run, run_id

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / 'data' / 'records'
TABLES = ('cells', 'definitions', 'scores', 'tokens', 'places', 'verdicts')


def finish(out, run):
    "One cell as the runner leaves it."
    folder = out / 'runs' / run_id(run)
    folder.mkdir(parents=True)
    ladder.work(run, folder)
    (folder / 'run.json').write_text(json.dumps(dict(format=FORMAT, plcal_study='x', id=run_id(run), run=asdict(run), seconds=1.5)))
    return folder

@pytest.fixture(scope='module')
def out(tmp_path_factory):
    pytest.importorskip('torch')
    out = tmp_path_factory.mktemp('ladder')
    for run in ladder.grid('smoke'): finish(out, run)
    return out

@pytest.fixture(scope='module')
def cells(out): return list(ladder.finished(out, 'smoke'))

@pytest.fixture(scope='module')
def frames(cells): return ladder.tables(cells, 'smoke')

# ---- grids -----------------------------------------------------------------------------------------------------------
def test_every_scale_has_a_ladder_over_seeds():
    for scale in ('smoke', 'laptop', 'colab', 'paper'):
        d = pd.DataFrame([asdict(r) for r in ladder.grid(scale)])
        assert len({run_id(r) for r in ladder.grid(scale)}) == len(d) == d.seed.nunique() * d['size'].nunique() and set(d.question) == {'q5'} and set(d.scale) == {scale}
        assert [ladder.cost(r) for r in ladder.grid(scale) if r.seed == 0] == sorted(ladder.cost(r) for r in ladder.grid(scale) if r.seed == 0), 'sizes rise'
    laptop = ladder.grid('laptop')
    assert len({r.size for r in laptop}) >= 5 and len({r.seed for r in laptop}) >= 3 and sum(map(ladder.cost, laptop)) / 2 < 15 * 60

def test_the_command_knows_the_ladder(capsys):
    from plcal_study.study import cli
    assert cli.QUESTIONS['q5'] == 'plcal_study.study.ladder' and cli.main(['run', 'q5', '--scale', 'laptop', '--dry-run']) == 0
    assert f"in all {len(ladder.grid('laptop'))} cells" in capsys.readouterr().out

# ---- one cell --------------------------------------------------------------------------------------------------------
def test_a_cell_is_the_same_again(cells, tmp_path):
    folder = finish(tmp_path, ladder.grid('smoke')[0])
    mine = next(a for c, a in cells if (c['size'], c['seed']) == (ladder.grid('smoke')[0].size, 0))
    assert set(mine) == set(ladder.DEFINITIONS) and not (folder / 'checkpoint').exists()
    for k, p in mine.items():
        q = load(folder / f'{k}.parquet')
        assert np.array_equal(p.conf, q.conf) and np.array_equal(p.uid, q.uid) and all(np.array_equal(v, q.scores[s]) for s, v in p.scores.items())

def test_seeds_have_worlds_of_their_own_and_sizes_share_them():
    a, b, c = (next(r for r in ladder.grid('smoke') if (r.seed, r.size) == k) for k in ((0, '1x16'), (0, '1x32'), (1, '1x16')))
    assert ladder.questions_of(a)['test'].a.tolist() == ladder.questions_of(b)['test'].a.tolist() != ladder.questions_of(c)['test'].a.tolist()
    assert ladder.world_of(a).words == ladder.world_of(b).words != ladder.world_of(c).words and np.array_equal(ladder.world_of(a).facts, ladder.world_of(b).facts)
    assert set(ladder.questions_of(a)['text'].a).isdisjoint(facts.documents(ladder.world_of(a), ladder.TOKENS['smoke'], 0).a), 'held-out documents were read'

def test_every_answer_has_its_kind_and_its_truth(cells):
    for cell, answers in cells:
        run = Run(**{k: v for k, v in cell.items() if k in Run.__dataclass_fields__})
        e, world = ladder.questions_of(run), ladder.world_of(run)
        row = {u: i for i, u in enumerate(e['test'].uid)}
        for k in ladder.SAME:
            p = answers[k]
            i = np.array([row[u] for u in p.uid])
            told, random = e['test'].extra['frequency'][i], e['test'].extra['random'][i]
            assert np.array_equal(p.scores['kind'], np.where(random, 3, np.where(told >= 20, 0, np.where(told > 0, 1, 2))))
            if p.logits is not None and k != 'permuted': np.testing.assert_allclose(p.scores['true_posterior'], e['test'].posterior[i, p.logits.argmax(1)])
        assert all(p.meta['prompt'] == ('quiz' if k in ('letters', 'permuted', 'answer') else 'text') for k, p in answers.items())
        assert len(answers['first']) == len(answers['entity']) == world.facts.size
        assert all(len(answers[k]) == ladder.ASKED['smoke'] for k in ladder.SAME)

def test_often_is_from_twenty_times_on():
    from types import SimpleNamespace
    told, random = np.array([0, 1, 19, 20, 21, 0, 500]), np.array([0, 0, 0, 0, 0, 1, 1], bool)
    e = SimpleNamespace(uid=np.array(list('abcdefg')), extra=dict(random=random, frequency=told))
    p = ladder.marked(Predictions({}, list('gfedcba'), np.ones(7, bool), np.ones(7)), e)
    assert [ladder.KINDS[int(k)] for k in p.scores['kind'][::-1]] == ['never', 'seldom', 'seldom', 'often', 'often', 'random', 'random']

def test_the_letter_written_is_the_best_letter_where_it_is_one(cells):
    "Greedy writing and reading the letters are the same pass; they part where the first word is no letter."
    for _, answers in cells:
        a, b = answers['answer'], answers['letters']
        at = {u: i for i, u in enumerate(b.uid)}
        i = np.array([at[u] for u in a.uid])
        one = (a.scores['unparseable'] == 0) & (a.scores['option'] == b.logits.argmax(1)[i]) & (a.conf == b.scores['msp'][i])
        np.testing.assert_allclose(a.conf[one], b.scores['msp'][i][one], atol=1e-6)
        assert (a.conf <= b.scores['msp'][i] + 1e-6)[a.scores['tokens'] == 1].all()

def test_next_words_are_held_against_the_world_word_by_word(cells):
    cell, answers = cells[0]
    run = Run(**{k: v for k, v in cell.items() if k in Run.__dataclass_fields__})
    p, world, e = answers['tokens'], ladder.world_of(run), ladder.questions_of(run)['text']
    _, tokenizer = ladder.decoder_of(run)
    for u, text in list(zip(e.uid, e.a, strict=True))[:4]:
        post, rows = world.next_token_posterior(text), np.flatnonzero(p.cluster == u)
        assert len(rows) == len(text.split())
        for r in rows:
            place = int(p.uid[r].split(':')[1]) - 1
            token = tokenizer.convert_ids_to_tokens(int(p.scores['word'][r]))
            column = world.ids.get(token, len(world.words) if token == tokenizer.eos_token else None)
            assert p.scores['true_posterior'][r] == pytest.approx(0 if column is None else post[place, column])
            assert p.scores['true_logprob'][r] == pytest.approx(np.log(post[place, world.ids[text.split()[place]]]))
            assert p.correct[r] == (token == text.split()[place])

def test_every_token_has_its_number():
    pytest.importorskip('torch')
    run = ladder.grid('smoke')[0]
    world, (_, tokenizer) = ladder.world_of(run), ladder.decoder_of(run)
    words = ladder.words_of(tokenizer, world)
    assert all(words[tokenizer.convert_tokens_to_ids(w)] == i for i, w in enumerate(world.words)) and words[tokenizer.eos_token_id] == len(world.words)
    assert all(words[tokenizer.convert_tokens_to_ids(x)] == -1 for x in ('<s>', '<pad>', '<unk>')) and (words >= 0).sum() == len(world.words) + 1

def test_a_first_choice_that_is_no_word_is_never_right():
    world = ladder.world_of(ladder.grid('smoke')[0])
    text = next(world.corpus(1, 3))
    n, stop = len(text.split()), text.split().index('.')
    p = Predictions({}, [f'a:{i + 1}' for i in range(n)], np.zeros(n, bool), np.full(n, .5), scores=dict(word=np.zeros(n)), cluster=['a'] * n)
    truth = [ladder.with_truth(p, dict(a=text), world, np.full(3, w)).scores['true_posterior'] for w in (-1, world.ids['.'])]
    assert not truth[0].any() and truth[1][stop] > .3

# ---- from answers to numbers -----------------------------------------------------------------------------------------
def answers(n=400, seed=0, sharp=2., kinds=True):
    "Four options, the truth p, logits sharper than the truth."
    rng = np.random.default_rng([seed, 32])
    z = rng.normal(size=(n, 4)) * 1.3
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    label = (rng.random((n, 1)) >= p.cumsum(1)[:, :-1]).sum(1)
    pick = z.argmax(1)
    more = dict(kind=rng.integers(4, size=n).astype(float)) if kinds else {}
    return from_logits(sharp * z, label, np.arange(n), {}, None, true_posterior=p[np.arange(n), pick], max_logit=z.max(1) + rng.normal(size=n), entropy=rng.random(n), margin=rng.random(n), off_option_mass=rng.random(n), **more)

def slow_auroc(s, ok): return np.mean([(a > b) + .5 * (a == b) for a in s[ok] for b in s[~ok]])

def test_measures_are_their_definitions():
    p = answers()
    m, c, ok, t = ladder.measures(p), p.conf, p.correct, p.scores['true_posterior']
    assert m['n'] == 400 and m['accuracy'] == ok.mean() and m['conf'] == pytest.approx(c.mean()) and m['conf_gap'] == pytest.approx(c.mean() - ok.mean()) and m['true_conf'] == pytest.approx(t.mean())
    for q in (p, answers(sharp=1.)): # too sure everywhere, where bins do not matter; and about right
        parts = [np.flatnonzero(np.minimum(np.floor(q.conf * 15 - 1e-12), 14) == b) for b in range(15)]
        assert ladder.measures(q)['ece15'] == pytest.approx(sum(abs(q.conf[i].sum() - q.correct[i].sum()) for i in parts) / 400)
    tenth = np.array_split(np.argsort(c), 10)
    assert m['true_ece'] == pytest.approx(sum(abs(c[i].sum() - t[i].sum()) for i in tenth) / 400) and m['true_error'] == pytest.approx(np.mean(np.abs(c - t)))
    assert m['grouping_loss'] == pytest.approx(np.mean([np.var((c - t)[i], ddof=1) for i in tenth]))
    assert m['auroc'] == pytest.approx(slow_auroc(c, ok)) and m['auroc_max_logit'] == pytest.approx(slow_auroc(p.scores['max_logit'], ok))
    assert m['brier_top'] == pytest.approx(np.mean((c - ok)**2)) and m['nll'] == pytest.approx(-np.log(p.probs[np.arange(400), p.label]).mean()) and m['off'] == pytest.approx(p.scores['off_option_mass'].mean())
    assert m['brier_fall'] > .01 > abs(ladder.measures(answers(sharp=1.))['brier_fall']), 'what is twice too sure gains, what is calibrated does not'
    assert m['ece15_p'] < .01 < ladder.measures(answers(sharp=1.))['ece15_p'] and np.isnan([m['unparseable'], m['agree']]).all() and tuple(m) == ladder.MEASURES

def test_what_does_not_exist_is_nan_and_no_error():
    p = Predictions({}, np.arange(30), np.ones(30, bool), np.linspace(.5, 1, 30), scores=dict(true_posterior=np.ones(30), unparseable=np.zeros(30)))
    m = ladder.measures(p)
    assert np.isnan([m['auroc'], m['nll'], m['auroc_max_logit'], m['brier_fall']]).all() and m['unparseable'] == 0 and m['accuracy'] == 1
    assert ladder.measures(replace(p, scores=p.scores | dict(logprob=np.full(30, -2.))))['nll'] == 2
    assert np.isnan(ladder.measures(Predictions({}, np.arange(11), np.arange(11) > 5, np.linspace(.1, .9, 11), scores=dict(true_posterior=np.ones(11))))['grouping_loss'])

def test_an_impossible_option_costs_a_finite_loss():
    p = from_logits(np.array([[0., -np.inf]] * 2), np.array([0, 1]), true_posterior=np.ones(2))
    assert ladder.measures(p)['nll'] == pytest.approx(27.6 / 2, rel=1e-6)

def made(seeds=3, sizes=('a', 'b')):
    "Cells as `finished` gives them, out of order."
    places = dict(place_A=np.full(400, .4), place_B=np.full(400, .6))
    def one(z, s): return dict(size=z, seed=s, params=dict(a=10, b=20)[z], epochs=1), dict(letters=answers(seed=s), answer=answers(seed=s, sharp=3.), permuted=replace(q := answers(seed=s + 9), scores=q.scores | places),
        tokens=replace(t := answers(seed=s + 5, kinds=False), logits=None, label=None, scores=t.scores | dict(logprob=np.full(400, -2.), true_logprob=np.full(400, -1.5))))
    return [one(z, s) for z in reversed(sizes) for s in range(seeds)]

def test_the_tables_of_cells():
    rows, ranks, places = ladder.cell_table(made())
    assert rows['size'].tolist() == sorted(rows['size']) and rows.groupby('definition').kind.nunique().to_dict() == dict(letters=5, answer=5, permuted=5, tokens=1)
    p = answers(seed=1)
    r = rows[(rows['size'] == 'b') & (rows.seed == 1) & (rows.definition == 'letters')].set_index('kind')
    assert r.n['all'] == 400 == r.n[list(ladder.KINDS)].sum()
    for i, k in enumerate(ladder.KINDS):
        own = p.scores['kind'] == i
        assert r.n[k] == own.sum() and r.accuracy[k] == pytest.approx(p.correct[own].mean())
    s = ranks[(ranks['size'] == 'b') & (ranks.seed == 1) & (ranks.definition == 'letters')].set_index('score').auroc
    assert s['conf'] == pytest.approx(slow_auroc(p.conf, p.correct)) and s['entropy'] == pytest.approx(slow_auroc(-p.scores['entropy'], p.correct)) and s['off_option_mass'] == pytest.approx(slow_auroc(-p.scores['off_option_mass'], p.correct))
    assert places.groupby('letter').mass.mean().to_dict() == {'A': pytest.approx(.4), 'B': pytest.approx(.6)} and set(places.even) == {.5} and len(places) == 12

def test_few_answers_of_a_kind_are_no_row():
    p = answers(100)
    few = replace(p, scores=p.scores | dict(kind=np.r_[np.zeros(19), np.ones(81)]))
    assert [k for k, _ in ladder._parts(few)] == ['all', 'seldom'] and [len(q) for _, q in ladder._parts(few)] == [100, 81]
    assert [k for k, _ in ladder._parts(replace(p, scores=p.scores | dict(kind=np.r_[np.zeros(20), np.ones(80)])))] == ['all', 'often', 'seldom']

def test_seeds_are_the_unit_and_sizes_are_pooled_within_a_seed():
    rng = np.random.default_rng(3)
    d = pd.DataFrame([dict(size=z, seed=s, definition=k, kind=kind, true_ece=rng.random()) for z in 'ab' for s in range(4) for k in ('letters', 'raw', 'pmi', 'tokens') for kind in ('all', 'seen')])
    t = ladder.compare(d).set_index(['size', 'kind', 'definition'])
    x = d[d.kind == 'seen'].pivot_table(index='seed', columns=['size', 'definition'], values='true_ece')
    for size, of in (('a', lambda k: x['a', k]), ('b', lambda k: x['b', k]), ('pooled', lambda k: (x['a', k] + x['b', k]) / 2)):
        tests = {k: mean_difference(of(k).to_numpy(), of('letters').to_numpy()) for k in ('raw', 'pmi')}
        a, b = sorted(tests, key=lambda k: tests[k].p)
        assert t.p_holm[size, 'seen', a] == pytest.approx(min(1, 2 * tests[a].p)) and t.p_holm[size, 'seen', b] == pytest.approx(max(min(1, 2 * tests[a].p), tests[b].p))
        for k, e in tests.items():
            r = t.loc[size, 'seen', k]
            assert [r['diff'], r.diff_lo, r.diff_hi, r.p] == pytest.approx([e.estimate, e.lo, e.hi, e.p]) and r['mean'] == pytest.approx(of(k).mean()) and r.seeds == 4
            lone = mean_difference(of(k).to_numpy(), np.zeros(4))
            assert [r.lo, r.hi] == pytest.approx([lone.lo, lone.hi])
        assert np.isnan(t.loc[size, 'seen', 'tokens']['diff']) and np.isnan(t.loc[size, 'seen', 'letters']['diff']), 'other questions are not paired'

def test_the_claims_are_those_of_the_page_with_ids_of_their_own():
    assert [c.id for c in ladder.CLAIMS.values()] == ['ladder-miscalibrated', 'ladder-msp-predicts', 'ladder-max-logit-predicts', 'ladder-msp-over-max-logit']
    for k, c in ladder.CLAIMS.items(): assert (c.source, c.page, c.rule) == ('plaut2024probabilities', 'q5', q5.CLAIMS[k].rule) and c.text == f'{q5.CLAIMS[k].text} (testbed decoders)'

def by_hand(rows):
    "Estimate and interval of each claim from ladder_cells, written out."
    own = rows[(rows.definition == 'answer') & (rows.kind == 'all')]
    x = own.pivot(index='seed', columns='size', values=['brier_fall', 'auroc', 'auroc_max_logit'])
    seed = dict(zip(ladder.CLAIMS, (x['brier_fall'].mean(axis=1), x['auroc'].mean(axis=1) - .5, x['auroc_max_logit'].mean(axis=1) - .5, x['auroc'].mean(axis=1) - x['auroc_max_logit'].mean(axis=1)), strict=True))
    return {c: mean_difference(v.to_numpy(), np.zeros(len(v))) for c, v in seed.items()}

def test_evidence_takes_the_letter_written_over_seeds():
    rows, _, _ = ladder.cell_table(made(4))
    for e, (k, t) in zip(ladder.evidence(rows, 'toy'), by_hand(rows).items(), strict=True):
        assert e.claim.id == f'ladder-{k}' and [e.estimate, e.lo, e.hi, e.p] == pytest.approx([t.estimate, t.lo, t.hi, t.p]) and (e.n, e.unit, e.scale) == (4, 'seeds', 'toy')
    assert ladder.evidence(rows[rows.seed == 0], 'toy') == [], 'one seed judges nothing'

def test_records_of_the_smoke_grid(cells, frames, out):
    assert set(frames) == {f'ladder_{n}' for n in TABLES} and len(cells) == 4
    assert frames['ladder_cells'].round(4).equals(frames['ladder_cells']) and set(frames['ladder_cells'].definition) == set(ladder.DEFINITIONS)
    pd.testing.assert_frame_equal(frames['ladder_verdicts'], judge(ladder.evidence(frames['ladder_cells'], 'smoke')))
    t = frames['ladder_tokens'].set_index(['measure', 'size'])['mean']
    for z in ladder.SIZES['smoke']:
        want = np.mean([a['tokens'].scores['true_logprob'].mean() - a['tokens'].scores['logprob'].mean() for c, a in cells if c['size'] == z])
        assert t['excess', z] == pytest.approx(want, abs=2e-4) and want > 0, 'nobody beats the world at its own words'
    assert frames['ladder_places'].groupby('size')['mean'].sum().to_numpy() == pytest.approx(1, abs=1e-3)
    made_from = ladder.provenance(out, 'smoke')
    assert made_from['cells'] == made_from['planned'] == 4 and made_from['seeds'] == 2 and made_from['sizes'] == list(ladder.SIZES['smoke']) and made_from['core_minutes'] == .1
    assert ladder.records(out, 'laptop') == {}, 'cells of another scale are not mixed in'

# ---- decoders of others ----------------------------------------------------------------------------------------------
def test_twelve_stories_of_ours():
    said = json.loads((ROOT / 'data' / 'stories.json').read_text())
    assert len(ladder.stories()) == len(set(ladder.stories())) == 12 and 'Apache-2.0' in said['licence'] and all(50 < len(t.split()) < 120 for t in ladder.stories())

def test_tokens_of_texts_are_summed_up_with_texts_as_units():
    rng = np.random.default_rng(5)
    n, cluster = 600, np.repeat([f't{i}' for i in range(12)], 50)
    c = rng.random(n)
    p = Predictions(dict(bits_per_byte=1.5), np.arange(n), rng.random(n) < c, c, scores=dict(logprob=-rng.random(n)), cluster=cluster)
    r = ladder.token_row(p)
    gap = np.array([(p.conf - p.correct)[cluster == k].mean() for k in np.unique(cluster)])
    from scipy.stats import t as student
    half = student.ppf(.975, 11) * gap.std(ddof=1) / np.sqrt(12)
    assert (r['texts'], r['n'], r['bits_per_byte']) == (12, 600, 1.5) and [r['conf_gap'], r['gap_lo'], r['gap_hi']] == pytest.approx([gap.mean(), gap.mean() - half, gap.mean() + half])
    assert r['auroc'] == pytest.approx(slow_auroc(c, p.correct)) and r['nll'] == pytest.approx(-p.scores['logprob'].mean()) and r['auroc_lo'] < r['auroc'] < r['auroc_hi']

def test_the_two_decoders_know_stories_and_no_news(plaut_data):
    pytest.importorskip('torch')
    if (d := ladder.real_decoders(news=6)) is None: pytest.skip('the decoders are not in the folder models beside the data, so the record ladder_decoders stays as it is')
    d = d.set_index(['model', 'text'])
    for m in ladder.REAL:
        s, n = d.loc[m, 'stories'], d.loc[m, 'news']
        assert s.nll < n.nll and s.ece15 < n.ece15 and s.conf_gap < n.conf_gap and s.accuracy > n.accuracy and s.auroc_lo > .5 and s.bits_per_byte < n.bits_per_byte

def test_where_there_are_no_decoders_there_is_no_record(tmp_path, out, monkeypatch):
    assert ladder.real_decoders(tmp_path) is None
    monkeypatch.setattr(ladder, 'real_decoders', lambda: None)
    monkeypatch.setattr(ladder, 'tables', lambda cells, scale: dict(ladder_cells=pd.DataFrame(dict(n=[len(cells)]))))
    assert list(found := ladder.records(out, 'smoke')) == ['ladder_cells'] and found['ladder_cells'].n.item() == 4
    monkeypatch.setattr(ladder, 'real_decoders', lambda: pd.DataFrame(dict(a=[1.23456])))
    assert ladder.records(out, 'smoke')['ladder_decoders'].a.item() == 1.2346

# ---- what is committed -----------------------------------------------------------------------------------------------
def committed(name):
    if not (RECORDS / f'ladder_{name}.csv').exists(): pytest.fail('the records of the ladder are missing: plcal run q5 --scale laptop --records data/records')
    return pages.read_record(f'ladder_{name}', RECORDS)

def test_the_committed_ladder_is_whole():
    about, rows = pages.about(RECORDS, 'ladder_about'), committed('cells')
    assert about['scale'] == 'laptop' and about['cells'] == about['planned'] == len(ladder.grid('laptop')) and about['world'] == ladder.WORLD['laptop'] and about['questions'] == ladder.ASKED['laptop']
    assert set(zip(rows['size'], rows.seed, strict=True)) == {(r.size, r.seed) for r in ladder.grid('laptop')} and set(rows.definition) == set(ladder.DEFINITIONS)
    assert set(rows[rows.definition != 'tokens'].kind) == {'all', *ladder.KINDS} and not rows.duplicated(['size', 'seed', 'definition', 'kind']).any()
    assert rows[(rows.definition.isin(ladder.SAME)) & (rows.kind == 'all')].n.eq(about['questions']).all()
    assert sum(f.stat().st_size for f in RECORDS.glob('ladder_*')) < 200_000
    d = committed('decoders')
    assert set(zip(d.model, d.text, strict=True)) == {(m, t) for m in ladder.REAL for t in ('stories', 'news')} and d[d.text == 'stories'].texts.eq(12).all() and d[d.text == 'news'].texts.eq(60).all()

def test_the_committed_tables_and_verdicts_follow_from_the_cells():
    rows = committed('cells')
    assert not pages.difference(committed('verdicts'), judge(ladder.evidence(rows, 'laptop')), 1e-6)
    fresh = ladder.compare(rows)
    assert not pages.difference(committed('definitions')[fresh.columns.tolist()], fresh.round(4), 2e-4)
    v, hand = committed('verdicts').set_index('claim'), by_hand(rows)
    for k, t in hand.items():
        r = v.loc[f'ladder-{k}']
        assert [r.estimate, r.lo, r.hi] == pytest.approx([t.estimate, t.lo, t.hi]) and r.n == rows.seed.nunique()
        c = ladder.CLAIMS[k]
        assert r.verdict == ('contradicts' if t.hi < c.sesoi else 'replicates' if t.lo > 0 and r.p_holm < .05 else 'undecided')
    both = pages.read_verdicts(RECORDS)
    assert not both.claim.duplicated().any() and set(v.index) <= set(both[both.page == 'q5'].claim)

# ---- the page --------------------------------------------------------------------------------------------------------
def run_page(folder, monkeypatch):
    "Every code cell of the page, and what its cells show."
    import matplotlib; matplotlib.use('Agg')
    from IPython.display import Markdown
    from pandas.io.formats.style import Styler
    import matplotlib.pyplot as plt
    monkeypatch.setenv('PLCAL_RECORDS', str(folder))
    space, shown = {}, []
    for cell in json.loads((ROOT / 'nbs' / 'research' / 'q5_msp.ipynb').read_text())['cells']:
        if cell['cell_type'] != 'code': continue
        body = ast.parse(''.join(cell['source'])).body
        last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), 'q5_msp', 'exec'), space)
        value = eval(compile(last, 'q5_msp', 'eval'), space) if last else None
        if value is not None: shown.append(value.data if isinstance(value, Markdown) else value.to_html() if isinstance(value, (pd.DataFrame, Styler)) else '')
    figures = len(plt.get_fignums())
    plt.close('all')
    return space, '\n'.join(shown), figures

def records_with(tmp_path, frames=None, about=None):
    "The committed records of the page without the ladder, or with another."
    shutil.copytree(RECORDS, tmp_path / 'records', ignore=shutil.ignore_patterns('ladder_*'))
    if frames: pages.write_records(tmp_path / 'records', frames, about, 'ladder_about')
    return tmp_path / 'records'

def test_the_page_runs_with_any_ladder_and_without(tmp_path, frames, out, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        space, shown, without = run_page(records_with(tmp_path), monkeypatch)
        assert not space['opened'] and 'Ladder:' not in shown
        (tmp_path / 'b').mkdir()
        space, shown, smoke = run_page(records_with(tmp_path / 'b', frames, ladder.provenance(out, 'smoke')), monkeypatch)
        assert space['opened'] and smoke == without + 2 and 'smoke run' in shown and '(testbed decoders)' in shown
        space, shown, there = run_page(RECORDS, monkeypatch)
        assert space['opened'] and there == without + 2 and f"Ladder: {len(ladder.grid('laptop'))} decoders" in shown and 'smoke' not in shown and 'nan' not in shown.lower()

def test_no_number_of_the_ladder_is_typed():
    nb = json.loads((ROOT / 'nbs' / 'research' / 'q5_msp.ipynb').read_text())['cells']
    text = next(''.join(c['source']) for c in nb if c['cell_type'] == 'markdown' and 'models we can open' in ''.join(c['source']))
    assert set(re.findall(r'\d+(?:\.\d+)?', text)) <= {'0', '1', '14', '11', '52'}, 'numbers are computed from records; 14 are the models of the source'
