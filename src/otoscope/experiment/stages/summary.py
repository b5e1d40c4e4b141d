"""What was run, in a few numbers, for the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from otoscope.clips import label_kind
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.stages.claims import chance

if TYPE_CHECKING:
    from otoscope.experiment.stages.views import Views

METRICS = {"class": "accuracy", "number": "r2", "multi": "macro average precision"}


def summary(run: RunDirectory, clips: pd.DataFrame, views: dict[str, Views]) -> dict[str, Any]:
    """Return the counts, the label's classes and chance level, the stages' times, and what was left out."""
    label = run.spec.dataset.label
    kind = label_kind(clips[label])
    sides = clips.split.value_counts()
    left_out = list(clips.attrs.get("left_out", []))
    for own in views.values():
        for view in (own.train, own.evaluate, own.measure):
            skipped = view.store.skipped
            left_out += [f"{path}: {reason}" for path, reason in zip(skipped.path, skipped.reason)]
    left_out = list(dict.fromkeys(left_out))
    return {
        "summary": {
            "n_clips": len(clips),
            "n_groups": int(clips.group.str.removesuffix(" (valid)").nunique()),  # of single clips held out
            "n_train": int(sides.get("train", 0)),
            "n_valid": int(sides.get("valid", 0)),
            "n_test": int(sides.get("test", 0)),
            "n_left_out": len(left_out),
            "left_out": left_out[:100],
            "label": label,
            "label_kind": kind,
            "metric": METRICS[kind],
            "classes": sorted(map(str, clips[label].unique())) if kind == "class" else [],
            "chance": chance(clips, label),
        },
        "stages": run.stages,
        "notes": [],
    }
