"""TopK of Gao et al., "Scaling and evaluating sparse autoencoders" (2024): pre-bias, unit-norm decoder, AuxK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from otoscope.saes.base import Loss, mean_squared_error
from otoscope.saes.kinds.tied import AuxConfig, TiedSAE
from otoscope.saes.kinds.topk import KConfig
from otoscope.saes.selection import Selection


@dataclass(frozen=True, kw_only=True)
class GaoTopKConfig(KConfig, AuxConfig):
    """Options of :class:`GaoTopK`. Give `k` or `sparsity`, not both."""

    kind: ClassVar[str] = "topk-gao"


class GaoTopK(TiedSAE):
    """z = TopK(ReLU(W (x - b_dec) + b_enc)), x_hat = V z + b_dec, rows of V at norm 1."""

    config_class = GaoTopKConfig
    closed_form = True

    def __init__(self, config: GaoTopKConfig, n_inputs: int, *, seed: int = 0) -> None:
        super().__init__(config, n_inputs, seed=seed)
        self.selection = Selection("row", (config.active,))

    def encode(self, x: Tensor) -> Tensor:
        return self.selection.keep(self.pre_codes(x).relu())

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Mean squared error plus AuxK."""
        pre = self.pre_codes(x)
        z = self.selection.keep(pre.relu())
        self.count_silence(z)
        reconstruction = self.decode(z)
        mse = mean_squared_error(reconstruction, x)
        return Loss(mse + self.aux_loss(pre, x - reconstruction), mse)
