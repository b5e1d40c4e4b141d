"""A probe of a later layer as a readout: what a linear classifier of the model's own later states then says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from otoscope.errors import InputError
from otoscope.interventions.readouts import Logits, Told, log_softmax
from otoscope.interventions.respond import answers

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder
    from otoscope.encoders.tokens import Layer


class Probed:
    """A linear probe of a later layer's mean over the tokens of sound: not padding, not class tokens.

    Parameters
    ----------
    layer : int or "final"
        What it was trained on.
    weights : np.ndarray [width, outputs]
    intercept : np.ndarray [outputs]
        Of logits, or of numbers.
    classes : sequence of str
        Names of the outputs; empty where they are numbers.

    Notes
    -----
    Measures: those of `Classes`; for numbers ``moved``, the mean absolute change, and ``error`` from the truth.
    """

    name = "probe"

    def __init__(
        self, layer: Layer, weights: np.ndarray, intercept: np.ndarray, classes: Sequence[str] = ()
    ) -> None:
        self._layer, self._weights, self._intercept = layer, np.asarray(weights), np.asarray(intercept)
        self._names = list(classes)

    def prepare(self, encoder: Encoder) -> None:
        """Check that the probe is of this layer's width."""
        self._encoder = encoder
        self._sound: Tensor | None = None
        layer = encoder.layers([self._layer])[0]
        if encoder.widths[layer] != len(self._weights):
            raise InputError(
                f"the probe reads states of width {len(self._weights)}, and layer {layer} of {encoder.name} has "
                f"{encoder.widths[layer]}: was it trained on another layer or model?"
            )

    def hears(self, n_samples: int) -> None:
        """Take the mean over the tokens of sound of clips of this length, as pooling to means does."""
        tokens = self._encoder.tokens(n_samples, self._encoder.layers([self._layer])[0])
        self._sound = torch.from_numpy(tokens.inside(n_samples / self._encoder.sample_rate))

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[Logits]:
        """Return the outputs of each clip."""
        state = self._encoder.run(inputs, self._encoder.layers([self._layer]))[self._layer]
        own = state if self._sound is None else state[:, self._sound.to(state.device)]
        outputs = own.mean(1).double().cpu().numpy() @ self._weights + self._intercept
        return [Logits(row, self._names[int(row.argmax())] if self._names else "") for row in outputs]

    def score(self, plain: Logits, edited: Logits, truth: Any = None) -> dict[str, float]:
        """Return loss, kl, changed, error; for numbers moved and error."""
        if not self._names:
            measures = {"moved": float(np.abs(edited.values - plain.values).mean())}
            known = (
                {} if truth is None else {"error": float(np.abs(edited.values - np.asarray(truth)).mean())}
            )
            return measures | known
        p, q = log_softmax(plain.values), log_softmax(edited.values)
        measures = {
            "loss": float(-q[plain.values.argmax()]),
            "kl": float((np.exp(p) * (p - q)).sum()),
            "changed": float(plain.says != edited.says),
        }
        return measures if truth is None else {**measures, "error": float(edited.says != truth)}

    def tell(self, answer: Logits) -> Told:
        """Return the first class and the probability of each; of numbers, these."""
        if not self._names:
            return Told(", ".join(f"{value:.4g}" for value in answer.values))
        return Told(
            answer.says, dict(zip(self._names, np.exp(log_softmax(answer.values)).tolist(), strict=True))
        )


def fit_probe(
    encoder: Encoder,
    waveforms: Sequence[np.ndarray],
    labels: Sequence | np.ndarray,
    *,
    layer: Layer,
    kind: Literal["class", "number"] = "class",
    groups: Sequence | np.ndarray | None = None,
) -> Probed:
    """Train a probe of a layer's mean over tokens of sound on clips, and return it as a readout, ready to be asked.

    Parameters
    ----------
    encoder, waveforms
        Training clips.
    labels : sequence [clips]
    layer : int or "final"
        Best one after those that will be edited.
    kind : {"class", "number"}
        Logistic or ridge regression, its penalty chosen as in `otoscope.probing.probe`.
    groups : sequence [clips], optional
        Speaker, singer: folds keep them whole.
    """
    from otoscope.probing import scoring
    from otoscope.probing.models import training_folds
    from otoscope.probing.probes import STRENGTHS, fitter_of

    width = encoder.widths[encoder.layers([layer])[0]]
    means = Probed(layer, np.eye(width), np.zeros(width))
    means.prepare(encoder)
    x = np.stack([answer.values for answer in answers(encoder, waveforms, means)])
    own = np.ones(len(x), dtype=bool)
    targets, classes = scoring.encode(pd.Series(labels), kind, train=own)
    folds = training_folds(np.arange(len(x)) if groups is None else np.asarray(groups), 5)
    strength = fitter_of(kind, targets).choose(x, own, folds, list(STRENGTHS))
    # The fit is affine: its outputs at 0 and at each unit vector are its intercept and its weights.
    places = np.vstack([x, np.zeros(width), np.eye(width)])
    targets = np.vstack([targets, np.zeros((width + 1, targets.shape[1]))])
    outputs = fitter_of(kind, targets).fit(places, np.arange(len(places)) < len(x), strength)[len(x) :]
    found = Probed(
        layer, outputs[1:] - outputs[0], outputs[0], [] if kind == "number" else list(map(str, classes))
    )
    found.prepare(encoder)
    return found
