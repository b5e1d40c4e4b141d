"""The audit of what no checkpoint holds: tables that a model of transformers computes for itself.

Rotary tables, windows and positions are often buffers that are not saved. transformers 5 builds a model without memory
and then gives it some; a class that does not fill such a buffer again is left with whatever lay there, and no report
says so. Here the class is built a second time from its configuration, as it was meant to be, and the two are compared.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from otoscope.errors import ModelError


def audit_buffers(module: nn.Module, *, name: str) -> list[str]:
    """Compare the unsaved buffers of all models of transformers in `module` with those of a new build, and repair them.

    Returns the names of those repaired; a warning names them too. Nothing is built where there are no such buffers.

    Raises
    ------
    ModelError
        If a buffer differs that comes out anew in every build, so that no right one is known.
    """
    repaired = []
    for prefix, model in _models(module):
        held = dict(_unsaved(model))
        if held:
            repaired += [f"{prefix}{found}" for found in _repair(model, held, name=name)]
    if repaired:
        warnings.warn(
            f"{name}: {len(repaired)} tables that no checkpoint holds came wrong from transformers and were computed "
            f"anew from the configuration: {', '.join(repaired[:4])}{' and more' if len(repaired) > 4 else ''}",
            stacklevel=3,
        )
    return repaired


def _models(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the outermost models of transformers in a module, each with the prefix of its names."""
    loaded = sys.modules.get("transformers.modeling_utils")
    if loaded is None:
        return
    outermost: list[str] = []
    for path, part in module.named_modules():
        inside = any(path.startswith(f"{outer}.") or outer == "" for outer in outermost)
        if not inside and isinstance(part, loaded.PreTrainedModel):
            outermost.append(path)
            yield (f"{path}." if path else ""), part


def _unsaved(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the names and values of the buffers that a checkpoint of the model does not hold."""
    for path, part in model.named_modules():
        for key in sorted(part._non_persistent_buffers_set):
            value = part._buffers.get(key)
            if value is not None:
                yield (f"{path}.{key}" if path else key), value


def _repair(model: Any, held: dict[str, torch.Tensor], *, name: str) -> list[str]:
    meant = _built(model, seed=0, name=name)
    wrong = [key for key, value in held.items() if key in meant and not _same(value, meant[key])]
    if not wrong:
        return []
    again = _built(model, seed=1, name=name)
    unknowable = [key for key in wrong if not _same(again[key], meant[key])]
    if unknowable:
        raise ModelError(
            f"{name}: {', '.join(unknowable)} is in no checkpoint and comes out anew whenever {type(model).__name__} "
            "is built, so that no right value is known: set it yourself, and register it as a persistent buffer"
        )
    for key in wrong:
        path, _, own = key.rpartition(".")
        value = held[key]
        model.get_submodule(path)._buffers[own] = meant[key].to(device=value.device, dtype=value.dtype)
    return wrong


def _built(model: Any, *, seed: int, name: str) -> dict[str, torch.Tensor]:
    """Return the unsaved buffers of the model's class, built anew on the CPU; the random state stays as it is."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(seed)
            return dict(_unsaved(type(model)(copy.deepcopy(model.config))))
    except Exception as error:  # of another's class, which may want anything
        raise ModelError(
            f"{name}: {type(model).__name__} computes tables that no checkpoint holds, and cannot be built from its "
            f"configuration to check them ({type(error).__name__}: {error})"
        ) from error


def _same(value: torch.Tensor, meant: torch.Tensor) -> bool:
    return value.shape == meant.shape and torch.equal(value.cpu(), meant.to(value.dtype))
