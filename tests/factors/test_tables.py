"""The factor table and its join to rows of activations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.errors import InputError, UnknownNameError
from otoscope.factors import Factors, compute_factors, join_factors

INFO = pd.DataFrame({"name": ["f0_hz"], "unit": ["Hz"], "family": ["pitch"]})


def factors(**columns) -> Factors:
    table = {"clip_id": ["a", "b"], "start_s": [0.0, 0.0], "stop_s": [2.0, 3.0], "f0_hz": [100.0, np.nan]}
    return Factors(pd.DataFrame(table | columns), INFO)


def rows(*triples) -> pd.DataFrame:
    return pd.DataFrame(triples, columns=["clip_id", "start_s", "stop_s"], index=range(10, 10 + len(triples)))


def test_join_follows_the_rows():
    joined = join_factors(rows(("b", 0.0, 3.0), ("a", 0.0, 2.0000001), ("b", 0.0, 3.0)), factors())
    assert list(joined.index) == [10, 11, 12]
    np.testing.assert_array_equal(joined.f0_hz, [np.nan, 100.0, np.nan])


def test_a_whole_clip_stands_for_its_rows_only_when_asked():
    frames = rows(("a", 0.0, 0.02), ("a", 0.02, 0.04))
    with pytest.raises(InputError, match="cover 0 to 2 s; join with whole_clip=True"):
        join_factors(frames, factors())
    np.testing.assert_array_equal(join_factors(frames, factors(), whole_clip=True).f0_hz, [100.0, 100.0])


def test_several_stretches_of_a_clip_join_by_stretch_only():
    both = factors(clip_id=["a", "a"], start_s=[0.0, 2.0], stop_s=[2.0, 4.0], f0_hz=[1.0, 2.0])
    assert join_factors(rows(("a", 2.0, 4.0)), both).f0_hz.item() == 2.0
    with pytest.raises(InputError, match="several factor rows"):
        join_factors(rows(("a", 2.0, 4.0)), both, whole_clip=True)


def test_messages():
    with pytest.raises(InputError, match=r"1 of 2 rows have no factors, such as 'c'.*no factors at all"):
        join_factors(rows(("a", 0, 2), ("c", 0, 2)), factors())
    with pytest.raises(InputError, match="did you mean 'f0_hz'"):
        join_factors(rows(("a", 0, 2)), factors(), names=["f0_h"])
    with pytest.raises(InputError, match="two rows for the same stretch"):
        factors(clip_id=["a", "a"], stop_s=[2.0, 2.0])
    with pytest.raises(InputError, match="does not match the factor columns: level"):
        Factors(factors().table.assign(level=1.0), INFO)
    with pytest.raises(InputError, match="not numeric"):
        factors(f0_hz=["high", "low"])
    clips = pd.DataFrame(
        {"clip_id": ["a"], "path": ["a.wav"], "start_s": 0.0, "stop_s": 1.0, "split": "train", "group": "g"}
    )
    with pytest.raises(UnknownNameError, match="did you mean 'egemaps'"):
        compute_factors("egemap", clips)
