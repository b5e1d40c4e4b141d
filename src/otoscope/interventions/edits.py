"""Edits: small functions of codes or of states that compose.

A change is a function of codes [..., latents]; `through` an autoencoder, changes make an edit of a state
[clips, tokens, width], which `otoscope.encoders.Encoder.edited` puts into the model. Neither writes into what it is
given, and what changes nothing returns its argument itself, so that the model's own state stays, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from otoscope.errors import InputError

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder
    from otoscope.saes.nulls import Components

Change = Callable[[Tensor], Tensor]
"""codes [..., latents] -> the same shape"""
Edit = Callable[[Tensor], Tensor]
"""state [clips, tokens, width] -> the same shape"""
Latents = int | Sequence[int] | np.ndarray


def ablate(latents: Latents, *, to: float | Sequence[float] | np.ndarray | Tensor = 0.0) -> Change:
    """Set latents to zero, or to `to`: one number, or one for each of them (their mean over training rows)."""
    return clamp(latents, to)


def clamp(latents: Latents, value: float | Sequence[float] | np.ndarray | Tensor) -> Change:
    """Hold latents at `value`: one number, or one for each of them."""
    return _changing(latents, lambda own: torch.as_tensor(value).to(own).expand_as(own))


def scale(latents: Latents, by: float) -> Change:
    """Multiply latents by `by`."""
    return _changing(latents, lambda own: own * by)


def add(latents: Latents, amount: float | Sequence[float] | np.ndarray | Tensor) -> Change:
    """Add `amount` to latents wherever they stand: one number, or one for each of them."""
    return _changing(latents, lambda own: own + torch.as_tensor(amount).to(own))


def swap(latents: Latents, codes: Tensor) -> Change:
    """Take latents from another clip's `codes` [tokens, latents], token by token."""
    index = _index(latents)
    return _changing(latents, lambda own: codes[..., index].to(own).expand_as(own))


