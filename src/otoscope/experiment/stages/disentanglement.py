"""How well, and by how many dimensions, each factor is held: dense layers, codes, and nulls of equal width."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.activations.store import array_name
from otoscope.clips import label_kind
from otoscope.compute import cpu_count, one_thread_each
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.representations import Representation, representations, twin
from otoscope.experiment.stages.saes import load
from otoscope.experiment.stages.views import View, Views
from otoscope.experiment.units import Unit
from otoscope.results import DENSE, r2_column

if TYPE_CHECKING:
    from otoscope.disentanglement import Disentanglement
    from otoscope.experiment.spec import DisentanglementSpec
    from otoscope.experiment.stages.nulls import TrainedNulls
    from otoscope.experiment.stages.saes import Trained
    from otoscope.factors import Factors

TABLES = ("disentanglement", "disentanglement_summary", "latent_disentanglement", "factor_families")


def disentanglement(
    run: RunDirectory, views: dict[str, Views], trained: Trained, nulls: TrainedNulls, factors: Factors
) -> None:
    """Write disentanglement.csv, its summary, latents and families, gap_scores.csv and factor_entropy.csv."""
    from otoscope.disentanglement import factor_entropy
    from otoscope.factors import join_factors

    settings = run.spec.disentanglement
    needs = ["clips", "factors", "reconstruction", *(f"nulls-{encoder}" for encoder in views)]
    needs += [view_name(encoder, role) for encoder in views for role in ("train", "measure")]
    asked = [settings.model_dump(), run.spec.factors.whole_clip, run.spec.dataset.label]
    with run.stage("disentanglement", asked, after=needs, in_units=True) as stage:
        if not stage.needed:
            return
        found: dict[str, list[pd.DataFrame]] = {
            name: [] for name in (*TABLES, "gap_scores", "infomec", "forest_summary")
        }

        @lru_cache(maxsize=1)  # units stand in the order of their layers
        def items_of(encoder: str, layer: int) -> dict[str, Representation]:
            own, folders = views[encoder], nulls[encoder][layer]
            values = join_factors(own.measure.rows, factors, whole_clip=run.spec.factors.whole_clip)
            return representations(
                run, own, layer, values, load(run, encoder, layer, trained[encoder][layer]), folders
            )

        measure = partial(_measure_slowly, run, views, factors.families)
        read = _measured(run, trained, items_of, measure)
        for encoder, layers in trained.items():
            own = views[encoder]
            values = join_factors(own.measure.rows, factors, whole_clip=run.spec.factors.whole_clip)
            label = _label_null(run, own.measure, values, factors.families)
            for layer in layers:
                _append_layer(
                    found,
                    {"encoder": encoder, "layer": layer},
                    items_of(encoder, layer),
                    read(encoder, layer),
                    label,
                    settings,
                )
        entropy = factor_entropy(
            factors.table[factors.names], families=factors.families, k=settings.entropy_neighbours
        )
        run.write_table("factor_entropy", entropy)
        for name, parts in found.items():
            if parts:
                run.write_table(name, pd.concat(parts, ignore_index=True))


Items = Callable[[str, int], dict[str, Representation]]
"""Encoder and layer -> key -> representation."""


def measured_in_focus(
    run: RunDirectory,
    trained: Trained,
    items_of: Items,
    rows_of: Callable[[str], tuple[View, pd.DataFrame, dict[str, str]]],
) -> Callable[[str, int], list[tuple[dict, Disentanglement]]]:
    """Measure representations, a unit each; return what gives a layer's: what names each, and its scores on one base.

    `rows_of` gives an encoder's rows that they are of, the factors, and their families.
    """

    def measure(encoder: str, item: Representation) -> dict[str, Any]:
        view, _, families = rows_of(encoder)
        return _told(_measure(run, view)(item.code(), item.factors, families=families, workers=1))

    read = _measured(run, trained, items_of, measure)

    def results(encoder: str, layer: int) -> list[tuple[dict, Disentanglement]]:
        items, made = items_of(encoder, layer), read(encoder, layer)
        return [(item.about, _result(made[key])) for key, item in items.items()]

    return results


def _measured(
    run: RunDirectory,
    trained: Trained,
    items_of: Items,
    measure: Callable[[str, Representation], dict[str, Any]],
) -> Callable[[str, int], dict[str, dict[str, Any]]]:
    """Measure each representation of each layer, a unit each; return what reads those of a layer, by their keys."""
    from otoscope.disentanglement import on_base

    def name(encoder: str, layer: int, key: str) -> str:
        return f"{encoder}.{array_name(layer)}.{key}"

    def make(encoder: str, layer: int, key: str) -> dict[str, Any]:
        items = items_of(encoder, layer)
        item = items[key]
        other = twin(item, items)
        if other is not None and np.array_equal(item.code(), other.code()):
            return {"same_as": other.key}
        return measure(encoder, item)

    units = [
        Unit(name(encoder, layer, key), partial(make, encoder, layer, key))
        for encoder, layers in trained.items()
        for layer in layers
        for key in items_of(encoder, layer)
    ]
    with one_thread_each(), _quiet():
        read = run.units(units, at_once=cpu_count())

    def read_layer(encoder: str, layer: int) -> dict[str, dict[str, Any]]:
        made = {key: read(name(encoder, layer, key)) for key in items_of(encoder, layer)}
        made = {key: made[own["same_as"]] if "same_as" in own else own for key, own in made.items()}
        base = max(int(own["factors"].n_alive.max()) for own in made.values())
        if run.spec.disentanglement.fit == "held_out" and base:
            made = {key: own | _told(on_base(_result(own), base)) for key, own in made.items()}
        return made

    return read_layer


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out, for all threads, the warnings that are left out where they arise: filters are the process's."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of independent components
        warnings.filterwarnings("ignore", "Object at rows is not recognized")  # of Zarr
        yield


def _told(result: Disentanglement) -> dict[str, Any]:
    """Return scores as what a unit's file holds."""
    return {
        "factors": result.factors,
        "latents": result.latents,
        "whole": float(result.disentanglement),
        "weights": result.weights,
    }


