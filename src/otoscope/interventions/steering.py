"""Steering: a dose curve of an edit beside its baselines, its effect on what the model says, and where it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch

from otoscope.errors import InputError
from otoscope.interventions.concepts import rank_latents
from otoscope.interventions.edits import (
    Edit,
    add,
    along,
    matched_latents,
    mean_difference,
    random_direction,
    scale,
    through,
)
from otoscope.interventions.readouts import Readout
from otoscope.interventions.respond import Edits, answers, scores
from otoscope.probing import mean_interval
from otoscope.results import LATENTS, RANDOM_DIRECTION, RANDOM_LATENTS, RAW_DIRECTION

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer
    from otoscope.saes.base import SparseAutoencoder

COLUMNS = ("layer", "by", "dose", "readout", "measure", "value", "low", "high", "n_clips", "n_groups")


def steer(
    encoder: Encoder,
    waveforms: Sequence[np.ndarray],
    readout: Readout,
    layer: Layer,
    by: Mapping[str, Callable[[float], Edit]],
    doses: Sequence[float],
    *,
    groups: Sequence | np.ndarray | None = None,
    truth: Sequence[Any] | None = None,
    plain: Sequence[Any] | None = None,
    answer: Callable[[Edits], list[Any]] | None = None,
    on_done: Callable[[pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Make edits in doses and measure what the model then says.

    Parameters
    ----------
    encoder, waveforms, readout, layer, groups, truth, plain, answer
        As in `otoscope.interventions.splice`. Clips that nothing was selected on.
    by : mapping of name -> (dose -> edit)
        What to steer by, its baselines beside it: latents, a raw direction, random latents.
    doses : sequence of float
        0 should leave the model untouched.
    on_done : callable, optional
        Called with the rows of each curve's dose once they are measured.

    Returns
    -------
    DataFrame
        ``layer, by, dose, readout, measure, value, low, high, n_clips, n_groups``: the mean over clips, with its 95 %
        interval for clips of new groups.
    """
    if plain is None:
        plain = answers(encoder, waveforms, readout)
    ask = answer or partial(answers, encoder, waveforms, readout, plain=plain)
    sides = np.arange(len(waveforms)) if groups is None else groups
    parts = []
    for name, edit_of in by.items():
        for dose in doses:
            edited = ask({layer: edit_of(dose)})
            table = scores(readout, plain, edited, truth)
            rows = []
            for measure in table:
                found = mean_interval(table[measure].to_numpy(), sides)
                row = (layer, name, dose, readout.name, measure, found.value, found.low, found.high)
                rows.append((*row, len(table), found.n_groups))
            parts.append(pd.DataFrame(rows, columns=list(COLUMNS)))
            if on_done:
                on_done(parts[-1])
    return pd.concat(parts, ignore_index=True)


def pushes(
    sae: SparseAutoencoder,
    x: np.ndarray,
    codes: np.ndarray,
    *,
    latents: Sequence[int] | None = None,
    towards: np.ndarray | None = None,
    n_latents: int = 20,
    how: Literal["add", "scale"] = "add",
    seed: int = 0,
) -> dict[str, Callable[[float], Edit]]:
    """Return what to steer by, from a dose to an edit: latents, and the baselines that they must beat.

    Parameters
    ----------
    sae : SparseAutoencoder
    x : np.ndarray [rows, width]
        Training rows of its layer: all that is chosen or measured here is of these.
    codes : np.ndarray [rows, latents]
        Of the same rows.
    latents : sequence of int, optional
        What is pushed; a dose of 1 adds to each its mean where it is active.
    towards : np.ndarray [rows] of bool, optional
        A class to push towards, instead of `latents`: the `n_latents` that tell it best are pushed, a dose of 1 adds to
        each the difference of its means in the class and outside.
    how : {"add", "scale"}
        Whether a dose adds these amounts wherever a latent stands, or multiplies it by ``1 + dose`` (-1: off).
    seed : int
        Of the baselines.

    Returns
    -------
    dict
        ``latents``; ``random latents``, as many of equal frequency, each pushed by its partner's amount; with
        `towards` ``raw direction``, the difference of the class means of `x`; ``random direction``, of the norm of
        what a dose of 1 adds by the raw direction or, without `towards`, by the latents.

    Raises
    ------
    InputError
        If neither or both of `latents` and `towards` are given, or a latent is never active on these rows.
    """
    if (latents is None) == (towards is None):
        raise InputError("pushes takes either latents or a class to push towards")
    active = codes != 0
    if latents is not None:
        chosen = np.asarray(latents)
        if chosen.max(initial=0) >= codes.shape[1]:
            raise InputError(f"there is no latent {chosen.max()}: the code has {codes.shape[1]}, from 0")
        silent = chosen[~active[:, chosen].any(0)]
        if len(silent):
            raise InputError(
                f"latent {silent[0]} is never active on these rows, so nothing says how far to push it"
            )
        amounts = codes[:, chosen].sum(0) / active[:, chosen].sum(0)
        whole = amounts @ _atoms(sae, chosen)
    else:
        towards = np.asarray(towards, dtype=bool)
        chosen = rank_latents(codes, towards)[:n_latents]
        amounts = mean_difference(codes[:, chosen], towards)
        whole = mean_difference(x, towards)
    drawn = matched_latents(active.mean(0), chosen, seed=seed)

    def pushed(which: np.ndarray) -> Callable[[float], Edit]:
        if how == "scale":
            return lambda dose: through(sae, scale(which, 1 + dose))
        return lambda dose: through(sae, add(which, dose * amounts))

    found = {LATENTS: pushed(chosen), RANDOM_LATENTS: pushed(drawn)}
    if towards is not None:
        found[RAW_DIRECTION] = partial(along, whole)
    found[RANDOM_DIRECTION] = partial(along, random_direction(whole, seed=seed))
    return found


def _atoms(sae: SparseAutoencoder, latents: np.ndarray) -> np.ndarray:
    """Return what a latent of 1 adds to a state, [latents, width]: decoding is affine."""
    codes = torch.zeros(len(latents) + 1, sae.n_latents)
    codes[torch.arange(len(latents)), torch.as_tensor(latents)] = 1.0
    with torch.no_grad():
        decoded = sae.decode(codes.to(next(sae.parameters()))).double().cpu().numpy()
    return decoded[:-1] - decoded[-1]
