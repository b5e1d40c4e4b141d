"""How an autoencoder lies on disk: ``config.json``, ``model.safetensors`` and, once trained, ``history.csv``."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

from otoscope.errors import ModelError, OtoscopeError
from otoscope.files import read_mapping, whole_file, write_json, write_text
from otoscope.saes.files.card import model_card
from otoscope.saes.files.hub import download
from otoscope.saes.registry import SAES, make_config

FORMAT = 1
"""Version of ``config.json``; raised when an older Otoscope could not read a newer file."""
CONFIG, WEIGHTS, HISTORY, CARD = "config.json", "model.safetensors", "history.csv", "README.md"
FOREIGN = {
    "sae_weights.safetensors": "otoscope.saes.files.saelens:read_saelens",
    "sae.safetensors": "otoscope.saes.files.sparsify:read_sparsify",
    "ae.pt": "otoscope.saes.files.dictionary_learning:read_dictionary",
}
"""Files by which other libraries' autoencoders are told, and who reads them."""


def save_sae(sae: Any, directory: Path) -> Path:
    """Write `sae` into `directory`; each file is renamed into place once it is complete."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
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
    with whole_file(directory / WEIGHTS) as draft:
        save_file(tensors, draft, metadata={"format": "pt"})
    if sae.history is not None:
        write_text(directory / HISTORY, sae.history.to_csv(index=False))
    write_text(directory / CARD, model_card(sae))
    write_json(directory / CONFIG, description)
    return directory


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
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    directory = Path(source)
    if not directory.is_dir():
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
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{weights} is not a readable safetensors file ({error}); copy it again") from error
    sae = SAES.get(config.kind)(config, n_inputs, seed=int(description.get("seed") or 0))
    sae = sae.to(getattr(torch, description.get("dtype", "float32")))
    try:
        sae.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{weights} does not hold what its {CONFIG} describes: {error}") from error
    sae.layer = description.get("layer")
    sae.about = description.get("about") or {}
    if (directory / HISTORY).is_file():
        import pandas as pd

        sae.history = pd.read_csv(directory / HISTORY)
    return sae.eval()


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


def read_description(directory: Path) -> dict[str, Any]:
    """Read and check ``config.json``."""
    path = directory / CONFIG
    if not path.is_file():
        raise ModelError(f"{directory} has no {CONFIG}: not a saved autoencoder")
    description = read_mapping(path, error=ModelError)
    if "kind" not in description or "config" not in description:
        raise ModelError(f"{path} does not describe an Otoscope autoencoder")
    if description.get("format", 1) > FORMAT:
        raise ModelError(
            f"{path} is of format {description['format']}, this version reads up to {FORMAT}: upgrade otoscope"
        )
    return description


def config_of(description: dict[str, Any], directory: Path) -> tuple[Any, int]:
    """Build the config that `description` holds."""
    kind, options = description["kind"], description["config"]
    try:
        known = {field.name for field in dataclasses.fields(SAES.get(kind).config_class)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise ModelError(f"its config has options that kind '{kind}' does not: {', '.join(unknown)}")
        return make_config(kind, **options), int(description["n_inputs"])
    except (OtoscopeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{directory / CONFIG}: {error}") from error
