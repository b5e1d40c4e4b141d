"""What a run will take, said before it starts: downloads, disk, memory. What is not known is left out.

Sizes follow from the spec, the clips and the shapes of the models.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from otoscope import hub
from otoscope.activations.crops import cut, parse_crop
from otoscope.compute import cpu_count, free_memory
from otoscope.encoders.short_names import ENCODERS, SETTINGS, WEIGHTS, Hub, Mini
from otoscope.errors import InputError, ModelError
from otoscope.experiment.latents_folder import tables_bytes
from otoscope.experiment.roles import store_plans
from otoscope.experiment.spec import ROW_PER_CROP, EncoderSpec, Spec
from otoscope.experiment.stages.views import BLOCK_ROWS
from otoscope.files import read_mapping

LIBRARY_BYTES = 500_000_000
"""Of memory, once all libraries are imported (measured on Linux)."""
NUMBERS_PER_WEIGHT = 6
"""In training, per weight of an autoencoder: itself, its gradient, Adam's two moments, the best so far, and a copy."""
NUMBERS_PER_WEIGHT_KEPT = 4
"""In a checkpoint: the weight, Adam's two moments, the best so far."""
BYTES_PER_SHOWN_SECOND = 6_200
"""Of a clip in the explorer: 4,500 of MP3, 1,700 of its spectrogram."""

FASTEST_HZ = 75.0
"""Frames per second that are reckoned with where a model's folder does not tell: no built-in model has more."""
READ_WHOLE_BYTES = 4_000_000_000
"""Of the studied layers' frames, up to which training reads them whole (`otoscope.saes.train_saes`, memory_gb)."""
TRAIN_BLOCK_ROWS = 65_536
"""Rows that training gathers or streams at a time."""
BLOCKS_HELD = 4
"""Of these, beside frames that are read whole: as read, normalised, and some that latents are revived from; measured.
Of frames that are streamed one more, that is read ahead."""
BLOCK_NUMBERS_HELD = 3
"""In double precision, per number of a block of rows and of its codes, where a random projection is measured (2.6 to
3.0, of widths of 256 to 2,048 and 256 to 8,192 latents; trained codes take half, PCA of a wide layer a third more)."""


class Shape(NamedTuple):
    """Blocks, width and bytes of weights of an encoder, on disk, where each takes `weight_size` bytes; its frames, and
    how many bands each has."""

    n_blocks: int
    width: int
    weight_bytes: int
    weight_size: int = 4
    frame_rate_hz: float = FASTEST_HZ
    n_bands: int = 1

    def row_rate_hz(self, rows: str) -> float:
        """Return how many rows dictionaries learn from in a second."""
        return self.frame_rate_hz * (self.n_bands if rows == "tokens" else 1)


PUBLISHED = {
    "MIT/ast-finetuned-audioset-10-10-0.4593": Shape(12, 768, 346_000_000, frame_rate_hz=10.0, n_bands=12),
    "facebook/hubert-base-ls960": Shape(12, 768, 378_000_000, frame_rate_hz=50.0),
    "microsoft/wavlm-base-plus": Shape(12, 768, 378_000_000, frame_rate_hz=50.0),
    "m-a-p/MERT-v1-95M": Shape(12, 768, 378_000_000, frame_rate_hz=75.0),
    "m-a-p/MERT-v2-30s": Shape(24, 1024, 2_530_000_000, frame_rate_hz=25.0),
    "m-a-p/MERT-v2-FullSong": Shape(24, 1024, 2_530_000_000, frame_rate_hz=25.0),
    "OpenMuQ/MuQ-large-msd-iter": Shape(12, 1024, 1_270_000_000, frame_rate_hz=25.0),
    "worstchan/EAT-base_epoch30_pretrain": Shape(12, 768, 360_000_000, frame_rate_hz=6.25, n_bands=8),
    "mispeech/dasheng-base": Shape(12, 768, 342_000_000, frame_rate_hz=25.0),
    "gaunernst/vit_base_patch16_1024_128.audiomae_as2m": Shape(
        12, 768, 343_000_000, frame_rate_hz=6.25, n_bands=8
    ),
}
"""Bytes are about those listed at huggingface.co, or follow from the weights (the MERTs, MuQ, AudioMAE)."""


