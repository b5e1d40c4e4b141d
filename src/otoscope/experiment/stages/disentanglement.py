"""How well, and by how many dimensions, each factor is held: dense layers, codes, and nulls of equal width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.compute import progress
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import heard_as
from otoscope.experiment.stages.rows import Heard, View, codes_of
from otoscope.experiment.stages.saes import load

if TYPE_CHECKING:
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

    @property
    def about(self) -> dict:
        """The columns that name it."""
        return {"representation": self.name, "sparsity": self.sparsity, "seed": self.seed}


def disentanglement(run: RunDirectory, heard: dict[str, Heard], trained: Trained, factors: Factors) -> None:
    """Write disentanglement.csv, its summary, latents and families, gap_scores.csv and factor_entropy.csv."""
    from otoscope.disentanglement import factor_entropy, gap_scores, measure_all
    from otoscope.factors import join_factors

    settings = run.spec.disentanglement
    needs = ["clips", "factors", *(f"saes-{encoder}" for encoder in heard)]
    needs += [heard_as(encoder, "measure") for encoder in heard]
    with run.stage(
        "disentanglement", [settings.model_dump(), run.spec.factors.whole_clip], after=needs
    ) as stage:
        if not stage.needed:
            return
        run.write_table(
            "factor_entropy",
            factor_entropy(
                factors.table[factors.names], families=factors.families, k=settings.entropy_neighbours
            ),
        )
        found: dict[str, list[pd.DataFrame]] = {
            name: [] for name in (*TABLES, "gap_scores", "forest_summary")
        }
        with progress("disentanglement", _n_representations(run, trained), unit="representations") as bar:
            for encoder, layers in trained.items():
                view = heard[encoder].measure
                values = join_factors(view.rows, factors, whole_clip=run.spec.factors.whole_clip)
                for layer, folders in layers.items():
                    items = list(_representations(view, layer, values, load(folders), settings))
                    results = measure_all(
                        dict(enumerate(item.codes for item in items)),
                        dict(enumerate(item.factors for item in items)),
                        measure=_measure(settings, view),
                        base="common" if settings.fit == "held_out" else None,
                        families=factors.families,
                        on_done=lambda index: bar.advance(),
                    )
                    for index, item in enumerate(items):
                        where = {"encoder": encoder, "layer": layer, **item.about}
                        _append(found, where, results[index], settings)
                        _add(found["gap_scores"], where, gap_scores(item.codes, item.factors))
                    if settings.forest:
                        _forests(found, {"encoder": encoder, "layer": layer}, items, view, factors, settings)
        for name, parts in found.items():
            if parts:
                run.write_table(name, pd.concat(parts, ignore_index=True))


def _n_representations(run: RunDirectory, trained: Trained) -> int:
    spec = run.spec
    per_seed = len(spec.disentanglement.nulls) + len(spec.saes.sparsities)
    return (1 + per_seed * len(spec.saes.seeds)) * sum(len(layers) for layers in trained.values())


def _measure(settings: DisentanglementSpec, view: View) -> Callable[..., Disentanglement]:
    from otoscope.disentanglement import measure_disentanglement, measure_in_sample

    if settings.fit == "in_sample":
        empty = np.nan if settings.empty_completeness is None else settings.empty_completeness
        return partial(measure_in_sample, alpha=settings.alpha, empty_completeness=empty)
    return partial(
        measure_disentanglement,
        groups=view.rows.group.to_numpy(),
        alphas=settings.alphas,
        n_folds=settings.folds,
        r2_floor=settings.min_r2,
    )


def _append(found: dict, where: dict, result: Disentanglement, settings: DisentanglementSpec) -> None:
    """Append one representation's rows to every table."""
    from otoscope.disentanglement import family_counts, summarise

    score = {"held_out": "r2_counted", "in_sample": "r2"}[settings.fit]
    summary = summarise(result, score=score, n=settings.top)
    families = family_counts(result, score=score, n=settings.top)
    for name, table in zip(TABLES, (result.factors, summary, result.latents, families)):
        _add(found[name], where, table)


def _add(parts: list[pd.DataFrame], where: dict, table: pd.DataFrame) -> None:
    parts.append(pd.DataFrame([where] * len(table), columns=list(where)).join(table))


def _forests(
    found: dict,
    where: dict,
    items: list[Representation],
    view: View,
    factors: Factors,
    settings: DisentanglementSpec,
) -> None:
    """Measure the dense layer, the codes at one sparsity and the nulls by random forests as well."""
    from otoscope.disentanglement import measure_forest, summarise

    for item in items:
        if item.sparsity not in (None, _nearest(items, settings)):
            continue
        result = measure_forest(
            item.codes,
            item.factors,
            groups=view.rows.group.to_numpy(),
            families=factors.families,
            n_folds=settings.folds,
            r2_floor=settings.min_r2,
        )
        _add(found["disentanglement"], where | item.about, result.factors)
        _add(found["forest_summary"], where | item.about, summarise(result, n=settings.top))


def _nearest(items: list[Representation], settings: DisentanglementSpec) -> float:
    return min(
        (item.sparsity for item in items if item.sparsity), key=lambda s: abs(s - settings.null_sparsity)
    )


def _representations(
    view: View,
    layer: int,
    factors: pd.DataFrame,
    saes: list[SparseAutoencoder],
    settings: DisentanglementSpec,
) -> Iterator[Representation]:
    """Yield the dense layer, every trained code, and the nulls, which share one code's width and k."""
    from otoscope.disentanglement import pca_codes, random_codes, shuffle_factors
    from otoscope.saes import build_sae

    dense = view.layer(layer)
    yield Representation("dense", None, 0, dense, factors)
    for sae in saes:
        yield Representation(
            sae.config.kind, sae.config.sparsity_target, sae.seed, codes_of(sae, dense), factors
        )
    nearest = min((sae.config.sparsity_target for sae in saes), key=lambda s: abs(s - settings.null_sparsity))
    if "pca" in settings.nulls:  # nothing is drawn, so once for all seeds
        train = (view.rows.split == "train").to_numpy()
        codes = pca_codes(dense, saes[0].n_latents, train=train if train.any() else None)
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
