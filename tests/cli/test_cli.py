"""The command line as a person meets it: what it prints, where it stops, and with which code."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from otoscope.cli import main

RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    """Twelve short recordings with a metadata.csv and a spec beside them."""
    root = tmp_path / "mine"
    root.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        soundfile.write(root / f"{i:02d}.wav", 0.1 * rng.normal(size=RATE // 2), RATE)
        rows.append({"file_name": f"{i:02d}.wav", "word": ["yes", "no"][i % 2], "speaker": f"s{i // 2}"})
    pd.DataFrame(rows).to_csv(root / "metadata.csv", index=False)
    dataset = {"name": "folder", "root": ".", "label": "word", "group": "speaker"}
    (root / "spec.yaml").write_text(yaml.safe_dump({"name": "mine", "dataset": dataset}))
    return root


def refused(capsys, *arguments) -> str:
    """Run a command that must fail as a user's mistake does: exit code 2, one message, no traceback."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.split())


def change(folder, **columns) -> None:
    pd.read_csv(folder / "metadata.csv").assign(**columns).to_csv(folder / "metadata.csv", index=False)


def test_no_such_spec(capsys):
    assert "did you mean 'demo'" in refused(capsys, "run", "demos")


def test_no_such_folder(folder, capsys, tmp_path):
    message = refused(
        capsys, "run", folder / "spec.yaml", "--set", "dataset.root=nowhere", "--out", tmp_path / "out"
    )
    assert "no such folder: 'nowhere'" in message


def test_a_folder_without_audio(folder, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    root = f"dataset.root={tmp_path / 'empty'}"
    assert "holds no audio" in refused(
        capsys, "run", folder / "spec.yaml", "--set", root, "--out", tmp_path / "out"
    )


def test_metadata_without_file_name(folder, capsys, tmp_path):
    pd.read_csv(folder / "metadata.csv").rename(columns={"file_name": "file_nam"}).to_csv(
        folder / "metadata.csv"
    )
    message = refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path / "out")
    assert "no 'file_name' column; did you mean 'file_nam'" in message


@pytest.mark.parametrize("kind", ["missing", "empty", "unreadable"])
def test_a_recording_that_cannot_be_used(folder, capsys, tmp_path, kind):
    bad = folder / "03.wav"
    bad.unlink()
    if kind != "missing":
        bad.write_bytes(b"" if kind == "empty" else b"no sound in here")
    assert "03.wav" in refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path / "out")


def test_a_run_may_go_on_without_bad_recordings_and_says_so(folder, capsys, tmp_path, tiny_encoder):
    (folder / "03.wav").write_bytes(b"no sound in here")
    small = [
        "saes.n_latents=16",
        "saes.sparsities=[0.75]",
        "saes.epochs=1",
        "saes.seeds=[0]",
        "probing.few_latents=[1]",
        "disentanglement.nulls=[label]",
        "disentanglement.infomec=none",
        f"encoders.0.name={tiny_encoder}",
    ]
    options = [part for setting in small for part in ("--set", setting)]
    with pytest.raises(SystemExit) as stopped:
        main(
            ["run", str(folder / "spec.yaml"), "--skip-unreadable", "--out", str(tmp_path / "out"), *options]
        )
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "left out 1 recordings" in printed
    last = printed.splitlines()[-1]
    assert "report.html" in last
    assert f"hear with: otoscope explore {tmp_path / 'out'}" in last
    page = (tmp_path / "out" / "report.html").read_text()
    assert "03.wav" in page


def test_a_label_with_one_class(folder, capsys, tmp_path):
    change(folder, word="yes")
    assert "one class only" in refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path / "out")


def test_a_split_with_an_empty_side(folder, capsys, tmp_path):
    change(folder, split="train")
    assert "no clip is in 'test'" in refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path / "out")


def test_an_unknown_key(folder, capsys, tmp_path):
    message = refused(capsys, "run", folder / "spec.yaml", "--set", "saes.epoch=3", "--out", tmp_path / "out")
    assert "unknown key 'saes.epoch'; did you mean 'epochs'" in message
    (folder / "spec.yaml").write_text((folder / "spec.yaml").read_text() + "protocl: sound\n")
    message = refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path / "out")
    assert "unknown key 'protocl'; did you mean 'protocol'" in message


def test_an_output_folder_that_cannot_be_written(folder, capsys, tmp_path):
    (tmp_path / "file").touch()
    message = refused(capsys, "run", folder / "spec.yaml", "--out", tmp_path / "file" / "run")
    assert "cannot write to" in message
    assert "--out" in message


def test_an_unknown_encoder(folder, capsys, tmp_path):
    message = refused(
        capsys, "run", folder / "spec.yaml", "--set", "encoders.0.name=hubert-bse", "--out", tmp_path / "out"
    )
    assert "did you mean 'hubert-base'" in message


@pytest.mark.parametrize("family", ["encoders", "datasets", "saes", "factors", "recipes"])
def test_lists(family, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["list", family])
    assert stopped.value.code == 0
    first = {"encoders": "otoscope-mini", "datasets": "synthsing", "saes": "topk", "factors": "descriptors"}
    assert first.get(family, "demo") in capsys.readouterr().out


def test_the_package_runs_as_a_module():
    shown = subprocess.run(
        [sys.executable, "-m", "otoscope", "--help"], capture_output=True, text=True, check=True
    )
    assert "extract" in shown.stdout


def test_ctrl_c_says_how_to_go_on(capsys, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("otoscope.cli.listen.read_clips", interrupt)
    with pytest.raises(SystemExit) as stopped:
        main(["extract", "synthsing", "--encoder", "otoscope-mini", "--out", "nowhere"])
    assert stopped.value.code == 130
    assert "interrupted; the same command goes on where it was" in capsys.readouterr().err
