"""Probes as rows of tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from otoscope.errors import InputError
from otoscope.probing.results import Probe
from otoscope.results import METRICS


def probe_row(result: Probe) -> dict[str, float | int | str]:
    """Return ``score, score_low, score_high, n_test``, then more; `metric` says what the score is."""
    return {
        "score": result.score,
        "score_low": result.low,
        "score_high": result.high,
        "n_test": result.n_test,
        "balanced_accuracy": result.balanced_accuracy,
        "valid_score": result.valid_score,
        "strength": result.strength,
        "epoch": float("nan") if result.epoch is None else result.epoch,
        "metric": METRICS[result.kind],
    }


def confusion_table(result: Probe) -> pd.DataFrame:
    """Return how many test rows of each class (index) were taken for each (columns)."""
    if result.kind != "class":
        raise InputError(f"a label of kind '{result.kind}' has no confusion matrix")
    n = len(result.classes)
    counts = np.bincount(result.truth * n + result.predictions, minlength=n * n).reshape(n, n)
    return pd.DataFrame(
        counts,
        index=pd.Index(result.classes, name="class"),
        columns=pd.Index(result.classes, name="predicted"),
    )


def best_layer(table: pd.DataFrame, *, by: str = "valid_score", n: int = 1) -> list:
    """Return the `n` layers of highest mean `by`, best first; the lower layer of two equals.

    Parameters
    ----------
    table : DataFrame
        ``layer`` and `by`: "valid_score" is sound; "score" picks on the test rows, as published.
        Several rows of a layer (seeds) are averaged.
    """
    if by not in table or "layer" not in table:
        raise InputError(
            f"picking a layer needs the columns 'layer' and '{by}'; got {', '.join(map(str, table.columns))}"
        )
    means = table.groupby("layer", sort=False)[by].mean()
    if means.isna().all():
        raise InputError(f"no layer has a '{by}'; are there validation rows?")
    return list(means.sort_values(ascending=False, kind="stable").index[:n])
