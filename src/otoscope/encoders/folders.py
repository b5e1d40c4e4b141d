"""What lies in a folder that holds a model."""

from __future__ import annotations

from pathlib import Path

SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")


def model_files(folder: Path) -> list[Path]:
    """Return the files that a model's numbers depend on: its weights and its settings, sorted."""
    weights = [*folder.glob("*.safetensors")] or [*folder.glob("pytorch_model*.bin")]
    return sorted(file for file in [*weights, *(folder / name for name in SETTINGS)] if file.exists())
