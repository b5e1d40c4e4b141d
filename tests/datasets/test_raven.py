"""Raven selection tables as Raven writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from otoscope.datasets import load_clips
from otoscope.datasets.checks import check_dataset
from otoscope.errors import InputError

RATE = 8_000
HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def record(path: Path, seconds: float = 4.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones(int(seconds * RATE)), RATE)


def table(path: Path, columns: str, *rows: tuple) -> None:
    lines = [f"{HEADER}\t{columns}".rstrip("\t")]
    for number, (start_s, stop_s, *rest) in enumerate(rows, start=1):
        cells = [number, "Spectrogram 1", 1, start_s, stop_s, 1000.0, 3000.5, *rest]
        lines.append("\t".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def field(tmp_path) -> Path:
    """Four recordings at two sites, a table beside each, named as Raven names it."""
    for i in range(4):
        record(tmp_path / f"night_{i}.wav")
        table(
            tmp_path / f"night_{i}.Table.1.selections.txt",
            "Species\tSite",
            (0.5, 1.0, "owl", f"s{i // 2}"),
            (1.5, 2.25, "nightjar", f"s{i // 2}"),
            (3.0, 3.5, "", f"s{i // 2}"),
        )
    return tmp_path


def test_one_clip_for_each_selection(field):
    clips = load_clips("raven", root=field)
    assert len(clips) == 12
    clip = clips.set_index("clip_id").loc["night_2.Table.1.selections#2"]
    assert (clip.start_s, clip.stop_s) == (1.5, 2.25)
    assert (clip.low_hz, clip.high_hz) == (1000.0, 3000.5)
    assert (clip.Species, clip.Site, clip.recording) == ("nightjar", "s1", "night_2.wav")
    assert clip.path == str(field / "night_2.wav")
    assert (clips.group == clips.recording).all()


def test_selections_without_the_annotation_are_left_out(field):
    clips = load_clips("raven", root=field, label="Species")
    assert len(clips) == 8
    assert clips.attrs["left_out"] == ["4 selections without 'Species', such as night_0.Table.1.selections#3"]


def test_another_column_may_be_the_group(tmp_path):
    rows = [(0.1 * i, 0.1 * i + 0.05, "a", f"bird{i}") for i in range(1, 7)]
    record(tmp_path / "one.wav")
    table(tmp_path / "one.txt", "Call\tBird", *rows)
    clips = load_clips("raven", root=tmp_path, label="Call", group="Bird")
    assert set(clips.group) == {f"bird{i}" for i in range(1, 7)}
    with pytest.raises(InputError, match="group: no column 'Brid'; did you mean 'Bird'"):
        load_clips("raven", root=tmp_path, group="Brid")


def test_files_named_in_the_table_and_offsets_within_them(tmp_path):
    """Several files open in Raven: begin times count from the first, offsets from each file's own start."""
    names = ["a.wav", "b.flac", "c.wav"]
    for name in names:
        record(tmp_path / "sound" / name)
    rows = [(4.0 * i + 1.0, 4.0 * i + 1.5, name, rf"C:\field\{name}", 1.0) for i, name in enumerate(names)]
    table(tmp_path / "all.txt", "Begin File\tBegin Path\tFile Offset (s)", *rows)
    clips = load_clips("raven", root=tmp_path)
    assert (clips.start_s == 1.0).all()
    assert (clips.stop_s == 1.5).all()
    assert clips.path.tolist() == [str(tmp_path / "sound" / name) for name in names]
    table(tmp_path / "all.txt", "Begin File", *[row[:3] for row in rows])
    with pytest.raises(InputError, match=r"all#2 is a point, or begins beyond the end .*File Offset \(s\)"):
        load_clips("raven", root=tmp_path)


def test_a_selection_in_two_views_counts_once(tmp_path):
    for name in "xyz":
        record(tmp_path / f"{name}.wav")
        lines = [f"{HEADER}\tAnnotation"]
        for number in range(1, 5):
            for view, low in (("Waveform 1", ""), ("Spectrogram 1", "500.0")):
                lines.append(f"{number}\t{view}\t1\t{number / 2}\t{number / 2 + 0.2}\t{low}\t900.0\tcall")
        (tmp_path / f"{name}.selections.txt").write_text("\n".join(lines) + "\n")
    clips = load_clips("raven", root=tmp_path)
    assert len(clips) == 12
    assert (clips.low_hz == 500.0).all()  # the spectrogram's row, which knows frequencies


