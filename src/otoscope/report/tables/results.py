"""Result tables as a page shows them: few columns, formatted, with the interval beside the number."""

from __future__ import annotations

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.headlines import (
    best_factors,
    chosen_layer,
    headlines,
    representations,
    studied_layers,
)
from otoscope.report.numbers.means import over_seeds
from otoscope.report.run import Run, metric_of, r2_kind, unequal_selection
from otoscope.report.tables.cells import (
    LONG,
    Table,
    change,
    representation_name,
    short_metric,
    whole,
    with_interval,
)
from otoscope.results import NULLS


def result_tables(run: Run) -> list[Table]:
    """Return the tables of a run's page; those whose results are missing are left out."""
    tables = [_layers(run), _codes(run), _representations(run), _factors(run)]
    return [table for table in tables if table is not None]


def headline_table(run: Run) -> Table:
    """Return the headline numbers of every encoder, a row each."""
    metric = metric_of(run)
    rows = [
        [
            row.encoder,
            str(row.layer),
            with_interval(row.score, row.low, row.high, metric),
            change(row.gain, row.gain_low, row.gain_high, metric),
            "n/a" if row.studied is None else str(row.studied),
            wording.difference(row.code_change, metric),
            wording.percent(row.fvu),
            wording.number(row.r2),
            wording.signed(row.completeness_gain),
        ]
        for row in headlines(run).itertuples()
    ]
    columns = [
        *("encoder", "best layer", "its probe", "minus layer 0", "layer of the codes", "codes minus dense"),
        *("FVU", f"{r2_kind(run)} R² of codes", "completeness minus dense"),
    ]
    return Table(
        "At a glance",
        columns,
        rows,
        "Codes at the sparsity nearest to 95\u00a0%. Brackets: 95\u00a0% interval.",
    )


def _layers(run: Run) -> Table | None:
    table = run.table("layer_probing")
    if table is None:
        return None
    metric = metric_of(run)
    points = over_seeds(table, "score", by=("encoder", "layer"), low="score_low", high="score_high")
    balanced = _balanced(table, points, ["encoder", "layer"])
    several = points["encoder"].nunique() > 1
    best = {encoder: chosen_layer(run, str(encoder)) for encoder in points["encoder"].unique()}
    rows = [
        [*([p.encoder] if several else []), str(p.layer), with_interval(p.mean, p.low, p.high, metric), *also]
        for p, also in zip(points.itertuples(), balanced)
    ]
    marked = tuple(i for i, p in enumerate(points.itertuples()) if best[p.encoder] == p.layer)
    note = "Bold: the layer that the run chose." if marked else ""
    columns = [*(["encoder"] if several else []), "layer", f"{short_metric(metric)} [95\u00a0% interval]"]
    columns += ["balanced accuracy"] if any(balanced) else []
    return Table("Probes on the layers", columns, rows, note, marked, folded=len(rows) > LONG)


def _codes(run: Run) -> Table | None:
    probes, errors = run.table("sae_probing"), run.table("reconstruction")
    by = ("encoder", "layer", "sparsity")
    parts = []
    if probes is not None:
        points = over_seeds(probes, "score", by=by, low="score_low", high="score_high")
        parts.append(points.set_index(list(by)))
    if errors is not None:
        means = errors.groupby(list(by), sort=False)[["k", "mse", "fvu", "l0", "dead_fraction"]].mean()
        parts.append(means)
    if not parts:
        return None
    both = pd.concat(parts, axis=1).reindex(parts[0].index).reset_index()
    both = both.reindex(columns=[*by, "k", "mean", "low", "high", "fvu", "mse", "l0", "dead_fraction"])
    metric, several = metric_of(run), both["encoder"].nunique() > 1
    balanced = _balanced(probes, both, list(by))
    rows = [
        [
            *([r.encoder] if several else []),
            str(r.layer),
            wording.sparsity(r.sparsity),
            whole(r.l0),
            with_interval(r.mean, r.low, r.high, metric),
            *also,
            wording.percent(r.fvu),
            f"{r.mse:.3g}" if r.mse == r.mse else "n/a",
            wording.percent(r.dead_fraction, 0),
        ]
        for r, also in zip(both.itertuples(), balanced)
    ]
    columns = [*(["encoder"] if several else []), "layer", "sparsity", "active latents (L0)"]
    columns += [
        f"{short_metric(metric)} [95\u00a0% interval]",
        *(["balanced accuracy"] if any(balanced) else []),
    ]
    columns += ["FVU", "MSE", "dead latents"]
    note = "On test clips; means over seeds. Dead: never active on any of them."
    return Table("Sparse codes: probes and reconstruction", columns, rows, note, folded=len(rows) > LONG)


