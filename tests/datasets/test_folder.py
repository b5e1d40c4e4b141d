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
    rewrite(folder, lambda t: t.rename(columns={"file_name": "file_nam"}))
    with pytest.raises(InputError, match="no 'file_name' column; did you mean 'file_nam'"):
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
    assert set(load_clips(folder).split) == {"train"}  # enough to listen to
    with pytest.raises(InputError, match="no clip is in 'test': the split has 'train' alone; fill it"):
        check_label(load_clips(folder), "word")


def put(path, level: float = 0.1, seconds: float = 0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((int(seconds * RATE)), level), RATE)


@pytest.mark.parametrize("above", ["", "data/"])
@pytest.mark.parametrize("valid", [None, "validation", "dev"])
def test_folders_of_a_split_are_the_split(tmp_path, above, valid):
    sides = {"train": 20, "test": 6} | ({valid: 4} if valid else {})
    for side, count in sides.items():
        for i in range(count):
            put(tmp_path / f"{above}{side}" / ("cat", "dog")[i % 2] / f"{side}{i}.wav")
    clips = load_clips(tmp_path)
    of_folder = clips.clip_id.str.removeprefix(above).str.split("/").str[0]
    assert (clips.split[of_folder == "test"] == "test").all()
    assert set(clips.split[of_folder == "train"]) == ({"train"} if valid else {"train", "valid"})
    if valid:
        assert (clips.split[of_folder == valid] == "valid").all()
    assert sorted(clips.label.unique()) == ["cat", "dog"]
    assert any("the split is that of the folders" in note for note in clips.attrs["notes"])


def test_a_table_in_each_folder_of_a_split(tmp_path):
    for side, count in {"train": 8, "test": 4}.items():
        for i in range(count):
            put(tmp_path / side / f"{i}.wav")
        rows = [{"file_name": f"{i}.wav", "word": "yn"[i % 2]} for i in range(count)]
        pd.DataFrame(rows).to_csv(tmp_path / side / "metadata.csv", index=False)
    clips = load_clips(tmp_path, label="word")
    assert clips.set_index("clip_id").split[[f"test/{i}.wav" for i in range(4)]].eq("test").all()
    assert (clips.split == "test").sum() == 4
    (tmp_path / "test" / "metadata.csv").unlink()
    with pytest.raises(InputError, match=r"no table describes '.*test/0\.wav', as '.*train/metadata\.csv'"):
        load_clips(tmp_path)


def test_half_a_split_is_refused_and_classes_called_train_are_classes(tmp_path):
    for name in ("train", "bus", "tram"):
        for i in range(4):
            put(tmp_path / name / f"{i}.wav")
    assert sorted(load_clips(tmp_path).label.unique()) == ["bus", "train", "tram"]
    put(tmp_path / "test" / "0.wav")
    with pytest.raises(InputError, match=r"folders of a split \(test, train\), and beside them 'bus/0\.wav'"):
        load_clips(tmp_path)


def test_columns_of_the_clips_tables_own_names_are_taken_and_said(folder):
    rewrite(folder, lambda t: t.assign(group=[f"site{i // 6}" for i in range(12)]))
    clips = load_clips(folder, label="word")
    assert set(clips.group) == {"site0", "site1"}
    assert "'group' is taken for what the clips table calls so" in clips.attrs["notes"][0]
    clips = load_clips(folder, label="word", group="speaker")
    assert (clips.group == clips.speaker).all()
    assert "the groups are of 'speaker'; the column 'group' is left out" in clips.attrs["notes"][0]


def test_speakers_007_and_7_are_two(folder):
    rewrite(folder, lambda t: t.assign(speaker=["007", "7", "1e3", "1000"] * 3))
    clips = load_clips(folder, group="speaker")
    assert sorted(clips.group.unique()) == ["007", "1000", "1e3", "7"]
    rewrite(folder, lambda t: t.assign(speaker=[1, 2, 3, 4] * 3))
    assert load_clips(folder, group="speaker").group.map(type).eq(str).all()
    rewrite(folder, lambda t: t.assign(speaker=[None, *["a", "b", "c"] * 3, "a", "b"]))
    with pytest.raises(InputError, match=r"'speaker' is empty for 1 clips, such as 'take_00\.wav'"):
        load_clips(folder, group="speaker")


def test_classes_called_null_and_na(folder):
    rewrite(folder, lambda t: t.assign(word=["null", "None", "NA", "nan"] * 3))
    clips = load_clips(folder, label="word")
    assert check_label(clips, "word") == "class"
    assert sorted(clips.word.unique()) == ["NA", "None", "nan", "null"]


def test_hidden_files_are_passed_over_and_counted(tmp_path):
    for name in ("cat", "dog"):
        for i in range(4):
            put(tmp_path / name / f"{i}.wav")
    for bad in ("cat/._0.wav", ".stversions/cat/0.wav", "__MACOSX/cat/0.wav"):
        (tmp_path / bad).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / bad).write_bytes(b"\0\5\x16\7")
    clips = load_clips(tmp_path, label="label")
    assert len(clips) == 8
    assert "3 hidden files are passed over" in clips.attrs["notes"][0]


