"""By which rules a run's numbers were made, as far as figures and sentences must say it.

Read from the settings themselves, since any rule can be switched alone; older runs only name their protocol.
"""

from __future__ import annotations

from typing import Any

from otoscope.report.runs import Run
from otoscope.results import entropy_column, r2_column


def metric_of(run: Run) -> str:
    """Return what the probes are scored by."""
    return str(run.summary.get("metric") or "accuracy")


def score_of(run: Run) -> str:
    """Return the column of the R2 that counts."""
    return r2_column(_setting(run, "fit", "in_sample" if run.protocol == "paper" else "held_out"))


def in_sample(run: Run) -> bool:
    """Whether R2 is of the very rows that were fitted."""
    return score_of(run) == r2_column("in_sample")


def r2_kind(run: Run) -> str:
    """Return "in-sample" or "held-out": what the R2 of this run's summaries is."""
    return "in-sample" if in_sample(run) else "held-out"


def min_r2(run: Run) -> float:
    """Return the R2 under which the run does not rank a factor; where nothing is held out, all are ranked."""
    return 0.0 if in_sample(run) else float(_setting(run, "min_r2", 0.0))


def n_top(run: Run) -> int:
    """Return how many factors a "top" selection takes."""
    return int(_setting(run, "top", 10))


def unequal_selection(run: Run) -> bool:
    """Whether completeness is, as published, of other factors for codes than for the dense state."""
    return _setting(run, "selection", "same") == "published"


def empty_counts(run: Run) -> bool:
    """Whether a factor that keeps no coefficient has a completeness, as published."""
    return in_sample(run) and _setting(run, "empty_completeness", None) is not None


def entropy_of(run: Run) -> str:
    """Return the column of factor_entropy.csv that completeness is drawn against."""
    return entropy_column(_setting(run, "entropy", "knn"))


def error_measure(run: Run) -> str:
    """Return "mse", as the paper draws it, or "fvu", which can be compared between layers."""
    return "mse" if run.protocol == "paper" else "fvu"


def picked_on_test(run: Run) -> bool:
    """Whether the best layer was picked by the clips that score it."""
    rule = (run.spec.get("probing") or {}).get("pick_layer")
    return rule == "test" if rule else run.protocol != "sound"


def _setting(run: Run, key: str, default: Any) -> Any:
    found = (run.spec.get("disentanglement") or {}).get(key)
    return default if found is None else found
