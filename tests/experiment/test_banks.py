"""Which units of a bank a process trains in one go; that the bytes are the same: test_shards.py, saes/training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from otoscope.experiment import RunDirectory, load_spec
from otoscope.experiment.spec import SaesSpec
from otoscope.experiment.stages import banks
from otoscope.experiment.stages.banks import Bank, train_banks
from otoscope.experiment.units import Share, Waits

LAYERS = [1, 2, 3]


@pytest.fixture
def trained(monkeypatch) -> list[list[int]]:
    """The layers of each bank that is trained, by a stand-in that trains nothing."""
    found: list[list[int]] = []

    def fit(run, views, layers, section, configs, *, checkpoint, **changes):
        found.append(list(layers))
        checkpoint.mkdir(parents=True, exist_ok=True)
        saes = [SimpleNamespace(layer=layer, name=f"{config.name}-seed{seed}") for layer in layers
                for config in configs for seed in section.seeds]  # fmt: skip
        if "stop" in changes:
            raise KeyboardInterrupt
        return saes

    def save(run, encoder, views, sae, *, null):
        folder = Path("saes") / f"{sae.layer}" / f"{null}{sae.name}"
        (run.root / folder).mkdir(parents=True, exist_ok=True)
        return folder.as_posix()

    monkeypatch.setattr(banks, "fit", fit)
    monkeypatch.setattr(banks, "save", save)
    return found


def train(
    root: Path, *, share: str = "", width: int = 8, select: str = "own", **changes
) -> dict[int, list[str]]:
    section = SaesSpec(n_latents=8, sparsities=[0.5], seeds=[0, 1], select=select)
    bank = Bank("0", section, section.configs(), LAYERS, changes=changes)
    store = SimpleNamespace(rows=range(1000), widths=dict.fromkeys(LAYERS, width))
    views = SimpleNamespace(train=SimpleNamespace(learnt=SimpleNamespace(store=store)))
    views.evaluate = views.train
    run = RunDirectory(root, load_spec("demo"), share=Share.parse(share) if share else None)
    run.open()
    with run.stage("saes-x", in_units=True) as stage:
        made = train_banks(run, "x", views, [bank], stage)
        assert not list(stage.folder(run.root).glob("*.checkpoint")), "of no use any more"
    return {layer: folders for _, layer, folders in made}


def test_a_process_that_is_alone_trains_small_layers_together(trained, tmp_path):
    found = train(tmp_path)
    assert trained == [LAYERS]
    assert found[2] == ["saes/2/topk-8-s0.5-seed0", "saes/2/topk-8-s0.5-seed1"]
    assert list(found) == LAYERS


def test_shards_train_each_layer_by_itself_and_who_comes_after_them_the_rest_together(trained, tmp_path):
    with pytest.raises(Waits):
        train(tmp_path, share="2/3")
    assert trained == [[2]]
    found = train(tmp_path)
    assert trained == [[2], [1, 3]]
    assert {len(folders) for folders in found.values()} == {2}


def test_large_layers_are_trained_each_by_itself(trained, tmp_path):
    """Rows of all that train together are in memory together."""
    width = banks.SMALL_NUMBERS // 2000 // 2
    train(tmp_path / "two fit", width=width - 1000)
    assert trained == [[1, 2], [3]]
    train(tmp_path / "one fits", width=width)
    assert trained[2:] == [[1], [2], [3]]


def test_layers_that_share_an_epoch_are_one_unit(trained, tmp_path):
    with pytest.raises(Waits):
        train(tmp_path, select="paper", share="2/2")
    assert trained == []
    assert len(train(tmp_path, select="paper")) == 3
    assert trained == [LAYERS]


def test_what_is_stopped_goes_on_from_a_checkpoint_of_the_same_layers(trained, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=True)
    (left,) = tmp_path.glob("work/*/*.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stop=True)
    assert list(tmp_path.glob("work/*/*.checkpoint")) == [left]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, share="1/3", stop=True)
    assert len(list(tmp_path.glob("work/*/*.checkpoint"))) == 2, "of other layers"