def _result(made: dict[str, Any]) -> Disentanglement:
    """Return scores of what a unit's file holds."""
    from otoscope.disentanglement import Disentanglement

    return Disentanglement(made["factors"], made["latents"], made["whole"], made["weights"])


def _measure_slowly(
    run: RunDirectory, views: dict[str, Views], families: dict[str, str], encoder: str, item: Representation
) -> dict[str, Any]:
    """Return all that is measured of a representation of clips."""
    from otoscope.disentanglement import gap_scores, infomec, measure_forest, summarise

    settings, view, codes = run.spec.disentanglement, views[encoder].measure, item.code()
    groups = view.rows.group.to_numpy()
    made = _told(_measure(run, view)(codes, item.factors, families=families, workers=1))
    made["gap_scores"] = gap_scores(codes, item.factors)
    if settings.infomec == "all" or (
        settings.infomec == "focus" and (item.name == DENSE or item.is_main_code)
    ):
        found = infomec(codes, item.factors, groups=groups, n_folds=settings.folds)
        scores = {name: float(getattr(found, name)) for name in ("modularity", "compactness", "explicitness")}
        made["infomec"] = scores | {"n_factors": int(found.factors.explicitness.notna().sum())}
    if settings.forest and item.in_focus:
        forest = measure_forest(
            codes,
            item.factors,
            groups=groups,
            families=families,
            n_folds=settings.folds,
            r2_floor=settings.min_r2,
            workers=1,
        )
        made |= {"forest": forest.factors, "forest_summary": summarise(forest, n=settings.top)}
    return made


def _append_layer(
    found: dict[str, list[pd.DataFrame]],
    where: dict,
    items: dict[str, Representation],
    made: dict[str, dict[str, Any]],
    label: Disentanglement | None,
    settings: DisentanglementSpec,
) -> None:
    """Append the rows of a layer's representations, and of the label, to every table."""
    known = [(item.about, _result(made[key])) for key, item in items.items()]
    for (about, result), own in zip(known, made.values()):
        _append(found, where | about, result, settings)
        _add(found["gap_scores"], where | about, own["gap_scores"])
    found["infomec"] += _infomec(where, items, made, settings)
    dense = known[0][1]
    focus = [result for (_, result), item in zip(known, items.values()) if item.is_main_code]
    if label is not None:
        about = {"representation": "label", "sparsity": None, "seed": 0}
        _append(found, where | about, label, settings)
        known = [*known, (about, label)]
    if settings.fit == "held_out":
        found["disentanglement_summary"] += _of_same(where, known, dense, focus, settings)
    for key, item in items.items():
        if "forest" in made[key]:
            _add(found["disentanglement"], where | item.about, made[key]["forest"])
            _add(found["forest_summary"], where | item.about, made[key]["forest_summary"])


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
    where: dict,
    items: dict[str, Representation],
    made: dict[str, dict[str, Any]],
    settings: DisentanglementSpec,
) -> list[pd.DataFrame]:
    """Return a row for each representation: the dense layer and codes of one sparsity, or all that are asked for."""
    asked = [key for key in items if "infomec" in made[key]]
    if settings.infomec == "focus":  # one seed of each kind
        asked = list({items[key].name: key for key in reversed(asked)}.values())[::-1]
    return [pd.DataFrame([where | items[key].about | made[key]["infomec"]]) for key in asked]