@dataclass(frozen=True)
class Needs:
    """What a run will take.

    Attributes
    ----------
    downloads : dict of str to int or None
        Hub models that are not in the cache, and about how many bytes where that is known.
    disk, memory : dict of str to int
        Bytes by what they are for. All of `disk` lies there together; of `memory` the largest counts, beside the
        libraries. Memory is the least it takes: how much a pass of the model or a probe needs meanwhile is not known.
    free_disk, free_memory : int or None
        Bytes; None where the system does not say.
    out : str
        The run's directory.
    unknown : list of str
        Encoders that are left out of disk and memory, since their shape is not known before they are loaded.
    """

    downloads: dict[str, int | None]
    disk: dict[str, int]
    memory: dict[str, int]
    free_disk: int
    free_memory: int | None
    out: str
    unknown: list[str]

    def lines(self) -> list[str]:
        """Return a line on each, and a warning where this machine has hardly enough."""
        said = []
        if self.downloads:
            models = [
                f"{name} (about {_size(size)})" if size else name for name, size in self.downloads.items()
            ]
            said.append(f"downloads: {', '.join(models)}, to the Hugging Face cache")
        if self.disk:
            free = f"{_size(self.free_disk)} free at {self.out}"
            said.append(f"disk: about {_size(sum(self.disk.values()))} ({_listed(self.disk)}); {free}")
        if self.memory:
            most = max(self.memory, key=self.memory.__getitem__)
            free = f"; {_size(self.free_memory)} available" if self.free_memory is not None else ""
            in_all = _size(LIBRARY_BYTES + self.memory[most])
            said.append(f"memory: at least {in_all}, for the libraries and {most}{free}")
        if self.unknown:
            said.append(f"not counted, as not known before it is loaded: {', '.join(self.unknown)}")
        if sum(self.disk.values()) > 0.8 * self.free_disk:
            said.append("warning: the disk will be almost full; --out takes another one")
        least = LIBRARY_BYTES + max(self.memory.values(), default=0)
        if self.free_memory is not None and least > self.free_memory:
            said.append("warning: this is more memory than is available; fewer layers or latents need less")
        return said


def needs(spec: Spec, clips: pd.DataFrame, *, out: str | os.PathLike) -> Needs:
    """Return what a run of `spec` on `clips` will take.

    Parameters
    ----------
    spec : Spec
    clips : DataFrame
        The clips table of its data set.
    out : str or Path
        The run's directory. What lies there already counts as room.

    Raises
    ------
    InputError
        If the disk certainly cannot hold the run.
    """
    downloads: dict[str, int | None] = {}
    disk: dict[str, int] = {}
    memory: dict[str, int] = {}
    unknown: list[str] = []
    certain, checkpoints = 0, []
    for encoder in spec.encoders:
        repo, folder = _place(encoder)
        shape = _shape(folder) if folder is not None else PUBLISHED.get(repo or "")
        if repo is not None and folder is None:
            downloads[repo] = shape.weight_bytes if shape is not None else None
        a_row_per_crop = spec.extraction.pool in ROW_PER_CROP  # how many others give, only the model knows
        if shape is None or not a_row_per_crop:
            unknown.append(encoder.name)
            continue
        stores = store_sizes(spec, encoder, clips)
        certain += _fewest_layers(encoder) * layer_bytes(spec, shape.width)
        for what, size in _disk(spec, encoder, shape, stores).items():
            disk[what] = disk.get(what, 0) + size
        size = layer_bytes(spec, shape.width)
        checkpoints.append(NUMBERS_PER_WEIGHT_KEPT * _trained_together(spec, encoder) * size)
        for what, size in _memory(spec, encoder, shape, stores).items():
            memory[what] = max(memory.get(what, 0), size)
    if disk:  # one bank's at a time
        disk["a checkpoint"] = max(checkpoints)
    root = Path(out).absolute()
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists())).free + _bytes_in(root)
    if disk.get("activations", 0) + disk.get("frames", 0) + certain > free:
        raise InputError(
            f"this run needs about {_size(sum(disk.values()))} of disk ({_listed(disk)}), and there is room for "
            f"{_size(free)} at {out}: choose another disk with --out, or halve the activations with --set "
            "extraction.dtype=float16"
        )
    return Needs(downloads, disk, memory, free, free_memory(), str(out), unknown)


