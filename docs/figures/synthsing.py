"""Draw `docs/figures/synthsing.png`: one singer, one vowel, all ten techniques of synthsing."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from scipy import signal

from otoscope.datasets.synthsing import SAMPLE_RATE, TECHNIQUES, draw_voice, render

SINGER, VOWEL = "female1", "a"


def main() -> None:
    """Write the figure beside this script."""
    figure, axes = plt.subplots(2, 5, figsize=(13, 5), sharey=True, layout="constrained")
    for axis, technique in zip(axes.flat, TECHNIQUES, strict=True):
        waveform = render(draw_voice(0, SINGER, technique, VOWEL))
        frequency_hz, time_s, power = signal.spectrogram(
            waveform, SAMPLE_RATE, nperseg=320, noverlap=272, nfft=1024
        )
        level_db = 10 * np.log10(power + 1e-14)
        axis.pcolormesh(
            time_s, frequency_hz / 1_000, level_db,
            vmin=level_db.max() - 65, vmax=level_db.max(), cmap="magma", rasterized=True,
        )  # fmt: skip
        axis.set(title=technique.replace("_", " "), ylim=(0, 4.5))
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    for axis in axes[:, 0]:
        axis.set_ylabel("frequency (kHz)")
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path, dpi=80)
    Image.open(path).convert("RGB").quantize(96).save(path, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
