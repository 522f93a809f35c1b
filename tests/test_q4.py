"Page q4: cells of the smoke grid from base model to verdicts; a killed cell goes on; one temperature against its definition; a model of others by the path of the hub; figures and page."
import json, os, re
from dataclasses import asdict, replace
from pathlib import Path
import numpy as np, pandas as pd, pytest
torch = pytest.importorskip('torch')
pytest.importorskip('trl')
from plcal_study.lm import models, tasks
from plcal_study.lm.examples import take
from plcal_study.measure.predictions import load
from plcal_study.study import figures, pages, q4
from plcal_study.study.aspects import ASPECTS, measures
from plcal_study.study.claims import judge
from plcal_study.study.runs import FORMAT, SCALES, run_id

LOCAL = Path(os.environ.get('PLCAL_DATA') or '.').resolve().parent / 'models' / 'stories260K'


def finish(out, run):
    "One cell as the runner leaves it."
    folder = out / 'runs' / run_id(run)
    folder.mkdir(parents=True, exist_ok=True)
    q4.work(run, folder)
    (folder / 'run.json').write_text(json.dumps(dict(format=FORMAT, plcal_study='x', id=run_id(run), run=asdict(run), seconds=1.5)))
    return folder

@pytest.fixture(scope='module')
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp('q4')
    for run in q4.grid('smoke'):
        if (run.task, run.delta) != ('diverse', '') or run.seed == 0: finish(out, run)
    return out

def test_grids_are_whole():
    for scale in SCALES:
        g = q4.grid(scale)
        assert len({run_id(r) for r in g}) == len(g) and all(r.scale == scale and q4.cost(r) > 0 for r in g)
        assert scale == 'smoke' or {(r.task, r.delta) for r in g} == {(d, t) for d in (('narrow', 'diverse') if scale == 'laptop' else ('alpaca', 'oasst')) for t in ('', 'lora')}
    assert sum(map(q4.cost, q4.grid('laptop'))) / 2 <= 600 and {r.seed for r in q4.grid('laptop')[:5]} == set(range(5))

def test_what_is_learned_is_never_asked():
    run = q4.grid('laptop')[0]
    data, asked = q4.data_of(run), q4.asked_of(run)
    assert len(data['pairs']) == q4.PAIRS['laptop'] and len(data['held']) == q4.RANKED['laptop'] // 2
    assert not set(asked['text'].a) & set(data['pairs'].a) and (data['pairs'].extra['right']).all()
    few, many = (len(set(q4.data_of(replace(run, task=t))['pairs'].a)) for t in ('narrow', 'diverse'))
    assert many > 3 * few
    other = q4.data_of(replace(run, seed=1))['pairs']
    assert set(other.a) != set(data['pairs'].a)

def test_a_cell_leaves_every_checkpoint(out):
    run = q4.grid('smoke')[0]
    folder = out / 'runs' / run_id(run)
    steps = ['base', 'sft-1', 'sft-2', 'dpo-1', 'rl-1']
    assert {f.name for f in folder.glob('*.parquet')} >= {f'{s}-{a}.parquet' for s in steps for a in ASPECTS}
    assert {f.name for f in folder.glob('*-t.parquet')} == {f'{s}-{a}-t.parquet' for s in ('base', 'sft-2', 'dpo-1', 'rl-1') for a in ('generation', 'first', 'letters', 'options')}
    assert not (folder / 'steps').exists() and len(list((out / 'shared').glob('[!.]*'))) == 2, 'one base model a seed'
    base, _ = q4.base_for(run, out / 'shared')
    assert json.loads((folder / 'cell.json').read_text())['params'] == models.count(base)[1] or models.count(base)[0]
    same = out / 'runs' / run_id(replace(run, delta='lora', delta_size=q4.RANK, lr=3e-3))
    for a in ASPECTS: np.testing.assert_allclose(load(folder / f'base-{a}.parquet').conf, load(same / f'base-{a}.parquet').conf)

