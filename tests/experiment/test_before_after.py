"""Before and after on a codec: the sounds that a run keeps are those that the decoder makes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
from codec import save_codec

import otoscope as oto
from otoscope.experiment.sounds import waveforms_of
from otoscope.experiment.stages.before_after import switched
from otoscope.interventions import Sound, ablate, answers, clamp, through
from otoscope.saes import build_sae, make_config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two latents of three clips switched: the second is the better named, the third never fires."""
    root = tmp_path_factory.mktemp("run")
    encoder = oto.load_encoder(save_codec(root / "encodec"), device="cpu")
    sae = build_sae(make_config("topk", n_latents=24, k=6), n_inputs=encoder.widths[2], seed=0)
    rng = np.random.default_rng(0)
    clips = pd.DataFrame({"clip_id": ["a", "b", "c"], "start_s": 0.0, "stop_s": 0.2})
    clips["path"] = [str(root / f"{name}.wav") for name in clips.clip_id]
    for path in clips.path:
        soundfile.write(path, rng.normal(0, 0.1, 4_800), 24_000)
    examples = [(3, "top", 0, "b", 2.0), (3, "top", 1, "a", 1.0), (3, "control", 0, "c", 0.0)]
    examples += [(7, "top", 0, "c", 2.0), (7, "control", 0, "a", 0.5)]
    described = SimpleNamespace(
        latents=pd.DataFrame(
            {
                "latent": [3, 7, 8],
                "alive": [True, True, False],
                "confidence": [0.2, 0.7, 0.9],
                "mean_active": [0.5, 4.0, 0.0],
            }
        ),
        examples=pd.DataFrame(examples, columns=["latent", "kind", "rank", "clip_id", "value"]),
        clips=clips,
    )
    sound = Sound()
    sound.prepare(encoder)
    rows, shares = switched(
        described, encoder, sound, 2, sae, n_latents=2, n_clips=1, seed=0, root=root, folder="before_after/x"
    )
    return root, encoder, sae, sound, clips, rows, shares


def test_which_latents_in_which_clips(made):
    *_, rows, shares = made
    assert [(row["latent"], row["switched"], row["clip_id"]) for row in rows] == [
        (7, "off", "c"),  # the better named first; no clip in which it is wholly silent
        (3, "off", "b"),
        (3, "on", "c"),
    ]
    assert shares == []
    assert {row["readout"] for row in rows} == {"sound"}


def test_the_sounds_are_the_decoders(made):
    root, encoder, sae, sound, clips, rows, _ = made
    waves = dict(zip(clips.clip_id, waveforms_of(clips, encoder)))
    edits = {"off": through(sae, ablate(3)), "on": through(sae, clamp(3, 0.5))}
    for row in rows[1:]:
        wave = waves[row["clip_id"]]
        for side, edit in (("before", {}), ("after", {2: edits[row["switched"]]})):
            (expected,) = answers(encoder, [wave], sound, edit)
            heard, rate = soundfile.read(root / f"{row['sound']}-{side}.flac")
            assert rate == 24_000
            np.testing.assert_allclose(heard, expected.clip(-1, 1), atol=2e-5)  # 16 bits
        assert row["change"] >= 0
    assert rows[2]["change"] > 0
