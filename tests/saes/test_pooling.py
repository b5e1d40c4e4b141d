"""A clip's code from its frames, against pandas."""

import numpy as np
import pandas as pd
import pytest

from otoscope.errors import InputError
from otoscope.saes import pooled_codes

rng = np.random.default_rng(0)
FRAMES = rng.standard_normal((37, 5)).astype(np.float32)
PLACES = np.repeat([2, 0, 3, 1], [10, 1, 20, 6])


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize("size", [1, 7, 37])
def test_pools_are_those_of_pandas_whatever_the_blocks(size):
    blocks = [FRAMES[start : start + size] for start in range(0, 37, size)]
    found = pooled_codes(relu, blocks, PLACES, n_places=4, clip_codes=["mean", "max", "share"])
    grouped = pd.DataFrame(relu(FRAMES)).groupby(PLACES)
    np.testing.assert_allclose(found["mean"], grouped.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["max"], grouped.max())
    np.testing.assert_allclose(found["share"], grouped.agg(lambda column: (column > 0).mean()), rtol=1e-6)


def test_frames_of_no_clip_are_passed_over():
    places = np.where(PLACES == 3, -1, PLACES)
    found = pooled_codes(relu, [FRAMES], places, n_places=3)
    np.testing.assert_allclose(found["mean"][2], relu(FRAMES[:10]).mean(0), rtol=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="1 of 5 clips have no frame"):
        pooled_codes(relu, [FRAMES], PLACES, n_places=5)
    with pytest.raises(InputError, match="expected 37 frames, got 36"):
        pooled_codes(relu, [FRAMES[1:]], PLACES, n_places=4)
    with pytest.raises(InputError, match="'mean'"):
        pooled_codes(relu, [FRAMES], PLACES, n_places=4, clip_codes=["meann"])
