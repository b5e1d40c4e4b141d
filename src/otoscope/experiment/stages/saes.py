"""Sparse autoencoders on the chosen layers: training as one bank, and how well they reconstruct."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.activations.store import array_name
from otoscope.experiment.run_directory import RunDirectory, Stage
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.views import View, Views
from otoscope.experiment.units import FOLDERS, Unit

if TYPE_CHECKING:
    from otoscope.encoders import Layer
    from otoscope.experiment.spec import SaesSpec
    from otoscope.saes import SAEConfig, SparseAutoencoder

PERMUTED_NUMBERS = 250_000_000
"""Of activations, 1 GB, that the null of permuted ones learns from at most."""

Trained = dict[str, dict[int, list[Path]]]
"""Encoder -> layer -> folders of its autoencoders, architectures in order and seeds within."""


@dataclass(frozen=True)
class Dictionary:
    """A trained autoencoder, and how sparse it is on the test rows."""

    sae: SparseAutoencoder
    sparsity: float
    """As asked for; where the kind cannot be asked, as measured, mean over seeds."""
    l0: float
    """Mean number of active latents in a row."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.sae.name

    @property
    def kind(self) -> str:
        """Name of its kind."""
        return self.sae.config.kind

    @property
    def k(self) -> int:
        """Active latents of a row: as asked for or, where the kind fixes none, as measured."""
        return self.sae.config.active or max(round(self.l0), 1)

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that say which autoencoder a result is of."""
        return describe(self.sae) | {"sparsity": self.sparsity}


def saes(run: RunDirectory, views: dict[str, Views], chosen: dict[str, list[int]]) -> Trained:
    """Train an autoencoder per chosen layer, architecture and seed; write reconstruction.csv on the test rows."""
    trained: Trained = {}
    with run.together() as turn:
        for encoder, own in views.items():
            with turn():
                needs = ["clips", view_name(encoder, "train"), view_name(encoder, "evaluate")]
                sections = [section.model_dump() for section in run.spec.saes]
                asked = [chosen[encoder], sections, run.spec.extraction.crops, run.spec.seed]
                with run.stage(f"saes-{encoder}", asked, after=needs, in_units=True) as stage:
                    if stage.needed:
                        folders = _train(run, encoder, own, chosen[encoder], stage)
                        stage.outputs = {"folders": folders}
                        stage.keep(*(folder for own_folders in folders.values() for folder in own_folders))
                folders = stage.outputs["folders"]
                trained[encoder] = {
                    layer: [run.root / name for name in folders[str(layer)]] for layer in chosen[encoder]
                }
    needs = [name for encoder in views for name in (f"saes-{encoder}", view_name(encoder, "measure"))]
    with run.stage("reconstruction", after=needs) as stage:
        if stage.needed:
            run.write_table("reconstruction", _reconstruction(views, trained))
    return trained


def load(run: RunDirectory, encoder: str, layer: int, folders: list[Path]) -> list[Dictionary]:
    """Return the dictionaries in `folders`, in order, with their measured sparsity."""
    from otoscope.saes import SparseAutoencoder

    table = run.table("reconstruction")
    table = table[(table.encoder == encoder) & (table.layer.astype(int) == layer)]
    measured = {(row.sae, int(row.seed)): row for row in table.itertuples()}
    found = []
    for folder in folders:
        sae = SparseAutoencoder.from_pretrained(folder)
        row = measured[sae.config.name, sae.seed]
        found.append(Dictionary(sae, float(row.sparsity), float(row.l0)))
    return found


def nearest(dictionaries: list[Dictionary], wanted: float) -> list[Dictionary]:
    """Return those of one architecture, all seeds: the one whose measured sparsity is nearest to `wanted`."""
    by_name: dict[str, list[Dictionary]] = {}
    for own in dictionaries:
        by_name.setdefault(own.sae.config.name, []).append(own)
    return min(by_name.values(), key=lambda seeds: abs(_measured(seeds) - wanted))


def nearest_of_kinds(dictionaries: list[Dictionary], wanted: float) -> list[Dictionary]:
    """Return the nearest of each kind, in order."""
    kinds = dict.fromkeys(own.kind for own in dictionaries)
    return [
        found
        for kind in kinds
        for found in nearest([own for own in dictionaries if own.kind == kind], wanted)
    ]


def describe(sae: SparseAutoencoder) -> dict[str, Any]:
    """Return the columns that say which autoencoder a result is of; no sparsity where the kind cannot be asked."""
    return {
        "sae": sae.config.name,
        "sparsity": sae.config.sparsity_target,
        "k": sae.config.active,
        "seed": sae.seed,
    }


def _measured(dictionaries: list[Dictionary]) -> float:
    return 1 - float(np.mean([own.l0 for own in dictionaries])) / dictionaries[0].sae.n_latents


def fit(
    run: RunDirectory,
    views: Views,
    layers: list[int],
    section: SaesSpec,
    configs: list[SAEConfig],
    *,
    permuted: bool = False,
    frozen: str = "nothing",
    checkpoint: Path | None = None,
) -> list[SparseAutoencoder]:
    """Return autoencoders of `layers`, one for each config and seed, trained by the options of `section`.

    Parameters
    ----------
    permuted : bool
        Train and validate on rows whose dimensions were each shuffled: a null.
    frozen : {"nothing", "encoder", "decoder"}
        The part that stays as it was drawn: a null.
    """
    from otoscope.saes import TrainingOptions, train_saes

    valid = views.evaluate.only("valid")
    both: list[Layer] = [*layers, *section.beside]
    if permuted:
        rows = _permuted(views, both, run.spec.seed)
    else:
        held_out = valid.learnt
        rows = _rows(views, both)
        rows |= {"validation": held_out.store, "validation_rows": held_out.rows.index.to_numpy()}
    made = train_saes(
        **rows,
        configs=configs,
        layers=both,
        seeds=section.seeds,
        options=TrainingOptions(**section.training, data_seed=run.spec.seed, frozen=frozen),
        checkpoint=checkpoint,
    )
    return [sae for sae in made if sae.layer is not None and sae.layer not in section.beside]


def save(run: RunDirectory, encoder: str, views: Views, sae: SparseAutoencoder, *, name: str) -> str:
    """Save an autoencoder with a note on what it learnt from; return its folder, from the run's root."""
    assert sae.layer is not None
    sae.about |= {
        "encoder": encoder,
        "dataset": run.spec.dataset.name,
        "rows": len(views.train.learnt.rows),
        "activations": views.train.learnt.store.provenance,
    }
    folder = Path("saes") / encoder / array_name(sae.layer) / name
    sae.save_pretrained(run.root / folder)
    return folder.as_posix()


