"""The splice test: replace a layer by its reconstruction, components, mean or zero, and see what the model loses.

What a language model's "loss recovered" is, for audio: ``recovered = (zero - reconstruction) / (zero - untouched)`` of
a measure, 1 where the reconstruction does what the layer does, 0 where it does no better than nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from otoscope.interventions.edits import Edit, onto, replaced_by, through
from otoscope.interventions.readouts import Readout
from otoscope.interventions.respond import Edits, answers, check_sae, sae_columns, scores
from otoscope.probing import mean_interval
from otoscope.results import COMPONENTS, MEAN, RECONSTRUCTION, UNTOUCHED, ZERO, table_of

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer
    from otoscope.saes.base import SparseAutoencoder
    from otoscope.saes.nulls import Components


def splice(
    encoder: Encoder,
    waveforms: Sequence[np.ndarray],
    readout: Readout,
    layer: Layer,
    saes: Mapping[str, SparseAutoencoder],
    *,
    pca: Components,
    groups: Sequence | np.ndarray | None = None,
    truth: Sequence[Any] | None = None,
    plain: Sequence[Any] | None = None,
    answer: Callable[[Edits], list[Any]] | None = None,
    on_done: Callable[[str, pd.DataFrame], None] | None = None,
) -> pd.DataFrame:
    """Replace a layer's states, one clip's tokens at a time, and measure what its model then says.

    Parameters
    ----------
    encoder : Encoder
    waveforms : sequence of array [samples]
        Clips that the autoencoders were not trained on.
    readout : Readout
        Prepared with this encoder.
    layer : int or "final"
    saes : mapping of name -> autoencoder
        Of this layer.
    pca : Components
        Principal components of the layer's training rows (`otoscope.saes.nulls.fit_pca`), and their mean. As many of
        them as a code has active latents (k) are the linear code that it has to beat.
    groups : sequence [clips], optional
        Speaker, singer, for intervals; default: each clip its own.
    truth : sequence [clips], optional
        What the readout should say.
    plain : sequence [clips], optional
        The untouched model's answers, where they are known already.
    answer : callable, optional
        From edits to the readout's answer to each clip; default: `answers`. One that keeps the states before the
        layer need not compute them again.
    on_done : callable, optional
        Called with each replacement's name and its measures, a row a clip.

    Returns
    -------
    DataFrame
        The columns of `otoscope.results.TABLES`: the mean over clips with its 95 % interval for clips of new groups.
        `recovered` is of the means; `sae` the name given here, empty where no autoencoder stands in.
    """
    for sae in saes.values():
        check_sae(sae, encoder, layer)
    if plain is None:
        plain = answers(encoder, waveforms, readout)
    ask = answer or partial(answers, encoder, waveforms, readout, plain=plain)
    about = {name: sae_columns(sae) | {"sae": name} for name, sae in saes.items()}
    sparsities = {own["k"]: own["sparsity"] for own in about.values() if own["k"]}
    linear = {f"k {k}": {"sae": "", "sparsity": s, "k": k, "seed": None} for k, s in sparsities.items()}
    edits: dict[tuple[str, str], Edit] = {
        ("", UNTOUCHED): lambda state: state,
        ("", MEAN): replaced_by(pca.mean),
        ("", ZERO): replaced_by(0.0),
        **{(name, COMPONENTS): onto(pca, own["k"]) for name, own in linear.items()},
        **{(name, RECONSTRUCTION): through(sae, error="spliced") for name, sae in saes.items()},
    }
    measured = {}
    for key, edit in edits.items():
        edited = ask({layer: edit})
        measured[key] = scores(readout, plain, edited, truth)
        if on_done:
            on_done(" ".join(filter(None, key)), measured[key])
    sides = np.arange(len(waveforms)) if groups is None else groups
    table = _table(measured, sides, linear | about)
    return table.assign(encoder=encoder.name, layer=layer, readout=readout.name)[
        list(table_of("splice").names)
    ]


def _table(
    measured: Mapping[tuple[str, str], pd.DataFrame],
    groups: Sequence | np.ndarray,
    about: Mapping[str, dict[str, Any]],
) -> pd.DataFrame:
    nobody = {"sae": "", "sparsity": None, "k": None, "seed": None}
    best, worst = measured["", UNTOUCHED].mean(), measured["", ZERO].mean()
    rows = []
    for (name, kind), table in measured.items():
        for measure in table:
            found = mean_interval(table[measure].to_numpy(), groups)
            room = worst[measure] - best[measure]
            rows.append(
                {
                    **about.get(name, nobody),
                    "replaced_by": kind,
                    "measure": measure,
                    "value": found.value,
                    "low": found.low,
                    "high": found.high,
                    "recovered": (worst[measure] - found.value) / room if room else float("nan"),
                    "n_clips": len(table),
                    "n_groups": found.n_groups,
                }
            )
    return pd.DataFrame(rows)
