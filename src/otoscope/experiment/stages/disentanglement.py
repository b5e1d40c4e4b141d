"""How well, and by how many dimensions, each factor is held: dense layers, codes, and nulls of equal width."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.compute import progress
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.rows import codes_of, layer_rows
from otoscope.experiment.stages.saes import load

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.disentanglement import Disentanglement
    from otoscope.experiment.spec import DisentanglementSpec
    from otoscope.experiment.stages.saes import Trained
    from otoscope.factors import Factors
    from otoscope.saes import SparseAutoencoder

TABLES = ("disentanglement", "disentanglement_summary", "latent_disentanglement", "factor_families")


@dataclass(frozen=True)
class Representation:
    """Codes to be measured, and the factors they are measured against (shuffled for one null)."""

    name: str
    sparsity: float | None
    seed: int
    codes: np.ndarray
    factors: pd.DataFrame


def disentanglement(
    run: RunDirectory, clips: pd.DataFrame, stores: dict[str, Activations], trained: Trained, factors: Factors
) -> None:
    """Write disentanglement.csv, its summary, latents and families, and factor_entropy.csv."""
    from otoscope.disentanglement import factor_entropy, measure_all
    from otoscope.factors import join_factors

    settings = run.spec.disentanglement
    whole_clip = run.spec.factors.whole_clip
    needs = ["clips", "factors", *(f"saes-{encoder}" for encoder in stores)]
    with run.stage("disentanglement", [settings.model_dump(), whole_clip], after=needs) as stage:
        if not stage.needed:
            return
        for_entropy = factors.table[factors.names]
        run.write_table(
            "factor_entropy",
            factor_entropy(for_entropy, families=factors.families, k=settings.entropy_neighbours),
        )
        found: dict[str, list[pd.DataFrame]] = {table: [] for table in TABLES}
        per_layer = 1 + len(settings.nulls) * len(run.spec.saes.seeds)
        per_layer += len(run.spec.saes.sparsities) * len(run.spec.saes.seeds)
        total = per_layer * sum(len(layers) for layers in trained.values())
        with progress("disentanglement", total, unit="representations") as bar:
            for encoder, layers in trained.items():
                rows = layer_rows(stores[encoder], clips)
                values = join_factors(rows, factors, whole_clip=whole_clip)
                for layer, folders in layers.items():
                    dense = stores[encoder].layer(layer)
                    representations = list(_representations(dense, values, load(folders), rows, settings))
                    results = measure_all(
                        {index: item.codes for index, item in enumerate(representations)},
                        {index: item.factors for index, item in enumerate(representations)},
                        groups=rows.group.to_numpy(),
                        families=factors.families,
                        alphas=settings.alphas,
                        n_folds=settings.folds,
                        r2_floor=settings.min_r2,
                        on_done=lambda index: bar.advance(),
                    )
                    for index, item in enumerate(representations):
                        where = {"encoder": encoder, "layer": layer, "representation": item.name}
                        where |= {"sparsity": item.sparsity, "seed": item.seed}
                        _append(found, where, results[index], settings.top)
        for name, parts in found.items():
            run.write_table(name, pd.concat(parts, ignore_index=True))


def _append(found: dict[str, list[pd.DataFrame]], where: dict, result: Disentanglement, top: int) -> None:
    """Append one representation's rows to every table."""
    from otoscope.disentanglement import family_counts, summarise

    tables = (result.factors, summarise(result, n=top), result.latents, family_counts(result, n=top))
    for name, table in zip(TABLES, tables):
        found[name].append(pd.DataFrame([where] * len(table), columns=list(where)).join(table))


def _representations(
    dense: np.ndarray,
    factors: pd.DataFrame,
    saes: list[SparseAutoencoder],
    rows: pd.DataFrame,
    settings: DisentanglementSpec,
) -> Iterator[Representation]:
    """Yield the dense layer, every trained code, and the nulls, which share one code's width and k."""
    from otoscope.disentanglement import pca_codes, random_codes, shuffle_factors
    from otoscope.saes import build_sae

    yield Representation("dense", None, 0, dense, factors)
    for sae in saes:
        yield Representation(
            sae.config.kind, sae.config.sparsity_target, sae.seed, codes_of(sae, dense), factors
        )
    nearest = min((sae.config.sparsity_target for sae in saes), key=lambda s: abs(s - settings.null_sparsity))
    if "pca" in settings.nulls:  # nothing is drawn, so once for all seeds
        codes = pca_codes(dense, saes[0].n_latents, train=(rows.split == "train").to_numpy())
        yield Representation("pca", None, 0, codes, factors)
    for sae in saes:
        if sae.config.sparsity_target != nearest:
            continue
        seed = sae.seed
        for null in settings.nulls:
            if null == "untrained":
                codes = codes_of(build_sae(sae.config, sae.n_inputs, seed=seed), dense)
                yield Representation(null, nearest, seed, codes, factors)
            elif null == "random":
                codes = random_codes(dense, sae.n_latents, seed=seed)
                yield Representation(null, None, seed, codes, factors)
            elif null == "shuffled":
                mixed = shuffle_factors(factors, seed=seed)
                yield Representation(null, nearest, seed, codes_of(sae, dense), mixed)
