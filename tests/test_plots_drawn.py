"""Every figure holds the artists that it held when somebody looked at it: what is drawn, where, and in which look. No pixels are compared.

After a change that is meant: `python tests/test_plots_drawn.py`, look at the figures that it writes, and commit the new description."""
import json, sys
from pathlib import Path
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import Collection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from plcal_study.measure.metrics import reliability, risk_coverage
from plcal_study.measure.plots import (corp_curve, plot_forest, plot_heatmap, plot_reliability, plot_risk_coverage, plot_roc, plot_scatter_named,
                                       plot_score_threshold, roc_points)

GOLDEN = Path(__file__).with_name('plots_drawn.json')
RNG = np.random.default_rng([6, 0])
CONF = RNG.uniform(.2, 1, 700).round(2); RIGHT = RNG.random(700) < CONF**2
OTHER = np.sqrt(CONF).round(2); THRESHOLD = np.linspace(0, 1, 41)
ROWS = pd.DataFrame(dict(name=['tiny', 'small', 'large', 'huge'], estimate=[.55, .61, .7, .48], lo=[.5, .58, .66, .4], hi=[.6, .64, .75, .55], n=[1200, 3400, 900, 12_000]))
GRID = pd.DataFrame([[.1, .25, np.nan], [.9, .5, .62]], index=pd.Index(['tiny', 'large'], name='model'), columns=pd.Index(['A', 'B', 'C'], name='data'))
MANY = np.round(RNG.normal(.6, .05, (2, 14)), 3)


# ---- what is drawn ------------------------------------------------------------------------------------------------
def num(x) -> str: return f'{round(float(x), 6) + 0:.4g}'
def nums(x) -> str:
    "All of a few numbers; of many, how many there are, the ends, the sum and the sum in order."
    x = np.asarray(x, float).ravel()
    return ' '.join(map(num, x)) if len(x) <= 12 else f'{len(x)} numbers {num(x[0])} … {num(x[-1])}, sum {num(np.nansum(x))}, in order {num(np.nansum(x * np.arange(len(x))) / len(x))}'
def color(c) -> str:
    c = np.atleast_2d(c) if not isinstance(c, str) else [c]
    return ' '.join(dict.fromkeys(to_hex(x, keep_alpha=True) for x in c)) or 'none'

def words(t: Text) -> str:
    at = f'{nums(t.xy)} by {nums(t.get_position())}' if isinstance(t, Annotation) else nums(t.get_position())
    arrow = f', arrow {color(t.arrow_patch.get_edgecolor())} {num(t.arrow_patch.get_linewidth())} {num(t.arrow_patch.shrinkA)} {num(t.arrow_patch.shrinkB)}' if getattr(t, 'arrow_patch', None) else ''
    return f'{t.get_text()!r} at {at}, {t.get_ha()} {t.get_va()}, {num(t.get_fontsize())} points, {color(t.get_color())}, layer {num(t.get_zorder())}, {t.get_gid()}, {(t.xycoords if isinstance(t.xycoords, str) else "axes", t.anncoords, t.get_annotation_clip()) if isinstance(t, Annotation) else ""}{arrow}'

def line(a: Line2D) -> str:
    return (f'line {a.get_label()!r} x {nums(a.get_xdata())} y {nums(a.get_ydata())}, {color(a.get_color())} width {num(a.get_linewidth())} dashes {a._unscaled_dash_pattern}, '
            f'marker {a.get_marker()!r} {num(a.get_markersize())} edge {color(a.get_markeredgecolor())}, layer {num(a.get_zorder())}, {a.get_gid()}')

def shape(a: Collection) -> str:
    corners = np.concatenate([np.zeros((0, 2)), *(p.vertices for p in a.get_paths())]) if not isinstance(a, QuadMesh) else a.get_coordinates().reshape(-1, 2)
    return (f'{type(a).__name__} {a.get_label()!r} x {nums(corners[:, 0])} y {nums(corners[:, 1])}, fill {color(a.get_facecolor())} edge {color(a.get_edgecolor())} '
            f'width {nums(a.get_linewidth())}, layer {num(a.get_zorder())}')

def bar(a: Rectangle) -> str: return f'bar at {nums(a.get_xy())} {num(a.get_width())} wide {num(a.get_height())} high, fill {color(a.get_facecolor())} edge {color(a.get_edgecolor())} width {num(a.get_linewidth())}'

def axes(ax) -> list[str]:
    "What stands on one pair of axes, one line an artist."
    box = ax.get_window_extent()
    out = [f'axes {box.width:.0f} x {box.height:.0f} pixels, x {nums(ax.get_xlim())} y {nums(ax.get_ylim())} aspect {ax.get_aspect()} on {color(ax.get_facecolor())}, frame {sorted(k for k, s in ax.spines.items() if s.get_visible())}']
    for name, t in (('x', ax.xaxis.label), ('y', ax.yaxis.label), ('left', ax._left_title), ('middle', ax.title), ('right', ax._right_title)):
        if t.get_text(): out.append(f'{name}: {t.get_text()!r}, {num(t.get_fontsize())} points')
    for name, axis in (('x', ax.xaxis), ('y', ax.yaxis)):
        ticks = [t for t in axis.get_major_ticks() if t.label1.get_visible()]
        out.append(f'{name} ticks: {[t.label1.get_text() for t in ticks]}' + (f', {num(ticks[0].label1.get_fontsize())} points turned {num(ticks[0].label1.get_rotation())}, {num(ticks[0].tick1line.get_markersize())} long' if ticks else ''))
    out += [line(a) for a in ax.lines] + [shape(a) for a in ax.collections] + [bar(a) for a in ax.patches if isinstance(a, Rectangle)] + [words(t) for t in ax.texts]
    if legend := ax.get_legend(): out.append(f'legend {[t.get_text() for t in legend.get_texts()]} at {legend._get_loc() if hasattr(legend, "_get_loc") else legend._loc}, frame {legend.get_frame_on()}, {num(legend.get_texts()[0].get_fontsize())} points')
    return out

