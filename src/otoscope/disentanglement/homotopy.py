"""The Lasso's path, followed exactly: from one penalty at which a coefficient appears or vanishes to the next.

Between two such events the solution is linear in the penalty (Osborne, Presnell & Turlach 2000; Efron et al. 2004),
so the path costs a triangular system per event, however correlated the columns are, where coordinate descent creeps
at weak penalties. At every penalty asked for, the coefficients are solved for anew, and the duality gap says whether
they are the solution; should they not be (ties that exact arithmetic alone can part), coordinate descent takes
over. Compiled by numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from otoscope.disentanglement.coordinate_descent import duality_gap, solve

_DEPENDENT = 1e-10  # of a column's variance: what others leave of it, where it depends on them
_FAST = {"reassoc", "contract", "arcp", "nsz"}  # all but the promise that nothing is infinite


@njit(cache=True, nogil=True)
def follow(gram, xy, yy, alphas, tol, max_sweeps, state, coefs):  # pragma: no cover (compiled)
    """Write the coefficients at each of the decreasing `alphas` to `coefs`, from `state`, which moves along.

    The state is that of `coordinate_descent.start`, or what an earlier call left at a stronger penalty.
    """
    w, gradient, in_set = state
    p = len(w)
    active = np.empty(p, dtype=np.int64)
    signs = np.empty(p)
    factor = np.empty((32, 32))
    n = 0
    following = True
    for j in range(p):
        in_set[j] = False
    for j in range(p):
        if w[j] != 0.0:
            n, factor = _join(gram, active, signs, factor, n, in_set, j, np.sign(w[j]))
            following = following and in_set[j]
    for a in range(len(alphas)):
        if following:
            n, factor = _advance(gram, w, gradient, in_set, active, signs, factor, n, alphas[a])
            following = n >= 0
        if following:
            _settle(gram, xy, w, gradient, active, signs, factor, n, alphas[a])
            gap, primal = duality_gap(w, gradient, xy, yy, active, n, alphas[a])
            following = gap <= tol * primal
        if not following:
            for j in range(p):
                in_set[j] = w[j] != 0.0
            solve(gram, xy, yy, alphas[a], tol, max_sweeps, state)
        for j in range(p):
            coefs[a, j] = w[j]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _advance(gram, w, gradient, in_set, active, signs, factor, n, goal):  # pragma: no cover (compiled)
    """Move the state down to the penalty `goal`; return the size of the active set, -1 where the way was lost."""
    p = len(w)
    alpha = 0.0
    for j in range(p):
        alpha = max(alpha, abs(gradient[j]))
    slopes = np.empty(p)
    halfway, solved = np.empty(p), 0  # factor @ halfway = signs, as far as it was solved for this factor
    step = np.empty(p)
    skipped = np.zeros(p, dtype=np.bool_)  # depends on the active ones
    left = -1  # who left last: the next event is not its return
    for _ in range(10 * p + 100):
        if alpha <= goal:
            return n, factor
        for i in range(solved, n):
            halfway[i] = signs[i]
        _solve_forwards(factor, solved, n, halfway)
        solved = n
        for i in range(n):
            step[i] = halfway[i]
        _solve_backwards(factor, n, step)
        _combine(gram, active, n, step, slopes)
        length = alpha - goal
        joins = leaves = -1
        for i in range(n):
            if w[active[i]] * step[i] < 0.0:
                reach = -w[active[i]] / step[i]
            elif w[active[i]] == 0.0 and step[i] * signs[i] <= 0.0:
                reach = 0.0
            else:
                continue
            if reach < length:
                length = reach
                leaves = i
        for j in range(p):
            if in_set[j] or skipped[j] or j == left or gram[j, j] == 0.0:
                continue
            if slopes[j] < 1.0:
                reach = max((alpha - gradient[j]) / (1.0 - slopes[j]), 0.0)
                if reach < length:
                    length = reach
                    joins = j
            if slopes[j] > -1.0:
                reach = max((alpha + gradient[j]) / (1.0 + slopes[j]), 0.0)
                if reach < length:
                    length = reach
                    joins = j
        for i in range(n):
            w[active[i]] += length * step[i]
        for j in range(p):
            gradient[j] -= length * slopes[j]
        alpha -= length
        left = -1
        if joins >= 0:
            n, factor = _join(gram, active, signs, factor, n, in_set, joins, np.sign(gradient[joins]))
            skipped[joins] = not in_set[joins]
        elif leaves >= 0:
            left = active[leaves]
            w[left] = 0.0
            in_set[left] = False
            _leave(active, signs, factor, n, leaves)
            n -= 1
            solved = leaves
            for j in range(p):
                skipped[j] = False
        else:
            return n, factor
    return -1, factor


@njit(cache=True, nogil=True)
def _settle(gram, xy, w, gradient, active, signs, factor, n, alpha):  # pragma: no cover (compiled)
    """Solve for the active coefficients, so that rounding does not add up along the path."""
    values = np.empty(n)
    for i in range(n):
        values[i] = xy[active[i]] - alpha * signs[i]
    _solve_forwards(factor, 0, n, values)
    _solve_backwards(factor, n, values)
    for i in range(n):
        w[active[i]] = values[i]
    _combine(gram, active, n, values, gradient)
    for j in range(len(gradient)):
        gradient[j] = xy[j] - gradient[j]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _combine(gram, active, n, values, out):  # pragma: no cover (compiled)
    """Write ``gram @ values`` of the active coordinates to `out`; four at once, so that `out` is gone through less."""
    for j in range(len(out)):
        out[j] = 0.0
    fours = n - n % 4
    for i in range(0, fours, 4):
        a, b, c, d = values[i], values[i + 1], values[i + 2], values[i + 3]
        one, two, three, four = gram[active[i]], gram[active[i + 1]], gram[active[i + 2]], gram[active[i + 3]]
        for j in range(len(out)):
            out[j] += a * one[j] + b * two[j] + c * three[j] + d * four[j]
    for i in range(fours, n):
        value = values[i]
        row = gram[active[i]]
        for j in range(len(out)):
            out[j] += value * row[j]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _solve_forwards(factor, solved, n, values):  # pragma: no cover (compiled)
    """Replace `values` by the solution of ``factor x = values``; the first `solved` of them are it already."""
    for i in range(solved, n):
        row = factor[i]
        total = values[i]
        for k in range(i):
            total -= row[k] * values[k]
        values[i] = total / row[i]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _solve_backwards(factor, n, values):  # pragma: no cover (compiled)
    """Replace `values` by the solution of ``factor' x = values``."""
    for i in range(n - 1, -1, -1):
        row = factor[i]
        value = values[i] / row[i]
        values[i] = value
        for k in range(i):
            values[k] -= row[k] * value


