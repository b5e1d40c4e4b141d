"""Train a bank of sparse autoencoders: layers x configs x seeds, in one pass over the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from otoscope import compute
from otoscope.errors import InputError
from otoscope.saes.base import SparseAutoencoder
from otoscope.saes.config import SAEConfig
from otoscope.saes.registry import SAES
from otoscope.saes.training.alive import REVIVE_UNTIL
from otoscope.saes.training.bank import Bank
from otoscope.saes.training.checkpoint import Checkpoints, Position
from otoscope.saes.training.logs import TrainingLog
from otoscope.saes.training.normalise import (
    Normaliser,
    can_fold,
    check_foldable,
    fit_normalisers,
    fold,
    with_decoder_bias,
)
from otoscope.saes.training.options import TrainingOptions
from otoscope.saes.training.rows import (
    BLOCK_ROWS,
    ArrayRows,
    Layer,
    Source,
    StoreRows,
    as_mask,
    available_layers,
    follows_of,
    n_rows_of,
    read_arrays,
)
from otoscope.saes.training.stack import Schedule

TORCH_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bf16": torch.float32}


def train_saes(
    activations: Any,
    configs: SAEConfig | Sequence[SAEConfig],
    *,
    layers: Sequence[Layer] | None = None,
    seeds: Sequence[int] = (0,),
    rows: np.ndarray | None = None,
    crop: np.ndarray | None = None,
    sequence: np.ndarray | None = None,
    validation: Any = None,
    validation_rows: np.ndarray | None = None,
    options: TrainingOptions | None = None,
    device: str = "auto",
    memory_gb: float = 4.0,
    checkpoint: str | Path | None = None,
    checkpoint_every_s: float = 60.0,
    log: str | Path | None = None,
    progress: bool = True,
    **changes: Any,
) -> list[SparseAutoencoder]:
    """Train an autoencoder for every layer, config and seed.

    All of them see the same batches in the same order. Each is as it was after its best epoch (see
    `TrainingOptions.select`).

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
    rows : [some] of int or [rows] of bool, optional
        Which rows to learn from; all by default.
    crop : [rows], optional
        Number of each row's crop, from 0, for all rows of `activations`: epoch e then sees only crop
        ``e mod n_crops`` of each clip.
    sequence : [rows], optional
        Which sound each row of arrays is of, its rows in order of time: for kinds that learn from neighbouring frames
        (a store of frames knows it).
    validation
        Like `activations`; default: `activations` itself if `validation_rows` is given, else none.
    validation_rows : [some] of int or [rows] of bool, optional
        Which rows to validate on; all of `validation` by default.
    options
        How to train; the defaults of :class:`TrainingOptions` if not given.
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
    **changes
        Changes to `options` by name: ``train_saes(store, config, epochs=20)``.

    Returns
    -------
    list of SparseAutoencoder
        By layer, then config, then seed; each knows its ``layer``, ``config``, ``seed`` and ``history`` (epoch,
        train_mse, validation_mse, validation_fvu, l0, dead_fraction, dense_fraction, learning_rate, best).

    Raises
    ------
    InputError
        If rows are missing or not finite, or an option is out of range or unknown.
    ProvenanceError
        If the checkpoint belongs to other settings or data.

    Examples
    --------
    >>> import numpy as np
    >>> from otoscope.saes import TopKConfig
    >>> rows = np.random.default_rng(0).standard_normal((256, 8)).astype(np.float32)
    >>> configs = [TopKConfig(n_latents=32, sparsity=0.75), TopKConfig(n_latents=32, sparsity=0.875)]
    >>> [sae.name for sae in train_saes({3: rows}, configs, epochs=2, progress=False)]
    ['topk-32-s0.75-seed0', 'topk-32-s0.875-seed0']
    """
    options = (options or TrainingOptions()).changed(**changes)
    configs = [configs] if isinstance(configs, SAEConfig) else list(configs)
    _check_bank(configs, seeds)
    place = _Place(compute.pick_device(device), TORCH_DTYPES[options.precision], memory_gb)
    wanted = available_layers(activations, layers, "training")
    _check_memory(activations, wanted, configs, seeds, place.device)
    if options.normalise == "auto" and not all(can_fold(config) for config in configs):
        options = options.changed(normalise="none")  # where it is asked for by name, it is refused instead
    if options.normalise != "none":
        configs = [with_decoder_bias(config) for config in configs]
    pairs = _reads_pairs(configs, options, crop)
    train = place.source(activations, wanted, rows, "training", crop, pairs, sequence)
    held_out = None
    if validation is not None or validation_rows is not None:
        source = activations if validation is None else validation
        available_layers(source, wanted, "validation")
        held_out = place.source(source, wanted, validation_rows, "validation")
        _check_widths(train, held_out)
    elif options.select == "paper":
        raise InputError('select="paper" needs validation rows')
    if options.precision == "bf16":
        _check_bf16(place.device)

    change = _Change(
        {} if options.normalise == "none" else fit_normalisers(options.normalise, train.in_order())
    )
    bank = Bank(
        configs,
        _sample(train, options, change),
        seeds,
        dtype=place.dtype,
        half=options.precision == "bf16",
        rows_per_epoch=train.rows_per_epoch,
        start=options.start,
        frozen=options.frozen,
    )
    if change.by_layer:
        for sae in bank.saes:
            check_foldable(sae)
    settings = dataclasses.asdict(options) | {
        "configs": [{"kind": config.kind, **config.to_dict()} for config in configs],
        "layers": wanted,
        "seeds": list(seeds),
        "data": train.fingerprint() if checkpoint is not None else "",
        "validation": held_out.fingerprint() if held_out is not None and checkpoint is not None else "",
    }
    checkpoints = Checkpoints(checkpoint, settings, checkpoint_every_s)
    try:
        _train(bank, train, held_out, change, options, checkpoints, log=log, show=progress)
    finally:
        bank.close()
    saes = bank.finish()
    for sae in saes:
        sae.about = {
            "training": {**dataclasses.asdict(options), "rows": train.n_rows, **change.notes(sae.layer)},
            "activations": dict(getattr(activations, "provenance", {})),
        }
    return [fold(sae, change.by_layer[sae.layer]) if change.by_layer else sae for sae in saes]


def _reads_pairs(configs: Sequence[SAEConfig], options: TrainingOptions, crop: np.ndarray | None) -> bool:
    """Whether a kind learns from pairs of neighbours; InputError where they cannot be had."""
    pairs = any(SAES.get(config.kind).reads_pairs for config in configs)
    if pairs and (options.batch_size % 2 or crop is not None):
        raise InputError(
            "a kind that learns from pairs of neighbours needs an even batch_size, and crops not in turn"
        )
    return pairs


def _train(
    bank: Bank,
    train: Source,
    held_out: Source | None,
    change: _Change,
    options: TrainingOptions,
    checkpoints: Checkpoints,
    *,
    log: str | Path | None,
    show: bool,
) -> None:
    """Take `bank` from its last checkpoint, if there is one, through all epochs."""
    size = options.batch_size
    n_steps = options.epochs * -(-train.rows_per_epoch // size)
    schedule = Schedule(options.lr, n_steps, options.warmup_steps, options.decay_fraction)
    revives = options.revive and options.frozen == "nothing"
    last_batch = None
    if options.select == "paper" and held_out is not None:
        last_batch = _last_batch(held_out, size, change)
    start = checkpoints.restore(bank)
    with (
        TrainingLog(log) as history,
        compute.progress("training autoencoders", options.epochs, unit="epoch", show=show) as bar,
    ):
        bar.advance(start.epoch)
        for epoch in range(start.epoch, options.epochs):
            blocks = train.blocks(epoch, batch_size=size, data_seed=options.data_seed)
            for index, block in enumerate(blocks):
                if Position(epoch, index) < start:
                    continue
                bank.train_block(change(block), size, schedule)
                checkpoints.save(bank, Position(epoch, index + 1))
            if held_out is not None:
                bank.validate(change(block) for block in held_out.in_order())
            bank.end_epoch(validated=held_out is not None, last_batch=last_batch)
            if revives and (epoch + 1) <= REVIVE_UNTIL * options.epochs:
                bank.revive(epoch)
            checkpoints.save(bank, Position(epoch + 1), now=epoch + 1 == options.epochs)
            history.write(bank.stacks)
            bar.advance()


def _sample(train: Source, options: TrainingOptions, change: _Change) -> dict[Layer, Tensor]:
    """Return the first rows of epoch 0, up to a block of them, as training sees them: some kinds start from data."""
    wanted = max(BLOCK_ROWS // options.batch_size, 1) * options.batch_size
    found: list[dict[Layer, Tensor]] = []
    for block in train.blocks(0, batch_size=options.batch_size, data_seed=options.data_seed):
        found.append(change(block))
        if sum(len(next(iter(part.values()))) for part in found) >= wanted:
            break
    return {layer: torch.cat([part[layer] for part in found])[:BLOCK_ROWS] for layer in train.layers}


@dataclass
class _Change:
    """What happens to a block between reading and training."""

    by_layer: Mapping[Any, Normaliser]

    def __call__(self, block: dict[Layer, Tensor]) -> dict[Layer, Tensor]:
        if not self.by_layer:
            return block
        return {layer: self.by_layer[layer](rows) for layer, rows in block.items()}

    def notes(self, layer: Any) -> dict[str, Any]:
        """Return what the autoencoders of `layer` keep about it."""
        if not self.by_layer:
            return {}
        normaliser = self.by_layer[layer]
        return {"preflight": vars(normaliser.preflight), "scale": normaliser.inverse.diagonal().tolist()}


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
        pairs: bool = False,
        sequence: np.ndarray | None = None,
    ) -> Source:
        kept, follows = as_mask(rows, activations, layers), None
        if pairs:
            follows = follows_of(activations, sequence, kept, n_rows_of(activations, layers))
        if self._too_large(activations, layers) and crop is None:
            if len(activations.rows) == 0:
                raise InputError(f"the {what} store has no rows")
            return StoreRows(activations, layers, kept, self.move, what, follows)
        arrays = read_arrays(activations, layers, kept, what)
        arrays = {layer: self.move(array) for layer, array in arrays.items()}
        if crop is not None:
            crop = np.asarray(crop, dtype=np.int64)
            crop = crop if kept is None else crop[kept]
        if follows is not None and kept is not None:
            follows = follows[kept]
        return ArrayRows(arrays, crop, follows)

    def move(self, rows: np.ndarray | Tensor) -> Tensor:
        return compute.as_tensor(rows).to(self.device, self.dtype)

    def _too_large(self, activations: Any, layers: list[Layer]) -> bool:
        if isinstance(activations, Mapping):
            return False
        n_features = sum(int(activations.widths[layer]) for layer in layers)
        return len(activations.rows) * n_features * 4 > self.memory_gb * 1e9


def _check_bank(configs: list[SAEConfig], seeds: Sequence[int]) -> None:
    if not configs or not seeds:
        raise InputError("training needs at least one config and one seed")
    names = [config.name for config in configs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two configs are called {', '.join(twice)}; their folders would be the same")
    wrong = [seed for seed in seeds if not 0 <= seed < 2**32]
    if wrong:
        raise InputError(f"a seed is 0 to {2**32 - 1}; got {wrong[0]}")
    if len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must differ, got {list(seeds)}")


def _check_memory(
    activations: Any,
    layers: list[Layer],
    configs: list[SAEConfig],
    seeds: Sequence[int],
    device: torch.device,
) -> None:
    """Raise InputError where the weights, their gradients and Adam's moments alone take more memory than is free."""
    if isinstance(activations, Mapping):
        shapes = [tuple(getattr(activations[layer], "shape", ())) for layer in layers]
        widths = [int(shape[1]) for shape in shapes if len(shape) == 2]
    else:
        widths = [int(activations.widths[layer]) for layer in layers]
    n_weights = sum(2 * width * config.n_latents for width in widths for config in configs) * len(seeds)
    free = compute.free_memory(device)
    if free is not None and 4 * 4 * n_weights > free:
        raise InputError(
            f"training {len(layers) * len(configs) * len(seeds)} autoencoders of so many latents together takes at "
            f"least {16 * n_weights / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free: take fewer latents, "
            "layers, sparsities or seeds at a time"
        )


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
        raise InputError(f'this {device.type} has no bfloat16 instructions: train with precision="float32"')


def _last_batch(held_out: Source, batch_size: int, change: _Change) -> dict[Layer, Tensor]:
    """Return the last of the batches that validation rows fall into."""
    start = (held_out.n_rows - 1) // batch_size * batch_size
    if not isinstance(held_out, ArrayRows):
        raise InputError('select="paper" reads validation rows whole: raise memory_gb')
    return change({layer: rows[start:] for layer, rows in held_out.arrays.items()})
