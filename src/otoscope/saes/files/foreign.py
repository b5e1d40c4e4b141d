"""What all readers do: find the files, read tensors without unpickling code, fill our modules."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from otoscope.errors import ModelError
from otoscope.saes.base import SparseAutoencoder, build_sae
from otoscope.saes.config import SAEConfig
from otoscope.saes.files.tensors import check_weights


def read_pickle_of_tensors(path: Path) -> dict[str, Any]:
    """Read a ``.pt`` state dict through PyTorch's weights-only loader, which runs no code of the file.

    Raises
    ------
    ModelError
        If it is missing, damaged, or holds more than tensors and plain values.
    """
    import pickle

    if not path.is_file():
        raise ModelError(f"{path} does not exist")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{path} is refused: it is damaged, or a pickle that could run code on loading ({reason})"
        ) from error
    if not isinstance(state, dict):
        raise ModelError(f"{path} holds a {type(state).__name__}, not a state dict")
    return state


def check_options(options: dict[str, Any], known: Collection[str], path: Path) -> None:
    """Refuse an option that is not known, unless it is off: it may change what the codes are."""
    odd = sorted(name for name in set(options) - set(known) if options[name] not in (None, False))
    if odd:
        raise ModelError(
            f"{path} has options that this version does not know: "
            f"{', '.join(f'{name} = {options[name]!r}' for name in odd)}; they may change the codes"
        )


def fill(
    config: SAEConfig, tensors: dict[str, Tensor], *, layer: int | None, about: dict
) -> SparseAutoencoder:
    """Build an autoencoder of `config` with the given parameters and buffers; others keep their defaults."""
    n_inputs = tensors["decoder_weight"].shape[1]
    sae = build_sae(config, n_inputs)
    state = sae.state_dict()
    for name, value in tensors.items():
        if name not in state or state[name].shape != value.shape:
            expected = tuple(state[name].shape) if name in state else "nothing"
            raise ModelError(f"{about}: {name} has shape {tuple(value.shape)}, expected {expected}")
        state[name] = value.detach().to(torch.float32)
    check_weights(state, Path(str(about.get("read_from", "the file"))))
    sae.load_state_dict(state)
    sae.layer, sae.about = layer, about
    return sae.eval()


def take(tensors: dict[str, Any], path: Path, *names: str) -> list[Tensor]:
    """Return the tensors called `names`; ModelError names what is missing."""
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)} (it has {', '.join(tensors)})")
    return [torch.as_tensor(tensors[name]) for name in names]
