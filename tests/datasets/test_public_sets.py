"""Data sets as their publishers lay them out, in tiny trees of their own shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope.clips import COLUMNS
from otoscope.datasets import DATASETS, load_clips
from otoscope.datasets.checks import check_dataset
from otoscope.errors import AudioError, InputError

RATE = 8_000


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(RATE // 20), RATE)


@pytest.fixture
def esc50(tmp_path) -> Path:
    """Two classes, five folds, two fragments of each source."""
    root = tmp_path / "ESC-50-master"
    rows = []
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (1, "rain")):
            for take in "AB":
                source = 1000 * fold + target
                name = f"{fold}-{source}-{take}-{target}.wav"
                sound(root / "audio" / name)
                rows.append([name, fold, target, category, target == 0, source, take])
    (root / "meta").mkdir()
    columns = ["filename", "fold", "target", "category", "esc10", "src_file", "take"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "meta/esc50.csv", index=False)
    return root


def test_esc50_is_split_by_its_folds(esc50):
    clips = load_clips("esc50", root=esc50.parent)  # one above
    assert tuple(clips.columns[:6]) == COLUMNS
    assert dict(clips.groupby("split").fold.unique().map(list)) == {
        "test": [5],
        "train": [1, 2, 3],
        "valid": [4],
    }
    assert (clips.groupby("group").size() == 2).all()  # fragments of one recording stay together
    assert (clips.stop_s == 0.05).all()
    other = load_clips("esc50", root=esc50, test_fold=1, valid_fold=2)
    assert set(other.fold[other.split == "test"]) == {1}


def test_esc50_refuses(esc50, tmp_path):
    with pytest.raises(InputError, match=r"test_fold must be one of 1, 2, 3, 4, 5; got 6"):
        load_clips("esc50", root=esc50, test_fold=6)
    with pytest.raises(InputError, match="both 4"):
        load_clips("esc50", root=esc50, test_fold=4)
    (esc50 / "audio/1-1000-A-0.wav").unlink()
    with pytest.raises(AudioError, match="1-1000-A-0"):
        load_clips("esc50", root=esc50)
    (esc50 / "meta/esc50.csv").unlink()
    with pytest.raises(InputError, match=r"expected meta/esc50\.csv and audio/\*\.wav; it holds .*audio"):
        load_clips("esc50", root=esc50)


@pytest.fixture
def gtzan(tmp_path) -> Path:
    for genre in ("blues", "jazz", "metal"):
        for i in (*range(10), 54):
            sound(tmp_path / "Data/genres_original" / genre / f"{genre}.{i:05d}.wav")
    return tmp_path


def test_gtzan_leaves_its_corrupt_file_out_where_it_is_corrupt(gtzan):
    assert len(load_clips("gtzan", root=gtzan)) == 33
    (gtzan / "Data/genres_original/jazz/jazz.00054.wav").write_bytes(b"corrupt")
    clips = load_clips("gtzan", root=gtzan / "Data/genres_original")
    assert len(clips) == 32
    assert "jazz.00054" in clips.attrs["left_out"][0]
    (gtzan / "Data/genres_original/blues/blues.00003.wav").write_bytes(b"corrupt")
    with pytest.raises(AudioError, match=r"blues\.00003"):
        load_clips("gtzan", root=gtzan)


def test_gtzan_has_every_genre_on_every_side_and_no_groups(gtzan):
    clips = load_clips("gtzan", root=gtzan)
    assert (clips.groupby("split").genre.nunique() == 3).all()
    assert clips.group.is_unique
    assert "no artists known" in DATASETS.summaries()["gtzan"]


def test_gtzan_refuses_another_folder(tmp_path):
    (tmp_path / "rumba").mkdir()
    with pytest.raises(InputError, match=r"expected one folder a genre.*it holds rumba"):
        load_clips("gtzan", root=tmp_path)


@pytest.fixture
def speech_commands(tmp_path) -> Path:
    root = tmp_path / "speech_commands_v0.02"
    speakers = ["00176480", "004ae714", "00b01445", "0132a06d"]
    for word in ("yes", "no", "up"):
        for speaker in speakers:
            for take in (0, 1):
                sound(root / word / f"{speaker}_nohash_{take}.wav")
    sound(root / "_background_noise_/pink_noise.wav")
    for name, speaker in (("validation", speakers[1]), ("testing", speakers[2])):
        lines = [f"{word}/{speaker}_nohash_{take}.wav" for word in ("yes", "no", "up") for take in (0, 1)]
        (root / f"{name}_list.txt").write_text("\n".join(lines) + "\n")
    return root


def test_speech_commands_follows_its_lists(speech_commands):
    clips = load_clips("speech-commands", root=speech_commands)
    assert len(clips) == 24
    assert set(clips.word) == {"yes", "no", "up"}  # noise is no word
    assert set(clips.group[clips.split == "test"]) == {"00b01445"}
    assert set(clips.group[clips.split == "valid"]) == {"004ae714"}
    assert clips.clip_id.iloc[0] == "no/00176480_nohash_0.wav"
    two = load_clips("speech-commands", root=speech_commands, words=["yes", "no"])
    assert set(two.word) == {"yes", "no"}


def test_speech_commands_refuses(speech_commands):
    with pytest.raises(InputError, match="no folder of the word 'yess'; did you mean 'yes'"):
        load_clips("speech-commands", root=speech_commands, words=["yess"])
    gone = speech_commands / "up/00b01445_nohash_1.wav"
    gone.unlink()
    with pytest.raises(
        InputError, match=r"1 recordings of testing_list\.txt are not there, such as 'up/00b01445_nohash_1"
    ):
        load_clips("speech-commands", root=speech_commands)
    assert (
        "up/00b01445_nohash_1.wav: no such file"
        in (load_clips("speech-commands", root=speech_commands, skip_unreadable=True).attrs["left_out"][0])
    )
    (speech_commands / "validation_list.txt").unlink()
    with pytest.raises(InputError, match=r"has no validation_list\.txt"):
        load_clips("speech-commands", root=speech_commands)
    (speech_commands / "testing_list.txt").unlink()
    with pytest.raises(InputError, match=r"expected validation_list\.txt"):
        load_clips("speech-commands", root=speech_commands)


@pytest.fixture
def tiny_fsdd(tmp_path) -> Path:
    for digit in range(3):
        for speaker in ("george", "jackson", "lucas", "theo"):
            for take in range(8):
                sound(tmp_path / "recordings" / f"{digit}_{speaker}_{take}.wav")
    return tmp_path


def test_fsdd_by_index_and_by_speaker(tiny_fsdd):
    clips = load_clips("fsdd", root=tiny_fsdd)
    assert (clips["take"][clips.split == "test"] < 5).all()
    assert (clips["take"][clips.split != "test"] >= 5).all()
    assert set(clips.split) == {"train", "valid", "test"}
    by_speaker = load_clips("fsdd", root=tiny_fsdd, split_by="speaker")
    assert (by_speaker.group == by_speaker.speaker).all()
    assert by_speaker.groupby("speaker").split.nunique().max() == 1
    assert by_speaker.digit.dtype.kind == "i"
    first = load_clips("fsdd", root=tiny_fsdd, split_by="speaker", takes=3)
    assert first.clip_id.tolist() == by_speaker.clip_id[by_speaker["take"] < 3].tolist()


def test_fsdd_refuses(tiny_fsdd, tmp_path):
    with pytest.raises(InputError, match="split_by must be 'index' or 'speaker'"):
        load_clips("fsdd", root=tiny_fsdd, split_by="digit")
    with pytest.raises(InputError, match="takes must be 1 or more; got 0"):
        load_clips("fsdd", root=tiny_fsdd, takes=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"7_jackson_32\.wav; it holds nothing"):
        load_clips("fsdd", root=tmp_path / "empty")


def test_fsdd_itself(fsdd):
    clips = load_clips("fsdd", root=fsdd.parent)
    assert len(clips) == 3000
    assert (clips.split == "test").sum() == 300
    assert clips.groupby(["digit", "speaker"]).size().eq(50).all()
    assert 0.1 < clips.stop_s.median() < 1.0
    found = check_dataset("fsdd", fsdd, decode=False)
    assert found.problems == []
    assert found.n_clips == 3000


def notes_of(folder: Path, instruments: list[str], velocity: int = 100) -> None:
    """Write an NSynth folder with three notes of each instrument, such as bass_synthetic_033."""
    table = {}
    qualities = ["bright", "long_release"]
    for instrument in instruments:
        family, source, _ = instrument.rsplit("_", 2)
        for pitch in (36, 60, 84):
            name = f"{instrument}-{pitch:03d}-{velocity:03d}"
            sound(folder / "audio" / f"{name}.wav")
            table[name] = {
                "note_str": name, "instrument_str": instrument, "instrument_family_str": family, "pitch": pitch,
                "instrument_source_str": source, "velocity": velocity, "qualities_str": qualities[: pitch % 5],
            }  # fmt: skip
    (folder / "examples.json").write_text(json.dumps(table))


@pytest.fixture
def nsynth(tmp_path) -> Path:
    notes_of(
        tmp_path / "nsynth-train", [f"bass_synthetic_{i:03d}" for i in range(8)] + ["vocal_acoustic_000"]
    )
    notes_of(tmp_path / "nsynth-valid", ["organ_electronic_001", "bass_synthetic_100"], velocity=50)
    notes_of(tmp_path / "nsynth-test", ["organ_electronic_001", "bass_synthetic_101"])
    return tmp_path


def test_nsynth_keeps_its_folders_and_names_shared_instruments(nsynth):
    clips = load_clips("nsynth", root=nsynth)
    assert dict(clips.split.value_counts()) == {"train": 27, "valid": 6, "test": 6}
    assert set(clips.group[clips.split == "valid"]) == {"organ_electronic_001 (valid)", "bass_synthetic_100"}
    clip = clips.set_index("clip_id").loc["vocal_acoustic_000-084-100"]
    assert (clip.family, clip.source, clip.pitch, clip.qualities) == (
        "vocal",
        "acoustic",
        84,
        "bright;long_release",
    )
    assert clips.set_index("clip_id").loc["vocal_acoustic_000-060-100", "qualities"] == "none"


def test_nsynth_by_instrument_and_one_folder_alone(nsynth):
    clips = load_clips("nsynth", root=nsynth, valid_by="group")
    assert clips.groupby("group").split.nunique().max() == 1
    assert not clips.path.str.contains("nsynth-valid").any()
    alone = load_clips("nsynth", root=nsynth / "nsynth-train")
    assert set(alone.split) == {"train", "valid", "test"}
    assert len(alone) == 27


def test_nsynth_refuses(nsynth, tmp_path):
    (nsynth / "nsynth-valid").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="lacks nsynth-valid"):
        load_clips("nsynth", root=nsynth)
    (nsynth / "nsynth-test/examples.json").write_text('{"note": {"pitch": 3}}')
    with pytest.raises(InputError, match="damaged or of another kind"):
        load_clips("nsynth", root=nsynth, valid_by="group")
    (nsynth / "nsynth-test/examples.json").unlink()
    with pytest.raises(InputError, match=r"has no examples\.json"):
        load_clips("nsynth", root=nsynth, valid_by="group")
    with pytest.raises(InputError, match="valid_by must be"):
        load_clips("nsynth", root=nsynth, valid_by="clip")


def test_a_check_counts_against_the_published_set(esc50):
    found = check_dataset("esc50", esc50)
    assert "20 clips; the published set has 2,000" in found.problems
    assert "category 'dog': 10 clips; the published set has 40" in found.problems
    (esc50 / "audio/1-1000-A-0.wav").write_bytes(b"")
    soundfile.write(esc50 / "audio/1-1001-A-1.wav", np.zeros(100), 16_000)
    found = check_dataset("esc50", esc50)
    assert any("1-1000-A-0.wav: is an empty file" in problem for problem in found.problems)
    assert any("is silent" in note for note in found.notes)
    assert any("1 files at 16000 Hz where the others have 8000 Hz" in note for note in found.notes)
    assert "expected meta/esc50.csv" in check_dataset("esc50", esc50 / "audio").problems[0]


def test_a_check_of_ones_own_folder(gtzan):
    assert check_dataset("folder", gtzan).problems == []


@pytest.mark.parametrize(
    "name",
    [
        "esc50",
        "gtzan",
        "speech-commands",
        "fsdd",
        "nsynth",
        "raven",
        "vocalset",
        "audacity",
        "textgrid",
        "elan",
    ],
)
def test_every_set_needs_a_root_that_is_there(name, tmp_path):
    with pytest.raises(InputError, match="say where"):
        load_clips(name)
    with pytest.raises(InputError, match="no such folder"):
        load_clips(name, root=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no option 'colour'.* \(options: root"):
        load_clips(name, root=tmp_path, colour="blue")
