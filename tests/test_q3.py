"q3: cells from training to sums, killed and gone on with; a revision of the hub; effects by hand; records, figures and the page of the smoke grid."
import json, os, re
from dataclasses import asdict, replace
import numpy as np, pandas as pd, pytest
from plcal_study.study import aspects, figures, pages, q3
from plcal_study.study.runs import FORMAT, SCALES, Run, run_id

needs_data = pytest.mark.skipif(not os.environ.get('PLCAL_DATA'), reason='real text is read from PLCAL_DATA')


def finish(out, run):
    "One cell as the runner leaves it."
    folder = out / 'runs' / run_id(run)
    folder.mkdir(parents=True, exist_ok=True)
    q3.work(run, folder)
    (folder / 'run.json').write_text(json.dumps(dict(format=FORMAT, plcal_study='x', id=run_id(run), run=asdict(run), seconds=1.5)))
    return folder

def sums(folder): return {p.name: p.read_bytes() for p in sorted((folder / 'tallies').iterdir())}

@pytest.fixture(scope='module')
def out(tmp_path_factory):
    pytest.importorskip('torch')
    out = tmp_path_factory.mktemp('q3')
    for run in q3.grid('smoke'): finish(out, run)
    return out

@pytest.fixture(scope='module')
def frames(out): return q3.records(out, 'smoke')

# ---- grids -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('scale', SCALES)
def test_every_scale_has_a_grid(scale):
    cells = q3.grid(scale)
    d = pd.DataFrame([asdict(r) for r in cells])
    assert len({run_id(r) for r in cells}) == len(d) and set(d.question) == {'q3'} and set(d.scale) == {scale} and all(q3.cost(r) > 0 for r in cells)
    world = d[d.part == 'world']
    assert len(world) == world.seed.nunique() * world['size'].nunique()
    assert set(d.part) == dict(smoke={'world'}, laptop={'world', 'text'}).get(scale, {'world', 'text', 'hub'})

def test_the_laptop_scale_is_a_ladder_of_five_in_ten_minutes():
    cells = [r for r in q3.grid('laptop') if r.part == 'world']
    assert len({r.size for r in cells}) >= 5 and len({r.seed for r in cells}) >= 3 and sum(map(q3.cost, q3.grid('laptop'))) / 2 < 600
    n = [q3._parameters(r) for r in cells if r.seed == 0]
    assert n == sorted(n) and n[0] < 1.5e5 and n[-1] > 4.5e6

def test_pythia_is_named_as_the_hub_names_it():
    for scale in ('colab', 'paper'):
        hub = [r for r in q3.grid(scale) if r.part == 'hub']
        assert all(re.fullmatch(r'EleutherAI/pythia-[\d.]+[mb](-seed\d)?@step\d+', r.model) for r in hub) and {'step256', 'step143000'} <= {r.model.partition('@')[2] for r in hub}
        assert {'70m', '1.4b'} <= {r.size for r in hub} and max(q3.PYTHIA[r.size] for r in hub) == q3.PYTHIA['1.4b' if scale == 'colab' else '12b'] and len({r.seed for r in hub}) > 2

def test_the_command_knows_q3(capsys):
    from plcal_study.study import cli
    assert cli.main(['run', 'q3', '--scale', 'colab', '--dry-run']) == 0
    assert f"in all {len(q3.grid('colab'))} cells" in capsys.readouterr().out and pages.PAGES['q3'] == 'research/q3_pretraining.ipynb'

@pytest.mark.parametrize('last', [3, 17, 200, 100_000])
def test_a_decoder_is_read_before_it_learns_at_a_quarter_and_at_the_end(last):
    at = q3.points(last, 5)
    assert at == sorted(set(at)) and at[0] == 0 and at[-1] == last and round(last / 4) in at
    if last > 50: assert min(s for s in at if s) == round(.02 * last)

