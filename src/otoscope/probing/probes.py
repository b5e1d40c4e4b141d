"""The sound probe: a regularised linear model whose penalty is chosen on held-out groups.

Classes: multinomial logistic regression, accuracy. Several classes per clip: a logistic regression for each,
macro average precision. Numbers: ridge regression, R2. Features are standardised by the rows that train.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind, label_kind
from otoscope.compute import cpu_count, one_thread_each, thread_map
from otoscope.errors import InputError
from otoscope.probing import scoring
from otoscope.probing.inputs import check_rows
from otoscope.probing.models import LogisticModel, RidgeModel, training_folds
from otoscope.probing.results import Probe, judge

Key = TypeVar("Key", bound=Hashable)

STRENGTHS = tuple(float(c) for c in 10.0 ** np.arange(-4, 1.1, 0.5))
"""Inverse penalties C to choose from, of scikit-learn's meaning, weakest fit first."""

_FOLDS = 5


def probe(
    x: np.ndarray,
    labels: pd.Series | Sequence,
    *,
    split: Sequence[str] | np.ndarray,
    groups: Sequence | np.ndarray,
    kind: LabelKind | None = None,
    strengths: Sequence[float] = STRENGTHS,
    n_folds: int = _FOLDS,
    refit: bool = True,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> Probe:
    """Fit on the training rows, choose on held-out groups, score on the test rows.

    The penalty is chosen by cross-validation over the training groups, by the held-out log-loss (squared
    error for numbers), going from strong to weak until it gets worse. A first model, fitted on the training
    rows, gives `valid_score`; a second, fitted on training and validation rows at the same penalty, is scored
    on the test rows.

    Parameters
    ----------
    x : np.ndarray [rows, features]
        A layer's activations, or codes.
    labels : sequence [rows]
        Text or whole numbers: classes. Text with ``;``: several classes. Fractions: a number.
    split : sequence [rows] of {"train", "valid", "test"}
        Whole groups on one side.
    groups : sequence [rows]
        Singer, speaker: folds and bootstrap draws keep them whole.
    kind : {"class", "number", "multi"}, optional
        Of the label; default: as it looks.
    strengths : sequence of float
        Inverse penalties to choose from.
    n_folds : int
        Of the cross-validation; fewer where there are fewer training groups.
    refit : bool
        False scores the first model on the test rows too.
    seed : int
        Of the bootstrap.
    n_bootstrap : int
        Draws.

    Raises
    ------
    InputError
        If lengths differ, a split has no training or test rows, or the training rows have one class only.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels, groups = np.tile(["high", "low"], 60), np.repeat(range(12), 10)
    >>> x = rng.standard_normal((120, 4)) + 3 * (labels == "high")[:, None]
    >>> split = np.repeat(["train", "valid", "test"], [80, 20, 20])
    >>> probe(x, labels, split=split, groups=groups).score
    1.0
    """
    x, labels, split, groups = check_rows(x, labels, split, groups)
    if not len(strengths) or min(strengths) <= 0:
        raise InputError(f"expected inverse penalties above 0 to choose from; got {list(strengths)}")
    kind = kind or label_kind(labels)
    targets, classes = scoring.encode(labels, kind, train=split != "test")
    train, valid, test = (split == side for side in ("train", "valid", "test"))
    if kind != "number" and len(np.unique(targets[train], axis=0)) < 2:
        raise InputError("the training rows have one class only; a probe needs at least two")
    fitter = RidgeModel(targets) if kind == "number" else LogisticModel(targets, multi_label=kind == "multi")
    with one_thread_each():
        strength = fitter.choose(x, train, training_folds(groups[train], n_folds), sorted(strengths))
        outputs = fitter.fit(x, train, strength)
        valid_score = scoring.score(kind, outputs[valid], targets[valid]) if valid.any() else float("nan")
        if refit and valid.any():
            outputs = fitter.fit(x, train | valid, strength)
    low, high = scoring.interval(
        kind, outputs[test], targets[test], groups[test], seed=seed, n_bootstrap=n_bootstrap
    )
    return judge(
        kind, outputs[test], targets[test], (low, high), classes, valid_score=valid_score, strength=strength
    )


def probe_all(
    representations: Mapping[Key, np.ndarray],
    labels: pd.Series | Sequence,
    *,
    workers: int | None = None,
    on_done: Callable[[Key], None] | None = None,
    **options,
) -> dict[Key, Probe]:
    """Probe many representations of the same rows, several at a time.

    Parameters
    ----------
    representations : mapping to np.ndarray [rows, features]
        Layers, codes, by any key.
    labels : sequence [rows]
    workers : int, optional
        Representations at a time, each on one core; default: as many as there are cores.
    on_done : callable, optional
        Called with each key once it is probed, in order.
    **options
        Of `probe`: `split` and `groups` are needed.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels, groups = np.tile(["high", "low"], 60), np.repeat(range(12), 10)
    >>> noise = rng.standard_normal((120, 4))
    >>> split = np.repeat(["train", "valid", "test"], [80, 20, 20])
    >>> layers = {0: noise, 1: noise + 3 * (labels == "high")[:, None]}
    >>> found = probe_all(layers, labels, split=split, groups=groups)
    >>> found[1].score > found[0].score
    True
    """
    results = {}
    with one_thread_each():
        found = thread_map(
            lambda key: probe(representations[key], labels, **options),
            representations,
            workers=workers or cpu_count(),
        )
        for key, result in zip(representations, found):
            results[key] = result
            if on_done:
                on_done(key)
    return results
