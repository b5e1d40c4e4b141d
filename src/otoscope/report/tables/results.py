"""Result tables as a page shows them: few columns, formatted, with the interval beside the number."""

from __future__ import annotations

from typing import Any

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.dictionaries import pca_errors
from otoscope.report.numbers.factors import best_factors
from otoscope.report.numbers.groups import few_groups, scores_by_group
from otoscope.report.numbers.headlines import (
    chosen_layer,
    headlines,
    representations,
    studied_layers,
)
from otoscope.report.numbers.means import probe_points, rows_of
from otoscope.report.run import Run, in_sample, metric_of, r2_kind, score_of, unequal_selection
from otoscope.report.tables.cells import (
    CLIPS_NOTE,
    ENCODER,
    GROUPS,
    LAYER,
    LONG,
    SPARSITY,
    UNTRUSTED_NOTE,
    Column,
    Table,
    change,
    laid_out,
    ranged,
    representation_name,
    seeds_note,
    short_metric,
    where,
    whole,
    with_interval,
)
from otoscope.results import DENSE, NULLS

LABEL_NOTE = (
    "The R² that counts is beyond the label where the label alone tells most of a factor: a table of class means, "
    "which hears nothing, is the null “label”. Effective dimensions need no base; completeness divides all "
    "representations by the log of one width. At matched R²: of the sparsest fit within .01 of the best."
)
LABEL_NOTE_PAPER = (
    "By the published rules every factor counts, whether or not the label alone tells it, and completeness divides "
    "each representation by the log of its own width, which differs between the dense layer and codes: compare the "
    "effective dimensions."
)
GUIDE = {
    "weighted_sum": "weighted sum of all layers",
    "attention_layers": "attention over all layers",
    "attention_time": "attention over the best layer's frames",
}
"""Rows of layer_guide.csv that are no single layer, as the page names them."""
BALANCED: Column = ("balanced accuracy", lambda row: wording.percent(row.balanced))


def result_tables(run: Run) -> list[Table]:
    """Return the tables of a run's page; those whose results are missing are left out."""
    tables = [_layers(run), _guide(run), _codes(run), _representations(run), _factors(run)]
    return [table for table in tables if table is not None]


def headline_table(run: Run) -> Table:
    """Return the headline numbers of every encoder, a row each."""
    metric = metric_of(run)
    columns: list[Column] = [
        ENCODER,
        ("best layer", lambda r: str(r.layer)),
        ("its probe", lambda r: with_interval(r.score, r.low, r.high, metric, trusted=r.trusted)),
        GROUPS,
        ("minus layer 0", lambda r: change(r.gain, r.gain_low, r.gain_high, metric)),
        ("layer of the codes", lambda r: "n/a" if r.studied is None else str(r.studied)),
        ("codes minus dense", lambda r: wording.difference(r.code_change, metric)),
        ("FVU", lambda r: wording.percent(r.fvu)),
        (f"{r2_kind(run)} R² of codes", lambda r: wording.number(r.r2)),
        ("effective dimensions, codes", lambda r: wording.number(r.effective_dims, 1)),
        ("the same, dense", lambda r: wording.number(r.dense_effective_dims, 1)),
        ("completeness minus dense", lambda r: wording.signed(r.completeness_gain)),
    ]
    note = f"Codes at the sparsity nearest to 95\u00a0%. {_brackets(run)}"
    note += UNTRUSTED_NOTE if run.over_groups else CLIPS_NOTE
    return laid_out("At a glance", columns, rows_of(headlines(run)), note=note)


def _layers(run: Run) -> Table | None:
    table = run.table("layer_probing")
    if table is None:
        return None
    points = probe_points(table, ("encoder", "layer"))
    best = {encoder: chosen_layer(run, str(encoder)) for encoder in points["encoder"].unique()}
    columns = [
        *where(points["encoder"].nunique() > 1, ENCODER),
        LAYER,
        _probe(run),
        GROUPS,
        *_each_group(run),
        *where(points["balanced"].notna().any(), BALANCED),
    ]
    note = _brackets(run) + _untrusted(run, points) + seeds_note(points["seeds"])
    return laid_out(
        "Probes on the layers",
        columns,
        rows_of(points),
        note=note + " Bold: the layer that the run chose."
        if any(layer is not None for layer in best.values())
        else note,
        marked=lambda r: best[r.encoder] == r.layer,
        folded=len(points) > LONG,
    )


def _each_group(run: Run) -> list[Column]:
    """Return a column for each test group, named with its clips, where these are few enough to be read."""
    scores = scores_by_group(run)
    if scores is None or scores["group"].nunique() < 2:
        return []
    known = {(row.encoder, row.layer, row.group): row.score for row in rows_of(scores)}
    sizes = scores.groupby("group")["n_clips"].max().items()

    def of(name: str) -> Column:
        heading = f"{name} ({wording.count(n_clips[name], 'clip')})"
        return heading, lambda row: wording.percent(known.get((row.encoder, row.layer, name), float("nan")))

    n_clips = {str(name): int(n) for name, n in sizes}
    return [of(name) for name in n_clips]


