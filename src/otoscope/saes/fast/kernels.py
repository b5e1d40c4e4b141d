"""Sparse codes on a CPU, compiled: select, decode, and update each latent while its weights are in the cache.

A code with k of N latents active needs k / N of the multiplications of a dense product in the decoder, in its
gradient and in the encoder's gradient; and Adam reads and writes every weight and moment, whatever the gradient.
:func:`update` therefore goes through the latents once: it sums a latent's gradients, applies Adam, and goes on, so
that no gradient travels to memory. Compiled by numba, which librosa brings along.

All kernels see a stack of S autoencoders on B rows as one matrix: row ``s * B + b``, column ``s * N + n``. They do
a part of it, from `first` to `last`, so that several cores may share one step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

BLOCK_ROWS = 512
"""Rows whose errors and inputs are kept in a core's cache while gradients are summed."""

_compiled = njit(
    cache=True,
    nogil=True,
    error_model="numpy",  # a check for division by zero would keep loops from being vectorised
    fastmath={"reassoc", "contract", "nsz"},
)


class Active(NamedTuple):
    """The active entries of codes ``[rows, columns]``: those of row i are ``starts[i]:stops[i]``."""

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    """[rows + 1]: where there is room for each row's entries."""
    stops: np.ndarray
    """[rows]"""


class Weights(NamedTuple):
    """A matrix ``[columns, width]`` in training and Adam's running means of its gradient and of that squared."""

    value: np.ndarray
    mean: np.ndarray
    square: np.ndarray


class AdamRates(NamedTuple):
    """The scalars of Adam at one step, in the weights' precision."""

    keep_mean: np.floating
    add_mean: np.floating
    keep_square: np.floating
    add_square: np.floating
    step: np.floating
    """Learning rate over the mean's bias correction."""
    root: np.floating
    """Inverse root of the square's bias correction."""
    eps: np.floating


@_compiled
def select_rows(pre, bits, n_rows, active, first, last):  # pragma: no cover (compiled)
    """Find the positive among the k largest entries of each row, k being the room that it has.

    `bits` is `pre` read as whole numbers (see `_limit`), `n_rows` are the rows of one member of the stack.
    """
    for i in range(first, last):
        k = active.starts[i + 1] - active.starts[i]
        limit, surplus = _limit(bits[i], k)
        offset = i // n_rows * pre.shape[1]
        active.stops[i], _ = _collect(pre[i], bits[i], offset, limit, surplus, active, active.starts[i])


@_compiled
def select_batch(pre, bits, offset, n_kept, active, first, last):  # pragma: no cover (compiled)
    """Find the positive among the `n_kept` largest entries of one member's rows, whose columns start at `offset`."""
    limit, surplus = _limit(bits[first:last].reshape(-1), n_kept)
    for i in range(first, last):
        stop, surplus = _collect(pre[i], bits[i], offset, limit, surplus, active, active.starts[i])
        active.stops[i] = stop
        active.starts[i + 1] = stop


