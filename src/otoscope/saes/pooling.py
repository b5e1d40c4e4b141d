"""A clip's code from the codes of its frames: their mean, their largest, or the share of frames that a latent is on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from otoscope.errors import InputError, nearest

CLIP_CODES = {
    "mean": "mean over the clip's frames",
    "max": "largest value in any of its frames",
    "share": "share of its frames in which a latent is on",
}
"""Ways to make a clip's code."""


def pooled_codes(
    encode: Callable[[np.ndarray], np.ndarray],
    blocks: Iterable[np.ndarray],
    places: np.ndarray,
    *,
    n_places: int,
    clip_codes: Sequence[str] = ("mean",),
) -> dict[str, np.ndarray]:
    """Encode frames, a block at a time, and pool the codes of each clip; no more than a block of codes is ever held.

    Parameters
    ----------
    encode : callable
        Turns activations [rows, width] into codes [rows, latents].
    blocks : iterable of [rows, width]
        All frames, in order.
    places : [frames] of int
        Which clip each frame is of, from 0; below 0: of none. The frames of a clip should lie together.
    n_places : int
        How many clips there are.
    clip_codes : sequence of {"mean", "max", "share"}
        What to make, all in one pass.

    Returns
    -------
    dict of str to np.ndarray [clips, latents], float32

    Raises
    ------
    InputError
        If a clip has no frame, or there are more or fewer frames than `places`.

    Examples
    --------
    >>> frames = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    >>> found = pooled_codes(lambda x: x, [frames], np.array([0, 0, 1]), n_places=2, clip_codes=["mean", "share"])
    >>> found["mean"].tolist(), found["share"].tolist()
    ([[2.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]])
    """
    for name in clip_codes:
        if name not in CLIP_CODES:
            raise InputError(
                f"a clip's code is {', '.join(CLIP_CODES)}; got '{name}'{nearest(name, CLIP_CODES)}"
            )
    places = np.asarray(places)
    counts = np.bincount(places[places >= 0], minlength=n_places)
    if n_places == 0 or (counts == 0).any():
        raise InputError(f"{int((counts == 0).sum())} of {n_places} clips have no frame to make a code from")
    totals: dict[str, np.ndarray] = {}
    start = 0
    for block in blocks:
        own = places[start : start + len(block)]
        start += len(block)
        kept = own >= 0
        if not kept.any():
            continue
        codes = np.asarray(encode(block if kept.all() else block[kept]))
        own = own[kept]
        firsts = np.flatnonzero(np.r_[True, own[1:] != own[:-1]])  # of the runs of one clip
        for name in clip_codes:
            total = totals.setdefault(name, _empty(name, n_places, codes.shape[1]))
            _POOL[name](total, own[firsts], codes, firsts)
    if start != len(places):
        raise InputError(f"expected {len(places)} frames, got {start}")
    return {
        name: (total if name == "max" else total / counts[:, None]).astype(np.float32)
        for name, total in totals.items()
    }


def _empty(name: str, n_places: int, n_latents: int) -> np.ndarray:
    return np.full((n_places, n_latents), -np.inf if name == "max" else 0.0)


def _add(total: np.ndarray, clips: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> None:
    np.add.at(total, clips, np.add.reduceat(codes, firsts, axis=0, dtype=np.float64))


def _largest(total: np.ndarray, clips: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> None:
    np.maximum.at(total, clips, np.maximum.reduceat(codes, firsts, axis=0))


def _active(total: np.ndarray, clips: np.ndarray, codes: np.ndarray, firsts: np.ndarray) -> None:
    _add(total, clips, codes > 0, firsts)


_POOL = {"mean": _add, "max": _largest, "share": _active}