def test_folders_that_are_links_are_followed_once(tmp_path):
    put(tmp_path / "elsewhere" / "0.wav")
    put(tmp_path / "mine" / "dog" / "0.wav")
    (tmp_path / "mine" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine" / "dog" / "round").symlink_to(tmp_path / "mine")
    assert list(load_clips(tmp_path / "mine").clip_id) == ["cat/0.wav", "dog/0.wav"]


@pytest.mark.parametrize("name", ["path", "audio", "filename", "file"])
def test_other_names_of_the_column_of_files(folder, name):
    rewrite(folder, lambda t: t.rename(columns={"file_name": name}))
    assert list(load_clips(folder).clip_id) == [f"take_{i:02d}.wav" for i in range(12)]
    rewrite(folder, lambda t: t.assign(**{"path" if name == "file" else "file": "x.wav"}))
    with pytest.raises(InputError, match="which column names the recordings"):
        load_clips(folder)
    rewrite(folder, lambda t: t.assign(file_name=t[name]))
    assert len(load_clips(folder)) == 12


def test_times_as_text(folder):
    rewrite(folder, lambda t: t.assign(start_s="0:00.1", stop_s="0,4"))
    clips = load_clips(folder)
    assert clips[["start_s", "stop_s"]].drop_duplicates().to_numpy().tolist() == [[0.1, 0.4]]
    rewrite(folder, lambda t: t.assign(stop_s=["0.4"] * 4 + ["late"] + ["0.4"] * 7))
    with pytest.raises(InputError, match="'stop_s' is no number in row 5: 'late'"):
        load_clips(folder)


def test_recordings_outside_the_folder_are_read_with_a_note(folder, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    put(away / "x.wav")
    put(folder.parent / "beside.wav")
    names = [str(away / "x.wav"), "../beside.wav"]
    rewrite(
        folder, lambda t: pd.concat([t, pd.DataFrame({"file_name": names, "word": "yes", "speaker": "s0"})])
    )
    clips = load_clips(folder)
    assert len(clips) == 14
    assert any(
        "2 recordings of" in note and "lie outside its folder" in note for note in clips.attrs["notes"]
    )


def test_a_channel_that_is_named_is_heard(tmp_path):
    from otoscope.audio import read_audio

    sound = np.stack([np.full(RATE, 0.1), np.full(RATE, 0.3)], axis=1)
    soundfile.write(tmp_path / "two.wav", sound, RATE)
    table = pd.DataFrame({"file_name": "two.wav", "clip_id": ["a", "b", "c"], "channel": [1, 2, None]})
    table.to_csv(tmp_path / "metadata.csv", index=False)
    clips = load_clips(tmp_path)
    assert clips.channel.isna().tolist() == [False, False, True]
    levels = [read_audio(tmp_path / "two.wav", channel=c)[0].mean() for c in (1, 2, None)]
    np.testing.assert_allclose(levels, [0.1, 0.3, 0.2], atol=1e-4)
    table.assign(channel=3).to_csv(tmp_path / "metadata.csv", index=False)
    with pytest.raises(AudioError, match=r"two\.wav: has 2 channels; the table asks for channel 3"):
        load_clips(tmp_path)
    table.assign(channel="left").to_csv(tmp_path / "metadata.csv", index=False)
    with pytest.raises(InputError, match="channel must be a whole number from 1"):
        load_clips(tmp_path)


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_metadata_in_other_forms(folder, suffix):
    before = load_clips(folder, group="speaker")
    table = pd.read_csv(folder / "metadata.csv")
    path = folder / f"metadata.{suffix}"
    {
        "tsv": lambda: table.to_csv(path, sep="\t", index=False),
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "parquet": lambda: table.to_parquet(path),
    }[suffix]()
    with pytest.raises(InputError, match="which one describes the recordings"):
        load_clips(folder)
    (folder / "metadata.csv").unlink()
    assert load_clips(folder, group="speaker").equals(before)


def test_recordings_inside_parquet_files_as_datasets_writes_them(tmp_path, monkeypatch):
    import io

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for side, count in {"train": 6, "test": 2}.items():
        rows = []
        for i in range(count):
            memory = io.BytesIO()
            soundfile.write(memory, np.full(800, (i + 1) / 10), RATE, format="FLAC")
            rows.append({"audio": {"bytes": memory.getvalue(), "path": f"{i}.flac"}, "word": "ab"[i % 2]})
        (tmp_path / "set" / "data").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(tmp_path / "set" / "data" / f"{side}-00000-of-00001.parquet")
    clips = load_clips(tmp_path / "set", label="word")
    assert (clips.split == "test").sum() == 2
    assert clips.clip_id.iloc[-1] == "data/train-00000-of-00001/5.flac"
    samples, _ = soundfile.read(clips.path.iloc[-1])
    np.testing.assert_allclose(samples, 0.6, atol=1e-4)
    assert load_clips(tmp_path / "set").path.tolist() == clips.path.tolist()  # not unpacked again
