"""ReLU with an L1 penalty weighed by the decoder's norms.

Bricken et al., "Towards Monosemanticity" (2023), in the form of Anthropic's circuits update of April 2024:
loss = ||x - x_hat||^2 + l1 sum_i f_i ||d_i||, without a norm constraint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from otoscope.errors import InputError
from otoscope.saes.base import Loss, mean_squared_error, ramp
from otoscope.saes.config import SAEConfig
from otoscope.saes.kinds.tied import TiedSAE, sum_of_squares


@dataclass(frozen=True, kw_only=True)
class L1Config(SAEConfig):
    """Options of kinds with an L1 penalty."""

    l1: float = 1.0
    """Weight of the penalty (on the codes, or on the gate), against the squared error summed over dimensions."""
    l1_warmup: float = 0.05
    """Share of training over which the penalty rises from 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_penalty("l1", self.l1, self.l1_warmup)

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.n_latents}-l1-{self.l1:g}"


@dataclass(frozen=True, kw_only=True)
class ReLUConfig(L1Config):
    """Options of :class:`ReLU`."""

    kind: ClassVar[str] = "relu"


class ReLU(TiedSAE):
    """z = ReLU(W x + b_enc), x_hat = V z + b_dec."""

    config_class = ReLUConfig
    subtracts_bias = False
    unit_norm = False
    start_norm = 0.1

    def encode(self, x: Tensor) -> Tensor:
        return self.pre_codes(x).relu()

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Squared error plus the L1 penalty, which rises over the first steps."""
        z = self.encode(x)
        self.count_silence(z)
        reconstruction = self.decode(z)
        penalty = (z * self.decoder_weight.norm(dim=-1).unsqueeze(-2)).sum(-1).mean(-1)
        weight = self.config.l1 * ramp(progress, self.config.l1_warmup)
        return Loss(
            sum_of_squares(reconstruction, x) + weight * penalty, mean_squared_error(reconstruction, x)
        )


def check_penalty(name: str, value: float, warmup: float) -> None:
    """Refuse a negative penalty and a warm-up that is no fraction."""
    if value < 0 or not 0 <= warmup <= 1:
        raise InputError(f"{name} must be at least 0 and its warm-up a fraction, got {value} and {warmup}")
