"""How an autoencoder lies on disk: ``config.json``, ``model.safetensors`` and, once trained, ``history.csv``."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from otoscope.errors import FileError, ModelError, OtoscopeError
from otoscope.files import checked, read_mapping, said, write_json, write_text
from otoscope.saes.files.card import model_card
from otoscope.saes.files.hub import download
from otoscope.saes.files.tensors import check_weights, read_tensors, write_tensors
from otoscope.saes.registry import SAES, make_config

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Version of ``config.json``; raised when an older Otoscope could not read a newer file."""
CONFIG, WEIGHTS, HISTORY, CARD = "config.json", "model.safetensors", "history.csv", "README.md"
FOREIGN = {
    "sae_weights.safetensors": "otoscope.saes.files.saelens:read_saelens",
    "sae.safetensors": "otoscope.saes.files.sparsify:read_sparsify",
    "ae.pt": "otoscope.saes.files.dictionary_learning:read_dictionary",
}
"""Files by which other libraries' autoencoders are told, and who reads them."""


class Description(pydantic.BaseModel):
    """What ``config.json`` holds."""

    model_config = pydantic.ConfigDict(allow_inf_nan=False)

    format: int = 1
    kind: str
    n_inputs: Annotated[int, pydantic.Field(gt=0)]
    config: dict[str, Any]
    layer: Annotated[int, pydantic.Field(ge=0)] | Literal["final"] | None = None
    seed: Annotated[int, pydantic.Field(ge=0)] | None = None
    dtype: Literal["float32", "float64", "float16", "bfloat16"] = "float32"
    about: dict[str, Any] | None = None
    weights_crc32: int | None = None
    """Of the file of weights; None: it was written by hand."""
    crc32: int | None = None
    """Of all else that stands here."""


def save_sae(sae: Any, directory: Path) -> Path:
    """Write `sae` into `directory`; each file is renamed into place once it is complete."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot write to '{directory}': {said(error)}") from error
    tensors = {name: value.detach().cpu().contiguous() for name, value in sae.state_dict().items()}
    description = {
        "format": FORMAT,
        "library": "otoscope",
        "kind": sae.config.kind,
        "n_inputs": sae.n_inputs,
        "config": sae.config.to_dict(),
        "layer": sae.layer,
        "seed": sae.seed,
        "dtype": str(next(iter(tensors.values())).dtype).removeprefix("torch."),
        "about": sae.about,
    }
    write_tensors(directory / WEIGHTS, tensors, {"format": "pt"})
    description["weights_crc32"] = zlib.crc32((directory / WEIGHTS).read_bytes())
    description["crc32"] = _sum(description)
    if sae.history is not None:
        write_text(directory / HISTORY, sae.history.to_csv(index=False))
    write_card(directory, sae)
    write_json(directory / CONFIG, description)
    return directory


def is_own(directory: Path) -> bool:
    """Whether a folder holds an autoencoder as `save_sae` writes it; other libraries' may hold a card of their own."""
    return all((directory / name).is_file() for name in (CONFIG, WEIGHTS))


def write_card(directory: Path, sae: Any, splice: pd.DataFrame | None = None) -> None:
    """Write the card of the autoencoder that lies in `directory`, with its rows of splice.csv where they are known."""
    write_text(directory / CARD, model_card(sae, splice=splice))


