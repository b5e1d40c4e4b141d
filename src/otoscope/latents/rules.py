"""A name as a rule that a machine can check on other clips: which label, which factor above or below what, whose."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from otoscope.errors import InputError

NO_MEANING = "no clear meaning"


@dataclass(frozen=True)
class Condition:
    """A label that a clip must have, or a side of a threshold on which its factor must lie.

    Attributes
    ----------
    column : str
        Of the labels or of the factors.
    value : str or float
        The label, or the threshold.
    side : {"is", "above", "below"}
    unit : str
        Of the threshold.
    """

    column: str
    value: str | float
    side: Literal["is", "above", "below"] = "is"
    unit: str = ""

    def holds(self, labels: pd.DataFrame, factors: pd.DataFrame | None) -> np.ndarray:
        """Return for which rows it holds; a factor that is not known meets no condition."""
        table = labels if self.side == "is" else factors
        if table is None or self.column not in table:
            raise InputError(f"a rule asks for '{self.column}', which is not known of these clips")
        if self.side == "is":
            cells = table[self.column].fillna("").astype(str)
            return np.array([self.value in (part.strip() for part in cell.split(";")) for cell in cells])
        numbers = table[self.column].to_numpy(dtype=float)
        return numbers > float(self.value) if self.side == "above" else numbers < float(self.value)

    def __str__(self) -> str:
        if self.side == "is":
            return f"{self.column.replace('_', ' ')} {self.value}"
        number = f"{float(self.value):.3g}" if abs(float(self.value)) < 1000 else f"{float(self.value):.0f}"
        number = number.replace("-", "\u2212")
        return (
            f"{factor_words(self.column, self.unit)} {self.side} {number} {self.unit.split(',')[0]}".strip()
        )


@dataclass(frozen=True)
class Rule:
    """What a latent's name says: all conditions hold, and the clip is of a group, if one is named.

    Attributes
    ----------
    conditions : tuple of Condition
    group : str
        Empty: of any group.
    moments : bool
        Whether it speaks of moments (frames), not of whole clips.
    """

    conditions: tuple[Condition, ...] = ()
    group: str = ""
    moments: bool = False

    def holds(self, labels: pd.DataFrame, factors: pd.DataFrame | None = None) -> np.ndarray:
        """Return for which rows it holds.

        Parameters
        ----------
        labels : DataFrame [rows]
            The label columns and ``group``.
        factors : DataFrame [rows], optional

        Raises
        ------
        InputError
            If it asks for a label or factor that is not there.
        """
        met = np.ones(len(labels), bool)
        for condition in self.conditions:
            met &= condition.holds(labels, factors)
        return met & (labels.group.astype(str) == self.group).to_numpy() if self.group else met

    def __bool__(self) -> bool:
        return bool(self.conditions or self.group)

    def __str__(self) -> str:
        if not self:
            return NO_MEANING
        words = ", ".join(map(str, self.conditions))
        if self.moments:
            words = f"moments of {words}"
        if not self.group:
            return words
        return f"{words}, {self.group} only" if words else f"{self.group} only"

    def to_json(self) -> str:
        """Return it as JSON, for a table; empty where it says nothing."""
        if not self:
            return ""
        conditions = [vars(condition) for condition in self.conditions]
        return json.dumps({"conditions": conditions, "group": self.group, "moments": self.moments})

    @classmethod
    def from_json(cls, text: str) -> Rule:
        """Read what `to_json` wrote."""
        if not text:
            return cls()
        found = json.loads(text)
        conditions = tuple(Condition(**condition) for condition in found["conditions"])
        return cls(conditions, found["group"], found["moments"])


def factor_words(name: str, unit: str) -> str:
    """``f0_hz`` in Hz -> ``f0``: a factor's name without the unit that follows anyway."""
    words = name.split("_")
    spelled = re.sub(r"[^a-z]+", "_", unit.lower().replace("%", "percent").replace("/", "_per_")).strip("_")
    for length in range(min(len(words) - 1, 4), 0, -1):
        if spelled.startswith("_".join(words[-length:])) and spelled:
            return " ".join(words[:-length])
    return " ".join(words)


def auc_of(ranks: np.ndarray, holds: np.ndarray) -> float:
    """Return the chance that a row where a rule holds ranks above one where it does not; ties count half.

    Parameters
    ----------
    ranks : float [rows]
        Of the latent's values, means of ties.
    holds : bool [rows]
    """
    n_with = int(holds.sum())
    n_without = len(holds) - n_with
    if not n_with or not n_without:
        return float("nan")
    return float((ranks[holds].sum() - n_with * (n_with + 1) / 2) / (n_with * n_without))


def detection(fires: np.ndarray, holds: np.ndarray) -> float:
    """Return the AUC of a rule as a detector: the chance that it holds where a latent fires rather than where not.

    Parameters
    ----------
    fires, holds : bool [rows]
    """
    if fires.all() or not fires.any():
        return float("nan")
    return float(0.5 + 0.5 * (holds[fires].mean() - holds[~fires].mean()))


def auc_in_groups(values: np.ndarray, holds: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve inside each group that has rows where a rule holds and where not."""
    found = []
    codes = np.unique(groups, return_inverse=True)[1]
    for own in (codes == group for group in range(codes.max() + 1)):
        if 0 < holds[own].sum() < own.sum():
            found.append(auc_of(rankdata(values[own]), holds[own]))
    return np.array(found)
