"""Acoustic units: what each 20 ms frame of a clip is called, by k-means on three views of the sound.

HuBERT (Hsu et al. 2021) clusters MFCCs in its first iteration. On singing, MFCCs alone say little of pitch and of how
the voice moves, so three sets of units are predicted side by side:

- timbre: 20 MFCCs with first and second differences (180 ms), as in the paper but for the number of coefficients;
- pitch: the normalised autocorrelation of 50 ms at 64 log-spaced lags (30 Hz to 1 kHz): pitch, voicing, roughness;
- movement: magnitudes of the modulation spectrum (0 to 50 Hz, over 320 ms) of level, low cepstra and pitch lag.
- phrase, in the second stage: means of the three views, and standard deviations of the first two, over 1 s around a
  frame. What has no name within 300 ms, such as a trill or a line of onsets, has one here.

Frame i covers samples 320 i to 320 i + 400, as in HuBERT's convolutional stem.
"""

import librosa
import numpy as np
import scipy.fft
from scipy.ndimage import uniform_filter1d
from sklearn.cluster import MiniBatchKMeans

SAMPLE_RATE = 16_000
FRAME_SAMPLES = 400
HOP_SAMPLES = 320
HOP_S = HOP_SAMPLES / SAMPLE_RATE

_FINE_HOP = 160  # movement is measured each 10 ms, so that a lip trill (about 25 Hz) does not alias
_MOVEMENT_FRAMES = 32
_PHRASE_FRAMES = 50
_PITCH_WINDOW = 800
_PITCH_LAGS = np.geomspace(SAMPLE_RATE / 1000, SAMPLE_RATE / 30, 64)


def n_frames(n_samples: int) -> int:
    """Frames that HuBERT's stem makes of `n_samples` samples at 16 kHz."""
    return max(0, (n_samples - FRAME_SAMPLES) // HOP_SAMPLES + 1)


def acoustic_views(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """The three views of one clip, each [frames, features], float32."""
    frames = n_frames(len(waveform))
    waveform = (waveform - waveform.mean()) / (waveform.std() + 1e-7)
    cepstra = _cepstra(waveform)
    autocorrelation = _autocorrelation(waveform)
    coarse = cepstra[::2][:frames]
    first = np.gradient(uniform_filter1d(coarse, 3, axis=0), axis=0)
    second = np.gradient(uniform_filter1d(first, 3, axis=0), axis=0)
    views = {
        "timbre": np.concatenate([coarse, 2 * first, 4 * second], axis=1),
        "pitch": autocorrelation[::2][:frames],
        "movement": _movement(cepstra, autocorrelation)[::2][:frames],
    }
    return {name: view.astype(np.float32) for name, view in views.items()}


def phrase_view(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """The view over a second, {"phrase": [frames, 408]}, float16."""
    views = acoustic_views(waveform)
    means = {name: uniform_filter1d(view, _PHRASE_FRAMES, axis=0) for name, view in views.items()}
    squares = {
        name: uniform_filter1d(views[name] ** 2, _PHRASE_FRAMES, axis=0) for name in ("timbre", "pitch")
    }
    spreads = [np.sqrt(np.maximum(square - means[name] ** 2, 0)) for name, square in squares.items()]
    return {"phrase": np.concatenate([*means.values(), *spreads], axis=1).astype(np.float16)}


def cluster(views: list[np.ndarray], *, n_units: int, fit_frames: int, seed: int) -> np.ndarray:
    """Units of all frames of a corpus by k-means on standardised features.

    Parameters
    ----------
    views
        One array [frames, features] per clip.
    n_units
        Clusters (fewer if there are fewer frames).
    fit_frames
        Frames drawn at random for the fit; all frames are then assigned.

    Returns
    -------
    np.ndarray
        [all frames] uint16, clip after clip.
    """
    ends = np.cumsum([len(view) for view in views])
    chosen = np.random.default_rng(seed).permutation(ends[-1])[:fit_frames]
    sample = np.concatenate(views)[np.sort(chosen)].astype(np.float32)
    centre, spread = sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-6)
    k_means = MiniBatchKMeans(
        min(n_units, len(sample)),
        batch_size=4096,
        n_init=1,
        max_iter=20,
        random_state=seed,
        compute_labels=False,
    ).fit((sample - centre) / spread)
    return np.concatenate([k_means.predict((view - centre) / spread) for view in views]).astype(np.uint16)


def _cepstra(waveform: np.ndarray) -> np.ndarray:
    """[10 ms frames, 20] MFCCs of 25 ms windows."""
    spectra = np.abs(scipy.fft.rfft(_windows(waveform, FRAME_SAMPLES) * np.hanning(FRAME_SAMPLES), 512)) ** 2
    log_mel = np.log(spectra @ _MEL.T + 1e-3)
    return scipy.fft.dct(log_mel, norm="ortho")[:, :20]


def _autocorrelation(waveform: np.ndarray) -> np.ndarray:
    """[10 ms frames, 64] autocorrelation over power at log-spaced lags; windows centred on the cepstra's."""
    pad = (_PITCH_WINDOW - FRAME_SAMPLES) // 2
    windows = _windows(np.pad(waveform, pad), _PITCH_WINDOW) * np.hanning(_PITCH_WINDOW)
    power = np.abs(scipy.fft.rfft(windows, 2 * _PITCH_WINDOW)) ** 2
    correlation = scipy.fft.irfft(power)[:, :_PITCH_WINDOW]
    correlation /= correlation[:, :1] + 1e-2
    low = np.floor(_PITCH_LAGS).astype(int)
    share = _PITCH_LAGS - low
    return (1 - share) * correlation[:, low] + share * correlation[:, low + 1]


def _movement(cepstra: np.ndarray, autocorrelation: np.ndarray) -> np.ndarray:
    """[10 ms frames, features] log magnitudes of the modulation spectrum around each frame."""
    lag = autocorrelation.argmax(axis=1)[:, None] / 4.0
    tracks = np.concatenate([cepstra[:, :8], lag, 4 * autocorrelation.max(axis=1, keepdims=True)], axis=1)
    padded = np.pad(tracks, ((_MOVEMENT_FRAMES // 2, _MOVEMENT_FRAMES // 2), (0, 0)), mode="reflect")
    around = np.lib.stride_tricks.sliding_window_view(padded, _MOVEMENT_FRAMES, axis=0)[: len(tracks)]
    around = (around - around.mean(axis=-1, keepdims=True)) * np.hanning(_MOVEMENT_FRAMES)
    magnitudes = np.abs(scipy.fft.rfft(around))[..., 1:]
    return np.log(magnitudes + 0.3).reshape(len(tracks), -1)


def _windows(waveform: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(waveform, length)[::_FINE_HOP]


_MEL = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=512, n_mels=40, fmin=40)
