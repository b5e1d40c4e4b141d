"""The clips table: what is refused, and that splits never let a group cross."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otoscope.clips import (
    check_clips,
    check_label,
    clips_hash,
    group_folds,
    label_kind,
    split_clips,
)
from otoscope.errors import InputError
from otoscope.tables import read_table


def table(n: int = 12, n_groups: int = 6, **columns) -> pd.DataFrame:
    rows = range(n)
    base = {
        "clip_id": [f"c{i}" for i in rows],
        "path": [f"a/{i}.wav" for i in rows],
        "start_s": 0.0,
        "stop_s": 1.0,
        "group": [f"g{i % n_groups}" for i in rows],
        "word": [f"w{i % 3}" for i in rows],
    }
    return pd.DataFrame(base | columns)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(8, 60), n_groups=st.integers(3, 8), seed=st.integers(0, 99))
def test_groups_never_cross_and_no_side_is_empty(n, n_groups, seed):
    clips = check_clips(split_clips(table(n, n_groups), seed=seed))  # check_clips refuses a crossing group
    assert set(clips.split) == {"train", "valid", "test"}


def test_single_clips_keep_the_shares_of_the_classes():
    clips = table(400, 400, word=["rare"] * 40 + ["common"] * 360)
    counts = split_clips(clips, label="word").groupby(["split", "word"]).size()
    assert counts["test", "rare"] == pytest.approx(10, abs=1)
    assert counts["valid", "rare"] == pytest.approx(6, abs=1)


def test_a_given_split_is_kept_and_validation_comes_from_training():
    given_split = ["train"] * 9 + ["test"] * 3
    clips = split_clips(table(12, 12, split=given_split))
    assert list(clips.split[9:]) == ["test"] * 3
    assert set(clips.split[:9]) == {"train", "valid"}
    named = split_clips(table(4, 4, split=["train", "train", "validation", "TEST"]))
    assert list(named.split) == ["train", "train", "valid", "test"]


def test_same_seed_same_split():
    assert split_clips(table(), seed=3).equals(split_clips(table(), seed=3))
    drawn = {tuple(split_clips(table(30, 30), seed=seed).split) for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (table(4, 2, split=["train", "test"] * 2), "1 group, and none to spare for validation"),
        (table().drop(columns=["clip_id", "group"]), "lacks 'clip_id'"),
    ],
)
def test_splits_that_cannot_be(clips, message):
    with pytest.raises(InputError, match=message):
        split_clips(clips)


def test_too_few_groups_can_be_listened_to_but_not_learnt_from():
    clips = check_clips(split_clips(table(n_groups=2)))
    assert set(clips.split) == {"train"}
    with pytest.raises(InputError, match="no clip is in 'test': 2 groups cannot fill"):
        check_label(clips, "word")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"clip_id": "same"}, "appear more than once"),
        ({"stop_s": 0.0}, "empty stretch"),
        ({"split": "holdout"}, "train, valid or test"),
        ({"split": ["train", "test"] * 6, "group": "g"}, "more than one split"),
    ],
)
def test_tables_that_are_refused(columns, message):
    with pytest.raises(InputError, match=message):
        check_clips(table(**({"split": "train"} | columns)))


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="lacks 'split'"):
        check_clips(table())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "class"),
        ([1, 2], "class"),
        ([True, False], "class"),
        ([1.0, 2.0], "class"),
        ([1.5, 2.25], "number"),
        (["bird;frog", "bird"], "multi"),
    ],
)
def test_label_kinds(values, kind):
    assert label_kind(pd.Series(values)) == kind


def test_labels_that_cannot_be_learnt():
    clips = split_clips(table(30, 30))
    with pytest.raises(InputError, match="did you mean 'word'"):
        check_label(clips, "wrd")
    with pytest.raises(InputError, match="one class only"):
        check_label(clips.assign(word="x"), "word")
    with pytest.raises(InputError, match="never in training"):
        check_label(clips.assign(word=clips.split), "word")
    with pytest.raises(InputError, match="is empty for 1 clips"):
        check_label(clips.assign(word=[None, *clips.word[1:]]), "word")
    with pytest.raises(InputError, match="also the group"):
        check_label(clips.assign(group=clips.word), "word")


def test_the_hash_follows_the_clips_not_the_folder():
    clips = table()
    moved = clips.assign(path=["elsewhere/" + path.split("/")[-1] for path in clips.path])
    assert clips_hash(clips) == clips_hash(moved)
    assert clips_hash(clips) != clips_hash(clips.assign(stop_s=2.0))
    assert clips_hash(clips) != clips_hash(clips[::-1])


def test_folds_keep_groups_whole_and_even():
    groups = np.repeat([f"g{i}" for i in range(11)], [5, 40, 7, 8, 20, 20, 3, 4, 9, 30, 10])
    folds = group_folds(groups, 5)
    assert pd.DataFrame({"g": groups, "f": folds}).groupby("g").f.nunique().max() == 1
    assert np.bincount(folds).max() <= 40  # the largest group alone
    assert len(np.bincount(folds)) == 5
    assert set(group_folds(np.repeat([0, 1, 2], 4), 5)) == {0, 1, 2}


def test_names_in_a_table_on_disk_stay_text(tmp_path):
    table(6, 3).assign(
        clip_id=[f"{i:03d}" for i in range(6)], group=["01", "01", "02", "02", "03", "03"]
    ).to_csv(tmp_path / "clips.csv", index=False)
    found = read_table(tmp_path / "clips.csv")
    assert list(found.clip_id) == ["000", "001", "002", "003", "004", "005"]
    assert list(found.group.unique()) == ["01", "02", "03"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("clips.csv", None, "no such table"),
        ("clips.txt", b"clip_id", r"a table is a \.csv, \.tsv, \.jsonl or \.parquet file"),
        ("clips.csv", b"", "cannot be read as a table"),
        ("clips.csv", b"a,b\n1,2,3\n1,2,3,4\n", "cannot be read as a table"),
        ("clips.csv", b"\xff\xfe\xfa", "cannot be read as a table"),
        ("clips.parquet", b"PAR", "cannot be read as a table"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize("column", ["clip_id", "path", "split", "group"])
def test_an_empty_cell_is_no_name(column):
    clips = split_clips(table(12, 6))
    clips[column] = clips[column].where(clips.index != 4)
    with pytest.raises(InputError, match=f"{column} is empty in 1 rows of the clips table, such as row 5"):
        check_clips(clips)
