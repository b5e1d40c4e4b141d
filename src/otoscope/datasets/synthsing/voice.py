"""One sung clip from its parameters: glottal pulses and breath noise through a moving vocal tract.

Source and filter after G. Fant, *Acoustic Theory of Speech Production* (1960): a train of band-limited pulses
with jitter and shimmer, a spectral slope, aspiration noise that beats with the glottis, five formant
resonators in cascade, then a room, a microphone and a little background noise.

What the parameters promise is made exact where it can be: the geometric mean of the f0 track, local jitter
and shimmer of the drawn pulses, the ratio of harmonics to noise at the mouth, the level of the finished clip.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, signal

SAMPLE_RATE = 16_000
CONTROL_RATE = 1_000  # pitch and loudness curves
BLOCK = 480  # samples (30 ms) for which the vocal tract stands still
TILT_CORNER_HZ = 200.0
N_TAPS = 16  # of the windowed sinc that places a pulse between samples


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Everything that `render` needs to make one clip; units in the names."""

    duration_s: float
    onset_s: float
    """Silence before the sound."""
    offset_s: float
    """Silence after the sound."""
    attack_s: float
    release_s: float
    swell_db: float
    """Change of loudness from start to end."""
    f0_hz: float
    """Geometric mean of the f0 track."""
    f0_glide_semitones: float
    """From start to end of the sound, a half cosine."""
    f0_drift_cents: float
    """Standard deviation of a slow random drift (below 3 Hz)."""
    vibrato_rate_hz: float
    vibrato_extent_cents: float
    """Half of peak to peak: the pitch moves from -extent to +extent."""
    vibrato_squareness: float
    """0: a sine (vibrato); towards 1: steps between two notes (trill)."""
    jitter_percent: float
    """Mean absolute difference of neighbouring periods over the mean period (local jitter)."""
    shimmer_percent: float
    """Mean absolute difference of neighbouring pulse amplitudes over the mean amplitude (local shimmer)."""
    tilt_db_per_octave: float
    """Slope of the radiated source spectrum above 200 Hz (negative)."""
    hnr_db: float
    """Power of the pulses over power of the breath noise, at the mouth."""
    f1_hz: float
    f2_hz: float
    f3_hz: float
    f4_hz: float
    f5_hz: float
    """Geometric means of the formant tracks."""
    bandwidth_scale: float
    formant_glide_semitones: float
    """Change of F2 from start to end; F1 moves half as far the other way."""
    am_rate_hz: float
    am_depth: float
    """Loudness falls to (1 - depth) once per cycle."""
    n_onsets: int
    """Number of onsets, evenly spread but for `onset_jitter`."""
    onset_jitter: float
    """Standard deviation of an onset's place, in parts of the mean distance."""
    gap_db: float
    """Loudness between two onsets."""
    gap_fraction: float
    """Part of the distance between two onsets taken by the gap."""
    channel_tilt_db_per_octave: float
    """Slope of room and microphone around 1 kHz."""
    channel_ripple_db: float
    """Standard deviation of the channel's random bumps."""
    reverb_s: float
    """Time in which the room's sound falls by 60 dB."""
    reverb_db: float
    """Energy of the room's sound over the direct sound."""
    snr_db: float
    """Voice over background noise."""
    level_dbfs: float
    """RMS of the finished clip; 0 is full scale."""
    noise_seed: int
    """Seeds all that is random within the clip."""


