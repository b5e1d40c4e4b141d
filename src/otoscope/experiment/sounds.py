"""Clips as the waveforms that one pass of an encoder takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from otoscope.encoders import Encoder


def waveforms_of(clips: pd.DataFrame, encoder: Encoder) -> list[np.ndarray]:
    """Return each clip's sound [samples] at the encoder's rate; of one that is too long for a pass, its beginning.

    Parameters
    ----------
    clips : DataFrame
        With ``path, start_s, stop_s``.
    encoder : Encoder
    """
    from otoscope.audio import read_audio

    most_s = float("inf") if encoder.max_samples is None else encoder.max_samples / encoder.sample_rate
    return [
        read_audio(
            clip.path,
            sample_rate=encoder.sample_rate,
            start_s=clip.start_s,
            stop_s=min(clip.stop_s, clip.start_s + most_s),
        )[0][: encoder.max_samples]
        for clip in clips.itertuples()
    ]
