"""The clips table: what is listened to, which split it is in, and what must not cross a split.

One row per clip, columns ``clip_id, path, start_s, stop_s, split, group`` plus any label columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from otoscope.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("clip_id", "path", "start_s", "stop_s", "split", "group")
SPLITS = ("train", "valid", "test")

_TEXT = ("clip_id", "path", "file_name", "split", "group")
"""Columns of a table on disk that name things: "007" is not 7."""

LabelKind = Literal["class", "number", "multi"]


def check_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """Return `clips` with the columns in order and their types right, or say what is wrong.

    Parameters
    ----------
    clips : DataFrame
        Columns ``clip_id`` (unique), ``path``, ``start_s`` and ``stop_s`` (seconds), ``split`` (train, valid or
        test) and ``group`` (singer, speaker: what must not cross a split), then any labels.

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
    clips = clips.astype(
        {"clip_id": str, "path": str, "split": str, "group": str, "start_s": float, "stop_s": float}
    )
    twice = clips.clip_id[clips.clip_id.duplicated()]
    if len(twice):
        raise InputError(
            f"clip_id must be unique; {len(twice)} appear more than once, such as '{twice.iloc[0]}'"
        )
    empty = clips[~((clips.stop_s > clips.start_s) & (clips.start_s >= 0))]
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
    return clips


def read_table(path: str | Path) -> pd.DataFrame:
    """Return a table on disk, .csv or .parquet; its ids, file names, splits and groups stay text.

    Raises
    ------
    InputError
        If there is no such file, or it cannot be read as a table.
    """
    import pandas as pd

    path = Path(path)
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"a table is a .csv or .parquet file; got '{path}'")
    if not path.is_file():
        raise InputError(f"no such table: '{path}'")
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str))
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise InputError(f"'{path}' cannot be read as a table: {error}") from error


def clips_hash(clips: pd.DataFrame) -> str:
    """Return 16 hex digits that change when any clip's id, file name or stretch changes, in any order kept.

    The folder is left out, so that a data set moved as a whole keeps its hash.
    """
    digest = hashlib.sha256()
    for clip_id, path, start_s, stop_s in zip(clips.clip_id, clips.path, clips.start_s, clips.stop_s):
        digest.update(f"{clip_id}\t{Path(path).name}\t{start_s:.6f}\t{stop_s:.6f}\n".encode())
    return digest.hexdigest()[:16]


def split_clips(
    clips: pd.DataFrame, *, seed: int = 0, valid: float = 0.15, test: float = 0.25, label: str | None = None
) -> pd.DataFrame:
    """Return `clips` with every side of ``split`` filled.

    A split that is there is kept; a missing validation side is taken from the training side. Whole groups go
    to one side. Where every clip is its own group, clips are drawn so that the classes of `label` keep their shares.
    Fewer than three groups are all for training: enough to listen to, while `check_label` refuses to learn from them.

    Parameters
    ----------
    clips : DataFrame
        A clips table; ``split`` may be missing. ``group`` may be missing: then each clip is its own.
    seed : int
        Of the draw.
    valid, test : float
        Fractions of the groups for validation and test.
    label : str, optional
        Column whose classes are kept in proportion where clips are split one by one.

    Raises
    ------
    InputError
        If clips have no clip_id, or a side of the split that is there is empty or has too few groups to share.

    Examples
    --------
    >>> import pandas as pd
    >>> clips = pd.DataFrame({"clip_id": list("abcdefgh"), "group": ["ann", "bob", "cas", "dot"] * 2})
    >>> split_clips(clips).groupby("split").group.nunique().to_dict()
    {'test': 1, 'train': 2, 'valid': 1}
    """
    clips = clips.copy()
    if "clip_id" not in clips:
        raise InputError(f"the clips table lacks 'clip_id'; it has {_listed(clips.columns)}")
    if "group" not in clips:
        clips["group"] = clips["clip_id"].astype(str)
    sizes = {"valid": valid, "test": test}
    if "split" in clips:
        clips["split"] = clips["split"].astype(str).str.strip().str.lower().replace(_OTHER_NAMES)
        present = set(clips["split"])
        for side in ("train", "test"):
            if side not in present:
                raise InputError(
                    f"the split has an empty side: no clip is in '{side}' (found {_listed(sorted(present, key=str))}); "
                    "fill it, or leave the split column out to have one drawn"
                )
        if "valid" in present:
            return clips
        sizes = {"valid": valid / (1 - test)}
        pool = clips["split"] == "train"
    else:
        clips["split"] = "train"
        pool = clips["split"] == "train"
    rng = np.random.default_rng(seed)
    order = _drawn_groups(clips[pool], label, rng)
    if len(order) <= len(sizes):
        if pool.all():
            return clips
        raise InputError(
            f"the training side has {len(order)} group, and none to spare for validation; mark some clips 'valid', "
            "or leave the split column out to have one drawn"
        )
    start = 0
    for side, fraction in sizes.items():
        count = min(max(1, round(fraction * len(order))), len(order) - start - 1)
        clips.loc[pool & clips["group"].isin(order[start : start + count]), "split"] = side
        start += count
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


def check_label(clips: pd.DataFrame, label: str) -> LabelKind:
    """Return the kind of the label column, or say why it cannot be learnt.

    Raises
    ------
    InputError
        If the column is missing, has empty cells, has one class only, has a class in the test split that no
        training clip shows, or is the group itself; or no clip is left to train or to test on.
    """
    if label not in clips.columns:
        own = [column for column in clips.columns if column not in COLUMNS]
        raise InputError(
            f"no label column '{label}'{nearest(label, own)} (label columns: {_listed(own) or 'none'}); a folder's "
            "labels are columns of its metadata.csv, or its subfolders, one a class"
        )
    for side in ("train", "test"):
        if side not in set(clips.split):
            raise InputError(
                f"no clip is in '{side}': {clips.group.nunique()} groups cannot fill the three sides of a split; name "
                "a column with more groups, or none to split clip by clip"
            )
    values = clips[label]
    if values.isna().any():
        clip_id = clips.clip_id[values.isna()].iloc[0]
        raise InputError(f"label '{label}' is empty for {values.isna().sum()} clips, such as '{clip_id}'")
    kind = label_kind(values)
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
            raise InputError(
                f"label '{label}': {_listed(sorted(map(str, unseen)))} occur in the test split, but never in training"
            )
    return kind


_OTHER_NAMES = {"validation": "valid", "val": "valid", "dev": "valid", "training": "train", "testing": "test"}


def _drawn_groups(clips: pd.DataFrame, label: str | None, rng: np.random.Generator) -> np.ndarray:
    """Return the groups in a random order; groups of one clip each come with their classes interleaved."""
    groups = clips["group"].drop_duplicates().to_numpy()
    groups = rng.permutation(groups)
    if label is None or label not in clips or len(groups) < len(clips) or label_kind(clips[label]) != "class":
        return groups
    classes = clips.set_index("group")[label].loc[groups]
    # The i-th clip of a class of n stands at (i + a random offset) / n: any prefix holds each class's share.
    rank = classes.groupby(classes.to_numpy()).cumcount().to_numpy()
    size = classes.map(classes.value_counts()).to_numpy()
    offsets = {value: rng.random() for value in sorted(classes.unique(), key=str)}
    position = (rank + classes.map(offsets).to_numpy()) / size
    return groups[np.argsort(position, kind="stable")]


def _listed(names) -> str:
    return ", ".join(f"'{name}'" for name in names)
