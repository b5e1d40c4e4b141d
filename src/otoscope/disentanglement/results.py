"""One representation's scores, and the table they are filled into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from otoscope.disentanglement import scores
from otoscope.disentanglement.held_out import HeldOut, label_owned
from otoscope.disentanglement.scaling import standardised
from otoscope.errors import InputError

FEWEST_ROWS, FEWEST_GROUPS = 20, 3


@dataclass(frozen=True)
class Disentanglement:
    """One representation's scores.

    Attributes
    ----------
    factors : DataFrame
        A row per factor; the columns are described in `COLUMNS`.
    latents : DataFrame
        ``latent, importance, disentanglement``: the latents that hold something of a ranked factor.
    disentanglement : float
        Of the whole code: mean over latents, weighted by importance.
    weights : np.ndarray [latents, factors]
        The importance matrix: absolute Lasso coefficients on standardised codes and factors, or a forest's.
    held_out : HeldOut, optional
        The out-of-fold predictions; None where nothing was held out.
    """

    factors: pd.DataFrame
    latents: pd.DataFrame
    disentanglement: float
    weights: np.ndarray
    held_out: HeldOut | None = None


COLUMNS = {
    "factor": "its name",
    "family": "what kind of property it is",
    "r2": "R2 of the refit on the very rows it was fitted on",
    "r2_cv": "R2 of pooled out-of-fold predictions; NaN where nothing was held out",
    "completeness": "how few dimensions hold it: 1 - H / log(base); comparable only on one base",
    "effective_dims": "how many dimensions hold it, exp(H): the headline; dead ones have no part in it",
    "n_nonzero": "coefficients that are not 0",
    "importance": "lasso, or forest",
    "alpha": "Lasso penalty of the refit",
    "n_rows": "rows in which the factor was measured",
    "n_free": "directions along which the solution may move: above 0, others are as good, of other completeness",
    "r2_cv_matched": "held-out R2 of the sparsest fit that is within 0.01 of the best, chosen inside each fold",
    "effective_dims_matched": "its dimensions, on the refit",
    "n_nonzero_matched": "its coefficients",
    "alpha_matched": "its penalty",
    "weak_edge": "share of the fits whose best penalty is the weakest allowed: a weaker one might be better",
    "strong_edge": "share of the fits whose best penalty is the strongest: nothing predicted",
    "r2_label": "held-out R2 of the label alone (class means of the training folds)",
    "r2_beyond": "held-out R2 within classes, features and factor centred by class on the training folds",
    "label_owned": "whether it is the label's: r2_label above 0.1 and above half of r2_cv",
    "r2_counted": "the R2 that it is ranked and claimed by: r2_beyond if it is the label's, else r2_cv",
    "base": "how many dimensions completeness divides by the log of",
    "n_alive": "dimensions of the representation that vary at all on the measured rows",
    "completeness_published": "completeness on the log of the representation's own width, dead latents counted",
    "ranked": "whether r2_counted is high enough for anything to be said about where it is held",
}
"""What each column of `Disentanglement.factors` says."""


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
    """Return a group for each row [rows], itself by default; or say why folds cannot be made of them."""
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


def check_classes(classes: Sequence | np.ndarray, n_rows: int) -> np.ndarray:
    """Return a number from 0 for the class of each row [rows]; rows without a label are a class of their own."""
    if len(classes) != n_rows:
        raise InputError(f"expected a class for each of the {n_rows} rows; got {len(classes)}")
    codes, names = pd.factorize(np.asarray(classes, dtype=object))
    return np.where(codes < 0, len(names), codes)


def patterns(y: np.ndarray, groups: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (rows, columns) of ``y [rows, factors]`` measurable in the same rows, where they share a Gram matrix.

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


def living(codes: np.ndarray) -> int:
    """Return how many dimensions of `codes` [rows, latents] vary at all: a dead latent is none."""
    return int(standardised(codes).any(axis=0).sum())


def empty_table(factors: pd.DataFrame, families: Mapping[str, str] | None) -> pd.DataFrame:
    names = [str(name) for name in factors.columns]
    table = pd.DataFrame(np.nan, index=range(len(names)), columns=list(COLUMNS))
    table["factor"], table["importance"] = names, "lasso"
    table["family"] = [(families or {}).get(name, "other") for name in names]
    for name in ("n_nonzero", "n_rows", "n_free", "base", "n_alive"):
        table[name] = 0
    table["label_owned"] = table["ranked"] = False
    return table


def fill(table: pd.DataFrame, columns: np.ndarray, **values) -> None:
    for name, value in values.items():
        table.loc[columns, name] = value


def rank(table: pd.DataFrame, floor: float) -> None:
    """Say which factors are the label's, by which R2 each counts, and which are ranked."""
    table["label_owned"] = label_owned(table.r2_label, table.r2_cv)
    table["r2_counted"] = np.where(table.label_owned, table.r2_beyond, table.r2_cv)
    table["ranked"] = table.r2_counted >= floor


def scored(
    table: pd.DataFrame,
    weights: np.ndarray,
    *,
    n_alive: int,
    base: int | None = None,
    empty: float = np.nan,
    matched: np.ndarray | None = None,
    held_out: HeldOut | None = None,
) -> Disentanglement:
    """Return the scores of an importance matrix [latents, factors], written to `table`; no `base`: its width."""
    measured = table.r2.notna().to_numpy()
    table["base"], table["n_alive"] = base or len(weights), n_alive
    for name, divisor in {"completeness": base, "completeness_published": None}.items():
        values = scores.completeness(weights, base=divisor, empty=empty)
        table[name] = np.where(measured, values, np.nan)
    table["effective_dims"] = scores.effective_dims(weights)
    table["n_nonzero"] = np.count_nonzero(weights, axis=0)
    if matched is not None:
        table["effective_dims_matched"] = scores.effective_dims(matched)
        table["n_nonzero_matched"] = np.count_nonzero(matched, axis=0)
    ranked = table.ranked.to_numpy()
    per_latent, shares = scores.disentanglement(weights[:, ranked])
    latents = pd.DataFrame(
        {"latent": np.arange(len(shares)), "importance": shares, "disentanglement": per_latent}
    )
    whole = scores.weighted_mean(per_latent, shares)
    return Disentanglement(table, latents[shares > 0].reset_index(drop=True), whole, weights, held_out)


def on_base(result: Disentanglement, base: int) -> Disentanglement:
    """Return held-out scores with completeness on another base; only on one are representations comparable."""
    measured = result.factors.r2.notna().to_numpy()
    values = scores.completeness(result.weights, base=base, empty=np.nan)
    table = result.factors.assign(base=base, completeness=np.where(measured, values, np.nan))
    return replace(result, factors=table)
