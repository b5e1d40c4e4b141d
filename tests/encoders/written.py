"""Small models of the families that are written here, as their authors would publish them, from fixtures."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import seeded
import torch
from safetensors.torch import save_file

from otoscope.encoders.convert import convert

from . import eat_second_hand as eat
from . import mert_v2_second_hand as mert_v2
from . import published
from .textbook import doubled

FIXTURES = Path(__file__).parent / "fixtures"
WRITTEN = (
    "beats", "beats_norm_first", "passt", "muq", "muq_50hz", "musicfm", "mert_v2", "dasheng", "dasheng_hub", "audiomae",
    "audiomae_token", "eat",
)  # fmt: skip
"""Fixtures, but for MusicFM, which is MuQ's body in another wrapping, and Dasheng as the hub has it."""
N_LAYERS = 3


@cache
def fixture(name: str) -> dict[str, np.ndarray]:
    """Return configuration, weights' names, features and states of a small model; read only."""
    name = {"musicfm": "muq", "dasheng_hub": "dasheng"}.get(name, name)
    if name == "mert_v2":
        return _mert_v2()
    if name == "eat":
        return _eat()
    with np.load(FIXTURES / f"{name}.npz") as held:
        return dict(held)


def _mert_v2() -> dict[str, np.ndarray]:
    config, weights, n_samples = published.MERT_V2, published.mert_v2_weights(), 24_100
    exact = doubled(weights)
    mels = [mert_v2.features(config, exact, sound) for sound in seeded.sounds(n_samples)]
    return _held(config, weights, n_samples, mels, [mert_v2.states(config, exact, mel) for mel in mels])


def _eat() -> dict[str, np.ndarray]:
    config, weights, n_samples = published.EAT, published.eat_weights(), 14_480
    exact = {key.removeprefix("model."): value for key, value in doubled(weights).items()}
    banks = [eat.features(s, config["mel_bins"], config["img_size"][0]) for s in seeded.sounds(n_samples)]
    return _held(config, weights, n_samples, banks, [eat.states(config, exact, bank) for bank in banks])


def _held(config, weights, n_samples: int, features, states) -> dict[str, np.ndarray]:
    """Return what the file of another family holds, of what a second implementation gives."""
    return {
        "config": np.array(json.dumps(config)),
        "sounds": np.array(n_samples),
        "shapes": np.array(json.dumps({})),
        "features": np.stack(features[:1]).astype(np.float32),
        **{f"kept/{key}": value for key, value in weights.items()},
        **{f"state/{layer}": np.stack(both) for layer, both in enumerate(zip(*states))},
    }


def published_weights(held: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Return the state dict that the fixture's original had, under its names."""
    weights = seeded.weights(json.loads(str(held["shapes"])))
    if "kept/bias" in held:  # BEATs: the one bias that all blocks share
        weights = {
            key: held["kept/bias"] if key.endswith("relative_attention_bias.weight") else value
            for key, value in weights.items()
        }
    weights |= {
        key.removeprefix("kept/"): held[key] for key in held if key.startswith("kept/") and key != "kept/bias"
    }
    return {key: torch.from_numpy(value) for key, value in weights.items()}


def publish(name: str, folder: Path) -> Path:
    """Save a model as its authors do; return the file or folder that a user gets."""
    held = fixture(name)
    weights = published_weights(held)
    folder.mkdir(parents=True)
    if name.startswith("beats"):
        torch.save({"cfg": json.loads(str(held["config"])), "model": weights}, folder / "beats.pt")
        return folder / "beats.pt"
    if name == "passt":
        torch.save(weights, folder / "passt.pt")
        return folder / "passt.pt"
    config = json.loads(str(held["config"]))
    if name == "dasheng":
        made_there = {"front_end.0.mel_scale.fb": torch.zeros(257, 64), **weights}
        torch.save({"config": config, "model": made_there}, folder / "dasheng.pt")
        return folder / "dasheng.pt"
    if name == "musicfm":
        (folder / "stats.json").write_text(json.dumps(config["stat"] | {"cqt_mean": 0.4}))
        held_by_training = {f"model.{key}": value for key, value in weights.items()}
        torch.save({"state_dict": held_by_training, "seen": {1, 2}}, folder / "musicfm.pt")
        return folder / "musicfm.pt"
    prefix = "model." if name.startswith("muq") else ""
    if name == "dasheng_hub":  # as on the hub, with its sizes a level deeper
        prefix, config = (
            "encoder.",
            {"model_type": "dasheng", "name": "dasheng-base", "encoder_kwargs": config},
        )
    save_file({f"{prefix}{key}": value for key, value in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def loadable(name: str, folder: Path) -> Path:
    """Return a folder that `load_encoder` takes."""
    published = publish(name, folder / "published")
    if published.is_dir():
        return published
    stats = folder / "published" / "stats.json"
    convert(published, folder / name, stats=stats if stats.exists() else None)
    return folder / name
