"""How well, and by how many dimensions, each factor is held: dense layers, codes, and nulls of equal width."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from otoscope.clips import label_kind
from otoscope.compute import Progress, one_thread_each, progress
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.nulls import encoders_of_nulls
from otoscope.experiment.stages.saes import Dictionary, load, nearest, nearest_of_kinds
from otoscope.experiment.stages.views import View, Views
from otoscope.results import DENSE, NULLS, r2_column

if TYPE_CHECKING:
    from otoscope.disentanglement import Disentanglement
    from otoscope.experiment.spec import DisentanglementSpec
    from otoscope.experiment.stages.nulls import TrainedNulls
    from otoscope.experiment.stages.saes import Trained
    from otoscope.factors import Factors

ICA_FRAMES = 20_000
"""Frames that independent components are learnt from at most: the iteration goes through them hundreds of times."""
TABLES = ("disentanglement", "disentanglement_summary", "latent_disentanglement", "factor_families")


@dataclass(frozen=True)
class Representation:
    """Codes to be measured, and the factors they are measured against (shuffled for one null)."""

    name: str
    sparsity: float | None
    seed: int
    codes: np.ndarray
    factors: pd.DataFrame
    in_focus: bool = True
    """Whether the slower measures are taken of it: the dense layer, codes at one sparsity, nulls."""

    @property
    def is_main_code(self) -> bool:
        """Whether it is the code of a dictionary, at the sparsity that stands for all."""
        return self.in_focus and self.name not in (DENSE, *NULLS)

    @property
    def about(self) -> dict:
        """The columns that name it."""
        return {"representation": self.name, "sparsity": self.sparsity, "seed": self.seed}


def disentanglement(
    run: RunDirectory, views: dict[str, Views], trained: Trained, nulls: TrainedNulls, factors: Factors
) -> None:
    """Write disentanglement.csv, its summary, latents and families, gap_scores.csv and factor_entropy.csv."""
    from otoscope.disentanglement import factor_entropy, gap_scores
    from otoscope.factors import join_factors

    settings = run.spec.disentanglement
    needs = ["clips", "factors", "reconstruction", *(f"nulls-{encoder}" for encoder in views)]
    needs += [view_name(encoder, role) for encoder in views for role in ("train", "measure")]
    asked = [settings.model_dump(), run.spec.factors.whole_clip, run.spec.dataset.label]
    with run.stage("disentanglement", asked, after=needs) as stage:
        if not stage.needed:
            return
        run.write_table(
            "factor_entropy",
            factor_entropy(
                factors.table[factors.names], families=factors.families, k=settings.entropy_neighbours
            ),
        )
        found: dict[str, list[pd.DataFrame]] = {
            name: [] for name in (*TABLES, "gap_scores", "infomec", "forest_summary")
        }
        with progress("disentanglement", _n_representations(run, trained), unit="representations") as bar:
            for encoder, layers in trained.items():
                own = views[encoder]
                values = join_factors(own.measure.rows, factors, whole_clip=run.spec.factors.whole_clip)
                label = _label_null(run, own.measure, values, factors.families)
                for layer, folders in layers.items():
                    where = {"encoder": encoder, "layer": layer}
                    dictionaries = load(run, encoder, layer, folders)
                    items = list(
                        _representations(run, own, layer, values, dictionaries, nulls[encoder][layer])
                    )
                    firsts = _first_alike(items)
                    distinct = {index: items[index] for index in dict.fromkeys(firsts)}
                    measured = _measured(run, own.measure, distinct, factors, bar)
                    bar.advance(len(items) - len(distinct))
                    results = {index: measured[first] for index, first in enumerate(firsts)}
                    gaps = {index: gap_scores(item.codes, item.factors) for index, item in distinct.items()}
                    for index, item in enumerate(items):
                        _append(found, where | item.about, results[index], settings)
                        _add(found["gap_scores"], where | item.about, gaps[firsts[index]])
                    found["infomec"] += _infomec(where, items, own.measure, settings)
                    if label is not None:
                        about = {"representation": "label", "sparsity": None, "seed": 0}
                        _append(found, where | about, label, settings)
                    if settings.fit == "held_out":
                        known = [(item.about, results[index]) for index, item in enumerate(items)]
                        known += [] if label is None else [(about, label)]
                        focus = [own for item, own in zip(items, results.values()) if item.is_main_code]
                        found["disentanglement_summary"] += _of_same(
                            where, known, results[0], focus, settings
                        )
                    if settings.forest:
                        _forests(found, where, items, own.measure, factors, settings)
        for name, parts in found.items():
            if parts:
                run.write_table(name, pd.concat(parts, ignore_index=True))


def measured_representations(
    run: RunDirectory,
    views: Views,
    layer: int,
    factors: pd.DataFrame,
    dictionaries: list[Dictionary],
    folders: dict[str, list[Path]],
    families: dict[str, str],
) -> list[tuple[dict, Disentanglement]]:
    """Return what names each representation of a layer in focus, and how well it holds `factors`, on a common base."""
    from otoscope.disentanglement import measure_all

    items = [
        item for item in _representations(run, views, layer, factors, dictionaries, folders) if item.in_focus
    ]
    results = measure_all(
        dict(enumerate(item.codes for item in items)),
        dict(enumerate(item.factors for item in items)),
        measure=_measure(run, views.measure),
        base="common",
        families=families,
    )
    return [(item.about, results[index]) for index, item in enumerate(items)]


def _measured(
    run: RunDirectory, view: View, items: dict[int, Representation], factors: Factors, bar: Progress
) -> dict[int, Disentanglement]:
    """Return how well each of `items` holds the factors."""
    from otoscope.disentanglement import measure_all

    return measure_all(
        {index: item.codes for index, item in items.items()},
        {index: item.factors for index, item in items.items()},
        measure=_measure(run, view),
        base="common" if run.spec.disentanglement.fit == "held_out" else None,
        families=factors.families,
        on_done=lambda index: bar.advance(),
    )


def _first_alike(items: list[Representation]) -> list[int]:
    """Return for each representation the first that has the same numbers, so that it is measured once.

    With top-k, a random encoder that stays as it was drawn has the codes of the untrained autoencoder.
    """
    firsts: dict[tuple[bytes, int], int] = {}
    return [
        firsts.setdefault((hashlib.sha256(item.codes.tobytes()).digest(), id(item.factors)), index)
        for index, item in enumerate(items)
    ]


def _n_representations(run: RunDirectory, trained: Trained) -> int:
    spec = run.spec
    n_seeds = max(len(section.seeds[: spec.disentanglement.null_seeds]) for section in spec.saes)
    once = sum(null in ("pca", "ica") for null in spec.disentanglement.nulls)
    drawn = sum(null not in ("pca", "ica", "label") for null in spec.disentanglement.nulls)
    places = [folders for layers in trained.values() for folders in layers.values()]
    return sum(1 + len(folders) + once + drawn * n_seeds for folders in places)


def _measure(run: RunDirectory, view: View) -> Callable[..., Disentanglement]:
    from otoscope.disentanglement import measure_disentanglement, measure_in_sample

    settings = run.spec.disentanglement
    if settings.fit == "in_sample":
        empty = np.nan if settings.empty_completeness is None else settings.empty_completeness
        return partial(measure_in_sample, alpha=settings.alpha, empty_completeness=empty)
    return partial(
        measure_disentanglement,
        groups=view.rows.group.to_numpy(),
        classes=_classes(run, view),
        alphas=settings.alphas,
        n_folds=settings.folds,
        r2_floor=settings.min_r2,
    )


def _classes(run: RunDirectory, view: View) -> np.ndarray | None:
    """Return the label of each row, None where it is no class."""
    labels = view.rows[run.spec.dataset.label]
    return labels.to_numpy() if label_kind(labels) == "class" else None


def _label_null(
    run: RunDirectory, view: View, factors: pd.DataFrame, families: dict
) -> Disentanglement | None:
    """Return what the label alone predicts, None where it is not asked for, is no class, or nothing is held out."""
    from otoscope.disentanglement import measure_label

    settings, classes = run.spec.disentanglement, _classes(run, view)
    if "label" not in settings.nulls or classes is None or settings.fit != "held_out":
        return None
    return measure_label(
        classes,
        factors,
        groups=view.rows.group.to_numpy(),
        families=families,
        n_folds=settings.folds,
        r2_floor=settings.min_r2,
    )


def _append(found: dict, where: dict, result: Disentanglement, settings: DisentanglementSpec) -> None:
    """Append one representation's rows to every table."""
    from otoscope.disentanglement import family_counts, summarise

    score = r2_column(settings.fit)
    summary = summarise(result, score=score, n=settings.top)
    families = family_counts(result, score=score, n=settings.top)
    for name, table in zip(TABLES, (result.factors, summary, result.latents, families)):
        _add(found[name], where, table)


