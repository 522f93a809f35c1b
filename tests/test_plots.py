"Figures: the numbers that go in are the numbers on the lines; names never collide; nothing global changes. No pixels are compared."
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from matplotlib.colors import to_rgb
from sklearn.metrics import roc_auc_score, roc_curve
from plcal_study.measure import plots
from plcal_study.measure.metrics import corp_fit, reliability, risk_coverage
from plcal_study.measure.plots import (corp_curve, plot_forest, plot_heatmap, plot_reliability, plot_risk_coverage, plot_roc, plot_scatter_named,
                                       plot_score_threshold, roc_points, save_figure)

MODELS = ['Falcon 7B', 'Falcon 40B', 'Llama 2 7B', 'Llama 2 13B', 'Llama 2 70B', 'Llama 3 8B', 'Llama 3 70B', 'Mistral 7B', 'Mixtral 8x7B',
          'SOLAR 10.7B', 'Yi 6B', 'Yi 34B', 'GPT3.5 Turbo', 'GPT4 Turbo'] # accuracy and AUROC in percent as published by Plaut et al., means of five data sets
ACC = np.array([29.1, 44.2, 40.6, 46.7, 58.3, 58.6, 78.4, 56.9, 69.0, 67.2, 52.1, 69.0, 67.3, 86.6]) / 100
AUROC = np.array([51.8, 59.6, 57.3, 60.1, 69.4, 71.2, 81.7, 63.5, 61.6, 59.9, 66.8, 67.5, 75.7, 85.5]) / 100


@pytest.fixture(autouse=True)
def clean():
    "Every test leaves the global settings as they were."
    before = dict(matplotlib.rcParams)
    yield
    plt.close('all')
    assert dict(matplotlib.rcParams) == before


@pytest.fixture
def pairs():
    rng = np.random.default_rng([3, 0])
    conf = rng.uniform(.2, 1, 700).round(2)
    return conf, rng.random(700) < conf**2


def series(ax): return [a for a in ax.lines if a.get_gid() == 'series']
def texts(ax): return [t.get_text() for t in ax.get_legend().get_texts()]


# ---- compute ----
pair_lists = st.lists(st.tuples(st.sampled_from([0., .1, .25, .5, .9, 1.]), st.booleans()), min_size=2, max_size=40)

@settings(deadline=None, max_examples=40, derandomize=True)
@given(pair_lists)
def test_corp_curve_is_the_fit_of_the_measure(rows):
    conf, correct = (np.array(v) for v in zip(*rows, strict=True))
    c = corp_curve(conf, correct, draws=40)
    where = np.searchsorted(c.x, conf)
    np.testing.assert_array_equal(c.x[where], conf)
    np.testing.assert_allclose(c.fitted[where], corp_fit(conf, correct), atol=1e-12)
    assert (np.diff(c.fitted) >= -1e-12).all() and (c.lo <= c.hi).all() and c.lo.min() >= 0 and c.hi.max() <= 1 and c.n == len(rows)


def test_band_is_where_a_calibrated_model_lies():
    "About 95% of the points of a calibrated model lie within the band, and few of an overconfident one."
    inside, inside_bad = [], []
    for seed in range(30):
        rng = np.random.default_rng([seed, 1])
        conf = rng.choice(np.arange(1, 20) / 20, 400)
        for wrong, out in ((False, inside), (True, inside_bad)):
            c = corp_curve(conf, rng.random(400) < (conf**2 if wrong else conf), draws=200, seed=seed)
            out.append(((c.lo <= c.fitted) & (c.fitted <= c.hi)).mean())
    assert .92 < np.mean(inside) < .98 and np.mean(inside_bad) < .4


def test_curve_does_not_depend_on_the_order_of_rows(pairs):
    conf, correct = pairs
    order = np.lexsort((correct, conf))
    for a, b in zip(corp_curve(conf, correct), corp_curve(conf[order], correct[order]), strict=True): np.testing.assert_array_equal(a, b)
    for a, b in zip(roc_points(conf, correct), roc_points(conf[order], correct[order]), strict=True): np.testing.assert_array_equal(a, b)


