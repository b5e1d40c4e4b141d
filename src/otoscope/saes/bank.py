"""The bank: many autoencoders trained in lockstep, those of one shape as one module with stacked weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from otoscope.saes.base import SAEConfig, SparseAutoencoder, stack, unstack_into
from otoscope.saes.data import Layer
from otoscope.saes.kinds import build_sae

CPU_STACK_BYTES = 16 * 2**20
"""Weights, gradients and Adam's moments of a stack are kept below this on a CPU, so that they stay in its cache."""
SMALL_WEIGHTS = 500_000
"""A lone autoencoder with fewer weights trains on one core: its products are too small to share."""
VALIDATION_CHUNK = 1024


@dataclass(frozen=True)
class Schedule:
    """The learning rate at each step: linear warm-up, constant, linear decay to zero."""

    lr: float
    n_steps: int
    warmup_steps: int = 0
    decay_fraction: float = 0.0

    def __call__(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        decay_steps = self.decay_fraction * self.n_steps
        fall = min(1.0, (self.n_steps - step) / decay_steps) if decay_steps else 1.0
        return self.lr * rise * fall


class Bank:
    """All autoencoders of one call, grouped into stacks.

    Parameters
    ----------
    configs, seeds
        Every config is trained with every seed on every layer.
    widths
        ``{layer: features}``.
    device, dtype
        Where and in which precision.
    """

    def __init__(
        self,
        configs: Sequence[SAEConfig],
        widths: dict[Layer, int],
        seeds: Sequence[int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.saes: list[SparseAutoencoder] = []
        for layer, width in widths.items():
            for config in configs:
                for seed in seeds:
                    sae = build_sae(config, width, seed=seed).to(device, dtype)
                    sae.layer = layer
                    self.saes.append(sae)
        self.stacks = [Stack(members) for members in _groups(self.saes, device)]
        self._threads = _Threads(self.stacks, device)

    def train_block(self, block: dict[Layer, Tensor], batch_size: int, schedule: Schedule) -> None:
        """Take every stack through the batches of a block of rows."""

        def train(stacked: Stack) -> None:
            for x in block[stacked.layer].split(batch_size):
                stacked.step(x, schedule)

        self._threads.each(train)

    def end_epoch(self, validation: dict[Layer, Tensor] | None, batch_size: int, select: str) -> None:
        """Validate every autoencoder, and keep the weights of those that came out best."""
        scores: dict[int, np.ndarray] = {}

        def judge(stacked: Stack) -> None:
            if validation is None:
                stacked.record(None)
                scores[id(stacked)] = np.full(stacked.n_members, -float(len(stacked.log)))  # later is better
                return
            x = validation[stacked.layer]
            whole = stacked.validate(x)
            stacked.record(whole)
            start = (len(x) - 1) // batch_size * batch_size
            scores[id(stacked)] = (stacked.validate(x[start:]) if select == "paper" else whole)[0]

        self._threads.each(judge)
        if select == "paper":
            scores = _shared_over_layers(self.stacks, scores)
        for stacked in self.stacks:
            stacked.keep(scores[id(stacked)])

    def finish(self) -> list[SparseAutoencoder]:
        """Return all autoencoders with their best weights, in eval mode."""
        self._threads.close()
        for stacked in self.stacks:
            stacked.restore_best()
        return self.saes


class Stack:
    """Autoencoders of one layer and shape, trained as one module with one optimiser."""

    def __init__(self, saes: list[SparseAutoencoder]) -> None:
        self.saes = saes
        self.layer: Layer = saes[0].layer if saes[0].layer is not None else 0
        self.n_members = len(saes)
        self.module = stack(saes)
        self.optimiser = torch.optim.Adam(self.module.parameters(), fused=True)
        self.n_steps = 0
        self.best_score = np.full(self.n_members, np.inf)
        self.best_epoch = np.zeros(self.n_members, dtype=int)
        self.best_state = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.log: list[pd.DataFrame] = []
        self._mse_sum: Tensor | float = 0.0
        self._mse_rows = 0
        self._lr = 0.0

    def step(self, x: Tensor, schedule: Schedule) -> None:
        """Take one optimiser step on the rows `x`."""
        self._lr = schedule(self.n_steps)
        self.optimiser.param_groups[0]["lr"] = self._lr
        mse = self.module.backward(x)
        self.optimiser.step()
        self.module.after_step()
        self.n_steps += 1
        self._mse_sum = self._mse_sum + mse.double() * len(x)
        self._mse_rows += len(x)

    @torch.no_grad()
    def validate(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return each member's mean squared error and share of latents that never fire, over all rows of `x`."""
        squared: Tensor | float = 0.0
        fired: Tensor | bool = False
        for chunk in x.split(VALIDATION_CHUNK):
            reconstruction, active = self.module.reconstruct(chunk)
            squared = squared + (reconstruction - chunk).square().sum(-1, dtype=torch.float64).sum(-1)
            fired = active | fired
        mse = torch.as_tensor(squared).reshape(-1) / x.numel()
        dead = 1 - torch.as_tensor(fired).double().mean(-1).reshape(-1)
        return mse.cpu().numpy(), dead.cpu().numpy()

    def record(self, validation: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Add a row for each member to the history."""
        missing = np.full(self.n_members, np.nan)
        mse, dead = validation if validation is not None else (missing, missing)
        train_mse = torch.as_tensor(self._mse_sum).reshape(-1) / max(self._mse_rows, 1)
        self.log.append(
            pd.DataFrame(
                {
                    "epoch": len(self.log),
                    "train_mse": train_mse.cpu().numpy(),
                    "validation_mse": mse,
                    "dead_fraction": dead,
                    "learning_rate": self._lr,
                }
            )
        )
        self._mse_sum, self._mse_rows = 0.0, 0

    def keep(self, score: np.ndarray) -> None:
        """Remember the present weights of the members whose `score` is their lowest so far."""
        better = score < self.best_score
        self.best_score = np.where(better, score, self.best_score)
        self.best_epoch[better] = len(self.log) - 1
        for name, value in self.module.state_dict().items():
            if self.n_members == 1:
                if better[0]:
                    self.best_state[name].copy_(value)
            else:
                for index in np.flatnonzero(better):
                    self.best_state[name][index].copy_(value[index])

    def restore_best(self) -> None:
        """Give every member its best weights and its history."""
        self.module.load_state_dict(self.best_state)
        unstack_into(self.module, self.saes)
        for index, sae in enumerate(self.saes):
            history = pd.concat([frame.iloc[[index]] for frame in self.log], ignore_index=True)
            history["best"] = history["epoch"] == self.best_epoch[index]
            sae.history = history
            sae.eval()
            for parameter in sae.parameters():
                parameter.grad = None


class _Threads:
    """Runs a function on every stack; on a CPU in threads, each of which computes with one core.

    That needs no barrier within an operation, so it also holds up on a busy machine. A single stack gets all cores
    if its products are large enough to share.
    """

    def __init__(self, stacks: list[Stack], device: torch.device) -> None:
        self._stacks = stacks
        self._n_before = torch.get_num_threads()
        n_workers = min(self._n_before, len(stacks)) if device.type == "cpu" else 1
        self._alone_small = (
            device.type == "cpu" and len(stacks) == 1 and _n_weights(stacks[0]) < SMALL_WEIGHTS
        )
        self._pool = None
        if n_workers > 1:
            self._pool = ThreadPoolExecutor(
                n_workers, "saes", initializer=torch.set_num_threads, initargs=(1,)
            )

    def each(self, function: Callable[[Stack], None]) -> None:
        """Call `function` on every stack; the first exception is raised here."""
        if self._pool is not None:
            list(self._pool.map(function, self._stacks))
            return
        if self._alone_small:
            torch.set_num_threads(1)
        try:
            for stacked in self._stacks:
                function(stacked)
        finally:
            torch.set_num_threads(self._n_before)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._n_before)  # what threads set for themselves, later threads would inherit


def _groups(saes: list[SparseAutoencoder], device: torch.device) -> list[list[SparseAutoencoder]]:
    """Group autoencoders that can be stacked; on a CPU into stacks that fit the cache and occupy all cores."""
    by_key: dict = defaultdict(list)
    for index, sae in enumerate(saes):
        by_key[(sae.layer, sae.stack_key() if sae.stackable else index)].append(sae)
    groups = []
    for members in by_key.values():
        size = len(members)
        if device.type == "cpu":
            state_bytes = 4 * sum(p.numel() * p.element_size() for p in members[0].parameters())
            for_cores = -(-len(saes) // torch.get_num_threads())
            size = max(1, min(for_cores, CPU_STACK_BYTES // state_bytes))
        groups += [members[start : start + size] for start in range(0, len(members), size)]
    return groups


def _n_weights(stacked: Stack) -> int:
    return sum(parameter.numel() for parameter in stacked.module.parameters())


def _shared_over_layers(stacks: list[Stack], scores: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Sum each config's and seed's score over its layers, which share one best epoch in the published code."""
    total: dict = defaultdict(float)
    for stacked in stacks:
        for sae, score in zip(stacked.saes, scores[id(stacked)]):
            total[sae.name] += score
    return {id(s): np.array([total[sae.name] for sae in s.saes]) for s in stacks}
