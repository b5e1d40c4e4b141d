"""Train a bank of sparse autoencoders: layers x configs x seeds, in one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoscope import compute
from otoscope.errors import InputError
from otoscope.saes.base import SAEConfig, SparseAutoencoder
from otoscope.saes.training.bank import Bank
from otoscope.saes.training.checkpoint import Checkpoints, Position
from otoscope.saes.training.logs import TrainingLog
from otoscope.saes.training.normalise import Normaliser, fit_normalisers, fold
from otoscope.saes.training.rows import (
    ArrayRows,
    Layer,
    Source,
    StoreRows,
    as_mask,
    available_layers,
    read_arrays,
)
from otoscope.saes.training.stack import Schedule

SELECT_RULES = ("own", "paper")
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}
SAMPLE_ROWS = 65_536
"""Training rows shown to kinds that start from data."""


def train_saes(
    activations: Any,
    configs: SAEConfig | Sequence[SAEConfig],
    *,
    layers: Sequence[Layer] | None = None,
    seeds: Sequence[int] = (0,),
    validation: Any = None,
    rows: np.ndarray | None = None,
    validation_rows: np.ndarray | None = None,
    crop: np.ndarray | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    lr: float = 1e-3,
    warmup_steps: int = 0,
    decay_fraction: float = 0.0,
    normalise: str = "none",
    data_seed: int = 0,
    select: str = "own",
    dtype: str = "float32",
    device: str = "auto",
    memory_gb: float = 4.0,
    checkpoint: str | Path | None = None,
    checkpoint_every_s: float = 60.0,
    log: str | Path | None = None,
    progress: bool = True,
) -> list[SparseAutoencoder]:
    """Train an autoencoder for every layer, config and seed.

    All of them see the same batches in the same order. Each is as it was after its best epoch: the one
    with the lowest mean squared error over all validation rows; without validation rows, the last.

    Parameters
    ----------
    activations
        ``{layer: array [rows, width]}`` or an activations store.
    configs
        Architectures, e.g. ``TopKConfig(n_latents=2048, sparsity=0.95)``.
    layers
        Layers to train on; all that `activations` has by default.
    seeds
        Seeds of the initialisation.
    validation
        Like `activations`; default: `activations` itself if `validation_rows` is given, else none.
    rows, validation_rows
        Which rows to use, a boolean mask or indices; all by default.
    crop : [rows], optional
        Number of each row's crop, from 0, for all rows of `activations`: epoch e then sees only crop
        ``e mod n_crops`` of each clip.
    epochs, batch_size, lr
        Passes over the rows, rows in a step, and Adam's learning rate (betas 0.9 and 0.999).
    warmup_steps, decay_fraction
        The learning rate rises linearly over the first steps and falls linearly to 0 over the last
        fraction of all steps.
    normalise
        ``"none"``, ``"center"``, ``"scale"`` or ``"whiten"``, estimated on the training rows. Training and its history
        see normalised rows; the autoencoders returned read and write raw ones.
    data_seed
        Seed of the order of the rows.
    select
        ``"own"``: as above. ``"paper"``: the published code's rule: the best epoch has the lowest mean squared error
        on the last validation batch, summed over all layers, which share it.
    dtype
        ``"float32"``, ``"float64"``, or ``"bf16"``: products in bfloat16, weights in float32.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    memory_gb
        A store whose wanted layers are larger than this is streamed: chunks in random order, rows shuffled within a
        buffer of 65,536 rows.
    checkpoint, checkpoint_every_s
        Folder for a checkpoint and the time between two. The same call on the same folder goes on from it and
        ends with the same numbers to the last bit.
    log
        Folder for ``training.csv`` (a row per epoch and autoencoder) and, where tensorboard is installed, its events.
    progress
        Show progress where stderr is a terminal.

    Returns
    -------
    list of SparseAutoencoder
        By layer, then config, then seed; each knows its ``layer``, ``config``, ``seed`` and ``history`` (epoch,
        train_mse, validation_mse, validation_fvu, l0, dead_fraction, dense_fraction, learning_rate, best).

    Raises
    ------
    InputError
        If rows are missing or not finite, or an option is out of range.
    ProvenanceError
        If the checkpoint belongs to other settings or data.
    """
    settings = {
        name: value
        for name, value in locals().items()
        if name in {"epochs", "batch_size", "lr", "warmup_steps", "decay_fraction", "normalise", "data_seed"}
        or name in {"select", "dtype"}
    }
    configs = [configs] if isinstance(configs, SAEConfig) else list(configs)
    _check(configs, seeds, settings)
    place = _Place(compute.pick_device(device), DTYPES[dtype], memory_gb)
    wanted = available_layers(activations, layers, "training")
    train = place.source(activations, wanted, rows, "training", crop)
    held_out = None
    if validation is not None or validation_rows is not None:
        source = activations if validation is None else validation
        available_layers(source, wanted, "validation")
        held_out = place.source(source, wanted, validation_rows, "validation")
        _check_widths(train, held_out)
    elif select == "paper":
        raise InputError('select="paper" needs validation rows')
    if dtype == "bf16":
        _check_bf16(place.device)

    change = _Change({} if normalise == "none" else fit_normalisers(normalise, train.in_order()))
    sample = change(next(iter(train.blocks(0, batch_size=batch_size, data_seed=data_seed))))
    sample = {layer: values[:SAMPLE_ROWS] for layer, values in sample.items()}
    bank = Bank(configs, sample, seeds, dtype=DTYPES[dtype], half=dtype == "bf16")
    per_epoch = train.n_rows if crop is None else _largest_crop(train)
    schedule = Schedule(lr, epochs * -(-per_epoch // batch_size), warmup_steps, decay_fraction)
    options = dict(settings)
    settings |= {
        "configs": [{"kind": config.kind, **config.to_dict()} for config in configs],
        "layers": wanted,
        "seeds": list(seeds),
        "data": train.fingerprint() if checkpoint is not None else "",
        "validation": held_out.fingerprint() if held_out is not None and checkpoint is not None else "",
    }
    checkpoints = Checkpoints(checkpoint, settings, checkpoint_every_s)
    start = checkpoints.restore(bank)
    last_batch = (
        _last_batch(held_out, batch_size, change) if select == "paper" and held_out is not None else None
    )
    with (
        TrainingLog(log) as history,
        compute.progress("training autoencoders", epochs, unit="epoch", show=progress) as bar,
    ):
        bar.advance(start.epoch)
        try:
            for epoch in range(start.epoch, epochs):
                blocks = train.blocks(epoch, batch_size=batch_size, data_seed=data_seed)
                for index, block in enumerate(blocks):
                    if Position(epoch, index) < start:
                        continue
                    bank.train_block(change(block), batch_size, schedule)
                    checkpoints.save(bank, Position(epoch, index + 1))
                if held_out is not None:
                    bank.validate(change(block) for block in held_out.in_order())
                bank.end_epoch(validated=held_out is not None, last_batch=last_batch)
                checkpoints.save(bank, Position(epoch + 1), now=epoch + 1 == epochs)
                history.write(bank.stacks)
                bar.advance()
        finally:
            bank.close()
    saes = bank.finish()
    for sae in saes:
        sae.about = {
            "training": {**options, "rows": train.n_rows},
            "activations": dict(getattr(activations, "provenance", {})),
        }
    return [fold(sae, change.by_layer[sae.layer]) if change.by_layer else sae for sae in saes]


@dataclass
class _Change:
    """What happens to a block between reading and training."""

    by_layer: Mapping[Any, Normaliser]

    def __call__(self, block: dict[Layer, Tensor]) -> dict[Layer, Tensor]:
        if not self.by_layer:
            return block
        return {layer: self.by_layer[layer](rows) for layer, rows in block.items()}


@dataclass
class _Place:
    """Where rows go: the device, the precision, and how much memory they may take."""

    device: torch.device
    dtype: torch.dtype
    memory_gb: float

    def source(
        self,
        activations: Any,
        layers: list[Layer],
        rows: np.ndarray | None,
        what: str,
        crop: np.ndarray | None = None,
    ) -> Source:
        kept = as_mask(rows, activations, layers)
        if self._too_large(activations, layers) and crop is None:
            if len(activations.rows) == 0:
                raise InputError(f"the {what} store has no rows")
            return StoreRows(activations, layers, kept, self.move, what)
        arrays = read_arrays(activations, layers, kept, what)
        arrays = {layer: self.move(array) for layer, array in arrays.items()}
        if crop is not None:
            crop = np.asarray(crop, dtype=np.int64)
            crop = crop if kept is None else crop[kept]
        return ArrayRows(arrays, crop)

    def move(self, rows: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(rows).to(self.device, self.dtype)

    def _too_large(self, activations: Any, layers: list[Layer]) -> bool:
        if isinstance(activations, Mapping):
            return False
        n_features = sum(int(activations.widths[layer]) for layer in layers)
        return len(activations.rows) * n_features * 4 > self.memory_gb * 1e9


def _check(configs: list[SAEConfig], seeds: Sequence[int], settings: dict[str, Any]) -> None:
    if not configs or not seeds:
        raise InputError("training needs at least one config and one seed")
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two configs are called {', '.join(twice)}; their folders would be the same")
    if len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must differ, got {list(seeds)}")
    for name in ("epochs", "batch_size", "lr"):
        if not settings[name] > 0:
            raise InputError(f"{name} must be positive, got {settings[name]}")
    if settings["warmup_steps"] < 0 or not 0 <= settings["decay_fraction"] <= 1:
        raise InputError("warmup_steps must be at least 0 and decay_fraction a fraction")
    if settings["select"] not in SELECT_RULES:
        raise InputError(f"select must be one of {', '.join(SELECT_RULES)}, got '{settings['select']}'")
    if settings["dtype"] not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got '{settings['dtype']}'")


def _check_widths(train: Source, held_out: Source) -> None:
    for layer in train.layers:
        if train.width(layer) != held_out.width(layer):
            raise InputError(
                f"layer {layer} has {train.width(layer)} features in training and {held_out.width(layer)} "
                "in validation: are they of one encoder?"
            )


def _check_bf16(device: torch.device) -> None:
    has_it = {"cpu": lambda: torch.cpu._is_avx512_bf16_supported(), "cuda": torch.cuda.is_bf16_supported}
    if device.type in has_it and not has_it[device.type]():
        raise InputError(f'this {device.type} has no bfloat16 instructions: train with dtype="float32"')


def _last_batch(held_out: Source, batch_size: int, change: _Change) -> dict[Layer, Tensor]:
    """Return the last of the batches that validation rows fall into."""
    start = (held_out.n_rows - 1) // batch_size * batch_size
    if not isinstance(held_out, ArrayRows):
        raise InputError('select="paper" reads validation rows whole: raise memory_gb')
    return change({layer: rows[start:] for layer, rows in held_out.arrays.items()})


def _largest_crop(train: Source) -> int:
    assert isinstance(train, ArrayRows)
    assert train.crop is not None
    return int(np.bincount(train.crop).max())