def test_many_confidences_make_a_short_curve():
    conf = np.random.default_rng(0).random(5000)
    c = corp_curve(conf, conf > .5, draws=40)
    assert len(c.x) == 500 and c.x[0] == conf.min() and c.x[-1] == conf.max() and c.n == 5000


def test_certain_answers_have_no_band():
    c = corp_curve([0., 0., 1., 1.], [0, 0, 1, 1])
    for v in (c.fitted, c.lo, c.hi): np.testing.assert_array_equal(v, [0., 1.])


def test_seeds(pairs):
    a, b, c = corp_curve(*pairs, seed=0), corp_curve(*pairs, seed=0), corp_curve(*pairs, seed=1)
    np.testing.assert_array_equal(a.lo, b.lo)
    assert (a.lo != c.lo).any()


def test_roc_is_that_of_sklearn(pairs):
    conf, correct = pairs
    roc, (fpr, tpr, threshold) = roc_points(conf, correct), roc_curve(correct, conf, drop_intermediate=False)
    for ours, theirs in zip(roc[:3], (fpr, tpr, threshold), strict=True): np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert np.trapezoid(roc.right, roc.wrong) == pytest.approx(roc_auc_score(correct, conf))


def test_one_threshold_is_one_step():
    roc = roc_points([.5, .5, .5], [1, 0, 1])
    np.testing.assert_array_equal([roc.wrong, roc.right], [[0, 1], [0, 1]])
    np.testing.assert_array_equal(roc_points(np.array([2, -1]), [1, 0]).threshold, [np.inf, 2, -1])


# ---- draw ----
def test_reliability_draws_the_curve_and_its_band(pairs):
    c = corp_curve(*pairs)
    ax = plot_reliability(c, label='m')
    np.testing.assert_array_equal(series(ax)[0].get_xydata(), np.c_[c.x, c.fitted])
    edge = ax.collections[0].get_paths()[0].vertices
    assert edge[:, 1].min() == c.lo.min() and edge[:, 1].max() == c.hi.max()
    assert 'm, n = 700' in texts(ax)


def test_reliability_draws_bins_with_bars_and_histogram(pairs):
    c = reliability(*pairs)
    ax = plot_reliability(c, hist=pairs[0])
    np.testing.assert_array_equal(series(ax)[0].get_xydata(), np.c_[c.conf, c.acc])
    bars = np.array(ax.collections[0].get_segments())
    np.testing.assert_array_equal(bars[:, :, 1], np.c_[c.lo, c.hi])
    assert texts(ax) == ['n = 700']
    top = [a for a in ax.figure.axes if a is not ax][0]
    assert sum(b.get_height() for b in top.patches) == 700 and top.get_ylabel() == 'Answers'


def test_risk_coverage(pairs):
    c = risk_coverage(*pairs)
    ax = plot_risk_coverage(c, 700)
    keep = c.coverage * 700 > 19.5
    np.testing.assert_array_equal(series(ax)[0].get_xydata(), np.c_[c.coverage, c.risk][keep])
    assert ax.lines[1].get_ydata()[0] == 1 - pairs[1].mean() and ax.get_ylim()[0] == 0


def test_roc(pairs):
    roc = roc_points(*pairs)
    ax = plot_roc(roc, label='a')
    np.testing.assert_array_equal(series(ax)[0].get_xydata(), np.c_[roc.wrong, roc.right])
    assert texts(ax) == ['a, n = 700']


def test_score_threshold():
    t, s = np.linspace(0, 1, 11), np.linspace(-1, 1, 11)
    ax = plot_score_threshold(t, s, 50, chosen=.55, band=np.c_[s - .1, s + .1])
    np.testing.assert_array_equal(series(ax)[0].get_xydata(), np.c_[t, s])
    dot = [a for a in ax.lines if a.get_gid() == 'chosen'][0]
    np.testing.assert_allclose([*dot.get_xdata(), *dot.get_ydata()], [.55, .1])


