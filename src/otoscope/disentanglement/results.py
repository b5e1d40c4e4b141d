"""One representation's scores, and the table they are filled into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from otoscope.disentanglement import scores
from otoscope.errors import InputError

FEWEST_ROWS, FEWEST_GROUPS = 20, 3


@dataclass(frozen=True)
class Disentanglement:
    """One representation's scores.

    Attributes
    ----------
    factors : DataFrame
        ``factor, family, r2, r2_cv, completeness, effective_dims, n_nonzero, importance``, then ``alpha,
        n_rows, n_free, ranked``: a row per factor. ``r2`` is in-sample; ``r2_cv`` is NaN where nothing was
        held out. ``n_free`` above 0: other Lasso solutions are as good, with other completeness (see
        `free_directions`).
    latents : DataFrame
        ``latent, importance, disentanglement``: the latents that hold something of a ranked factor.
    disentanglement : float
        Of the whole code: mean over latents, weighted by importance.
    weights : np.ndarray [latents, factors]
        The importance matrix: absolute Lasso coefficients on standardised codes and factors, or a forest's.
    """

    factors: pd.DataFrame
    latents: pd.DataFrame
    disentanglement: float
    weights: np.ndarray


def check_codes(codes: np.ndarray, factors: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(codes, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(factors):
        raise InputError(f"expected codes [rows, latents] for {len(factors)} rows of factors; got {x.shape}")
    if not np.isfinite(x).all():
        raise InputError(f"codes must be finite; {np.count_nonzero(~np.isfinite(x))} numbers are not")
    check_numeric(factors)
    y = factors.to_numpy(dtype=np.float64)
    return x, np.where(np.isfinite(y), y, np.nan)


def check_numeric(factors: pd.DataFrame) -> None:
    """Raise InputError if a factor is no number."""
    for name, column in factors.items():
        if not pd.api.types.is_numeric_dtype(column):
            example = column.dropna().iloc[0] if column.notna().any() else None
            raise InputError(f"factor '{name}' is not numeric (such as '{example}'); leave it out")


def check_groups(groups: Sequence | np.ndarray | None, n_rows: int) -> np.ndarray:
    """Return a group for each row, itself by default; or say why folds cannot be made of them."""
    if groups is None:
        return np.arange(n_rows)
    groups = np.asarray(groups)
    if len(groups) != n_rows:
        raise InputError(f"expected a group for each of the {n_rows} rows; got {len(groups)}")
    n_groups = len(np.unique(groups))
    if n_groups < FEWEST_GROUPS:
        raise InputError(
            f"cross-validation over groups needs at least {FEWEST_GROUPS} groups; got {n_groups}. Name a column with "
            "more, or pass groups=None to let each row stand for itself"
        )
    return groups


def patterns(y: np.ndarray, groups: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (rows, columns) of factors measurable in the same rows, where they vary: these share a Gram matrix.

    Left out are factors measurable in too few rows, or, if `groups` are given, in too few groups.
    """
    there = np.isfinite(y)
    masks: dict[bytes, list[int]] = {}
    for column in range(y.shape[1]):
        masks.setdefault(there[:, column].tobytes(), []).append(column)
    found = []
    for columns in masks.values():
        rows = np.flatnonzero(there[:, columns[0]])
        if len(rows) < FEWEST_ROWS or (groups is not None and len(np.unique(groups[rows])) < FEWEST_GROUPS):
            continue
        varying = [column for column in columns if np.ptp(y[rows, column]) > 0]
        if varying:
            found.append((rows, np.array(varying)))
    return found


def empty_table(factors: pd.DataFrame, families: Mapping[str, str] | None) -> pd.DataFrame:
    names = [str(name) for name in factors.columns]
    table = pd.DataFrame({"factor": names, "family": [(families or {}).get(name, "other") for name in names]})
    table[["r2", "r2_cv", "completeness", "effective_dims"]] = np.nan
    table["n_nonzero"] = 0
    table["importance"] = "lasso"
    table["alpha"] = np.nan
    table["n_rows"] = 0
    table["n_free"] = 0
    return table


def fill(table: pd.DataFrame, columns: np.ndarray, **values) -> None:
    for name, value in values.items():
        table.loc[columns, name] = value


def scored(table: pd.DataFrame, weights: np.ndarray, *, empty: float) -> Disentanglement:
    measured = table.r2.notna().to_numpy()
    table["completeness"] = np.where(measured, scores.completeness(weights, empty=empty), np.nan)
    table["effective_dims"] = scores.effective_dims(weights)
    table["n_nonzero"] = np.count_nonzero(weights, axis=0)
    ranked = table.ranked.to_numpy()
    per_latent, shares = scores.disentanglement(weights[:, ranked])
    latents = pd.DataFrame(
        {"latent": np.arange(len(shares)), "importance": shares, "disentanglement": per_latent}
    )
    whole = scores.weighted_mean(per_latent, shares)
    return Disentanglement(table, latents[shares > 0].reset_index(drop=True), whole, weights)
