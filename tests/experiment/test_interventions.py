"""The stage of interventions in a small run: its tables, cards and page, kept when nothing changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.errors import OtoscopeError, SpecError
from otoscope.experiment import load_spec, run
from otoscope.interventions import READOUTS
from otoscope.report import write_report
from otoscope.results import TABLES

SMALL = [
    "dataset.options={n_singers: 5}",
    "saes.n_latents=32",
    "saes.sparsities=[0.75, 0.9]",
    "saes.epochs=3",
    "disentanglement.alphas=[0.1]",
    "disentanglement.nulls=[]",
    "disentanglement.infomec=none",
    "latents.describe=headline",
    "latents.permutations=20",
    "probing.regularisation=[0.01]",
    "probing.guide=false",
    "probing.few_latents=[]",
    "encoders.0.layers=[1, last]",
    "interventions.splice=true",
    "interventions.clips=12",
    "interventions.erase=technique",
    "interventions.keep=[vowel, group]",
    "interventions.shares=[0.1, 1.0]",
    "interventions.steer=technique=vibrato",
    "interventions.n_latents=3",
    "interventions.doses=[0, 1]",
    "interventions.switch=2",
    "interventions.switch_clips=2",
]
MODULE = '''
import numpy as np


class Loudness:
    """How loud what goes in is: a readout that needs no head, and that no edit of a layer can change."""

    name = "loudness"

    def prepare(self, encoder):
        pass

    def read(self, inputs, plain=None):
        return [float(one.abs().mean()) for one in inputs]

    def score(self, plain, edited, truth=None):
        return {"louder": edited - plain}
'''


@pytest.fixture(scope="module")
def settings(tiny_encoder, tmp_path_factory) -> list[str]:
    return [*SMALL, f"encoders.0.name={tiny_encoder}", f"dataset.root={tmp_path_factory.mktemp('synthsing')}"]


@pytest.fixture(scope="module")
def done(settings, tmp_path_factory):
    return run("demo", out=tmp_path_factory.mktemp("runs") / "first", settings=settings)


def test_tables(done):
    for name in ("splice", "erasure", "erasure_summary", "steering"):
        assert tuple(done.table(name)) == TABLES[name].names, name
    splice = done.table("splice")
    assert set(splice.layer) == {1, 2}
    assert set(splice.readout) == {"probe"}
    assert (splice.n_clips == 12).all()
    assert set(splice.sparsity.dropna()) == {0.75, 0.9}
    kl = splice[splice.measure == "kl"].set_index(["layer", "replaced_by"]).value
    assert abs(kl[1, "untouched"]) < 1e-9
    assert kl[1, "zero"] > 0
    erasure = done.table("erasure")
    assert set(zip(erasure.label, erasure.held_out)) == {
        ("target", "groups"),
        ("vowel", "groups"),
        ("group", "clips"),
    }
    assert set(erasure.seed) == {0, 1}
    steering = done.table("steering")
    assert set(steering.by) == {"latents", "random latents", "raw direction", "random direction"}
    assert set(steering.readout) == {"probe", "probe of vowel", "probe of group"}
    assert set(steering.measure[steering.readout == "probe of group"]) == {"loss", "kl", "changed"}
    kl = steering[steering.measure == "kl"].pivot_table(index="readout", columns="dose", values="value")
    assert kl[0].abs().max() < 1e-9
    assert (kl[1] > 0).all()


def test_each_first_card_says_what_the_model_does_on_reconstructions(done):
    cards = {path.parent.name: path.read_text() for path in done.root.rglob("layer_01/*/README.md")}
    assert "## Splice test" in cards["topk-32-s0.9-seed0"]
    assert "## Splice test" not in cards["topk-32-s0.9-seed1"]
    table = done.table("splice")
    own = table[(table.layer == 1) & (table.sparsity == 0.9) & (table.measure == "kl")]
    assert set(own.replaced_by) == {"reconstruction", "components"}  # as many as the code has active latents
    assert own.k.nunique() == 1
    own = own[own.replaced_by == "reconstruction"].iloc[0]
    assert f"| kl | {own.value:.4g} |" in cards["topk-32-s0.9-seed0"]


def test_what_is_said_before_and_after_single_latents_are_switched(done):
    table, shares = done.table("before_after"), done.table("before_after_shares")
    for name in ("before_after", "before_after_shares"):
        assert tuple(done.table(name)) == TABLES[name].names, name
    assert set(table.layer) == {1, 2}
    assert (table.groupby("layer").latent.nunique() == 2).all()
    assert set(table.switched) <= {"off", "on"}
    assert (table.change > 0).all()
    described = {
        layer: pd.read_parquet(next((done.root / "latents").glob(f"*/layer_0{layer}/*/examples.parquet")))
        for layer in (1, 2)
    }
    for row in table.itertuples():  # off where it fires, on where it is silent
        own = described[row.layer]
        own = own[(own.latent == row.latent) & (own.clip_id == row.clip_id)].iloc[0]
        assert own.kind == ("top" if row.switched == "off" else "control")
        assert (own.value > 0) == (row.switched == "off")
    keys = ["layer", "latent", "switched", "clip_id"]
    for key, own in shares.groupby(keys):
        row = table.set_index(keys).loc[key]
        assert own.set_index("output").before.idxmax() == row.before
        assert own.set_index("output").after.idxmax() == row.after
        assert own.before.sum() <= 1 + 1e-6
    assert len(shares.groupby(keys)) == len(table)


@pytest.mark.slow  # a whole report
def test_nothing_is_made_again_and_the_page_tells(done, settings):
    again = run("demo", out=done.root, settings=settings)
    assert {step["status"] for step in again.stages} == {"kept"}
    page = write_report(done).read_text()
    assert "Splice test" in page
    assert "Erasing" in page
    assert "Steering" in page
    for number in (5, 6):
        assert (done.root / "figures" / f"figure{number}.png").exists()


def test_another_package_brings_a_readout(done, settings, tmp_path, monkeypatch):
    (tmp_path / "acme_loudness.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(READOUTS, "_own", dict(READOUTS._own))
    READOUTS.add("loudness", "acme_loudness:Loudness", "how loud the input is")
    changed = [
        *settings,
        "interventions.readout=loudness",
        "interventions.erase=null",
        "interventions.steer=null",
        "interventions.switch=0",
    ]
    other = run("demo", out=tmp_path / "run", settings=changed, reuse=[done.root])
    table = other.table("splice")
    assert set(table.measure) == {"louder"}
    assert np.abs(table.value).max() == 0
    assert not other.has_table("erasure")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("interventions.erase=techniqe", "no column 'techniqe'; did you mean 'technique'"),
        ("interventions.steer=technique=humming", "takes COLUMN=CLASS of the clips; got 'technique=humming'"),
        ("interventions.readout=wordz", "did you mean 'words'"),
        ("interventions.readout=states", "people cannot be shown what 'states' says"),
        ("latents.describe=none", "switches described latents, and latents.describe is none"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(settings, tmp_path, setting, message):
    with pytest.raises(OtoscopeError, match=message):
        run("demo", out=tmp_path / "run", settings=[*settings, setting])
    assert not (tmp_path / "run" / "activations").exists()


def test_a_key_that_there_is_not(settings):
    with pytest.raises(SpecError, match="did you mean 'splice'"):
        load_spec("demo", settings=["interventions.splize=true"])
