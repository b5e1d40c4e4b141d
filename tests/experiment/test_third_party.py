"""SAE kinds and encoders of another package, and several dictionaries in one run, through ``otoscope run``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import otoscope
from otoscope.experiment import run
from otoscope.results import NULLS

MODULE = '''
"""A package that knows Otoscope: one encoder, one kind of autoencoder."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from otoscope.encoders import Encoder
from otoscope.saes import SAEConfig, SparseAutoencoder


class Ears(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv1d(1, 12, 400, stride=320)
        self.blocks = nn.ModuleList(nn.Linear(12, 12) for _ in range(2))

    def forward(self, waveforms):
        x = 10 * self.stem(waveforms[:, None]).transpose(1, 2).abs()
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return x


def ears(*, device="cpu", precision="float32", revision=None):
    options = {"sample_rate": 16_000, "min_samples": 400, "name": "ears", "device": "cpu"}
    return Encoder.from_module(Ears(), blocks="blocks.*", **options)


@dataclass(frozen=True, kw_only=True)
class ShrinkConfig(SAEConfig):
    kind: ClassVar[str] = "shrink"
    at: float = 0.1


class Shrink(SparseAutoencoder):
    """Codes above a fixed threshold: how many are active cannot be set."""

    config_class = ShrinkConfig

    def __init__(self, config, n_inputs, *, seed=0):
        super().__init__(config, n_inputs, seed=seed)
        start = torch.randn(config.n_latents, n_inputs, generator=torch.Generator().manual_seed(seed))
        self.weight = nn.Parameter(start / n_inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(n_inputs))

    def init_from_data(self, x):
        self.bias.data.copy_(x.mean(0))

    def encode(self, x):
        z = (x - self.bias) @ self.weight.T
        return torch.where(z > self.config.at, z, 0.0)

    def decode(self, z):
        return z @ self.weight + self.bias
'''
ENTRY_POINTS = """
[otoscope.encoders]
ears = acme_ears:ears

[otoscope.saes]
shrink = acme_ears:Shrink
"""
SMALL = {
    "name": "small",
    "dataset": {"name": "synthsing", "label": "technique", "options": {"n_singers": 5}},
    "factors": {"name": "ground_truth"},
    "probing": {"regularisation": [0.01], "few_latents": [1]},
    "disentanglement": {"alphas": [0.1, 0.02], "folds": 3, "infomec": "none"},
}


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what ``pip install acme-ears`` would put into site-packages."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "acme_ears.py").write_text(MODULE)
    about = folder / "acme_ears-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-ears\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture(scope="session")
def singing(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("synthsing"))


def otoscope_run(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    paths = [str(installed), str(Path(otoscope.__file__).parents[1])]
    return subprocess.run(
        [sys.executable, "-m", "otoscope", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installed_package_brings_an_encoder_and_a_kind(installed, singing, tmp_path):
    shrink = {"kind": "shrink", "n_latents": 24, "epochs": 2, "seeds": [0], "options": {"at": 0.01}}
    spec = SMALL | {"encoders": [{"name": "ears", "layers": [2]}], "saes": shrink}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    out = tmp_path / "run"
    done = otoscope_run(
        installed, "run", tmp_path / "spec.yaml", "--out", out, "--set", f"dataset.root={singing}"
    )
    assert done.returncode == 0, done.stderr
    reconstruction = pd.read_csv(out / "results" / "reconstruction.csv")
    assert reconstruction.encoder.tolist() == ["ears"]
    assert reconstruction.sae.tolist() == ["shrink-24"]
    l0 = reconstruction.l0[0]
    assert 0 < l0 < 24
    assert reconstruction.sparsity[0] == pytest.approx(1 - l0 / 24, abs=1e-6)
    factors = pd.read_csv(out / "results" / "disentanglement.csv")
    nulls = {"untrained", "permuted", "pca", "ica", "random", "label", "shuffled"}  # it cannot be frozen
    assert set(factors.representation) == {"dense", "shrink", *nulls}
    assert (out / "report.html").exists()
    listed = otoscope_run(installed, "list", "saes").stdout
    assert "from acme-ears" in listed


def test_an_option_that_an_installed_kind_lacks_is_refused(installed, tmp_path):
    spec = SMALL | {"saes": {"kind": "shrink", "options": {"att": 0.5}}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    refused = otoscope_run(installed, "run", tmp_path / "spec.yaml", "--out", tmp_path / "run")
    assert refused.returncode != 0
    message = " ".join(refused.stderr.split())
    assert "has no option 'att'" in message
    assert "did you mean 'at'" in message
    assert "Traceback" not in refused.stderr


@pytest.fixture(scope="session")
def several(tiny_encoder, singing, tmp_path_factory):
    """One run with dictionaries of three kinds, of which two cannot be told how sparse to be."""
    common = {"n_latents": 32, "epochs": 3, "seeds": [0, 1]}
    sections = [
        common | {"sparsities": [0.75, 0.9]},
        common | {"kind": "relu", "options": {"l1": 0.01}},
        common | {"kind": "relu", "options": {"l1": 0.3}, "epochs": 2},
    ]
    spec = SMALL | {"encoders": [{"name": str(tiny_encoder), "layers": [2]}], "saes": sections}
    folder = tmp_path_factory.mktemp("several")
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return run(folder / "spec.yaml", out=folder / "run", settings=[f"dataset.root={singing}"])


@pytest.mark.slow  # a run of their own
def test_several_kinds_in_one_run(several):
    table = several.table("reconstruction")
    names = ["topk-32-s0.75", "topk-32-s0.9", "relu-32-l1-0.01", "relu-32-l1-0.3"]
    assert list(dict.fromkeys(table.sae)) == names
    for name, own in table.groupby("sae"):
        assert own.seed.tolist() == [0, 1]
        assert own.sparsity.nunique() == 1  # of all seeds, so that they can be averaged
        if name.startswith("relu"):
            assert own.sparsity.iloc[0] == pytest.approx(1 - own.l0.mean() / 32, abs=1e-6)
            assert own.k.isna().all()
    probed = several.table("sae_probing")
    assert probed.sae.tolist() == table.sae.tolist()
    np.testing.assert_allclose(probed.sparsity, table.sparsity)


@pytest.mark.slow  # a run of their own
def test_nulls_share_the_measured_l0_of_the_dictionary_nearest_in_measured_sparsity(several):
    from otoscope.activations import Activations
    from otoscope.experiment.stages.nulls import _untrained
    from otoscope.experiment.stages.saes import load, nearest

    (encoder,) = several.table("reconstruction").encoder.unique()
    folders = sorted((several.root / "saes" / encoder / "layer_02").iterdir())
    folders = [path for path in folders if not path.name.startswith(NULLS)]
    dictionaries = load(several, encoder, 2, folders)
    measured = {d.sae.config.name: [] for d in dictionaries}
    for own in dictionaries:
        measured[own.sae.config.name].append(1 - own.l0 / 32)
    for wanted in (0.95, 0.5, 0.0):
        closest = min(measured, key=lambda name: abs(np.mean(measured[name]) - wanted))
        assert {d.sae.config.name for d in nearest(dictionaries, wanted)} == {closest}
    store = Activations.open(next(path for path in (several.root / "activations").iterdir() if path.is_dir()))
    for own in dictionaries:
        active = (_untrained(own, store.layer(2), "none")(store.layer(2)) != 0).sum(1)
        assert active.max() <= round(own.l0)
        if own.l0 < 12:  # a ReLU of what is not trained opens for about half of the latents, and no more
            assert active.mean() == pytest.approx(own.l0, abs=1)


@pytest.mark.slow  # a run of their own
def test_kinds_are_looked_at_side_by_side(several):
    few = several.table("sparse_probing")
    assert set(few.representation) == {"dense", "topk", "relu"}
    shown = several.table("disentanglement")
    assert {"topk", "relu", "untrained", "shuffled"} <= set(shown.representation)
    assert shown[shown.representation == "untrained"].sparsity.nunique() == 1