# ---- cells -----------------------------------------------------------------------------------------------------------
def test_a_cell_that_was_killed_is_gone_on_with(out, tmp_path, monkeypatch):
    "What was read stays as it is, what follows comes out the same to the byte."
    run = q3.grid('smoke')[0]
    whole, folder, read = out / 'runs' / run_id(run), tmp_path / 'cell', []
    with monkeypatch.context() as m:
        keep = q3.keep
        def stop(f, step, *a):
            if len(read) == 2: raise RuntimeError('killed')
            read.append(step); keep(f, step, *a)
        m.setattr(q3, 'keep', stop)
        with pytest.raises(RuntimeError, match='killed'): q3.work(run, folder)
    stamps = {p.name: p.stat().st_mtime_ns for p in (folder / 'tallies').iterdir()}
    assert read == q3.points(json.loads((whole / 'cell.json').read_text())['last'], run.probes)[:2] and stamps
    q3.work(run, folder)
    assert sums(folder) == sums(whole) and all((folder / 'tallies' / n).stat().st_mtime_ns == t for n, t in stamps.items())
    assert not (folder / 'checkpoint').exists()

def test_a_decoder_learns_and_every_aspect_is_read(out):
    for cell, folder in q3.finished(out, 'smoke'):
        d = q3.cell_table([(cell, folder)]).set_index(['step', 'aspect', 'kind'])
        assert set(d.index.get_level_values('aspect')) == set(aspects.ASPECTS) and d.accuracy.between(0, 1).all() and d.true_error.between(0, 1).all()
        assert d.nll[cell['last'], 'generation', 'all'] < d.nll[0, 'generation', 'all'] - .3 and (d.true_ece15 <= d.true_error + 1e-12).all()
        assert (d.loc[[i for i in d.index if i[2] != 'all']].index.get_level_values('step') == cell['last']).all()
    assert list(q3.finished(out, 'laptop')) == []

def test_kinds_are_parts_of_the_whole(out):
    _, folder = next(iter(q3.finished(out, 'smoke')))
    last = max(p.name[:6] for p in (folder / 'tallies').iterdir())
    for a in ('first', 'letters'):
        own = {p.stem.split('-')[2]: aspects.load_tally(p).sums[:, 0].sum() for p in (folder / 'tallies').glob(f'{last}-{a}-*.safetensors')}
        assert own.pop('all') == sum(own.values()) and len(own) > 1

@needs_data
@pytest.mark.parametrize('task', q3.TEXTS)
def test_real_text_is_read_too(task, tmp_path):
    run = Run('q3', 'text', task, 'gpt_neox', init='random', size='1x16', epochs=1, batch=2, lr=.01, probes=3, seed=1)
    folder = finish(tmp_path, run)
    d = q3.cell_table(list(q3.finished(tmp_path))).set_index('step')
    assert set(d.aspect) == {'generation'} and d.true_error.isna().all() and d.bits_per_byte.iloc[-1] < d.bits_per_byte.iloc[0] and (folder / 'cell.json').exists()
    train, held = q3.texts_of(run)
    assert all('-test-' in u for u in held.uid) and len(set(held.uid)) == len(held) and train != (other := q3.texts_of(replace(run, seed=2))[0]) and sorted(train) == sorted(other)

@needs_data
def test_a_revision_of_the_hub_is_read_from_its_cache(tmp_path, monkeypatch):
    "A tiny model under the name and revision of Pythia, as the hub's cache lays it out; a revision that is not there is said."
    pytest.importorskip('torch')
    import huggingface_hub.constants as hub
    from plcal_study.lm import models, testbed
    texts = [f'Question: the answer is {x} . Answer: {x}' for x in 'ABCD'] * 3
    tokenizer = testbed.train_tokenizer(texts, 600, kind='bpe', keep=tuple('ABCD'), frame='none')
    home = tmp_path / 'models--EleutherAI--pythia-70m'
    models.save(models.build('gpt_neox', (1, 16, 2), tokenizer, 'causal', seed=1), tokenizer, home / 'snapshots' / ('a' * 40))
    (home / 'refs').mkdir()
    (home / 'refs' / 'step256').write_text('a' * 40)
    monkeypatch.setattr(hub, 'HF_HUB_CACHE', str(tmp_path)); monkeypatch.setattr(hub, 'HF_HUB_OFFLINE', True)
    monkeypatch.setitem(q3.ASKED, 'smoke', 6)
    run = Run('q3', 'hub', 'wikitext2', 'EleutherAI/pythia-70m@step256', size='70m', epochs=1)
    finish(tmp_path / 'out', run)
    (cell, folder), = q3.finished(tmp_path / 'out')
    d = q3.cell_table([(cell, folder)]).set_index('aspect')
    assert set(d.index) == set(aspects.ASPECTS) and (d.step == 256).all() and np.allclose(d.share, 256 / 143_000) and d.n['letters'] == 6 == d.documents['generation']
    with pytest.raises(FileNotFoundError, match=r'EleutherAI/pythia-70m \(revision step512\) is no folder here and cannot be had from the hub'): q3.work(replace(run, model='EleutherAI/pythia-70m@step512'), tmp_path / 'x')