def _representations(run: Run) -> Table | None:
    parts = []
    for encoder, layer in studied_layers(run):
        table = representations(run, encoder, layer)
        parts.append(table.assign(encoder=encoder, layer=layer))
    if not parts or not sum(map(len, parts)):
        return None
    both = pd.concat(parts, ignore_index=True)
    several, unequal = both["encoder"].nunique() > 1, unequal_selection(run)
    rows = [
        [
            *([r.encoder] if several else []),
            str(r.layer),
            representation_name(str(r.representation), r.sparsity),
            wording.number(r.r2),
            wording.number(r.completeness),
            *([wording.number(r.completeness_published)] if unequal else []),
            wording.number(r.effective_dims, 1),
            whole(r.n_factors),
        ]
        for r in both.itertuples()
    ]
    columns = [*(["encoder"] if several else []), "layer", "representation", f"mean {r2_kind(run)} R²"]
    columns += ["mean completeness", *(["completeness, as published"] if unequal else [])]
    columns += ["effective dimensions", "factors"]
    note = (
        "Means over the best-predicted factors of each representation, at most ten, and over seeds. A factor that "
        "is not predicted is not counted, so a null may have none (n/a)."
    )
    if unequal:
        note += (
            " As published: for codes and nulls the mean over their ten factors of highest completeness instead, for "
            "the dense layer the same as before; the two selections are not equal."
        )
    return Table(
        "Dense, codes and nulls",
        columns,
        rows,
        note,
        tuple(i for i, r in enumerate(both.itertuples()) if r.representation not in ("dense", *NULLS)),
        folded=len(rows) > 2 * LONG,
    )


def _factors(run: Run) -> Table | None:
    best = best_factors(run)
    if best.empty:
        return None
    entropy = run.table("factor_entropy")
    bits = dict(zip(entropy["factor"], entropy["entropy_knn_bits"])) if entropy is not None else {}
    info = run.table("factors_info")
    units = dict(zip(info["name"], info["unit"])) if info is not None else {}
    encoders = best["encoder"].nunique()
    rows = [
        [
            r.factor,
            *([units.get(r.factor, "")] if units else []),
            r.family,
            wording.number(r.score),
            wording.place(str(r.encoder), r.layer, encoders=encoders),
            representation_name(str(r.representation), r.sparsity),
            wording.number(bits.get(r.factor, float("nan")), 1),
        ]
        for r in best.itertuples()
    ]
    columns = [
        "factor",
        *(["unit"] if units else []),
        "family",
        f"best {r2_kind(run)} R²",
        "where",
        "from",
        "entropy (bits)",
    ]
    note = "The best of many tries is a little flattered; results/disentanglement.csv has them all."
    return Table("Where each factor is predicted best", columns, rows, note, folded=len(rows) > LONG)


def _balanced(table: pd.DataFrame | None, points: pd.DataFrame, by: list[str]) -> list[list[str]]:
    """Return the balanced accuracy of each point, as a cell; no cells where the run has none."""
    if table is None or table["balanced_accuracy"].isna().all():
        return [[] for _ in range(len(points))]
    means = points[by].merge(table.groupby(by)["balanced_accuracy"].mean().reset_index(), on=by, how="left")
    return [[wording.percent(value)] for value in means["balanced_accuracy"]]
