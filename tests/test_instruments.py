"The simulation of the instruments: truths against slow twins, records against the seed, and no miss without a reason."
import importlib.util, json, sys, zlib
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from plcal_study.measure.metrics import auroc, brier_top, ece
from plcal_study.study import instruments as I
from plcal_study.study.instruments import CONFIDENCES, ESTIMATORS, INSTRUMENTS, LIMITS, MISCALIBRATIONS, TRUTHS, Cell, audit, bias_cells, bias_row, cells, population, sample, trial_row

ROOT = Path(__file__).parents[1]
FILES = [ROOT / 'data' / 'records' / f'instruments_{name}' for name in ('trials.csv', 'bias.csv', 'about.json')]
TRIALS, BIAS = (pd.read_csv(f) for f in FILES[:2])
QUICK = ['pearson', 'wilson', 'correlation_difference', 'mean_difference', 'mean_difference, few', 'auroc_interval', 'tost', 'reliability']


# --- populations -----------------------------------------------------------------------------------------------------------------

def test_truths_are_those_of_a_slow_definition():
    pop = population('bf16', 'crossing')
    values, where = np.unique(pop.conf, return_inverse=True)
    p = np.bincount(where, pop.p) / np.bincount(where)
    w = np.bincount(where) / len(where)
    assert TRUTHS['distance'](pop) == pytest.approx((w * np.abs(values - p)).sum()) and TRUTHS['square'](pop) == pytest.approx((w * (values - p)**2).sum())
    right, wrong = w * p, w * (1 - p)
    slow = sum(right[i] * (wrong[:i].sum() + wrong[i] / 2) for i in range(len(values))) / (right.sum() * wrong.sum())
    assert I._truth('bf16, crossing', 'auroc') == pytest.approx(slow)

@pytest.mark.parametrize('case', ['spread, overconfident', 'two, shifted'])
def test_truths_are_what_very_many_questions_say(case):
    conf, correct, _ = sample(np.random.default_rng(1), population(*case.split(', ')), 400_000)
    assert I._truth(case, 'auroc') == pytest.approx(auroc(conf, correct), abs=.004) and I._truth(case, 'brier') == pytest.approx(brier_top(conf, correct), abs=.003)
    assert I._truth(case, 'ece15') == pytest.approx(ece(conf, correct), abs=.004) and I._truth(case, 'nll') == pytest.approx(I._loss(conf, correct).mean(), abs=.01)

def test_what_noise_costs_the_second_model():
    pair = I._two(np.random.default_rng(2), 'spread, overconfident', .3, 400_000, 0)
    assert I._apart('spread, overconfident', .3, 'brier') == pytest.approx(brier_top(*pair.a) - brier_top(*pair.b), abs=.004)
    assert I._apart('spread, overconfident', .3, 'auroc') == pytest.approx(auroc(*pair.a) - auroc(*pair.b), abs=.005) and I._apart('spread, none', 0., 'auroc') == 0

def test_a_calibrated_population_is_without_error_and_the_named_errors_are_exact():
    for c in CONFIDENCES:
        assert all(TRUTHS[t](population(c, 'none')) == pytest.approx(0, abs=1e-5) for t in TRUTHS)
        for h in ('.01', '.03', '.1'): assert TRUTHS['distance'](population(c, h)) == pytest.approx(float(h))
        for h in MISCALIBRATIONS: assert population(c, h).p.min() >= 0 and population(c, h).p.max() <= 1

def test_rounding_to_bfloat16_is_that_of_torch():
    torch = pytest.importorskip('torch')
    x = np.random.default_rng(0).random(2000).astype(np.float32)
    assert (I._bf16(x) == torch.tensor(x).bfloat16().float().numpy()).all()

def test_clusters_keep_the_mean_and_share_what_they_say():
    conf, correct, cluster = sample(np.random.default_rng(3), population('two', 'shifted'), 400_000, True)
    alike = correct.reshape(-1, 20)
    p = np.where(conf.reshape(-1, 20) == .9, .85, .55)
    same = conf.reshape(-1, 20)[:, 0] == conf.reshape(-1, 20)[:, 1]
    z = (alike - p) / np.sqrt(p * (1 - p))
    assert np.mean(z[same, 0] * z[same, 1]) == pytest.approx(.1, abs=.02) and correct.mean() == pytest.approx(population('two', 'shifted').p.mean(), abs=.005)
    assert (np.bincount(cluster) == 20).all()


