"""What a probe is given, checked once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from otoscope.errors import InputError


def check_rows(
    x, labels, split, groups, *, dtype: type = np.float64, needed: Sequence[str] = ("train", "test")
) -> tuple[np.ndarray, pd.Series, np.ndarray, np.ndarray]:
    """Return features [rows, width], labels with a fresh index, splits and groups as text; or say what is wrong."""
    x = np.asarray(x, dtype=dtype)
    labels = pd.Series(labels).reset_index(drop=True)
    split, groups = np.asarray(split).astype(str), np.asarray(groups).astype(str)
    if x.ndim != 2 or not len(x) == len(labels) == len(split) == len(groups):
        raise InputError(
            f"expected features [rows, features] with a label, split and group for each row; got {x.shape}, "
            f"{len(labels)}, {len(split)} and {len(groups)}"
        )
    if x.shape[1] == 0:
        raise InputError("there are no features to probe: expected [rows, features]; got " + str(x.shape))
    if labels.isna().any():
        raise InputError(f"{labels.isna().sum()} of {len(labels)} rows have no label; leave them out")
    if not np.isfinite(x).all():
        raise InputError(f"features must be finite; {np.count_nonzero(~np.isfinite(x))} numbers are not")
    for side in needed:
        if not (split == side).any():
            raise InputError(f"no row is in the split '{side}' (found: {', '.join(np.unique(split))})")
    return x, labels, split, groups
