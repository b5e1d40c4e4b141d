"""EnCodec's sound as a readout: what its decoder makes of the edited embedding, to be heard beside the untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from otoscope.errors import InputError, ModelError
from otoscope.interventions.readouts import Told

if TYPE_CHECKING:
    from otoscope.encoders.encoder import Encoder


class Sound:
    """A codec's sound: an answer is a waveform [samples] at the encoder's rate.

    Measure: ``moved``, the energy of the difference from the untouched sound over that sound's energy.

    Parameters
    ----------
    bandwidth_kbps : float, optional
        How much the quantiser lets through, one of the model's; default: its most.

    Notes
    -----
    Sound goes through the quantiser, as it does in use: an edit that is too small to reach another code word is not
    heard. A model that normalises its input gives sound back at the normalised loudness.

    Examples
    --------
    >>> sound = Sound()  # doctest: +SKIP
    >>> sound.prepare(encoder)  # doctest: +SKIP
    >>> (before,) = answers(encoder, [waveform], sound)  # doctest: +SKIP
    >>> (after,) = answers(encoder, [waveform], sound, {2: through(sae, ablate(12))})  # doctest: +SKIP
    """

    name = "sound"

    def __init__(self, *, bandwidth_kbps: float | None = None) -> None:
        self._bandwidth_kbps = bandwidth_kbps

    def prepare(self, encoder: Encoder) -> None:
        """Load quantiser and decoder."""
        from otoscope.encoders.heads import load_whole

        if encoder.family != "encodec":
            raise ModelError(
                f"the readout 'sound' is a codec's, and {encoder.name} is of '{encoder.family}': it has no decoder of "
                "sound; take facebook/encodec_24khz or another readout"
            )
        self._model: Any = load_whole(encoder, "sound")
        known = self._model.config.target_bandwidths
        if self._bandwidth_kbps is not None and self._bandwidth_kbps not in known:
            raise InputError(
                f"{encoder.name} has no bandwidth of {self._bandwidth_kbps} kbit/s; it has "
                f"{', '.join(map(str, known))}"
            )
        self._bandwidth = self._bandwidth_kbps or max(known)

    def read(self, inputs: Tensor, plain: Sequence[Any] | None = None) -> list[np.ndarray]:
        """Return the sound [samples] of each clip."""
        with torch.no_grad():
            embedded = self._model.encoder(inputs.to(self._model.device))
            words = self._model.quantizer.encode(embedded, self._bandwidth)
            sound = self._model.decoder(self._model.quantizer.decode(words))
        return list(sound[:, 0, : inputs.shape[-1]].float().cpu().numpy())

    def score(self, plain: np.ndarray, edited: np.ndarray, truth: Any = None) -> dict[str, float]:
        """Return how far the sound moved."""
        energy = float((plain.astype(np.float64) ** 2).sum())
        return {"moved": float(((edited - plain) ** 2).sum()) / energy if energy > 0 else float("nan")}

    def tell(self, answer: np.ndarray) -> Told:
        """Return the sound."""
        return Told(sound=answer)
