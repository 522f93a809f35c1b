"Page q7: cells of the smoke grid from training to verdicts; regrets against a loop; resumed cells against whole ones; the page from records."
import json, shutil
from dataclasses import asdict, replace
from pathlib import Path
import numpy as np, pandas as pd, pytest
pytest.importorskip('torch'); pytest.importorskip('optuna')
from plcal_study.lm import testbed, validation
from plcal_study.measure.inference import mean_difference
from plcal_study.measure.metrics import true_calibration_error
from plcal_study.measure.predictions import from_logits, select
from plcal_study.study import pages, q7, trials
from plcal_study.study.claims import judge
from plcal_study.study.runs import FORMAT, run_id

ROOT = Path(__file__).parents[1]
NAMES = {'facts', 'facts_regret', 'candidates', 'regret', 'optimism', 'searches', 'folds', 'verdicts'}

def finish(out, run):
    "One cell as the runner leaves it."
    folder = out / 'runs' / run_id(run)
    folder.mkdir(parents=True, exist_ok=True)
    q7.work(run, folder)
    (folder / 'run.json').write_text(json.dumps(dict(format=FORMAT, plcal_study='x', id=run_id(run), run=asdict(run), seconds=1.5)))
    return folder

@pytest.fixture(scope='module')
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp('q7')
    for run in q7.grid('smoke'): finish(out, run)
    return out

@pytest.fixture(scope='module')
def frames(out): return q7.records(out, 'smoke')

def cell(out, part): return next(q7.finished(out, part, 'smoke'))

# ---- grids -----------------------------------------------------------------------------------------------------------
def test_every_scale_is_whole():
    for scale in ('smoke', 'laptop', 'colab', 'paper'):
        runs = q7.grid(scale)
        assert len({run_id(r) for r in runs}) == len(runs) and {r.question for r in runs} == {'q7'} and {r.scale for r in runs} == {scale}
        assert {'facts', 'tuning', 'search', 'folds'} | ({'pythia'} if scale in ('colab', 'paper') else set()) == {r.part for r in runs} and all(q7.cost(r) > 0 for r in runs)
        for part in ('facts', 'tuning', 'folds'): assert len({r.seed for r in runs if r.part == part}) == q7.SEEDS[scale] >= 2
    assert sum(map(q7.cost, q7.grid('laptop'))) / 2 < 600

def test_the_command_knows_the_page(capsys):
    from plcal_study.study import cli
    assert cli.main(['run', 'q7', '--scale', 'paper', '--dry-run']) == 0 and f"in all {len(q7.grid('paper'))} cells" in capsys.readouterr().out
    assert pages.PAGES['q7'] == 'research/q7_validation.ipynb'

# ---- cells -----------------------------------------------------------------------------------------------------------
def test_a_checkpoint_has_every_signal_and_all_that_is_wanted(out):
    d = q7.checkpoints(out, 'facts', 'smoke')
    assert set(q7.WANTED) <= set(d) and set(q7.SIGNS) - {'last'} <= set(d) and d.groupby(['size', 'seed']).step.apply(lambda s: s.is_monotonic_increasing and len(s) > 2).all()
    assert (d.groupby(['size', 'seed']).step.max() == d.groupby(['size', 'seed']).end.max()).all() and d[[*q7.WANTED]].notna().all().all() and d[[*q7.WANTED]].to_numpy().min() >= 0 and d[[*q7.WANTED]].to_numpy().max() <= 1
    ranks = d[['perplexity', 'bits_per_byte']].rank()
    assert (ranks.perplexity == ranks.bits_per_byte).all() or d.seed.nunique() > 1, 'within one set of texts both rank alike'
    for _, own in d.groupby('seed'): assert (own.perplexity.rank() == own.bits_per_byte.rank()).all()

