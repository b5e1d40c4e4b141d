"""A finished run, read back from its directory; and the few means that figures and sentences share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from otoscope.errors import InputError
from otoscope.results import TABLES, check_schema, layer_order, read_table

if TYPE_CHECKING:
    from otoscope.experiment import RunDirectory


@dataclass(frozen=True)
class Run:
    """What one run left on disk.

    Attributes
    ----------
    path : Path
        Its directory.
    spec : dict
        The resolved spec, with versions.
    layers : dict
        Encoder -> ``best``, the layer it is judged by, and ``studied``, those that were split into latents.
    summary, stages, notes
        Of ``run.json``: counts of clips and groups, metric and chance; what each stage took; remarks.
    tables : dict of str to DataFrame
        The result tables that are there and not empty. Layers are ints, or "final".
    """

    path: Path
    spec: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, Any] = field(default_factory=dict)
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


def read_run(run: str | Path | RunDirectory) -> Run:
    """Read a run, of what `otoscope.run` returned or of its directory; any of its tables may be missing.

    Raises
    ------
    InputError
        If it is no run directory, holds no result table, or a table lacks a column or holds text for a number.
    ProvenanceError
        If its tables are of another schema.
    """
    path = Path(run) if isinstance(run, str | Path) else run.root
    if not (path / "results").is_dir():
        raise InputError(
            f"'{path}' is no run: it has no folder 'results'; give the --out folder of 'otoscope run'"
        )
    spec = _read_mapping(path / "spec.yaml", yaml.safe_load)
    record = _read_mapping(path / "run.json", json.loads)
    check_schema(record, path)
    files = [path / "results" / f"{name}.csv" for name in TABLES if name != "published_comparison"]
    tables = {file.stem: read_table(file) for file in files if file.is_file()}
    found = {name: table for name, table in tables.items() if len(table)}
    if not found:
        raise InputError(f"'{path}/results' holds no result table yet; run 'otoscope run' on it first")
    return Run(
        path=path,
        spec=spec,
        layers=record.get("layers") or {},
        summary=record.get("summary") or {},
        stages=record.get("stages") or [],
        notes=record.get("notes") or [],
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


def rows_of(table: pd.DataFrame) -> list[Any]:
    """Return the rows of a table, each with its columns as attributes."""
    return list(table.itertuples(index=False))


def curves_of(points: pd.DataFrame) -> dict[tuple[str, int | str], pd.DataFrame]:
    """Return the points of each (encoder, layer), in the order they come."""
    return {place: curve for place, curve in points.groupby(["encoder", "layer"], sort=False)}  # noqa: C416


def _read_mapping(path: Path, parse: Any) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} must hold a mapping, not {type(value).__name__}")
    return value
