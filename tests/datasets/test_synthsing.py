"""synthsing as a data set: the same samples everywhere, sound files, splits, and who may sing for whom."""

import os
from pathlib import Path

import numpy as np
import pytest

from otoscope.audio import read_audio
from otoscope.datasets import synthsing
from otoscope.datasets.synthsing import (
    SAMPLE_RATE,
    TECHNIQUES,
    VOWELS,
    draw_voice,
    ground_truth,
    plan_clips,
    render,
)
from otoscope.errors import InputError

# Samples 8,000, 12,000 and 20,000 of a clip of seed 0, and its peak. Other machines may differ in the last bits of a
# Fourier transform: 1e-5 is a third of a 16-bit step.
FROZEN = {
    "female1-vibrato-a": (0.0481654, 0.0350683, -0.0620336, 0.1463389),
    "male10-vocal_fry-i": (0.0757340, -0.0206814, 0.0078261, 0.2071872),
    "female8-inhaled-o": (0.0321794, 0.0488489, -0.0252123, 0.1649391),
    "male4-spoken-e": (0.0537352, -0.0065062, 0.0197355, 0.0842131),
    "female5-trillo-u": (0.1092186, 0.0512982, -0.0565384, 0.1560941),
    "male7-lip_trill-a": (0.0169248, 0.0161476, -0.0232688, 0.2259309),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthsing")
    return root, synthsing.load(root, n_singers=3)


@pytest.mark.parametrize("name", FROZEN)
def test_samples_never_change(name):
    singer, technique, vowel = name.split("-")
    waveform = render(draw_voice(0, singer, technique, vowel))
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(
        [*waveform[[8_000, 12_000, 20_000]], np.abs(waveform).max()], FROZEN[name], atol=1e-5
    )


def test_a_clip_does_not_depend_on_what_is_drawn_beside_it():
    few, many = plan_clips(seed=3, n_singers=3), plan_clips(seed=3, n_singers=20, takes=2)
    again = many[many["clip_id"].isin(few["clip_id"])].reset_index(drop=True)
    assert len(few) == 150
    assert again.equals(few)
    assert synthsing.voice_of(few.iloc[7]) == draw_voice(3, "female1", "breathy", "i")


def test_every_clip_is_clean():
    plan = plan_clips(seed=1, n_singers=20)
    plan = plan.iloc[np.random.default_rng(0).choice(len(plan), 100, replace=False)]
    for _, row in plan.iterrows():
        waveform = render(synthsing.voice_of(row))
        assert len(waveform) == round(row["duration_s"] * SAMPLE_RATE)
        assert np.isfinite(waveform).all()
        assert np.abs(waveform).max() < 0.99, row["clip_id"]
        assert abs(waveform.mean()) < 1e-6
        rms = np.sqrt(np.mean(waveform**2))
        assert np.abs(waveform[:80]).max() < 0.2 * rms, "starts with a click"
        assert np.abs(waveform[-80:]).max() < 0.2 * rms, "ends with a click"
        assert np.abs(np.diff(waveform)).max() < 8 * rms, "has a click"


def test_pools_share_no_singer_and_no_noise():
    for seed in (0, 1, 7):
        dataset = plan_clips(seed=seed, n_singers=6)
        pretraining = plan_clips(seed=seed, n_singers=6, pool="pretraining")
        assert not set(dataset["noise_seed"]) & set(pretraining["noise_seed"])
        assert not set(dataset["f0_hz"]) & set(pretraining["f0_hz"])
        assert not set(dataset["f4_hz"]) & set(pretraining["f4_hz"])
    assert len(plan_clips(n_singers=25, pool="pretraining")) == 25 * 50


def test_clips_table(rendered):
    _, clips = rendered
    assert len(clips) == 3 * len(TECHNIQUES) * len(VOWELS)
    assert dict(zip(clips["group"], clips["split"], strict=True)) == {
        "female1": "train", "male3": "test", "female3": "valid",
    }  # fmt: skip
    row = clips.iloc[30]
    waveform, sample_rate = read_audio(row["path"])
    assert sample_rate == SAMPLE_RATE
    assert len(waveform) / SAMPLE_RATE == row["stop_s"]
    np.testing.assert_allclose(
        waveform, render(draw_voice(0, row["group"], row["technique"], row["vowel"])), atol=1 / 32_768
    )


def test_splits_are_fixed_and_mixed():
    split = dict(synthsing.SINGERS)
    sides = {side: {name for name in split if split[name] == side} for side in ("train", "valid", "test")}
    assert sides["test"] == {"female2", "female8", "male3", "male5", "male10"}
    assert [len(sides[side]) for side in ("train", "valid", "test")] == [12, 3, 5]
    assert all({name[0] for name in side} == {"f", "m"} for side in sides.values())


def test_a_stopped_rendering_goes_on(rendered):
    root, clips = rendered
    gone, short, kept = clips["path"].iloc[:3]
    before = os.stat(kept).st_mtime_ns
    whole = Path(short).read_bytes()
    os.remove(gone)
    Path(short).write_bytes(whole[: len(whole) // 2])
    again = synthsing.load(root, n_singers=3)
    assert again.equals(clips)
    assert os.path.isfile(gone)
    assert Path(short).read_bytes() == whole
    assert os.stat(kept).st_mtime_ns == before
    assert not list(root.rglob(".*.wav"))


def test_ground_truth_belongs_to_its_clip(rendered):
    _, clips = rendered
    factors = ground_truth(clips.sample(20, random_state=0))
    assert list(factors.columns) == ["clip_id", "start_s", "stop_s", *synthsing.FACTORS["name"]]
    assert set(synthsing.FACTORS["family"]) <= {
        "pitch",
        "formants",
        "mfcc",
        "spectral",
        "quality",
        "loudness",
        "rhythm",
    }
    assert factors.notna().all(axis=None)
    for row in factors.itertuples():
        _, singer, technique, vowel, _ = row.clip_id.split("-")
        assert row.f0_hz == draw_voice(0, singer, technique, vowel).f0_hz


@pytest.mark.parametrize(
    "name", ["digit_7", "p0-female1-belt-a-0", "s0-female99-belt-a-0", "s0-female1-hum-a-0"]
)
def test_ground_truth_of_a_foreign_clip(rendered, name):
    _, clips = rendered
    with pytest.raises(InputError, match="no clip of synthsing"):
        ground_truth(clips.head(1).assign(clip_id=name))


@pytest.mark.parametrize(
    "options",
    [{"n_singers": 2}, {"n_singers": 21}, {"seed": -1}, {"takes": 0}],
    ids=lambda options: str(options),
)
def test_bad_options(tmp_path, options):
    with pytest.raises(InputError):
        synthsing.load(tmp_path, **options)


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="give another root"):
        synthsing.load(tmp_path / "file", n_singers=3)


def test_default_folder_is_the_users_cache(tmp_path, monkeypatch, rendered):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "otoscope").symlink_to(rendered[0])
    clips = synthsing.load(n_singers=3)
    assert clips["path"].str.startswith(str(tmp_path / "otoscope")).all()
