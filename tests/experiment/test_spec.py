"""Specs: four layers resolved in order, and every mistake named before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from otoscope.errors import SpecError
from otoscope.experiment.spec import Spec, load_spec, recipes, resolve


@pytest.fixture
def spec_file(tmp_path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump({"name": "mine", "dataset": {"name": "folder", "root": "audio", "label": "word"}})
    )
    return path


def test_every_default_is_filled_in(spec_file):
    spec = load_spec(spec_file)
    assert spec.saes[0].sparsities == [0.75, 0.8, 0.85, 0.9, 0.95, 0.99]
    assert spec.encoders[0].name == "otoscope-mini"
    assert resolve(spec.model_dump(mode="json")) == spec  # a resolved spec resolves to itself


def test_settings_win_over_the_file(spec_file):
    spec = load_spec(
        spec_file, settings=["saes.epochs=7", "encoders=[{name: ast, layers: [6, 12]}]", "name=other"]
    )
    assert (spec.saes[0].epochs, spec.name) == (7, "other")
    assert spec.encoders[0].layers == [6, 12]


def test_a_setting_reaches_into_a_list():
    assert load_spec("demo", settings=["encoders.0.layers=[2, last]"]).encoders[0].layers == [2, "last"]


def test_a_root_in_the_file_counts_from_the_file(spec_file):
    assert load_spec(spec_file).dataset.root == str(spec_file.parent / "audio")
    assert load_spec(spec_file, settings=["dataset.root=here"]).dataset.root == "here"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("saes.epoch=3", "unknown key 'saes.epoch'; did you mean 'epochs'"),
        ("sae.epochs=3", "unknown key 'sae'; did you mean 'saes'"),
        ("encoders.0.layer=3", "unknown key 'encoders.layer'; did you mean 'layers'"),
        ("saes.sparsities=[1.5]", "no fraction between 0 and 1"),
        ("saes.sparsities=[0.9999]", "leaves no latent"),
        ("saes.sparsities=[]", "at least one sparsity"),
        ("saes.epochs=many", r"saes\.epochs.*got 'many'"),
        ("encoders=[]", "name at least one"),
        ("encoders.4.layers=3", "no index into a list of 1"),
        ("encoders.0=3", "name a key inside"),
        ("name.x=3", "is a value, not a section"),
        ("protocol=sond", "did you mean 'sound'"),
        ("nothing", "KEY=VALUE"),
    ],
)
def test_mistakes_are_named(setting, message):
    with pytest.raises(SpecError, match=message):
        load_spec("demo", settings=[setting])


def test_what_is_no_spec(tmp_path):
    with pytest.raises(SpecError, match="did you mean 'demo'"):
        load_spec("dmeo")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(SpecError, match="must hold a mapping"):
        load_spec(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_spec(tmp_path / "broken.yaml")
    with pytest.raises(SpecError, match=r"'dataset\.label' is missing"):
        resolve({"dataset": {"name": "folder"}})


def test_every_recipe_resolves_and_says_what_it_does():
    for name, summary in recipes().items():
        assert isinstance(load_spec(name), Spec)
        assert len(summary) > 20


def test_crops_in_turn_need_a_row_of_each():
    with pytest.raises(SpecError, match=r"pool 'frames' makes several"):
        load_spec("paper", settings=["extraction.pool=frames"])


def test_one_section_or_several(tmp_path):
    plain = load_spec("demo", settings=["saes.kind=relu", "saes.options.l1=0.3", "saes.epochs=50"])
    assert [config.name for config in plain.saes[0].configs()] == [
        "relu-512-l1-0.3"
    ]  # sparsities are not used
    written = tmp_path / "spec.yaml"
    written.write_text(yaml.safe_dump(plain.model_dump(mode="json")))
    assert load_spec(written, settings=["saes.epochs=7"]).saes[0].epochs == 7
    values = yaml.safe_load(written.read_text())
    values["saes"] = [{"n_latents": 128}, {"kind": "gated", "n_latents": 128}]
    values["protocol"] = "paper"
    written.write_text(yaml.safe_dump(values))
    several = load_spec(written, settings=["saes.1.lr=0.01"])
    assert [(section.kind, section.lr) for section in several.saes] == [("topk", 1e-3), ("gated", 0.01)]
    assert [section.batch_size for section in several.saes] == [16, 16]  # the protocol's, for each
    assert several.beside == ["final"]


@pytest.mark.parametrize(
    ("saes", "message"),
    [
        ({"kind": "rellu"}, "did you mean 'relu'"),
        ({"kind": "relu", "options": {"l2": 1}}, "has no option 'l2'; did you mean 'l1'"),
        ({"kind": "relu", "options": {"l1": -1}}, "l1 must be at least 0"),
        ({"options": {"n_latents": 3}}, "n_latents is a setting of its own"),
        ([{}, {"epochs": 3}], "two dictionaries are called topk-2048-s0.75"),
        ([], "at least one section"),
        ([{"epoch": 3}], "unknown key 'saes.epoch'; did you mean 'epochs'"),
        ([{}, {"kind": "relu", "epochs": 0}], r"saes\.1\.epochs"),
    ],
)
def test_sections_that_cannot_be_are_refused(saes, message):
    with pytest.raises(SpecError, match=message):
        resolve({"dataset": {"label": "technique"}, "saes": saes})