def test_a_killed_cell_goes_on(out, tmp_path, monkeypatch):
    run = q4.grid('smoke')[0]
    folder = tmp_path / 'runs' / run_id(run)
    folder.mkdir(parents=True)
    real = q4._look
    def die(r, name, *a):
        if name == 'dpo-1': raise RuntimeError('killed')
        return real(r, name, *a)
    with monkeypatch.context() as m:
        m.setattr(q4, '_look', die)
        with pytest.raises(RuntimeError): q4.work(run, folder)
    made = (folder / 'sft-2-letters.parquet').stat().st_mtime_ns
    finish(tmp_path, run)
    assert (folder / 'sft-2-letters.parquet').stat().st_mtime_ns == made, 'what was asked is not asked again'
    whole = out / 'runs' / run_id(run)
    for f in ('sft-2-generation', 'dpo-1-letters', 'rl-1-first', 'rl-1-first-t'): np.testing.assert_allclose(load(folder / f'{f}.parquet').conf, load(whole / f'{f}.parquet').conf, atol=1e-5)

def test_tables_are_their_definitions(out):
    cells = list(q4.finished(out, 'smoke'))
    rows = q4.cell_table(cells)
    assert len(rows) == len(cells) * 5 * len(ASPECTS) and rows.groupby('step').epoch.max().to_dict() == dict(base=0, dpo=1, rl=1, sft=2)
    cell, folder = cells[0]
    one = rows[(rows.data == cell['data']) & (rows.tuning == cell['tuning']) & (rows.seed == cell['seed']) & (rows.step == 'sft') & (rows.epoch == 2) & (rows.aspect == 'letters')].iloc[0]
    p, b = load(folder / 'sft-2-letters.parquet'), load(folder / 'base-letters.parquet')
    assert one.accuracy == p.correct.mean() and one.true_ece15 == pytest.approx(measures(p)['true_ece15'])
    d = q4.from_base(rows)
    got = d[(d.data == cell['data']) & (d.tuning == cell['tuning']) & (d.seed == cell['seed']) & (d.step == 'sft') & (d.epoch == 2) & (d.aspect == 'letters')].iloc[0]
    assert got.conf == pytest.approx(p.conf.mean() - b.conf.mean()) and 'base' not in set(d.step)
    paired = pd.read_csv(folder / 'changes.csv').query("step == 'sft' and aspect == 'letters' and measure == 'conf'").iloc[0]
    assert paired['diff'] == pytest.approx(p.conf.mean() - b.conf.mean(), abs=1e-5) and paired.lo <= paired['diff'] <= paired.hi

def test_one_temperature_is_fitted_on_the_other_half(out):
    "The judged half's confidences are those of the letters' scores divided by t; no cluster is in both."
    cell, folder = next(q4.finished(out, 'smoke'))
    whole, after = load(folder / 'sft-2-letters.parquet'), load(folder / 'sft-2-letters-t.parquet')
    fit, test = q4.halves(whole)
    assert set(after.uid) == set(whole.uid[test]) and not set(whole.cluster[fit]) & set(after.cluster)
    z = whole.logits[test] / after.meta['t']
    np.testing.assert_allclose(after.conf, (np.exp(z - z.max(1, keepdims=True)) / np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)).max(1), atol=1e-9)
    w = q4.temperatures([(cell, folder)]).query("step == 'sft' and aspect == 'letters'").iloc[0]
    assert w.n == test.sum() and w.true_ece15_after == pytest.approx(measures(after)['true_ece15'])

