"""Checkpoints that are published as pickles, made into a folder that `load_encoder` takes."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from otoscope.contents import content
from otoscope.encoders import muq, passt
from otoscope.encoders.families import FAMILIES
from otoscope.encoders.written import module_of
from otoscope.errors import InputError, ModelError
from otoscope.files import read_mapping

Weights = dict[str, torch.Tensor]


def convert(checkpoint: Path, out: Path, *, stats: Path | None = None, hop_samples: int | None = None) -> str:
    """Write a published checkpoint as a folder of ``config.json`` and ``model.safetensors``; return its model type.

    Which family it is follows from what it holds: BEATs, Dasheng, MusicFM and PaSST are told apart. Only tensors and
    plain values are unpickled (PyTorch's ``weights_only``), never code.

    Parameters
    ----------
    checkpoint : Path
        As its authors published it.
    out : Path
        A folder, which must not hold a model yet.
    stats : Path, optional
        MusicFM's only: its statistics, such as ``msd_stats.json``, which its spectrogram is normalised by.
    hop_samples : int, optional
        PaSST's only: the hop of its spectrogram, 320 if not given; 100 or 160 for the ``stfthop`` variants.

    Raises
    ------
    ModelError
        If it cannot be read without running code, is of no such family, or its weights do not fit.
    InputError
        If `out` holds a model already, or `stats` is missing or given for nothing.
    """
    if (out / "config.json").exists():
        raise InputError(f"{out} holds a model already; give another folder, or remove it")
    config, weights = _read(_unpickled(checkpoint), checkpoint, stats=stats, hop_samples=hop_samples)
    weights = {key: value.clone().contiguous() for key, value in weights.items()}
    family = FAMILIES.get(config["model_type"])
    module_of(weights, family, {**family.defaults, **config}, where=str(checkpoint))
    config["converted_from"] = {"file": checkpoint.name, "sha256": content(checkpoint).sha256}
    out.mkdir(parents=True, exist_ok=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return config["model_type"]


def _unpickled(checkpoint: Path) -> Any:
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint} is no file")
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError) as error:
        first = next(iter(str(error).splitlines()), "")[:200]
        raise ModelError(
            f"{checkpoint} cannot be read as weights and plain values alone, and what else is in it would be code: "
            f"it is not run ({first})"
        ) from error


def _read(
    held: Any, checkpoint: Path, *, stats: Path | None, hop_samples: int | None
) -> tuple[dict[str, Any], Weights]:
    """Return the configuration and weights of what was unpickled."""
    if not isinstance(held, Mapping):
        raise ModelError(f"{checkpoint} holds a {type(held).__name__}, not named weights")
    if {"cfg", "model"} <= held.keys():
        _unwanted(stats=stats, hop_samples=hop_samples)
        return {**_plain(held["cfg"]), "model_type": "beats"}, dict(held["model"])
    if {"config", "model"} <= held.keys():
        _unwanted(stats=stats, hop_samples=hop_samples)
        own = {key: value for key, value in held["model"].items() if not key.startswith("front_end.")}
        return {**_plain(held["config"]), "model_type": "dasheng"}, own
    weights = held.get("state_dict", held)
    if any("conformer." in key for key in weights):
        _unwanted(hop_samples=hop_samples)
        return _musicfm(weights, stats)
    if "time_new_pos_embed" in weights:
        _unwanted(stats=stats)
        return passt.passt_config(weights, hop_samples=hop_samples or 320), dict(weights)
    raise ModelError(
        f"{checkpoint} is a checkpoint of none of the families that are converted (beats, dasheng, musicfm, passt); "
        f"it holds {', '.join(map(str, list(weights)[:4]))}"
    )


def _musicfm(weights: Mapping[str, torch.Tensor], stats: Path | None) -> tuple[dict[str, Any], Weights]:
    if stats is None:
        raise InputError(
            "MusicFM normalises its spectrogram by statistics that lie beside its weights, such as msd_stats.json: "
            "give that file with --stats"
        )
    told = read_mapping(stats, error=InputError)
    wanted = ("melspec_2048_mean", "melspec_2048_std")
    lacking = [key for key in wanted if key not in told]
    if lacking:
        raise InputError(f"{stats} holds no {' and no '.join(lacking)}")
    own = {key.removeprefix("model."): value for key, value in weights.items()}
    try:
        width = own["conv.linear.weight"].shape[0]
        head_width = 2 * len(own["conformer.embed_positions.inv_freq"])
        body = {
            "num_attention_heads": width // head_width,
            "intermediate_size": own["conformer.layers.0.ffn1.intermediate_dense.weight"].shape[0],
            "conv_depthwise_kernel_size": own["conformer.layers.0.conv_module.depthwise_conv.weight"].shape[
                2
            ],
        }
        conv_dim = own["conv.conv.0.conv1.weight"].shape[0]
    except KeyError as error:
        raise ModelError(f"these weights are not MusicFM's: {error} is missing") from error
    config = {
        "model_type": "musicfm",
        "stat": {key: told[key] for key in wanted},
        "conv_dim": conv_dim,
        "encoder_dim": width,
        "encoder_depth": len({key.split(".")[2] for key in own if key.startswith("conformer.layers.")}),
        "w2v2_config": {**muq.CONFORMER, **body},
    }
    return config, own


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that JSON can hold."""
    kept = bool | int | float | str | list | tuple
    return {key: value for key, value in config.items() if isinstance(value, kept)}


def _unwanted(**options: Any) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"this checkpoint takes no --{name.replace('_', '-')}; leave it out")
