"Figures that must be refused, with what the message must say; run by the one shared test."
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from plcal_study.measure.plots import corp_curve, plot_forest, plot_heatmap, plot_scatter_named, plot_score_threshold, roc_points, save_figure


def _rows(**change): return pd.DataFrame(dict(name=['a', 'b'], estimate=[.6, .7], lo=[.5, .6], hi=[.7, .8], n=[5, 6]) | change)
def _scatter(x, y=(1, 2), names=('a', 'b'), **more): return plot_scatter_named(x, y, names, 'x', 'y', 3, **more)


CASES = [
    ('corp_curve: percentages',      lambda: corp_curve([90., 80.], [1, 0]), ValueError, 'logits or percentages'),
    ('corp_curve: shapes',           lambda: corp_curve([.9, .8], [1]), ValueError, 'shape (2,)'),
    ('corp_curve: too few draws',    lambda: corp_curve([.9, .8], [1, 0], draws=10), ValueError, 'draws must be at least 40'),
    ('roc_points: one class',        lambda: roc_points([.9, .8], [1, 1]), ValueError, 'both right and wrong answers, got only True'),
    ('roc_points: NaN',              lambda: roc_points([.9, np.nan], [1, 0]), ValueError, 'score must be finite'),
    ('plot_forest: column missing',  lambda: plot_forest(_rows().drop(columns='n')), ValueError, "['n'] missing"),
    ('plot_forest: no rows',         lambda: plot_forest(_rows()[:0]), ValueError, 'rows is empty'),
    ('plot_forest: NaN',             lambda: plot_forest(_rows(lo=[.5, np.nan])), ValueError, "got a different 'b'"),
    ('plot_forest: bounds swapped',  lambda: plot_forest(_rows(lo=[.7, .6], hi=[.5, .8])), ValueError, "got a different 'a'"),
    ('plot_scatter: lengths',        lambda: _scatter([1, 2, 3]), ValueError, 'one length'),
    ('plot_scatter: NaN',            lambda: _scatter([1, np.nan]), ValueError, "gap at 'b'"),
    ('plot_scatter: no points',      lambda: _scatter([], [], []), ValueError, 'at least one point is needed'),
    ('plot_scatter: bounds shape',   lambda: _scatter([1, 2], x_ci=np.zeros((2, 3))), ValueError, 'x_ci must have shape (2, 2)'),
    ('plot_scatter: bounds beside',  lambda: _scatter([1, 2], x_ci=np.array([[0, 2], [3, 4]])), ValueError, "x_ci must hold x between its bounds, got a different 'b'"),
    ('plot_threshold: shapes',       lambda: plot_score_threshold([0, 1], [1], 5), ValueError, 'one shape (m,)'),
    ('plot_heatmap: empty',          lambda: plot_heatmap(pd.DataFrame(), 'u', 1), ValueError, 'at least one number'),
    ('plot_heatmap: only gaps',      lambda: plot_heatmap(pd.DataFrame([[np.nan]]), 'u', 1), ValueError, 'at least one number'),
    ('save_figure: kind',            lambda: save_figure(Figure(), 'a.svg'), ValueError, "must end in .png or .pdf, got 'a.svg'"),
    ('corp_curve: a draw too few',   lambda: corp_curve([.9, .8], [1, 0], draws=39), ValueError, 'draws must be at least 40'),
    ('roc_points: all wrong',        lambda: roc_points([.9, .8], [0, 0]), ValueError, 'both right and wrong answers, got only False'),
    ('plot_forest: above its bounds', lambda: plot_forest(_rows(estimate=[.6, .9])), ValueError, "got a different 'b'"),
    ('plot_scatter: infinite y',     lambda: _scatter([1, 2], y=(1, np.inf)), ValueError, "gap at 'b'"),
    ('plot_scatter: names short',    lambda: _scatter([1, 2], names=('a',)), ValueError, 'one length'),
    ('plot_threshold: columns',      lambda: plot_score_threshold([[0, 1]], [[0, 1]], 5), ValueError, 'one shape (m,)'),
]