def render(voice: Voice) -> np.ndarray:
    """Make the sound of one voice.

    Returns
    -------
    np.ndarray
        float32 [samples] at 16 kHz, zero mean, RMS of exactly `level_dbfs`.
    """
    rng = np.random.default_rng(voice.noise_seed)
    n_samples = round(voice.duration_s * SAMPLE_RATE)
    f0_hz = _f0_track(voice, rng)
    loudness = _loudness_track(voice, rng)
    cycles = np.concatenate([[0.0], np.cumsum(0.5 * (f0_hz[1:] + f0_hz[:-1]) / CONTROL_RATE)])

    control_s = np.arange(len(cycles)) / CONTROL_RATE
    sample_s = np.arange(n_samples) / SAMPLE_RATE
    noise = rng.standard_normal((2, n_samples))
    beat = 1.0 + 0.6 * np.cos(2 * np.pi * np.interp(sample_s, control_s, cycles))
    source = np.empty((2, n_samples))
    source[0] = _pulses(voice, rng, cycles, loudness, n_samples)
    source[1] = noise[0] * beat * np.interp(sample_s, control_s, loudness)

    n_fft = fft.next_fast_len(n_samples + SAMPLE_RATE // 4, real=True)
    spectra = fft.rfft(source, n_fft)
    spectra[0] *= _slope(n_fft, voice.tilt_db_per_octave, TILT_CORNER_HZ)
    spectra[1] *= _fixed_slope(n_fft, -2.0, 1_000.0)
    pulses, breath = _vocal_tract(voice, fft.irfft(spectra, n_fft)[:, :n_samples])

    breath_gain = np.sqrt(np.mean(pulses**2) / np.mean(breath**2)) * 10 ** (-voice.hnr_db / 20)
    spectrum = fft.rfft(pulses + breath_gain * breath, n_fft) * _channel(voice, rng, n_fft)
    background = fft.rfft(noise[1], n_fft) * _fixed_slope(n_fft, -5.0, 150.0)
    ratio = np.sqrt(_power(spectrum) / _power(background)) * 10 ** (-voice.snr_db / 20)
    waveform = fft.irfft(spectrum + ratio * background, n_fft)[:n_samples]
    waveform -= waveform.mean()
    return (waveform * (10 ** (voice.level_dbfs / 20) / np.sqrt(np.mean(waveform**2)))).astype(np.float32)


def tracks(voice: Voice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return what the voice does over time: time (s from the clip's start), f0 (Hz), loudness (gain), F2 (Hz)."""
    rng = np.random.default_rng(voice.noise_seed)  # drawn from in the order of `render`
    f0_hz = _f0_track(voice, rng)
    loudness = _loudness_track(voice, rng)
    time_s = np.arange(len(f0_hz)) / CONTROL_RATE
    starts = np.arange(0, round(voice.duration_s * SAMPLE_RATE), BLOCK)
    block_s = (starts + BLOCK / 2) / SAMPLE_RATE
    return time_s, f0_hz, loudness, np.interp(time_s, block_s, _formant_tracks(voice, block_s)[:, 1])


def _f0_track(voice: Voice, rng: np.random.Generator) -> np.ndarray:
    n = round(voice.duration_s * CONTROL_RATE) + 1
    t_s = np.arange(n) / CONTROL_RATE
    place = _place(voice, t_s)
    cents = -50.0 * voice.f0_glide_semitones * np.cos(np.pi * place)
    cents += voice.f0_drift_cents * _slow_noise(rng, t_s)
    wave = np.sin(2 * np.pi * (voice.vibrato_rate_hz * t_s + rng.random()))
    if voice.vibrato_squareness > 0:
        steepness = 6.0 * voice.vibrato_squareness
        wave = np.tanh(steepness * wave) / np.tanh(steepness)
    fade_in = np.clip((t_s - voice.onset_s) / 0.2, 0.0, 1.0)
    cents += voice.vibrato_extent_cents * fade_in * wave
    sounding = (place > 0) & (place < 1)
    return voice.f0_hz * 2 ** ((cents - cents[sounding].mean()) / 1200)


def _loudness_track(voice: Voice, rng: np.random.Generator) -> np.ndarray:
    n = round(voice.duration_s * CONTROL_RATE) + 1
    t_s = np.arange(n) / CONTROL_RATE
    place = _place(voice, t_s)
    stop_s = voice.duration_s - voice.offset_s
    rise = np.clip((t_s - voice.onset_s) / voice.attack_s, 0.0, 1.0)
    fall = np.clip((stop_s - t_s) / voice.release_s, 0.0, 1.0)
    edges = np.sin(0.5 * np.pi * rise) ** 2 * np.sin(0.5 * np.pi * fall) ** 2
    level_db = voice.swell_db * (place - 0.5) + 1.0 * _slow_noise(rng, t_s) + _gaps_db(voice, rng, place)
    cycle = 0.5 - 0.5 * np.cos(2 * np.pi * (voice.am_rate_hz * t_s + rng.random()))
    return edges * 10 ** (level_db / 20) * (1.0 - voice.am_depth * cycle)


def _gaps_db(voice: Voice, rng: np.random.Generator, place: np.ndarray) -> np.ndarray:
    """Loudness of a note that is struck `n_onsets` times: smooth dips between neighbouring onsets."""
    dips = np.arange(1, voice.n_onsets) + voice.onset_jitter * rng.standard_normal(voice.n_onsets - 1)
    distance = np.abs(place[:, None] * voice.n_onsets - dips)
    inside = np.clip(1.0 - distance / (0.5 * voice.gap_fraction), 0.0, 1.0)
    return voice.gap_db * (np.sin(0.5 * np.pi * inside) ** 2).max(axis=1, initial=0.0)


def _pulses(
    voice: Voice, rng: np.random.Generator, cycles: np.ndarray, loudness: np.ndarray, n_samples: int
) -> np.ndarray:
    """Band-limited impulses, one per glottal cycle; their places and heights carry jitter and shimmer."""
    n = int(cycles[-1])
    period = 1.0 + _perturbation(rng, n, voice.jitter_percent)
    number = np.cumsum(period) * (n / period.sum())
    control_s = np.arange(len(cycles)) / CONTROL_RATE
    time_s = np.interp(number - 0.5, cycles, control_s)
    height = (1.0 + _perturbation(rng, n, voice.shimmer_percent)) * np.interp(time_s, control_s, loudness)

    at = time_s * SAMPLE_RATE
    first = np.floor(at).astype(int) - N_TAPS // 2 + 1
    taps = first[:, None] + np.arange(N_TAPS)
    distance = taps - at[:, None]
    shape = np.sinc(distance) * np.cos(np.pi * distance / (N_TAPS + 2)) ** 2 * height[:, None]
    valid = (taps >= 0) & (taps < n_samples)
    return np.bincount(taps[valid], weights=shape[valid], minlength=n_samples)


def _perturbation(rng: np.random.Generator, n: int, percent: float) -> np.ndarray:
    """Relative deviations whose mean absolute step is `percent` of the mean (it stays above -70 %)."""
    deviation = np.clip(rng.standard_normal(n), -2.5, 2.5)
    deviation -= deviation.mean()
    return np.maximum(deviation * (percent / 100) / np.abs(np.diff(deviation)).mean(), -0.7)


def _slope(n_fft: int, db_per_octave: float, corner_hz: float) -> np.ndarray:
    """Causal slope above the corner, (1 + j f / corner)^-a, and nothing at 0 Hz (second-order high-pass)."""
    power = db_per_octave / (20 * np.log10(2))
    return np.exp(power * _log_corner(n_fft, corner_hz)) * _high_pass(n_fft)


@lru_cache(maxsize=16)
def _fixed_slope(n_fft: int, db_per_octave: float, corner_hz: float) -> np.ndarray:
    return _slope(n_fft, db_per_octave, corner_hz)


@lru_cache(maxsize=16)
def _log_corner(n_fft: int, corner_hz: float) -> np.ndarray:
    return np.log(1 + 1j * fft.rfftfreq(n_fft, 1 / SAMPLE_RATE) / corner_hz)


@lru_cache(maxsize=16)
def _high_pass(n_fft: int) -> np.ndarray:
    ratio = 1j * fft.rfftfreq(n_fft, 1 / SAMPLE_RATE) / 40.0
    return (ratio / (1 + ratio)) ** 2


@lru_cache(maxsize=16)
def _octaves_of_1_khz(n_fft: int) -> np.ndarray:
    return np.log2(np.maximum(fft.rfftfreq(n_fft, 1 / SAMPLE_RATE), 50.0) / 1_000.0)


def _vocal_tract(voice: Voice, source: np.ndarray) -> np.ndarray:
    """Filter [2, samples] by five resonators in cascade; the filter's state is carried from block to block."""
    starts = np.arange(0, source.shape[1], BLOCK)
    tracks_hz = _formant_tracks(voice, (starts + BLOCK / 2) / SAMPLE_RATE)
    bandwidth_hz = voice.bandwidth_scale * (40.0 + 0.035 * tracks_hz)
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)
    sections = np.zeros((len(starts), 5, 6))
    sections[..., 3] = 1.0
    sections[..., 4] = -2 * radius * np.cos(2 * np.pi * tracks_hz / SAMPLE_RATE)
    sections[..., 5] = radius**2
    sections[..., 0] = sections[..., 3:].sum(axis=-1)  # gain 1 at 0 Hz
    state = np.zeros((5, 2, 2))
    out = np.empty_like(source)
    for start, block in zip(starts, sections, strict=True):
        stop = start + BLOCK
        out[:, start:stop], state = signal.sosfilt(block, source[:, start:stop], zi=state)
    return out


def _formant_tracks(voice: Voice, time_s: np.ndarray) -> np.ndarray:
    """Return the five formants [blocks, 5] in Hz at the blocks' middles."""
    glide = -0.5 * np.cos(np.pi * _place(voice, time_s)) * voice.formant_glide_semitones / 12
    glide -= glide.mean()
    mean_hz = np.array([voice.f1_hz, voice.f2_hz, voice.f3_hz, voice.f4_hz, voice.f5_hz])
    return mean_hz * 2 ** (glide[:, None] * np.array([-0.5, 1.0, 0.3, 0.0, 0.0]))


def _channel(voice: Voice, rng: np.random.Generator, n_fft: int) -> np.ndarray:
    """Frequency response of room and microphone: a slope, smooth bumps, a decaying tail of echoes."""
    octave = _octaves_of_1_khz(n_fft)
    knots = np.linspace(-4.5, 3.0, 9)
    bumps = voice.channel_ripple_db * rng.standard_normal(len(knots))
    colour_db = voice.channel_tilt_db_per_octave * octave + np.interp(octave, knots, bumps)

    n_tail = SAMPLE_RATE // 4
    t_s = np.arange(n_tail) / SAMPLE_RATE
    tail = rng.standard_normal(n_tail) * 10 ** (-3 * t_s / voice.reverb_s)
    tail[: SAMPLE_RATE // 200] = 0.0  # 5 ms before the first echo
    tail *= 10 ** (voice.reverb_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return np.exp(colour_db * (np.log(10) / 20)) * fft.rfft(tail, n_fft)


def _place(voice: Voice, t_s: np.ndarray) -> np.ndarray:
    """Where in the sound a time lies: 0 at its start, 1 at its end, held outside."""
    sound_s = voice.duration_s - voice.onset_s - voice.offset_s
    return np.clip((t_s - voice.onset_s) / sound_s, 0.0, 1.0)


def _slow_noise(rng: np.random.Generator, t_s: np.ndarray) -> np.ndarray:
    """Random curve of four sines between 0.4 and 3 Hz, standard deviation about 1."""
    rate_hz = 0.4 + 2.6 * rng.random(4)
    phase = rng.random(4)
    return np.sin(2 * np.pi * (np.outer(t_s, rate_hz) + phase)).sum(axis=1) / np.sqrt(2)


def _power(spectrum: np.ndarray) -> float:
    return float(np.sum(spectrum.real**2 + spectrum.imag**2))
