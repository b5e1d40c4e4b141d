"""CLAP's audio tower: stages as layers, each with its own grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import otoscope
from otoscope.errors import InputError, ModelError

from .conftest import edit_json, save

TEXT = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
AUDIO = {
    "num_mel_bins": 16, "spec_size": 64, "patch_embeds_hidden_size": 8, "hidden_size": 32, "depths": [2, 2, 1],
    "num_attention_heads": [2, 2, 2], "window_size": 4,
}  # fmt: skip


def small_clap(folder: Path, *, fused: bool = False) -> Path:
    """Save a random CLAP of three stages and windows of a second, and return its folder."""
    config = transformers.ClapConfig(
        text_config=TEXT, audio_config=AUDIO | {"enable_fusion": fused}, projection_dim=8
    )
    extractor = transformers.ClapFeatureExtractor(
        feature_size=16, max_length_s=1, truncation="fusion" if fused else "rand_trunc"
    )
    save(folder, "ClapModel", config, extractor)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "fusion"])
def folder(request, tmp_path_factory):
    return small_clap(tmp_path_factory.mktemp("clap") / "clap", fused=request.param)


@pytest.fixture
def encoder(folder):
    return otoscope.load_encoder(folder, device="cpu")


@pytest.fixture
def sound() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (2, 40_000)).astype(np.float32)


def test_layers_are_those_of_transformers(encoder, folder, sound) -> None:
    model = transformers.ClapModel.from_pretrained(folder).audio_model.eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    inputs = extractor(list(sound), sampling_rate=48_000, return_tensors="pt")
    is_longer = torch.zeros(2, 1, dtype=torch.bool)
    with torch.no_grad():
        expected = model(inputs.input_features, is_longer=is_longer, output_hidden_states=True).hidden_states
    states = encoder.hidden_states(sound, [0, 1, 2, 3, "final"])
    assert encoder.n_layers == 3
    for layer, theirs in enumerate(expected):
        assert (states[layer] - theirs.flatten(2).transpose(1, 2)).abs().max() < 1e-5
    assert (states["final"] - model.audio_encoder.norm(states[3])).abs().max() < 1e-5
    assert encoder.widths == {0: 8, 1: 16, 2: 32, 3: 32, "final": 32}
    for layer, state in states.items():
        assert state.shape[1:] == (len(encoder.tokens(40_000, layer)), encoder.widths[layer])
    assert [len(encoder.tokens(40_000, layer)) for layer in (0, 1, 2, 3)] == [256, 64, 16, 16]


def test_a_clip_does_not_depend_on_its_batch(encoder, sound) -> None:
    together = encoder.hidden_states(sound)
    for i, clip in enumerate(sound):
        for layer, state in encoder.hidden_states(clip[None]).items():
            assert (state[0] - together[layer][i]).abs().max() < 1e-5


@pytest.mark.parametrize("at_s", [0.2, 0.55, 0.8])
def test_a_click_is_heard_when_it_sounds(encoder, at_s) -> None:
    silence = np.random.default_rng(1).normal(0, 0.02, 48_000).astype(np.float32)
    click = silence.copy()
    click[int(at_s * 48_000)] = 1.0
    states = [encoder.hidden_states(x[None], [0])[0][0] for x in (silence, click)]
    change = (states[1] - states[0]).abs().sum(-1).numpy()
    tokens = encoder.tokens(48_000)
    times_s = encoder.frame_times(48_000)
    heard = np.array([change[tokens.time_s == time].sum() for time in times_s])
    assert len(times_s) == 64
    assert abs(times_s[heard.argmax()] - at_s) <= tokens.hop_s
    assert encoder.frame_times(24_000)[-1] < 0.5  # the repeated half is no part of the clip


def test_a_high_tone_is_in_a_high_band(encoder) -> None:
    hiss = np.random.default_rng(1).normal(0, 0.001, 48_000).astype(np.float32)
    band, strongest = encoder.tokens(48_000).band, []
    for f0_hz in (400, 9000):
        tone = hiss + 0.3 * np.sin(2 * np.pi * f0_hz * np.arange(48_000) / 48_000).astype(np.float32)
        states = [encoder.hidden_states(x[None], [0])[0][0] for x in (hiss, tone)]
        change = (states[1] - states[0]).abs().sum(-1).numpy()
        strongest.append(np.argmax([change[band == b].mean() for b in range(band.max() + 1)]))
    assert strongest[0] < strongest[1]


def test_stages_past_the_deepest_do_not_run(encoder, sound) -> None:
    runs = []
    for i in (1, 2, 3):
        encoder.tap(i).module.register_forward_hook(lambda *_, i=i: runs.append(i))
    encoder.hidden_states(sound, [1, 0])
    assert runs == [1]


def test_longer_than_its_window_is_refused(encoder) -> None:
    with pytest.raises(InputError, match="too long for one pass"):
        encoder.hidden_states(np.zeros((1, 48_001), np.float32))
    shortest = np.random.default_rng(0).normal(0, 0.1, (1, encoder.min_samples)).astype(np.float32)
    assert all(torch.isfinite(state).all() for state in encoder.hidden_states(shortest).values())
    assert len(encoder.frame_times(encoder.min_samples)) >= 1


def test_a_preprocessor_of_another_model(folder, tmp_path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "clap")
    edit_json(tmp_path / "clap" / "preprocessor_config.json", feature_size=20)
    with pytest.raises(ModelError, match="20 bands"):
        otoscope.load_encoder(tmp_path / "clap", device="cpu")
