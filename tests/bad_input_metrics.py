"What no metric may answer with a number, with what the message must say; run by the one shared test."
import numpy as np
from plcal_study.measure.metrics import (
    METRICS, TRUE_METRICS, ace, auroc, aurc, bin_ids, brier, cerr_neg, cerr_pos, classwise_ece, corp, coverage_at_risk, debiased_l2, ece, ece_chen_mass100,
    ece_chen_width10, ece_edges, ece_mass, ece_null, ece_plaut, entropy, fpr95, grouping_loss, margin, mass_ids, nll, nll_top, reliability, risk_coverage, smece, wilson)

ok = ([.9, .6, .3], [1, 1, 0])
RANKS = {'auroc', 'aurc', 'eaurc', 'augrc', 'acc'}  # any finite score will do; the accuracy is asked with confidences all the same

CASES = [(f'{name}: {fault}', lambda metric=metric, pair=pair: metric(*pair), ValueError, says) for name, metric in METRICS.items()
         for fault, pair, says in [('NaN', ([np.nan, .5], [1, 0]), 'must'), ('infinite', ([np.inf, .5], [1, 0]), 'must'), ('empty', ([], []), 'is empty'),
                                   ('two dimensions', ([[.5, .2]], [[1, 0]]), 'must have shape (n,)'), ('text', (['a', 'b'], [1, 0]), 'must be numbers')]]
CASES += [(f'{name}: {fault}', lambda metric=metric, pair=pair: metric(*pair), ValueError, says) for name, metric in METRICS.items() if name != 'conf'
          for fault, pair, says in [('lengths differ', ([.5, .2], [1, 0, 1]), 'like the confidence, got (3,)'), ('column', ([.5, .2], [[1], [0]]), 'correct must have shape'),
                                    ('labels', ([.5, .2, .1], [0, 1, 2]), 'only 0 and 1'), ('NaN grade', ([.5, .2], [np.nan, 1]), 'only 0 and 1')]]
CASES += [(f'{name}: {fault}', lambda metric=metric, conf=conf: metric(conf, [1, 0]), ValueError, 'conf must lie in [0, 1]') for name, metric in METRICS.items()
          if name not in RANKS - {'acc'} for fault, conf in [('percentages', [90., 80.]), ('negative', [-.1, .5]), ('one ulp above 1', [np.nextafter(1, 2), .5])]]
