"""Frames and the factors of their moments: what level, pitch and spectrum are there, and how well codes hold them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import pandas as pd

from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.data import view_name
from otoscope.experiment.stages.disentanglement import measured_in_focus
from otoscope.experiment.stages.representations import Representation, representations
from otoscope.experiment.stages.saes import load
from otoscope.experiment.stages.views import View, Views

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.experiment.stages.nulls import TrainedNulls
    from otoscope.experiment.stages.saes import Trained
    from otoscope.factors import Factors


def moments_of(run: RunDirectory, store: Activations, clips: pd.DataFrame) -> Factors | None:
    """Return what level, pitch and spectrum are at the moments of a sample of frames; None where rows are clips."""
    from otoscope.factors import moment_factors
    from otoscope.latents import sampled_rows

    if "time_s" not in store.rows:
        return None
    return moment_factors(clips, store.rows.iloc[sampled_rows(store.rows, seed=run.spec.seed)])


def frame_disentanglement(
    run: RunDirectory,
    clips: pd.DataFrame,
    views: dict[str, Views],
    trained: Trained,
    nulls: TrainedNulls,
) -> None:
    """Write frame_disentanglement.csv: how well dense frames, their codes and nulls hold the factors of moments.

    As for clips, on a sample of frames; folds are over groups, so that a clip's frames are never on both sides.
    """
    from otoscope.factors import join_factors
    from otoscope.latents import sampled_rows

    settings = run.spec.disentanglement
    if not run.spec.on_frames or not settings.frames or settings.fit != "held_out":
        return
    needs = ["clips", "reconstruction", *(f"nulls-{encoder}" for encoder in views)]
    needs += [view_name(encoder, role) for encoder in views for role in ("train", "measure")]
    asked = [settings.model_dump(), run.spec.dataset.label, run.spec.seed]
    with run.stage("frame_disentanglement", asked, after=needs, in_units=True) as stage:
        if not stage.needed:
            return

        @lru_cache(maxsize=1)
        def sampled(encoder: str) -> tuple[View, pd.DataFrame, dict[str, str]]:
            """Return a sample of frames, their factors, and the factors' families."""
            frames = views[encoder].measure.learnt
            groups = frames.rows.group.to_numpy()  # all take turns: folds need three
            chosen = sampled_rows(frames.rows, n=settings.frames, seed=run.spec.seed, groups=groups)
            sample = View(frames.store, frames.rows.iloc[chosen])
            factors = _factors(run, clips, sample.rows)
            return sample, join_factors(sample.rows, factors).reset_index(drop=True), factors.families

        @lru_cache(maxsize=1)
        def items_of(encoder: str, layer: int) -> dict[str, Representation]:
            sample, values, _ = sampled(encoder)
            found = representations(
                run,
                replace(views[encoder], measure=sample),
                layer,
                values,
                load(run, encoder, layer, trained[encoder][layer]),
                nulls[encoder][layer],
            )
            return {key: item for key, item in found.items() if item.in_focus}

        measured = measured_in_focus(run, trained, items_of, sampled)
        parts: list[pd.DataFrame] = []
        for encoder, layers in trained.items():
            for layer in layers:
                for about, result in measured(encoder, layer):
                    where = {"encoder": encoder, "layer": layer, **about}
                    table = result.factors
                    parts.append(pd.DataFrame([where] * len(table), columns=list(where)).join(table))
        run.write_table("frame_disentanglement", pd.concat(parts, ignore_index=True))


def _factors(run: RunDirectory, clips: pd.DataFrame, rows: pd.DataFrame) -> Factors:
    """Return the factors of the moments of frames: measured and, where the data set knows what made them, true ones."""
    from otoscope.datasets import DATASETS
    from otoscope.factors import Factors, moment_factors

    found = moment_factors(clips, rows)
    true_moments = DATASETS.get(run.spec.dataset.name).true_moments
    if true_moments is None:
        return found
    table, info = true_moments(clips, rows)
    both = found.table.merge(table, on=["clip_id", "start_s", "stop_s"], how="left", validate="one_to_one")
    return Factors(both, pd.concat([found.info, info], ignore_index=True))
