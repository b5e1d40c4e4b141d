"""One unit against another: does a single latent say more of a concept than a single dimension of the layer?

The best unit of a concept is chosen on some rows and judged on others, so that a wider code has no more luck than a
narrow one. A unit may speak by being high or by being low. Two kinds of best are chosen: the one that orders rows best
(area under the ROC curve), and the purest one, since a sparse feature is meant to be pure rather than complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from otoscope.compute import one_thread_each
from otoscope.errors import InputError
from otoscope.probing.models import LogisticModel

KS = (1, 2, 4, 8)
PURE_RECALL = 0.1
"""Share of a concept's rows that the purest unit has to take where it is chosen."""
CHOICES = ("auc", "pure", "fires")
_WEAK = 1.0  # C of a fit on few units and many rows: the penalty hardly matters
_CHUNK = 64  # units ranked at a time


class Units(NamedTuple):
    """What :func:`single_units` finds."""

    table: pd.DataFrame
    """A row per concept, way of choosing and number of units."""
    outputs: dict[tuple[str, str, int], np.ndarray]
    """(concept, choice, k) -> [rows to judge on]: what orders them; NaN where the concept is not defined."""


def single_units(
    codes: np.ndarray,
    concepts: pd.DataFrame,
    *,
    learn: np.ndarray,
    judge: np.ndarray,
    ks: Sequence[int] = KS,
) -> Units:
    """Choose each concept's best units on some rows, and judge them on others.

    Three choices. ``auc``: the unit of highest area under the ROC curve, and, for k above 1, a logistic regression on
    the k best by it; precision and recall are at the threshold of best F1. ``pure``: the unit of highest precision
    where it takes a tenth of the concept's rows. ``fires``: of codes that are mostly 0, the unit of best F1 where
    "above 0" is the answer. All thresholds are those of the rows to choose on.

    Parameters
    ----------
    codes : np.ndarray [rows, units]
    concepts : DataFrame [rows]
        A column for each concept: 1 (True) where it holds, 0 where not, NaN where it is not defined.
    learn, judge : [rows] of bool
        Which rows to choose on and to judge on; of other speakers.
    ks : sequence of int
        How many units.

    Returns
    -------
    Units
        `table`: ``concept, choice, k, units, auc, precision, recall, chance, learn_auc, learn_precision``. `units` are
        separated by spaces, one that speaks by being low with a minus in front; `chance` is the concept's share of the
        rows to judge on, `learn_...` the same on the rows to choose on. A concept that holds in all, or none, of
        either side's rows is left out.

    Raises
    ------
    InputError
        If lengths differ, or a row is on both sides.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> codes = rng.uniform(size=(200, 5))
    >>> loud = pd.DataFrame({"loud": codes[:, 3] < 0.3})
    >>> side = np.arange(200) < 100
    >>> found = single_units(codes, loud, learn=side, judge=~side, ks=[1]).table
    >>> found[["choice", "units", "auc"]].to_dict("records")[0]
    {'choice': 'auc', 'units': '-3', 'auc': 1.0}
    """
    codes, learn, judge = np.asarray(codes), np.asarray(learn, bool), np.asarray(judge, bool)
    if codes.ndim != 2 or not len(codes) == len(concepts) == len(learn) == len(judge):
        raise InputError(
            f"expected codes [rows, units] with concepts and sides of each row; got {codes.shape}, {len(concepts)}, "
            f"{len(learn)} and {len(judge)}"
        )
    if (learn & judge).any():
        raise InputError(
            f"{int((learn & judge).sum())} rows are to choose on and to judge on; keep them apart"
        )
    truths = concepts.to_numpy(dtype=float)
    fires = bool((codes[learn] == 0).mean() > 0.5 and codes[learn].min(initial=0) >= 0)
    rows, outputs = [], {}
    for defined, names in _by_definition(concepts, truths):
        first, second = learn & defined, judge & defined
        own = truths[:, [concepts.columns.get_loc(name) for name in names]]
        usable = [0 < own[first, c].mean() < 1 and 0 < own[second, c].mean() < 1 for c in range(len(names))]
        kept = np.flatnonzero(usable)
        if not len(kept):
            continue
        chosen = _Chosen(codes[first], own[first][:, kept] > 0, fires)
        for c, place in enumerate(kept):
            name, truth = names[place], own[:, place] > 0
            for choice, units in chosen.units(c, max(ks)).items():
                for k in [k for k in ks if k <= len(units)] if choice == "auc" else [1]:
                    values = _values(codes, truth, first, first | second, units[:k])
                    row, held = _judged(values, truth, first, second, choice)
                    rows.append({"concept": name, "choice": choice, "k": k, "units": _text(units[:k]), **row})
                    outputs[name, choice, k] = held
    return Units(pd.DataFrame(rows, columns=_COLUMNS), outputs)


_COLUMNS = [
    "concept", "choice", "k", "units", "auc", "precision", "recall", "chance", "learn_auc", "learn_precision",
]  # fmt: skip


