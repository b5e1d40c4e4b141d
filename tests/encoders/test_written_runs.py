"""A whole ``otoscope run``, from clips to the report, with a small model of each written family, and of CLAP."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml

from otoscope.audio import write_audio
from otoscope.cli import main

from .test_clap import small_clap
from .written import N_LAYERS, loadable

FAMILIES = ("beats", "passt", "muq", "musicfm", "mert_v2", "dasheng", "audiomae", "eat", "clap")
SPEC = {
    "name": "small",
    "dataset": {"name": "folder", "label": "word"},
    "saes": {"n_latents": 32, "sparsities": [0.75], "seeds": [0], "epochs": 1},
    "probing": {"regularisation": [0.01]},
    "disentanglement": {"nulls": [], "folds": 2, "alphas": [0.1]},
}


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Twelve short tones of two kinds, by six speakers."""
    folder = tmp_path_factory.mktemp("clips")
    rng, rows = np.random.default_rng(0), []
    times_s = np.arange(12_800) / 16_000
    for i in range(12):
        f0_hz = (220, 880)[i % 2] * (1 + 0.02 * i)
        tone = 0.3 * np.sin(2 * np.pi * f0_hz * times_s) + 0.02 * rng.standard_normal(len(times_s))
        write_audio(folder / f"{i}.wav", tone.astype(np.float32), 16_000)
        split = "train" if i < 6 else "valid" if i < 8 else "test"
        rows.append((f"{i}.wav", ("low", "high")[i % 2], f"s{i // 2}", split, f0_hz))
    table = pd.DataFrame(rows, columns=["file_name", "word", "group", "split", "f0_hz"])
    table.drop(columns="f0_hz").to_csv(folder / "metadata.csv", index=False)
    factors = pd.DataFrame({"clip_id": table.file_name, "start_s": 0.0, "stop_s": 0.8})
    factors.assign(f0_hz=table.f0_hz).to_csv(folder / "factors.csv", index=False)
    return folder


@pytest.mark.slow  # a run each
@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_reaches_the_report(name, clips, tmp_path) -> None:
    model = small_clap(tmp_path / "model") if name == "clap" else loadable(name, tmp_path / "model")
    n_layers = 3 if name == "clap" else N_LAYERS
    spec = {
        **SPEC,
        "factors": {"name": str(clips / "factors.csv")},
        "encoders": [{"name": str(model), "layers": [1, "last"]}],
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as stopped:
        main(["run", str(tmp_path / "spec.yaml"), "--out", str(out), "--set", f"dataset.root={clips}"])
    assert stopped.value.code == 0
    assert (out / "report.html").stat().st_size > 10_000
    probing = pd.read_csv(out / "results" / "layer_probing.csv")
    assert probing.layer.astype(str).tolist() == [str(layer) for layer in range(n_layers + 1)]
    reconstruction = pd.read_csv(out / "results" / "reconstruction.csv")
    assert reconstruction.layer.tolist() == [1, n_layers]
    assert np.isfinite(reconstruction.mse).all()
