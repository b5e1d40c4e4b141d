"""From the tokens of a crop to the rows of the store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from otoscope.encoders.tokens import Tokens
from otoscope.errors import InputError, nearest

POOLS = {
    "mean": "one row per crop: the mean over the frames whose centre lies inside the sound",
    "paper": "one row per crop: the mean over every token, padding and class tokens included",
    "frames": "one row per moment: AST's frequency patches of one moment are averaged",
    "bands": "one row per frequency patch (AST): the mean over its moments inside the sound",
    "tokens": "one row per token inside the sound, with its time and its frequency patch",
}


@dataclass(frozen=True)
class Pooled:
    """Rows made of one piece.

    Attributes
    ----------
    values : np.ndarray [rows, width], float32
    weight : int
        Tokens behind a row: how much it counts when pieces of one crop are averaged.
    time_s : np.ndarray [rows] or None
        Centre of each row, in seconds from the piece's start.
    band : np.ndarray [rows] or None
    """

    values: np.ndarray
    weight: int
    time_s: np.ndarray | None = None
    band: np.ndarray | None = None


def check_pool(pool: str) -> str:
    """Return `pool`, or raise InputError if there is no such pooling."""
    if pool not in POOLS:
        raise InputError(f"unknown pooling '{pool}'{nearest(pool, POOLS)} (known: {', '.join(POOLS)})")
    return pool


def keeps_frames(pool: str) -> bool:
    """Whether a crop gives several rows, each with its time."""
    return pool in ("frames", "tokens")


def pool_tokens(state: torch.Tensor, tokens: Tokens, duration_s: float, pool: str) -> Pooled:
    """Pool the state of one piece.

    Parameters
    ----------
    state : Tensor [tokens, width]
    tokens : Tokens
        What each of them stands for.
    duration_s : float
        Length of the sound, in seconds: tokens centred beyond it are padding.
    pool : str
        One of `POOLS`.
    """
    if pool == "paper":
        return Pooled(_array(state.mean(dim=0, keepdim=True)), len(state))
    chosen = np.flatnonzero(tokens.inside(duration_s))
    kept = state if len(chosen) == len(state) else state[torch.from_numpy(chosen).to(state.device)]
    time_s, band = tokens.time_s[chosen], tokens.band[chosen]
    n_bands = int(tokens.band.max(initial=-1)) + 1
    if pool == "tokens":
        return Pooled(_array(kept), 1, time_s, band if n_bands else None)
    if pool == "mean":
        return Pooled(_mean(kept[None]), len(chosen))
    if pool == "bands":
        moments = kept.reshape(
            n_bands, -1, kept.shape[1]
        )  # frequency-major: all moments of band 0, then of band 1
        return Pooled(_mean(moments), moments.shape[1], band=np.arange(n_bands))
    if not n_bands:
        return Pooled(_array(kept), 1, time_s)
    moments = kept.reshape(n_bands, -1, kept.shape[1])
    return Pooled(_array(moments.mean(dim=0)), 1, time_s[: moments.shape[1]])


def join_pieces(pieces: list[Pooled], starts_s: list[float], pool: str) -> Pooled:
    """Join what the pieces of one crop gave: frames follow each other, means are weighted by their tokens."""
    if keeps_frames(pool):
        times = [p.time_s + start for p, start in zip(pieces, starts_s) if p.time_s is not None]
        bands = [p.band for p in pieces if p.band is not None]
        values = np.concatenate([p.values for p in pieces])
        return Pooled(values, 1, np.concatenate(times), np.concatenate(bands) if bands else None)
    if len(pieces) == 1:
        return pieces[0]
    weights = np.array([p.weight for p in pieces], np.float32)
    values = np.tensordot(weights / weights.sum(), np.stack([p.values for p in pieces]), axes=1)
    return Pooled(values.astype(np.float32), int(weights.sum()), band=pieces[0].band)


def rows_per_crop(tokens: Tokens | None, duration_s: float, pool: str) -> int:
    """Return how many rows a crop of one piece gives, at most.

    Raises
    ------
    InputError
        If `pool` is "bands" and the model has none.
    """
    if pool in ("mean", "paper"):
        return 1
    assert tokens is not None
    if pool == "bands":
        if not (n_bands := int(tokens.band.max(initial=-1)) + 1):
            raise InputError(
                "pooling 'bands' needs a model with frequency patches (AST); use 'mean' or 'frames'"
            )
        return n_bands
    inside = tokens.inside(duration_s)
    return int(inside.sum()) if pool == "tokens" else len(np.unique(tokens.time_s[inside]))


def _mean(values: torch.Tensor) -> np.ndarray:
    """Return the mean over the middle axis; zeros where there is nothing, which then weighs nothing."""
    if not values.shape[1]:
        return np.zeros((values.shape[0], values.shape[2]), np.float32)
    return _array(values.mean(dim=1))


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
