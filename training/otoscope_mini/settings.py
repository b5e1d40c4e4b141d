"""Every number of the recipe, in one place. Each field is an option of `train.py` (`n_singers` is `--n-singers`)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The defaults are those that made the packaged `otoscope-mini`."""

    seed: int = 20
    # corpus
    n_singers: int = 120
    """Singers of synthsing's pretraining pool, 50 clips (about 100 s) each; no data set uses that pool."""
    # model: HuBERT-base's shape, smaller
    width: int = 192
    ffn_width: int = 768
    n_blocks: int = 4
    n_heads: int = 6
    stem_width: int = 128
    position_kernel: int = 128
    position_groups: int = 16
    # acoustic units
    timbre_units: int = 200
    pitch_units: int = 100
    movement_units: int = 200
    phrase_units: int = 200
    """Predicted from the second stage on, beside the other three."""
    fit_frames: int = 150_000
    """Frames, drawn from the whole corpus, on which k-means is fitted."""
    # masked prediction
    steps: tuple[int, ...] = (1750, 1250)
    """Optimiser steps of each stage, under one schedule of the learning rate."""
    batch_audio_s: float = 12.0
    """Seconds of audio in a batch: fewer crops where the crops are longer."""
    crop_s: tuple[float, ...] = (1.0, 1.5, 2.0)
    """Each step draws one of these lengths; all crops of a step are equally long (no padding)."""
    mask_share: float = 0.5
    """Expected share of masked frames."""
    mask_span: int = 10
    """Frames (of 20 ms) in a masked span."""
    unmasked_weight: float = 0.5
    """Weight of an unmasked frame's cross-entropy; a masked frame's is 1."""
    code_width: int = 64
    temperature: float = 0.1
    # optimiser
    learning_rate: float = 1e-3
    matrix_learning_rate: float = 2e-3
    """Muon's, for dense and convolution weights; AdamW takes the other one."""
    weight_decay: float = 0.01
    warmup_share: float = 0.03
    clip_norm: float = 1.0
    # augmentation: the input only; targets are those of the clean clip
    noise_share: float = 0.4
    noise_snr_db: tuple[float, float] = (8.0, 40.0)
    mix_share: float = 0.2
    mix_snr_db: tuple[float, float] = (3.0, 15.0)
    # running (numerics and looks; how many threads is an option of the call)
    bfloat16: bool = True
    log_every: int = 50
    check_every: int = 700
    """Steps between looks at the validation singers; 0: never."""
    probe_singers: int = 20
    """Singers of the data set that is probed."""
    checkpoint_every: int = 350
