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
) -> pd.DataFrame:
    """Tell each class from all others by its k best latents, and by the whole code.

    Latents are ranked by the difference of means between the class and the rest, over the deviation, and a
    logistic regression learns from the first k: once on the training rows, scored on the validation rows (without such
    rows, on a fifth of the training groups, held out) for a k to be chosen by; then on all but the test rows, scored
    on these. Twins both rank high, so a code with doubled latents needs more of them by this count.

    Parameters
    ----------
    codes : np.ndarray [rows, latents]
    labels, split, groups, kind
        As in `otoscope.probing.probes`; numbers have no classes.
    ks : sequence of int
        How many latents; those above the width are left out.

    Returns
    -------
    DataFrame
        ``class, k, average_precision, low, high, chance, latents, valid_average_precision, n_test, n_groups,
        trusted``: a row per class and k, the last k being all latents. `chance` is the share of the class in the
        test rows; `latents` are the k best, best first, separated by spaces (empty for the whole code).

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
    learn, choose = _sides(split, groups)
    names = dict(enumerate(classes))
    with one_thread_each():
        valid = _probes(x, targets, ks, learn, choose, groups)
        tested = _probes(x, targets, ks, ~test, test, groups)
    rows = []
    for (c, k), (outputs, latents) in tested.items():
        truth = targets[test][:, [c]]
        found = scoring.interval("multi", outputs, truth, groups[test])
        about = {
            "class": names[c],
            "k": k,
            "average_precision": found.value,
            "low": found.low,
            "high": found.high,
            "chance": float(truth.mean()),
            "latents": latents,
            "valid_average_precision": float("nan"),
            "n_test": len(truth),
            "n_groups": found.n_groups,
            "trusted": found.trusted,
        }
        if (c, k) in valid:
            about["valid_average_precision"] = scoring.score("multi", valid[c, k][0], targets[choose][:, [c]])
        rows.append(about)
    return pd.DataFrame(rows)


def latents_needed(table: pd.DataFrame, *, share: float = 0.95) -> pd.DataFrame:
    """Return ``class, k_needed, average_precision, whole``: the least k that is enough, what it and all latents reach.

    From the table of `sparse_probes`. Enough is the least k whose average precision on the validation rows is `share`
    of the whole code's; the test rows, of which the two average precisions are, have no say in it. A class that no
    listed k is enough for needs the whole code; one that the validation rows cannot tell of is left out.
    """
    rows = []
    for name, own in table.groupby("class", sort=False):
        own = own.sort_values("k")
        valid = own.valid_average_precision
        if valid.isna().any():
            continue
        enough = own[valid >= share * valid.iloc[-1]].iloc[0]
        rows.append((name, int(enough.k), enough.average_precision, own.average_precision.iloc[-1]))
    return pd.DataFrame(rows, columns=["class", "k_needed", "average_precision", "whole"])


def _probes(
    x: np.ndarray,
    targets: np.ndarray,
    ks: Sequence[int],
    train: np.ndarray,
    held_out: np.ndarray,
    groups: np.ndarray,
) -> dict[tuple[int, int], tuple[np.ndarray, str]]:
    """Return (class, k) -> outputs [held-out rows, 1] and the latents; a class needs rows with and without."""
    x = standardised(x, train)
    whole = _whole_code(x, targets, train, groups)[held_out]
    found = {}
    for c in range(targets.shape[1]):
        truth = targets[:, [c]]
        if any(not 0 < truth[rows].mean() < 1 for rows in (train, held_out)):
            continue  # nothing to tell apart on one of the sides
        order = _ranking(x[train], truth[train, 0])
        for k in [k for k in sorted(set(ks)) if k < x.shape[1]]:
            outputs = LogisticModel(truth, multi_label=True).fit(x[:, order[:k]], train, _WEAK)
            found[c, k] = outputs[held_out], " ".join(str(latent) for latent in order[:k])
        found[c, x.shape[1]] = whole[:, [c]], ""
    return found


def _sides(split: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and the rows to choose k by; neither are test rows."""
    if (split == "valid").any():
        return split == "train", split == "valid"
    train = np.flatnonzero(split == "train")
    held_out = np.zeros(len(split), dtype=bool)
    held_out[train[training_folds(groups[train], 5) == 0]] = True
    return (split == "train") & ~held_out, held_out


def _whole_code(x: np.ndarray, targets: np.ndarray, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the logits of every class from all latents, the penalty chosen over the groups that train."""
    model = LogisticModel(targets, multi_label=True)
    strength = model.choose(x, train, training_folds(groups[train], 5), list(STRENGTHS))
    return model.fit(x, train, strength)


def _ranking(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the latents from the largest to the smallest difference of means (x is in units of its deviation)."""
    difference = x[truth == 1].mean(axis=0) - x[truth == 0].mean(axis=0)
    return np.argsort(-np.abs(difference), kind="stable")
