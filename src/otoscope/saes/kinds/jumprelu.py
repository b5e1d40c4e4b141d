"""JumpReLU: a threshold for each latent, learnt through straight-through estimates.

Rajamanoharan et al., "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU Sparse Autoencoders" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from otoscope.errors import InputError
from otoscope.saes.base import Loss, mean_squared_error, ramp
from otoscope.saes.config import SAEConfig
from otoscope.saes.kinds.relu import check_penalty
from otoscope.saes.kinds.tied import TiedSAE, sum_of_squares


@dataclass(frozen=True, kw_only=True)
class JumpReLUConfig(SAEConfig):
    """Options of :class:`JumpReLU`; they suit data scaled to unit variance (``normalise="scale"``)."""

    kind: ClassVar[str] = "jumprelu"

    l0: float = 1e-2
    """Weight of the number of active latents, against the squared error summed over dimensions."""
    l0_warmup: float = 0.05
    """Share of training over which the penalty rises from 0."""
    bandwidth: float = 0.05
    """Width of the kernel that estimates the thresholds' gradients, in units of pre-codes."""
    start_threshold: float = 0.05
    """Threshold of every latent at the start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_penalty("l0", self.l0, self.l0_warmup)
        if self.bandwidth <= 0 or self.start_threshold <= 0:
            raise InputError("bandwidth and start_threshold must be positive")

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.n_latents}-l0-{self.l0:g}"


class JumpReLU(TiedSAE):
    """z = p where p > threshold, else 0, for p = ReLU(W x + b_enc); x_hat = V z + b_dec (their eqs. 1, 3).

    The parameter ``log_threshold`` [n_latents] holds the thresholds' logarithms.
    """

    config_class = JumpReLUConfig
    subtracts_bias = False

    def __init__(self, config: JumpReLUConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.log_threshold = nn.Parameter(torch.full((config.n_latents,), config.start_threshold).log())

    def encode(self, x: Tensor) -> Tensor:
        threshold = self.log_threshold.exp().unsqueeze(-2)
        return _Jump.apply(self.pre_codes(x).relu(), threshold, self.config.bandwidth)

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Squared error plus the L0 penalty (their eq. 9)."""
        threshold = self.log_threshold.exp().unsqueeze(-2)
        pre = self.pre_codes(x).relu()
        z = _Jump.apply(pre, threshold, self.config.bandwidth)
        self.count_silence(z)
        l0 = _Step.apply(pre, threshold, self.config.bandwidth).sum(-1).mean(-1)
        reconstruction = self.decode(z)
        weight = self.config.l0 * ramp(progress, self.config.l0_warmup)
        return Loss(sum_of_squares(reconstruction, x) + weight * l0, mean_squared_error(reconstruction, x))


class _Jump(torch.autograd.Function):
    """JumpReLU with the pseudo-derivative of their eq. 11 for the threshold."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return torch.where(pre > threshold, pre, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = gradients
        pre, threshold = ctx.saved_tensors
        inside = (pre - threshold).abs() < ctx.bandwidth / 2
        to_threshold = (gradient * inside).sum(-2, keepdim=True) * (-threshold / ctx.bandwidth)
        return gradient * (pre > threshold), to_threshold, None


class _Step(torch.autograd.Function):
    """The Heaviside step with the pseudo-derivative of their eq. 12 for the threshold."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return (pre > threshold).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = gradients
        pre, threshold = ctx.saved_tensors
        inside = (pre - threshold).abs() < ctx.bandwidth / 2
        return None, (gradient * inside).sum(-2, keepdim=True) / -ctx.bandwidth, None
