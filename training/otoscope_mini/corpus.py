"""The pretraining corpus: clips of the pretraining pool, rendered once, and batches of equal crops drawn from them."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import lfilter
from settings import Settings
from targets import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE, n_frames

from otoscope.datasets.synthsing import Voice, plan_clips, render, voice_of

_FULL_SCALE = 32_767


@dataclass(frozen=True)
class Corpus:
    """All clips end to end. `first_sample` and `first_frame` have one entry more than there are clips."""

    audio: np.ndarray
    """[all samples] int16, a memory map; each clip fills its range (peak at full scale)."""
    first_sample: np.ndarray
    first_frame: np.ndarray

    def __len__(self) -> int:
        return len(self.first_sample) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        """The clips one by one, float32 in [-1, 1]."""
        for start, stop in zip(self.first_sample[:-1], self.first_sample[1:], strict=True):
            yield self.audio[start:stop].astype(np.float32) / _FULL_SCALE

    @property
    def duration_s(self) -> float:
        return len(self.audio) / SAMPLE_RATE


def make_corpus(folder: Path, settings: Settings, *, processes: int) -> Corpus:
    """Render the pool's singers (50 clips each) under `folder`, or open what was rendered before."""
    audio_path, table_path = folder / "audio.npy", folder / "first_sample.npy"
    if not table_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        plan = plan_clips(seed=settings.seed, n_singers=settings.n_singers, pool="pretraining")
        voices = [voice_of(row) for _, row in plan.iterrows()]
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            clips = pool.map(_render, voices, chunksize=16)
        np.save(audio_path, np.concatenate(clips))
        np.save(table_path, np.cumsum([0, *map(len, clips)]))  # last: its presence says that all is written
    first_sample = np.load(table_path)
    first_frame = np.cumsum([0, *(n_frames(n) for n in np.diff(first_sample))])
    return Corpus(np.load(audio_path, mmap_mode="r"), first_sample, first_frame)


def draw_batch(
    corpus: Corpus, units: dict[str, np.ndarray], settings: Settings, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Crops of one length, with the units of their frames.

    Noise and other clips are mixed into the crops, never into what the units were made from, so the model also learns
    to hear through them (WavLM, Chen et al. 2022). Levels play no role: each crop is brought to zero mean and unit
    variance, as `Wav2Vec2FeatureExtractor` does for HuBERT.

    Returns
    -------
    waveforms : np.ndarray
        [crops, samples] float32.
    targets : dict
        Set of units -> [crops, frames] int64.
    """
    frames = n_frames(round(float(rng.choice(settings.crop_s)) * SAMPLE_RATE) + FRAME_SAMPLES - HOP_SAMPLES)
    n_samples = frames * HOP_SAMPLES + FRAME_SAMPLES - HOP_SAMPLES
    n_crops = max(1, round(settings.batch_audio_s * SAMPLE_RATE / n_samples))
    clip_frames = np.diff(corpus.first_frame)
    long_enough = np.flatnonzero(clip_frames >= frames)
    waveforms, first_frames = [], []
    for clip in rng.choice(long_enough, n_crops):
        offset = rng.integers(0, clip_frames[clip] - frames + 1)
        start = corpus.first_sample[clip] + offset * HOP_SAMPLES
        waveforms.append(
            corpus.audio[start : start + n_samples].astype(np.float32) * np.float32(rng.choice([-1, 1]))
        )
        first_frames.append(corpus.first_frame[clip] + offset)
    batch = _disturb(normalise(np.stack(waveforms)), settings, rng)
    at = np.array(first_frames)[:, None] + np.arange(frames)
    return normalise(batch), {name: all_units[at].astype(np.int64) for name, all_units in units.items()}


def normalise(waveforms: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the last axis."""
    centred = waveforms - waveforms.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(centred.var(axis=-1, keepdims=True) + 1e-7)


def _disturb(waveforms: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    n = len(waveforms)
    others = np.roll(waveforms, 1, axis=0)
    noise = rng.standard_normal(waveforms.shape, dtype=np.float32)
    duller = rng.random(n) < 0.5  # half of the noises fall by 6 dB an octave over most of the band
    noise[duller] = normalise(_one_pole(noise[duller]))
    mixed = waveforms + _gain(rng, n, settings.mix_share, settings.mix_snr_db) * others
    return mixed + _gain(rng, n, settings.noise_share, settings.noise_snr_db) * noise


def _gain(rng: np.random.Generator, n: int, share: float, snr_db: tuple[float, float]) -> np.ndarray:
    gain = 10 ** (-rng.uniform(*snr_db, n) / 20) * (rng.random(n) < share)
    return gain[:, None].astype(np.float32)


def _one_pole(noise: np.ndarray) -> np.ndarray:
    return lfilter([1.0], [1.0, -0.9], noise, axis=-1).astype(np.float32)


def _render(voice: Voice) -> np.ndarray:
    waveform = render(voice)
    return np.round(waveform * (_FULL_SCALE / np.abs(waveform).max())).astype(np.int16)
