"""Sparse autoencoders on the chosen layers: training as one bank, and how well they reconstruct."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.activations.store import array_name
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import heard_as
from otoscope.experiment.stages.rows import Heard

if TYPE_CHECKING:
    from otoscope.saes import SparseAutoencoder

Trained = dict[str, dict[int, list[Path]]]
"""Encoder -> layer -> folders of its autoencoders, sparsities in order and seeds within."""


def saes(run: RunDirectory, heard: dict[str, Heard], chosen: dict[str, list[int]]) -> Trained:
    """Train an autoencoder per chosen layer, sparsity and seed; write reconstruction.csv on the test rows."""
    settings = run.spec.saes
    trained: Trained = {}
    for encoder, own in heard.items():
        needs = ["clips", heard_as(encoder, "train"), heard_as(encoder, "evaluate")]
        asked = [chosen[encoder], settings.model_dump(), run.spec.extraction.crops, run.spec.seed]
        with run.stage(f"saes-{encoder}", asked, after=needs) as stage:
            if stage.needed:
                checkpoint = run.root / "checkpoints" / f"{stage.name}-{stage.fingerprint}"
                stage.outputs = {"folders": _train(run, encoder, own, chosen[encoder], checkpoint)}
                stage.keep(*(folder for folders in stage.outputs["folders"].values() for folder in folders))
                shutil.rmtree(checkpoint, ignore_errors=True)
        folders = stage.outputs["folders"]
        trained[encoder] = {
            layer: [run.root / name for name in folders[str(layer)]] for layer in chosen[encoder]
        }
    needs = [name for encoder in heard for name in (f"saes-{encoder}", heard_as(encoder, "measure"))]
    with run.stage("reconstruction", after=needs) as stage:
        if stage.needed:
            run.write_table("reconstruction", _reconstruction(heard, trained))
    return trained


def load(folders: list[Path]) -> list[SparseAutoencoder]:
    """Return the autoencoders of `folders`, in order."""
    from otoscope.saes import SparseAutoencoder

    return [SparseAutoencoder.from_pretrained(folder) for folder in folders]


def describe(sae: SparseAutoencoder) -> dict:
    """Return the columns that say which autoencoder a result is of."""
    return {
        "sae": sae.config.name,
        "sparsity": sae.config.sparsity_target,
        "k": sae.config.active,
        "seed": sae.seed,
    }


def _train(
    run: RunDirectory, encoder: str, heard: Heard, layers: list[int], checkpoint: Path
) -> dict[str, list[str]]:
    """Train, save, and return layer -> folders, from the run's root."""
    from otoscope.saes import make_config, train_saes

    settings = run.spec.saes
    configs = [
        make_config(settings.kind, n_latents=settings.n_latents, sparsity=s) for s in settings.sparsities
    ]
    valid = heard.evaluate.only("valid")
    both = [*layers, *settings.beside]
    made = train_saes(
        **_rows(heard, both),
        configs=configs,
        layers=both,
        seeds=settings.seeds,
        validation=valid.store,
        validation_rows=valid.rows.index.to_numpy(),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        decay_fraction=settings.decay_fraction,
        normalise=settings.normalise,
        start=settings.start,
        revive=settings.revive,
        select=settings.select,
        data_seed=run.spec.seed,
        checkpoint=checkpoint,
    )
    folders: dict[str, list[str]] = {str(layer): [] for layer in layers}
    for sae in made:
        if sae.layer in settings.beside:
            continue
        sae.about |= {
            "encoder": encoder,
            "dataset": run.spec.dataset.name,
            "rows": len(heard.train.rows),
            "activations": heard.train.store.provenance,
        }
        folder = Path("saes") / encoder / array_name(sae.layer) / sae.name
        sae.save_pretrained(run.root / folder)
        folders[str(sae.layer)].append(folder.as_posix())
    return folders


def _rows(heard: Heard, layers: list) -> dict[str, Any]:
    """Return what `train_saes` learns from: places in the store or, of crops in turn, arrays with equal counts."""
    if not heard.in_turn:
        return {"activations": heard.train.store, "rows": heard.train.rows.index.to_numpy()}
    turns = {layer: heard.turns(layer) for layer in layers}
    arrays = {
        layer: array.reshape(-1, array.shape[-1]) for layer, array in turns.items() if array is not None
    }
    n_crops, n_clips = next(array.shape[:2] for array in turns.values() if array is not None)
    return {"activations": arrays, "crop": np.repeat(np.arange(n_crops), n_clips)}


def _reconstruction(heard: dict[str, Heard], trained: Trained) -> pd.DataFrame:
    from otoscope.saes import reconstruction_metrics

    rows = []
    for encoder, layers in trained.items():
        test = heard[encoder].measure.only("test")
        for layer, folders in layers.items():
            x = test.layer(layer)
            for sae in load(folders):
                found = reconstruction_metrics(sae, x)
                where = {"encoder": encoder, "layer": layer, **describe(sae)}
                numbers = {
                    "mse": found.mse,
                    "fvu": found.fvu,
                    "l0": found.l0,
                    "dead_fraction": found.dead_fraction,
                }
                rows.append(where | numbers)
    return pd.DataFrame(rows)