def test_words_are_read_again_as_they_were(out):
    "The vocabulary's scores give the confidences that were asked for, and at t = 1 the same."
    run = q4.grid('smoke')[0]
    base, tok = q4.base_for(run, out / 'shared')
    folder, asked = out / 'runs' / run_id(run), q4.asked_of(run)
    said = {k: load(folder / f'base-{k}.parquet') for k in ('generation', 'first')}
    warm = q4.tempered(base, tok, asked, said)
    rows = dict(zip(said['generation'].uid, said['generation'].conf, strict=True))
    uid = warm['generation'].uid[0]
    text = dict(zip(asked['text'].uid, asked['text'].a, strict=True))[uid.rpartition(':')[0]]
    with torch.no_grad(): z = base(torch.tensor([tok(text)['input_ids']])).logits[0, int(uid.rpartition(':')[2]) - 1].double()
    assert float(torch.softmax(z, -1).max()) == pytest.approx(rows[uid], abs=1e-5)
    assert float(torch.softmax(z / warm['generation'].meta['t'], -1).max()) == pytest.approx(warm['generation'].conf[0], abs=1e-5)
    other = models.build('llama', (1, 16, 1), tok, 'causal', seed=9)
    other.lm_head.weight.data *= 50
    with pytest.raises(ValueError, match='was the model changed'): q4.tempered(other, tok, asked, said)

def effect_cells(harm, rl=0., lora=1., late=1., last=2):
    "Cells whose true ECE rises as told."
    rows = []
    for d, scale in (('narrow', 2.), ('diverse', 1.)):
        for t in ('full', 'lora'):
            for s in range(4):
                for step, epoch, h in (('base', 0, 0.), ('sft', 1, 1.), ('sft', last, late), ('rl', 1, late), ('dpo', 1, late)):
                    value = .05 + .001 * s + harm * (1 + .01 * s) * h * scale * (lora if t == 'lora' else 1.) + (rl if step == 'rl' else 0.) + .0001 * s * epoch
                    rows += [dict(data=d, tuning=t, seed=s, step=step, epoch=epoch, aspect=a, true_ece15=value, auroc=.8 + .01 * s) | {m: value for m in q4.MEASURES if m not in ('true_ece15', 'auroc')} for a in q4.TASKS.values()]
    return pd.DataFrame(rows)

def verdicts(**kw): return judge(q4.evidence(effect_cells(**kw), pd.DataFrame(), 'x')).set_index('claim').verdict

def test_rules_can_say_each_answer():
    v = verdicts(harm=.05, lora=.02, late=1.5)
    assert set(v[['tuning-harms-generation', 'tuning-harms-factuality', 'tuning-harms-understanding', 'epochs-worse', 'narrow-worse', 'lora-better', 'lora-small', 'rl-nothing', 'dpo-nothing', 'msp-still-predicts']]) == {'replicates'}
    v = verdicts(harm=-.05, lora=1.5, late=.5, rl=.05)
    assert set(v[['tuning-harms-generation', 'epochs-worse', 'narrow-worse', 'rl-nothing', 'lora-small']]) >= {'contradicts'} and v['tuning-harms-generation'] == v['narrow-worse'] == v['rl-nothing'] == 'contradicts'
    x = q4.effects(effect_cells(harm=.05, late=1.5), pd.DataFrame())
    assert x['epochs-worse'].mean() == pytest.approx(.05 * 1.015 * .5 * 1.5 + .00015) and x['narrow-worse'].mean() == pytest.approx(.05 * 1.015 * 1.5) and x['rl-nothing'].mean() == pytest.approx(-.00015)
    warm = pd.DataFrame([dict(data=d, tuning=t, seed=s, aspect=a, step=step, true_ece15_before=.05 if step == 'base' else .2, true_ece15_after=.051 + .001 * s) for d in ('narrow', 'diverse') for t in ('full', 'lora') for s in range(4) for a in q4.TASKS.values() for step in ('base', 'sft')])
    e = {x.claim.id: x for x in q4.evidence(effect_cells(harm=.05), warm, 'x')}['temperature-repairs']
    assert e.estimate == pytest.approx(.0025) and judge([e]).verdict[0] == 'replicates'

