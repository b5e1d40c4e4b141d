"""Crop rules: spelling, and the stretches they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otoscope.activations.crops import Crop, cut, parse_crop
from otoscope.errors import InputError

from .conftest import table


@pytest.mark.parametrize(
    ("text", "crop"),
    [
        ("full", Crop("full")),
        ("first:5", Crop("first", length_s=5)),
        ("first:2.5,pad", Crop("first", length_s=2.5, pad=True)),
        ("random:8x5", Crop("random", length_s=5, count=8)),
        ("random:8x5,seed=3,pad", Crop("random", length_s=5, count=8, seed=3, pad=True)),
        ("windows:5/2.5", Crop("windows", length_s=5, hop_s=2.5)),
        ("windows:5", Crop("windows", length_s=5, hop_s=5)),
    ],
)
def test_spelling(text: str, crop: Crop) -> None:
    assert parse_crop(text) == crop
    assert parse_crop(str(crop)) == crop
    assert parse_crop(crop) is crop


@pytest.mark.parametrize(
    "text", ["ful", "first", "first:0", "first:-1", "random:5", "random:0x5", "windows:5/-1", "windows:5/0",
             "windows:5/nan", "first:inf", "random:2x5,seed=-1", "full:3", "full,pad", "first:5,seed=1",
             "first:5,pads", "random:8x5,seed=x", ""],
)  # fmt: skip
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="crops are: full, first:SECONDS"):
        parse_crop(text)


def test_the_nearest_is_suggested() -> None:
    with pytest.raises(InputError, match="did you mean 'windows'"):
        parse_crop("window:5")


def stretches(text: str, stop_s: float, start_s: float = 0.0):
    crops = cut(table([("a", "a.wav", start_s, stop_s)]), parse_crop(text))
    return [(round(a, 6), round(b, 6)) for a, b in zip(crops.start_s, crops.stop_s)]


def test_full_and_first() -> None:
    assert stretches("full", 7.0, 2.0) == [(2.0, 7.0)]
    assert stretches("first:3", 7.0, 2.0) == [(2.0, 5.0)]
    assert stretches("first:30", 7.0, 2.0) == [(2.0, 7.0)]


def test_windows_cover_the_clip_to_its_end() -> None:
    assert stretches("windows:2/1", 5.0) == [(0, 2), (1, 3), (2, 4), (3, 5)]
    assert stretches("windows:2", 5.0) == [(0, 2), (2, 4), (3, 5)]
    assert stretches("windows:2", 4.0) == [(0, 2), (2, 4)]
    assert stretches("windows:2/1", 1.5) == [(0, 1.5)]


def test_padding_says_how_much_the_model_is_given() -> None:
    crops = cut(table([("a", "a.wav", 0, 3), ("b", "b.wav", 0, 9)]), parse_crop("first:5,pad"))
    assert list(crops.given_s) == [5, 5]
    assert list(crops.stop_s) == [3, 5]
    assert list(cut(table([("a", "a.wav", 0, 3)]), parse_crop("first:5")).given_s) == [3]


@given(st.floats(0.1, 30), st.integers(0, 5))
def test_random_crops_lie_inside_and_are_the_clips_own(duration_s: float, seed: int) -> None:
    rule = parse_crop(f"random:4x2,seed={seed}")
    alone = cut(table([("b", "b.wav", 1.0, 1.0 + duration_s)]), rule)
    beside = cut(table([("a", "a.wav", 0.0, 9.0), ("b", "b.wav", 1.0, 1.0 + duration_s)]), rule)
    assert (alone.start_s >= 1.0).all()
    assert (alone.stop_s <= 1.0 + duration_s).all()
    np.testing.assert_allclose(alone.stop_s - alone.start_s, min(2.0, duration_s))
    np.testing.assert_array_equal(alone.start_s, beside[beside.clip_id == "b"].start_s)


def test_seeds_and_clips_differ() -> None:
    starts = {
        (clip_id, seed): tuple(
            cut(table([(clip_id, "x.wav", 0, 60)]), parse_crop(f"random:3x2,seed={seed}")).start_s
        )
        for clip_id in "ab"
        for seed in (0, 1)
    }
    assert len(set(starts.values())) == 4