def area_under_curve(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the chance that a row with the concept has a higher value than one without, ties counting half.

    Parameters
    ----------
    values : [rows]
    truth : [rows] of bool
    """
    return float(_areas(_ranks(values[:, None]), truth[:, None])[0, 0])


class _Chosen:
    """Units ranked for every concept, on the rows ``x [rows, units]`` with the truths ``[rows, concepts]``."""

    def __init__(self, x: np.ndarray, truths: np.ndarray, fires: bool) -> None:
        n_units = x.shape[1]
        self.areas, self.fired = np.empty((n_units, truths.shape[1])), np.zeros((n_units, truths.shape[1]))
        self.purity = np.empty((2, n_units, truths.shape[1]))
        self.fires = fires
        for start in range(0, n_units, _CHUNK):
            part = slice(start, start + _CHUNK)
            ranks = _ranks(x[:, part])
            self.areas[part] = _areas(ranks, truths)
            for side, signed in enumerate((ranks, -ranks)):
                for i in range(signed.shape[1]):
                    self.purity[side, start + i] = _precision_at(signed[:, i], truths)
            if fires:
                on = (x[:, part] > 0).astype(np.float32)
                both = on.T @ truths.astype(np.float32)
                self.fired[part] = 2 * both / np.maximum(on.sum(0)[:, None] + truths.sum(0), 1)

    def units(self, c: int, k: int) -> dict[str, list[tuple[int, int]]]:
        """Return choice -> units (number, sign) of a concept, best first."""
        areas = self.areas[:, c]
        order = np.argsort(-np.abs(areas - 0.5), kind="stable")[:k]
        side, purest = np.unravel_index(self.purity[:, :, c].argmax(), self.purity.shape[:2])
        found = {
            "auc": [(int(unit), 1 if areas[unit] >= 0.5 else -1) for unit in order],
            "pure": [(int(purest), (1, -1)[side])],
        }
        if self.fires:
            found["fires"] = [(int(self.fired[:, c].argmax()), 1)]
        return found


def _values(
    codes: np.ndarray, truth: np.ndarray, first: np.ndarray, used: np.ndarray, units: list[tuple[int, int]]
) -> np.ndarray:
    """Return what orders rows [rows]: the signed unit, or a logistic regression on several, learnt on `first`."""
    if len(units) == 1:
        unit, sign = units[0]
        return sign * codes[:, unit].astype(np.float64)
    x = codes[used][:, [unit for unit, _ in units]].astype(np.float64)
    own, found = first[used], np.zeros(len(codes))
    with one_thread_each():
        model = LogisticModel(truth[used, None].astype(float), multi_label=True)
        found[used] = model.fit(x, own, _WEAK)[:, 0]
    return found


def _judged(
    values: np.ndarray, truth: np.ndarray, first: np.ndarray, second: np.ndarray, choice: str
) -> tuple[dict[str, float], np.ndarray]:
    """Return the numbers of a row, and the values of the rows to judge on, NaN where not defined."""
    above_0 = float(np.nextafter(0.0, 1.0))
    threshold = above_0 if choice == "fires" else _threshold(values[first], truth[first], choice)
    taken, true = values >= threshold, truth
    hits, hits_before = (taken & true)[second].sum(), (taken & true)[first].sum()
    row = {
        "auc": area_under_curve(values[second], true[second]),
        "precision": hits / taken[second].sum() if taken[second].any() else float("nan"),
        "recall": hits / true[second].sum(),
        "chance": float(true[second].mean()),
        "learn_auc": area_under_curve(values[first], true[first]),
        "learn_precision": hits_before / taken[first].sum() if taken[first].any() else float("nan"),
    }
    return {name: float(value) for name, value in row.items()}, values[second]


def _threshold(values: np.ndarray, truth: np.ndarray, choice: str) -> float:
    """Return the lowest value that is taken: at the best F1, or where `PURE_RECALL` of the concept's rows are."""
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)  # equal values go together
    hits = np.cumsum(truth[order])[ends]
    if choice == "pure":
        return float(values[order][ends[np.searchsorted(hits, PURE_RECALL * truth.sum())]])
    return float(values[order][ends[(2 * hits / (ends + 1 + truth.sum())).argmax()]])


def _precision_at(ranks: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return [concepts]: the precision of the highest ranks [rows] that hold `PURE_RECALL` of each concept's rows."""
    order = np.argsort(-ranks, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(ranks[order])), len(order) - 1)
    hits = np.cumsum(truths[order], axis=0)[ends]
    wanted = PURE_RECALL * truths.sum(0)
    at = np.array([np.searchsorted(hits[:, c], wanted[c]) for c in range(truths.shape[1])])
    return hits[at, np.arange(truths.shape[1])] / (ends[at] + 1)


def _ranks(x: np.ndarray) -> np.ndarray:
    """Return the ranks of each column of ``x [rows, units]``, from 1, ties sharing their mean."""
    from scipy.stats import rankdata

    ranks = np.empty(x.shape)
    for i, column in enumerate(x.T):
        lowest = column.min()
        rest = np.flatnonzero(column != lowest)
        n_lowest = len(column) - len(rest)  # of a sparse code most: they need no sorting
        ranks[:, i] = (n_lowest + 1) / 2
        ranks[rest, i] = n_lowest + rankdata(column[rest])
    return ranks


def _areas(ranks: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Return the areas [units, concepts] from ranks [rows, units] and truths [rows, concepts] (Mann-Whitney)."""
    n_true = truths.sum(0)
    n_false = len(truths) - n_true
    return (ranks.T @ truths.astype(float) - n_true * (n_true + 1) / 2) / (n_true * n_false)


def _by_definition(concepts: pd.DataFrame, truths: np.ndarray) -> list[tuple[np.ndarray, list[str]]]:
    """Return groups of concepts that are defined on the same rows, with those rows."""
    groups: dict[bytes, list[str]] = {}
    for c, name in enumerate(concepts.columns):
        groups.setdefault((~np.isnan(truths[:, c])).tobytes(), []).append(str(name))
    return [(np.frombuffer(rows, bool), names) for rows, names in groups.items()]


def _text(units: list[tuple[int, int]]) -> str:
    return " ".join(f"{'-' if sign < 0 else ''}{unit}" for unit, sign in units)
