"""BatchTopK: the k largest codes per row on average over a batch, a threshold afterwards.

Bussmann, Leask & Nanda, "BatchTopK Sparse Autoencoders" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from otoscope.saes import gradients
from otoscope.saes.base import Loss, mean_squared_error
from otoscope.saes.gao import GaoTopKConfig
from otoscope.saes.tied import TiedSAE

if TYPE_CHECKING:
    from otoscope.compute import Lanes
    from otoscope.saes.adam import Adam

THRESHOLD_DECAY = 0.99


@dataclass(frozen=True, kw_only=True)
class BatchTopKConfig(GaoTopKConfig):
    """Options of :class:`BatchTopK`; `k` is the mean number of active latents in a row."""

    kind: ClassVar[str] = "batch-topk"


class BatchTopK(TiedSAE):
    """Keeps the ``k * rows`` largest codes of a batch in training; above a threshold in eval mode.

    The buffer ``threshold`` [] estimates E[min {z_ij : z_ij > 0}] (their eq. 5) by a running mean over training
    batches, so that a row's code does not depend on which rows share its batch.
    """

    config_class = BatchTopKConfig
    mse_alone: ClassVar[bool] = True
    """Whether the loss, save AuxK, is the mean squared error, whose gradients are written out."""
    threshold: Tensor
    n_seen: Tensor

    def __init__(self, config: BatchTopKConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("n_seen", torch.zeros(()))

    def encode(self, x: Tensor) -> Tensor:
        z = self.pre_codes(x).relu()
        if self.training:
            return self.largest_of_batch(z)
        return torch.where(z > self.threshold[..., None, None], z, 0.0)

    def loss(self, x: Tensor) -> Loss:
        """Mean squared error plus AuxK."""
        pre = self.pre_codes(x)
        z = self.largest_of_batch(pre.relu())
        self.observe(z)
        reconstruction = self.decode(z)
        mse = mean_squared_error(reconstruction, x)
        return Loss(mse + self.aux_loss(pre, x - reconstruction), mse)

    def largest_of_batch(self, z: Tensor) -> Tensor:
        """Keep the ``k * rows`` largest entries of ``z [..., rows, n_latents]``."""
        flat = z.flatten(-2)
        n_kept = min(self.config.active * z.shape[-2], flat.shape[-1])
        top = flat.topk(n_kept, dim=-1, sorted=False)
        return torch.zeros_like(flat).scatter(-1, top.indices, top.values).view_as(z)

    def train_step(self, x: Tensor, optimiser: Adam, lr: float, lanes: Lanes) -> Tensor:
        if not self.mse_alone or not gradients.sparse_wins(self) or self.may_have_dead(len(x)):
            return super().train_step(x, optimiser, lr, lanes)
        from otoscope.saes import sparse

        step = sparse.train_step(self, x, optimiser, lr, lanes, whole_batch=True)
        self.count_fired(step.n_active > 0, len(x))
        smallest = sparse.smallest(step.active, len(x))
        self.observe_smallest(self.threshold.new_tensor(smallest).view_as(self.threshold))
        return step.mse

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        """Update the counts of silence and the threshold from a training batch's codes."""
        self.count_silence(z)
        self.observe_smallest(torch.where(z > 0, z, torch.inf).amin(dim=(-2, -1)))

    def observe_smallest(self, smallest: Tensor) -> None:
        """Move the threshold towards a batch's smallest active code; infinity stands for none."""
        smallest = torch.where(smallest.isinf(), self.threshold, smallest)
        decay = torch.clamp(self.n_seen / (self.n_seen + 1), max=THRESHOLD_DECAY)
        self.threshold.copy_(decay * self.threshold + (1 - decay) * smallest)
        self.n_seen += 1
