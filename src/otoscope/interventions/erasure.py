"""Erasers of a label: changes of rows, affine and in closed form. `otoscope.interventions.concepts` judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from otoscope.errors import InputError


@dataclass(frozen=True)
class Eraser:
    """An affine change of rows: ``x - (x - mean) @ remove.T``.

    Attributes
    ----------
    mean : np.ndarray [width]
    remove : np.ndarray [width, width]
        The projection, oblique for LEACE, of what is taken away.
    """

    mean: np.ndarray
    remove: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return ``x [..., width]`` without the label, float64."""
        x = np.asarray(x, dtype=np.float64)
        return x - (x - self.mean) @ self.remove.T

    def edit(self, state: torch.Tensor) -> torch.Tensor:
        """Return a state [clips, tokens, width] without the label: an edit of a layer."""
        mean, remove = torch.as_tensor(self.mean).to(state), torch.as_tensor(self.remove).to(state)
        return state - (state - mean) @ remove.T


def leace(x: np.ndarray, labels: Sequence | np.ndarray) -> Eraser:
    """Fit least-squares concept erasure: no linear classifier can do better than a constant, and least is changed.

    Parameters
    ----------
    x : np.ndarray [rows, width]
    labels : sequence [rows]
        Classes, or numbers as [rows, numbers].

    Notes
    -----
    ``r(x) = x - W^+ P W (x - E[x])`` with ``W = (Cov[x]^(1/2))^+`` and P the orthogonal projection on the column space
    of ``W Cov[x, z]``, z one-hot (Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form",
    theorem 4.3). Of all affine changes that make ``Cov[r(x), z] = 0`` it has the least mean squared change.
    """
    x, z = np.asarray(x, dtype=np.float64), one_hot(labels)
    _check(x, z)
    mean = x.mean(0)
    centred, sides = x - mean, z - z.mean(0)
    values, axes = np.linalg.eigh(centred.T @ centred / len(x))
    alive = values > 1e-12 * max(float(values[-1]), 1e-300)
    roots, axes = np.sqrt(values[alive]), axes[:, alive]
    whitened = (axes / roots).T @ (centred.T @ sides / len(x))  # in the coordinates of the axes
    left, sizes, _ = np.linalg.svd(whitened, full_matrices=False)
    span = left[:, sizes > 1e-10 * max(float(sizes[0]), 1e-300)]
    return Eraser(mean, (axes * roots) @ span @ span.T @ (axes / roots).T)


def mean_projection(x: np.ndarray, labels: Sequence | np.ndarray) -> Eraser:
    """Fit the orthogonal projection that takes out the span of the differences between class means."""
    x, z = np.asarray(x, dtype=np.float64), one_hot(labels)
    _check(x, z)
    mean = x.mean(0)
    cross = (x - mean).T @ (z - z.mean(0)) / len(x)
    left, sizes, _ = np.linalg.svd(cross, full_matrices=False)
    span = left[:, sizes > 1e-10 * max(float(sizes[0]), 1e-300)]
    return Eraser(mean, span @ span.T)


def random_projection(x: np.ndarray, n_directions: int, *, seed: int) -> Eraser:
    """Return the projection that takes out as many random directions: what erasing anything would do."""
    x = np.asarray(x, dtype=np.float64)
    drawn = np.random.default_rng(seed).standard_normal((x.shape[1], n_directions))
    span = np.linalg.qr(drawn)[0]
    return Eraser(x.mean(0), span @ span.T)


def one_hot(labels: Sequence | np.ndarray) -> np.ndarray:
    """Return classes as [rows, classes] of 0 and 1; what is [rows, numbers] already stays."""
    labels = np.asarray(labels)
    if labels.ndim == 2:
        return labels.astype(np.float64)
    classes, index = np.unique(labels, return_inverse=True)
    return np.eye(len(classes))[index]


def _check(x: np.ndarray, z: np.ndarray) -> None:
    if x.ndim != 2 or len(x) != len(z) or len(x) < 2:
        raise InputError(f"expected rows [rows, width] with a label each; got {x.shape} and {len(z)} labels")
    if not (z != z[0]).any():
        raise InputError("all rows have the same label: there is nothing to erase")
