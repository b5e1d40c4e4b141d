"""Turn a run into what the package holds: float16 weights, configuration, model card, record of the training."""

import json
import platform
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from card import model_card
from check import probe_layers, probe_mfcc, probe_set
from model import hubert_config
from settings import Settings
from transformers import HubertModel, Wav2Vec2FeatureExtractor


def export_model(run: Path, *, side: str = "test") -> Path:
    """Write `run/model/` from the run's checkpoint and probe what was written, as it is, on one side of the split.

    The weights are stored as float16; the configuration says float32, so that they are computed with as such.
    """
    settings = _settings(run)
    kept = torch.load(run / "checkpoint.pt", weights_only=True)
    prefix = "hubert."
    state = {name.removeprefix(prefix): t for name, t in kept["model"].items() if name.startswith(prefix)}
    model = HubertModel(hubert_config(settings))
    model.load_state_dict(state)
    folder = run / "model"
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n"
    )
    (folder / "model.safetensors").chmod(0o644)  # save_pretrained leaves it readable by its owner only
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)

    stored = HubertModel.from_pretrained(folder).eval()
    clips = probe_set(settings.probe_singers, sides=("train", "valid", side))
    layers, mfcc = probe_layers(stored, clips, side=side), probe_mfcc(clips, side=side)
    n_held_out = int((clips.split == side).sum())
    record = _record(run, settings, kept["progress"])
    record["parameters"] = sum(p.numel() for p in model.parameters())
    record["scores"] = {
        "side": side,
        "n": n_held_out,
        "n_all": len(clips.plan),
        "mfcc": mfcc,
        "layers": layers.to_dict("records"),
    }
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / "README.md").write_text(model_card(record))
    print(layers.round(3).to_string(index=False), f"\nmean MFCC: {mfcc}", flush=True)
    return folder


def _settings(run: Path) -> Settings:
    values = json.loads((run / "settings.json").read_text())
    return Settings(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _record(run: Path, settings: Settings, progress: dict) -> dict:
    first_sample = np.load(run / "corpus" / "first_sample.npy")
    steps = sum(settings.steps[: progress["stage"]]) + progress["step"]
    return {
        "settings": json.loads((run / "settings.json").read_text()),
        "steps": steps,
        "stages": progress["stage"] + 1,
        "train_s": round(progress["train_s"]),
        "steps_per_s": round(steps / progress["train_s"], 2),
        "audio_heard_h": round(progress["audio_s"] / 3600, 2),
        "corpus_clips": len(first_sample) - 1,
        "corpus_h": round(float(first_sample[-1]) / 16_000 / 3600, 2),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s)",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
            "pandas": pd.__version__,
        },
    }
