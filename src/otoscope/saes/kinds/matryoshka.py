"""Matryoshka BatchTopK: nested dictionaries, each prefix of which must reconstruct alone.

Bussmann, Nabeshima, Karvonen & Nanda, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders" (2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from otoscope.errors import InputError
from otoscope.saes.base import Loss, mean_squared_error
from otoscope.saes.kinds.batch_topk import BatchTopK, BatchTopKConfig


@dataclass(frozen=True, kw_only=True)
class MatryoshkaConfig(BatchTopKConfig):
    """Options of :class:`Matryoshka`."""

    kind: ClassVar[str] = "matryoshka"

    prefixes: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0)
    """Ends of the nested dictionaries as fractions of `n_latents`, rising to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "prefixes", tuple(self.prefixes))  # JSON brings a list
        ends = self.prefixes
        if not ends or list(ends) != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1:
            raise InputError(f"prefixes must be rising fractions that end with 1, got {ends}")

    @property
    def prefix_ends(self) -> list[int]:
        """The nested dictionaries' sizes, in latents."""
        return [max(round(end * self.n_latents), 1) for end in self.prefixes]


class Matryoshka(BatchTopK):
    """BatchTopK whose loss is the mean, over nested prefixes of the latents, of the squared error (their eq. 6)."""

    config_class = MatryoshkaConfig

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        pre = self.pre_codes(x)
        z = self.selection.keep(pre.relu())
        self.observe(z)
        return self.nested_loss(pre, z, x)

    def nested_loss(self, pre: Tensor, z: Tensor, x: Tensor) -> Loss:
        """Return the mean error of all prefixes of the codes `z`, with AuxK, for rows `x` and their pre-codes."""
        start, nested = 0, []
        reconstruction = self.decoder_bias.unsqueeze(-2).expand(*z.shape[:-1], self.n_inputs)
        for end in self.config.prefix_ends:  # each prefix adds its own latents to the one before
            reconstruction = reconstruction + z[..., start:end] @ self.decoder_weight[..., start:end, :]
            nested.append(mean_squared_error(reconstruction, x))
            start = end
        total = sum(nested[1:], nested[0]) / len(nested)
        return Loss(total + self.aux_loss(pre, x - reconstruction), nested[-1])