@pytest.mark.parametrize('part', ['facts', 'tuning', 'folds'])
def test_a_cell_that_was_cut_off_goes_on_and_ends_the_same(out, tmp_path, part):
    "Some of its files are there, others not: what is there is left alone, what is made is the same."
    c, whole = cell(out, part)
    folder, run = tmp_path / 'runs' / whole.name, next(r for r in q7.grid('smoke') if run_id(r) == whole.name)
    folder.mkdir(parents=True)
    pattern = dict(facts='step-*.json', tuning='answers/[0-9][0-9].json', folds='set-*.json')[part]
    files = sorted(whole.glob(pattern))
    if part == 'tuning': (folder / 'answers').mkdir()
    kept = folder / files[0].relative_to(whole)
    shutil.copy(files[0], kept)
    if part == 'tuning':
        for f in files[0].parent.glob('00-*.parquet'): shutil.copy(f, kept.parent)
    stamp = kept.stat().st_mtime_ns
    q7.work(run, folder)
    assert kept.stat().st_mtime_ns == stamp
    for f in files: assert json.loads((folder / f.relative_to(whole)).read_text()) == pytest.approx(json.loads(f.read_text()), rel=1e-6, nan_ok=True)

def test_candidates_are_fitted_on_the_same_texts_and_no_set_overlaps(out):
    c, folder = cell(out, 'tuning')
    run = next(r for r in q7.grid('smoke') if run_id(r) == folder.name)
    suite = q7.suite_of(run)
    texts = {s: set(e.uid) for s, e in suite.splits.items()}
    assert not texts['train'] & texts['val'] and not texts['val'] & texts['test'] and set(c['sets']) == {'val', 'test', 'prior', 'covariate', 'topic'}
    table, answers = q7._tuned(folder, c)
    assert len(table) == q7.CONFIGS['smoke'] and [x['lr'] for x in q7.configurations(run)] == table.lr.tolist()
    p = answers['test'][0]
    got = q7.outcomes(p)
    assert got['accuracy'] == pytest.approx(p.scores['true_posterior'].mean()) and got['error'] == pytest.approx(true_calibration_error(p.conf, p.scores['true_posterior']))

# ---- regret ----------------------------------------------------------------------------------------------------------
def test_dev_values_are_the_signals_of_each_dev_set():
    rng = np.random.default_rng(0)
    p, rows = from_logits(2 * rng.normal(size=(90, 4)), rng.integers(0, 4, 90), range(90)), np.stack([rng.permutation(90)[:30] for _ in range(7)])
    many = q7.dev_values(p, rows)
    for i, r in enumerate(rows):
        for k, x in validation.signals(select(p, r)).items(): assert many[k][i] == pytest.approx(x), k

def test_regret_of_checkpoints_is_a_loop():
    rng = np.random.default_rng(1)
    d = pd.DataFrame([dict(size=z, seed=s, params=p, step=t, perplexity=rng.random(), quiz_accuracy=rng.random(), fluency=np.nan if t < 3 else rng.random(), generation_error=rng.random(), factuality_accuracy=rng.random()) for s in range(3) for z, p in (('a', 1), ('b', 2)) for t in (1, 2, 3, 4)])
    got = q7.checkpoint_regret(d).set_index(['scope', 'wanted', 'signal', 'seed']).regret
    for s in range(3):
        own = d[d.seed == s]
        pick = dict(perplexity=own.perplexity.idxmin(), quiz_accuracy=own.quiz_accuracy.idxmax(), fluency=own.fluency.idxmin(), last=own[(own['size'] == 'b') & (own.step == 4)].index[0])
        for k, i in pick.items():
            assert got['all', 'generation_error', k, s] == pytest.approx(d.generation_error[i] - own.generation_error.min())
            assert got['all', 'factuality_accuracy', k, s] == pytest.approx(own.factuality_accuracy.max() - d.factuality_accuracy[i])
        assert got['all', 'generation_error', 'chance', s] == pytest.approx((own.generation_error - own.generation_error.min()).mean())
        each = [x.generation_error[x.perplexity.idxmin()] - x.generation_error.min() for _, x in own.groupby('size')]
        assert got['size', 'generation_error', 'perplexity', s] == pytest.approx(np.mean(each))

