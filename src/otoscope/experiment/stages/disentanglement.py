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
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.saes import Dictionary, load, nearest, nearest_of_kinds
from otoscope.experiment.stages.views import View, Views

if TYPE_CHECKING:
    from otoscope.disentanglement import Disentanglement
    from otoscope.experiment.spec import DisentanglementSpec
    from otoscope.experiment.stages.saes import Trained
    from otoscope.factors import Factors

TABLES = ("disentanglement", "disentanglement_summary", "latent_disentanglement", "factor_families")


@dataclass(frozen=True)
class Representation:
    """Codes to be measured, and the factors they are measured against (shuffled for one null)."""

    name: str
    sparsity: float | None
    seed: int
    codes: np.ndarray
    factors: pd.DataFrame
    by_forest: bool = True
    """Whether forests measure it too, where they are asked for: the dense layer, codes at one sparsity, nulls."""

    @property
    def about(self) -> dict:
        """The columns that name it."""
        return {"representation": self.name, "sparsity": self.sparsity, "seed": self.seed}


def disentanglement(run: RunDirectory, views: dict[str, Views], trained: Trained, factors: Factors) -> None:
    """Write disentanglement.csv, its summary, latents and families, gap_scores.csv and factor_entropy.csv."""
    from otoscope.disentanglement import factor_entropy, gap_scores, measure_all
    from otoscope.factors import join_factors

    settings = run.spec.disentanglement
    needs = ["clips", "factors", "reconstruction", *(f"saes-{encoder}" for encoder in views)]
    needs += [view_name(encoder, "measure") for encoder in views]
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
                view = views[encoder].measure
                values = join_factors(view.rows, factors, whole_clip=run.spec.factors.whole_clip)
                for layer, folders in layers.items():
                    items = list(
                        _representations(view, layer, values, load(run, encoder, layer, folders), settings)
                    )
                    results = measure_all(
                        dict(enumerate(item.codes for item in items)),
                        dict(enumerate(item.factors for item in items)),
                        measure=_measure(settings, view),
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
    n_seeds = max(len(section.seeds) for section in spec.saes)
    places = [folders for layers in trained.values() for folders in layers.values()]
    return sum(1 + len(folders) + len(spec.disentanglement.nulls) * n_seeds for folders in places)


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

    score = {"held_out": "r2_cv", "in_sample": "r2"}[settings.fit]
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
        if not item.by_forest:
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


def _representations(
    view: View,
    layer: int,
    factors: pd.DataFrame,
    dictionaries: list[Dictionary],
    settings: DisentanglementSpec,
) -> Iterator[Representation]:
    """Yield the dense layer, every trained code, and the nulls, which share one dictionary's width and L0."""
    from otoscope.disentanglement import pca_codes, random_codes, shuffle_factors
    from otoscope.saes import codes_of

    dense = view.layer(layer)
    yield Representation("dense", None, 0, dense, factors)
    in_focus = nearest_of_kinds(dictionaries, settings.null_sparsity)
    for own in dictionaries:
        codes = codes_of(own.sae, dense)
        yield Representation(own.kind, own.sparsity, own.sae.seed, codes, factors, by_forest=own in in_focus)
    shared = nearest(dictionaries, settings.null_sparsity)
    if "pca" in settings.nulls:  # nothing is drawn, so once for all seeds
        train = (view.rows.split == "train").to_numpy()
        codes = pca_codes(dense, shared[0].sae.n_latents, train=train if train.any() else None)
        yield Representation("pca", None, 0, codes, factors)
    for own in shared:
        seed = own.sae.seed
        for null in settings.nulls:
            if null == "untrained":
                yield Representation(null, own.sparsity, seed, _untrained(own, dense), factors)
            elif null == "random":
                codes = random_codes(dense, own.sae.n_latents, seed=seed)
                yield Representation(null, None, seed, codes, factors)
            elif null == "shuffled":
                mixed = shuffle_factors(factors, seed=seed)
                yield Representation(null, own.sparsity, seed, codes_of(own.sae, dense), mixed)


def _untrained(dictionary: Dictionary, dense: np.ndarray) -> np.ndarray:
    """Return the codes [rows, latents] of the same architecture untrained: of each row as many as `dictionary` has."""
    import torch

    from otoscope.saes import build_sae, codes_of
    from otoscope.saes.selection import keep_largest

    sae = build_sae(dictionary.sae.config, dictionary.sae.n_inputs, seed=dictionary.sae.seed)
    codes = torch.from_numpy(codes_of(sae, dense))
    return keep_largest(codes, round(dictionary.l0)).numpy()
