"""What latents mean: evidence, names made from it, and their judgement on clips that no name was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from otoscope.clips import COLUMNS, label_kind
from otoscope.factors.tables import Factors, join_factors
from otoscope.latents.activity import Activity
from otoscope.latents.evidence import (
    FEWEST_CLIPS,
    GROUP,
    factor_evidence,
    label_columns,
    label_evidence,
    labels_of,
)
from otoscope.latents.ground import Ground
from otoscope.latents.judging import judge_names
from otoscope.latents.names import LEVEL, name_latents
from otoscope.latents.rules import NO_MEANING, Rule

FEWEST_TO_NAME = 20
"""Clips that must be left to make names from, where test clips are set aside."""
BEST_PAIRS = 10
"""Labels of a latent that the table keeps."""


@dataclass(frozen=True)
class Study:
    """What was found of the latents' meaning."""

    labels: pd.DataFrame
    factors: pd.DataFrame
    names: pd.DataFrame
    judged: pd.DataFrame
    expected: dict[int, np.ndarray]
    """Latent -> the clips in which its name says that it fires."""
    best_label: pd.DataFrame
    best_group: pd.DataFrame
    best_factor: pd.DataFrame
    about: dict[str, Any]


def study_latents(
    activity: Activity,
    clips: pd.DataFrame,
    clip_of: np.ndarray,
    rows: pd.DataFrame,
    factors: Factors | None,
    moments: Factors | None,
    label: str | None,
    n_draws: int,
    seed: int,
) -> Study:
    """Test labels and factors, name latents on the clips that are not for testing, and judge the names on those."""
    values = activity.matrix("mean").tocsr()
    known, info = _clip_factors(clips, factors)
    learn, judge = _sides(clips)
    ground = _ground(values[learn], clips.iloc[learn], known, learn, info)
    groups = pd.factorize(ground.labels.group)[0]
    n_clips = np.asarray((ground.values > 0).sum(0)).ravel()
    tested = np.flatnonzero(n_clips >= FEWEST_CLIPS)
    options: dict[str, Any] = {"n_draws": n_draws, "seed": seed}
    labels = label_evidence(ground.values, tested, labels_of(ground.labels), groups, **options)
    classes = None if label is None else pd.factorize(ground.labels[label].astype(str))[0]
    measured = pd.DataFrame() if ground.factors is None else ground.factors
    of_factors = factor_evidence(ground.values, tested, measured, groups, classes, **options)
    names = name_latents(ground, labels, of_factors, latents=tested, label=label, elsewhere=values[judge])
    judged = []
    if len(judge):
        judged.append(judge_names(_ground(values[judge], clips.iloc[judge], known, judge, info), names))
    if moments is not None:
        inside = _Moments(activity, clips, clip_of, rows, moments, learn, judge)
        of_moments, by_moment, more = inside.study(options)
        of_factors = pd.concat([of_factors, of_moments], ignore_index=True)
        info = pd.concat([info, moments.info[["name", "unit", "family"]]], ignore_index=True)
        names, judged = _clearer(names, by_moment, judged, more)
    expected = {}
    for latent, text in zip(names.latent, names.rule):
        rule = Rule.from_json(text)
        if rule and not rule.moments:
            expected[int(latent)] = rule.holds(clips, known)
    about = {
        "label": label,
        "labels": label_columns(clips),
        "groups": GROUP,
        "factors": list(info.name),
        "n_tested": len(tested),
        "n_named": int((names.name != NO_MEANING).sum()),
        "n_draws": n_draws,
        "seed": seed,
        "named_on": sorted(clips.split.iloc[learn].unique()),
        "judged_on": sorted(clips.split.iloc[judge].unique()),
        "nulls": dict(labels.groupby("column")["null"].first()) if len(labels) else {},
    }
    return Study(
        labels=_best_pairs(labels),
        factors=_with_info(of_factors, info),
        names=names,
        judged=pd.concat(judged, ignore_index=True) if judged else judge_names(ground, names.iloc[:0]),
        expected=expected,
        best_label=_best(labels[labels["column"] != GROUP], "auc"),
        best_group=_best(labels[labels["column"] == GROUP], "auc"),
        best_factor=_best(_with_info(of_factors, info), "rho"),
        about=about,
    )