def _guide(run: Run) -> Table | None:
    table = run.table("layer_guide")
    if table is None:
        return None
    metric = metric_of(run)
    columns: list[Column] = [
        *where(table["encoder"].nunique() > 1, ENCODER),
        ("what is probed", lambda r: GUIDE.get(r.input, f"layer {r.layer}")),
        (
            _probe(run)[0],
            lambda r: with_interval(r.score, r.score_low, r.score_high, metric, trusted=r.trusted),
        ),
        (
            "minus the best layer",
            lambda r: change(r.gain, r.gain_low, r.gain_high, metric) if r.gain == r.gain else "",
        ),
        ("weight in the sum", lambda r: wording.percent(r.weight, 0) if r.weight == r.weight else ""),
        ("mean attention", lambda r: wording.percent(r.attention, 0) if r.attention == r.attention else ""),
    ]
    note = (
        "One layer, or all of them weighed? Weights are learnt on training groups; the best layer (bold) is chosen on "
        "validation clips; gains are on test clips, which had no say."
    )
    note += _untrusted(run, table)
    rows = rows_of(table)
    return laid_out("Which layer, and is one enough?", columns, rows, note=note, marked=lambda r: r.best)


def _codes(run: Run) -> Table | None:
    probes, errors, pca = run.table("sae_probing"), run.table("reconstruction"), pca_errors(run)
    by, numbers = ["encoder", "layer", "sparsity"], ["k", "mse", "fvu", "l0", "dead_fraction"]
    parts = [] if probes is None else [probe_points(probes, tuple(by)).set_index(by)]
    if errors is not None:
        groups = errors.groupby(by, sort=False)
        own = groups[numbers].mean().assign(fvu_low=groups["fvu"].min(), fvu_high=groups["fvu"].max())
        parts.append(own.assign(seeds=groups["seed"].nunique()).drop(columns="seeds" if parts else []))
    if not parts:
        return None
    both = pd.concat(parts, axis=1).reindex(parts[0].index)
    if pca is not None:
        both = both.join(pca.groupby(by)["fvu"].mean().rename("pca"))
    both = both.reset_index()
    wanted = ["mean", "low", "high", "groups", "trusted", "balanced", "seeds", "seed_low", "seed_high", "pca"]
    both = both.reindex(columns=[*by, *wanted, *numbers, "fvu_low", "fvu_high"])
    several, metric = (both["seeds"] > 1).any(), metric_of(run)
    columns: list[Column] = [
        *where(both["encoder"].nunique() > 1, ENCODER),
        LAYER,
        SPARSITY,
        ("active latents (L0)", lambda r: whole(r.l0)),
        _probe(run),
        *where(both["groups"].notna().any(), GROUPS),
        *where(several, ("over seeds", lambda r: _between(r.seed_low, r.seed_high, metric))),
        *where(both["balanced"].notna().any(), BALANCED),
        ("FVU (range over seeds)" if several else "FVU", _fvu),
        *where(
            both["pca"].notna().any(), ("FVU of PCA, as many components", lambda r: wording.percent(r.pca))
        ),
        ("MSE", lambda r: f"{r.mse:.3g}" if r.mse == r.mse else "n/a"),
        ("silent on test clips", lambda r: wording.percent(r.dead_fraction, 0)),
    ]
    note = (
        f"On test clips. {_brackets(run)} Silent: latents that "
        "are active on none of the test clips; the table of health counts on training rows which ones are dead."
    ) + (_untrusted(run, both) + seeds_note(both["seeds"]))
    title = "Sparse codes: probes and reconstruction"
    return laid_out(title, columns, rows_of(both), note=note, folded=len(both) > LONG)


