"""Sums of products from which any training set's Gram matrix is a difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CONSTANT = 1e-9  # variance, of columns scaled to 1, below which a column is constant


@dataclass(frozen=True)
class Moments:
    """Sums over rows that add and subtract: the rest of the rows is the whole less a part."""

    n: np.ndarray  # [classes]
    x: np.ndarray  # [classes, features]
    y: np.ndarray  # [classes, factors]
    xx: np.ndarray  # [features, features]
    yx: np.ndarray  # [factors, features]
    yy: np.ndarray  # [factors]

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, classes: np.ndarray, n_classes: int | None = None) -> Moments:
        member = (classes[:, None] == np.arange(n_classes or classes.max() + 1)).astype(np.float64)
        return cls(member.sum(axis=0), member.T @ x, member.T @ y, x.T @ x, y.T @ x, (y**2).sum(axis=0))

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*(getattr(self, name) - getattr(other, name) for name in _FIELDS))

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each class's means [classes, features], [classes, factors]; the grand mean where it has no rows."""
        there, n = self.n[:, None] > 0, np.maximum(self.n, 1.0)[:, None]
        x, y = (np.where(there, sums / n, sums.sum(axis=0) / self.n.sum()) for sums in (self.x, self.y))
        return x, y

    def standardised(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return Gram [p, p] and correlations [p, factors] of rows centred by class and scaled; 1 / std of both."""
        n = self.n.sum()
        means_x, means_y = self.means()
        gram = (self.xx - means_x.T @ self.x) / n
        inverse_x = _inverse_std(np.diag(gram))
        gram *= inverse_x
        gram *= inverse_x[:, None]
        inverse_y = _inverse_std((self.yy - (means_y * self.y).sum(axis=0)) / n)
        correlation = (self.yx - means_y.T @ self.x) / n * inverse_x * inverse_y[:, None]
        return np.ascontiguousarray(gram), np.ascontiguousarray(correlation), inverse_x, inverse_y


_FIELDS = ("n", "x", "y", "xx", "yx", "yy")


def _inverse_std(variance: np.ndarray) -> np.ndarray:
    """Return 1 / std, and 0 for a constant column: it then predicts nothing."""
    alive = variance > _CONSTANT
    return np.where(alive, 1 / np.sqrt(np.where(alive, variance, 1.0)), 0.0)
