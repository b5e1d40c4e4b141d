"""What a trained dictionary has to beat: components that are not sparse, and sparse codes that learnt nothing.

Two more nulls train as the dictionary itself does: on rows whose dimensions were :func:`permuted`, and with a part of
the autoencoder frozen at random (``train_saes(..., frozen="encoder")``; after Korznikov et al., "Sanity Checks for
Sparse Autoencoders", arXiv 2602.14111).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from otoscope.errors import InputError
from otoscope.saes.training.preflight import MomentTally

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder
    from otoscope.saes.config import SAEConfig
    from otoscope.saes.training.rows import Block

ICA_ITERATIONS = 500


@dataclass(frozen=True)
class Components:
    """A linear code: ``codes = (x - mean) @ analysis``, ``x = codes @ synthesis + mean``."""

    mean: np.ndarray
    """[features]"""
    analysis: np.ndarray
    """[features, components]"""
    synthesis: np.ndarray
    """[components, features]"""

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Return codes [rows, components] of rows ``x [rows, features]``."""
        return (np.asarray(x, dtype=np.float64) - self.mean) @ self.analysis

    def fvu(self, x: np.ndarray | Iterable[np.ndarray], k: int | None = None) -> float:
        """Return the fraction of variance that the first `k` components leave unexplained in ``x [rows, features]``.

        As for autoencoders, squared error over the squared distance of the rows from their own mean. What does not fit
        into memory comes in parts.
        """
        error, variation, n_rows, mean = 0.0, 0.0, 0, np.zeros(len(self.mean))
        for part in _parts(x):
            left = part - self.mean - self.codes(part)[:, :k] @ self.synthesis[:k]
            error += float((left**2).sum())
            own = part.mean(0)
            step, total = own - mean, n_rows + len(part)
            variation += (
                float(((part - own) ** 2).sum()) + float((step**2).sum()) * n_rows * len(part) / total
            )
            mean, n_rows = mean + step * len(part) / total, total
        return error / variation if variation > 0 else float("nan")


def fit_pca(train: np.ndarray | Iterable[np.ndarray]) -> Components:
    """Return all principal components of ``train [rows, features]``, largest variance first.

    Rows are taken as they are: of all linear codes of k numbers, the first k then have the lowest error in raw units.
    What does not fit into memory comes in parts.
    """
    tally = MomentTally()
    for part in _parts(train):
        tally.add(part)
    found = tally.moments()
    if found.n_rows < 2:
        raise InputError(f"components need 2 rows or more to learn from, got {found.n_rows}")
    values, axes = np.linalg.eigh(found.covariance)
    lively = values > 1e-12 * max(values[-1], 0)
    axes = axes[:, lively][:, ::-1]
    return Components(found.mean, axes, axes.T)


def fit_ica(train: np.ndarray, n_components: int, *, seed: int = 0) -> Components:
    """Return independent components (FastICA, Hyvärinen & Oja 2000) of ``train [rows, features]``.

    There are no more than the rows have directions. Where the iteration does not settle, what it came to is returned.
    """
    import warnings

    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    train = _checked(train)
    n_components = min(n_components, fit_pca(train).analysis.shape[1])
    model = FastICA(
        n_components, whiten="unit-variance", max_iter=ICA_ITERATIONS, tol=1e-3, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train)
    return Components(model.mean_, model.components_.T, model.mixing_.T)


def random_topk(
    x: np.ndarray, n_latents: int, k: int, *, mean: np.ndarray, scale: np.ndarray, seed: int
) -> np.ndarray:
    """Return codes [rows, n_latents] of a random projection: the k largest positive values of each row, else 0.

    Parameters
    ----------
    x : [rows, features]
    n_latents, k
        Width of the code, and how many entries of a row are kept.
    mean, scale : [features]
        Of the training rows: rows are standardised before they are projected.
    seed
        Seed of the Gaussian projection.
    """
    x = (np.asarray(x, dtype=np.float64) - mean) / np.where(scale > 0, scale, 1.0)
    rng = np.random.default_rng(seed)
    z = np.maximum(x @ (rng.standard_normal((x.shape[1], n_latents)) / np.sqrt(x.shape[1])), 0)
    if not 1 <= k <= n_latents:
        raise InputError(f"k must be from 1 to n_latents = {n_latents}, got {k}")
    smaller = np.argpartition(z, n_latents - k, axis=1)[:, : n_latents - k]
    np.put_along_axis(z, smaller, 0.0, axis=1)
    return z


def untrained(
    config: SAEConfig, train: np.ndarray | Iterable[np.ndarray], *, seed: int, normalise: str = "auto"
) -> SparseAutoencoder:
    """Return an autoencoder as it is drawn, which reads rows as one trained on ``train [rows, features]`` does.

    Parameters
    ----------
    config
        Its architecture.
    train : [rows, features], or an iterable of such
        What the normalisation is estimated on.
    seed
        Of its weights.
    normalise
        As in :class:`otoscope.saes.TrainingOptions`: folded into the weights, as training does.
    """
    import torch

    from otoscope.saes.base import build_sae
    from otoscope.saes.training.normalise import can_fold, fit_normalisers, fold, with_decoder_bias

    parts = _parts(train)
    first = next(parts)
    if normalise == "none" or (normalise == "auto" and not can_fold(config)):
        return build_sae(config, first.shape[1], seed=seed).eval()
    drawn = build_sae(with_decoder_bias(config), first.shape[1], seed=seed)

    def blocks() -> Iterator[Block]:
        for part in chain([first], parts):
            yield {0: torch.from_numpy(part)}

    return fold(drawn, fit_normalisers(normalise, blocks())[0])


def permuted(x: np.ndarray, *, seed: int) -> np.ndarray:
    """Return ``x [rows, features]`` with each dimension's values in an order of its own.

    Every dimension keeps its distribution; what dimensions had in common is gone.
    """
    x = np.asarray(x)
    rng = np.random.default_rng(seed)
    return rng.permuted(x, axis=0)


def _parts(x: np.ndarray | Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield an array, or the parts of one, in double precision."""
    for part in [x] if isinstance(x, np.ndarray) else x:
        whole = np.asarray(part, dtype=np.float64)
        if whole.ndim != 2:
            raise InputError(f"expected rows x features, got an array of shape {whole.shape}")
        yield whole


def _checked(train: np.ndarray) -> np.ndarray:
    train = np.asarray(train, dtype=np.float64)
    if train.ndim != 2 or len(train) < 2:
        raise InputError(f"components need 2 rows or more to learn from, got an array of shape {train.shape}")
    return train
