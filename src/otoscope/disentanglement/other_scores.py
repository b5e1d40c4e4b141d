"""Scores beside the Lasso's DCI: importance by random forests, mutual information gap, separated predictability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from otoscope.clips import group_folds
from otoscope.disentanglement.measure import R2_FLOOR
from otoscope.disentanglement.results import (
    Disentanglement,
    check_codes,
    check_groups,
    empty_table,
    fill,
    living,
    patterns,
    rank,
    scored,
)
from otoscope.errors import InputError


def measure_forest(
    codes: np.ndarray,
    factors: pd.DataFrame,
    *,
    groups: Sequence | np.ndarray | None = None,
    families: Mapping[str, str] | None = None,
    n_trees: int = 100,
    max_features: float | str = 1 / 3,
    min_leaf: int = 3,
    n_folds: int = 5,
    r2_floor: float = R2_FLOOR,
    base: int | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> Disentanglement:
    """Measure disentanglement by random forests, the second regressor of Eastwood & Williams (2018): not only linear.

    Importance is the mean decrease of squared error at a latent's splits. A forest gives every latent a
    little, so completeness runs lower than the Lasso's and `n_nonzero` says nothing; compare forests with
    forests.

    Parameters
    ----------
    codes, factors, groups, families, n_folds, r2_floor, base
        As in `measure_disentanglement`.
    n_trees, max_features, min_leaf
        Of scikit-learn's `RandomForestRegressor`.
    seed : int
        Of the forests.
    workers : int, optional
        Cores; default: all.

    Returns
    -------
    Disentanglement
        As `measure_disentanglement`; the importance is "forest", and `alpha` is NaN.
    """
    from sklearn.ensemble import RandomForestRegressor

    x, y = check_codes(codes, factors)
    known_groups = check_groups(groups, len(x))
    table = empty_table(factors, families)
    table["importance"] = "forest"
    weights = np.zeros((x.shape[1], y.shape[1]))

    def forest() -> RandomForestRegressor:
        return RandomForestRegressor(
            n_trees,
            max_features=max_features,
            min_samples_leaf=min_leaf,
            random_state=seed,
            n_jobs=workers or -1,
        )

    for rows, columns in patterns(y, known_groups):
        folds = group_folds(known_groups[rows], n_folds)
        for column in columns:
            target = y[rows, column]
            predicted = np.empty(len(rows))
            for fold in range(folds.max() + 1):
                out = folds == fold
                predicted[out] = forest().fit(x[rows][~out], target[~out]).predict(x[rows][out])
            model = forest().fit(x[rows], target)
            weights[:, column] = model.feature_importances_
            r2, r2_cv = (_r2(target, guess) for guess in (model.predict(x[rows]), predicted))
            fill(table, np.array([column]), r2=r2, r2_cv=r2_cv, n_rows=len(rows))
    rank(table, r2_floor)
    n_alive = living(x)
    return scored(table, weights, n_alive=n_alive, base=base or n_alive)


def gap_scores(codes: np.ndarray, factors: pd.DataFrame, *, bins: int = 10) -> pd.DataFrame:
    """Return ``factor, mig, sap``: how far the best latent is ahead of the second best. No fit, nothing held out.

    - Mutual information gap (Chen et al. 2018): of the mutual information of a latent and the factor, both
    cut into `bins` equal
      bins, over the factor's entropy.
    - Separated attribute predictability (Kumar et al. 2018): of the R2 of a line on one latent.

    NaN where a factor is constant, or there is one latent only.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
    factors : DataFrame [rows, factors]
        NaN leaves its row out, for that factor.
    bins : int
        Few enough that each holds rows: with 400 rows and 10 x 10 cells, chance alone gives 0.15 bit.
    """
    if bins < 2:
        raise InputError(f"mutual information needs at least 2 bins; got {bins}")
    x, y = check_codes(codes, factors)
    table = pd.DataFrame({"factor": [str(name) for name in factors.columns], "mig": np.nan, "sap": np.nan})
    for rows, columns in patterns(y):
        latents = _binned(x[rows], bins)
        for column in columns:
            target = y[rows, column]
            factor = _binned(target[:, None], bins)
            information, _ = mutual_information(latents, factor, bins)
            entropy = _entropy(np.bincount(factor[:, 0], minlength=bins)[None])[0]
            fill(
                table,
                np.array([column]),
                mig=_gap(information) / entropy,
                sap=_gap(_line_r2(x[rows], target)),
            )
    return table


def _gap(values: np.ndarray) -> float:
    if len(values) < 2:
        return float("nan")
    second, best = np.partition(values, -2)[-2:]
    return float(best - second)


def mutual_information(latents: np.ndarray, factor: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mutual information in bits [latents] of binned latents [rows, latents] and factor [rows, 1].

    And the degrees of freedom that chance has for it: cells in use, less rows and columns in use, plus 1.
    """
    n_latents = latents.shape[1]
    cells = latents * bins + factor
    offsets = np.arange(n_latents) * bins**2
    joint = np.bincount((cells + offsets).ravel(), minlength=n_latents * bins**2).reshape(-1, bins, bins)
    of_latent, of_factor = joint.sum(axis=2), joint.sum(axis=1)
    bits = _entropy(of_latent) + _entropy(of_factor) - _entropy(joint.reshape(n_latents, -1))
    used = [
        np.count_nonzero(counts, axis=1) for counts in (joint.reshape(n_latents, -1), of_latent, of_factor)
    ]
    return bits, used[0] - used[1] - used[2] + 1


def _binned(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin of each value, of equal bins between the smallest and largest of its column."""
    low, span = values.min(axis=0), np.ptp(values, axis=0)
    place = (values - low) / np.where(span > 0, span, 1.0)
    return np.minimum((place * bins).astype(np.int64), bins - 1)


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Return the entropy in bits of each row of counts."""
    p = counts / counts.sum(axis=1, keepdims=True)
    return -(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=1)


def _line_r2(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the squared correlation of each latent and the target [latents]; 0 for a constant latent."""
    centred, y = x - x.mean(axis=0), target - target.mean()
    spread = (centred**2).sum(axis=0) * (y**2).sum()
    return np.divide((centred.T @ y) ** 2, spread, out=np.zeros(x.shape[1]), where=spread > 1e-20)


def _r2(target: np.ndarray, predicted: np.ndarray) -> float:
    return float(1 - ((target - predicted) ** 2).sum() / ((target - target.mean()) ** 2).sum())
