"""Temporal: a Matryoshka whose first latents say the same of neighbouring frames, and other things of other frames.

Bhalla, Oesterling et al., "Temporal Sparse Autoencoders: Leveraging the Sequential Nature of Language for
Interpretability" (2025), arXiv 2511.05541. There the neighbours are tokens; here, frames of one sound. The first fifth
of the latents must reconstruct alone, as must all of them; a contrastive loss over the pairs of a batch has the first
fifth's codes point the same way in both rows of a pair, and other ways in the rows of other pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from otoscope.errors import InputError
from otoscope.saes.base import Loss
from otoscope.saes.kinds.matryoshka import Matryoshka, MatryoshkaConfig


@dataclass(frozen=True, kw_only=True)
class TemporalConfig(MatryoshkaConfig):
    """Options of :class:`Temporal`."""

    kind: ClassVar[str] = "temporal"

    prefixes: tuple[float, ...] = (0.2, 1.0)
    """Ends of the nested dictionaries; the latents of the first are those that are to last."""
    contrast: float = 0.1
    """Weight of the contrastive loss."""
    temperature: float = 1.0
    """By which cosines are divided in it: the lower, the more it asks of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast < 0 or self.temperature <= 0:
            raise InputError(
                f"contrast must be at least 0 and temperature above 0, got {self.contrast} and {self.temperature}"
            )


class Temporal(Matryoshka):
    """Matryoshka BatchTopK with a contrastive loss between neighbours."""

    config_class = TemporalConfig
    reads_pairs = True

    def loss(self, x: Tensor, progress: float = 1.0) -> Loss:
        """Nested errors, AuxK and the contrast, on rows of which each even one is followed by its neighbour.

        Raises
        ------
        InputError
            If there is a row without a neighbour.
        """
        if x.shape[-2] % 2:
            raise InputError(
                f"kind '{self.config.kind}' learns from pairs of neighbours; got {x.shape[-2]} rows"
            )
        pre = self.pre_codes(x)
        z = self.selection.keep(pre.relu())
        self.observe(z)
        found = self.nested_loss(pre, z, x)
        if self.config.contrast == 0:
            return found
        lasting = z[..., : self.config.prefix_ends[0]]
        contrast = contrastive_loss(lasting[..., ::2, :], lasting[..., 1::2, :], self.config.temperature)
        return Loss(found.total + self.config.contrast * contrast, found.mse)


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return how badly each row of ``first [..., pairs, latents]`` is told by cosine from all of `second`, and back.

    The mean over both ways and all pairs of -log softmax at the row's own partner (InfoNCE); a value for each leading
    index.
    """
    cosines = normalize(first, dim=-1) @ normalize(second, dim=-1).mT / temperature
    own = torch.diagonal(cosines, dim1=-2, dim2=-1)
    forth, back = own - cosines.logsumexp(-1), own - cosines.logsumexp(-2)
    return -(forth + back).mean(-1) / 2