@njit(cache=True, nogil=True, fastmath=_FAST)
def _join(gram, active, signs, factor, n, in_set, j, sign):  # pragma: no cover (compiled)
    """Append a column to the Cholesky factor, unless it depends on those there; return the size and the factor."""
    if n == len(factor):
        larger = np.empty((2 * n, 2 * n))
        for i in range(n):
            for k in range(n):
                larger[i, k] = factor[i, k]
        factor = larger
    last = factor[n]
    pivot = gram[j, j]
    for i in range(n):
        row = factor[i]
        total = gram[j, active[i]]
        for k in range(i):
            total -= row[k] * last[k]
        last[i] = total / row[i]
        pivot -= last[i] * last[i]
    if pivot <= _DEPENDENT * gram[j, j]:
        return n, factor
    last[n] = np.sqrt(pivot)
    active[n] = j
    signs[n] = sign
    in_set[j] = True
    return n + 1, factor


@njit(cache=True, nogil=True)
def _leave(active, signs, factor, n, place):  # pragma: no cover (compiled)
    """Take a column out of the Cholesky factor, by rotations of those below it."""
    for i in range(place, n - 1):
        active[i] = active[i + 1]
        signs[i] = signs[i + 1]
        for k in range(i + 2):
            factor[i, k] = factor[i + 1, k]
    for i in range(place, n - 1):
        radius = np.sqrt(factor[i, i] ** 2 + factor[i, i + 1] ** 2)
        cosine = factor[i, i] / radius
        sine = factor[i, i + 1] / radius
        factor[i, i] = radius
        for row in range(i + 1, n - 1):
            first = factor[row, i]
            second = factor[row, i + 1]
            factor[row, i] = cosine * first + sine * second
            factor[row, i + 1] = cosine * second - sine * first
