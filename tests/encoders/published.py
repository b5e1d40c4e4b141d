"""Small models of MERT v2 and EAT as their authors publish them: settings, names and shapes of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seeded

from .musicfm_second_hand import mel_filters

MERT_V2 = {
    "model_type": "mert2", "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_mel_bins": 20, "sampling_rate": 24000, "n_fft": 2048, "win_length": 2048,
    "hop_length": 240, "subsampling_channels": [20, 24, 32], "subsampling_depths": [1, 2, 1],
    "conv_depthwise_kernel_size": 7, "rotary_embedding_base": 10000, "layer_norm_eps": 1e-5,
    "subsampling_layer_norm_eps": 1e-6, "variant": "30s",
}  # fmt: skip
EAT = {
    "model_type": "eat", "embed_dim": 32, "depth": 3, "num_heads": 2, "patch_size": 16, "stride": 16, "in_chans": 1,
    "mel_bins": 128, "max_length": 9, "mlp_ratio": 1.5, "img_size": [96, 128], "layer_norm_first": False,
    "model_variant": "pretrain", "norm_eps": 1e-6,
}  # fmt: skip


def mert_v2_weights(c: Mapping[str, Any] = MERT_V2) -> dict[str, np.ndarray]:
    """Return seeded weights under the published names, tables of the spectrogram included."""
    n_mels, n_fft, n_window = c["num_mel_bins"], c["n_fft"], c["win_length"]
    tables = {
        "feature_extractor.mel_mean": -20 + 5 * seeded.numbers("mel_mean", (n_mels,)),
        "feature_extractor.mel_std": 10 + np.abs(seeded.numbers("mel_std", (n_mels,))),
        "feature_extractor.spectrogram.window": 0.5
        - 0.5 * np.cos(2 * np.pi * np.arange(n_window) / n_window),
        "feature_extractor.mel_scale.fb": mel_filters(n_mels, n_fft),
    }
    return seeded.weights(mert_v2_shapes(c)) | {
        key: value.astype(np.float32) for key, value in tables.items()
    }


def eat_weights(c: Mapping[str, Any] = EAT) -> dict[str, np.ndarray]:
    """Return seeded weights under the published names."""
    width, hidden, side = c["embed_dim"], int(c["embed_dim"] * c["mlp_ratio"]), c["patch_size"]
    n_positions = c["max_length"] * (c["mel_bins"] // side)
    shapes = {
        "local_encoder.proj.weight": (width, 1, side, side),
        "local_encoder.proj.bias": (width,),
        "extra_tokens": (1, 1, width),
        "fixed_positional_encoder.positions": (1, n_positions, width),
        "pre_norm.weight": (width,),
        "pre_norm.bias": (width,),
    }
    for i in range(c["depth"]):
        for name, n_in, n_out in (
            ("attn.qkv", width, 3 * width),
            ("attn.proj", width, width),
            ("mlp.fc1", width, hidden),
            ("mlp.fc2", hidden, width),
        ):
            shapes[f"blocks.{i}.{name}.weight"], shapes[f"blocks.{i}.{name}.bias"] = (n_out, n_in), (n_out,)
        for name in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{name}.weight"] = shapes[f"blocks.{i}.{name}.bias"] = (width,)
    return seeded.weights({f"model.{key}": shape for key, shape in shapes.items()})


def mert_v2_shapes(c: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the weights, tables of the spectrogram left out."""
    width, hidden, n_mels = c["hidden_size"], c["intermediate_size"], c["num_mel_bins"]
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, n_in: int, n_out: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n_out, n_in), (n_out,)

    def norm(name: str, n: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (n,), (n,)

    channels = [n_mels, *c["subsampling_channels"]]
    for i, depth in enumerate(c["subsampling_depths"]):
        n_in, n, stage = channels[i], channels[i + 1], f"subsampling_module.{i}"
        if i or n_in != n:
            norm(f"{stage}.resampling_layer.0", n_in)
            shapes[f"{stage}.resampling_layer.2.weight"] = (n, n_in, 2)
            shapes[f"{stage}.resampling_layer.2.bias"] = (n,)
        for j in range(depth):
            layer = f"{stage}.convnext_layers.{j}"
            shapes[f"{layer}.depthwise_block.1.weight"] = (n, 1, 7)
            shapes[f"{layer}.depthwise_block.1.bias"] = (n,)
            norm(f"{layer}.pointwise_block.0", n)
            linear(f"{layer}.pointwise_block.1", n, 4 * n)
            shapes[f"{layer}.pointwise_block.3.weight"] = shapes[f"{layer}.pointwise_block.3.bias"] = (
                1,
                1,
                4 * n,
            )
            linear(f"{layer}.pointwise_block.4", 4 * n, n)
    for i in range(c["num_hidden_layers"]):
        layer = f"layers.{i}"
        for part in ("ffn1_layer_norm", "attn_layer_norm", "ffn2_layer_norm", "final_layer_norm"):
            norm(f"{layer}.{part}", width)
        norm(f"{layer}.conv_module.layer_norm", width)
        for part in ("ffn1", "ffn2"):
            linear(f"{layer}.{part}.w_1", width, hidden)
            linear(f"{layer}.{part}.w_2", hidden, width)
        for part in ("query_proj", "key_proj", "value_proj", "out_proj"):
            linear(f"{layer}.attn.{part}", width, width)
        shapes[f"{layer}.conv_module.conv_block.1.weight"] = (2 * width, width, 1)
        shapes[f"{layer}.conv_module.conv_block.3.weight"] = (width, 1, c["conv_depthwise_kernel_size"])
        norm(f"{layer}.conv_module.conv_block.4.1", width)
        shapes[f"{layer}.conv_module.conv_block.6.weight"] = (width, width, 1)
    return shapes
