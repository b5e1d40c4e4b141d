"""What a score has to beat: representations of equal width that learnt nothing, and factors of the wrong clips.

An untrained SAE, the fourth null, is the caller's to make: it has the architecture of the trained one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.disentanglement.scaling import standardised
from otoscope.errors import InputError


def random_codes(dense: np.ndarray, width: int, *, seed: int) -> np.ndarray:
    """Return a Gaussian random projection [rows, width] of the standardised activations [rows, features]."""
    x = standardised(dense)
    rng = np.random.default_rng(seed)
    return x @ (rng.standard_normal((x.shape[1], width)) / np.sqrt(x.shape[1]))


def pca_codes(dense: np.ndarray, width: int, *, train: np.ndarray | None = None) -> np.ndarray:
    """Return the first principal components [rows, at most width], standardised activations in.

    There are no more components than features, or training rows less one: a wider code has no PCA of its
    width.

    Parameters
    ----------
    dense : np.ndarray [rows, features]
    width : int
        How many components.
    train : np.ndarray [rows] of bool, optional
        The rows that the components are learnt from; default: all.
    """
    x = standardised(dense)
    learnt = x if train is None else x[np.asarray(train, dtype=bool)]
    if len(learnt) < 2:
        raise InputError(f"principal components need at least 2 rows to learn from; got {len(learnt)}")
    centre = learnt.mean(axis=0)
    _, values, axes = np.linalg.svd(learnt - centre, full_matrices=False)
    rank = int((values > 1e-6 * values[0]).sum())
    return (x - centre) @ axes[: min(width, rank)].T


def shuffle_factors(factors: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return `factors` with its rows in a random order, each to meet another clip's codes: the null "shuffled"."""
    order = np.random.default_rng(seed).permutation(len(factors))
    return factors.iloc[order].set_axis(factors.index, axis=0)