def store_sizes(spec: Spec, encoder: EncoderSpec, clips: pd.DataFrame) -> pd.DataFrame:
    """Return ``crop, roles, crops, sound_s``: a row per store, that is per way in which clips are cut."""
    rows = []
    for plan in store_plans(spec, encoder):
        crops = cut(clips[clips.split.isin(plan.splits)], parse_crop(plan.crop))
        rows.append((plan.crop, " ".join(plan.roles), len(crops), float(crops.given_s.sum())))
    return pd.DataFrame(rows, columns=["crop", "roles", "crops", "sound_s"])


def layer_bytes(spec: Spec, width: int) -> int:
    """Return the bytes of the autoencoders of one layer: encoder and decoder matrices, and a bias per latent."""
    return sum(
        4 * len(section.configs()) * len(section.seeds) * (2 * width + 1) * section.n_latents
        for section in spec.saes
    )


def _disk(spec: Spec, encoder: EncoderSpec, shape: Shape, stores: pd.DataFrame) -> dict[str, int]:
    beside = np.where(stores.roles == "measure", 0, len(spec.beside))
    numbers = int((stores.crops * (shape.n_blocks + 1 + beside)).sum()) * shape.width
    n_bytes = 2 if spec.extraction.dtype == "float16" else 4
    found = {
        "activations": n_bytes * numbers,
        "autoencoders": len(encoder.layers) * layer_bytes(spec, shape.width),
    }
    if spec.on_frames:
        found["frames"] = n_bytes * _frame_numbers(spec, encoder, shape, float(stores.sound_s.sum()))
    if spec.latents.describe != "none":
        found |= _described(spec, encoder, shape, stores[stores.roles.str.contains("measure")].iloc[0])
    return found


def _described(spec: Spec, encoder: EncoderSpec, shape: Shape, measured: pd.Series) -> dict[str, int]:
    """Return the bytes of the tables of latents and of an explorer, at most: as if every clip were shown."""
    n_clips = int(measured.crops)
    frames = (
        float(measured.sound_s) / n_clips * shape.row_rate_hz(spec.saes[0].rows) if spec.on_frames else 0.0
    )
    wanted = spec.disentanglement.null_sparsity
    sizes = []
    for section in spec.saes:
        of_all = spec.latents.describe == "all"
        nearest = min(section.sparsities, key=lambda s: abs(s - wanted), default=wanted)
        for sparsity in section.sparsities if of_all else [nearest]:
            seeds, k = len(section.seeds) if of_all else 1, section.n_latents * (1 - sparsity)
            sizes.append(seeds * tables_bytes(section.n_latents, k, n_clips, frames))
    tables = len(encoder.layers) * (sum(sizes) if spec.latents.describe == "all" else max(sizes))
    return {"latents": tables, "explorer": tables + int(BYTES_PER_SHOWN_SECOND * measured.sound_s)}


def _frame_numbers(spec: Spec, encoder: EncoderSpec, shape: Shape, sound_s: float) -> int:
    """Return how many numbers the frames of the studied layers hold."""
    n_rows = int(sound_s * shape.row_rate_hz(spec.saes[0].rows))
    return n_rows * (len(encoder.layers) + len(spec.beside)) * shape.width


def _trained_together(spec: Spec, encoder: EncoderSpec) -> int:
    """Return how many layers one bank trains: each its own, unless they share an epoch."""
    shared = any(section.select == "paper" for section in spec.saes)
    return len(encoder.layers) + len(spec.beside) if shared else 1


def _fewest_layers(encoder: EncoderSpec) -> int:
    """Return how many layers are studied at least: "best" and "last" may turn out to be others that are named."""
    return max(len({layer for layer in encoder.layers if isinstance(layer, int)}), 1)


