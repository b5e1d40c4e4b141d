"""Steering: a dose curve of an edit, its effect on what the model says, and where it breaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.interventions.edits import Edit
from otoscope.interventions.readouts import Readout
from otoscope.interventions.respond import Edits, answers, scores
from otoscope.probing import mean_interval

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer

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