def load_sae(source: str | Path, *, revision: str | None = None) -> Any:
    """Load an autoencoder from a directory or the Hugging Face Hub, ours or another library's.

    Other libraries' files are told by their names: ``cfg.json`` beside ``sae_weights.safetensors`` (SAELens) or
    ``sae.safetensors`` (sparsify), and ``ae.pt`` (dictionary_learning, AudioSAE); what they hold is told by their
    configuration. A folder of several is refused, with their names.

    Raises
    ------
    ModelError
        If files are missing, newer than this version, or corrupt.
    """
    import torch

    directory = Path(source)
    if not os.path.isdir(directory):
        directory = download(str(source), revision=revision)
    for name, reader in FOREIGN.items():
        if (directory / name).is_file() and not (directory / WEIGHTS).is_file():
            module, _, function = reader.partition(":")
            return getattr(importlib.import_module(module), function)(directory)
    if not (directory / WEIGHTS).is_file():
        _refuse_several(directory, str(source))
    description = read_description(directory)
    config, n_inputs = config_of(description, directory)
    weights = directory / WEIGHTS
    if not weights.is_file():
        raise ModelError(f"{directory} has no {WEIGHTS}")
    if description.weights_crc32 not in (None, zlib.crc32(weights.read_bytes())):
        raise ModelError(f"{weights} is not what was written (checksum); copy it again")
    tensors = read_tensors(weights)
    n_weights = sum(tensor.numel() for tensor in tensors.values())
    if n_inputs * config.n_latents > 100 * n_weights:  # before memory is taken for them
        raise ModelError(
            f"{weights} does not hold what its {CONFIG} describes: it has too few weights for {n_inputs} inputs and "
            f"{config.n_latents} latents"
        )
    sae = SAES.get(config.kind)(config, n_inputs, seed=description.seed or 0)
    sae = sae.to(getattr(torch, description.dtype))
    try:
        sae.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{weights} does not hold what its {CONFIG} describes: {error}") from error
    check_weights(tensors, weights)
    _check_unchanged(directory / CONFIG)
    sae.layer = description.layer
    sae.about = description.about or {}
    if (directory / HISTORY).is_file():
        sae.history = _read_history(directory / HISTORY)
    return sae.eval()


def _sum(description: dict[str, Any]) -> int:
    told = {key: value for key, value in description.items() if key != "crc32"}
    return zlib.crc32(json.dumps(json.loads(json.dumps(told)), sort_keys=True).encode())


def _check_unchanged(path: Path) -> None:
    """Raise ModelError where ``config.json`` says something else than was written: another k gives other codes."""
    description = read_mapping(path, error=ModelError)
    summed = "weights_crc32" in description
    if ("crc32" in description) != summed or (summed and description["crc32"] != _sum(description)):
        raise ModelError(
            f"{path} is not what was written (checksum); copy it again. If it was changed on purpose, remove its "
            "entries 'crc32' and 'weights_crc32'"
        )


def _read_history(path: Path) -> Any:
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' errors of parsing are ValueErrors
        raise ModelError(
            f"{path} cannot be read as a table; remove it, it is only what training said"
        ) from error
    if "epoch" not in table or not all(pd.api.types.is_numeric_dtype(table[name]) for name in table):
        raise ModelError(f"{path} is no history of a training; remove it, it is only what training said")
    return table


def _refuse_several(directory: Path, source: str) -> None:
    """Say which autoencoders lie in the folders below, if any do."""
    names = (WEIGHTS, *FOREIGN, "cfg.json")
    found = [
        path.parent for depth in ("*", "*/*") for name in names for path in directory.glob(f"{depth}/{name}")
    ]
    found += [path.parent for path in directory.glob(f"*/{CONFIG}")]
    inside = sorted({folder.relative_to(directory).as_posix() for folder in found}, key=_natural)
    if inside:
        listed = ", ".join(inside[:6]) + (f" and {len(inside) - 6} more" if len(inside) > 6 else "")
        raise ModelError(
            f"{source} holds autoencoders in folders of its own: {listed}; name one, such as {source}/{inside[0]}"
        )


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that puts layer_2 before layer_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_description(directory: Path) -> Description:
    """Read and check ``config.json``."""
    path = directory / CONFIG
    if not path.is_file():
        raise ModelError(f"{directory} has no {CONFIG}: not a saved autoencoder")
    description = read_mapping(path, error=ModelError)
    if "kind" not in description or "config" not in description:
        raise ModelError(f"{path} does not describe an Otoscope autoencoder")
    found: Description = checked(description, Description, path, error=ModelError)
    if found.format > FORMAT:
        raise ModelError(
            f"{path} is of format {found.format}, this version reads up to {FORMAT}: upgrade otoscope"
        )
    return found


def config_of(description: Description, directory: Path) -> tuple[Any, int]:
    """Build the config that `description` holds."""
    kind, options = description.kind, description.config
    try:
        known = {field.name for field in dataclasses.fields(SAES.get(kind).config_class)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ModelError(f"its config has options that kind '{kind}' does not: {', '.join(unknown)}")
        return make_config(kind, **options), description.n_inputs
    except OtoscopeError as error:
        raise ModelError(f"{directory / CONFIG}: {error}") from error
