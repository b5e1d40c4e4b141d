"""Modules of a user's own, read by hooks on named blocks: what `Encoder.from_module` does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import nn

from otoscope.compute import pick_device
from otoscope.encoders.encoder import Encoder, Tap, block_taps
from otoscope.encoders.precision import compute_dtype
from otoscope.encoders.tokens import Layer
from otoscope.errors import InputError, ModelError, nearest


def wrap(
    module: nn.Module,
    *,
    blocks: str,
    sample_rate: int,
    preprocess: Callable[[torch.Tensor], torch.Tensor] | None,
    final: str | None,
    name: str,
    frame_rate_hz: float | None,
    min_samples: int,
    max_samples: int | None,
    channels_first: bool,
    device: str,
    dtype: str,
) -> Encoder:
    """Return the encoder; see `Encoder.from_module` for the arguments and what can go wrong."""
    modules = dict(module.named_modules())
    found = _matching(modules, blocks)
    last = Tap(found[-1]) if final is None else Tap(_named(modules, final))

    def frontend(waveform: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))
        return samples if preprocess is None else preprocess(samples)

    place = pick_device(device)
    encoder = Encoder(
        name=name,
        module=module,
        sample_rate=sample_rate,
        taps=block_taps(found),
        final=last,
        widths={},
        frontend=frontend,
        grid=None,
        frame_rate_hz=frame_rate_hz,
        min_samples=min_samples,
        max_samples=max_samples,
        channels_first=channels_first,
        device=place,
        dtype=compute_dtype(dtype, "module", place),
        dtype_asked=dtype,
        source={"model": name, "weights_sha256": weights_hash(module)},
    )
    encoder.widths = _tried_widths(encoder)
    return encoder


def weights_hash(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _matching(modules: Mapping[str, nn.Module], pattern: str) -> list[nn.Module]:
    parts = pattern.split(".")
    names = [
        name
        for name in modules
        if name
        and len(name.split(".")) == len(parts)
        and all(fnmatchcase(part, wanted) for part, wanted in zip(name.split("."), parts))
    ]
    if not names:
        raise InputError(
            f"no module is named like '{pattern}'{nearest(pattern, modules)} "
            "(see the names with: [name for name, _ in module.named_modules()])"
        )
    names.sort(key=lambda name: [(int(p), "") if p.isdigit() else (-1, p) for p in name.split(".")])
    return [modules[name] for name in names]


def _named(modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    if name not in modules:
        raise InputError(f"no module is named '{name}'{nearest(name, modules)}")
    return modules[name]


def _tried_widths(encoder: Encoder) -> dict[Layer, int]:
    n_samples = min(max(encoder.sample_rate, encoder.min_samples), encoder.max_samples or encoder.sample_rate)
    layers = [*range(encoder.n_layers + 1), "final"]
    try:
        states = encoder.hidden_states(np.zeros((1, n_samples), np.float32), layers)
    except KeyError as error:
        raise ModelError(f"block {error} of {encoder.name} was never run; check `blocks`") from error
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"{encoder.name} failed on {n_samples} samples of silence ({error}); check what `preprocess` returns"
        ) from error
    return {layer: state.shape[-1] for layer, state in states.items()}
