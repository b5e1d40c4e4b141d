"""MERT v2, EAT and MusicFM beside implementations by another hand, at sizes that tell one dimension from another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seeded
import torch
from safetensors.torch import save_file

import otoscope
from otoscope.encoders import FAMILIES

from . import eat_second_hand as eat
from . import mert_v2_second_hand as mert_v2
from . import musicfm_second_hand as musicfm
from .published import EAT, MERT_V2, eat_weights, mert_v2_weights
from .textbook import doubled

STAT = {"melspec_2048_mean": 6.77, "melspec_2048_std": 18.4}
MUSICFM = {
    "model_type": "musicfm", "label_rate": 25, "hop_length": 240, "n_mels": 20, "conv_dim": 6, "encoder_dim": 24,
    "encoder_depth": 2, "stat": STAT,
    "w2v2_config": {
        "hidden_act": "swish", "num_attention_heads": 3, "intermediate_size": 28, "conv_depthwise_kernel_size": 5,
        "position_embeddings_type": "rotary", "rotary_embedding_base": 10_000, "layer_norm_eps": 1e-5,
        "num_conv_pos_embedding_groups": 2,
    },
}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "mert_v2": MERT_V2,
    # a window shorter than its frame, a first stage that widens, three heads, no depth twice
    "mert_v2-odd": MERT_V2 | {
        "hidden_size": 36, "num_attention_heads": 3, "num_mel_bins": 14, "subsampling_channels": [18, 22, 36],
        "subsampling_depths": [2, 1, 3], "num_hidden_layers": 2, "n_fft": 1024, "win_length": 900, "hop_length": 200,
        "rotary_embedding_base": 500, "layer_norm_eps": 1e-3, "subsampling_layer_norm_eps": 1e-2,
        "conv_depthwise_kernel_size": 3,
    },
    "eat": EAT,
    "eat-odd": EAT | {
        "embed_dim": 24, "num_heads": 3, "depth": 2, "mlp_ratio": 2.5, "mel_bins": 48, "img_size": [112, 48],
    },
    "musicfm": MUSICFM,
    "musicfm-odd": MUSICFM | {"hop_length": 250, "n_mels": 36, "conv_dim": 5, "encoder_depth": 1, "stat": {
        "melspec_2048_mean": -3.1, "melspec_2048_std": 9.5}},
}  # fmt: skip


def _weights(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if config["model_type"] == "mert2":
        return mert_v2_weights(config)
    if config["model_type"] == "eat":
        return eat_weights(config)
    family = FAMILIES.get("musicfm")
    shapes = {key: tuple(value.shape) for key, value in family.build(config).state_dict().items()}
    head = config["encoder_dim"] // config["w2v2_config"]["num_attention_heads"]
    turn = 10_000.0 ** (-np.arange(0, head, 2) / head)
    return seeded.weights(shapes) | {"conformer.embed_positions.inv_freq": turn.astype(np.float32)}


def _second_hand(config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> tuple[Callable, Callable]:
    """Return sound -> features and features -> states, by another hand."""
    exact = {key.removeprefix("model."): value for key, value in doubled(weights).items()}
    if config["model_type"] == "mert2":
        return (
            lambda sound: mert_v2.features(config, exact, sound),
            lambda features: mert_v2.states(config, exact, features),
        )
    if config["model_type"] == "eat":
        size = config["mel_bins"], config["img_size"][0]
        return lambda sound: eat.features(sound, *size), lambda features: eat.states(config, exact, features)
    return (
        lambda sound: musicfm.features(config, sound, *config["stat"].values()),
        lambda features: musicfm.states(config, exact, features),
    )


@pytest.fixture(params=CASES)
def pair(request, tmp_path) -> tuple[otoscope.Encoder, Callable, Callable]:
    """An encoder, and what another hand makes of a sound and of its features."""
    config = CASES[request.param]
    return _pair(config, _weights(config), tmp_path)


def _pair(config: Mapping[str, Any], weights: Mapping[str, np.ndarray], folder: Path) -> tuple:
    save_file({key: torch.from_numpy(value) for key, value in weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return (otoscope.load_encoder(folder, device="cpu"), *_second_hand(config, weights))


def _worst(states: Mapping[Any, torch.Tensor], expected: list[np.ndarray]) -> float:
    """Return the largest difference of any state, as a share of the state's largest number."""
    found = [*states.values()]
    assert [tuple(state.shape[1:]) for state in found] == [state.shape for state in expected]
    return max(np.abs(a[0].numpy() - b).max() / np.abs(b).max() for a, b in zip(found, expected, strict=True))


def test_states_are_those_of_another_hand(pair) -> None:
    encoder, features, states = pair
    layers = [*range(encoder.n_layers), "final"]
    click = np.zeros(14_503, np.float32)
    click[7_000] = 1
    for sound in (*seeded.sounds(14_503), click):
        expected = states(features(sound))
        assert np.abs(encoder.frontend(sound).numpy() - features(sound)).max() < 2e-5
        assert _worst(encoder.hidden_states(sound[None], layers), expected) < 1e-5
        given = torch.from_numpy(features(sound).astype(np.float32))[None]
        assert _worst(encoder.run(given, layers), expected) < 1e-5


def test_what_a_tone_leaves_silent_is_rounding(pair) -> None:
    """Bands that a pure tone does not reach hold what float32 leaves there, in the published code too.

    Where sound is, the features agree; from features on, the states do.
    """
    encoder, features, states = pair
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(14_503) / encoder.sample_rate)).astype(np.float32)
    expected = features(tone)
    ours = encoder.frontend(tone).numpy()
    heard = expected > np.quantile(expected, 0.9)
    assert np.abs(ours - expected)[heard].max() < 2e-5
    layers = [*range(encoder.n_layers), "final"]
    assert _worst(encoder.run(torch.from_numpy(ours)[None], layers), states(ours.astype(float))) < 1e-5


def test_a_band_that_never_varied_in_training(tmp_path: Path) -> None:
    """Its deviation of nought is taken for 1e-5."""
    weights = mert_v2_weights()
    weights["feature_extractor.mel_std"][3] = 0
    encoder, features, _ = _pair(MERT_V2, weights, tmp_path)
    sound = seeded.sounds(9_000)[0]
    assert np.abs(features(sound)[:, 3]).max() > 1e4
    np.testing.assert_allclose(encoder.frontend(sound), features(sound), rtol=1e-5, atol=1e-5)


def test_eats_positions_are_sines() -> None:
    """The published table by its formula: half a row tells the band, half the moment."""
    table = eat.positions(24, 5, 3)
    assert table.shape == (15, 24)
    np.testing.assert_allclose(table[0], np.repeat([0, 1, 0, 1], 6))
    moment, band, rate = 4, 2, 10_000 ** (-1 / 6)
    np.testing.assert_allclose(table[moment * 3 + band, 1], np.sin(band * rate))
    np.testing.assert_allclose(table[moment * 3 + band, 19], np.cos(moment * rate))
