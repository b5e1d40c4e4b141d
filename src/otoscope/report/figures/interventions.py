"""What a model does once a layer is replaced, and what is left of labels once one of them is erased."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from otoscope import wording
from otoscope.report.figures.style import (
    BLUE,
    HUES,
    MUTED,
    NULL_BAND,
    NULL_LOOK,
    OTHER_COLOR,
    label_ends,
    new_figure,
    styled,
)
from otoscope.results import (
    COMPONENTS,
    LATENTS,
    LEACE,
    MEAN,
    MEAN_PROJECTION,
    RANDOM_DIRECTIONS,
    RANDOM_LATENTS,
    RECONSTRUCTION,
    TARGET,
    UNTOUCHED,
    ZERO,
    layer_order,
)

_CLOSED = {LEACE: "LEACE", MEAN_PROJECTION: "mean\nproj.", RANDOM_DIRECTIONS: "random\ndir."}
_TO_KEEP = HUES[1:]


@styled
def splice_figure(table: pd.DataFrame, *, measure: str, stacked: bool = False) -> Figure:
    """Draw a bar for each replacement of each layer, with its interval, and above it what it recovers.

    Parameters
    ----------
    table : DataFrame
        Rows of splice.csv.
    measure : str
        What is drawn.
    stacked : bool
        One panel under another.
    """
    table = table[table["measure"] == measure]
    places = _places(table)
    figure, panels = new_figure(len(places), stacked=stacked, height_in=2.9, share_y=True)
    for axes, (encoder, layer) in zip(panels, places):
        own = table[(table["encoder"] == encoder) & (table["layer"] == layer)]
        made = own[own["replaced_by"] == RECONSTRUCTION].sort_values("sparsity", kind="stable")
        made = made.sort_values("sae", key=lambda names: names.astype(str).str.contains(" "), kind="stable")
        linear = own[own["replaced_by"] == COMPONENTS].sort_values("sparsity", kind="stable")
        whole = {kind: own[own["replaced_by"] == kind].iloc[0] for kind in (UNTOUCHED, MEAN, ZERO)}
        between = [row for table in (made, linear) for _, row in table.iterrows()]
        bars = [whole[UNTOUCHED], *between, whole[MEAN], whole[ZERO]]
        names = [
            "un-\ntouched",
            *_dictionaries(made),
            *(f"PCA\n{k:.0f}" for k in linear["k"]),
            "mean",
            "zero",
        ]
        for x, row in enumerate(bars):
            _bar(axes, x, row)
        axes.set_xticks(range(len(bars)), names, fontsize=7)
        axes.grid(visible=False, axis="x")
        axes.set_title(_title(places, encoder, layer))
        axes.margins(y=0.12)
    panels[0].set_ylabel(_MEASURES.get(measure, measure))
    return figure


def _bar(axes: Axes, x: int, row: pd.Series) -> None:
    made = row["replaced_by"] == RECONSTRUCTION
    learnt = made and " " not in str(row["sae"])  # "untrained topk-1024-s0.95" is a null
    axes.bar(x, row["value"], width=0.7, color=BLUE if learnt else OTHER_COLOR)
    top = row["value"]
    if row["low"] == row["low"]:
        axes.plot([x, x], [row["low"], row["high"]], color=MUTED, linewidth=1)
        top = max(top, row["high"])
    if (made or row["replaced_by"] == COMPONENTS) and row["recovered"] == row["recovered"]:
        text = wording.percent(row["recovered"], 0)
        axes.annotate(text, (x, top), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=7)


def _dictionaries(rows: pd.DataFrame) -> list[str]:
    """Name dictionaries by their sparsity, those that share one or have none by what they are called."""
    names = []
    for sae, sparsity in zip(rows["sae"].astype(str), rows["sparsity"]):
        kind = sae.split()[0].replace("untrained", "un-\ntrained") if " " in sae else "codes"
        names.append(
            f"{kind}\n{wording.sparsity(sparsity)}" if sparsity == sparsity else sae.replace("-", "-\n")
        )
    return [
        sae.replace("-", "-\n").replace(" ", "\n") if names.count(name) > 1 else name
        for sae, name in zip(rows["sae"].astype(str), names)
    ]


@styled
def erasure_figure(table: pd.DataFrame, *, stacked: bool = False) -> Figure:
    """Draw what is left of the target and of the labels to keep, as latents go and after edits in closed form.

    Parameters
    ----------
    table : DataFrame
        Rows of erasure.csv, of one target; several seeds are averaged, and their range is a band.
    stacked : bool
        One panel under another.
    """
    places = _places(table)
    kept = [label for label in dict.fromkeys(table["label"]) if label != TARGET]
    colors = {TARGET: BLUE, **{label: _TO_KEEP[i % len(_TO_KEEP)] for i, label in enumerate(kept)}}
    figure, panels = new_figure(len(places), stacked=stacked, per_row=2, height_in=3.1, share_y=not stacked)
    for axes, (encoder, layer) in zip(panels, places):
        own = table[(table["encoder"] == encoder) & (table["layer"] == layer)]
        _draw_erasure(axes, own, colors)
        axes.set_title(_title(places, encoder, layer))
        name = f"{own['target'].iloc[0]} (erased)"
        ends = own[own["method"] == RANDOM_DIRECTIONS]
        labels = [
            (
                float(ends.loc[ends["label"] == label, "score"].mean()),
                name if label == TARGET else label,
                color,
            )
            for label, color in colors.items()
        ]
        label_ends(axes, labels)
    panels[0].set_ylabel("score of a fresh probe (%)")
    return figure


def _draw_erasure(axes: Axes, table: pd.DataFrame, colors: dict[str, str]) -> None:
    by_latents = table["method"].isin([LATENTS, RANDOM_LATENTS])
    table = table.assign(share=_snapped(table.loc[by_latents, "share"]))
    x_of = {share: 1 + i for i, share in enumerate(sorted(table["share"].dropna().unique()))}
    first = len(x_of) + 2
    closed = {method: first + 2.3 * i for i, method in enumerate(_CLOSED)}  # room for their names
    axes.axvspan(first - 1, max(closed.values()) + 1, color=NULL_BAND, linewidth=0)
    for label, color in colors.items():
        own = table[table["label"] == label]
        start = own.loc[own["method"] == UNTOUCHED, "score"]
        for method, dashes in ((RANDOM_LATENTS, (0, (2, 2))), (LATENTS, "solid")):
            curve = own[own["method"] == method].groupby("share")["score"].agg(["mean", "min", "max"])
            x = [0, *(x_of[share] for share in curve.index)]
            axes.plot(
                x, [start.mean(), *curve["mean"]], color=color, linestyle=dashes, alpha=1 if method == LATENTS else 0.6,
                marker="o" if method == LATENTS else None, linewidth=1.5 if method == LATENTS else 1,
            )  # fmt: skip
            if method == LATENTS:
                low, high = [start.min(), *curve["min"]], [start.max(), *curve["max"]]
                axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        for method, at in closed.items():
            scores = own.loc[own["method"] == method, "score"]
            axes.plot([at], [scores.mean()], **NULL_LOOK | {"marker": "D", "color": color})
            axes.plot([at] * 2, [scores.min(), scores.max()], color=color, linewidth=1)
        chance = own["chance"].mean()
        axes.axhline(chance, color=color, linewidth=0.7, alpha=0.6, linestyle=(0, (4, 2)))
    ticks = [0, *x_of.values(), *closed.values()]
    names = ["0", *(f"{100 * share:.0f}" for share in x_of), *_CLOSED.values()]
    axes.set_xticks(ticks, names, fontsize=6.5)
    axes.set_xlabel("living latents erased (%), then edits in closed form")
    axes.set_ylim(-0.03, 1.06)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}"))


def _snapped(shares: pd.Series) -> pd.Series:
    """Give seeds whose numbers of living latents differ a little one share for all."""
    kept: list[float] = []
    for share in sorted(shares.unique()):
        if not kept or share - kept[-1] > 0.1 * share:
            kept.append(float(share))
    return shares.map(lambda share: min(kept, key=lambda known: abs(known - share)))


def _places(table: pd.DataFrame) -> list[tuple[str, int | str]]:
    found = table[["encoder", "layer"]].drop_duplicates()
    return sorted(zip(found["encoder"], found["layer"]), key=lambda place: (place[0], layer_order(place[1])))


def _title(places: list[tuple[str, int | str]], encoder: str, layer: int | str) -> str:
    return wording.sentence_case(wording.place(encoder, layer, encoders=len({place[0] for place in places})))


_MEASURES = {
    "loss": "loss (nats): lower is better",
    "kl": "divergence from the untouched model (nats)",
    "changed_words": "changed words, over the untouched words",
    "changed": "share of clips that are called otherwise",
    "moved": "how far the answer moved",
}
