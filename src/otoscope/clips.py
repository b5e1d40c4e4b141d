"""The clips table: what is listened to, which split it is in, and what must not cross a split.

One row per clip, columns ``clip_id, path, start_s, stop_s, split, group`` plus any label columns.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from otoscope.errors import InputError, nearest
from otoscope.splits import draw_sides
from otoscope.tables import seconds

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("clip_id", "path", "start_s", "stop_s", "split", "group")
SPLITS = ("train", "valid", "test")

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""What the sides of a split are called elsewhere, in small letters."""

MANY_NUMBERS = 20
"""A label of more different whole numbers than this may be meant as a quantity."""
LabelKind = Literal["class", "number", "multi"]


def check_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """Return `clips` with the columns in order and their types right, or say what is wrong.

    Parameters
    ----------
    clips : DataFrame
        Columns ``clip_id`` (unique), ``path``, ``start_s`` and ``stop_s`` (seconds), ``split`` (train, valid or
        test) and ``group`` (singer, speaker: what must not cross a split), then any labels. A ``channel``, if there is
        one, says which of a recording's channels is heard, counted from 1; where it is missing, the mean of all is.
        What ``clips.attrs`` holds is kept.

    Raises
    ------
    InputError
        If the table is empty, lacks a column, has a clip id twice, an empty stretch, an unknown split, or a
        group in two splits, or an empty cell in a column that is needed.

    Examples
    --------
    >>> import pandas as pd
    >>> clips = pd.DataFrame({"clip_id": ["a", "b"], "path": ["a.wav", "b.wav"], "start_s": 0, "stop_s": [1.5, 2]})
    >>> check_clips(clips.assign(split=["train", "test"], group=["ann", "bob"])).stop_s.tolist()
    [1.5, 2.0]
    """
    missing = [column for column in COLUMNS if column not in clips.columns]
    if missing:
        raise InputError(f"the clips table lacks {_listed(missing)}; it has {_listed(clips.columns)}")
    if clips.empty:
        raise InputError("the clips table is empty; there is nothing to listen to")
    for column in ("clip_id", "path", "split", "group"):
        nameless = np.flatnonzero(clips[column].isna())
        if len(nameless):
            raise InputError(
                f"{column} is empty in {len(nameless)} rows of the clips table, such as row {nameless[0] + 1}"
            )
    clips = clips[[*COLUMNS, *(c for c in clips.columns if c not in COLUMNS)]].reset_index(drop=True)
    attrs = dict(clips.attrs)
    for column in ("start_s", "stop_s"):
        clips[column] = seconds(clips[column], of=f"'{column}' of the clips table")
    nameless = clips[~clips["path"].astype(str).str.strip().astype(bool)]
    if len(nameless):
        raise InputError(f"path is empty in row {nameless.index[0] + 1} of the clips table")
    if "channel" in clips:
        clips["channel"] = as_channels(clips["channel"])
    clips = clips.astype(
        {"clip_id": str, "path": str, "split": str, "group": str, "start_s": float, "stop_s": float}
    )
    twice = clips.clip_id[clips.clip_id.duplicated()]
    if len(twice):
        raise InputError(
            f"clip_id must be unique; {len(twice)} appear more than once, such as '{twice.iloc[0]}'"
        )
    empty = clips[~((clips.stop_s > clips.start_s) & (clips.start_s >= 0) & np.isfinite(clips.stop_s))]
    if len(empty):
        row = empty.iloc[0]
        raise InputError(f"clip '{row.clip_id}' has an empty stretch: {row.start_s} s to {row.stop_s} s")
    unknown = sorted(set(clips.split) - set(SPLITS))
    if unknown:
        raise InputError(f"split must be train, valid or test; got {_listed(unknown)}")
    crossing = clips.groupby("group").split.nunique()
    crossing = crossing[crossing > 1]
    if len(crossing):
        raise InputError(
            f"group '{crossing.index[0]}' is in more than one split ({len(crossing)} such groups): what is learnt "
            "about a group would leak into the test; mend the split column, or leave it out to split by groups"
        )
    clips.attrs = attrs
    return clips


def clips_hash(clips: pd.DataFrame) -> str:
    """Return 16 hex digits that change when any clip's id, file name or stretch changes, in any order kept.

    The folder is left out, so that a data set moved as a whole keeps its hash.
    """
    digest = hashlib.sha256()
    # Lists: of a million rows, pandas' own strings and Path take most of a minute.
    spans = (clips[column].to_list() for column in ("clip_id", "path", "start_s", "stop_s"))
    for clip_id, path, start_s, stop_s, channel in zip(*spans, channels(clips)):
        heard = "" if channel is None else f"\tchannel {channel}"
        name = os.path.basename(path)
        digest.update(f"{clip_id}\t{name}\t{start_s:.6f}\t{stop_s:.6f}{heard}\n".encode())
    return digest.hexdigest()[:16]


