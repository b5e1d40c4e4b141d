"""InfoMEC: modularity, explicitness and compactness by information (Hsu et al. 2023, "Disentanglement via latent
quantization", section 4).

Where DCI reads a regressor's weights, InfoMEC reads the mutual information of each latent and each factor, so that
a relation need not be linear; explicitness alone asks a linear model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from otoscope.clips import group_folds
from otoscope.disentanglement.other_scores import mutual_information
from otoscope.disentanglement.results import FEWEST_GROUPS, check_codes, check_groups, patterns
from otoscope.errors import InputError


@dataclass(frozen=True)
class InfoMEC:
    """One representation's scores.

    Attributes
    ----------
    factors : DataFrame
        ``factor, compactness, explicitness, n_informative``: how much of the information on it is in one latent,
        how well a linear model reads it from all (held-out R2), and how many latents say something. NaN where
        a factor is not measurable, and compactness where no latent says anything.
    latents : DataFrame
        ``latent, modularity``: how much of a latent's information is on one factor; NaN where it has none.
    modularity, explicitness, compactness : float
        InfoM, InfoE, InfoC: the means.
    information : np.ndarray [latents, factors]
        Mutual information over the factor's entropy, 0 to 1, the part that chance gives taken off.
    """

    factors: pd.DataFrame
    latents: pd.DataFrame
    modularity: float
    explicitness: float
    compactness: float
    information: np.ndarray


def infomec(
    codes: np.ndarray,
    factors: pd.DataFrame,
    *,
    groups: Sequence | np.ndarray | None = None,
    bins: int = 10,
    n_folds: int = 5,
    ridge: float = 1.0,
) -> InfoMEC:
    """Measure modularity, explicitness and compactness.

    Latents and factors are cut into bins of equally many rows (equal values stay together: a latent's silence is one
    bin). Few rows in many cells give information by chance; its expectation, ``(cells - rows - columns + 1) / 2n``
    nats over the cells in use (Miller 1955; Roulston 1999), is taken off, and what is left below 0 is 0.
    With ``p`` the shares of a latent's information on the factors, modularity is ``(max p - 1/n) / (1 - 1/n)``, n
    factors; compactness is the same for a factor, n being the latents that vary. Explicitness is the R2 of a ridge
    regression on groups it was not fitted on, 0 where it is below.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
    factors : DataFrame [rows, factors]
        NaN leaves its row out, for that factor.
    groups : sequence [rows], optional
        What must not be in two folds; default: each row is its own.
    bins : int
        At most, for a latent and for a factor.
    n_folds : int
        Of explicitness.
    ridge : float
        Penalty of the linear model, for standardised codes.
    """
    if bins < 2:
        raise InputError(f"mutual information needs at least 2 bins; got {bins}")
    x, y = check_codes(codes, factors)
    known_groups = check_groups(groups, len(x))
    information = np.full((x.shape[1], y.shape[1]), np.nan)
    explicit = np.full(y.shape[1], np.nan)
    for rows, columns in patterns(y, known_groups):
        latents = quantile_bins(x[rows], bins)
        folds = group_folds(known_groups[rows], max(n_folds, FEWEST_GROUPS))
        for column in columns:
            information[:, column] = _normalised(latents, quantile_bins(y[rows, column][:, None], bins), bins)
        explicit[columns] = np.maximum(_ridge_r2(x[rows], y[np.ix_(rows, columns)], folds, ridge), 0.0)
    alive = x.max(axis=0) > x.min(axis=0)
    measured = np.isfinite(information).any(axis=0)
    known = np.nan_to_num(information)
    modular = np.where(alive, _share_of_largest(known[:, measured].T), np.nan)
    compact = np.where(measured, _share_of_largest(known[alive]), np.nan)
    table = pd.DataFrame(
        {
            "factor": [str(name) for name in factors.columns],
            "compactness": compact,
            "explicitness": explicit,
            "n_informative": np.count_nonzero(known > 0, axis=0),
        }
    )
    latent_table = pd.DataFrame({"latent": np.arange(x.shape[1]), "modularity": modular})
    return InfoMEC(table, latent_table, _mean(modular), _mean(explicit), _mean(compact), information)


def quantile_bins(values: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin [rows, columns] of each value, of bins with equally many rows; equal values share the first's."""
    found = np.empty(values.shape, dtype=np.int64)
    for column, own in enumerate(values.T):
        ranks = np.searchsorted(np.sort(own), own, side="left")
        found[:, column] = ranks * bins // len(own)
    return found


def _normalised(latents: np.ndarray, factor: np.ndarray, bins: int) -> np.ndarray:
    """Return each latent's information on a binned factor, less chance's, over the factor's entropy [latents]."""
    n = len(latents)
    bits, in_use = mutual_information(latents, factor, bins)
    chance = in_use / (2 * n * np.log(2))
    shares = np.bincount(factor[:, 0]) / n
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum()
    return np.maximum(bits - chance, 0.0) / entropy


def _share_of_largest(information: np.ndarray) -> np.ndarray:
    """Return, per column of [candidates, columns], what the largest has of all: 0 alike, 1 alone; NaN for none."""
    n, total = len(information), information.sum(axis=0)
    if n < 2:
        return np.where(total > 0, 1.0, np.nan)
    share = np.divide(information.max(axis=0), total, out=np.full(len(total), np.nan), where=total > 0)
    return (share - 1 / n) / (1 - 1 / n)


def _ridge_r2(x: np.ndarray, y: np.ndarray, folds: np.ndarray, penalty: float) -> np.ndarray:
    """Return the R2 [factors] of pooled out-of-fold predictions."""
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    predicted = np.empty_like(y)
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        scale = StandardScaler().fit(x[~out])
        model = Ridge(alpha=penalty).fit(scale.transform(x[~out]), y[~out])
        predicted[out] = model.predict(scale.transform(x[out])).reshape(-1, y.shape[1])
    return 1 - ((y - predicted) ** 2).sum(axis=0) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)


def _mean(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")
