"""Loops over rows of numbers that PyTorch would make in several passes over memory, compiled by numba.

Numbers come as the bits that they are, because numba has no bfloat16, and because whole numbers are compared faster
where NaN must not be lost.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit

LOG2_E = np.float32(1.4426950408889634)

_ROUNDER = np.float32(1.5 * 2**23)
"""Added to a float32 of moderate size it leaves no fraction: what remains has been rounded to a whole number."""
_ROUNDER_BITS = np.int32(_ROUNDER.view(np.int32))
_SMALLEST = np.float32(-126)
"""The exponent of the smallest normal float32."""
# 2^f for f in -0.5..0.5, its Taylor polynomial: (ln 2)^n / n!; off by 5e-5 at most, a 40th of bfloat16's rounding.
_C1, _C2, _C3, _C4 = (np.float32(c) for c in (0.693147181, 0.240226507, 0.0555041087, 0.00961812911))
_ONE, _STEPS = np.float32(1), np.float32(127)
_ALL_BUT_SIGN, _SIGN, _MANTISSA = np.int32(0x7FFFFFFF), np.int32(31), np.int32(23)
_HALF_ULP, _BIT, _LOWER_HALF = np.int32(0x7FFF), np.int32(1), np.int32(16)

# Without a promise that sums may be reordered: that would undo the rounding by `_ROUNDER`.
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
_compiled_sum = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@_compiled
def exponentials(scores, scale, out, sums):  # pragma: no cover (compiled)
    """Fill ``out = 2 ** (scale * (scores - the row's largest))``, and `sums` with the sums of its rows.

    Parameters
    ----------
    scores : [rows, columns], uint16: bfloat16's bits
    scale : float32, positive
    out : [rows, columns], uint16: bfloat16's bits
    sums : [rows], float32; NaN where a score is NaN or infinite
    """
    for i in range(scores.shape[0]):
        top, magnitude = _largest(scores[i])
        for j in range(scores.shape[1]):
            exponent = max((_float32(scores[i, j], _LOWER_HALF) - top) * scale, _SMALLEST)
            rounded = exponent + _ROUNDER
            f = exponent - (rounded - _ROUNDER)
            power = _ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * _C4)))
            whole = np.float32(rounded).view(np.int32) - _ROUNDER_BITS
            out[i, j] = _bfloat16(np.float32(power).view(np.int32) + (whole << _MANTISSA))
        sums[i] = _sum(out[i]) + (magnitude - magnitude)


@_compiled
def quantise(values, out, steps):  # pragma: no cover (compiled)
    """Fill ``out = values / steps``, rounded to whole numbers, a step being a 127th of the row's largest magnitude.

    Parameters
    ----------
    values : [rows, columns], int32 (float32's bits) or uint16 (bfloat16's)
    out : [rows, columns], int8
    steps : [rows], float32; NaN or infinite where a value is
    """
    shift = np.int32(32 - 8 * values.itemsize)
    for i in range(values.shape[0]):
        bits = np.int32(0)
        for j in range(values.shape[1]):
            bits = max(bits, np.int32((np.int32(values[i, j]) << shift) & _ALL_BUT_SIGN))
        largest = _float32(bits, np.int32(0))
        steps[i] = largest / _STEPS
        per_step = _STEPS / largest
        for j in range(values.shape[1]):
            out[i, j] = np.int8(np.int32(np.rint(_float32(values[i, j], shift) * per_step)))


@_compiled
def dequantise(sums, row_steps, column_steps, bias, out):  # pragma: no cover (compiled)
    """Fill ``out = sums * row_steps * column_steps + bias``.

    Parameters
    ----------
    sums : [rows, columns], int32
    row_steps : [rows], float32
    column_steps, bias : [columns], float32
    out : [rows, columns], uint16: bfloat16's bits
    """
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            value = np.float32(sums[i, j]) * row_steps[i] * column_steps[j] + bias[j]
            out[i, j] = _bfloat16(np.float32(value).view(np.int32))


@_compiled
def _largest(scores):  # pragma: no cover (compiled)
    """Return the largest of a row, and the largest magnitude: NaN or infinite if one is."""
    largest, magnitude = np.int32(-0x7FFFFFFF), np.int32(0)
    for j in range(scores.shape[0]):
        bits = np.int32(np.int32(scores[j]) << _LOWER_HALF)
        largest = max(largest, _ascending(bits))
        magnitude = max(magnitude, np.int32(bits & _ALL_BUT_SIGN))
    return _float32(_ascending(largest), np.int32(0)), _float32(magnitude, np.int32(0))


@_compiled
def _ascending(bits):  # pragma: no cover (compiled)
    """Return float32's bits as whole numbers that ascend with it, and the other way round."""
    return np.int32(bits ^ ((bits >> _SIGN) & _ALL_BUT_SIGN))


@_compiled
def _float32(bits, shift):  # pragma: no cover (compiled)
    return np.int32(np.int32(bits) << shift).view(np.float32)


@_compiled
def _bfloat16(bits):  # pragma: no cover (compiled)
    """Return the upper half of float32's bits, rounded to the nearest, to even where two are."""
    return np.uint16((bits + _HALF_ULP + ((bits >> _LOWER_HALF) & _BIT)) >> _LOWER_HALF)


@_compiled_sum
def _sum(halves):  # pragma: no cover (compiled)
    total = np.float32(0)
    for j in range(halves.shape[0]):
        total += _float32(halves[j], _LOWER_HALF)
    return total


def bits_of(values: torch.Tensor) -> np.ndarray:
    """Return the bits of a tensor in bfloat16, uint16, or in float32, int32, sharing its memory."""
    return values.view(torch.uint16 if values.dtype == torch.bfloat16 else torch.int32).numpy()