def channels(clips: pd.DataFrame) -> list[int | None]:
    """Return which channel of its recording each clip is, from 1; None: the mean of all."""
    if "channel" not in clips:
        return [None] * len(clips)
    missing = clips["channel"].isna()
    return [None if none else int(channel) for channel, none in zip(clips["channel"], missing)]


def split_clips(
    clips: pd.DataFrame, *, seed: int = 0, valid: float = 0.15, test: float = 0.25, label: str | None = None
) -> pd.DataFrame:
    """Return `clips` with every side of ``split`` filled.

    A split that is there is kept; a missing validation side is taken from the training side. Whole groups go
    to one side. Where every clip is its own group, classes keep their shares; else groups are drawn anew, by their
    classes, if the first draw leaves a class out of the training or the test side that could be on both. Fewer than
    three groups are all for training, and a split of one side stays as it is: enough to listen to, while `check_label`
    refuses to learn from them.

    Parameters
    ----------
    clips : DataFrame
        A clips table; ``split`` may be missing. ``group`` may be missing: then each clip is its own.
    seed : int
        Of the draw.
    valid, test : float
        Fractions of the groups for validation and test.
    label : str, optional
        Column whose classes count. Default: every column of few classes, so that the split does not depend on what is
        asked of it.

    Raises
    ------
    InputError
        If clips have no clip_id, or the training side has too few groups to share.

    Examples
    --------
    >>> import pandas as pd
    >>> clips = pd.DataFrame({"clip_id": list("abcdefgh"), "group": ["ann", "bob", "cas", "dot"] * 2})
    >>> split_clips(clips).groupby("split").group.nunique().to_dict()
    {'test': 1, 'train': 2, 'valid': 1}
    """
    clips = clips.copy()  # with its attrs
    if "clip_id" not in clips:
        raise InputError(f"the clips table lacks 'clip_id'; it has {_listed(clips.columns)}")
    if "group" not in clips:
        clips["group"] = clips["clip_id"].astype(str)
    sizes = {"valid": valid, "test": test}
    if "split" in clips:
        named = clips["split"].astype(str).str.strip().str.lower().map(SPLIT_NAMES)
        clips["split"] = named.where(named.notna(), clips["split"])
        present = set(clips["split"])
        if "valid" in present or not {"train", "test"} <= present:
            return clips
        sizes = {"valid": valid / (1 - test)}
    else:
        clips["split"] = "train"
    pool = clips["split"] == "train"
    n_groups = clips["group"][pool].nunique()
    if n_groups <= len(sizes):
        if pool.all():
            return clips
        raise InputError(
            f"the training side has {n_groups} group, and none to spare for validation; mark some clips 'valid', "
            "or leave the split column out to have one drawn"
        )
    counts, left = {}, n_groups - 1
    for side, fraction in sizes.items():
        counts[side] = min(max(1, round(fraction * n_groups)), left)
        left -= counts[side]
    side_of = draw_sides(
        clips["group"][pool], _classes(clips[pool], label), counts, rng=np.random.default_rng(seed)
    )
    clips.loc[pool, "split"] = clips["group"][pool].map(side_of)
    return clips