@dataclass(frozen=True)
class _Moments:
    """Evidence from the frames of sampled clips."""

    activity: Activity
    clips: pd.DataFrame
    clip_of: np.ndarray
    rows: pd.DataFrame
    moments: Factors
    learn: np.ndarray
    judge: np.ndarray

    def study(self, options: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the evidence, names and their judgement."""
        sampled = self.activity.sample_rows
        clip = self.clip_of[sampled]
        known = join_factors(self.rows.iloc[sampled], self.moments).reset_index(drop=True)
        labels = self.clips.iloc[clip].reset_index(drop=True)
        sides = []
        for chosen in (self.learn, self.judge):
            own = np.flatnonzero(np.isin(clip, chosen))
            codes = self.activity.sample[own]
            sides.append(_ground(codes, labels.iloc[own], known, own, self.moments.info, moments=True))
        ground, unseen = sides
        own_clip = clip[np.isin(clip, self.learn)]
        on = ground.values > 0
        by_clip = np.unique(own_clip, return_inverse=True)[1]
        tested = np.flatnonzero(np.asarray(on.sum(0)).ravel() >= 5 * FEWEST_CLIPS)
        found = factor_evidence(ground.values, tested, ground.factors, by_clip, None, in_time=True, **options)
        nothing = pd.DataFrame(columns=["latent", "column", "value", "auc", "null95", "p", "p_corrected"])
        names = name_latents(ground, nothing, found, latents=tested)
        judged = judge_names(unseen, names) if len(unseen.labels) else judge_names(ground, names.iloc[:0])
        return found, names, judged


def _clearer(
    names: pd.DataFrame, by_moment: pd.DataFrame, judged: list[pd.DataFrame], more: pd.DataFrame
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Take for each latent the name, of clips or of moments, that is surer."""
    own = by_moment[by_moment.rule != ""].set_index("latent")
    before = names.set_index("latent").confidence.reindex(own.index).fillna(0.0)
    surer = own[own.confidence > before]
    kept = names[~names.latent.isin(surer.index)]
    both = pd.concat([kept, surer.reset_index()], ignore_index=True).sort_values("latent", ignore_index=True)
    return both, [
        *(table[~table.latent.isin(surer.index)] for table in judged),
        more[more.latent.isin(surer.index)],
    ]


def _sides(clips: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips that names are made from, and those they are judged on; all and none without a test side."""
    test = (clips.split == "test").to_numpy()
    if not test.any() or (~test).sum() < FEWEST_TO_NAME:
        return np.arange(len(clips)), np.zeros(0, int)
    return np.flatnonzero(~test), np.flatnonzero(test)


def _clip_factors(clips: pd.DataFrame, factors: Factors | None) -> tuple[pd.DataFrame | None, pd.DataFrame]:
    """Return the factors of each clip, labels that are numbers among them, and what describes them."""
    numeric = [name for name in clips.columns if name not in COLUMNS and label_kind(clips[name]) == "number"]
    known = clips[numeric].astype(float)
    info = pd.DataFrame({"name": numeric, "unit": "", "family": "label"}, dtype=object)
    if factors is not None:
        own = [name for name in factors.names if name not in numeric]
        by_clip = factors.table.astype({"clip_id": str}).groupby("clip_id")[own].mean()
        known = pd.concat([known, by_clip.reindex(clips.clip_id).reset_index(drop=True)], axis=1)
        described = factors.info[factors.info.name.isin(own)][["name", "unit", "family"]]
        info = pd.concat([info, described], ignore_index=True)
    return (known if len(info) else None), info


def _ground(
    values: Any,
    labels: pd.DataFrame,
    factors: pd.DataFrame | None,
    rows: np.ndarray,
    info: pd.DataFrame,
    *,
    moments: bool = False,
) -> Ground:
    return Ground(
        values.tocsc(),
        labels.reset_index(drop=True),
        None if factors is None else factors.iloc[rows].reset_index(drop=True),
        dict(zip(info.name, info.unit)),
        moments,
    )


def _best_pairs(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the best labels of each latent: those beyond chance first, then by AUC."""
    return _surest_first(labels, "auc").groupby("latent").head(BEST_PAIRS).reset_index(drop=True)


def _best(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return each latent's best row: beyond chance, if any is, and of those the one of largest `by`."""
    return _surest_first(table, by).drop_duplicates("latent")


def _surest_first(table: pd.DataFrame, by: str) -> pd.DataFrame:
    keys = table.assign(chance=table.p_corrected > LEVEL, size=-table[by].astype(float).abs())
    return keys.sort_values(["latent", "chance", "size"]).drop(columns=["chance", "size"])


def _with_info(factors: pd.DataFrame, info: pd.DataFrame) -> pd.DataFrame:
    described = info.drop_duplicates("name").rename(columns={"name": "factor"})
    joined = factors.merge(described, on="factor", how="left")
    return joined[["latent", "factor", "family", "unit", "rho", "null95", "p", "p_corrected", "null"]]
