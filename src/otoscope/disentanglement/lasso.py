"""Many Lasso fits on one set of features: every factor, every penalty, from one Gram matrix.

Minimises, for each target y, scikit-learn's objective ``||y - X w||^2 / (2 n) + alpha ||w||_1`` by coordinate
descent on the Gram matrix (Friedman, Hastie & Tibshirani 2010, "covariance updates"), over a working set that
grows by the coordinates that violate the optimality conditions, along a decreasing path of penalties, until
the duality gap is below `tol` of the objective. The Gram matrix is made once and shared by all factors,
penalties and threads, and folds of a cross-validation are differences of Gram matrices: this is where the
time is won over one solver call per factor (``benchmarks/lasso.py``). Compiled by numba, which librosa brings
along.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from otoscope.compute import cpu_count, thread_map
from otoscope.errors import InputError

TOL = 1e-7
MAX_SWEEPS = 10_000


def lasso_path(
    x: np.ndarray,
    y: np.ndarray,
    alphas: np.ndarray,
    *,
    tol: float = TOL,
    max_sweeps: int = MAX_SWEEPS,
    workers: int | None = None,
) -> np.ndarray:
    """Fit every target at every penalty; no intercept (centre `x` and `y` first).

    Parameters
    ----------
    x : np.ndarray [rows, features]
    y : np.ndarray [rows, targets]
    alphas : np.ndarray [penalties] or [targets, penalties]
        Above 0, shared by the targets or each its own. Results come in the order given; they are computed
        from the largest to the smallest.
    tol : float
        Stop when the duality gap is below this fraction of the objective.
    max_sweeps : int
        Give up on a (target, penalty) after so many passes over its working set.
    workers : int, optional
        Threads; default: as many as there are cores.

    Returns
    -------
    np.ndarray [targets, penalties, features], float64

    Raises
    ------
    InputError
        If shapes do not match or a penalty is not above 0.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise InputError(f"expected x [rows, features] and y [rows, targets]; got {x.shape} and {y.shape}")
    n = len(x)
    return lasso_gram(
        x.T @ x / n, y.T @ x / n, (y**2).mean(axis=0), alphas, tol=tol, max_sweeps=max_sweeps, workers=workers
    )


def lasso_gram(
    gram: np.ndarray,
    xy: np.ndarray,
    yy: np.ndarray,
    alphas: np.ndarray,
    *,
    tol: float = TOL,
    max_sweeps: int = MAX_SWEEPS,
    workers: int | None = None,
) -> np.ndarray:
    """As `lasso_path`, from ``X'X/n [features, features]``, ``Y'X/n [targets, features]``, ``diag(Y'Y)/n``."""
    alphas = np.asarray(alphas, dtype=np.float64)
    if alphas.size == 0 or not (alphas > 0).all():
        raise InputError(f"Lasso penalties must be above 0; got {alphas}")
    alphas = np.broadcast_to(alphas, (len(xy), alphas.shape[-1]))
    order = np.argsort(-alphas, axis=1, kind="stable")
    gram = np.ascontiguousarray(gram, dtype=np.float64)
    xy = np.ascontiguousarray(xy, dtype=np.float64)
    coefs = np.zeros((*alphas.shape, len(gram)))

    def fit(target: int) -> None:
        down = order[target]
        coefs[target, down] = _path(
            gram, xy[target], float(yy[target]), alphas[target, down], tol, max_sweeps
        )

    for _ in thread_map(fit, range(len(xy)), workers=workers or cpu_count()):
        pass
    return coefs


@njit(cache=True, nogil=True, fastmath=True)
def _path(gram, xy, yy, alphas, tol, max_sweeps):  # pragma: no cover (compiled)
    """Return [penalties, features] for one target, penalties decreasing."""
    p = gram.shape[0]
    coefs = np.zeros((len(alphas), p))
    w = np.zeros(p)
    gradient = xy.copy()  # X'(y - X w)/n
    in_set = np.zeros(p, dtype=np.bool_)
    members = np.empty(p, dtype=np.int64)
    size = 0
    sub = np.empty((64, 64))
    for a in range(len(alphas)):
        alpha = alphas[a]
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
            gap, primal = _gap(w, gradient, xy, yy, members, size, alpha)
            if gap <= tol * primal or sweeps >= max_sweeps:
                break
            before = size
            size = _grow(gram, gradient, w, in_set, members, size, alpha)
            inner_tol *= 0.3 if size > before else 0.03
            if inner_tol < 1e-18:
                break
        for j in range(p):
            coefs[a, j] = w[j]
    return coefs


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
def _gap(w, gradient, xy, yy, members, size, alpha):  # pragma: no cover (compiled)
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