def group_folds(groups: Sequence | np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each row, 0 to `n_folds` - 1 at most: groups stay whole, and folds are as even as they allow.

    The largest group goes to the emptiest fold, as in scikit-learn's `GroupKFold`.

    Parameters
    ----------
    groups : sequence [rows]
        Singer, speaker.
    n_folds : int
        Fewer where there are fewer groups.
    """
    names, index, sizes = np.unique(np.asarray(groups).astype(str), return_inverse=True, return_counts=True)
    load = np.zeros(max(min(n_folds, len(names)), 1))
    fold_of = np.zeros(len(names), dtype=int)
    for name in np.argsort(-sizes, kind="stable"):
        fold_of[name] = load.argmin()
        load[fold_of[name]] += sizes[name]
    return fold_of[index]


def label_kind(values: pd.Series) -> LabelKind:
    """Return what a label column holds: "class" (text, whole numbers), "number" (fractions) or "multi" (``a;b``)."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_integer_dtype(values):
        return "class"
    if pd.api.types.is_float_dtype(values):
        present = values.dropna()
        return "class" if (present == present.round()).all() else "number"
    return "multi" if values.astype(str).str.contains(";").any() else "class"


def check_label(clips: pd.DataFrame, label: str, kind: LabelKind | None = None) -> LabelKind:
    """Return the kind of the label column, or say why it cannot be learnt.

    Parameters
    ----------
    clips : DataFrame
    label : str
    kind : {"class", "number", "multi"}, optional
        What the column is; default: as it looks.

    Raises
    ------
    InputError
        If the column is missing, has empty cells, has one class only, has a class in the test split that no
        training clip shows, or is the group itself; is to be a number and holds text; or no clip is left to train or
        to test on.
    """
    import pandas as pd

    if label not in clips.columns:
        own = [column for column in clips.columns if column not in COLUMNS]
        raise InputError(
            f"no label column '{label}'{nearest(label, own)} (label columns: {_listed(own) or 'none'}); a folder's "
            "labels are columns of its metadata.csv, or its subfolders, one a class"
        )
    for side in ("train", "test"):
        if side not in set(clips.split):
            few = f"{clips.group.nunique()} groups cannot fill the three sides of a split; name "
            raise InputError(
                f"no clip is in '{side}': "
                + (
                    f"{few}a column with more groups, or none to split clip by clip"
                    if set(clips.split) == {"train"} and clips.group.nunique() < 3
                    else f"the split has {_listed(sorted(set(clips.split)))} alone; fill it, or leave the split column "
                    "out to have one drawn"
                )
            )
    values = clips[label]
    if values.isna().any():
        clip_id = clips.clip_id[values.isna()].iloc[0]
        raise InputError(f"label '{label}' is empty for {values.isna().sum()} clips, such as '{clip_id}'")
    kind = kind or label_kind(values)
    if kind == "number" and not pd.api.types.is_numeric_dtype(values):
        odd = next((value for value in values if not _is_number(value)), values.iloc[0])
        raise InputError(f"label '{label}' is to be a number, and holds text, such as '{odd}'")
    if values.nunique() < 2:
        raise InputError(
            f"label '{label}' has one class only ('{values.iloc[0]}'); a probe needs at least two"
        )
    if kind == "class":
        if clips.group.nunique() > 1 and (values.astype(str) == clips.group).all():
            raise InputError(
                f"label '{label}' is also the group, so no class of the test side is ever seen in training; "
                "name another group, or none"
            )
        unseen = set(values[clips.split == "test"]) - set(values[clips.split == "train"])
        if unseen:
            hint = "".join(f"; {note}" for note in _perhaps_a_number(values, label))
            raise InputError(
                f"label '{label}': {_some(unseen)} occur in the test split, but never in training{hint}"
            )
    return kind


def label_notes(clips: pd.DataFrame, label: str, kind: LabelKind) -> list[str]:
    """Return what to know of a label that can be learnt: classes that no test clip shows, numbers read as classes."""
    if kind != "class":
        return []
    values = clips[label]
    untested = set(values[clips.split != "test"]) - set(values[clips.split == "test"])
    notes = _perhaps_a_number(values, label)
    if untested:
        groups = clips.group[values.isin(untested)].nunique()
        notes.append(
            f"label '{label}': {_some(untested)} occur in no test clip ({values.isin(untested).sum()} clips of "
            f"{groups} "
            "groups): what is scored says nothing about them"
        )
    return notes


def _perhaps_a_number(values: pd.Series, label: str) -> list[str]:
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values) or values.nunique() <= MANY_NUMBERS:
        return []
    return [
        f"label '{label}' has {values.nunique()} different whole numbers, each taken for a class; if it is a quantity, "
        "say so: label_kind number (--label-kind number, dataset.label_kind)"
    ]


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def as_channels(values: pd.Series) -> pd.Series:
    """Return channel numbers, from 1, as whole numbers; missing ones stay missing."""
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    wrong = values.notna() & ~((numbers >= 1) & (numbers == numbers.round()) & (numbers < 2**31))
    if wrong.any():
        raise InputError(
            f"channel must be a whole number from 1, which of a recording's channels is heard; got "
            f"'{values[wrong].iloc[0]}'. If the column is a label, give it another name"
        )
    return numbers.astype("int64" if numbers.notna().all() else "Int64")


MOST_CLASSES = 200
"""Columns of more values than this are not looked at where a split is drawn."""


def _classes(clips: pd.DataFrame, label: str | None) -> pd.DataFrame:
    """Return the columns whose classes a split should show on each side."""
    own = [label] if label is not None else [column for column in clips.columns if column not in COLUMNS]
    kinds = {column: label_kind(clips[column]) for column in own if column in clips}
    most = len(clips) if label is not None else min(MOST_CLASSES, len(clips) // 2)
    return clips[[c for c, kind in kinds.items() if kind != "number" and 2 <= clips[c].nunique() <= most]]


def _some(names: set) -> str:
    listed = sorted(map(str, names))
    return _listed(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _listed(names) -> str:
    return ", ".join(f"'{name}'" for name in names)
