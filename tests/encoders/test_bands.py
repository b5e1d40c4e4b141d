"""From where to where the frequency bands of patches look: by transformers' own filters, and by what hears a tone."""

from __future__ import annotations

import numpy as np
import pytest
from transformers.audio_utils import mel_filter_bank

import otoscope

from .test_clap import small_clap
from .written import loadable

RATE = 16_000


def ast(folders):
    return otoscope.load_encoder(folders("ast"), device="cpu")


def test_asts_edges_are_those_of_transformers_filters(folders) -> None:
    """48 filters, patches of 16, every 10 filters: all bins that a patch's filters weigh lie inside, none beside."""
    with np.errstate(all="ignore"):
        filters = mel_filter_bank(
            num_frequency_bins=257, num_mel_filters=48, min_frequency=20, max_frequency=8000, sampling_rate=RATE,
            norm=None, mel_scale="kaldi", triangularize_in_mel_space=True,
        )  # fmt: skip
    bins_hz = np.arange(257) * RATE / 512
    edges = ast(folders).tokens(RATE, 2).bands_hz
    assert edges.shape == (4, 2)
    for band, (low_hz, high_hz) in enumerate(edges):
        heard = filters[:, 10 * band : 10 * band + 16].sum(1) > 0
        np.testing.assert_array_equal(heard, (bins_hz > low_hz) & (bins_hz < high_hz))


def test_the_first_and_last_edges_by_hand(folders) -> None:
    """Mel of 20 Hz 31.7, of 8,000 Hz 2840.0; 49 steps of 57.3: the patch of filters 0 to 15 ends at point 17."""

    def mel(hz: float) -> float:
        return 1127 * np.log(1 + hz / 700)

    edges = ast(folders).tokens(RATE, 0).bands_hz
    step = (mel(8000) - mel(20)) / 49
    end = 700 * (np.exp((mel(20) + 17 * step) / 1127) - 1)
    np.testing.assert_allclose(edges[0], [20, end], rtol=1e-4)
    np.testing.assert_allclose(edges[3, 0], 700 * (np.exp((mel(20) + 30 * step) / 1127) - 1), rtol=1e-4)


def hears(encoder, hz: float) -> int:
    """Return the band whose tokens, of layer 0, a tone in noise changes most."""
    rate, n = encoder.sample_rate, min(encoder.max_samples or RATE, encoder.sample_rate)
    noise = np.random.default_rng(0).normal(0, 0.01, n).astype(np.float32)
    tone = (0.1 * np.sin(2 * np.pi * hz * np.arange(n) / rate)).astype(np.float32)
    states = encoder.hidden_states(np.stack([noise, noise + tone]), [0])[0].numpy()
    tokens = encoder.tokens(n, 0)
    change = np.abs(states[1] - states[0]).mean(1)
    return int(np.argmax([change[tokens.band == band].mean() for band in range(len(tokens.bands_hz))]))


@pytest.mark.parametrize("name", ["ast", "beats", "passt", "audiomae", "eat", "clap", "clap fused"])
def test_a_tone_is_heard_most_by_the_band_that_it_lies_in(name, folders, tmp_path) -> None:
    if name == "ast":
        folder = folders("ast")
    elif name.startswith("clap"):
        folder = small_clap(tmp_path / "clap", fused=name != "clap")
    else:
        folder = loadable(name, tmp_path)
    encoder = otoscope.load_encoder(folder, device="cpu")
    edges = encoder.tokens(encoder.min_samples, 0).bands_hz
    assert (np.diff(edges[:, 0]) > 0).all()
    for band, (low_hz, high_hz) in enumerate(edges):
        before = edges[band - 1, 1] if band else low_hz
        after = edges[band + 1, 0] if band + 1 < len(edges) else high_hz
        alone = (max(low_hz, before) + min(high_hz, after)) / 2  # the middle of what no other band looks at
        assert hears(encoder, alone) == band, (band, alone)


@pytest.mark.parametrize("name", ["dasheng", "muq"])
def test_who_has_no_bands_has_no_edges(name, tmp_path) -> None:
    encoder = otoscope.load_encoder(loadable(name, tmp_path), device="cpu")
    tokens = encoder.tokens(16_000, 0)
    assert tokens.bands_hz is None
    assert (tokens.band == -1).all()


def test_claps_later_stages_have_fewer_and_wider_bands(tmp_path) -> None:
    encoder = otoscope.load_encoder(small_clap(tmp_path / "clap"), device="cpu")
    first, second = (encoder.tokens(encoder.max_samples, layer).bands_hz for layer in (0, 1))
    assert len(first) == 2 * len(second)
    # A band of the second stage is two of the first: from the lower one's foot to the upper one's top.
    np.testing.assert_allclose(second, np.stack([first[::2, 0], first[1::2, 1]], 1))