def _train(
    run: RunDirectory, encoder: str, views: Views, layers: list[int], stage: Stage
) -> dict[str, list[str]]:
    """Train and save, in units; return layer -> folders, from the run's root."""

    def make(name: str, sections: list[SaesSpec], some: list[int]) -> dict[str, Any]:
        configs = [config for section in sections for config in section.configs()]
        checkpoint = stage.folder(run.root) / f"{name}.checkpoint"
        made = fit(run, views, some, sections[0], configs, checkpoint=checkpoint)
        saved = [save(run, encoder, views, sae, name=sae.name) for sae in made]
        shutil.rmtree(checkpoint, ignore_errors=True)
        return {FOLDERS: saved, "layers": [str(sae.layer) for sae in made]}

    parts = {
        f"{number}.{'-'.join(array_name(layer) for layer in some)}": (sections, some)
        for number, sections in enumerate(_trained_together(run.spec.saes))
        for some in trained_apart(sections[0], layers)
    }
    read = run.units([Unit(name, partial(make, name, *part)) for name, part in parts.items()], show=False)
    folders: dict[str, list[str]] = {str(layer): [] for layer in layers}
    for name in parts:
        for layer, folder in zip(read(name)["layers"], read(name)[FOLDERS]):
            folders[layer].append(folder)
    return folders


def trained_apart(section: SaesSpec, layers: list[int]) -> list[list[int]]:
    """Return groups of layers, each a bank: every layer by itself, or all where they share an epoch."""
    return [layers] if section.select == "paper" else [[layer] for layer in layers]


def _trained_together(sections: list[SaesSpec]) -> list[list[SaesSpec]]:
    """Return groups of sections that one pass over the rows trains: those of equal training, seeds and layers."""
    groups: dict[str, list[SaesSpec]] = {}
    for section in sections:
        same = section.training, section.seeds, section.beside, section.reads_pairs
        groups.setdefault(repr(same), []).append(section)
    return list(groups.values())


def _rows(views: Views, layers: list) -> dict[str, Any]:
    """Return what `train_saes` learns from: places in the store or, of crops in turn, arrays with equal counts."""
    if not views.in_turn:
        learnt = views.train.learnt
        return {"activations": learnt.store, "rows": learnt.rows.index.to_numpy()}
    turns = {layer: views.turns(layer) for layer in layers}
    arrays = {
        layer: array.reshape(-1, array.shape[-1]) for layer, array in turns.items() if array is not None
    }
    n_crops, n_clips = next(array.shape[:2] for array in turns.values() if array is not None)
    return {"activations": arrays, "crop": np.repeat(np.arange(n_crops), n_clips)}


def _permuted(views: Views, layers: list, seed: int) -> dict[str, Any]:
    """Return what `train_saes` learns from, each dimension's values in an order of its own, both sides apart.

    It is held in memory: of more rows than `PERMUTED_NUMBERS` allow, as many are drawn.
    """
    from otoscope.saes.nulls import permuted

    def arrays(view: View) -> dict:
        width = sum(view.store.widths[layer] for layer in layers)
        own = view.sample(max(PERMUTED_NUMBERS // width, 2), seed=seed)
        return {layer: permuted(own.layer(layer), seed=seed) for layer in layers}

    valid = views.evaluate.only("valid").learnt
    if views.in_turn:
        rows = _rows(views, layers)
        mixed = {layer: permuted(array, seed=seed) for layer, array in rows["activations"].items()}
        return {"activations": mixed, "crop": rows["crop"], "validation": arrays(valid)}
    mixed = arrays(views.train.learnt)
    no_time = np.zeros(len(next(iter(mixed.values()))))  # any row is any other's neighbour
    return {"activations": mixed, "sequence": no_time, "validation": arrays(valid)}


def _reconstruction(views: dict[str, Views], trained: Trained) -> pd.DataFrame:
    from otoscope.saes import SparseAutoencoder, reconstruction_metrics

    rows = []
    for encoder, layers in trained.items():
        test = views[encoder].measure.only("test")
        for layer, folders in layers.items():
            x = test.learnt.blocks(layer)
            for folder in folders:
                sae = SparseAutoencoder.from_pretrained(folder)
                found = reconstruction_metrics(sae, x)
                where = {"encoder": encoder, "layer": layer, **describe(sae)}
                numbers = {
                    "mse": found.mse,
                    "fvu": found.fvu,
                    "l0": found.l0,
                    "dead_fraction": found.dead_fraction,
                }
                rows.append(where | numbers | {"measured": 1 - found.l0 / sae.n_latents})
    table = pd.DataFrame(rows)
    measured = table.groupby(["encoder", "layer", "sae"]).measured.transform("mean").round(6)
    table["sparsity"] = table.sparsity.astype(float).fillna(measured)  # one value for all seeds
    return table.drop(columns="measured")
