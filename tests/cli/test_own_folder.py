"""A person's own folder: one split for all commands, labels that are numbers, sides that are not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope.cli import main
from otoscope.cli.tables import read_clips
from otoscope.datasets import load_clips
from otoscope.errors import InputError
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.spec import resolve
from otoscope.experiment.stages import data

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    """Forty recordings of ten speakers; the rare word is said by two of them. The age tells the pitch."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        age = 20 + i
        tone = 0.2 * np.sin(2 * np.pi * 20 * age * np.arange(RATE // 4) / RATE)
        soundfile.write(tmp_path / f"{i:02d}.wav", tone + 0.01 * rng.normal(size=RATE // 4), RATE)
        word = "rare" if i in (3, 17) else ("yes", "no")[i % 2]
        rows.append({"file_name": f"{i:02d}.wav", "word": word, "age": age, "speaker": f"{i % 10:03d}"})
    pd.DataFrame(rows).to_csv(tmp_path / "metadata.csv", index=False)
    return tmp_path


def run_of(root, folder, **dataset) -> RunDirectory:
    run = RunDirectory(root, spec_of(folder, **dataset))
    run.open()
    return run


def spec_of(folder, **dataset):
    return resolve({"dataset": {"name": "folder", "root": str(folder), "label": "word", **dataset}})


@pytest.mark.parametrize("group", [None, "speaker"])
def test_every_command_and_a_run_draw_one_split(folder, tmp_path, group):
    run = run_of(tmp_path / "run", folder, group=group)
    of_run = data.clips(run)
    for asked in ({}, {"label": "word"}, {"label": "age"}):  # train and disentangle, probe
        found = read_clips(str(folder), group=group, **asked)
        assert found.split.tolist() == of_run.split.tolist()
    assert read_clips(str(folder / "metadata.csv"), group=group).split.tolist() == of_run.split.tolist()
    assert {"train", "test"} <= set(of_run.split[of_run.word == "rare"])


def test_a_split_of_one_side_can_be_listened_to(folder, tmp_path, tiny_encoder, capsys):
    table = pd.read_csv(folder / "metadata.csv", dtype=str)
    table[:4].assign(split="test").to_csv(folder / "metadata.csv", index=False)
    out = tmp_path / "store"
    with pytest.raises(SystemExit) as stopped:
        main(["extract", str(folder), "--encoder", str(tiny_encoder), "--layers", "1", "--out", str(out)])
    assert stopped.value.code == 0
    printed = capsys.readouterr()
    assert "4 rows of layers 1" in printed.out
    assert "'split' is taken for what the clips table calls so" in printed.err
    with pytest.raises(SystemExit) as stopped:
        main(["train", str(out), "--clips", str(folder), "--out", str(tmp_path / "saes")])
    assert stopped.value.code == 2
    assert "is in 'train' (its split has test)" in " ".join(capsys.readouterr().err.split())


def test_whole_numbers_are_a_quantity_where_asked(folder, tmp_path, tiny_encoder, capsys):
    store, out = tmp_path / "store", tmp_path / "probe.csv"
    with pytest.raises(SystemExit):
        main(["extract", str(folder), "--encoder", str(tiny_encoder), "--layers", "1", "--out", str(store)])
    asked = ["probe", str(store), "--clips", str(folder), "--label", "age", "--out", str(out)]
    with pytest.raises(SystemExit) as stopped:
        main(asked)
    assert stopped.value.code == 2
    assert "label_kind number (--label-kind number" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit) as stopped:
        main([*asked, "--label-kind", "number"])
    assert stopped.value.code == 0
    assert pd.read_csv(out).metric.tolist() == ["r2"]


def test_a_run_takes_the_kind_of_its_label_from_the_spec(folder, tmp_path):
    run = run_of(tmp_path / "run", folder, label="age", label_kind="number")
    clips = data.clips(run)
    assert data.kind_of_label(run, clips) == "number"
    other = run_of(tmp_path / "other", folder, label="age")
    with pytest.raises(InputError, match="never in training"):
        data.clips(other)


def test_a_recording_that_breaks_off_does_not_stop_the_factors_of_a_run(folder, tmp_path):
    sound = 0.1 * np.random.default_rng(0).normal(size=RATE)
    soundfile.write(folder / "05.flac", sound, RATE)
    (folder / "05.flac").write_bytes((folder / "05.flac").read_bytes()[:9000])  # its header is whole
    table = pd.read_csv(folder / "metadata.csv", dtype=str).replace("05.wav", "05.flac")
    table.to_csv(folder / "metadata.csv", index=False)
    run = run_of(tmp_path / "run", folder, skip_unreadable=True)
    factors = data.factors(run, data.clips(run))
    assert factors.table.level_dbfs.isna().sum() == 1
    run = run_of(tmp_path / "strict", folder)
    clips = data.clips(run)
    with pytest.raises(InputError, match=r"05\.flac"):
        data.factors(run, clips)


def test_a_clips_table_names_recordings_from_its_own_folder(folder, tmp_path, monkeypatch):
    load_clips(folder).assign(path=[f"{i:02d}.wav" for i in range(40)]).to_csv(
        folder / "clips.csv", index=False
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_clips(str(folder / "clips.csv")).path[0] == str(folder / "00.wav")
