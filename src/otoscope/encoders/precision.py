"""What an encoder's blocks compute in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from otoscope.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")


def compute_dtype(asked: str, family: str, device: torch.device) -> str:
    """Return the dtype that `asked` means for a family on a device; "auto" looks it up.

    Raises
    ------
    InputError
        If `asked` is neither "auto" nor one of `DTYPES`.
    """
    if asked == "auto":
        return "float32"
    if asked not in DTYPES:
        raise InputError(f"dtype must be auto, {', '.join(DTYPES)}; got '{asked}'")
    return asked


def running_in(dtype: str, device: torch.device) -> AbstractContextManager:
    """Return the context in which a model computes in `dtype`: autocast keeps norms and sums in float32."""
    if dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, dtype))