def _of_same(
    where: dict,
    known: list[tuple[dict, Disentanglement]],
    dense: Disentanglement,
    codes: list[Disentanglement],
    settings: DisentanglementSpec,
) -> list[pd.DataFrame]:
    """Return a row for each representation of a layer, over one set of factors."""
    from otoscope.disentanglement import same_factors, summarise_same

    same = same_factors(dense.factors, [own.factors for own in codes], floor=settings.min_r2, n=settings.top)
    parts: list[pd.DataFrame] = []
    for about, result in known:
        _add(parts, where | about, summarise_same(result, same, floor=settings.min_r2))
    return parts


def _add(parts: list[pd.DataFrame], where: dict, table: pd.DataFrame) -> None:
    parts.append(pd.DataFrame([where] * len(table), columns=list(where)).join(table))


def _infomec(
    where: dict, items: list[Representation], view: View, settings: DisentanglementSpec
) -> list[pd.DataFrame]:
    """Return a row for each representation: the dense layer and codes of one sparsity, or all that are asked for."""
    from otoscope.disentanglement import infomec

    asked = {"none": [], "all": items}.get(settings.infomec)
    if asked is None:  # one seed of each kind
        focus = [item for item in items if item.name == DENSE or item.is_main_code]
        asked = list({item.name: item for item in reversed(focus)}.values())[::-1]
    rows = []
    for item in asked:
        found = infomec(item.codes, item.factors, groups=view.rows.group.to_numpy(), n_folds=settings.folds)
        scores = {name: getattr(found, name) for name in ("modularity", "compactness", "explicitness")}
        known = int(found.factors.explicitness.notna().sum())
        rows.append(pd.DataFrame([where | item.about | scores | {"n_factors": known}]))
    return rows


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
        if not item.in_focus:
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
    run: RunDirectory,
    views: Views,
    layer: int,
    factors: pd.DataFrame,
    dictionaries: list[Dictionary],
    folders: dict[str, list[Path]],
) -> Iterator[Representation]:
    """Yield the dense layer, every trained code, and the nulls, which share one dictionary's width and L0."""
    from otoscope.disentanglement import pca_codes, shuffle_factors
    from otoscope.saes import codes_of
    from otoscope.saes.nulls import fit_ica, fit_pca

    settings, clip_code = run.spec.disentanglement, run.spec.clip_code
    view, wanted = views.measure, settings.nulls
    dense = view.layer(layer)

    def code(encode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return view.codes(layer, encode, [clip_code])[clip_code]

    yield Representation(DENSE, None, 0, dense, factors)
    focus = nearest_of_kinds(dictionaries, settings.null_sparsity)
    for own in dictionaries:
        codes = code(partial(codes_of, own.sae))
        yield Representation(own.kind, own.sparsity, own.sae.seed, codes, factors, in_focus=own in focus)
    shared = nearest(dictionaries, settings.null_sparsity)[: settings.null_seeds]
    width = shared[0].sae.n_latents
    if "pca" in wanted:  # nothing is drawn, so once for all seeds
        train = (view.rows.split == "train").to_numpy()
        if view.frames is not None:  # what a dictionary learns from, components learn from
            pca = fit_pca(views.train.learnt.blocks(layer))
            codes = code(lambda x: pca.codes(x)[:, :width])
        else:
            codes = pca_codes(dense, width, train=train if train.any() else None)
        yield Representation("pca", None, 0, codes, factors)
    if "ica" in wanted:  # its start alone is drawn
        with one_thread_each():  # its products are too small to share
            some = views.train.learnt.sample(ICA_FRAMES, seed=run.spec.seed) if view.frames else views.train
            codes = code(fit_ica(some.layer(layer), width).codes)
        yield Representation("ica", None, 0, codes, factors)
    for null, seed, encode in encoders_of_nulls(run, views, layer, dictionaries, folders):
        yield Representation(null, shared[0].sparsity, seed, code(encode), factors)
    if "shuffled" in wanted:
        for own in shared:
            mixed = shuffle_factors(factors, seed=own.sae.seed)
            codes = code(partial(codes_of, own.sae))
            yield Representation("shuffled", own.sparsity, own.sae.seed, codes, mixed)
