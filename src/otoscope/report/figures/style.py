"""What all figures share: colours, type, panels, and labels at the ends of lines and beside points.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), told apart with every common colour vision. Figures
are matplotlib `Figure` objects, without pyplot, so that drawing one leaves no trace in the caller's session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from otoscope.results import FAMILIES, NULLS, layer_order

INK, MUTED, GRID, PAPER = "#1b1f24", "#626c77", "#e1e5ea", "#ffffff"
BLUE = "#0072b2"

HUES = (BLUE, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Curves: a hue for each layer, or for each encoder where there are several."""

FAMILY_LOOKS = dict(zip(FAMILIES, zip((*HUES, "#7f7f7f"), "os^DvPX"), strict=True))
"""Colour and marker of each family of factors, in the order they are always shown."""

OTHER, OTHER_COLOR = "other", "#b5b5b5"
"""Factors that are of none of those families."""

NULL_MARKERS = dict(zip(NULLS, ("o", "s", "v", "^", "X", "D", "P", "*", "|"), strict=True))
"""Shape of each null, all of them grey."""

WIDE_IN, NARROW_IN = 7.4, 3.7
RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # names of factors and classes are plain text, also with a $ in them
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.07,
    "figure.constrained_layout.h_pad": 0.05,
}

P = ParamSpec("P")
Look = dict[str, Any]
"""Keyword arguments of a matplotlib artist."""

NULL_BAND = "#f0f1f3"
NULL_LOOK: Look = {
    "linestyle": "none",
    "markersize": 5,
    "color": "#8a929b",
    "markeredgecolor": MUTED,
    "markeredgewidth": 0.8,
}
"""Nulls, in the figures in which each is a mark."""


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under our settings, lay out once for all files to come, and give the caller's settings back."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(RC):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            return figure

    return wrapper


def new_figure(
    n_panels: int,
    *,
    stacked: bool,
    per_row: int = 3,
    height_in: float = 2.7,
    legend_rows: int = 0,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels: side by side, or one under another for a narrow screen.

    Parameters
    ----------
    n_panels : int
    stacked : bool
        One under another.
    per_row : int
        Panels side by side, at most.
    height_in : float
        Of a panel with its title and labels, in inches.
    legend_rows : int
        Lines of a legend, which get height of their own.
    share_y : bool
        One y axis for all.
    """
    columns = 1 if stacked else min(n_panels, per_row)
    rows = -(-n_panels // columns)
    width = NARROW_IN if stacked else WIDE_IN if columns > 1 else 0.62 * WIDE_IN
    figure = Figure(figsize=(width, height_in * rows + 0.18 * legend_rows))
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for extra in panels[n_panels:]:
        extra.set_axis_off()
    return figure, panels[:n_panels]


def curve_styles(places: pd.DataFrame) -> dict[tuple[str, int | str], dict]:
    """Give each (encoder, layer) of a table its colour and marker, and its short name.

    One encoder: a hue per layer. Several: a hue per encoder; its later layers are lighter, with other, hollow markers.
    """
    encoders = list(dict.fromkeys(places["encoder"]))
    styles: dict[tuple[str, int | str], dict] = {}
    for e, encoder in enumerate(encoders):
        layers = sorted(set(places.loc[places["encoder"] == encoder, "layer"]), key=layer_order)
        for i, layer in enumerate(layers):
            hue = HUES[(i if len(encoders) == 1 else e) % len(HUES)]
            shade = 0.0 if len(encoders) == 1 else min(0.3 * i, 0.6)
            name = str(layer) if layer == "final" else f"layer {layer}"
            styles[encoder, layer] = {
                "color": lighter(hue, shade),
                "marker": "osD^v"[i % 5],
                "label": name if len(encoders) == 1 else f"{encoder}, {name}",
            }
            if len(encoders) > 1 and i > 0:
                styles[encoder, layer]["markerfacecolor"] = PAPER
    return styles


def lighter(color: str, amount: float) -> str:
    """Blend a colour with white."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(color))
    return to_hex((red, green, blue))


def readable_on(color: str) -> str:
    """Return black or white, whichever reads better on a colour; the same in light and dark."""
    red, green, blue = to_rgb(color)
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "#fffffe"


def sparsity_axis(
    axes: Axes, sparsities: Iterable[float], *, dense_at: float | None = None, nulls_at: float | None = None
) -> None:
    """Sparsities in percent; every one has a tick, and so have the dense layer and nulls where they stand apart."""
    ticks = sorted({round(100 * s, 2) for s in sparsities if s == s})
    extra = [] if dense_at is None else [dense_at]
    after = [] if nulls_at is None else [nulls_at]
    axes.set_xticks(
        [*extra, *ticks, *after],
        [*(["dense"] * len(extra)), *(f"{tick:g}" for tick in ticks), *(["nulls"] * len(after))],
    )
    axes.set_xlabel("sparsity of the code (%)")
    if len(ticks) == 1 and not extra:
        axes.set_xlim(ticks[0] - 5, ticks[0] + 5 if nulls_at is None else nulls_at + 3)


def score_axis(axes: Axes, metric: str) -> None:
    """A score on y: in percent if it is an accuracy; never so magnified that noise looks like news."""
    low, high = axes.get_ylim()
    missing = max(0.0, 0.2 - (high - low)) / 2
    axes.set_ylim(low - missing, high + missing)
    axes.yaxis.set_major_locator(round_ticks())
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))


