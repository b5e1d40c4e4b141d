"""Which group goes to which side of a split, so that no class is missing where it need not be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def draw_sides(
    groups: pd.Series, classes: pd.DataFrame, counts: Mapping[str, int], *, rng: np.random.Generator
) -> dict[str, str]:
    """Return the side of each group.

    Groups of several clips are drawn at random, and by `stratified` only if that leaves a class out; groups of one clip
    each by `stratified`, so that classes keep their shares.

    Parameters
    ----------
    groups : Series [clips]
        The group of each clip.
    classes : DataFrame [clips, columns]
        Labels; text with ``;`` between is several.
    counts : mapping of str to int
        How many groups go to "valid", "test"; the others are for "train".
    rng : Generator
    """
    names = rng.permutation(groups.drop_duplicates().to_numpy())
    sides = [*counts, "train"]
    sizes = np.array([*counts.values(), len(names) - sum(counts.values())])
    plain = np.repeat(np.arange(len(sides)), sizes)
    shown = _shown(names, groups, classes)
    needed = [number for number, side in enumerate(sides) if side != "valid"]
    best = plain
    if shown.shape[1] and (len(names) == len(groups) or _left_out(plain, shown, needed)):
        best = min(stratified(shown, sizes), plain, key=lambda drawn: _left_out(drawn, shown, needed))
    return {str(name): sides[side] for name, side in zip(names, best)}


def stratified(shown: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the side of each group, by iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, Algorithm 1).

    The class of fewest groups yet to be placed comes first; each of its groups goes where most of it is still wanted.

    Parameters
    ----------
    shown : bool array [groups, classes]
        Which classes a group has, groups in a random order.
    sizes : int array [sides]
        How many groups each side takes; their sum is the number of groups.
    """
    wanted = np.outer(sizes / sizes.sum(), shown.sum(axis=0))  # [sides, classes]
    room = sizes.astype(float)
    side_of = np.full(len(shown), -1)
    waiting = shown.sum(axis=0)

    def place(group: int, wish: np.ndarray) -> None:
        free = room > 0
        best = free & (wish >= wish[free].max() - 1e-9)
        side = int(np.argmax(np.where(best, room / sizes, -1.0)))
        side_of[group] = side
        wanted[side] -= shown[group]
        room[side] -= 1
        np.subtract(waiting, shown[group], out=waiting)

    while (waiting > 0).any():
        rarest = int(np.argmin(np.where(waiting > 0, waiting, len(shown) + 1)))
        for group in np.flatnonzero(shown[:, rarest] & (side_of < 0)):
            place(int(group), wanted[:, rarest])
    for group in np.flatnonzero(side_of < 0):
        place(int(group), room / sizes)
    return side_of


def _shown(names: np.ndarray, groups: pd.Series, classes: pd.DataFrame) -> np.ndarray:
    """Return which classes each group has, [groups, classes]; those of one group cannot be shared and are left out."""
    import pandas as pd

    place = pd.Series(np.arange(len(names)), index=names)
    row = place.loc[groups.to_numpy()].to_numpy()
    found = []
    for column in classes:
        labels = classes[column].reset_index(drop=True)
        parts = labels.dropna().astype(str).str.split(";").explode().str.strip()
        for _, same in parts.groupby(parts):
            has = np.zeros(len(names), dtype=bool)
            has[row[same.index]] = True
            if has.sum() > 1:
                found.append(has)
    return np.array(found, dtype=bool).reshape(len(found), len(names)).T


def _left_out(side_of: np.ndarray, shown: np.ndarray, needed: list[int]) -> int:
    """Return how often a class is missing on a side that needs it."""
    return sum(int((~shown[side_of == side].any(axis=0)).sum()) for side in needed)
