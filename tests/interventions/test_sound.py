"""EnCodec's sound before and after, against transformers' own model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from codec import save_codec
from transformers import EncodecModel

import otoscope
from otoscope.errors import InputError, ModelError
from otoscope.interventions import READOUTS, Sound, answers, replaced_by, scale


@pytest.fixture(scope="module")
def encodec(tmp_path_factory) -> Path:
    return save_codec(tmp_path_factory.mktemp("codec") / "encodec")


@pytest.fixture
def waves() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (2, 4_811)).astype(np.float32)


def test_untouched_is_the_models_own_sound(encodec, waves):
    encoder = otoscope.load_encoder(encodec, device="cpu")
    sound = Sound()
    sound.prepare(encoder)
    whole = EncodecModel.from_pretrained(encodec).eval()
    most = max(whole.config.target_bandwidths)
    with torch.no_grad():
        expected = whole(torch.from_numpy(waves)[:, None], bandwidth=most).audio_values[:, 0].numpy()
    before = answers(encoder, waves, sound)
    assert [len(one) for one in before] == [4_811, 4_811]
    np.testing.assert_allclose(np.stack(before), expected, atol=1e-6)
    assert sound.score(before[0], before[0]) == {"moved": 0.0}
    np.testing.assert_array_equal(sound.tell(before[0]).sound, before[0])


def test_an_edit_is_heard_as_the_decoder_would_make_it(encodec, waves):
    """Zero in place of the LSTM's output: what follows is run by hand."""
    encoder = otoscope.load_encoder(encodec, device="cpu")
    sound = READOUTS.get("sound")(bandwidth_kbps=3.0)
    sound.prepare(encoder)
    before = answers(encoder, waves, sound)
    last = encoder.n_layers
    after = answers(encoder, waves, sound, {last: replaced_by(0.0)})
    whole = EncodecModel.from_pretrained(encodec).eval()
    with torch.no_grad():
        stages = whole.encoder.layers
        n_tokens = -(-4_811 // 40)
        embedded = stages[-1](stages[-2](torch.zeros(1, encoder.widths[last], n_tokens)))
        words = whole.quantizer.encode(embedded, 3.0)
        expected = whole.decoder(whole.quantizer.decode(words))[0, 0, :4_800].numpy()
    np.testing.assert_allclose(
        after[0][:4_800], expected[:4_800], atol=1e-6
    )  # the last token is mostly padding
    moved = ((after[0] - before[0]).astype(float) ** 2).sum() / (before[0].astype(float) ** 2).sum()
    assert sound.score(before[0], after[0])["moved"] == pytest.approx(moved, rel=1e-5)
    assert moved > 1e-4
    same = answers(encoder, waves, sound, {last: scale([], 2.0)})
    np.testing.assert_array_equal(np.stack(same), np.stack(before))


def test_what_has_no_decoder_or_no_such_bandwidth_says_so(encodec, load):
    with pytest.raises(ModelError, match=r"'sound' is a codec's, and .* is of 'hubert'"):
        Sound().prepare(load("hubert"))
    with pytest.raises(InputError, match=r"no bandwidth of 2 kbit/s; it has 1\.5, 3\.0"):
        Sound(bandwidth_kbps=2).prepare(otoscope.load_encoder(encodec, device="cpu"))
