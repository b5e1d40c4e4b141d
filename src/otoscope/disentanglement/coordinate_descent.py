"""The Lasso's solver: coordinate descent on the Gram matrix over a growing working set, compiled.

"Covariance updates" of Friedman, Hastie & Tibshirani (2010). The working set grows by the coordinates that violate the
optimality conditions most, until the duality gap is below a fraction of the objective; it is kept from one
penalty of a path to the next. Compiled by numba, which librosa brings along.
"""

from __future__ import annotations

import numpy as np
from numba import njit

State = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Coefficients, their gradient ``X'(y - X w)/n``, and who is in the working set: each [features]."""


def start(xy: np.ndarray) -> State:
    """Return the state of all coefficients at zero, for correlations ``xy [features]``."""
    return np.zeros(len(xy)), xy.copy(), np.zeros(len(xy), dtype=np.bool_)


@njit(cache=True, nogil=True, fastmath=True)
def solve(gram, xy, yy, alpha, tol, max_sweeps, state):  # pragma: no cover (compiled)
    """Move the state (coefficients, gradient, working set) to the solution at `alpha`."""
    w, gradient, in_set = state
    p = gram.shape[0]
    members = np.empty(p, dtype=np.int64)
    size = 0
    for j in range(p):
        if in_set[j]:
            members[size] = j
            size += 1
    sub = np.empty((64, 64))
    inner_tol = 1e-3
    sweeps = 0
    size = _grow(gram, gradient, w, in_set, members, size, alpha)
    while True:
        if size > sub.shape[0]:
            sub = np.empty((2 * size, 2 * size))
        for i in range(size):
            row = gram[members[i]]
            for k in range(size):
                sub[i, k] = row[members[k]]
        sweeps += _descend(sub, members, size, w, gradient, alpha, inner_tol * yy, max_sweeps - sweeps)
        for j in range(p):
            gradient[j] = xy[j]
        for i in range(size):
            value = w[members[i]]
            if value != 0.0:
                row = gram[members[i]]
                for j in range(p):
                    gradient[j] -= value * row[j]
        gap, primal = duality_gap(w, gradient, xy, yy, members, size, alpha)
        if gap <= tol * primal or sweeps >= max_sweeps:
            break
        before = size
        size = _grow(gram, gradient, w, in_set, members, size, alpha)
        inner_tol *= 0.3 if size > before else 0.03
        if inner_tol < 1e-18:
            break


@njit(cache=True, nogil=True, fastmath=True)
def _grow(gram, gradient, w, in_set, members, size, alpha):  # pragma: no cover (compiled)
    """Keep what is active, add the worst violators of ``|gradient| <= alpha``, at most as many; return the size."""
    p = len(w)
    kept = 0
    for i in range(size):
        if w[members[i]] != 0.0:
            members[kept] = members[i]
            kept += 1
        else:
            in_set[members[i]] = False
    worst = 0.0
    for j in range(p):
        if not in_set[j] and gram[j, j] > 0.0:
            worst = max(worst, abs(gradient[j]))
    room = max(16, kept)
    threshold = alpha
    for _ in range(20):  # no more: where many columns are equal, no threshold parts them
        count = 0
        for j in range(p):
            if not in_set[j] and gram[j, j] > 0.0 and abs(gradient[j]) > threshold:
                count += 1
        if count <= room:
            break
        threshold += 0.25 * (worst - threshold)
    for j in range(p):
        if not in_set[j] and gram[j, j] > 0.0 and abs(gradient[j]) > threshold:
            in_set[j] = True
            members[kept] = j
            kept += 1
    return kept


@njit(cache=True, nogil=True, fastmath=True)
def _descend(sub, members, size, w, gradient, alpha, tol, max_sweeps):  # pragma: no cover (compiled)
    """Sweep over the working set until no step lowers the objective by more than `tol`; return the sweeps made."""
    local = np.empty(size)
    weights = np.empty(size)
    for i in range(size):
        local[i] = gradient[members[i]]
        weights[i] = w[members[i]]
    sweeps = 0
    while sweeps < max_sweeps:
        sweeps += 1
        largest = 0.0
        for i in range(size):
            curvature = sub[i, i]
            target = local[i] + curvature * weights[i]
            if target > alpha:
                new = (target - alpha) / curvature
            elif target < -alpha:
                new = (target + alpha) / curvature
            else:
                new = 0.0
            step = new - weights[i]
            if step != 0.0:
                weights[i] = new
                row = sub[i]
                for k in range(size):
                    local[k] -= step * row[k]
                largest = max(largest, step * step * curvature)
        if largest <= tol:
            break
    for i in range(size):
        w[members[i]] = weights[i]
    return sweeps


@njit(cache=True, nogil=True)
def duality_gap(w, gradient, xy, yy, members, size, alpha):  # pragma: no cover (compiled)
    """Return the duality gap and the objective (both over n); see Massias et al. 2018, eq. 4-6."""
    w_xy = 0.0
    w_gradient = 0.0
    norm = 0.0
    for i in range(size):
        j = members[i]
        w_xy += w[j] * xy[j]
        w_gradient += w[j] * gradient[j]
        norm += abs(w[j])
    residual_y = yy - w_xy
    residual = max(residual_y - w_gradient, 0.0)  # ||y - X w||^2 / n
    steepest = 0.0
    for j in range(len(gradient)):
        steepest = max(steepest, abs(gradient[j]))
    scale = min(1.0, alpha / steepest) if steepest > 0.0 else 1.0
    primal = 0.5 * residual + alpha * norm
    return primal - (scale * residual_y - 0.5 * scale * scale * residual), primal
