"""Tensors on disk, as safetensors: written whole, and read with an error that says which file it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from otoscope.errors import ModelError
from otoscope.files import said, whole_file


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with whole_file(path) as draft:
        try:
            save_file(tensors, draft, metadata=metadata)
        except SafetensorError as error:  # which tells of a full disk in words of its own
            number = re.search(r"os error (\d+)", str(error))
            raise OSError(int(number.group(1)) if number else 5, str(error)) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file.

    Raises
    ------
    ModelError
        If it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ModelError(f"{path} does not exist")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = f" ({said(error)})" if isinstance(error, OSError) else ""
        raise ModelError(f"{path} is not a readable safetensors file{reason}; copy it again") from error


def check_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise ModelError where a weight is NaN or infinite: so would be all that it gives.

    Thresholds may be infinite, and logarithms of thresholds of 0 are.
    """
    for name, tensor in tensors.items():
        bad = torch.isnan(tensor) if "threshold" in name else ~torch.isfinite(tensor)
        if tensor.is_floating_point() and bad.any():
            raise ModelError(
                f"{path}: {int(bad.sum())} weights of '{name}' are NaN or infinite; copy it again"
            )