def log_ticks(axes: Axes) -> None:
    """Round numbers on a logarithmic y axis, with its final limits."""
    bottom, top = axes.get_ylim()
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(i / 10 for i in range(10, 100))):
        nice = [digit * 10.0**power for power in range(-8, 5) for digit in digits]
        ticks = [tick for tick in nice if bottom <= tick <= top]
        if len(ticks) > 1:
            break
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks([], minor=True)


def round_ticks() -> MaxNLocator:
    """Return a locator of about five ticks on round numbers."""
    return MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])


def label_ends(axes: Axes, labels: list[tuple[float, str, str]], *, gap_pt: float = 9.5) -> None:
    """Write a name right of the panel at each line's end, moved apart where they would overlap.

    Parameters
    ----------
    axes : Axes
        With its final limits.
    labels : list of (y, text, colour)
    gap_pt : float
        Least distance between two names, in points.
    """
    if not labels:
        return
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    assert spec is not None
    figure_height_pt = 72 * figure.get_figheight() / spec.get_gridspec().nrows
    gap = gap_pt / (0.72 * figure_height_pt)  # panels fill about that much of their row
    labels = sorted(labels)
    to_fraction = axes.transData + axes.transAxes.inverted()
    wanted = [float(np.clip(to_fraction.transform((0, y))[1], 0.0, 1.0)) for y, _, _ in labels]
    for (_, text, color), y in zip(labels, _spread(wanted, gap)):
        axes.annotate(
            text,
            (1, y),
            xycoords="axes fraction",
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=7.5,
        )


def label_points(axes: Axes, x: pd.Series, y: pd.Series, names: pd.Series, *, size_pt: float = 6.5) -> None:
    """Write a name beside each point where there is room; a name that would cover others is left out.

    Lay the figure out before (``figure.draw_without_rendering()``), since room is counted on the page.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    to_pt = 72 / figure.dpi
    spots = axes.transData.transform(np.column_stack([x, y])) * to_pt
    frame = np.asarray(axes.get_window_extent().extents) * to_pt
    taken = [np.array([left - 3, low - 3, left + 3, low + 3]) for left, low in spots]
    for where, spot, name in zip(zip(x, y), spots, names):
        width, height = 0.58 * size_pt * len(name), 1.1 * size_pt
        for dx, dy in ((5, 0), (-5 - width, 0), (-width / 2, 8), (-width / 2, -8)):
            corner = spot + np.array([dx, dy - height / 2])
            box = np.concatenate([corner, corner + np.array([width, height])])
            inside = (box[:2] >= frame[:2]).all() and (box[2:] <= frame[2:]).all()
            if inside and not any(_overlap(box, other) for other in taken):
                look: Look = {"va": "center", "fontsize": size_pt, "color": MUTED}
                axes.annotate(name, where, xytext=(dx, dy), textcoords="offset points", **look).set_in_layout(
                    False
                )
                taken.append(box)
                break


def _spread(wanted: list[float], gap: float) -> list[float]:
    """Move increasing positions within 0..1 until neighbours are `gap` apart, with the least squared movement."""
    blocks: list[tuple[float, int]] = []  # names that touch: (sum of what each asks of the lowest, how many)
    for y in wanted:
        total, n = y, 1
        while blocks and blocks[-1][0] / blocks[-1][1] + blocks[-1][1] * gap > total / n:
            below, m = blocks.pop()
            total, n = below + total - n * m * gap, m + n
        blocks.append((total, n))
    spread = [total / n + i * gap for total, n in blocks for i in range(n)]
    kept = [min(y, 1 - (len(spread) - 1 - i) * gap) for i, y in enumerate(spread)]  # below the title
    return [max(y, i * gap) for i, y in enumerate(kept)]


def _overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two boxes (left, bottom, right, top) overlap."""
    return bool((one[:2] < other[2:]).all() and (other[:2] < one[2:]).all())