def _representations(run: Run) -> Table | None:
    parts = [
        representations(run, encoder, layer).assign(encoder=encoder, layer=layer)
        for encoder, layer in studied_layers(run)
    ]
    if not parts or not sum(map(len, parts)):
        return None
    both, unequal, published = pd.concat(parts, ignore_index=True), unequal_selection(run), in_sample(run)
    columns: list[Column] = [
        *where(both["encoder"].nunique() > 1, ENCODER),
        LAYER,
        ("representation", lambda r: representation_name(str(r.representation), r.sparsity)),
        (f"mean {r2_kind(run)} R²", lambda r: ranged(r.r2, r.r2_low, r.r2_high)),
        ("R²: label alone; beyond it", _label),
        ("factors", lambda r: whole(r.n_factors)),
        (
            "effective dimensions",
            lambda r: ranged(r.effective_dims, r.effective_dims_low, r.effective_dims_high, 1),
        ),
        *where(
            both["effective_dims_matched"].notna().any(),
            ("effective dimensions at matched R²", lambda r: wording.number(r.effective_dims_matched, 1)),
        ),
        (
            f"mean completeness{'' if published else ', one base'}",
            lambda r: ranged(r.completeness, r.completeness_low, r.completeness_high),
        ),
        *where(unequal, ("completeness, as published", lambda r: wording.number(r.completeness_unequal))),
    ]
    if published:
        note = "Means over the best-predicted factors of each representation, at most ten; brackets: range over seeds. "
        note += "A factor that is not predicted is not counted, so a null may have none (n/a). "
    else:
        note = "R²: means over the same factors for all of a layer, at most ten, those that the dense layer and the "
        note += (
            "codes together predict best; dimensions and completeness: over those of them (factors) that the "
        )
        note += (
            "representation predicts at all; none (n/a) over fewer than three. Brackets: range over seeds. "
        )
    note += (LABEL_NOTE_PAPER if published else LABEL_NOTE) + seeds_note(both["seeds"])
    if unequal:
        note += (
            " As published: for codes and nulls the mean over their ten factors of highest completeness instead, for "
            "the dense layer the same as before; the two selections are not equal."
        )
    return laid_out(
        "Dense, codes and nulls",
        columns,
        rows_of(both),
        note=note,
        marked=lambda r: r.representation not in (DENSE, *NULLS),
        folded=len(both) > 2 * LONG,
    )


def _factors(run: Run) -> Table | None:
    best = best_factors(run)
    if best.empty:
        return None
    info = run.table("factors_info")
    bits = _bits(run)
    units = dict(zip(info["name"], info["unit"])) if info is not None else {}
    encoders, published = best["encoder"].nunique(), score_of(run) == "r2"
    columns: list[Column] = [
        ("factor", lambda r: r.factor),
        *where(units, ("unit", lambda r: units.get(r.factor, ""))),
        ("family", lambda r: r.family),
        (f"best {r2_kind(run)} R²", lambda r: wording.number(r.score)),
        ("R²: label alone; beyond it", _label),
        *where(not published, ("the label's?", lambda r: "yes" if r.label_owned else "no")),
        ("where", lambda r: wording.place(str(r.encoder), r.layer, encoders=encoders)),
        ("from", lambda r: representation_name(str(r.representation), r.sparsity)),
        *where(bits, ("entropy (bits)", lambda r: bits.get(r.factor, "n/a"))),
    ]
    note = "The best of many tries is a little flattered; results/disentanglement.csv has them all."
    if not published:
        note += (
            " The label's: what a table of class means, which hears nothing, predicts is over half of what the "
            "representation does; such a factor is ranked by its R² beyond the label."
        )
    if any(text.startswith("mixed") for text in bits.values()):
        note += " Mixed: so many values are tied that neighbours say nothing; the bits are a histogram's."
    title = "Where each factor is predicted best"
    return laid_out(
        title,
        columns,
        rows_of(best),
        note=note,
        marked=lambda r: r.label_owned and not published,
        folded=len(best) > LONG,
    )


def _bits(run: Run) -> dict[str, str]:
    """Return factor -> its entropy in bits as written: "mixed" and a histogram's where many values are tied."""
    table = run.table("factor_entropy")
    if table is None:
        return {}
    return {
        row.factor: f"mixed ({wording.number(row.entropy_hist_bits, 1)})"
        if row.mixed
        else wording.number(row.entropy_knn_bits, 1)
        for row in rows_of(table)
    }


def _label(row: Any) -> str:
    """What class means predict of a factor without any audio, and what is held within classes."""
    return f"{wording.number(row.r2_label)}; {wording.number(row.r2_beyond)}"


def _fvu(row: Any) -> str:
    text, ends = wording.percent(row.fvu), _between(row.fvu_low, row.fvu_high, "accuracy")
    return text if row.fvu_low != row.fvu_low or ends == text else f"{text} ({ends})"


def _between(low: float, high: float, metric: str) -> str:
    ends = [wording.score(end, metric) for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join([ends[0].removesuffix(f"{wording.NBSP}%"), ends[1]])


def _probe(run: Run) -> Column:
    metric = metric_of(run)
    heading = short_metric(metric) + ("" if few_groups(run) else " [95\u00a0% interval]")
    return heading, lambda row: with_interval(
        row.mean, row.low, row.high, metric, trusted=row.trusted is not False
    )


def _brackets(run: Run) -> str:
    """Say what stands in brackets, or why nothing does."""
    n = few_groups(run)
    if n:
        return f"No intervals: {wording.count(n, 'test group')} {'is' if n == 1 else 'are'} too few."
    return f"Brackets: 95\u00a0% interval{', a t over the test groups' if run.over_groups else ''}."


def _untrusted(run: Run, points: pd.DataFrame) -> str:
    """Return the note on the mark of intervals that are not to be trusted, where there is any."""
    low = "low" if "low" in points else "score_low"
    shown = points[points[low].notna()]
    if not (shown["trusted"] == False).any():  # noqa: E712 (missing is not False)
        return ""
    return UNTRUSTED_NOTE if run.over_groups else CLIPS_NOTE