CASES += [
    ('bin_ids: no bins',             lambda: bin_ids([.5], 0), ValueError, 'bins must be a whole number of at least 1, got 0'),
    ('bin_ids: half a bin',          lambda: bin_ids([.5], 1.5), ValueError, 'got 1.5'),
    ('bin_ids: closed misspelt',     lambda: bin_ids([.5], 10, 'rigth'), ValueError, "got 'rigth'"),
    ('bin_ids: above 1',             lambda: bin_ids([1.5]), ValueError, 'conf must lie in [0, 1]'),
    ('mass_ids: no bins',            lambda: mass_ids([.5], 0), ValueError, 'bins must be'),
    ('ece: no bins',                 lambda: ece(*ok, 0), ValueError, 'bins must be'),
    ('ece: closed misspelt',         lambda: ece(*ok, 10, 'both'), ValueError, "got 'both'"),
    ('ece_mass: text for bins',      lambda: ece_mass(*ok, '15'), ValueError, "got '15'"),
    ('ece_edges: falling',           lambda: ece_edges(*ok, [1, 0]), ValueError, 'increasing'),
    ('ece_edges: repeated',          lambda: ece_edges(*ok, [0, .5, .5, 1]), ValueError, 'increasing'),
    ('ece_edges: NaN',               lambda: ece_edges(*ok, [0, np.nan, 1]), ValueError, 'increasing'),
    ('ece_edges: one',               lambda: ece_edges(*ok, [1]), ValueError, 'at least two'),
    ('ece_edges: too narrow',        lambda: ece_edges(*ok, [.5, 1]), ValueError, 'must span every confidence'),
    ('reliability: no bins',         lambda: reliability(*ok, -1), ValueError, 'got -1'),
    ('debiased_l2: single row',      lambda: debiased_l2(*ok, 2), ValueError, 'at least two rows in each bin'),
    ('wilson: k above n',            lambda: wilson(3, 2), ValueError, 'k must lie in [0, n]'),
    ('wilson: no trials',            lambda: wilson(0, 0), ValueError, 'n of at least 1'),
    ('wilson: NaN',                  lambda: wilson(np.nan, 2), ValueError, 'k must lie in [0, n]'),
    ('wilson: percent',              lambda: wilson(1, 2, 95), ValueError, '95 % is 0.95'),
    ('smece: no width',              lambda: smece(*ok, 0), ValueError, 'sigma must be above 0'),
    ('smece: NaN width',             lambda: smece(*ok, np.nan), ValueError, 'sigma must be above 0'),
    ('ece_null: no draws',           lambda: ece_null(*ok, draws=0), ValueError, 'draws must be'),
    ('ece_null: above 1',            lambda: ece_null([1.5]), ValueError, 'conf must lie in [0, 1]'),
    ('ece_null: no bins',            lambda: ece_null(*ok, bins=0), ValueError, 'bins must be'),
    ('auroc: all right',             lambda: auroc([.5, .6], [1, 1]), ValueError, 'got 2 right and 0 wrong'),
    ('auroc: all wrong',             lambda: auroc([.5, .6], [0, 0]), ValueError, 'got 0 right and 2 wrong'),
    ('fpr95: no foreign text',       lambda: fpr95([.5, .6], [1, 1]), ValueError, 'positive must hold both kinds for an FPR, got 2 in-distribution and 0 out of it'),
    ('fpr95: no familiar text',      lambda: fpr95([.5, .6], [0, 0]), ValueError, 'got 0 in-distribution and 2 out of it'),
    ('fpr95: empty',                 lambda: fpr95([], []), ValueError, 'score is empty'),
    ('fpr95: NaN',                   lambda: fpr95([np.nan, .6], [0, 1]), ValueError, 'score must be finite, got nan in row 0'),
    ('fpr95: infinite',              lambda: fpr95([.5, -np.inf], [0, 1]), ValueError, 'score must be finite'),
    ('fpr95: text',                  lambda: fpr95(['a', 'b'], [0, 1]), ValueError, 'score must be numbers'),
    ('fpr95: two dimensions',        lambda: fpr95([[.5, .6]], [[0, 1]]), ValueError, 'score must have shape (n,)'),
    ('fpr95: lengths differ',        lambda: fpr95([.5, .6], [0, 1, 1]), ValueError, 'positive must have shape (2,)'),
    ('fpr95: names of data sets',    lambda: fpr95([.5, .6], ['in', 'out']), ValueError, 'positive must be numbers'),
    ('fpr95: labels',                lambda: fpr95([.5, .6, .7], [0, 1, 2]), ValueError, 'positive must hold only 0 and 1'),
    ('aurc: infinite',               lambda: aurc([np.inf, .6], [0, 1]), ValueError, 'score must be finite'),
    ('risk_coverage: NaN',           lambda: risk_coverage([np.nan, .6], [0, 1]), ValueError, 'score must be finite'),
    ('coverage_at_risk: percent',    lambda: coverage_at_risk(*ok, 5), ValueError, 'not a percentage'),
    ('coverage_at_risk: NaN',        lambda: coverage_at_risk(*ok, np.nan), ValueError, 'risk must lie in [0, 1]'),
    ('cerr_pos: none right',         lambda: cerr_pos([.5], [0]), ValueError, 'must hold a right answer'),
    ('cerr_neg: none wrong',         lambda: cerr_neg([.5], [1]), ValueError, 'must hold a wrong answer'),
    ('nll_top: eps',                 lambda: nll_top(*ok, eps=0), ValueError, 'eps must lie between'),
    ('corp: unknown score',          lambda: corp(*ok, 'nll'), ValueError, "got 'nll'"),
    ('nll: NaN in the middle',       lambda: nll([[0., np.nan, 1.]], [0]), ValueError, 'NaN only as padding'),
    ('nll: labels from 1',           lambda: nll([[0., 1.]], [2]), ValueError, 'count from 1'),
    ('nll: label in the padding',    lambda: nll([[0., np.nan]], [1]), ValueError, 'got 1 in row 0'),
    ('nll: letters',                 lambda: nll([[0., 1.]], ['A']), ValueError, 'map letters'),
    ('brier: logits',                lambda: brier([[2., -1.]], [0]), ValueError, 'use probs_of'),
    ('brier: does not sum to 1',     lambda: brier([[.5, .4]], [0]), ValueError, 'sum to 1'),
    ('brier: NaN',                   lambda: brier([[.5, .5, np.nan]], [0]), ValueError, 'sum to 1'),
    ('brier: percentages',           lambda: brier([[50., 50.]], [0]), ValueError, 'sum to 1'),
    ('classwise_ece: label -1',      lambda: classwise_ece([[.5, .5]], [-1]), ValueError, 'got -1'),
    ('ace: no bins',                 lambda: ace([[.5, .5]], [0], 0), ValueError, 'bins must be'),
    ('entropy: negative',            lambda: entropy([[1.5, -.5]]), ValueError, 'sum to 1'),
    ('entropy: one dimension',       lambda: entropy([.5, .5]), ValueError, 'must have shape (n, k)'),
    ('entropy: a number',            lambda: entropy(.5), ValueError, 'must have shape (n, k)'),
    ('margin: logits',               lambda: margin([[3., 1.]]), ValueError, 'use probs_of'),
    ('ece_plaut: all ones',          lambda: ece_plaut([1., 1.], [1, 0]), ValueError, 'use drop_ones=False'),
    ('ece_plaut: no bins',           lambda: ece_plaut(*ok, 0), ValueError, 'bins must be'),
    ('ece_chen_width10: zero',       lambda: ece_chen_width10([0., .5], [1, 0]), ValueError, 'no bin'),
    ('ece_chen_mass100: lengths',    lambda: ece_chen_mass100([.5, .5], [0, 1], [0]), ValueError, 'the same shape'),
    ('ece_chen_mass100: above 1',    lambda: ece_chen_mass100([1.5, .5], [0, 1], [0, 1]), ValueError, 'conf must lie in [0, 1]'),
    ('grouping_loss: single row',    lambda: grouping_loss([.1, .9], [.2, .8], 2), ValueError, 'at least two rows in each bin'),
    ('grouping_loss: no bins',       lambda: grouping_loss([.1, .9], [.2, .8], 0), ValueError, 'bins must be'),
]
CASES += [(f'{name}: {fault}', lambda metric=metric, pair=pair: metric(*pair), ValueError, says) for name, metric in TRUE_METRICS.items()
          for fault, pair, says in [('NaN', ([np.nan, .5], [1, .5]), 'conf must'), ('empty', ([], []), 'is empty'), ('percentages', ([90., 80.], [.5, .5]), 'conf must lie in [0, 1]'),
                                    ('NaN truth', ([.5, .5], [np.nan, .5]), 'p_correct must be true probabilities'), ('truth above 1', ([.5, .5], [1.5, .5]), 'from 0.5 to 1.5'),
                                    ('negative truth', ([.5, .5], [-.1, .5]), 'from -0.1'), ('lengths differ', ([.5, .5], [.5]), 'p_correct must have shape (2,)'),
                                    ('a posterior of all classes', ([.5, .5], [[.5, .5], [.5, .5]]), 'p_correct must have shape (2,)'), ('text', ([.5, .5], ['a', 'b']), 'p_correct must be numbers')]]