# ---- effects and verdicts --------------------------------------------------------------------------------------------
def rows(part='world', seeds=3, **m):
    "Decoders of 2^10, 2^12 parameters at five steps; `m`: aspect -> f(log2 params, share, seed) -> measures."
    return pd.DataFrame([dict(part=part, task='t', size=str(k), seed=s, params=2**k, step=t, share=t / 100, aspect=a, kind='all') | f(k, t / 100, s)
                         for a, f in m.items() for s in range(seeds) for k in (10, 12) for t in (0, 2, 10, 25, 100)])

def test_effects_by_hand():
    d = rows(generation=lambda k, t, s: dict(ece15=.01 * k + .1 * t + .001 * s, true_error=.2 - .1 * t, accuracy=t), first=lambda k, t, s: dict(ece15=-.03 * k, true_error=.05 * k, accuracy=.02 * k + t), letters=lambda k, t, s: dict(ece15=.4, true_error=.1 * t, accuracy=.25 + .01 * s))
    e = q3.effects(d).set_index(['claim', 'seed']).effect
    want = {'clm-low-world': .12 + .1 - .1, 'clm-mild-world': .01, 'clm-early-world': .023, 'clm-flat-world': .075, 'clm-under-world': .12 + .025 - .1, 'clm-low-world-true': 0., 'clm-under-world-true': .198 - .1, 'clm-flat-world-true': -.075,
            'fact-scale-world': -.03, 'fact-scale-world-true': .05, 'fact-accuracy-scale-world': .02, 'fact-early-accuracy-world': .23, 'fact-early-world': 0., 'choice-chance-world': 0., 'choice-scale-world': 0.}
    for claim, v in want.items(): assert e[claim, 0] == pytest.approx(v, abs=1e-12), claim
    assert e['clm-low-world', 2] == pytest.approx(.122) and e['choice-chance-world', 2] == pytest.approx(.02)

def test_the_step_before_training_and_other_kinds_decide_nothing():
    d = rows(generation=lambda k, t, s: dict(ece15=9. if t == 0 else .01 * k + .001 * s, true_error=.1, accuracy=t))
    more = pd.concat([d, d.assign(kind='often', ece15=5.)])
    a, b = (q3.effects(x[x.step > 0]) for x in (d, more))
    assert a.equals(b) and a.equals(q3.effects(d))

def test_slopes_are_taken_within_a_text():
    "Two texts of different difficulty, read by decoders of different sizes: the slope is that within them."
    d = pd.concat([rows('text', generation=lambda k, t, s: dict(ece15=.01 * k + .001 * s, accuracy=t)), rows('text', generation=lambda k, t, s: dict(ece15=.5 + .02 * k, accuracy=t)).assign(task='u', params=lambda x: x.params * 16)])
    e = q3.effects(d).set_index(['claim', 'seed']).effect
    assert e['clm-mild-text', 0] == pytest.approx(.015) and not any('true' in c for c in e.index.get_level_values('claim'))

