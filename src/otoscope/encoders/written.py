"""Models of the families that are written here, from the folder of a published or converted one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from otoscope.encoders.families import FAMILIES, WrittenFamily
from otoscope.encoders.fitting import Fitting
from otoscope.errors import ModelError
from otoscope.files import read_mapping

_COUNTERS = ("num_batches_tracked",)
"""Of batch norms: only training reads them."""


def recognised(config: Mapping[str, Any]) -> str | None:
    """Return the model type of a configuration that names none, by what it says."""
    for name in FAMILIES.names():
        family = FAMILIES.get(name)
        if (
            isinstance(family, WrittenFamily)
            and family.known_by
            and all(k in config for k in family.known_by)
        ):
            return name
    return None


def outline(folder: Path) -> Fitting | None:
    """Return how the model in a folder is read, without its weights; None if transformers has it, or nobody.

    Raises
    ------
    ModelError
        If its settings cannot be those of its family.
    """
    raw_config = read_mapping(folder / "config.json", error=ModelError)
    model_type = str(raw_config.get("model_type") or recognised(raw_config))
    family = FAMILIES.get(model_type) if model_type in FAMILIES else None
    if not isinstance(family, WrittenFamily):
        return None
    own = folder / "preprocessor_config.json"
    settings = {
        **(read_mapping(own, error=ModelError) if own.exists() else {}),
        "sampling_rate": family.sample_rate,
    }
    config = {**family.defaults, **raw_config}
    try:
        with torch.device("meta"):
            module = family.build(config)
        return family.fit(module, config, settings)
    except ModelError:
        raise
    except Exception as error:  # what a family's own code raises on settings that it does not expect
        raise ModelError(f"{folder}: its settings cannot be those of its family ({error})") from error


def build_written(
    folder: Path, family: WrittenFamily, config: Mapping[str, Any]
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model with its weights, and the names of those left aside.

    Raises
    ------
    ModelError
        If the folder holds only a pickle, or a weight is missing, too many, or of another shape.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted({*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")})
        if pickles:
            raise ModelError(
                f"{folder} holds its weights as a pickle ({pickles[0].name}), not read without being asked to: "
                f"`otoscope convert {pickles[0]} --out FOLDER` reads its weights alone, and makes a folder to load"
            )
        raise ModelError(f"{folder} holds no weights (model.safetensors)")
    weights: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            weights |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: the weights cannot be read ({error})") from error
    return module_of(weights, family, config, where=str(folder))


def module_of(
    weights: dict[str, torch.Tensor], family: WrittenFamily, config: Mapping[str, Any], *, where: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the model that `config` means with published weights, and the names of those left aside."""
    module = family.build(config)
    held = family.adapt(weights)
    wanted = module.state_dict()
    own = {
        key
        for key in held
        if key.split(".")[0] in family.parts and not key.startswith(family.unused or ("\0",))
    }
    missing = sorted(key for key in wanted if key not in held and not key.endswith(_COUNTERS))
    unexpected = sorted(own - wanted.keys())
    shared = own & wanted.keys()
    wrong_shape = sorted(key for key in shared if held[key].shape != wanted[key].shape)
    if missing or wrong_shape or unexpected:
        raise ModelError(
            f"{where}: the weights do not fit {type(module).__name__}. "
            + listed("missing", missing)
            + listed("of another shape", wrong_shape)
            + listed("without a place in it", unexpected)
            + "The checkpoint is incomplete, or of another model."
        )
    module.load_state_dict({key: held[key].to(wanted[key].dtype) for key in shared}, strict=False)
    return module, tuple(sorted(held.keys() - own))


def listed(what: str, names: list[str]) -> str:
    """Return how many names there are and the first four, for an error; nothing if there are none."""
    if not names:
        return ""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{len(names)} {what}: {', '.join(names[:4])}{more}. "