def rows(**change):
    return pd.DataFrame(dict(name=MODELS, estimate=AUROC, lo=AUROC - .03, hi=AUROC + .02, n=np.arange(14) + 1000, group=[m.split()[0] for m in MODELS]) | change)


def test_forest_draws_every_row_from_the_top():
    ax = plot_forest(rows())
    points = np.concatenate([c[0].get_xydata() for c in ax.containers])
    order = np.argsort(points[:, 1])
    np.testing.assert_array_equal(points[order, 0], AUROC)
    assert ax.yaxis_inverted() and [t.get_text() for t in ax.get_yticklabels()] == MODELS
    np.testing.assert_array_equal(ax.get_yticks(), points[order, 1])
    spans = np.concatenate([c[2][0].get_segments() for c in ax.containers])
    spans = spans[np.argsort(spans[:, 0, 1])]
    np.testing.assert_allclose(spans[:, :, 0], np.c_[AUROC - .03, AUROC + .02], atol=1e-12)
    beside = [t.get_text() for t in ax.texts]
    assert '0.518 [0.488, 0.538]' in beside and '1,013' in beside
    plot_forest(rows().drop(columns='group'), reference=None)


def test_forest_groups_that_come_back_keep_their_look():
    ax = plot_forest(rows(group=list('ab') * 7))
    assert len(ax.containers) == 2 and texts(ax) == ['a', 'b']


def test_heatmap_writes_every_number():
    table = pd.DataFrame(np.arange(6.).reshape(2, 3) / 10, ['a', 'b'], ['x', 'y', 'z'])
    table.iloc[1, 1] = np.nan
    ax = plot_heatmap(table, 'share', 12_000)
    assert [t.get_color() for t in ax.texts[:5]] == ['w', 'w', 'w', 'k', 'k'] # white where the cell is dark
    assert [t.get_text() for t in ax.texts] == ['0.00', '0.10', '0.20', '0.30', '0.50', '–']
    assert ax.get_title(loc='right') == 'n = 12,000 answers per cell' and ax.figure.axes[1].get_ylabel() == 'share'
    limits = plot_heatmap(table, 'share', '1 to 9', center=.2).collections[0].get_clim()
    np.testing.assert_allclose(limits, [-.1, .5], atol=1e-12)


# ---- what holds for all ----
def every_figure(pairs): # one of each
    conf, correct = pairs
    yield plot_reliability(corp_curve(conf, correct), hist=conf, label='a model')
    yield plot_reliability(reliability(conf, correct), label='a model')
    yield plot_risk_coverage(risk_coverage(conf, correct), len(conf))
    yield plot_roc(roc_points(conf, correct))
    yield plot_forest(rows())
    yield plot_scatter_named(ACC, AUROC, MODELS, 'Accuracy (share right)', 'AUROC', 42_814)
    yield plot_score_threshold([0, 1], [.1, .2], 100)
    yield plot_heatmap(pd.DataFrame([[.1, .2]], ['a'], ['b', 'c']), 'share', 5)


def test_every_figure_says_n_and_can_be_read(pairs):
    "At most 7 inches wide, nothing cut off, no letter under 8 points, the number of answers on it."
    for ax in every_figure(pairs):
        nothing_is_cut_off(ax.figure)
        found = [t for t in ax.figure.findobj(matplotlib.text.Text) if t.get_text()]
        assert min(t.get_fontsize() for t in found) >= 8
        said = ' '.join(t.get_text() for t in found)
        assert 'n = ' in said or ('n' in [t.get_text() for t in found]), said
        assert ax.figure.get_figwidth() <= 7


def nothing_is_cut_off(fig):
    for _ in range(2): fig.draw_without_rendering()
    box, tight = fig.bbox.extents, fig.get_tightbbox().extents * fig.dpi
    assert (tight[:2] >= box[:2] - 1).all() and (tight[2:] <= box[2:] + 1).all(), fig.axes[0].get_xlabel()


