"""What the code of Mariotte et al. (2025) did, so that its figures can be made again and checked.

Each of its rules is a setting that can be switched alone; `otoscope.experiment.protocols.switches` lists them. What
cannot be had from activations that are stored once is stated there, not imitated.
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "protocol": "paper",
    "seed": 42,
    "extraction": {
        "train_crop": "random:8x5,pad",
        "evaluate_crop": "first:5,pad",
        "measure_crop": "full",
        "crops": "in_turn",
        "pool": "paper",
        "precision": "float32",
    },
    "probing": {
        "probe": "linear",
        "pick_layer": "test",
        "interval": "wilson",
        "keep": "valid_loss",
    },
    "saes": {
        "seeds": [0],
        "batch_size": 16,
        "decay_fraction": 0.0,
        "normalise": "none",
        "revive": False,
        "select": "paper",
        "beside": ["final"],
    },
    "factors": {"families": "paper", "whole_clip": True},
    "disentanglement": {
        "rows": "test",
        "fit": "in_sample",
        "alpha": 0.1,
        "empty_completeness": 1.0,
        "selection": "published",
        "entropy": "histogram",
        "nulls": ["untrained", "random"],
        "infomec": "none",
    },
}
