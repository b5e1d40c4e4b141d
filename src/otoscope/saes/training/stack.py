"""Autoencoders of one layer and shape, trained as one module with one optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from otoscope.compute import Lanes
from otoscope.saes.base import SparseAutoencoder, stack, unstack_into
from otoscope.saes.fast.adam import Adam
from otoscope.saes.fast.step import reconstruct, train_step
from otoscope.saes.metrics import Tally
from otoscope.saes.training.rows import Layer

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


class Stack:
    """Members, their stacked module, its optimiser, and each member's best weights so far.

    Parameters
    ----------
    saes
        The members, of one layer and one shape.
    half
        Compute products in bfloat16.
    frozen
        ``"encoder"`` or ``"decoder"``: the part whose parameters, save a bias of the decoder, stay as they are.
    """

    def __init__(self, saes: list[SparseAutoencoder], *, half: bool = False, frozen: str = "nothing") -> None:
        self.saes = saes
        self.half = half
        self.layer: Layer = saes[0].layer if saes[0].layer is not None else 0
        self.n_members = len(saes)
        self.module = stack(saes).train()
        self.optimiser = Adam(self.module.named_parameters())
        self.frozen = [
            name
            for name, _ in self.module.named_parameters()
            if name.startswith(f"{frozen}_") and name != "decoder_bias"
        ]
        self.lanes = Lanes()
        self.lr = 0.0
        self.n_steps = 0
        self.best_score = np.full(self.n_members, np.inf)
        self.best_epoch = np.zeros(self.n_members, dtype=int)
        self.best_state = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.log: list[pd.DataFrame] = []
        self._mse_sum = torch.zeros(self.n_members, dtype=torch.float64)
        self._mse_rows = 0
        self._tally: Tally | None = None

    def step(self, x: Tensor, schedule: Schedule) -> None:
        """Take one optimiser step on ``x [rows, features]``."""
        self.lr = schedule(self.n_steps)
        mse = train_step(
            self.module,
            x,
            self.optimiser,
            self.lr,
            self.lanes,
            progress=self.n_steps / schedule.n_steps,
            half=self.half,
            frozen=self.frozen,
        )
        self.n_steps += 1
        self._mse_sum = self._mse_sum.to(mse.device) + mse.double().view(-1) * len(x)
        self._mse_rows += len(x)

    @torch.no_grad()
    def measure(self, x: Tensor) -> None:
        """Add ``x [rows, features]`` to what :meth:`measured` returns."""
        if self._tally is None:
            self._tally = Tally(self.n_members, self.module.n_latents, x.shape[1], x.device)
        self.module.eval()
        for chunk in x.split(VALIDATION_CHUNK):
            reconstruction, counts = reconstruct(self.module, chunk)
            self._tally.add(chunk, reconstruction, counts)
        self.module.train()

    @torch.no_grad()
    def silence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return in how many of the rows `x` each latent is active and each row's squared error.

        Shapes ``[members, n_latents]`` and ``[members, rows]``.
        """
        self.module.eval()
        counts, errors = [], []
        for chunk in x.split(VALIDATION_CHUNK):
            reconstruction, active = reconstruct(self.module, chunk)
            counts.append(active.view(self.n_members, -1))
            errors.append((reconstruction - chunk).square().sum(-1).view(self.n_members, -1))
        self.module.train()
        return torch.stack(counts).sum(0), torch.cat(errors, 1)

    def measured(self) -> Tally:
        """Return what was measured since the last call."""
        assert self._tally is not None
        tally, self._tally = self._tally, None
        return tally

    def record(self, validated: bool) -> np.ndarray:
        """Add a row for each member to the history; return their validation errors, or falling scores [members]."""
        missing = np.full(self.n_members, np.nan)
        tally = self.measured() if validated else None
        values: dict[str, Any] = {
            "epoch": len(self.log),
            "train_mse": (self._mse_sum / max(self._mse_rows, 1)).cpu().numpy(),
            "validation_mse": tally.mse if tally else missing,
            "validation_fvu": tally.fvu if tally else missing,
            "l0": tally.l0 if tally else missing,
            "dead_fraction": tally.dead_fraction if tally else missing,
            "dense_fraction": tally.dense_fraction if tally else missing,
            "learning_rate": self.lr,
        }
        self.log.append(pd.DataFrame(values, index=range(self.n_members)))
        self._mse_sum = torch.zeros_like(self._mse_sum)
        self._mse_rows = 0
        return tally.mse if tally else np.full(self.n_members, -float(len(self.log)))

    def keep(self, score: np.ndarray) -> None:
        """Remember the present weights of the members whose ``score [members]`` is their lowest so far."""
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
            sae.history = self.history(index)
            sae.eval()

    def history(self, index: int) -> pd.DataFrame:
        """Return a row per epoch of one member."""
        table = pd.concat([frame.iloc[[index]] for frame in self.log], ignore_index=True)
        return table.assign(best=table["epoch"] == self.best_epoch[index])

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that changes in training, by name; views of the present state."""
        tensors = {f"now.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best_state.items()}
        tensors |= {f"adam.{name}": value for name, value in self.optimiser.tensors().items()}
        return {**tensors, "mse_sum": self._mse_sum}

    def notes(self) -> dict[str, Any]:
        """Return the rest of what changes in training, ready for JSON."""
        return {
            "n_steps": self.n_steps,
            "lr": self.lr,
            "mse_rows": self._mse_rows,
            "best_score": self.best_score.tolist(),
            "best_epoch": self.best_epoch.tolist(),
            "log": [frame.to_dict("list") for frame in self.log],
        }

    def restore(self, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        """Go back to what :meth:`tensors` and :meth:`notes` described."""
        device = self._mse_sum.device
        self.module.load_state_dict({name: tensors[f"now.{name}"] for name in self.module.state_dict()})
        self.best_state = {name: tensors[f"best.{name}"].to(value) for name, value in self.best_state.items()}
        adam = {
            name.removeprefix("adam."): value for name, value in tensors.items() if name.startswith("adam.")
        }
        self.optimiser.restore(adam)
        self._mse_sum = tensors["mse_sum"].to(device)
        self.n_steps, self.lr, self._mse_rows = notes["n_steps"], notes["lr"], notes["mse_rows"]
        self.best_score, self.best_epoch = np.array(notes["best_score"]), np.array(notes["best_epoch"])
        self.log = [pd.DataFrame(columns, index=range(self.n_members)) for columns in notes["log"]]


def n_weights(module: SparseAutoencoder) -> int:
    """Return how many trained numbers `module` has."""
    return sum(parameter.numel() for parameter in module.parameters())
