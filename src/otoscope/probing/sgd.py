"""Train one linear layer by Adam, compiled: what a framework spends on small steps is mostly bookkeeping.

A step of a 10-class probe on 32 rows of 768 numbers is half a million multiplications: some 70 microseconds here,
ten times that in a training loop of PyTorch (``benchmarks/probes.py``), whose update this follows (Kingma & Ba 2015,
alg. 1). Compiled by numba, which librosa brings along.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

SOFTMAX, SIGMOID, IDENTITY = 0, 1, 2
"""What follows the layer, and so the loss: mean cross-entropy, mean binary cross-entropy, mean squared error."""


@dataclass
class LinearLayer:
    """Weights [outputs, features] and bias [outputs] in training, float32, with Adam's moments."""

    weights: np.ndarray
    bias: np.ndarray
    moments: tuple[np.ndarray, ...] = field(init=False)
    steps: int = 0

    def __post_init__(self) -> None:
        """Start the moments at zero."""
        shapes = (self.weights, self.weights, self.bias, self.bias)
        self.moments = tuple(np.zeros_like(values) for values in shapes)

    @classmethod
    def draw(cls, n_features: int, n_outputs: int, *, seed: int) -> LinearLayer:
        """Draw as PyTorch's `Linear` does: uniform within 1 / sqrt(features)."""
        rng = np.random.default_rng(seed)
        bound = 1 / np.sqrt(n_features)
        weights = rng.uniform(-bound, bound, (n_outputs, n_features))
        return cls(weights.astype(np.float32), rng.uniform(-bound, bound, n_outputs).astype(np.float32))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs [rows, outputs] before softmax or sigmoid."""
        return x @ self.weights.T + self.bias

    def train_epoch(
        self, x: np.ndarray, y: np.ndarray, order: np.ndarray, *, head: int, lr: float, batch_size: int
    ) -> None:
        """Take a step per batch of `order` (row numbers); x [rows, features] and y [rows, outputs] are float32."""
        state = (self.weights, self.bias, *self.moments, self.steps)
        self.steps = _train_epoch(x, y, order, state, head, lr, batch_size)


def loss(outputs: np.ndarray, y: np.ndarray, head: int) -> float:
    """Return the loss of outputs [rows, outputs] that `LinearLayer.train_epoch` lowers."""
    if head == SOFTMAX:
        top = outputs.max(axis=1, keepdims=True)
        log_norm = top[:, 0] + np.log(np.exp(outputs - top).sum(axis=1))
        return float((log_norm - (outputs * y).sum(axis=1)).mean())
    if head == SIGMOID:
        return float((np.logaddexp(0, outputs) - outputs * y).mean())
    return float(((outputs - y) ** 2).mean())


_BETA1, _BETA2, _EPS = np.float32(0.9), np.float32(0.999), np.float32(1e-8)


@njit(cache=True, nogil=True, fastmath=True)
def _train_epoch(x, y, order, state, head, lr, batch_size):  # pragma: no cover (compiled)
    """Return how many steps were made in all, once every row of `order` was used."""
    weights, bias, mean_w, square_w, mean_b, square_b, steps = state
    n_outputs, n_features = weights.shape
    error = np.empty((batch_size, n_outputs), np.float32)
    slope = np.empty(n_features, np.float32)
    one = np.float32(1)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        _forward(x, rows, weights, bias, error)
        _to_error(error, y, rows, head)
        steps += 1
        rate = np.float32(lr / (1 - 0.9**steps))
        root = np.float32(1 / np.sqrt(1 - 0.999**steps))
        for k in range(n_outputs):
            slope_b = _slope(x, rows, error, k, slope)
            weight, mean, square = weights[k], mean_w[k], square_w[k]
            for d in range(n_features):
                g = slope[d]
                m = _BETA1 * mean[d] + (one - _BETA1) * g
                s = _BETA2 * square[d] + (one - _BETA2) * g * g
                mean[d] = m
                square[d] = s
                weight[d] -= rate * m / (np.sqrt(s) * root + _EPS)
            mean_b[k] = _BETA1 * mean_b[k] + (one - _BETA1) * slope_b
            square_b[k] = _BETA2 * square_b[k] + (one - _BETA2) * slope_b * slope_b
            bias[k] -= rate * mean_b[k] / (np.sqrt(square_b[k]) * root + _EPS)
    return steps


@njit(cache=True, nogil=True, fastmath=True)
def _forward(x, rows, weights, bias, outputs):  # pragma: no cover (compiled)
    """Fill the outputs of a batch; four rows at a time, so that a weight is read once for four products."""
    n_outputs, n_features = weights.shape
    whole = len(rows) - len(rows) % 4
    for i in range(0, whole, 4):
        a, b, c, e = x[rows[i]], x[rows[i + 1]], x[rows[i + 2]], x[rows[i + 3]]
        for k in range(n_outputs):
            weight = weights[k]
            total_a, total_b, total_c, total_e = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for d in range(n_features):
                w = weight[d]
                total_a += w * a[d]
                total_b += w * b[d]
                total_c += w * c[d]
                total_e += w * e[d]
            outputs[i, k] = total_a + bias[k]
            outputs[i + 1, k] = total_b + bias[k]
            outputs[i + 2, k] = total_c + bias[k]
            outputs[i + 3, k] = total_e + bias[k]
    for i in range(whole, len(rows)):
        a = x[rows[i]]
        for k in range(n_outputs):
            weight = weights[k]
            total_a = np.float32(0)
            for d in range(n_features):
                total_a += weight[d] * a[d]
            outputs[i, k] = total_a + bias[k]


@njit(cache=True, nogil=True, fastmath=True)
def _slope(x, rows, error, k, slope):  # pragma: no cover (compiled)
    """Fill the slope of the loss by the weights of output k, four rows at a time; return that by its bias."""
    n_features = len(slope)
    whole = len(rows) - len(rows) % 4
    slope_b = np.float32(0)
    for d in range(n_features):
        slope[d] = 0
    for i in range(0, whole, 4):
        a, b, c, e = x[rows[i]], x[rows[i + 1]], x[rows[i + 2]], x[rows[i + 3]]
        error_a, error_b, error_c, error_e = error[i, k], error[i + 1, k], error[i + 2, k], error[i + 3, k]
        slope_b += error_a + error_b + error_c + error_e
        for d in range(n_features):
            slope[d] += error_a * a[d] + error_b * b[d] + error_c * c[d] + error_e * e[d]
    for i in range(whole, len(rows)):
        a, error_a = x[rows[i]], error[i, k]
        slope_b += error_a
        for d in range(n_features):
            slope[d] += error_a * a[d]
    return slope_b


@njit(cache=True, nogil=True)
def _to_error(outputs, y, rows, head):  # pragma: no cover (compiled)
    """Turn the outputs of a batch into the slope of its loss by them, in place."""
    n, n_outputs = len(rows), outputs.shape[1]
    for i in range(n):
        truth = y[rows[i]]
        if head == SOFTMAX:
            top = outputs[i, 0]
            for k in range(1, n_outputs):
                top = max(top, outputs[i, k])
            total = np.float32(0)
            for k in range(n_outputs):
                outputs[i, k] = np.exp(outputs[i, k] - top)
                total += outputs[i, k]
            for k in range(n_outputs):
                outputs[i, k] = (outputs[i, k] / total - truth[k]) / n
        elif head == SIGMOID:
            for k in range(n_outputs):
                outputs[i, k] = (1 / (1 + np.exp(-outputs[i, k])) - truth[k]) / (n * n_outputs)
        else:
            for k in range(n_outputs):
                outputs[i, k] = 2 * (outputs[i, k] - truth[k]) / (n * n_outputs)