def drawn(ax) -> list[str]:
    "What a figure shows."
    fig = ax.get_figure(root=True)
    for _ in range(2): fig.draw_without_rendering()
    return [f'figure {nums(fig.get_size_inches())} inches, layout {type(fig.get_layout_engine()).__name__}', *(l for a in fig.axes for l in axes(a))]


# ---- the figures --------------------------------------------------------------------------------------------------
def _reliability():
    ax = plot_reliability(corp_curve(CONF, RIGHT, draws=60), hist=CONF, label='tiny')
    return plot_reliability(corp_curve(OTHER, RIGHT, draws=60), ax=ax)
def _many():
    ax = None
    for i in range(9): ax = plot_roc(roc_points(CONF ** (i + 1), RIGHT ^ (np.arange(700) % (i + 2) == 0)), ax, f'model {i}')
    return ax
def _beside():
    left, right = plt.subplots(1, 2, figsize=(8, 4), layout='constrained')[1]
    plot_reliability(reliability(CONF, RIGHT, 5), hist=CONF, ax=left)
    return right
def _bins(): return plot_reliability(reliability(CONF, RIGHT, 10), label='tiny')
def _risk(): return plot_risk_coverage(risk_coverage(OTHER, RIGHT), 700, plot_risk_coverage(risk_coverage(CONF, RIGHT), 700, label='MSP'), 'root')
def _roc(): return plot_roc(roc_points(OTHER, RIGHT), plot_roc(roc_points(CONF, RIGHT), label='MSP'))
def _forest(): return plot_forest(ROWS)
def _groups(): return plot_forest(ROWS.assign(group=['base', 'base', 'chat', 'chat']), 'ECE', None)
def _names(): return plot_scatter_named(MANY[0], MANY[1], [f'Model {i}' for i in range(14)], 'Accuracy', 'AUROC', 1234, MANY[0][:, None] + [-.01, .02], MANY[1][:, None] + [-.03, .01])
def _two_names(): return plot_scatter_named([1, 2], [3, 5], ['a', 'b'], 'x', 'y', '7,000 to 20,000')
def _threshold(): return plot_score_threshold(THRESHOLD, THRESHOLD * (1 - THRESHOLD), 700, .4, np.c_[THRESHOLD - .1, THRESHOLD + .1], label='tiny')
def _thresholds(): return plot_score_threshold(THRESHOLD, -THRESHOLD, 70, ax=plot_score_threshold(THRESHOLD, THRESHOLD, 700))
def _heat(): return plot_heatmap(GRID, 'AUROC', 900)
def _diverging(): return plot_heatmap(GRID.rename_axis(None).rename_axis(None, axis=1), 'AUROC', 'some', .5, '.3f')

FIGURES = {f.__name__[1:]: f for f in (_reliability, _many, _beside, _bins, _risk, _roc, _forest, _groups, _names, _two_names, _threshold, _thresholds, _heat, _diverging)}


@pytest.mark.parametrize('name', FIGURES)
def test_a_figure_is_as_it_was_looked_at(name):
    golden = json.loads(GOLDEN.read_text())
    if golden['matplotlib'] != matplotlib.__version__: pytest.skip(f"described with matplotlib {golden['matplotlib']}, and this is {matplotlib.__version__}")
    try: assert drawn(FIGURES[name]()) == golden['figures'][name]
    finally: plt.close('all')

def test_a_description_sees_what_is_changed():
    "Each of these is a fault that nobody may miss."
    ax = _threshold(); before = drawn(ax)
    for change in (lambda: ax.lines[0].set_color('r'), lambda: ax.lines[0].set_ydata(THRESHOLD), lambda: ax.set_xlabel('x'), lambda: ax.set_xlim(0, 2), lambda: ax.get_legend().set_frame_on(True),
                   lambda: ax.collections[0].set_alpha(.9), lambda: ax.lines[1].set_markersize(1), lambda: ax.spines['top'].set_visible(True), lambda: ax.text(0, 0, 'x')):
        change()
        assert drawn(ax) != before; before = drawn(ax)
    plt.close('all')


if __name__ == '__main__':
    figures = {}
    for name, f in FIGURES.items():
        figures[name] = drawn(ax := f())
        ax.get_figure(root=True).savefig(file := Path(sys.argv[1] if sys.argv[1:] else '.', f'{name}.png'), bbox_inches='tight'); print(file)
    GOLDEN.write_text(json.dumps(dict(matplotlib=matplotlib.__version__, figures=figures), indent=1, ensure_ascii=False) + '\n')
