"""A user's own folder: what is understood, and what is refused with a message that helps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope.clips import check_label
from otoscope.datasets import load_clips
from otoscope.errors import AudioError, InputError

RATE = 8_000


@pytest.fixture
def folder(tmp_path):
    """Twelve recordings of 0.5 s: two words, four speakers."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        name = f"take_{i:02d}.wav"
        soundfile.write(tmp_path / name, 0.1 * rng.normal(size=RATE // 2), RATE)
        rows.append({"file_name": name, "word": ["yes", "no"][i % 2], "speaker": f"s{i // 3}"})
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path


def rewrite(folder, change) -> None:
    table = pd.read_csv(folder / "metadata.csv")
    change(table).to_csv(folder / "metadata.csv", index=False)


def test_metadata_becomes_a_clips_table(folder):
    clips = load_clips(folder, group="speaker", label="word")
    assert list(clips.columns[:6]) == ["clip_id", "path", "start_s", "stop_s", "split", "group"]
    assert (clips.stop_s == 0.5).all()
    assert (clips.group == clips.speaker).all()
    assert clips.groupby("group").split.nunique().max() == 1
    assert clips.equals(load_clips("folder", root=folder, group="speaker", label="word"))


def test_without_groups_each_recording_is_its_own(folder):
    clips = load_clips(folder, label="word")
    assert clips.group.nunique() == 12
    assert set(clips.split) == {"train", "valid", "test"}


def test_stretches_of_one_file_are_clips_and_stay_together(folder):
    rewrite(
        folder, lambda t: pd.concat([t.assign(start_s=0.0, stop_s=0.2), t.assign(start_s=0.2, stop_s=9.0)])
    )
    clips = load_clips(folder)
    assert clips.clip_id.is_unique
    assert sorted(clips.stop_s.unique()) == [0.2, 0.5]  # never beyond the end of the file
    assert clips.groupby("path").split.nunique().max() == 1


def test_subfolders_are_labels_where_there_is_no_metadata(tmp_path):
    for word in ("yes", "no"):
        (tmp_path / word).mkdir()
        for i in range(4):
            soundfile.write(tmp_path / word / f"{i}.flac", np.zeros(100) + 0.1, RATE)
    clips = load_clips(tmp_path, label="label")
    assert dict(clips.label.value_counts()) == {"yes": 4, "no": 4}


def test_the_split_is_one_whether_the_label_is_named_or_not(tmp_path):
    for name in ("dog", "cat"):
        (tmp_path / name).mkdir()
        for i in range(10):
            soundfile.write(tmp_path / name / f"{i}.wav", np.full(800, 0.1 + i / 100), RATE)
    clips = load_clips(tmp_path)
    assert clips.equals(load_clips(tmp_path, label="label"))
    counts = clips.groupby(["split", "label"]).size().unstack()
    assert (counts.cat - counts.dog).abs().max() <= 1


def test_a_folder_without_audio(tmp_path):
    with pytest.raises(InputError, match="holds no audio"):
        load_clips(tmp_path)


def test_recordings_without_a_word_on_them_can_be_listened_to(tmp_path):
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(100), RATE)
    clips = load_clips(tmp_path)
    assert list(clips.clip_id) == ["a.wav", "b.wav"]
    assert set(clips.split) == {"train"}
    with pytest.raises(InputError, match=r"labels are columns of its metadata\.csv"):
        check_label(clips, "label")


def test_a_recording_beside_the_subfolders_of_the_classes_has_no_label(tmp_path):
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        for number in range(4):
            soundfile.write(tmp_path / folder / f"{number}.wav", np.zeros(100), RATE)
    soundfile.write(tmp_path / "stray.wav", np.zeros(100), RATE)
    clips = load_clips(tmp_path, label="label")
    assert list(clips.label[:-1]) == ["cat"] * 4 + ["dog"] * 4
    assert set(clips.split) == {"train", "valid", "test"}
    with pytest.raises(InputError, match=r"'label' is empty for 1 clips, such as 'stray\.wav'"):
        check_label(clips, "label")


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="no data set, folder"):
        load_clips(tmp_path / "nowhere")
    with pytest.raises(InputError, match="did you mean 'synthsing'"):
        load_clips("synthsinging")


def test_metadata_without_file_name(folder):
    rewrite(folder, lambda t: t.rename(columns={"file_name": "filename"}))
    with pytest.raises(InputError, match="no 'file_name' column; did you mean 'filename'"):
        load_clips(folder)


def test_an_unknown_column_gets_a_suggestion(folder):
    with pytest.raises(InputError, match="did you mean 'speaker'"):
        load_clips(folder, group="speakr")


@pytest.mark.parametrize("kind", ["missing", "zero bytes", "no audio"])
def test_bad_recordings_stop_or_are_counted(folder, kind):
    bad = folder / "take_05.wav"
    bad.unlink()
    if kind != "missing":
        bad.write_bytes(b"" if kind == "zero bytes" else b"this is text")
    with pytest.raises(AudioError, match=r"take_05\.wav"):
        load_clips(folder)
    clips = load_clips(folder, skip_unreadable=True)
    assert len(clips) == 11
    assert len(clips.attrs["left_out"]) == 1
    assert "take_05.wav" in clips.attrs["left_out"][0]


def test_nothing_readable_is_an_error_even_when_skipping(folder):
    for file in folder.glob("*.wav"):
        file.write_bytes(b"x")
    with pytest.raises(InputError, match="none of the 12 recordings"):
        load_clips(folder, skip_unreadable=True)


def test_a_split_with_an_empty_side(folder):
    rewrite(folder, lambda t: t.assign(split="train"))
    with pytest.raises(InputError, match="empty side"):
        load_clips(folder)
