"""BatchTopK: the k largest codes per row on average over a batch, a threshold afterwards.

Bussmann, Leask & Nanda, "BatchTopK Sparse Autoencoders" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from otoscope.saes.base import Loss, mean_squared_error
from otoscope.saes.kinds.tied import TiedSAE
from otoscope.saes.kinds.topk_gao import GaoTopKConfig
from otoscope.saes.selection import Selection

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
    closed_form = True
    threshold: Tensor
    n_seen: Tensor

    def __init__(self, config: BatchTopKConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.selection = Selection("batch", (config.active,))
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("n_seen", torch.zeros(()))

    def encode(self, x: Tensor) -> Tensor:
        z = self.pre_codes(x).relu()
        if self.training:
            return self.selection.keep(z)
        return torch.where(z > self.threshold[..., None, None], z, 0.0)

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Mean squared error plus AuxK."""
        pre = self.pre_codes(x)
        z = self.selection.keep(pre.relu())
        self.observe(z)
        reconstruction = self.decode(z)
        mse = mean_squared_error(reconstruction, x)
        return Loss(mse + self.aux_loss(pre, x - reconstruction), mse)

    def note_active(self, fired: Tensor, smallest: Tensor | None, n_rows: int) -> None:
        super().note_active(fired, smallest, n_rows)
        assert smallest is not None
        self.observe_smallest(smallest)

    @torch.no_grad()
    def observe(self, z: Tensor) -> None:
        """Update the counts of silence and the threshold from a training batch's codes [rows, latents]."""
        self.count_silence(z)
        self.observe_smallest(torch.where(z > 0, z, torch.inf).amin(dim=(-2, -1)))

    def observe_smallest(self, smallest: Tensor) -> None:
        """Move the threshold towards a batch's smallest active code ; infinity stands for none."""
        smallest = torch.where(smallest.isinf(), self.threshold, smallest)
        decay = torch.clamp(self.n_seen / (self.n_seen + 1), max=THRESHOLD_DECAY)
        self.threshold.copy_(decay * self.threshold + (1 - decay) * smallest)
        self.n_seen += 1
