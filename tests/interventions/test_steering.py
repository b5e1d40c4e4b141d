"""What to steer by, and a probe of a later layer as a readout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from otoscope.errors import InputError
from otoscope.interventions import Probed, answers, fit_probe, pushes, states_of
from otoscope.saes import build_sae, codes_of, make_config


@pytest.fixture(scope="module")
def rows():
    sae = build_sae(make_config("topk", n_latents=60, k=6), 16, seed=0)
    rng = np.random.default_rng(0)
    towards = np.arange(200) < 80
    x = (rng.standard_normal((200, 16)) + 2 * towards[:, None] * rng.standard_normal(16)).astype(np.float32)
    return sae, x, codes_of(sae, x), towards


def step_of(edit, width=16):
    """What an edit adds to a state, the same wherever it stands."""
    state = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 5, width)).astype(np.float32))
    with torch.no_grad():
        steps = (edit(state) - state).numpy().reshape(5, width)
    assert np.abs(steps - steps[0]).max() < 1e-5
    return steps[0]


def test_pushes_towards_a_class_by_hand(rows):
    sae, x, codes, towards = rows
    by = pushes(sae, x, codes, towards=towards, n_latents=3, seed=0)
    assert list(by) == ["latents", "random latents", "raw direction", "random direction"]
    raw = x[towards].mean(0) - x[~towards].mean(0)
    assert np.abs(step_of(by["raw direction"](2.0)) - 2 * raw).max() < 1e-5
    assert np.linalg.norm(step_of(by["random direction"](2.0))) == pytest.approx(
        2 * np.linalg.norm(raw), rel=1e-4
    )
    between = [
        np.corrcoef(towards, z)[0, 1] ** 2 if z.std() > 0 else -1 for z in codes.T
    ]  # = share between classes
    chosen = np.argsort(between)[-3:]
    gap = codes[towards].mean(0) - codes[~towards].mean(0)
    with torch.no_grad():
        new = torch.zeros(2, 60)
        new[1, chosen] = torch.from_numpy(gap[chosen]).float()
        decoded = sae.decode(new).numpy()
    assert np.abs(step_of(by["latents"](1.0)) - (decoded[1] - decoded[0])).max() < 1e-5
    state = torch.from_numpy(x[:5][None])
    assert all(make(0.0)(state) is state for make in by.values())


def test_scaling_by_a_dose_of_minus_one_switches_off(rows):
    sae, x, codes, _ = rows
    latent = int(np.argmax((codes > 0).sum(0)))
    edit = pushes(sae, x, codes, latents=[latent], how="scale")["latents"](-1.0)
    state = torch.from_numpy(x[None])
    with torch.no_grad():
        off = codes.copy()
        off[:, latent] = 0
        expected = x + (sae.decode(torch.from_numpy(off)) - sae.decode(torch.from_numpy(codes))).numpy()
        assert np.abs(edit(state)[0].numpy() - expected).max() < 1e-5


def test_what_pushes_refuses(rows):
    sae, x, codes, _towards = rows
    with pytest.raises(InputError, match="either latents or a class"):
        pushes(sae, x, codes)
    with pytest.raises(InputError, match="no latent 60"):
        pushes(sae, x, codes, latents=[60])
    silent = codes.copy()
    silent[:, 7] = 0
    with pytest.raises(InputError, match="latent 7 is never active"):
        pushes(sae, x, silent, latents=[7])


def test_a_fitted_probe_says_what_ridge_regression_says(load, noise):
    """Its weights are read off the fit; scikit-learn's, of the same penalty, must agree."""
    encoder = load("hubert")
    clips = [noise[i % 3] * (1 + i) for i in range(12)]
    loudness = np.log1p(np.arange(12.0))
    readout = fit_probe(encoder, clips, loudness, layer=3, kind="number")
    found = np.array([answer.values[0] for answer in answers(encoder, clips, readout)])
    x = np.stack([encoder.hidden_states(clip[None], [3])[3][0].double().numpy().mean(0) for clip in clips])
    z = (x - x.mean(0)) / x.std(0)
    fits = [Ridge(alpha=1 / c).fit(z, loudness).predict(z) for c in 10.0 ** np.arange(-4, 1.1, 0.5)]
    assert min(np.abs(found - fit).max() for fit in fits) < 1e-4


def test_a_fitted_probe_of_classes_knows_its_training_clips(load, noise):
    encoder = load("hubert")
    tone = np.sin(np.arange(noise.shape[1]) / 5).astype(np.float32)
    clips = [noise[0], noise[1], noise[2], tone, 0.5 * tone, 2 * tone]
    labels = ["noise"] * 3 + ["tone"] * 3
    readout = fit_probe(encoder, clips, labels, layer=3)
    assert [answer.says for answer in answers(encoder, clips, readout)] == labels


def test_states_are_of_tokens_that_are_no_padding(load, noise):
    encoder = load("whisper")  # which pads to a second
    short = [noise[0][:8000], noise[1]]
    found = list(states_of(encoder, short, 2))
    states = [encoder.hidden_states(clip[None], [2])[2][0].numpy() for clip in short]
    n = [int(np.ceil(len(clip) / 16_000 * 50)) for clip in short]  # 50 tokens a second
    for own, state, k in zip(found, states, n, strict=True):
        np.testing.assert_allclose(own, state[:k], atol=1e-5)


@pytest.mark.parametrize("name", ["whisper", "ast"])
def test_a_probe_reads_the_tokens_of_sound_alone(name, load, noise):
    """As pooling to means does: of half a second, what the model pads it with says nothing; nor do class tokens."""
    encoder = load(name)
    readout = Probed(2, np.eye(32), np.zeros(32))
    readout.prepare(encoder)
    clips = [noise[0][:8000], noise[1]]  # of two lengths, one after the other
    found = np.stack([answer.values for answer in answers(encoder, clips, readout)])
    for clip, values in zip(clips, found, strict=True):
        state = encoder.hidden_states(clip[None], [2])[2][0].double()
        centres = encoder.tokens(len(clip), 2).time_s
        sound = [i for i, centre in enumerate(centres) if centre < len(clip) / 16_000]
        assert 0 < len(sound) < len(centres)
        np.testing.assert_allclose(values, state[sound].mean(0), atol=1e-5)
