"""Coherence of codes counted by hand."""

import numpy as np
import pytest

from otoscope.errors import InputError
from otoscope.saes import coherence

CODES = np.array([[1.0, 0, 0], [2, 1, 0], [0, 1, 0], [0, 0, 3], [0, 0, 1]])
FOLLOWS = np.array([True, True, False, True, False])  # two sounds: three frames and two


def test_neighbours_by_hand():
    found = coherence(CODES, FOLLOWS)
    assert found.cosine == pytest.approx((2 / 5**0.5 + 1 / 5**0.5 + 1) / 3)
    assert found.kept == (1 + 1 + 1) / (1 + 2 + 1)
    assert found.run_frames == 6 / 3  # runs of two frames: latent 0, latent 1 and latent 2


def test_any_two_frames_are_what_neighbours_are_compared_with():
    codes = np.abs(np.random.default_rng(0).standard_normal((4000, 6)))
    found = coherence(codes, np.ones(4000, bool))
    assert found.cosine == pytest.approx(found.cosine_apart, abs=0.01)  # of frames that have nothing to do


def test_frames_of_which_none_follows_another_are_refused():
    with pytest.raises(InputError, match="no frame follows"):
        coherence(CODES, np.zeros(5, bool))