@_compiled
def decode(active, decoder, bias, x, error, squares, first, last):  # pragma: no cover (compiled)
    """Fill ``error = codes @ decoder + bias - x`` and, for each row, the sum of its squares.

    A stack shares the rows of `x` where these are fewer; ``bias`` is [S, width].
    """
    width, n_rows = decoder.shape[1], len(error) // len(bias)
    for i in range(first, last):
        row, offset, known = error[i], bias[i // n_rows], x[i % len(x)]
        for d in range(width):
            row[d] = offset[d] - known[d]
        start, stop = active.starts[i], active.stops[i]
        fours = stop - (stop - start) % 4
        for s in range(start, fours, 4):
            values, columns = active.values[s : s + 4], active.columns[s : s + 4]
            v0, v1, v2, v3 = values[0], values[1], values[2], values[3]
            a0, a1, a2, a3 = (
                decoder[columns[0]],
                decoder[columns[1]],
                decoder[columns[2]],
                decoder[columns[3]],
            )
            for d in range(width):  # four at a time: a row of sums is read and written once for four products
                row[d] += v0 * a0[d] + v1 * a1[d] + v2 * a2[d] + v3 * a3[d]
        for s in range(fours, stop):
            value, atom = active.values[s], decoder[active.columns[s]]
            for d in range(width):
                row[d] += value * atom[d]
        squares[i] = _dot(row, row)


@_compiled
def count(active, n_columns):  # pragma: no cover (compiled)
    """Return in how many rows each column is active."""
    counts = np.zeros(n_columns, np.int64)
    for i in range(len(active.stops)):
        for s in range(active.starts[i], active.stops[i]):
            counts[active.columns[s]] += 1
    return counts


@_compiled
def update(  # pragma: no cover (compiled)
    active, error, x, encoder, decoder, rates, scale, flags, n_active, d_bias, d_input, first, last
):
    """Take the columns from `first` to `last` through a step of Adam on ``scale / 2 * error ** 2``.

    Fills, for these columns, in how many rows each is active (`n_active`) and the gradient by the encoder's bias
    (`d_bias`), and adds to ``d_input [S, width]`` that by what the encoder reads.

    Parameters
    ----------
    error, x : [S * B, width]
        Error of the reconstruction, and what the encoder read; a stack may share the latter, [B, width].
    encoder, decoder : Weights
        Both with a row per column of the codes.
    rates : AdamRates
    scale : scalar
    flags : (bool, bool)
        Whether the decoder's rows keep norm 1, their gradient tangent to the sphere (Gao et al. 2024, A.1); and
        whether `d_input` is wanted.
    """
    unit_norm, wants_d_input = flags
    n_members, width = d_input.shape
    n_rows, n_latents = len(error) // n_members, len(decoder.value) // n_members
    rows, values, starts = _by_column(active, first, last)
    done = starts[:-1].copy()
    n_blocks = (n_rows + BLOCK_ROWS - 1) // BLOCK_ROWS
    sums = np.empty((last - first if n_blocks > 1 else 1, 2, width), error.dtype)
    for block in range(n_blocks):
        for column in range(first, last):
            index, member = column - first, column // n_latents
            atom, d_atom, d_encoder = (
                decoder.value[column],
                sums[index % len(sums), 0],
                sums[index % len(sums), 1],
            )
            if block == 0:
                n_active[column] = starts[index + 1] - starts[index]
                d_bias[column] = 0
                for d in range(width):
                    d_atom[d] = 0
                    d_encoder[d] = 0
            end_row = member * n_rows + (block + 1) * BLOCK_ROWS
            start = stop = done[index]
            while stop < starts[index + 1] and rows[stop] < end_row:
                stop += 1
            done[index] = stop
            evens = stop - (stop - start) % 2
            for s in range(start, evens, 2):  # two at a time: see `decode`
                e0, e1, x0, x1 = (
                    error[rows[s]],
                    error[rows[s + 1]],
                    x[rows[s] % len(x)],
                    x[rows[s + 1] % len(x)],
                )
                slope0, slope1 = scale * _dot(e0, atom), scale * _dot(e1, atom)
                value0, value1 = scale * values[s], scale * values[s + 1]
                d_bias[column] += slope0 + slope1
                for d in range(width):
                    d_atom[d] += value0 * e0[d] + value1 * e1[d]
                    d_encoder[d] += slope0 * x0[d] + slope1 * x1[d]
            for s in range(evens, stop):
                e0, x0 = error[rows[s]], x[rows[s] % len(x)]
                slope0, value0 = scale * _dot(e0, atom), scale * values[s]
                d_bias[column] += slope0
                for d in range(width):
                    d_atom[d] += value0 * e0[d]
                    d_encoder[d] += slope0 * x0[d]
            if block == n_blocks - 1:
                if wants_d_input:
                    _add(d_input[member], d_bias[column], encoder.value[column])
                if unit_norm:
                    _add(d_atom, -_dot(d_atom, atom), atom)
                _adam(encoder, column, d_encoder, rates)
                _adam(decoder, column, d_atom, rates)
                if unit_norm:
                    norm = np.sqrt(_dot(atom, atom))
                    for d in range(width if norm > 0 else 0):
                        atom[d] /= norm


@_compiled
def _adam(weights, column, gradient, rates):  # pragma: no cover (compiled)
    """Kingma & Ba, "Adam" (2015), algorithm 1, on one row of a matrix."""
    value, mean, square = weights.value[column], weights.mean[column], weights.square[column]
    for d in range(len(gradient)):
        slope = gradient[d]
        m = rates.keep_mean * mean[d] + rates.add_mean * slope
        s = rates.keep_square * square[d] + rates.add_square * slope * slope
        mean[d] = m
        square[d] = s
        value[d] -= rates.step * m / (np.sqrt(s) * rates.root + rates.eps)


@_compiled
def _limit(bits, k):  # pragma: no cover (compiled)
    """Return the k-th largest entry, or 1 if fewer are positive, and how many that are equal to it must go.

    `bits` are positive floats read as whole numbers, which are ordered alike: so it is found by bisection, and each
    look at all entries compiles to a few vector instructions.
    """
    highest = bits[0]
    for j in range(len(bits)):
        highest = max(highest, bits[j])
    low, n_low, high = 1, _count_from(bits, 1), highest + 1
    if n_low <= k:
        return low, 0
    while n_low > k and high - low > 1:
        middle = low + (high - low) // 2
        n_middle = _count_from(bits, middle)
        if n_middle >= k:
            low, n_low = middle, n_middle
        else:
            high = middle
    return low, n_low - k


@_compiled
def _count_from(bits, limit):  # pragma: no cover (compiled)
    limit = bits.dtype.type(limit)
    n = 0
    for j in range(len(bits)):
        n += bits[j] >= limit
    return n


@_compiled
def _collect(row, bits, offset, limit, surplus, active, start):  # pragma: no cover (compiled)
    """Write down the entries of a row from `limit` upwards; return where they end and the surplus still to drop."""
    limit = bits.dtype.type(limit)
    for j in range(len(bits)):
        if bits[j] >= limit:
            if surplus > 0 and bits[j] == limit:
                surplus -= 1
            else:
                active.columns[start] = offset + j
                active.values[start] = row[j]
                start += 1
    return start, surplus


@_compiled
def _by_column(active, first, last):  # pragma: no cover (compiled)
    """Return rows and values of the active entries sorted by column, then row, and where each column starts."""
    starts = np.zeros(last - first + 2, np.int64)
    for i in range(len(active.stops)):
        for s in range(active.starts[i], active.stops[i]):
            if first <= active.columns[s] < last:
                starts[active.columns[s] - first + 2] += 1
    for j in range(2, len(starts)):
        starts[j] += starts[j - 1]
    rows = np.empty(starts[-1], np.int64)
    values = np.empty(starts[-1], active.values.dtype)
    for i in range(len(active.stops)):
        for s in range(active.starts[i], active.stops[i]):
            if first <= active.columns[s] < last:
                at = starts[active.columns[s] - first + 1]
                starts[active.columns[s] - first + 1] += 1
                rows[at] = i
                values[at] = active.values[s]
    return rows, values, starts[:-1]


@_compiled
def _dot(a, b):  # pragma: no cover (compiled)
    total = a.dtype.type(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@_compiled
def _add(target, factor, source):  # pragma: no cover (compiled)
    for d in range(len(target)):
        target[d] += factor * source[d]
