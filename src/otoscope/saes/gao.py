"""TopK of Gao et al., "Scaling and evaluating sparse autoencoders" (2024): pre-bias, unit-norm decoder, AuxK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from otoscope.saes import gradients
from otoscope.saes.base import Loss, mean_squared_error
from otoscope.saes.tied import AuxConfig, TiedSAE
from otoscope.saes.topk import KConfig, keep_largest

if TYPE_CHECKING:
    from otoscope.compute import Lanes
    from otoscope.saes.adam import Adam


@dataclass(frozen=True, kw_only=True)
class GaoTopKConfig(KConfig, AuxConfig):
    """Options of :class:`GaoTopK`. Give `k` or `sparsity`, not both."""

    kind: ClassVar[str] = "topk-gao"


class GaoTopK(TiedSAE):
    """z = TopK(ReLU(W (x - b_dec) + b_enc)), x_hat = V z + b_dec, rows of V at norm 1."""

    config_class = GaoTopKConfig

    def encode(self, x: Tensor) -> Tensor:
        return self._select(self.pre_codes(x))

    def loss(self, x: Tensor) -> Loss:
        """Mean squared error plus AuxK."""
        pre = self.pre_codes(x)
        z = self._select(pre)
        self.count_silence(z)
        reconstruction = self.decode(z)
        mse = mean_squared_error(reconstruction, x)
        return Loss(mse + self.aux_loss(pre, x - reconstruction), mse)

    def train_step(self, x: Tensor, optimiser: Adam, lr: float, lanes: Lanes) -> Tensor:
        if not gradients.sparse_wins(self) or self.may_have_dead(len(x)):
            return super().train_step(x, optimiser, lr, lanes)
        from otoscope.saes import sparse

        step = sparse.train_step(self, x, optimiser, lr, lanes)
        self.count_fired(step.n_active > 0, len(x))
        return step.mse

    def reconstruct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not gradients.sparse_wins(self):
            return super().reconstruct(x)
        from otoscope.saes import sparse

        return sparse.reconstruct(self, x)

    @property
    def _ks(self) -> tuple[int, ...]:
        return tuple(member.active for member in self.members)

    def _select(self, pre: Tensor) -> Tensor:
        return keep_largest(pre.relu(), self._ks)
