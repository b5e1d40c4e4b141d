"""One latent at a time, off where it fires or on where it is silent: what the model says before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from otoscope.errors import InputError
from otoscope.interventions.edits import ablate, as_far, clamp, through
from otoscope.interventions.readouts import Readout
from otoscope.interventions.respond import answers, check_sae

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer
    from otoscope.saes.base import SparseAutoencoder


@dataclass(frozen=True)
class Switched:
    """What a model says of one clip with one latent switched.

    Attributes
    ----------
    latent : int
    to : {"off", "on"}
    clip : int
        Its place among the waveforms.
    before, after : Any
        The readout's answers.
    measure : str
        What `change` is: the readout's ``kl`` where it has one, else its first measure.
    change, change_random : float
        Of the latent, and of a push as far at every token, along a direction drawn at random.
    """

    latent: int
    to: str
    clip: int
    before: Any
    after: Any
    measure: str
    change: float
    change_random: float


def switch(
    encoder: Encoder,
    waveforms: Sequence[np.ndarray],
    readout: Readout,
    layer: Layer,
    sae: SparseAutoencoder,
    cases: Sequence[tuple[int, Literal["off", "on"], Sequence[int]]],
    *,
    on: Mapping[int, float] | Sequence[float] | np.ndarray,
    seed: int = 0,
    on_done: Callable[[], None] | None = None,
) -> list[Switched]:
    """Switch latents off or on, one at a time, and ask the model about a few clips each.

    Parameters
    ----------
    encoder, waveforms, readout, layer
        As in `otoscope.interventions.splice`.
    sae : SparseAutoencoder
        Of this layer. Its error stays.
    cases : sequence of (latent, "off" or "on", clips)
        Clips by their place in `waveforms`.
    on : mapping or sequence
        What a latent is held at when it is on, by its number.
    seed : int
        Of the random directions, another one for each latent.
    on_done : callable, optional
        Called after each case.

    Raises
    ------
    InputError
        If a case says neither "off" nor "on".
    """
    check_sae(sae, encoder, layer)
    used = sorted({clip for _, _, clips in cases for clip in clips})
    plain = dict(zip(used, answers(encoder, [waveforms[clip] for clip in used], readout)))
    found = []
    for latent, to, clips in cases:
        if to not in ("off", "on"):
            raise InputError(f"a latent is switched 'off' or 'on'; got '{to}'")
        before = [plain[clip] for clip in clips]
        ask = partial(answers, encoder, [waveforms[clip] for clip in clips], readout, plain=before)
        edit = through(sae, ablate(latent) if to == "off" else clamp(latent, on[latent]))
        edited, pushed = ask({layer: edit}), ask({layer: as_far(edit, seed=seed + latent)})
        for clip, own, after, other in zip(clips, before, edited, pushed, strict=True):
            measures = readout.score(own, after)
            measure = "kl" if "kl" in measures else next(iter(measures))
            random = readout.score(own, other)[measure]
            found.append(Switched(latent, to, clip, own, after, measure, measures[measure], random))
        if on_done:
            on_done()
    return found
