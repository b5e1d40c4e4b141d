"""Sparse autoencoders on the chosen layers: training as one bank, and how well they reconstruct."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.experiment.run_directory import RunDirectory, Stage
from otoscope.experiment.stages.banks import Bank, train_banks
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.views import Views

if TYPE_CHECKING:
    from otoscope.experiment.spec import SaesSpec
    from otoscope.saes import SparseAutoencoder

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


def _train(
    run: RunDirectory, encoder: str, views: Views, layers: list[int], stage: Stage
) -> dict[str, list[str]]:
    """Train and save, in units; return layer -> folders, from the run's root."""
    banks = []
    for number, sections in enumerate(_trained_together(run.spec.saes)):
        configs = [config for section in sections for config in section.configs()]
        banks.append(Bank(str(number), sections[0], configs, layers))
    folders: dict[str, list[str]] = {str(layer): [] for layer in layers}
    for _, layer, own in train_banks(run, encoder, views, banks, stage):
        folders[str(layer)] += own
    return folders


def _trained_together(sections: list[SaesSpec]) -> list[list[SaesSpec]]:
    """Return groups of sections that one pass over the rows trains: those of equal training, seeds and layers."""
    groups: dict[str, list[SaesSpec]] = {}
    for section in sections:
        same = section.training, section.seeds, section.beside, section.reads_pairs
        groups.setdefault(repr(same), []).append(section)
    return list(groups.values())


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
