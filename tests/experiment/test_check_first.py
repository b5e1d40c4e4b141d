"""What can be refused at once is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope.errors import InputError, ModelError, UnknownNameError
from otoscope.experiment import run
from otoscope.experiment.spec import resolve


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve seconds-long recordings of noise, two classes, a speaker each."""
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    names = [f"{i}.wav" for i in range(12)]
    for name in names:
        soundfile.write(tmp_path / "data" / name, 0.1 * rng.standard_normal(16_000), 16_000)
    table = pd.DataFrame({"file_name": names, "word": ["yes", "no"] * 6, "group": names})
    table.to_csv(tmp_path / "data" / "metadata.csv", index=False)
    return tmp_path / "data"


def made(folder: Path, out: Path, encoder: str, refusal: str, **sections) -> set[str]:
    """Run until it is refused; return the stages that were made."""
    spec = {"dataset": {"root": str(folder), "label": "word"}, "encoders": [{"name": encoder}], **sections}
    resolved = resolve(spec)
    with pytest.raises((InputError, ModelError, UnknownNameError), match=refusal):
        run(resolved, out=out)
    return {path.stem for path in (out / "stages").glob("*.json")}


@pytest.mark.parametrize("encoder", ["otoscope-mimi", "./nowhere"])
def test_an_encoder_that_is_not_there_stops_before_the_factors(folder, tmp_path, encoder):
    assert made(folder, tmp_path / "run", encoder, "mimi|nowhere") <= {"clips"}


def test_factors_that_do_not_fit_the_crop_stop_before_extraction(folder, tiny_encoder, tmp_path):
    """A table of factors of whole clips says nothing of half a second of them."""
    table = pd.DataFrame({"clip_id": [f"{i}.wav" for i in range(12)], "pitch": np.arange(12.0)})
    table.to_csv(tmp_path / "factors.csv", index=False)
    sections = {
        "factors": {"name": str(tmp_path / "factors.csv"), "whole_clip": False},
        "extraction": {"crop": "first:0.5"},
    }
    stages = made(folder, tmp_path / "run", str(tiny_encoder), "its factors cover", **sections)
    assert "factors" in stages
    assert not any(stage.startswith("activations") for stage in stages)