def _memory(spec: Spec, encoder: EncoderSpec, shape: Shape, stores: pd.DataFrame) -> dict[str, int]:
    n_layers = _trained_together(spec, encoder)
    probed = int(stores.crops[stores.roles.str.contains("train|evaluate")].sum())
    float32_bytes = 4 * shape.weight_bytes // shape.weight_size
    found = {
        "the encoder": 2 * float32_bytes,  # once more as the kernels want them
        "probing all layers": 4 * probed * (shape.n_blocks + 1) * shape.width,
        "training autoencoders": NUMBERS_PER_WEIGHT * n_layers * layer_bytes(spec, shape.width),
    }
    if spec.on_frames:
        learnt_s = float(stores.sound_s[stores.roles.str.contains("train|evaluate")].sum())
        n_rows = int(learnt_s * shape.row_rate_hz(spec.saes[0].rows))
        row = 4 * n_layers * shape.width
        block, whole = min(n_rows, TRAIN_BLOCK_ROWS) * row, n_rows * row
        found["training autoencoders"] += BLOCKS_HELD * block + (
            whole if whole <= READ_WHOLE_BYTES else block
        )
        width = shape.width + max(section.n_latents for section in spec.saes)
        found["measuring frames"] = cpu_count() * 8 * BLOCK_NUMBERS_HELD * min(n_rows, BLOCK_ROWS) * width
    return found


def _place(encoder: EncoderSpec) -> tuple[str | None, Path | None]:
    """Return a hub model's id, and the folder of a model that is on this machine."""
    entry = ENCODERS.get(encoder.name) if encoder.name in ENCODERS else None
    if isinstance(entry, Mini):
        return None, Path(str(resources.files("otoscope.encoders") / "mini"))
    if entry is None and os.path.isdir(Path(encoder.name).expanduser()):
        return None, Path(encoder.name).expanduser()
    repo = entry.repo_id if isinstance(entry, Hub) else encoder.name
    if (entry is not None and not isinstance(entry, Hub)) or repo.count("/") != 1:
        return None, None  # of another package, or a wrong name: loading it says more
    return repo, hub.cached(repo, SETTINGS, one_of=WEIGHTS, revision=encoder.revision)


def _shape(folder: Path) -> Shape | None:
    """Return the shape of a model's folder, None if its configuration does not tell."""
    from otoscope.encoders.written import outline

    try:
        config = read_mapping(folder / "config.json")
        fitting = outline(folder)
    except (InputError, ModelError):  # loading it says more
        return None
    weight_size = 2 if config.get("dtype", config.get("torch_dtype")) in ("float16", "bfloat16") else 4
    n_bytes = sum(file.stat().st_size for file in _weight_files(folder))
    if fitting is not None:
        grid = fitting.grid(fitting.max_samples or fitting.min_samples, 0, None)
        n_bands = max(int(grid.band.max(initial=-1)) + 1, 1)
        widest = max(fitting.widths.values())
        return Shape(len(fitting.taps) - 1, widest, n_bytes, weight_size, 1 / grid.hop_s, n_bands)
    width = config.get("hidden_size", config.get("d_model"))
    n_blocks = config.get("num_hidden_layers", config.get("encoder_layers"))
    if not isinstance(width, int) or not isinstance(n_blocks, int):
        return None
    return Shape(n_blocks, width, n_bytes, weight_size, _frame_rate_hz(folder, config), _n_bands(config))


def _n_bands(config: dict) -> int:
    """Return how many patches of frequency a frame has: AST's, as its configuration says, else one."""
    n_mels, patch, stride = (config.get(key, 0) for key in ("num_mel_bins", "patch_size", "frequency_stride"))
    if not all(isinstance(number, int) and number > 0 for number in (n_mels, patch, stride)):
        return 1
    return max((n_mels - patch) // stride + 1, 1)


def _frame_rate_hz(folder: Path, config: dict) -> float:
    """Return a model's frames per second: as its convolutions stride over samples, or the most that is usual."""
    strides = config.get("conv_stride")
    if not isinstance(strides, list) or not all(isinstance(stride, int) and stride > 0 for stride in strides):
        return FASTEST_HZ
    try:
        rate = read_mapping(folder / "preprocessor_config.json").get("sampling_rate", 16_000)
    except InputError:  # loading the model says more
        rate = 16_000
    return float(rate) / float(np.prod(strides)) if isinstance(rate, int | float) else FASTEST_HZ


def _weight_files(folder: Path) -> list[Path]:
    return next((files for kind in WEIGHTS if (files := list(folder.glob(kind)))), [])


def _bytes_in(folder: Path) -> int:
    """Return the bytes below a folder, of the files that are its own."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{what} {_size(size)}" for what, size in sizes.items())


def _size(n_bytes: int) -> str:
    """Write bytes as people do: 378 MB, 2.1 GB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= 0.9995 * factor:
            return f"{n_bytes / factor:.{1 if unit == 'GB' else 0}f} {unit}"
    return f"{n_bytes} B"
