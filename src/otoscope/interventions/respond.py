"""Run a model under edits, and table what its readout says beside what it said untouched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from otoscope.errors import InputError, ProvenanceError
from otoscope.interventions.edits import Edit, at
from otoscope.interventions.readouts import HearsLengths, Readout

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer
    from otoscope.saes.base import SparseAutoencoder

Edits = Mapping["Layer", Edit]


@contextmanager
def editing(
    encoder: Encoder, edits: Edits, *, tokens: Callable[[Layer], np.ndarray] | None = None
) -> Iterator[None]:
    """Make edits of several layers while the block runs.

    Parameters
    ----------
    encoder : Encoder
    edits : mapping of layer -> edit
    tokens : callable, optional
        From a layer to which of its tokens [tokens] are edited; default: all.
    """
    with ExitStack() as stack:
        for layer, edit in edits.items():
            own = edit if tokens is None else at(tokens(layer), edit)
            stack.enter_context(encoder.edited(layer, own))
        yield


def answers(
    encoder: Encoder,
    waveforms: Sequence[np.ndarray],
    readout: Readout,
    edits: Edits | None = None,
    *,
    plain: Sequence[Any] | None = None,
    where: Callable[[int, Layer], np.ndarray] | None = None,
    batch_size: int = 8,
) -> list[Any]:
    """Return a readout's answer to each clip, under edits.

    Parameters
    ----------
    encoder : Encoder
    waveforms : sequence of array [samples]
        Mono, at the encoder's rate; lengths may differ.
    readout : Readout
        Prepared with this encoder.
    edits : mapping of layer -> edit, optional
        None leaves the model as it is.
    plain : sequence, optional
        The untouched model's answers to the same clips.
    where : callable, optional
        From a clip's length in samples and a layer to which tokens are edited. Default: those with their centre
        inside the clip, and class tokens; padding that the model adds (Whisper's to 30 s) stays, as no autoencoder
        was trained on it.
    batch_size : int
        Clips of one length at a time.
    """
    where = where or (lambda n, layer: inside(encoder, n, layer))
    found: list[Any] = [None] * len(waveforms)
    lengths = np.array([len(waveform) for waveform in waveforms])
    for n in np.unique(lengths):
        own = np.flatnonzero(lengths == n)
        if isinstance(readout, HearsLengths):
            readout.hears(int(n))
        with editing(encoder, edits or {}, tokens=partial(where, int(n))):
            for start in range(0, len(own), batch_size):
                batch = own[start : start + batch_size]
                encoder.check_length(int(n))
                inputs = torch.stack([encoder.frontend(np.asarray(waveforms[i], np.float32)) for i in batch])
                known = None if plain is None else [plain[i] for i in batch]
                for i, answer in zip(batch, readout.read(inputs, known), strict=True):
                    found[i] = answer
    return found


def scores(
    readout: Readout, plain: Sequence[Any], edited: Sequence[Any], truth: Sequence[Any] | None = None
) -> pd.DataFrame:
    """Return the measures of a readout: a row for each clip, a column for each measure."""
    truths = [None] * len(plain) if truth is None else truth
    return pd.DataFrame([readout.score(*row) for row in zip(plain, edited, truths, strict=True)])


def inside(encoder: Encoder, n_samples: int, layer: Layer) -> np.ndarray:
    """Return which tokens of a clip are sound or stand for all of it, not padding."""
    tokens = encoder.tokens(n_samples, layer)
    return tokens.inside(n_samples / encoder.sample_rate) | np.isnan(tokens.time_s)


def states_of(encoder: Encoder, waveforms: Sequence[np.ndarray], layer: Layer) -> Iterator[np.ndarray]:
    """Yield a layer's states [tokens, width] of each clip, at the tokens that are no padding."""
    for waveform in waveforms:
        states = encoder.hidden_states(np.asarray(waveform, np.float32)[None], [layer])[layer][0]
        yield states[torch.as_tensor(inside(encoder, len(waveform), layer))].cpu().numpy()


def sae_columns(sae: SparseAutoencoder) -> dict[str, Any]:
    """Return the columns that say which autoencoder a row is of: sae, sparsity, k, seed."""
    config = sae.config
    return {"sae": config.name, "sparsity": config.sparsity_target, "k": config.active, "seed": sae.seed}


def check_sae(sae: SparseAutoencoder, encoder: Encoder, layer: Layer) -> None:
    """Raise unless an autoencoder is of this layer of this encoder, as far as it says what it was trained on.

    Raises
    ------
    InputError
        If there is no such layer, or it has another width.
    ProvenanceError
        If it was trained on another layer, or on another model or other weights.
    """
    from otoscope.encoders.load import check_weights

    layer = encoder.layers([layer])[0]
    if sae.n_inputs != encoder.widths[layer]:
        raise InputError(
            f"the autoencoder reads states of width {sae.n_inputs}, and layer {layer} of {encoder.name} has width "
            f"{encoder.widths[layer]}: it was trained on another layer or model; take one of this layer"
        )
    if sae.layer is not None and str(sae.layer) != str(layer):
        raise ProvenanceError(
            f"the autoencoder was trained on layer {sae.layer}, not on layer {layer}: edit that layer, or take another"
        )
    heard = sae.about.get("activations", {})
    if "model" in heard and heard["model"] != encoder.provenance().get("model"):
        raise ProvenanceError(
            f"the autoencoder was trained on states of '{heard['model']}', and the encoder is "
            f"'{encoder.provenance().get('model')}': take the encoder it was trained on"
        )
    check_weights(encoder, heard)
