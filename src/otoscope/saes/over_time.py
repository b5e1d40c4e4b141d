"""How steady codes are in time: what neighbouring frames have in common, beside frames that are no neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from otoscope.errors import InputError


@dataclass(frozen=True)
class Coherence:
    """What :func:`coherence` finds; means over pairs of neighbouring frames."""

    cosine: float
    """Cosine between the codes of a frame and of the next one."""
    cosine_apart: float
    """The same between a frame and one drawn from all frames: what any two have in common."""
    kept: float
    """Share of a frame's active latents that are active in the next one."""
    run_frames: float
    """For how many frames on end a latent stays on, mean over all its runs; a sound's start and end cut runs short."""


def coherence(codes: np.ndarray, follows: np.ndarray, *, seed: int = 0) -> Coherence:
    """Measure how much of the codes lasts from frame to frame.

    Parameters
    ----------
    codes : [frames, latents]
    follows : [frames] of bool
        Whether the next row is the next frame of the same sound; that of the last row is not looked at.
    seed
        Of the frames drawn to compare with.

    Raises
    ------
    InputError
        If no row follows another.
    """
    follows = np.asarray(follows, bool)
    here = np.flatnonzero(follows[:-1])
    if not len(here):
        raise InputError("no frame follows another one: coherence needs the frames of a sound in order")
    on = codes > 0
    lengths = np.linalg.norm(codes, axis=1)
    apart = np.random.default_rng(seed).integers(len(codes), size=len(here))
    kept = (on[here] & on[here + 1]).sum()
    return Coherence(
        cosine=_cosine(codes, lengths, here, here + 1),
        cosine_apart=_cosine(codes, lengths, here, apart),
        kept=float(kept / max(on[here].sum(), 1)),
        run_frames=float(on.sum() / max(on.sum() - kept, 1)),  # a run that does not go on is a new one
    )


def _cosine(codes: np.ndarray, lengths: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    products = np.einsum("ij,ij->i", codes[first], codes[second], dtype=np.float64)
    scale = lengths[first] * lengths[second]
    return float(np.divide(products, scale, out=np.zeros(len(first)), where=scale > 0).mean())