def test_series_differ_without_colour(pairs):
    ax = None
    for i in range(4): ax = plot_roc(roc_points(*pairs), ax, str(i))
    assert len({a.get_linestyle() for a in series(ax)}) == len({a.get_color() for a in series(ax)}) == 4
    ax = None
    for i in range(8): ax = plot_reliability(reliability(*pairs), ax=ax, label=str(i))
    assert len({a.get_marker() for a in series(ax)}) == len({a.get_color() for a in series(ax)}) == 8
    assert sum(a.get_gid() == 'diagonal' for a in ax.lines) == 1


def test_colours_are_dark_enough_for_print():
    for c in plots._COLORS: assert np.dot(to_rgb(c), [.2126, .7152, .0722]) < .72


def test_a_given_axes_is_drawn_on(pairs):
    fig, axs = plt.subplots(1, 2)
    assert plot_roc(roc_points(*pairs), axs[0]) is axs[0] and plot_heatmap(pd.DataFrame([[1.]]), 'u', 1, ax=axs[1]) is axs[1]
    assert plt.get_fignums() == [fig.number]


# ---- names ----
def name_boxes(ax): return np.array([t.get_window_extent().extents for t in ax.texts if t.get_text()])

def collisions(ax):
    b = name_boxes(ax)
    w, h = (np.minimum(b[:, None, i + 2], b[None, :, i + 2]) - np.maximum(b[:, None, i], b[None, :, i]) for i in (0, 1))
    return int((np.triu((w > 0) & (h > 0), 1)).sum())

def outside(ax):
    b, frame = name_boxes(ax), ax.get_window_extent().extents
    return int(((b[:, :2] < frame[:2] - 1).any(1) | (b[:, 2:] > frame[2:] + 1).any(1)).sum())

@pytest.mark.parametrize(('size', 'ci'), [((7, 4.6), False), ((7, 4.6), True), ((5, 4), True), ((3.5, 3.5), False)])
def test_names_of_fourteen_models_neither_collide_nor_leave(size, ci):
    ax = plt.subplots(figsize=size, layout='constrained')[1]
    bounds = dict(x_ci=np.c_[ACC - .01, ACC + .01], y_ci=np.c_[AUROC - .015, AUROC + .012]) if ci else {}
    plot_scatter_named(ACC, AUROC, MODELS, 'Accuracy', 'AUROC', 42_814, ax=ax, **bounds)
    ax.figure.draw_without_rendering()
    assert collisions(ax) == outside(ax) == 0
    centers = ax.transData.transform(np.c_[ACC, AUROC])
    for x0, y0, x1, y1 in name_boxes(ax):
        assert not ((centers > [x0, y0]) & (centers < [x1, y1])).all(1).any() # no name on a point


def test_names_in_a_crowd():
    "Thirty points, ten of them almost in one place."
    rng = np.random.default_rng([5, 0])
    x, y = np.r_[rng.random(20), rng.normal(.5, .01, 10)], np.r_[rng.random(20), rng.normal(.5, .01, 10)]
    ax = plot_scatter_named(x, y, [f'model {i}' for i in range(30)], 'x (share)', 'y (share)', 10)
    assert collisions(ax) == outside(ax) == 0


def test_names_are_placed_the_same_twice():
    a, b = (plot_scatter_named(ACC, AUROC, MODELS, 'x', 'y', 1) for _ in 'ab')
    np.testing.assert_array_equal(name_boxes(a), name_boxes(b))


def test_one_point_and_equal_points():
    for m in (1, 4):
        ax = plot_scatter_named([.5] * m, [.5] * m, [f'name {i}' for i in range(m)], 'x', 'y', 1)
        assert collisions(ax) == 0


# ---- files ----
def test_a_file_is_the_same_twice(tmp_path, pairs):
    def draw(): return plot_reliability(corp_curve(*pairs), hist=pairs[0]).figure
    for kind in ('png', 'pdf'): # saved twice, and drawn anew
        fig = draw()
        one, two, three = (save_figure(f, tmp_path/f'{i}.{kind}').read_bytes() for i, f in enumerate([fig, fig, draw()]))
        assert one == two == three and len(one) > 1000
    assert b'CreationDate' not in one
