"""One set of factors for all representations of a layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.disentanglement import Disentanglement, same_factors, summarise_same

COLUMNS = [
    "completeness",
    "effective_dims",
    "effective_dims_matched",
    "r2",
    "r2_label",
    "completeness_published",
]


def factors(r2_cv: list[float], beyond: list[float], owned: list[bool], dims: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"factor": list("abcd"), "r2_cv": r2_cv, "r2_beyond": beyond, "label_owned": owned})
    return table.assign(**dict.fromkeys(COLUMNS, 0.5)).assign(effective_dims=dims)


DENSE = factors([0.9, 0.5, 0.8, 0.0], [0.9, 0.5, 0.2, 0.0], [False] * 4, [10, 20, 30, 40])
CODES = factors([0.7, 0.05, 0.9, 0.05], [0.7, 0.05, 0.0, 0.05], [False, False, True, False], [1, 2, 3, 4])


def test_worked_out_by_hand():
    """c is the label's in the codes, so that it counts beyond the label in both; d is predicted by neither."""
    same = same_factors(DENSE, [CODES, CODES], floor=0.1)
    assert same.factor.tolist() == ["a", "b", "c"]  # 1.6, .55, .2
    assert same.beyond.tolist() == [False, False, True]
    assert same_factors(DENSE, [CODES], floor=0.1, n=2).factor.tolist() == ["a", "b"]
    rows = [
        summarise_same(Disentanglement(table, pd.DataFrame(), 0.3, np.zeros((2, 4))), same, floor=0.1).iloc[0]
        for table in (DENSE, CODES)
    ]
    assert [row.r2_mean for row in rows] == pytest.approx([(0.9 + 0.5 + 0.2) / 3, (0.7 + 0.05 + 0.0) / 3])
    assert [row.n_factors for row in rows] == [3, 1]
    assert [row.effective_dims_mean for row in rows] == [20, 1]  # of what each predicts
    assert all(row.selection == "same" for row in rows)


def test_nothing_is_predicted():
    poor = factors([0.0] * 4, [0.0] * 4, [False] * 4, [1, 1, 1, 1])
    assert same_factors(poor, [poor], floor=0.1).empty
