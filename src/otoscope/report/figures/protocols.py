"""How far each published rule, turned alone, moves the three headline numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from otoscope.report.figures.style import (
    BLUE,
    HUES,
    INK,
    MUTED,
    NARROW_IN,
    WIDE_IN,
    Look,
    round_ticks,
    styled,
)
from otoscope.report.numbers.protocols import Headline


def switches_figure(
    table: pd.DataFrame, headlines: Sequence[Headline], *, stacked: bool = False
) -> Figure | None:
    """Draw a panel per headline number: a row per rule that was turned, its change to the left or right of 0.

    Parameters
    ----------
    table : DataFrame
        From `otoscope.report.numbers.protocols.read_switches`.
    headlines : sequence of Headline
        What the panels show.
    stacked : bool
        Panels one under another.

    Returns
    -------
    Figure or None
        None if no rule was turned.
    """
    changes = [f"d_{headline.column}" for headline in headlines]
    turned = table[(table["number"] > 0) & table[changes].notna().any(axis=1)]
    return None if turned.empty else _draw(turned, headlines, stacked=stacked)


@styled
def _draw(turned: pd.DataFrame, headlines: Sequence[Headline], *, stacked: bool) -> Figure:
    rules = turned.sort_values("number").drop_duplicates("number").set_index("number")
    names, together = rules["switch"].to_dict(), (rules["role"] == "sound").to_dict()
    places = {number: i + 0.6 * together[number] for i, number in enumerate(names)}
    encoders = list(dict.fromkeys(turned["encoder"]))
    panel_in = 0.6 + 0.2 * len(names)
    size = (NARROW_IN, panel_in * len(headlines)) if stacked else (WIDE_IN, panel_in + 0.2)
    figure = Figure(figsize=size)
    shape = (len(headlines), 1) if stacked else (1, len(headlines))
    axes = list(figure.subplots(*shape, squeeze=False, sharey=not stacked).flat)
    for panel, headline in zip(axes, headlines):
        _panel(panel, turned, headline, places, encoders)
        ticks = [name if together[number] else f"{number:.0f}. {name}" for number, name in names.items()]
        panel.set_yticks(list(places.values()), ticks)
        panel.set_ylim(max(places.values()) + 0.6, -0.6)
    if len(encoders) > 1:
        handles = [
            Line2D([], [], color=HUES[i % len(HUES)], marker="osD^v"[i % 5], linestyle="none", label=name)
            for i, name in enumerate(encoders)
        ]
        handles.append(Line2D([], [], color=INK, linewidth=2.5, alpha=0.35, label="mean"))
        figure.legend(handles=handles, loc="outside lower center", ncols=2 if stacked else len(handles))
    return figure


def _panel(
    axes: Axes, turned: pd.DataFrame, headline: Headline, places: dict[float, float], encoders: list[str]
) -> None:
    """Bars from 0 to the mean, and with several encoders a point for each."""
    scale = 100 if headline.metric == "accuracy" else 1
    column = f"d_{headline.column}"
    means = scale * turned.groupby("number")[column].mean().dropna()
    rows = [places[number] for number in means.index]
    several = len(encoders) > 1
    look: Look = {"color": INK if several else BLUE, "alpha": 0.25 if several else 1.0, "height": 0.55}
    axes.barh(rows, means, **look)
    for i, encoder in enumerate(encoders if several else []):
        own = turned[(turned["encoder"] == encoder) & turned[column].notna() & (turned[column] != 0)]
        dots: Look = {
            "color": HUES[i % len(HUES)],
            "marker": "osD^v"[i % 5],
            "linestyle": "none",
            "markersize": 3.5,
        }
        axes.plot(scale * own[column], [places[number] for number in own["number"]], **dots)
    axes.axvline(0, color=MUTED, linewidth=0.9)
    low, high = axes.get_xlim()
    least = 2 * scale * headline.small  # noise must not fill the panel
    axes.set_xlim(min(low, -least), max(high, least))
    axes.xaxis.set_major_locator(round_ticks())
    axes.locator_params(axis="x", nbins=4)
    unit = "change in points" if headline.metric == "accuracy" else "change"
    axes.set_title(headline.short)
    axes.set_xlabel(unit)
    axes.grid(visible=False, axis="y")
