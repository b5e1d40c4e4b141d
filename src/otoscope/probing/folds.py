"""Where few groups are on the test side: every group is scored by a probe that has not heard it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from otoscope.clips import LabelKind, group_folds, label_kind
from otoscope.compute import one_thread_each
from otoscope.errors import InputError
from otoscope.probing import scoring
from otoscope.probing.inputs import check_rows
from otoscope.probing.models import training_folds
from otoscope.probing.probes import STRENGTHS, fitter_of
from otoscope.probing.results import Probe, judge
from otoscope.probing.tables import probe_row


def probe_folds(
    x: np.ndarray,
    labels: pd.Series | Sequence,
    *,
    groups: Sequence | np.ndarray,
    seen: Sequence[bool] | np.ndarray | None = None,
    kind: LabelKind | None = None,
    strengths: Sequence[float] = STRENGTHS,
    n_outer: int = 10,
    n_folds: int = 5,
) -> dict[str, Probe]:
    """Score every row by a probe fitted on other groups: outer folds over all groups, the penalty chosen inside each.

    Ten speakers give an interval over ten groups, where a split would leave two to be tested. This holds as it stands
    for a layer that was fixed beforehand. Codes, a normaliser, or a layer that was picked by some of these groups have
    seen them: say which by `seen`, and read "unseen". Probes of different folds share training groups, so that their
    errors are not quite independent: the intervals take them for it.

    Parameters
    ----------
    x, labels, groups, kind
        As in `otoscope.probing.probes`.
    seen : sequence [rows] of bool, optional
        Rows that the dictionary, the normaliser or the choice of the layer used; a group of which one row was used
        counts as seen. Default: none.
    strengths, n_folds
        Of the inner choice, as in `probe`.
    n_outer : int
        Outer folds; as many as there are groups where these are fewer.

    Returns
    -------
    dict of str to Probe
        "all" groups; and where `seen` is given "unseen" and "seen" ones, each where there are any. Scores are those of
        all its rows together. `strength` is the median over the outer folds, `valid_score` NaN.

    Raises
    ------
    InputError
        If shapes do not match, or there are fewer than three groups.
    """
    everywhere = np.full(len(x), "train")
    x, labels, _, groups = check_rows(x, labels, everywhere, groups, needed=("train",))
    if len(np.unique(groups)) < 3:
        raise InputError(f"outer folds need at least 3 groups; got {len(np.unique(groups))}")
    used = np.zeros(len(x), dtype=bool) if seen is None else np.asarray(seen, dtype=bool)
    if used.shape != (len(x),):
        raise InputError(f"expected whether each of {len(x)} rows was seen; got {used.shape}")
    kind = kind or label_kind(labels)
    targets, classes = scoring.encode(labels, kind, train=np.ones(len(x), dtype=bool))
    folds = group_folds(groups, n_outer)
    outputs, chosen = np.zeros(targets.shape), []
    fitter = fitter_of(kind, targets)
    with one_thread_each():
        for fold in range(folds.max() + 1):
            train = folds != fold
            if kind != "number" and len(np.unique(targets[train], axis=0)) < 2:
                raise InputError(
                    "without one of the folds there is one class only; a probe needs at least two"
                )
            inner = training_folds(groups[train], n_folds)
            chosen.append(fitter.choose(x, train, inner, sorted(strengths)))
            outputs[~train] = fitter.fit(x, train, chosen[-1])[~train]
    was_seen = np.isin(groups, groups[used])
    sides = {"all": np.ones(len(x), dtype=bool)}
    sides |= {} if seen is None else {"unseen": ~was_seen, "seen": was_seen}
    return {
        side: judge(
            kind,
            outputs[rows],
            targets[rows],
            scoring.interval(kind, outputs[rows], targets[rows], groups[rows]),
            classes,
            valid_score=float("nan"),
            strength=float(np.median(chosen)),
        )
        for side, rows in sides.items()
        if rows.any()
    }


def fold_table(probes: Mapping[str, Probe]) -> pd.DataFrame:
    """Return the rows of `probe_folds`: ``groups`` says whose scores these are, then the columns of `probe_row`.

    "unseen" are groups that the dictionary, the normaliser and the choice of the layer never saw.
    """
    return pd.DataFrame([{"groups": side, **probe_row(result)} for side, result in probes.items()])
