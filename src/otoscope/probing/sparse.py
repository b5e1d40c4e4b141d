"""How few latents does a class need? Probes on the k latents that tell it apart best (Gurnee et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind, label_kind
from otoscope.compute import one_thread_each
from otoscope.errors import InputError
from otoscope.probing import scoring
from otoscope.probing.inputs import check_rows
from otoscope.probing.models import LogisticModel, standardised, training_folds
from otoscope.probing.probes import STRENGTHS

KS = (1, 2, 4, 8, 16, 32)

_WEAK = 1.0  # C of a fit on few latents and many rows: the penalty hardly matters


def sparse_probes(
    codes: np.ndarray,
    labels: pd.Series | Sequence,
    *,
    split: Sequence[str] | np.ndarray,
    groups: Sequence | np.ndarray,
    kind: LabelKind | None = None,
    ks: Sequence[int] = KS,
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Tell each class from all others by its k best latents, and by the whole code.

    Latents are ranked on the training and validation rows by the difference of means between the class and
    the rest, over the deviation; a logistic regression on the first k is scored on the test rows. Twins both
    rank high, so a code with doubled latents needs more of them by this count.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
    labels, split, groups, kind
        As in `otoscope.probing.probe`; numbers have no classes.
    ks : sequence of int
        How many latents; those above the width are left out.
    seed, n_bootstrap : int
        Of the intervals, by bootstrap over test groups.

    Returns
    -------
    DataFrame
        ``class, k, average_precision, low, high, chance, latents``: a row per class and k, the last k being
        all latents. `chance` is the share of the class in the test rows; `latents` are the k best, best
        first, separated by spaces (empty for the whole code).

    Raises
    ------
    InputError
        If the label is a number, or a k is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> labels, groups = np.tile(["high", "low"], 60), np.repeat(range(12), 10)
    >>> codes = np.random.default_rng(0).uniform(size=(120, 6))
    >>> codes[:, 4] += labels == "high"
    >>> split = np.repeat(["train", "valid", "test"], [80, 20, 20])
    >>> found = sparse_probes(codes, labels, split=split, groups=groups, ks=[1])
    >>> found[(found["class"] == "high") & (found.k == 1)].average_precision.item()
    1.0
    """
    x, labels, split, groups = check_rows(codes, labels, split, groups)
    kind = kind or label_kind(labels)
    if kind == "number":
        raise InputError(
            "a label of numbers has no classes to tell apart; use a probe, or bin the numbers first"
        )
    if min(ks, default=1) < 1:
        raise InputError(f"expected numbers of latents of 1 or more; got {list(ks)}")
    test = split == "test"
    targets, classes = scoring.encode(labels, kind, train=~test)
    x = standardised(x, ~test)
    rows = []
    with one_thread_each():
        whole = _whole_code(x, targets, split, groups)
        for c, name in enumerate(classes):
            truth = targets[:, [c]]
            if not 0 < truth[test].mean() < 1 or not 0 < truth[~test].mean() < 1:
                continue  # nothing to tell apart on one of the sides
            order = _ranking(x[~test], truth[~test, 0])
            for k in [k for k in sorted(set(ks)) if k < x.shape[1]]:
                outputs = LogisticModel(truth, multi_label=True).fit(x[:, order[:k]], ~test, _WEAK)
                best = " ".join(str(latent) for latent in order[:k])
                rows.append((name, k, *_score(outputs, truth, test, groups, seed, n_bootstrap), best))
            found = _score(whole[:, [c]], truth, test, groups, seed, n_bootstrap)
            rows.append((name, x.shape[1], *found, ""))
    columns = ["class", "k", "average_precision", "low", "high", "chance", "latents"]
    return pd.DataFrame(rows, columns=columns)


def latents_needed(table: pd.DataFrame, *, share: float = 0.95) -> pd.DataFrame:
    """Return ``class, k_needed``: the least k whose average precision is `share` of the whole code's.

    From the table of `sparse_probes`. A class that no listed k is enough for needs the whole code.
    """
    rows = []
    for name, own in table.groupby("class", sort=False):
        own = own.sort_values("k")
        enough = own.k[own.average_precision >= share * own.average_precision.iloc[-1]]
        rows.append((name, int(enough.iloc[0])))
    return pd.DataFrame(rows, columns=["class", "k_needed"])


def _whole_code(x: np.ndarray, targets: np.ndarray, split: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the logits of every class from all latents, the penalty chosen over training groups."""
    train = split == "train"
    model = LogisticModel(targets, multi_label=True)
    strength = model.choose(x, train, training_folds(groups[train], 5), list(STRENGTHS))
    return model.fit(x, split != "test", strength)


def _ranking(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the latents from the largest to the smallest difference of means (x is in units of its deviation)."""
    difference = x[truth == 1].mean(axis=0) - x[truth == 0].mean(axis=0)
    return np.argsort(-np.abs(difference), kind="stable")


def _score(
    outputs: np.ndarray, truth: np.ndarray, test: np.ndarray, groups: np.ndarray, seed: int, n_bootstrap: int
) -> tuple[float, float, float, float]:
    low, high = scoring.interval(
        "multi", outputs[test], truth[test], groups[test], seed=seed, n_bootstrap=n_bootstrap
    )
    return scoring.score("multi", outputs[test], truth[test]), low, high, float(truth[test].mean())
