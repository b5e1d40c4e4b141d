"""Whisper with a short window: its states are those of a Whisper that was built so short, and it says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

import otoscope
from otoscope.encoders.load import check_weights, load_recorded
from otoscope.errors import InputError, ModelError, ProvenanceError

from .conftest import FAMILIES, N_LAYERS


@pytest.fixture
def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (2, 5000)).astype(np.float32)


def test_states_are_those_of_a_model_built_so_short(folders, sound) -> None:
    folder = folders("whisper")  # of 1 s and 50 positions
    encoder = otoscope.load_encoder(folder, device="cpu", window_s=0.4)
    whole = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    config = transformers.WhisperConfig.from_pretrained(folder, max_source_positions=20)
    short = transformers.WhisperModel(config).encoder.eval()
    weights = whole.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:20]
    short.load_state_dict(weights)
    extractor = FAMILIES["whisper"][2]
    inputs = extractor(list(sound), sampling_rate=16_000, max_length=6400, return_tensors="pt").input_features
    with torch.no_grad():
        expected = short(inputs, output_hidden_states=True).hidden_states
    states = encoder.hidden_states(sound)
    for layer in range(N_LAYERS):
        assert states[layer].shape[1] == 20
        assert (states[layer] - expected[layer]).abs().max() < 1e-5
    exact = otoscope.load_encoder(folder, device="cpu").hidden_states(sound)
    inside = slice(0, 14)  # before any block only what lies at the window's end can differ
    assert (states[0][:, inside] - exact[0][:, inside]).abs().max() < 1e-5
    assert (states[2][:, inside] - exact[2][:, inside]).abs().max() > 1e-3


def test_tokens_and_limits_are_the_windows(folders) -> None:
    encoder = otoscope.load_encoder(folders("whisper"), device="cpu", window_s=0.4)
    assert encoder.max_samples == 6400
    assert len(encoder.tokens(5000)) == 20
    np.testing.assert_allclose(encoder.tokens(5000).time_s[[0, 1]], [0, 0.02])
    with pytest.raises(InputError, match="too long for one pass"):
        encoder.hidden_states(np.zeros((1, 6401), np.float32))


def test_it_is_in_the_provenance_and_loaded_again_from_it(folders, sound) -> None:
    encoder = otoscope.load_encoder(folders("whisper"), device="cpu", window_s=0.4)
    told = json.loads(json.dumps(encoder.provenance()))
    assert (told["window_s"], told["positions"]) == (0.4, "cut")
    exact = otoscope.load_encoder(folders("whisper"), device="cpu")
    assert not {"window_s", "positions"} & exact.provenance().keys()
    again = load_recorded({**told, "folder": str(folders("whisper"))}, device="cpu")
    assert torch.equal(again.hidden_states(sound, [3])[3], encoder.hidden_states(sound, [3])[3])
    for one, other in ((encoder, exact), (exact, encoder)):
        with pytest.raises(ProvenanceError, match="window_s"):
            check_weights(one, other.provenance())


@pytest.mark.parametrize("window_s", [0, -1, 0.013, 1.02])
def test_windows_that_cannot_be(window_s, folders) -> None:
    with pytest.raises(ModelError, match=r"whole number of them .* from 1 to 50"):
        otoscope.load_encoder(folders("whisper"), device="cpu", window_s=window_s)


def test_it_is_whispers_only(folders) -> None:
    with pytest.raises(ModelError, match="window_s is Whisper's"):
        otoscope.load_encoder(folders("hubert-base"), device="cpu", window_s=1.0)