def test_each_finding_is_judged_by_the_ece_and_by_the_truth():
    by_ece = {c.removesuffix('-world') for c in q3.CLAIMS if c.endswith('-world') and q3._ECE in q3.CLAIMS[c].effect}
    assert by_ece == {c.removesuffix('-world-true') for c in q3.CLAIMS if c.endswith('-true')} and len(by_ece) == 8
    assert all(c.source == 'zhu2023calibration' and c.page == 'q3' and '{' not in c.effect for c in q3.CLAIMS.values()) and len({c.id for c in q3.CLAIMS.values()}) == len(q3.CLAIMS)
    assert all(q3._TRUE in q3.CLAIMS[c].effect and 'distance to the truth' in q3.CLAIMS[c].text for c in q3.CLAIMS if c.endswith('-true'))

def test_one_seed_gives_no_verdict_and_no_effect_no_test():
    f = dict(generation=lambda k, t, s: dict(ece15=.1 + .01 * s * t, true_error=.2, accuracy=t))
    assert q3.evidence(rows(seeds=1, **f), 'toy') == []
    assert 'zhu-clm-low-world-true' not in {e.claim.id for e in q3.evidence(rows(**f), 'toy')}

# ---- records, figures, page ------------------------------------------------------------------------------------------
def test_records_follow_from_the_cells(frames, out):
    assert set(frames) == {f'q3_{k}' for k in ('cells', 'sizes', 'steps', 'intervals', 'effects', 'verdicts')}
    cells, sizes = frames['q3_cells'], frames['q3_sizes']
    own = cells[(cells.share == 1) & (cells['size'] == '1x32') & (cells.aspect == 'first') & (cells.kind == 'all')]
    row = sizes[(sizes['size'] == '1x32') & (sizes.aspect == 'first') & (sizes.kind == 'all') & (sizes.measure == 'accuracy')].iloc[0]
    assert row['mean'] == pytest.approx(own.accuracy.mean(), abs=1e-3) and row.seeds == 2 and row.lo <= row['mean'] <= row.hi
    assert len(frames['q3_verdicts']) and set(frames['q3_verdicts'].verdict) <= {'replicates', 'contradicts', 'undecided'}
    inside = frames['q3_intervals']
    assert inside.groupby(['size', 'seed']).ngroups == 4 and (inside.lo <= inside.hi).all()
    made = q3.provenance(out, 'smoke')
    assert made['cells'] == made['planned'] == 4 and made['seeds']['world'] == 2 and made['sizes']['world'] == ['1x16', '1x32'] and q3.records(out, 'laptop') == {}

def test_figures_show_the_records(frames, out, tmp_path):
    folder = pages.write_trained(q3, out, 'smoke', tmp_path)
    fig = figures.pretraining_sizes(folder)
    line = next(x for x in fig.axes[0].lines if x.get_label() == 'ECE15')
    d = frames['q3_sizes'].query("aspect == 'generation' and kind == 'all' and measure == 'ece15'").sort_values('params')
    np.testing.assert_allclose(line.get_ydata(), d['mean'])
    for name in ('q3_steps', 'q3_facts'): assert figures.FIGURES[name](folder).axes
    assert 'SMOKE' in fig.get_suptitle()

def test_the_page_runs_on_the_records_of_a_smoke_run(out, tmp_path):
    pytest.importorskip('nbclient')
    pages.write_trained(q3, out, 'smoke', tmp_path / 'records')
    for f in ('about.json',): (tmp_path / 'records' / f).write_text(json.dumps(dict(scale='published results')))
    html = pages.run_page('q3', tmp_path / 'records', tmp_path).read_text()
    assert 'SMOKE run' in html and 'Verdict' in html and 'Traceback' not in html

def test_checkpoints_of_seeds_whose_corpora_differ_in_length_stand_side_by_side():
    rows = [dict(part='world', task='facts', size='1x16', seed=s, step=step, share=step / last, kind='all', aspect=a) for s, last in ((0, 100), (1, 98)) for step in (0, 10, last) for a in ('first', 'letters')]
    got = q3._aligned(pd.DataFrame(rows))
    assert [sorted(set(got[c])) for c in ('step', 'share')] == [[0, 10, 99], [0, .101, 1]] and (got.groupby('step').seed.nunique() == 2).all()
