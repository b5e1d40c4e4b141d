"""What names are made from and judged on: values of latents in rows, and what is known of the rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import rankdata

from otoscope.latents.rules import Condition, auc_of, detection


@dataclass(frozen=True)
class Ground:
    """Rows, clips or moments, and what is known of them.

    Attributes
    ----------
    values : sparse [rows, latents]
    labels : DataFrame [rows]
        ``group`` and the label columns.
    factors : DataFrame [rows, factors] or None
    units : dict
        Unit of each factor.
    moments : bool
    """

    values: sparse.csc_matrix
    labels: pd.DataFrame
    factors: pd.DataFrame | None
    units: dict[str, str]
    moments: bool = False

    def holds(self, condition: Condition) -> np.ndarray:
        """Return for which rows a condition holds; what was asked before is remembered."""
        if condition not in self._known:
            self._known[condition] = condition.holds(self.labels, self.factors)
        return self._known[condition]

    @cached_property
    def _known(self) -> dict[Condition, np.ndarray]:
        return {}

    def strength(self, values: np.ndarray) -> np.ndarray:
        """Return what a rule has to tell of a latent's values: their ranks or, of moments, whether it fires."""
        return (values > 0).astype(float) if self.moments else rankdata(values)

    def auc(self, strength: np.ndarray, holds: np.ndarray) -> float:
        """Return how well a rule tells where a latent is strong or, of moments, where it fires."""
        return detection(strength > 0, holds) if self.moments else auc_of(strength, holds)

    @cached_property
    def groups(self) -> np.ndarray:
        """The group of each row, from 0."""
        return np.unique(self.labels.group.astype(str), return_inverse=True)[1]
