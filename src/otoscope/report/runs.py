"""A finished run, read back from its directory; and the few means that figures and sentences share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from otoscope.errors import InputError
from otoscope.files import read_mapping

NULLS = ("untrained", "random", "pca", "shuffled")
"""Representations that no training on this data shaped (or, shuffled, that lost the factors)."""

COLUMNS = {
    "layer_probing": ("encoder", "layer", "seed", "accuracy", "accuracy_low", "accuracy_high", "n_test"),
    "reconstruction": (
        "encoder",
        "layer",
        "sae",
        "sparsity",
        "k",
        "seed",
        "mse",
        "fvu",
        "l0",
        "dead_fraction",
    ),
    "sae_probing": (
        *("encoder", "layer", "sae", "sparsity", "k", "seed"),
        *("accuracy", "accuracy_low", "accuracy_high", "n_test"),
    ),
    "disentanglement": (
        *("encoder", "layer", "representation", "sparsity", "seed", "factor", "family"),
        *("r2", "r2_cv", "completeness", "effective_dims", "n_nonzero", "importance"),
    ),
    "disentanglement_summary": (
        *("encoder", "layer", "representation", "sparsity", "seed", "selection"),
        *("r2_mean", "r2_std", "completeness_mean", "completeness_std"),
    ),
    "factor_entropy": ("factor", "family", "entropy_knn_bits", "entropy_hist_bits"),
    "factor_families": (
        *("encoder", "layer", "representation", "sparsity", "seed"),
        *("pitch", "formants", "mfcc", "spectral", "quality", "loudness", "rhythm"),
    ),
    "comparisons": (
        *("encoder", "comparison", "a", "b"),
        *("difference", "difference_low", "difference_high", "n_test"),
    ),
    "factors_info": ("name", "unit", "family"),
    "confusion": ("encoder", "layer", "truth", "predicted", "count"),
    "claims": ("claim", "protocol", "statement", "measured", "holds"),
    "sparse_probing": (
        *("encoder", "layer", "representation", "sparsity", "seed"),
        *("class", "k", "average_precision", "chance"),
    ),
    "gap_scores": ("encoder", "layer", "representation", "sparsity", "seed", "factor", "mig", "sap"),
    "forest_summary": (
        *("encoder", "layer", "representation", "sparsity", "seed", "selection"),
        *("r2_mean", "completeness_mean"),
    ),
    "factor_problems": ("clip_id", "problem"),
}
"""Each result table that is read, and the columns it must have."""

_TEXT = {
    *("encoder", "layer", "sae", "representation", "factor", "family", "importance", "selection"),
    *("comparison", "a", "b", "truth", "predicted", "name", "unit", "class", "latents"),
    *("claim", "protocol", "statement", "measured", "holds", "rule", "scope", "clip_id", "problem"),
}


@dataclass(frozen=True)
class Run:
    """What one run left on disk.

    Attributes
    ----------
    path : Path
        Its directory.
    spec : dict
        The resolved spec, with versions.
    summary, stages, notes
        Of ``run.json``: counts of clips and groups, metric and chance; what each stage took; remarks.
    tables : dict of str to DataFrame
        The result tables that are there and not empty. Layers are ints, or "final".
    """

    path: Path
    spec: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self.spec.get("name") or self.path.resolve().name)

    @property
    def protocol(self) -> str:
        """The rules its numbers were made by."""
        return str(self.spec.get("protocol") or "unknown")

    def table(self, name: str) -> pd.DataFrame | None:
        """Return a result table, or None if the run has none."""
        return self.tables.get(name)


def read_run(path: str | Path) -> Run:
    """Read a run directory; any of its tables may be missing.

    Raises
    ------
    InputError
        If it is no run directory, holds no result table, or a table lacks a column or holds text for a number.
    """
    path = Path(path)
    if not (path / "results").is_dir():
        raise InputError(
            f"'{path}' is no run: it has no folder 'results'; give the --out folder of 'otoscope run'"
        )
    tables = {name: _read_table(path / "results" / f"{name}.csv", COLUMNS[name]) for name in COLUMNS}
    found = {name: table for name, table in tables.items() if table is not None and len(table)}
    if not found:
        raise InputError(f"'{path}/results' holds no result table yet; run 'otoscope run' on it first")
    spec = _mapping(path / "spec.yaml")
    run = _mapping(path / "run.json")
    return Run(
        path=path,
        spec=spec,
        summary=run.get("summary") or {},
        stages=run.get("stages") or [],
        notes=run.get("notes") or [],
        tables=found,
    )


def over_seeds(
    table: pd.DataFrame, value: str, *, by: tuple[str, ...], low: str | None = None, high: str | None = None
) -> pd.DataFrame:
    """Return ``*by, mean, low, high``: mean of `value` over seeds, and its range over seeds or the mean interval.

    Parameters
    ----------
    table : DataFrame
        A row per seed.
    value : str
        Column to average.
    by : tuple of str
        What tells the points apart; a missing sparsity (dense) is a value of its own.
    low, high : str, optional
        Columns of an interval. Without them, the smallest and largest value over seeds.
    """
    groups = table.groupby(list(by), dropna=False, sort=False)
    means = groups[value].mean().rename("mean")
    lows = groups[low].mean() if low else groups[value].min()
    highs = groups[high].mean() if high else groups[value].max()
    points = pd.concat([means, lows.rename("low"), highs.rename("high")], axis=1).reset_index()
    points = points[points["mean"].notna()]
    order = [points[name].map(layer_order) if name == "layer" else points[name] for name in by]
    rank = pd.concat(order, axis=1).sort_values(list(by), kind="stable").index
    return points.loc[rank].reset_index(drop=True)


def layer_order(layer: int | str) -> float:
    """Return the depth to sort a layer by; "final" comes last."""
    return float("inf") if layer == "final" else float(layer)


def rows_of(table: pd.DataFrame) -> list[Any]:
    """Return the rows of a table, each with its columns as attributes."""
    return list(table.itertuples(index=False))


def curves_of(points: pd.DataFrame) -> dict[tuple[str, int | str], pd.DataFrame]:
    """Return the points of each (encoder, layer), in the order they come."""
    return {place: curve for place, curve in points.groupby(["encoder", "layer"], sort=False)}  # noqa: C416


def codes_of(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose representation is the code of a trained SAE."""
    return table[~table["representation"].isin(("dense", *NULLS))]


def nearest_sparsity(table: pd.DataFrame, wanted: float) -> float | None:
    """Return the sparsity of `table` nearest to `wanted`, None if no row has one."""
    known = table["sparsity"].dropna().unique()
    return min(known, key=lambda sparsity: abs(sparsity - wanted)) if len(known) else None


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        # names such as "NA" or "none" are text, so pandas must not guess what is missing
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        return None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no table: {error}") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{path} lacks the column(s) {', '.join(missing)}; it has {', '.join(table)}")
    for name in table:
        if name == "layer":
            table[name] = table[name].map(_layer).astype(object)
        elif name not in _TEXT:
            try:
                table[name] = [float(text or "nan") for text in table[name]]
            except ValueError as error:
                if name in columns:  # what a table has beyond its columns may be anything
                    raise InputError(f"{path}: column '{name}' must hold numbers ({error})") from error
    return table


def _layer(text: str) -> int | str:
    return int(float(text)) if text.replace(".", "", 1).isdigit() else text


def _mapping(path: Path) -> dict[str, Any]:
    return read_mapping(path) if path.is_file() else {}
