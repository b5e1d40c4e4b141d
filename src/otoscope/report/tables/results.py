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
from otoscope.report.numbers.means import over_seeds, rows_of
from otoscope.report.run import Run, metric_of, r2_kind, unequal_selection
from otoscope.report.tables.cells import (
    ENCODER,
    LAYER,
    LONG,
    Column,
    Table,
    change,
    laid_out,
    representation_name,
    short_metric,
    where,
    whole,
    with_interval,
)
from otoscope.results import DENSE, NULLS

BALANCED: Column = ("balanced accuracy", lambda row: wording.percent(row.balanced))


def result_tables(run: Run) -> list[Table]:
    """Return the tables of a run's page; those whose results are missing are left out."""
    tables = [_layers(run), _codes(run), _representations(run), _factors(run)]
    return [table for table in tables if table is not None]


def headline_table(run: Run) -> Table:
    """Return the headline numbers of every encoder, a row each."""
    metric = metric_of(run)
    columns: list[Column] = [
        ENCODER,
        ("best layer", lambda r: str(r.layer)),
        ("its probe", lambda r: with_interval(r.score, r.low, r.high, metric)),
        ("minus layer 0", lambda r: change(r.gain, r.gain_low, r.gain_high, metric)),
        ("layer of the codes", lambda r: "n/a" if r.studied is None else str(r.studied)),
        ("codes minus dense", lambda r: wording.difference(r.code_change, metric)),
        ("FVU", lambda r: wording.percent(r.fvu)),
        (f"{r2_kind(run)} R² of codes", lambda r: wording.number(r.r2)),
        ("completeness minus dense", lambda r: wording.signed(r.completeness_gain)),
    ]
    note = "Codes at the sparsity nearest to 95\u00a0%. Brackets: 95\u00a0% interval."
    return laid_out("At a glance", columns, rows_of(headlines(run)), note=note)


def _layers(run: Run) -> Table | None:
    table = run.table("layer_probing")
    if table is None:
        return None
    points = _points(table, ["encoder", "layer"])
    best = {encoder: chosen_layer(run, str(encoder)) for encoder in points["encoder"].unique()}
    columns = [
        *where(points["encoder"].nunique() > 1, ENCODER),
        LAYER,
        _probe(metric_of(run)),
        *where(points["balanced"].notna().any(), BALANCED),
    ]
    return laid_out(
        "Probes on the layers",
        columns,
        rows_of(points),
        note="Bold: the layer that the run chose."
        if any(layer is not None for layer in best.values())
        else "",
        marked=lambda r: best[r.encoder] == r.layer,
        folded=len(points) > LONG,
    )


def _codes(run: Run) -> Table | None:
    probes, errors = run.table("sae_probing"), run.table("reconstruction")
    by, numbers = ["encoder", "layer", "sparsity"], ["k", "mse", "fvu", "l0", "dead_fraction"]
    parts = [] if probes is None else [_points(probes, by).set_index(by)]
    if errors is not None:
        parts.append(errors.groupby(by, sort=False)[numbers].mean())
    if not parts:
        return None
    both = pd.concat(parts, axis=1).reindex(parts[0].index).reset_index()
    both = both.reindex(columns=[*by, "mean", "low", "high", "balanced", *numbers])
    columns: list[Column] = [
        *where(both["encoder"].nunique() > 1, ENCODER),
        LAYER,
        ("sparsity", lambda r: wording.sparsity(r.sparsity)),
        ("active latents (L0)", lambda r: whole(r.l0)),
        _probe(metric_of(run)),
        *where(both["balanced"].notna().any(), BALANCED),
        ("FVU", lambda r: wording.percent(r.fvu)),
        ("MSE", lambda r: f"{r.mse:.3g}" if r.mse == r.mse else "n/a"),
        ("dead latents", lambda r: wording.percent(r.dead_fraction, 0)),
    ]
    note = "On test clips; means over seeds. Dead: never active on any of them."
    title = "Sparse codes: probes and reconstruction"
    return laid_out(title, columns, rows_of(both), note=note, folded=len(both) > LONG)


def _representations(run: Run) -> Table | None:
    parts = [
        representations(run, encoder, layer).assign(encoder=encoder, layer=layer)
        for encoder, layer in studied_layers(run)
    ]
    if not parts or not sum(map(len, parts)):
        return None
    both, unequal = pd.concat(parts, ignore_index=True), unequal_selection(run)
    columns: list[Column] = [
        *where(both["encoder"].nunique() > 1, ENCODER),
        LAYER,
        ("representation", lambda r: representation_name(str(r.representation), r.sparsity)),
        (f"mean {r2_kind(run)} R²", lambda r: wording.number(r.r2)),
        ("mean completeness", lambda r: wording.number(r.completeness)),
        *where(unequal, ("completeness, as published", lambda r: wording.number(r.completeness_published))),
        ("effective dimensions", lambda r: wording.number(r.effective_dims, 1)),
        ("factors", lambda r: whole(r.n_factors)),
    ]
    note = (
        "Means over the best-predicted factors of each representation, at most ten, and over seeds. A factor that "
        "is not predicted is not counted, so a null may have none (n/a)."
    )
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
    entropy, info = run.table("factor_entropy"), run.table("factors_info")
    bits = dict(zip(entropy["factor"], entropy["entropy_knn_bits"])) if entropy is not None else {}
    units = dict(zip(info["name"], info["unit"])) if info is not None else {}
    encoders = best["encoder"].nunique()
    columns: list[Column] = [
        ("factor", lambda r: r.factor),
        *where(units, ("unit", lambda r: units.get(r.factor, ""))),
        ("family", lambda r: r.family),
        (f"best {r2_kind(run)} R²", lambda r: wording.number(r.score)),
        ("where", lambda r: wording.place(str(r.encoder), r.layer, encoders=encoders)),
        ("from", lambda r: representation_name(str(r.representation), r.sparsity)),
        ("entropy (bits)", lambda r: wording.number(bits.get(r.factor, float("nan")), 1)),
    ]
    note = "The best of many tries is a little flattered; results/disentanglement.csv has them all."
    title = "Where each factor is predicted best"
    return laid_out(title, columns, rows_of(best), note=note, folded=len(best) > LONG)


def _probe(metric: str) -> Column:
    heading = f"{short_metric(metric)} [95\u00a0% interval]"
    return heading, lambda row: with_interval(row.mean, row.low, row.high, metric)


def _points(probes: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return ``*by, mean, low, high, balanced`` of probes: score, interval and balanced accuracy, means over seeds."""
    points = over_seeds(probes, "score", by=tuple(by), low="score_low", high="score_high")
    balanced = probes.groupby(by)["balanced_accuracy"].mean().rename("balanced")
    return points.merge(balanced.reset_index(), on=by, how="left")
