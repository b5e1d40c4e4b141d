"""Result tables as a page shows them: few columns, formatted, with the interval beside the number."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from otoscope.report import wording
from otoscope.report.headlines import (
    best_factors,
    chosen_layer,
    headlines,
    representations,
    studied_layers,
)
from otoscope.report.rules import metric_of, r2_kind
from otoscope.report.runs import Run, over_seeds


@dataclass(frozen=True)
class Table:
    """A titled table of strings; `marked` rows are set in bold."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    marked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: counts, and each row's shares for the shading."""

    title: str
    classes: list[str]
    counts: list[list[int]]
    shares: list[list[float]]
    note: str


def result_tables(run: Run) -> list[Table]:
    """Return the tables of a run's page; those whose results are missing are left out."""
    tables = [_layers(run), _codes(run), _representations(run), _factors(run)]
    return [table for table in tables if table is not None]


def headline_table(runs: list[Run]) -> Table:
    """Return the headline numbers of every run and encoder, a row each."""
    rows = []
    for run in runs:
        metric = metric_of(run)
        for row in headlines(run).itertuples():
            rows.append(
                [
                    *([run.name, run.protocol] if len(runs) > 1 else []),
                    row.encoder,
                    str(row.layer),
                    _with_interval(row.score, row.low, row.high, metric),
                    _change(row.gain, row.gain_low, row.gain_high, metric),
                    "n/a" if row.studied is None else str(row.studied),
                    wording.difference(row.code_change, metric),
                    wording.percent(row.fvu),
                    f"{wording.number(row.r2)} ({r2_kind(run)})",
                    wording.signed(row.completeness_gain),
                ]
            )
    columns = [
        *(["run", "protocol"] if len(runs) > 1 else []),
        *("encoder", "best layer", "its probe", "minus layer 0", "layer of the codes", "codes minus dense"),
        *("FVU", "mean R² of codes", "completeness, codes minus dense"),
    ]
    return Table(
        "At a glance",
        columns,
        rows,
        "Codes at the sparsity nearest to 95\u00a0%. Brackets: 95\u00a0% interval.",
    )


def confusion(run: Run, *, most: int = 30) -> list[Confusion]:
    """Return a confusion matrix per encoder; with more than `most` classes, none."""
    table = run.table("confusion")
    if table is None:
        return []
    found = []
    for (encoder, layer), here in table.groupby(["encoder", "layer"], sort=False):
        classes = list(dict.fromkeys([*here["truth"], *here["predicted"]]))
        if len(classes) > most:
            continue
        counts = here.pivot_table(
            index="truth", columns="predicted", values="count", aggfunc="sum", fill_value=0
        )
        counts = counts.reindex(index=classes, columns=classes, fill_value=0)
        shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        title = f"Confusion of the probe on {wording.place(str(encoder), layer, encoders=table['encoder'].nunique())}"
        found.append(
            Confusion(
                title,
                classes,
                counts.astype(int).to_numpy().tolist(),
                shares.to_numpy().tolist(),
                _mix_ups(counts),
            )
        )
    return found


def _layers(run: Run) -> Table | None:
    table = run.table("layer_probing")
    if table is None:
        return None
    metric = metric_of(run)
    points = over_seeds(table, "accuracy", by=("encoder", "layer"), low="accuracy_low", high="accuracy_high")
    several = points["encoder"].nunique() > 1
    best = {encoder: chosen_layer(run, str(encoder)) for encoder in points["encoder"].unique()}
    rows = [
        [*([p.encoder] if several else []), str(p.layer), _with_interval(p.mean, p.low, p.high, metric)]
        for p in points.itertuples()
    ]
    marked = tuple(i for i, p in enumerate(points.itertuples()) if best[p.encoder] == p.layer)
    note = "Bold: the layer that the run chose." if marked else ""
    columns = [*(["encoder"] if several else []), "layer", f"{_short(metric)} [95\u00a0% interval]"]
    return Table("Probes on the layers", columns, rows, note, marked)


