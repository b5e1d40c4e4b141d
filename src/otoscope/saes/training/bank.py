"""The bank: many autoencoders trained in lockstep, those of one shape as one module with stacked weights."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from otoscope.compute import Lanes, set_up_thread
from otoscope.saes.base import SparseAutoencoder, build_sae
from otoscope.saes.config import SAEConfig
from otoscope.saes.fast.step import sparse_wins
from otoscope.saes.training.alive import revive, start_from_data
from otoscope.saes.training.rows import Layer
from otoscope.saes.training.stack import Schedule, Stack, n_weights

CPU_STACK_BYTES = 16 * 2**20
"""Weights, gradients and Adam's moments of a stack are kept below this on a CPU, so that they stay in its cache."""
SMALL_WEIGHTS = 500_000
"""Fewer weights, of one autoencoder or several in a stack, train on one core: their products are too small to share."""


class Bank:
    """All autoencoders of one call, grouped into stacks.

    Parameters
    ----------
    configs, seeds
        Every config is trained with every seed on every layer.
    samples
        ``{layer: rows [some, features]}``: training rows that some kinds start from.
    dtype
        ``float32`` or ``float64``.
    half
        Compute products in bfloat16; weights stay as they are.
    rows_per_epoch
        Rows seen in an epoch; kinds that wait for a latent to fire count in them.
    start
        ``"own"``: latents start where the kind's authors have them. ``"data"``: at training rows.
    frozen
        ``"encoder"`` or ``"decoder"``: what does not learn.
    """

    def __init__(
        self,
        configs: Sequence[SAEConfig],
        samples: dict[Layer, Tensor],
        seeds: Sequence[int],
        *,
        dtype: torch.dtype,
        half: bool = False,
        rows_per_epoch: int = 0,
        start: str = "own",
        frozen: str = "nothing",
    ) -> None:
        self._samples = samples
        self.saes: list[SparseAutoencoder] = []
        device = next(iter(samples.values())).device
        for layer, rows in samples.items():
            for config in configs:
                for seed in seeds:
                    sae = build_sae(config, rows.shape[1], seed=seed).to(device, dtype)
                    sae.layer, sae.rows_per_epoch = layer, rows_per_epoch
                    sae.init_from_data(rows)
                    if start == "data":
                        start_from_data(sae, rows)
                    self.saes.append(sae)
        self.stacks = [
            Stack(members, half=half, frozen=frozen) for members in _groups(self.saes, device, half)
        ]
        if device.type == "cpu":
            _keep_freed_memory()
        self._threads = _Threads(self.stacks, device)

    def train_block(self, block: dict[Layer, Tensor], batch_size: int, schedule: Schedule) -> None:
        """Take every stack through the batches of a block of rows, layer -> [rows, features]."""

        def train(stacked: Stack) -> None:
            for x in block[stacked.layer].split(batch_size):
                if self._threads.stopped:
                    return
                stacked.step(x, schedule)

        self._threads.each(train)

    def validate(self, blocks: Iterable[dict[Layer, Tensor]]) -> None:
        """Measure every autoencoder on all rows of `blocks`, layer -> [rows, features] each."""
        for block in blocks:
            self._threads.each(lambda stacked, rows=block: stacked.measure(rows[stacked.layer]))  # type: ignore[misc]

    def end_epoch(self, *, validated: bool, last_batch: dict[Layer, Tensor] | None = None) -> None:
        """Write the epoch down, and keep the weights of those autoencoders that came out best.

        Best is, with `last_batch`, the published code's rule: the error on those rows alone, summed over layers.
        """
        scores = {id(stacked): stacked.record(validated) for stacked in self.stacks}
        if last_batch is not None:
            for stacked in self.stacks:
                stacked.measure(last_batch[stacked.layer])
                scores[id(stacked)] = stacked.measured().mse
            scores = _shared_over_layers(self.stacks, scores)
        for stacked in self.stacks:
            stacked.keep(scores[id(stacked)])

    def revive(self, epoch: int) -> None:
        """Restart dead latents after epoch number `epoch`."""
        self._threads.each(lambda stacked: revive(stacked, self._samples[stacked.layer], epoch))

    def finish(self) -> list[SparseAutoencoder]:
        """Return all autoencoders with their best weights, in eval mode."""
        self.close()
        for stacked in self.stacks:
            stacked.restore_best()
        return self.saes

    def close(self) -> None:
        """End the threads."""
        self._threads.close()


