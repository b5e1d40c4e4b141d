"""Numbers in few digits: what formatting each one says, whatever its size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.explorer.shards import figures


@pytest.mark.parametrize("digits", [3, 4, 6])
def test_numbers_are_those_that_formatting_gives(digits):
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.standard_normal(3000) * 10 ** rng.uniform(-9, 9, 3000),
            [0, -0.0, 1, 10, 0.1, 9.9999999, 99999.5, -1e-15],
        ]
    )
    found = figures(values, digits)
    expected = [float(f"{value:.{digits}g}") for value in values]
    assert found == expected
    assert [repr(value) for value in found] == [repr(value) for value in expected]  # as short in JSON


def test_what_is_missing_is_none():
    assert figures([1.23456, float("nan"), None, 2]) == [1.235, None, None, 2.0]
    assert figures(pd.Series([], dtype=float)) == []
    assert figures([5e-310, 2e-300, 1.0]) == [5e-310, 2e-300, 1.0]  # no power of ten rounds these
    assert figures(pd.Series([0.5, np.nan], dtype="float32", index=[7, 9])) == [0.5, None]