def test_regret_of_configurations_is_a_loop(out):
    c, folder = cell(out, 'tuning')
    table, answers = q7._tuned(folder, c)
    _, rows, shine = q7.tuning(out, 'smoke')
    assert (rows.regret >= 0).all()
    rng, pool = np.random.default_rng([c['seed'], 13]), answers['val']
    drawn = np.stack([rng.permutation(len(pool[0]))[:25] for _ in range(q7.DRAWS)])
    test = [q7.outcomes(p) for p in answers['test']]
    lost, lift = [], []
    for r in drawn:
        told = [validation.signals(select(p, r)) for p in pool]
        i = int(np.argmin([t['nll'] for t in told]))
        lost.append(test[i]['error'] - min(t['error'] for t in test))
        lift.append(test[i]['nll'] - told[i]['nll'])
    own = (rows['where'] == c['task']) & (rows.seed == c['seed']) & (rows.source == '25') & (rows.signal == 'nll')
    assert rows[own & (rows.set == 'test') & (rows.wanted == 'error')].regret.item() == pytest.approx(np.mean(lost))
    assert shine[(shine['where'] == c['task']) & (shine.seed == c['seed']) & (shine.source == '25') & (shine.signal == 'nll')].optimism.item() == pytest.approx(np.mean(lift))
    i = table.cv_brier.idxmin()
    own = (rows['where'] == c['task']) & (rows.seed == c['seed']) & (rows.source == f'{q7.FOLDS} folds') & (rows.signal == 'brier') & (rows.set == 'test') & (rows.wanted == 'accuracy')
    assert rows[own].regret.item() == pytest.approx(max(t['accuracy'] for t in test) - test[i]['accuracy'])

def test_over_seeds_pairs_and_adjusts():
    rng = np.random.default_rng(2)
    d = pd.DataFrame([dict(g='x', seed=s, signal=k, regret=rng.random()) for s in range(6) for k in ('accuracy', 'nll', 'brier', 'chance')])
    got, t = q7.over_seeds(d, ['g'], 'accuracy').set_index('signal'), d.pivot(index='seed', columns='signal', values='regret')
    one = mean_difference(t.nll.to_numpy(), t.accuracy.to_numpy())
    assert (got['diff']['nll'], got.diff_lo['nll'], got.diff_hi['nll'], got.p['nll']) == pytest.approx(one[:4]) and np.isnan(got.p['chance'])
    assert got.p_holm['nll'] == pytest.approx(min(1, max(2 * got.p[['nll', 'brier']].min(), got.p['nll']) if got.p['nll'] > got.p['brier'] else 2 * got.p['nll']))

def test_an_effect_without_variation_is_no_proof():
    assert q7.tested(np.zeros(5))[:4] == (0, 0, 0, 1) and q7.tested(np.full(5, .2)).p == .5**4 and q7.tested(np.array([1.])) is None

# ---- small data sets -------------------------------------------------------------------------------------------------
def test_word_counts_predict_better_than_chance_and_leave_out_words():
    world = trials.world_of('world-text')
    e, test = world.sample(300, 0, 'a'), world.sample(500, 1, 'b')
    table, counts = q7._counted(world, [e, test])
    assert counts.sum(1).tolist() == [len(t.split()) for t in [*e.a, *test.a]]
    hit = (q7.bayes(table, counts, 1., np.arange(counts.shape[1]))(e, 0)(test).argmax(1) == test.label).mean()
    assert hit > .6 and (q7.bayes(table, counts, 1., np.arange(2))(e, 0)(test).argmax(1) == test.label).mean() < hit

def test_coverage_counts_intervals_that_hold_the_truth():
    d = pd.DataFrame(dict(naive_lo=[.4, .6, .4, .4], naive_hi=[.6, .7, .6, .45], lo=.3, hi=[.7, .7, .7, .3], cv_true=.5, flat=[.6, .7, .6, .7], flat_true=.5, nested=[.5, .4, .6, .5]))
    got = q7.coverage(d).set_index('quantity').estimate
    assert got[['naive coverage', 'corrected coverage', 'flat optimism', 'nested optimism']].tolist() == pytest.approx([.5, .75, .15, 0]) and got['naive shortfall'] == pytest.approx(.45)

