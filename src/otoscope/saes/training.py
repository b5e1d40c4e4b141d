"""Train a bank of sparse autoencoders: layers x configs x seeds, in one pass over the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from otoscope import compute
from otoscope.errors import InputError
from otoscope.saes.bank import Bank, Schedule
from otoscope.saes.base import SAEConfig, SparseAutoencoder
from otoscope.saes.data import Layer, Rows

SELECT_RULES = ("own", "paper")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


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
    data_seed: int = 0,
    select: str = "own",
    dtype: str = "float32",
    device: str = "auto",
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
        Number of each row's crop, from 0: epoch e then sees only crop ``e mod n_crops`` of each clip.
    epochs, batch_size, lr
        Passes over the rows, rows in a step, and Adam's learning rate (betas 0.9 and 0.999).
    warmup_steps, decay_fraction
        The learning rate rises linearly over the first steps and falls linearly to 0 over the last
        fraction of all steps.
    data_seed
        Seed of the order of the rows.
    select
        ``"own"``: as above. ``"paper"``: the published code's rule: the best epoch has the lowest mean squared error
        on the last validation batch, summed over all layers, which share it.
    dtype
        ``"float32"`` or ``"float64"``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    progress
        Show progress where stderr is a terminal.

    Returns
    -------
    list of SparseAutoencoder
        By layer, then config, then seed; each knows its ``layer``, ``config``, ``seed`` and ``history``
        (epoch, train_mse, validation_mse, dead_fraction, learning_rate, best).

    Raises
    ------
    InputError
        If rows are missing or not finite, or an option is out of range.
    """
    configs = [configs] if isinstance(configs, SAEConfig) else list(configs)
    _check(configs, seeds, epochs=epochs, batch_size=batch_size, lr=lr, select=select, dtype=dtype)
    target = compute.pick_device(device)
    train = Rows(activations, layers=layers, rows=rows)
    crop = _checked_crop(crop, rows, train.n_rows)
    held_out = None
    if validation is not None or validation_rows is not None:
        source = activations if validation is None else validation
        held_out = Rows(source, layers=train.layers, rows=validation_rows, what="validation")
        _check_widths(train, held_out)
    elif select == "paper":
        raise InputError('select="paper" needs validation rows')
    precision = DTYPES[dtype]
    train.to(target, precision)
    if held_out is not None:
        held_out.to(target, precision)

    bank = Bank(configs, {layer: train.width(layer) for layer in train.layers}, seeds, target, precision)
    n_rows = train.n_rows if crop is None else int(np.bincount(crop).max())
    schedule = Schedule(lr, epochs * -(-n_rows // batch_size), warmup_steps, decay_fraction)
    with compute.progress("training autoencoders", epochs, unit="epoch", show=progress) as bar:
        for epoch in range(epochs):
            for block in train.blocks(epoch, batch_size=batch_size, data_seed=data_seed, crop=crop):
                bank.train_block(block, batch_size, schedule)
            bank.end_epoch(held_out.arrays if held_out is not None else None, batch_size, select)
            bar.advance()
    return bank.finish()


def _check(configs: list[SAEConfig], seeds: Sequence[int], **options: Any) -> None:
    if not configs or not seeds:
        raise InputError("training needs at least one config and one seed")
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two configs are called {', '.join(twice)}; their folders would be the same")
    if len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must differ, got {list(seeds)}")
    for name in ("epochs", "batch_size", "lr"):
        if not options[name] > 0:
            raise InputError(f"{name} must be positive, got {options[name]}")
    if options["select"] not in SELECT_RULES:
        raise InputError(f"select must be one of {', '.join(SELECT_RULES)}, got '{options['select']}'")
    if options["dtype"] not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got '{options['dtype']}'")


def _check_widths(train: Rows, held_out: Rows) -> None:
    for layer in train.layers:
        if train.width(layer) != held_out.width(layer):
            raise InputError(
                f"layer {layer} has {train.width(layer)} features in training and {held_out.width(layer)} "
                "in validation: are they of one encoder?"
            )


def _checked_crop(crop: np.ndarray | None, rows: np.ndarray | None, n_rows: int) -> np.ndarray | None:
    if crop is None:
        return None
    crop = np.asarray(crop) if rows is None else np.asarray(crop)[rows]
    if len(crop) != n_rows:
        raise InputError(f"crop has {len(crop)} entries for {n_rows} training rows")
    return crop.astype(np.int64)