def _codes(run: Run) -> Table | None:
    probes, errors = run.table("sae_probing"), run.table("reconstruction")
    by = ("encoder", "layer", "sparsity")
    parts = []
    if probes is not None:
        points = over_seeds(probes, "accuracy", by=by, low="accuracy_low", high="accuracy_high")
        parts.append(points.set_index(list(by)))
    if errors is not None:
        means = errors.groupby(list(by), sort=False)[["k", "mse", "fvu", "l0", "dead_fraction"]].mean()
        parts.append(means)
    if not parts:
        return None
    both = pd.concat(parts, axis=1).reindex(parts[0].index).reset_index()
    both = both.reindex(columns=[*by, "k", "mean", "low", "high", "fvu", "mse", "l0", "dead_fraction"])
    metric, several = metric_of(run), both["encoder"].nunique() > 1
    rows = [
        [
            *([r.encoder] if several else []),
            str(r.layer),
            wording.sparsity(r.sparsity),
            _whole(r.l0),
            _with_interval(r.mean, r.low, r.high, metric),
            wording.percent(r.fvu),
            f"{r.mse:.3g}" if r.mse == r.mse else "n/a",
            wording.percent(r.dead_fraction, 0),
        ]
        for r in both.itertuples()
    ]
    columns = [*(["encoder"] if several else []), "layer", "sparsity", "active latents (L0)"]
    columns += [f"{_short(metric)} [95\u00a0% interval]", "FVU", "MSE", "dead latents"]
    note = "On test clips; means over seeds. Dead: never active on any of them."
    return Table("Sparse codes: probes and reconstruction", columns, rows, note)


def _representations(run: Run) -> Table | None:
    parts = []
    for encoder, layer in studied_layers(run):
        table = representations(run, encoder, layer)
        parts.append(table.assign(encoder=encoder, layer=layer))
    if not parts or not sum(map(len, parts)):
        return None
    both = pd.concat(parts, ignore_index=True)
    several = both["encoder"].nunique() > 1
    rows = [
        [
            *([r.encoder] if several else []),
            str(r.layer),
            _representation(str(r.representation), r.sparsity),
            wording.number(r.r2),
            wording.number(r.completeness),
            wording.number(r.effective_dims, 1),
            _whole(r.n_factors),
        ]
        for r in both.itertuples()
    ]
    columns = [*(["encoder"] if several else []), "layer", "representation", f"mean {r2_kind(run)} R²"]
    columns += ["mean completeness", "effective dimensions", "factors"]
    note = (
        "Means over the best-predicted factors of each representation, at most ten, and over seeds. A factor that "
        "is not predicted is not counted, so a null may have none (n/a)."
    )
    return Table(
        "Dense, codes and nulls",
        columns,
        rows,
        note,
        tuple(
            i for i, r in enumerate(both.itertuples()) if r.representation not in ("dense", *wording.NULLS)
        ),
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
            _representation(str(r.representation), r.sparsity),
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
    return Table("Where each factor is predicted best", columns, rows, note)


def _representation(name: str, sparsity: float) -> str:
    if name in wording.NULLS:
        return wording.NULLS[name]
    return name if sparsity != sparsity else f"{name} codes, {wording.sparsity(sparsity)}"


def _mix_ups(counts: pd.DataFrame) -> str:
    """Say which two classes are taken for another most often."""
    pairs = [
        (int(counts.loc[truth, predicted]), str(truth), str(predicted))
        for truth in counts.index
        for predicted in counts.columns
        if truth != predicted
    ]
    worst = [pair for pair in sorted(pairs, key=lambda pair: -pair[0])[:3] if pair[0] > 0]
    if not worst:
        return "No clip was taken for another class."
    said = [f"{truth} for {predicted} ({n})" for n, truth, predicted in worst]
    return f"Rows: the truth; columns: what the probe says. Most often taken for another: {wording.listing(said)}."


def _with_interval(value: float, low: float, high: float, metric: str) -> str:
    text = wording.score(value, metric)
    if low != low or high != high:
        return text
    scale, digits = (100, 1) if metric == "accuracy" else (1, 2)
    return f"{text} [{wording.number(scale * low, digits)}, {wording.number(scale * high, digits)}]"


def _change(value: float, low: float, high: float, metric: str) -> str:
    text = wording.difference(value, metric)
    if low != low or high != high:
        return text
    scale, digits = (100, 1) if metric == "accuracy" else (1, 2)
    return f"{text} [{wording.signed(scale * low, digits)}, {wording.signed(scale * high, digits)}]"


def _whole(value: float) -> str:
    """A mean of counts: whole where it is whole or large."""
    if value != value:
        return "n/a"
    return wording.number(value, 0 if value >= 20 or round(value, 1) == round(value) else 1)


def _short(metric: str) -> str:
    return {"accuracy": "accuracy", "r2": "R²"}.get(metric, metric)
