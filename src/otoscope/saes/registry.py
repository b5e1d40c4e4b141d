"""The kinds of sparse autoencoder, found by name. Other packages add theirs as entry points ``otoscope.saes``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from otoscope.errors import InputError, nearest
from otoscope.registry import Registry
from otoscope.saes.config import SAEConfig

SAES = Registry("SAE kind", "otoscope.saes")
SAES.add(
    "topk", "otoscope.saes.kinds.topk:TopK", "ReLU, then the k largest; no decoder bias (the paper, eq. 1)"
)
SAES.add(
    "topk-gao",
    "otoscope.saes.kinds.topk_gao:GaoTopK",
    "TopK with pre-bias, unit-norm decoder and AuxK (Gao 2024)",
)
SAES.add("relu", "otoscope.saes.kinds.relu:ReLU", "ReLU with an L1 penalty (Bricken 2023)")
SAES.add(
    "batch-topk",
    "otoscope.saes.kinds.batch_topk:BatchTopK",
    "k active latents per row on average (Bussmann 2024)",
)
SAES.add(
    "jumprelu", "otoscope.saes.kinds.jumprelu:JumpReLU", "a learnt threshold per latent (Rajamanoharan 2024)"
)
SAES.add("gated", "otoscope.saes.kinds.gated:Gated", "one path opens, one measures (Rajamanoharan 2024)")
SAES.add(
    "matryoshka", "otoscope.saes.kinds.matryoshka:Matryoshka", "nested BatchTopK dictionaries (Bussmann 2025)"
)
SAES.add(
    "temporal",
    "otoscope.saes.kinds.temporal:Temporal",
    "first latents that last from frame to frame (Bhalla 2025)",
)
SAES.add(
    "archetypal", "otoscope.saes.kinds.archetypal:Archetypal", "atoms near the hull of data points (Fel 2025)"
)


def make_config(kind: str, **options: Any) -> SAEConfig:
    """Build the config of `kind`, e.g. ``make_config("topk", n_latents=2048, sparsity=0.95)``.

    Raises
    ------
    UnknownNameError
        If no such kind is registered.
    InputError
        If the kind has no such option, or a value is out of range.

    Examples
    --------
    >>> make_config("topk", n_latents=2048, sparsity=0.75).active
    512
    """
    config_class = SAES.get(kind).config_class
    known = [field.name for field in dataclasses.fields(config_class)]
    for name in options:
        if name not in known:
            raise InputError(
                f"SAE kind '{kind}' has no option '{name}'{nearest(name, known)} (it has: {', '.join(known)})"
            )
    for field in dataclasses.fields(config_class):
        if field.name in options:
            _check_value(kind, field, options[field.name])
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"SAE kind '{kind}' needs the option '{field.name}'")
    return config_class(**options)


def _check_value(kind: str, field: dataclasses.Field, value: Any) -> None:
    """Raise InputError for a value that is not of an option's type, where that is a plain one."""
    plain: dict[str, type] = {"int": Integral, "float": Real, "bool": bool, "str": str, "None": type(None)}
    named = [part.strip() for part in str(field.type).split("|")]
    if not all(name in plain for name in named):
        return
    fits = any(
        isinstance(value, plain[name]) and isinstance(value, bool) <= (name == "bool") for name in named
    )
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
        expected = " or ".join(words[name] for name in named if name in words)
        raise InputError(f"SAE kind '{kind}': option '{field.name}' must be {expected}; got {value!r}")


def make_configs(kind: str, sparsities: Sequence[float], **options: Any) -> list[SAEConfig]:
    """Build a config of `kind` for each of `sparsities`.

    A single one, without them, where the kind's sparsity cannot be set or `options` set it (``k`` or ``sparsity``).
    """
    fields = {field.name for field in dataclasses.fields(SAES.get(kind).config_class)}
    if "sparsity" not in fields or options.keys() & {"k", "sparsity"}:
        return [make_config(kind, **options)]
    return [make_config(kind, **options, sparsity=sparsity) for sparsity in sparsities]
