"""Sparse autoencoders on the chosen layers: training as one bank, and how well they reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.rows import layer_rows

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.saes import SparseAutoencoder

Trained = dict[str, dict[int, list["SparseAutoencoder"]]]
"""Encoder -> layer -> autoencoders, sparsities in order and seeds within."""


def saes(
    run: RunDirectory, clips: pd.DataFrame, stores: dict[str, Activations], chosen: dict[str, list[int]]
) -> Trained:
    """Train an autoencoder per chosen layer, sparsity and seed; write reconstruction.csv on the test rows."""
    settings = run.spec.saes
    trained: Trained = {}
    for encoder, store in stores.items():
        needs = ["clips", f"activations-{encoder}"]
        with run.stage(
            f"saes-{encoder}", [chosen[encoder], settings.model_dump(), run.spec.seed], after=needs
        ) as stage:
            if stage.needed:
                folders = _train(run, clips, encoder, store, chosen[encoder])
                stage.outputs = {"folders": [folder.relative_to(run.root).as_posix() for folder in folders]}
        trained[encoder] = _loaded(run, stage.outputs["folders"], chosen[encoder])
    with run.stage("reconstruction", after=[f"saes-{encoder}" for encoder in stores]) as stage:
        if stage.needed:
            run.write_table("reconstruction", _reconstruction(clips, stores, trained))
    return trained


def describe(sae: SparseAutoencoder) -> dict:
    """Return the columns that say which autoencoder a result is of."""
    return {
        "sae": sae.config.name,
        "sparsity": sae.config.sparsity_target,
        "k": sae.config.active,
        "seed": sae.seed,
    }


def _train(
    run: RunDirectory, clips: pd.DataFrame, encoder: str, store: Activations, layers: list[int]
) -> list[Path]:
    from otoscope.saes import make_config, train_saes

    settings = run.spec.saes
    rows = layer_rows(store, clips)
    configs = [
        make_config(settings.kind, n_latents=settings.n_latents, sparsity=s) for s in settings.sparsities
    ]
    made = train_saes(
        store,
        configs,
        layers=layers,
        seeds=settings.seeds,
        rows=np.flatnonzero(rows.split == "train"),
        validation_rows=np.flatnonzero(rows.split == "valid"),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        data_seed=run.spec.seed,
    )
    folders = []
    for sae in made:
        sae.about |= {
            "encoder": encoder,
            "dataset": run.spec.dataset.name,
            "rows": int((rows.split == "train").sum()),
        }
        folders.append(sae.save_pretrained(run.root / "saes" / encoder / f"layer_{sae.layer:02d}" / sae.name))
    return folders


def _loaded(run: RunDirectory, folders: list[str], layers: list[int]) -> dict[int, list[SparseAutoencoder]]:
    from otoscope.saes import SparseAutoencoder

    found: dict[int, list[SparseAutoencoder]] = {layer: [] for layer in layers}
    for folder in folders:
        sae = SparseAutoencoder.from_pretrained(run.root / folder)
        found[int(sae.layer)].append(sae)
    return found


def _reconstruction(clips: pd.DataFrame, stores: dict[str, Activations], trained: Trained) -> pd.DataFrame:
    from otoscope.saes import reconstruction_metrics

    rows = []
    for encoder, layers in trained.items():
        test = np.flatnonzero(layer_rows(stores[encoder], clips).split == "test")
        for layer, members in layers.items():
            x = stores[encoder].layer(layer)[test]
            for sae in members:
                metrics = reconstruction_metrics(sae, x)
                rows.append(
                    {
                        "encoder": encoder,
                        "layer": layer,
                        **describe(sae),
                        "mse": metrics.mse,
                        "fvu": metrics.fvu,
                    }
                    | {"l0": metrics.l0, "dead_fraction": metrics.dead_fraction}
                )
    return pd.DataFrame(rows)