# --- the records -----------------------------------------------------------------------------------------------------------------

def test_the_records_are_the_whole_grid_and_small():
    about = json.loads(FILES[2].read_text())
    said = cells(about['draws'])
    assert [tuple(r) for r in TRIALS[list(Cell._fields)].itertuples(index=False)] == [tuple(c) for c in said]
    assert BIAS[['conf', 'how', 'n', 'clustered', 'draws']].to_dict('records') == [d | dict(clustered=int(d['clustered'])) for d in bias_cells(about['draws'])]
    assert sum(f.stat().st_size for f in FILES) < 200_000

def test_a_part_of_the_records_made_again_is_the_same():
    "Which part depends on the records, so that each new version is tried elsewhere."
    rng = np.random.default_rng(zlib.crc32(FILES[0].read_bytes()))
    quick = TRIALS[TRIALS.instrument.isin(QUICK) & (TRIALS.n <= 300) & (TRIALS.draws <= 2000)]
    for _, old in quick.iloc[rng.choice(len(quick), 4, replace=False)].iterrows():
        new = trial_row(Cell(*old[list(Cell._fields)]))
        for k in ('estimate', 'truth', 'covered', 'low', 'high', 'width', 'rejected'):
            assert new[k] == pytest.approx(old[k], rel=2e-3, abs=3 / old.draws, nan_ok=True), (old.instrument, old.case, k)
    small = BIAS[(BIAS.n == 100)]
    old = small.iloc[int(rng.integers(len(small)))]
    new = bias_row(old.conf, old.how, 100, bool(old.clustered), int(old.draws))
    for e in ESTIMATORS: assert new[f'{e}_bias'] == pytest.approx(old[f'{e}_bias'], rel=2e-3, abs=1e-4, nan_ok=True), (old.conf, old.how, e)

def test_no_miss_without_a_reason_and_no_reason_without_a_miss():
    seen = audit(TRIALS)
    assert set(seen[seen.says == 'misses'].instrument) == set(LIMITS) <= set(INSTRUMENTS)

def test_what_the_page_advises_holds_in_the_records():
    seen = audit(TRIALS)
    for name in ('mean_difference', 'delong', 'auroc_interval', 'mcnemar', 'pearson', 'holm', 'wilson'):
        own = seen[(seen.instrument == name) & (seen.says != '')]
        assert len(own) and (own.says != 'misses').mean() >= .9, name

def test_the_audit_counts_the_safe_side_of_each_kind():
    row = Cell('certify_threshold', '', 0., 10, 0, 1000)._asdict() | dict(estimate=0., covered=np.nan)
    said = [audit(pd.DataFrame([row | dict(rejected=r)])).iloc[0] for r in (.0, .09, .2)]
    assert [s.says for s in said] == ['holds', 'holds', 'misses'] and said[0].kind == 'broken promises'
    assert audit(pd.DataFrame([row | dict(instrument='verdicts', case='+: replicates', rejected=.08)])).iloc[0].says == 'misses'


# --- the command -----------------------------------------------------------------------------------------------------------------

def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    spec = importlib.util.spec_from_file_location('instruments_command', ROOT / 'benchmarks' / 'instruments.py')
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    todo, made = [c._asdict() for c in cells(10) if c.instrument == 'tost'], []
    class Bar: # what tqdm is asked for
        def set_postfix_str(self, *a, **k): pass
        def update(self): pass
    def make(c):
        if len(made) == 2: raise KeyboardInterrupt
        made.append(c)
        return trial_row(Cell(**c))
    file = tmp_path / 'trials.csv'
    with pytest.raises(KeyboardInterrupt): command.table(file, Cell._fields, todo, make, Bar())
    assert len(pd.read_csv(file)) == 2
    command.table(file, Cell._fields, todo, lambda c: made.append(c) or trial_row(Cell(**c)), Bar())
    assert len(made) == len(todo) and pd.read_csv(file).n.tolist() == [c['n'] for c in todo]
    whole = tmp_path / 'whole.csv'
    command.table(whole, Cell._fields, todo, lambda c: trial_row(Cell(**c)), Bar())
    assert whole.read_bytes() == file.read_bytes()

def test_the_module_loads_without_torch():
    import subprocess
    out = subprocess.run([sys.executable, '-c', 'import plcal_study.study.instruments, sys; print("torch" in sys.modules)'], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == 'False'
