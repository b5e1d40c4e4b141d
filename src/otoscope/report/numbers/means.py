"""Means over seeds, and the curves that figures draw and sentences describe."""

from __future__ import annotations

from typing import Any

import pandas as pd

from otoscope.results import layer_order


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


def probe_points(probes: pd.DataFrame, by: tuple[str, ...]) -> pd.DataFrame:
    """Return ``*by, mean, low, high, balanced, groups, trusted, seeds, seed_low, seed_high`` of probes.

    Means over seeds of score, interval and balanced accuracy; ``trusted``: the interval is in every seed; the least
    number of test groups; and the range of the score over seeds.
    """
    points = over_seeds(probes, "score", by=by, low="score_low", high="score_high")
    more = (
        probes.groupby(list(by), sort=False)
        .agg(
            balanced=("balanced_accuracy", "mean"),
            groups=("n_groups", "min"),
            trusted=("trusted", "all"),
            seeds=("seed", "nunique"),
            seed_low=("score", "min"),
            seed_high=("score", "max"),
        )
        .reset_index()
    )
    return points.merge(more, on=list(by), how="left")


def rows_of(table: pd.DataFrame) -> list[Any]:
    """Return the rows of a table, each with its columns as attributes."""
    return list(table.itertuples(index=False))


def curves_of(points: pd.DataFrame) -> dict[tuple[str, int | str], pd.DataFrame]:
    """Return the points of each (encoder, layer), in the order they come."""
    return {place: curve for place, curve in points.groupby(["encoder", "layer"], sort=False)}  # noqa: C416