# ---- records ---------------------------------------------------------------------------------------------------------
def test_the_records_are_whole_and_the_verdicts_follow(out, frames):
    assert {f'q7_{n}' for n in NAMES} == set(frames)
    v = frames['q7_verdicts']
    assert set(v.claim) == {c.id for c in q7.CLAIMS.values()} and set(v.verdict) <= {'replicates', 'contradicts', 'undecided'}
    facts_, (_, texts, shine), sets = q7.checkpoint_regret(q7.checkpoints(out)), q7.tuning(out), q7.small_sets(out)
    pd.testing.assert_frame_equal(judge(q7.evidence(facts_, texts, shine, sets, 'smoke')), v)
    own = texts[(texts.set == 'test') & (texts.source == '100') & (texts.wanted == 'error')].pivot_table(index='seed', columns='signal', values='regret')
    assert v.set_index('claim').estimate['validation-nll-calibration'] == pytest.approx((own.nll - own.accuracy).mean())
    assert not q7.records(out, 'laptop') and sum(len(f.to_csv()) for f in frames.values()) < 2e6

def test_searches_report_what_was_chosen(out, frames):
    d = frames['q7_searches']
    assert set(d.by) == set(q7.SEARCHED) and (d.trials == q7.TRIALS['smoke']).all() and (d.filter(like='_regret') >= 0).all().all()

def test_the_page_runs_from_records(out, tmp_path):
    pages.write_trained(q7, out, 'smoke', tmp_path / 'records')
    assert json.loads((tmp_path / 'records' / 'q7_about.json').read_text())['cells'] == len(q7.grid('smoke'))
    from plcal_study.study.figures import draw_all
    drawn = draw_all(tmp_path / 'records', tmp_path / 'figures')
    assert {p.stem for p in drawn} == {'q7_regret', 'q7_checkpoints', 'q7_optimism'}

# ---- texts of the hub ------------------------------------------------------------------------------------------------
def test_checkpoints_of_the_hub_are_asked_like_our_own(tmp_path, monkeypatch):
    "Two small decoders from folders stand in the hub's place: every revision gets a row, with estimates for truths."
    from plcal_study.lm import extraction, facts, models
    from plcal_study.lm.scoring import Scorer
    run = replace(next(r for r in q7.grid('colab') if r.part == 'pythia'), scale='smoke')
    world = facts.fact_world(**q7.WORLD['smoke'], sentences=4, seed=0)
    tokenizer = testbed.train_tokenizer(world.words, keep=world.words, frame='bos')
    asked = []
    def opened(name, revision=None):
        asked.append((name, revision))
        return Scorer(models.build('llama', (1, 16, 1), tokenizer, 'causal', seed=len(asked)).eval(), tokenizer)
    def sets(seed): return dict(text=facts.documents(world, 300, seed), cloze=facts.cloze(world, seed, 20), quiz=facts.questions(world, 20, 4, seed))
    monkeypatch.setattr(extraction, 'open_model', opened); monkeypatch.setattr(q7, '_real_sets', lambda run: (sets(1), sets(2))); monkeypatch.setattr(q7, 'STEPS', (1, 4))
    folder = tmp_path / 'cell'; folder.mkdir()
    q7.work(run, folder)
    rows = [json.loads(f.read_text()) for f in sorted(folder.glob('step-*.json'))]
    assert asked == [('EleutherAI/pythia-410m', 'step143000'), (run.model, 'step1'), (run.model, 'step4')] and [r['step'] for r in rows] == [1, 4]
    assert set(q7.WANTED) <= set(rows[0]) and 'factual_accuracy' not in rows[0] and rows[0]['perplexity'] != rows[1]['perplexity']