def chain(*functions: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the functions, changes or edits, one after the other."""

    def chained(value: Tensor) -> Tensor:
        for function in functions:
            value = function(value)
        return value

    return chained


def through(sae: SparseAutoencoder, *changes: Change, error: Literal["kept", "spliced"] = "kept") -> Edit:
    """Return the edit of a state that makes `changes` of its codes, one after the other.

    Parameters
    ----------
    sae : SparseAutoencoder
        Trained on the states of the layer that is edited.
    *changes : Change
        None reconstructs.
    error : {"kept", "spliced"}
        Whether what the autoencoder does not explain stays. Kept, the state becomes
        ``x + decode(new) - decode(old)``, and is left as it is, exactly, at every token whose codes stay; spliced out,
        it becomes ``decode(new)``.

    Raises
    ------
    InputError
        If `error` is neither; in a pass, if the state has another width.
    """
    if error not in ("kept", "spliced"):
        raise InputError(f"error must be 'kept' or 'spliced'; got '{error}'")

    def edit(state: Tensor) -> Tensor:
        sae.check_input(state)
        rows = state.to(next(sae.parameters()))
        old = sae.encode(rows)
        new = chain(*changes)(old)
        if error == "spliced":
            return sae.decode(new).to(state)
        differs = (new != old).any(-1, keepdim=True)
        if new is old or not differs.any():
            return state
        return torch.where(differs, state + (sae.decode(new) - sae.decode(old)).to(state), state)

    return edit


def replaced_by(value: float | np.ndarray | Tensor) -> Edit:
    """Replace every state by `value`: a number, or a vector [width] such as the mean of training rows."""
    return lambda state: torch.as_tensor(value).to(state).expand_as(state).clone()


def onto(components: Components, k: int) -> Edit:
    """Replace every state by what the first `k` components make of it."""
    analysis, synthesis = components.analysis[:, :k], components.synthesis[:k]

    def edit(state: Tensor) -> Tensor:
        mean, there, back = (
            torch.as_tensor(np.ascontiguousarray(own)).to(state)
            for own in (components.mean, analysis, synthesis)
        )
        return (state - mean) @ there @ back + mean

    return edit


def along(direction: np.ndarray | Tensor, amount: float) -> Edit:
    """Move every state by `amount` times a direction [width], as it is."""
    step = amount * torch.as_tensor(direction)
    return lambda state: state + step.to(state) if step.any() else state


def without(directions: np.ndarray | Tensor, *, mean: np.ndarray | Tensor | float = 0.0) -> Edit:
    """Take the span of `directions` [directions, width] (or [width]) out of every state's distance from `mean`."""
    rows = torch.as_tensor(np.atleast_2d(np.asarray(directions, dtype=np.float64)))
    basis = torch.linalg.svd(rows, full_matrices=False)
    axes = basis.Vh[1e-10 * basis.S.max().clamp_min(1e-300) < basis.S]

    def edit(state: Tensor) -> Tensor:
        own = axes.to(state)
        return state - ((state - torch.as_tensor(mean).to(state)) @ own.T) @ own

    return edit


def as_far(edit: Edit, *, seed: int) -> Edit:
    """Move every state as far as `edit` would, but along one direction drawn at random: what any such push does."""

    def moved(state: Tensor) -> Tensor:
        new = edit(state)
        if new is state:
            return state
        drawn = torch.randn(state.shape[-1], generator=torch.Generator().manual_seed(seed)).to(state)
        return state + (new - state).norm(dim=-1, keepdim=True) * (drawn / drawn.norm())

    return moved


def at(tokens: np.ndarray | Tensor, edit: Edit) -> Edit:
    """Make an edit of the tokens where `tokens` [tokens] is True: it is given these alone; all others stay."""
    mask = torch.as_tensor(np.asarray(tokens), dtype=torch.bool)
    if mask.ndim != 1:
        raise InputError(
            f"expected whether each token is edited, [tokens]; got an array of shape {tuple(mask.shape)}"
        )

    def masked(state: Tensor) -> Tensor:
        if len(mask) != state.shape[1]:
            raise InputError(f"the mask is of {len(mask)} tokens and the state of {state.shape[1]}")
        if not mask.any():
            return state
        own = state[:, mask.to(state.device)]
        changed = edit(own)
        if changed is own:
            return state
        new = state.clone()
        new[:, mask.to(state.device)] = changed
        return new

    return masked


def mean_difference(x: np.ndarray, chosen: Sequence[bool] | np.ndarray) -> np.ndarray:
    """Return the mean [width] of the chosen rows of ``x [rows, width]`` less that of the others."""
    chosen = np.asarray(chosen, dtype=bool)
    if chosen.shape != (len(x),) or chosen.all() or not chosen.any():
        raise InputError(f"a mean difference needs rows of both kinds; got {chosen.sum()} chosen of {len(x)}")
    x = np.asarray(x, dtype=np.float64)
    return x[chosen].mean(0) - x[~chosen].mean(0)


def random_direction(like: np.ndarray, *, seed: int) -> np.ndarray:
    """Return a direction drawn evenly from the sphere, of the norm of `like` [width]: what any push would do."""
    drawn = np.random.default_rng(seed).standard_normal(len(like))
    return drawn * (np.linalg.norm(like) / np.linalg.norm(drawn))


def matched_latents(density: np.ndarray, latents: Latents, *, seed: int) -> np.ndarray:
    """Return other latents that are active as often: for each of `latents`, one of the 20 nearest in frequency.

    Parameters
    ----------
    density : np.ndarray [latents]
        Share of rows in which each is active (`reconstruction_metrics(...).density`).
    latents : sequence of int
        Those to match; none of them is drawn, and none is drawn twice.
    seed : int
        Of the draw.

    Raises
    ------
    InputError
        If there are fewer latents left over than are to be matched.
    """
    wanted = _index(latents).numpy()
    if 2 * len(wanted) > len(density):
        raise InputError(f"cannot match {len(wanted)} of {len(density)} latents: too few others are left")
    rng = np.random.default_rng(seed)
    free = np.ones(len(density), dtype=bool)
    free[wanted] = False
    drawn = np.empty_like(wanted)
    for place in rng.permutation(len(wanted)):
        others = np.flatnonzero(free)
        near = others[np.argsort(np.abs(density[others] - density[wanted[place]]), kind="stable")[:20]]
        drawn[place] = rng.choice(near)
        free[drawn[place]] = False
    return drawn


def _changing(latents: Latents, function: Change) -> Change:
    index = _index(latents)

    def change(codes: Tensor) -> Tensor:
        if not len(index):
            return codes
        if index.max() >= codes.shape[-1]:
            raise InputError(f"there is no latent {int(index.max())}: the code has {codes.shape[-1]}, from 0")
        new = codes.clone()
        new[..., index] = function(codes[..., index])
        return new

    return change


def _index(latents: Latents) -> Tensor:
    index = np.atleast_1d(np.asarray(latents)).reshape(-1)
    if not len(index):
        return torch.empty(0, dtype=torch.long)
    if index.dtype.kind not in "iu" or index.min() < 0 or len(np.unique(index)) < len(index):
        raise InputError(f"latents are whole numbers from 0, each once; got {latents}")
    return torch.as_tensor(index.astype(np.int64))