def test_records_pages_and_figures(out, tmp_path, monkeypatch):
    frames = q4.records(out, 'smoke')
    assert {f'q4_{k}' for k in ('cells', 'levels', 'changes', 'paired', 'temperature', 'said', 'verdicts')} == set(frames)
    assert set(frames['q4_verdicts'].claim) <= set(q4.CLAIMS) and frames['q4_verdicts'].scale.eq('smoke').all()
    again = judge(q4.evidence(frames['q4_cells'], frames['q4_temperature'], 'smoke'))
    assert pages.difference(again, frames['q4_verdicts']) == '', 'the verdicts follow from the rounded numbers'
    folder = pages.write_trained(q4, out, 'smoke', tmp_path)
    monkeypatch.setenv('PLCAL_RECORDS', str(folder))
    harm, warm = figures.alignment_harm(folder), figures.alignment_temperature(folder)
    assert len(harm.axes) == 5 and len(warm.axes) == 4 and 'SMOKE' in harm._suptitle.get_text()
    assert q4.records(tmp_path / 'nothing', 'smoke') == {}
    about = pages.about(folder, 'q4_about')
    assert about['cells'] == 5 and about['planned'] == 6 and 'trl' in about['versions'][0]

def test_the_page_has_no_number_in_its_prose():
    cells = json.loads((Path(__file__).parents[1] / 'nbs' / 'research' / 'q4_alignment.ipynb').read_text())['cells']
    prose = ' '.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    assert not re.search(r'(?<![\w-])[+-]?0?\.\d{2,}', prose)

@pytest.mark.skipif(not LOCAL.is_dir(), reason='the tiny decoder of others is not on this machine')
def test_the_path_of_the_hub_with_a_local_decoder(tmp_path, monkeypatch):
    "Model, instructions, ranked responses, WikiText-2 and MMLU as at scale colab, from files that lie here."
    try: tasks.mmlu(), tasks.wikitext2()
    except FileNotFoundError: pytest.skip('MMLU or WikiText-2 are not here')
    monkeypatch.setitem(q4.BASES, 'pythia-410m', (str(LOCAL), None))
    monkeypatch.setitem(q4.REAL, 'data', None); monkeypatch.setitem(q4.REAL, 'ranked', 'polite')
    for name, n in dict(ASKED=16, PAIRS=16, RANKED=16, PROMPTED=8, NEW=4).items(): monkeypatch.setitem(getattr(q4, name), 'colab', n)
    monkeypatch.setitem(q4.EPOCHS, 'colab', (1, 1))
    from plcal_study.lm import alignment
    table = alignment._table
    monkeypatch.setattr(alignment, '_table', lambda name, t: table(name, t).pipe(lambda x: x[x.a.str.len() < 500])) # the little model reads 512 tokens of few characters each
    q4.data_of.cache_clear(), q4.asked_of.cache_clear()
    every = q4.asked_of
    def short(run):
        e = every(run)
        return e | dict(text=replace(e['text'], a=np.array([t[:2000] for t in e['text'].a], object)), test=take(e['test'], [i for i, a in enumerate(e['test'].a) if len(a) + sum(map(len, e['test'].options[i])) < 300]))
    monkeypatch.setattr(q4, 'asked_of', short)
    run = replace(next(r for r in q4.grid('colab') if r.delta == 'lora' and r.task == 'alpaca'), epochs=1, n_train=16, precision='fp32', lr=1e-3)
    folder = finish(tmp_path, run)
    rows = q4.cell_table(list(q4.finished(tmp_path, 'colab')))
    assert set(rows.aspect) == {'generation', 'letters', 'options'} and set(rows.step) == {'base', 'sft', 'dpo', 'rl'} and rows.true_ece15.isna().all() and q4.error_of(rows) == 'ece15'
    assert {f.name for f in folder.glob('base-*-t.parquet')} == {f'base-{a}-t.parquet' for a in ('generation', 'letters', 'options')}
    q4.data_of.cache_clear(), every.cache_clear()