class _Threads:
    """Runs a function on every stack; on a CPU in threads that share its cores.

    Where a layer has as many stacks as there are cores, each computes with one: that needs no barrier within an
    operation, so it also holds up on a busy machine. Where it has fewer, a stack that is large enough to share gets
    several. How many does not depend on other layers: last bits may depend on it (see `_groups`).
    """

    def __init__(self, stacks: list[Stack], device: torch.device) -> None:
        self.stopped = False
        """Set where the caller was interrupted: functions return early, so that it need not wait for a whole block."""
        self._stacks = stacks
        self._n_before = torch.get_num_threads()
        self._pool = None
        if device.type == "cpu":
            n_of_layer = Counter(stacked.layer for stacked in stacks)
            for stacked in stacks:
                if n_weights(stacked.module) >= SMALL_WEIGHTS:
                    stacked.lanes = Lanes(max(self._n_before // n_of_layer[stacked.layer], 1))
            n_workers = self._n_before // max(stacked.lanes.n for stacked in stacks)
            self._pool = ThreadPoolExecutor(min(n_workers, len(stacks)), "saes", initializer=set_up_thread)

    def each(self, function: Callable[[Stack], object]) -> None:
        """Call `function` on every stack; the first exception is raised here."""

        def call(stacked: Stack) -> None:
            torch.set_num_threads(stacked.lanes.n)
            function(stacked)

        if self._pool is not None:
            try:
                list(self._pool.map(call, self._stacks))
            except BaseException:
                self.stopped = True
                raise
        else:
            for stacked in self._stacks:
                function(stacked)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for stacked in self._stacks:
            stacked.lanes.close()
        torch.set_num_threads(self._n_before)  # what threads set for themselves, later threads would inherit


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of gradients from one step to the next.

    It maps blocks anew, page by page, that are as large as the largest one freed so far; freeing a larger one once
    spares every later step that (up to 32 MiB, where it always maps).
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _groups(saes: list[SparseAutoencoder], device: torch.device, half: bool) -> list[list[SparseAutoencoder]]:
    """Group autoencoders that can be stacked; on a CPU into stacks that fit the cache and are worth a core each.

    How an autoencoder is stacked depends on the others of its layer alone. So a layer comes out the same, to the last
    bit, by itself and in a bank of several; last bits do depend on how many share a product, or AuxK's turn.
    """
    by_key: dict = defaultdict(list)
    for index, sae in enumerate(saes):
        shape = (sae.stack_key(), sparse_wins(sae, half)) if sae.stackable else index
        by_key[sae.layer, shape].append(sae)
    groups = []
    for members in by_key.values():
        size = len(members)
        if device.type == "cpu":
            each = n_weights(members[0])
            in_cache = CPU_STACK_BYTES // (4 * each * next(members[0].parameters()).element_size())
            n_stacks = min(torch.get_num_threads(), max(size * each // SMALL_WEIGHTS, 1))
            size = max(1, min(-(-size // n_stacks), in_cache))
        groups += [members[start : start + size] for start in range(0, len(members), size)]
    return groups


def _shared_over_layers(stacks: list[Stack], scores: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Sum each config's and seed's score over its layers, which share one best epoch in the published code."""
    total: dict = defaultdict(float)
    for stacked in stacks:
        for sae, score in zip(stacked.saes, scores[id(stacked)]):
            total[sae.name] += score
    return {id(s): np.array([total[sae.name] for sae in s.saes]) for s in stacks}