def test_recordings_that_are_elsewhere(field, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    for i in range(4):
        (field / f"night_{i}.wav").rename(away / f"night_{i}.wav")
    tables = tmp_path / "tables"
    tables.mkdir()
    for path in field.glob("*.txt"):
        path.rename(tables / path.name)
    with pytest.raises(InputError, match=r"the recording of 'night_0' is not below .*audio="):
        load_clips("raven", root=tables)
    assert len(load_clips("raven", root=tables, audio=away)) == 12
    with pytest.raises(InputError, match="no such recording or folder"):
        load_clips("raven", root=tables, audio=tmp_path / "nowhere")


def test_one_recording_for_all_selections(tmp_path):
    record(tmp_path / "sound" / "day.wav")
    record(tmp_path / "other.wav")
    table(tmp_path / "calls.txt", "Bird", *[(float(i), i + 0.5, f"bird{i}") for i in range(3)])
    chosen = {"root": tmp_path / "calls.txt", "audio": tmp_path / "sound" / "day.wav"}
    assert set(load_clips("raven", **chosen, group="Bird").recording) == {"day.wav"}
    table(tmp_path / "calls.txt", "Bird", *[(float(i), i + 0.5, "" if i else "wren") for i in range(3)])
    with pytest.raises(InputError, match="'Bird' is empty for 2 clips, such as 'calls#2'"):
        load_clips("raven", **chosen, group="Bird")


def test_what_is_no_table(field, tmp_path):
    (field / "notes.txt").write_text("windy\n")
    assert len(load_clips("raven", root=field)) == 12  # other texts are passed over
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no selection table: expected tab-separated"):
        load_clips("raven", root=tmp_path / "empty")
    table(field / "night_0.Table.1.selections.txt", "Species\tSite", ("early", 2.0, "owl", "s0"))
    with pytest.raises(InputError, match=r"'Begin Time \(s\)' is no number in row 1"):
        load_clips("raven", root=field)


def test_a_check_of_tables(field):
    assert check_dataset("raven", field).problems == []
    (field / "night_1.wav").write_bytes(b"")
    assert any("night_1.wav" in problem for problem in check_dataset("raven", field).problems)


def test_recordings_of_one_name_in_two_folders_are_told_apart_or_refused(tmp_path):
    for site in ("siteA", "siteB"):
        record(tmp_path / site / "x.wav")
        table(
            tmp_path / site / "x.Table.1.selections.txt",
            "Begin File",
            (0.5, 1.0, "x.wav"),
            (2.0, 2.5, "x.wav"),
        )
        table(tmp_path / site / "x.selections.txt", "Note", (1.0, 1.5, "by its own name"))
    clips = load_clips("raven", root=tmp_path)
    assert len(clips) == 6
    for clip_id, path in zip(clips.clip_id, clips.path):
        assert path == str(tmp_path / clip_id.split("/")[0] / "x.wav")
    tables = tmp_path / "tables"
    tables.mkdir()
    table(tables / "all.txt", "Begin Path", (0.5, 1.0, r"D:\field\siteB\x.wav"))
    assert load_clips("raven", root=tables, audio=tmp_path).path.tolist() == [
        str(tmp_path / "siteB" / "x.wav")
    ]
    table(tables / "all.txt", "Begin File", (0.5, 1.0, "x.wav"))
    with pytest.raises(InputError, match=r"the recording 'x\.wav' is '.*siteA/x\.wav' or '.*siteB/x\.wav'"):
        load_clips("raven", root=tables, audio=tmp_path)
    (tables / "all.txt").rename(tables / "x.txt")
    table(tables / "x.txt", "Note", (0.5, 1.0, "y"))
    with pytest.raises(InputError, match=r"the recording of 'x' is '.*siteA/x\.wav' or '.*siteB/x\.wav'"):
        load_clips("raven", root=tables, audio=tmp_path)


def test_tables_in_folders_like_those_of_their_recordings(tmp_path):
    for site in ("siteA", "siteB"):
        record(tmp_path / "audio" / site / "x.wav")
        (tmp_path / "tables" / site).mkdir(parents=True)
        table(tmp_path / "tables" / site / "x.txt", "Note", (0.5, 1.0, site))
    clips = load_clips("raven", root=tmp_path / "tables", audio=tmp_path / "audio")
    assert all(Path(path).parent.name == note for path, note in zip(clips.path, clips.Note))


def test_quote_marks_in_comments_are_text(tmp_path):
    record(tmp_path / "x.wav")
    notes = ['"loud', "6' tall", 'the "good" one', '"', "plain", '5" mic']
    table(tmp_path / "x.txt", "Note", *[(0.5 * i, 0.5 * i + 0.2, note) for i, note in enumerate(notes)])
    assert load_clips("raven", root=tmp_path).Note.tolist() == notes


def test_the_channel_of_a_selection_is_heard(tmp_path):
    from otoscope.factors import compute_factors

    noise = np.random.default_rng(0).normal(size=2 * RATE)
    soundfile.write(tmp_path / "x.wav", np.stack([0.01 * noise, 0.1 * noise], axis=1), RATE)
    lines = [f"{HEADER}\tCall"]
    lines += [f"{c}\tSpectrogram 1\t{c}\t0.5\t1.5\t100.0\t900.0\tcall{c}" for c in (1, 2)]
    (tmp_path / "x.txt").write_text("\n".join(lines) + "\n")
    clips = load_clips("raven", root=tmp_path)
    assert clips.channel.tolist() == [1, 2]
    levels = compute_factors("descriptors", clips, progress=False).table.level_dbfs
    assert levels[1] - levels[0] == pytest.approx(20, abs=0.01)


def test_species_numbers_stay_as_written(tmp_path):
    record(tmp_path / "x.wav")
    table(
        tmp_path / "x.txt",
        "Bird",
        *[(i * 0.5, i * 0.5 + 0.2, b) for i, b in enumerate(["007", "7", "1e3", "1000"])],
    )
    clips = load_clips("raven", root=tmp_path, group="Bird")
    assert sorted(clips.group) == ["007", "1000", "1e3", "7"]


def test_bands_that_a_model_does_not_hear_are_said(field):
    from otoscope.datasets.annotations import band_notes

    clips = load_clips("raven", root=field)
    assert band_notes(clips, 16_000, "a model") == []
    (note,) = band_notes(clips, 4_000, "a model")
    assert "the bands of 12 clips reach above the 2000 Hz that a model hears" in note
    (note,) = band_notes(clips, 1_600, "a model")
    assert "lie above the 800 Hz" in note


def test_the_split_is_one_whatever_label_is_asked_for(field):
    every = load_clips("raven", root=field).set_index("clip_id").split
    asked = load_clips("raven", root=field, label="Species").set_index("clip_id").split
    assert asked.equals(every[asked.index])
