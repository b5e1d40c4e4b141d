"""Where rare classes go."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from otoscope.clips import check_clips, check_label, label_notes, split_clips
from otoscope.errors import InputError
from otoscope.splits import stratified


def clips_of(groups: dict[str, str], each: int = 4) -> pd.DataFrame:
    """Return clips of groups, each of one or several classes (letters)."""
    rows = [
        {"clip_id": f"{group}{i}", "path": "x", "group": group, "word": words[i % len(words)]}
        for group, words in groups.items()
        for i in range(each)
    ]
    return pd.DataFrame(rows).assign(start_s=0.0, stop_s=1.0)


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_two_groups_is_learnt_and_tested(seed):
    groups = {f"g{i}": "ab" for i in range(20)} | {"r1": "ar", "r2": "br", "s1": "as", "s2": "bs"}
    clips = check_clips(split_clips(clips_of(groups), seed=seed))
    for word in "rs":
        assert {"train", "test"} <= set(clips.split[clips.word == word])


def test_the_first_draw_stands_where_it_leaves_no_class_out():
    clips = clips_of({f"g{i}": "ab" for i in range(12)})
    names = np.random.default_rng(3).permutation([f"g{i}" for i in range(12)])
    split = split_clips(clips, seed=3).groupby("group").split.first()
    assert set(names[:2]) == set(split.index[split == "valid"])
    assert set(names[2:5]) == set(split.index[split == "test"])


def test_sides_have_the_sizes_asked_for_and_the_shares_of_the_classes():
    rng = np.random.default_rng(0)
    shown = rng.random((200, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02]
    sides = stratified(shown, np.array([120, 30, 50]))
    assert np.bincount(sides).tolist() == [120, 30, 50]
    share = shown[sides == 2].sum(axis=0) / shown.sum(axis=0)
    np.testing.assert_allclose(share[:4], 0.25, atol=0.06)


def test_the_split_does_not_depend_on_what_is_asked():
    clips = clips_of({f"g{i}": "abc"[i % 3] for i in range(30)}, each=1).assign(mood=["x", "y"] * 15)
    assert split_clips(clips).equals(
        split_clips(clips.assign(note=[f"n{i}" for i in range(30)])).drop(columns="note")
    )


def test_what_no_test_clip_shows_is_said():
    clips = split_clips(clips_of({f"g{i}": "ab" for i in range(12)} | {"r": "ar"}), seed=0)
    clips.loc[clips.group == "r", "split"] = "train"
    (note,) = label_notes(clips, "word", check_label(clips, "word"))
    assert "'r' occur in no test clip (2 clips of 1 groups)" in note


def test_many_whole_numbers_may_be_a_quantity():
    clips = split_clips(clips_of({f"g{i}": "ab" for i in range(30)})).assign(age=np.tile(np.arange(40), 3))
    with pytest.raises(
        InputError, match="40 different whole numbers, each taken for a class; if it is a quantity"
    ):
        check_label(clips, "age")
    assert check_label(clips, "age", "number") == "number"
    with pytest.raises(InputError, match="is to be a number, and holds text, such as 'a'"):
        check_label(clips, "word", "number")
