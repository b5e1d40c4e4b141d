"""Files that cannot be used: a clear error, or a recorded skip, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

import otoscope
from otoscope.activations import Activations, plan
from otoscope.errors import AudioError

from .conftest import RATE, change_reader, table, write

BAD = {
    "missing": "no such file",
    "zero bytes": "is an empty file",
    "no samples": "holds no samples",
    "truncated flac": "cannot be decoded",
    "truncated wav": "is truncated",
    "not audio": "cannot be decoded as audio",
    "nan": "NaN or infinite",
    "one sample": "too short for tiny-hubert: 1 samples at 16000 Hz, 60 needed",
    "shorter than the table says": r"ends 0\.50 s before the clips table says \(0\.5 s\)",
    "a little shorter, too short": "holds 30 samples at 16000 Hz, 60 are needed",
    "three hours": r"gives a crop of 10800 s, and one pass takes at most 120 s; use windows",
}


@pytest.fixture
def bad(tmp_path, request):
    """A table of a good clip, one of the kind asked for, and a good one."""
    kind = request.param
    path, stop_s = tmp_path / "bad.wav", 0.5
    sound = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "no samples":
        write(path, np.zeros(0))
    elif kind.startswith("truncated"):
        path = path.with_suffix(f".{kind.split()[1]}")
        write(path, sound)
        path.write_bytes(path.read_bytes()[:4000])
    elif kind == "not audio":
        path.write_text("this is a letter, not a sound")
    elif kind == "nan":
        write(path, np.where(np.arange(8000) == 100, np.nan, sound))
    elif kind == "one sample":
        write(path, sound[:1])
        stop_s = 1 / RATE
    elif kind == "shorter than the table says":
        write(path, sound[:30])
    elif kind == "a little shorter, too short":
        write(path, sound[:30])
        stop_s = 100 / RATE
    elif kind == "three hours":
        write(path, sound)
        stop_s = 3 * 3600.0
    good = [(name, write(tmp_path / f"{name}.wav", sound), 0.0, 0.5) for name in ("before", "after")]
    return kind, table([good[0], ("bad", str(path), 0.0, stop_s), good[1]])


@pytest.mark.parametrize("bad", BAD, indirect=True)
def test_it_stops_with_the_files_name_and_the_reason(bad, encoder, tmp_path) -> None:
    kind, clips = bad
    with pytest.raises(AudioError, match=BAD[kind]) as caught:
        otoscope.extract(clips, encoder, out=tmp_path / "store")
    assert str(caught.value.path) == clips.path[1]


@pytest.mark.parametrize("bad", BAD, indirect=True)
def test_it_goes_on_without_it_if_told_to(bad, encoder, tmp_path) -> None:
    _, clips = bad
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", skip_unreadable=True)
    assert list(store.rows.clip_id) == ["before", "after"]
    assert list(store.skipped.clip_id) == ["bad"]
    assert store.skipped.reason[0]
    alone = otoscope.extract(clips.iloc[[0, 2]], encoder, out=tmp_path / "alone")
    np.testing.assert_allclose(store.layer(2), alone.layer(2), atol=1e-5)
    assert list(Activations.open(tmp_path / "store").skipped.clip_id) == ["bad"]


def test_files_left_out_of_the_table_are_recorded_too(encoder, tmp_path) -> None:
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, 0.1 * np.ones(8000))
    (tmp_path / "c.wav").write_bytes(b"")
    clips = otoscope.load_clips(tmp_path, skip_unreadable=True)
    store = otoscope.extract(clips, encoder, out=tmp_path / "store")
    assert list(store.rows.clip_id) == ["a.wav", "b.wav"]
    (left_out,) = store.skipped.itertuples()
    assert (left_out.path, left_out.reason) == (str(tmp_path / "c.wav"), "is an empty file (0 bytes)")
    again = otoscope.extract(clips.copy(), encoder, out=tmp_path / "store")
    assert list(again.skipped.path) == [left_out.path]


def test_complete_shards_are_kept_when_a_file_is_bad(clips, encoder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 4)
    hidden = tmp_path / "clip8.wav"
    sound = hidden.read_bytes()
    hidden.write_bytes(b"")
    with pytest.raises(AudioError, match="clip8"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", workers=1, batch_size=1)
    kept = Activations.open(tmp_path / "store", partial=True)
    assert list(kept.rows.clip_id)[:4] == list(clips.clip_id[:4])
    hidden.write_bytes(sound)
    assert len(otoscope.extract(clips, encoder, out=tmp_path / "store")) == len(clips)


def test_a_shard_of_nothing_but_bad_files(encoder, tmp_path) -> None:
    clips = table([("a", "nowhere.wav", 0.0, 1.0), ("b", "nowhere.wav", 1.0, 2.0)])
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", skip_unreadable=True)
    assert len(store) == 0
    assert list(store.skipped.clip_id) == ["a", "b"]
    assert store.layer(1).shape == (0, 32)
    assert list(store.batches([1], batch_size=4)) == []


def test_silence_is_sound(encoder, ast, tmp_path) -> None:
    clips = table([("a", write(tmp_path / "a.wav", np.zeros(8000)), 0.0, 0.5)])
    for model in (encoder, ast):
        store = otoscope.extract(clips, model, out=tmp_path / model.name)
        assert np.isfinite(store.layer(2)).all()


def test_a_three_hour_file_in_windows_reads_only_the_windows(encoder, tmp_path) -> None:
    """Windows of a long file are read one by one; a stretch of it is as cheap as a file of its own."""
    path = tmp_path / "long.wav"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(60):
            file.write(0.1 * rng.standard_normal(RATE))
    clips = table([("a", str(path), 0.0, 60.0), ("b", str(path), 30.0, 31.0)])
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", crop="windows:1/10", layers=[1])
    assert list(store.rows.start_s) == [0, 10, 20, 30, 40, 50, 59, 30]
    np.testing.assert_allclose(store.layer(1)[3], store.layer(1)[7], atol=1e-5)


def test_too_loud_for_float16_is_an_error_not_infinity(encoder, clips, tmp_path, monkeypatch) -> None:
    change_reader(encoder, monkeypatch, after=lambda state: state * 1e6)
    with pytest.raises(otoscope.OtoscopeError, match="beyond float16; store float32"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", dtype="float16")


def test_a_model_that_gives_nan_is_an_error(encoder, clips, tmp_path, monkeypatch) -> None:
    change_reader(encoder, monkeypatch, after=lambda state: state * np.nan)
    with pytest.raises(otoscope.OtoscopeError, match="gave NaN"):
        otoscope.extract(clips, encoder, out=tmp_path / "store")
