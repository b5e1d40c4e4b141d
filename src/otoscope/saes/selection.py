"""Which codes stay: the k largest of a row, the largest of a batch, or all that pass a threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Selection(NamedTuple):
    """How a kind says which latents are active in training."""

    by: Literal["row", "batch", "threshold"]
    """The k largest codes of each row, the ``k * rows`` largest of a batch, or every code above its threshold."""
    ks: tuple[int, ...] = ()
    """k; where weights are stacked, one for each member. Empty by threshold."""

    def keep(self, z: Tensor) -> Tensor:
        """Set all but the selected entries of ``z [..., rows, n_latents]``, at least 0, to zero."""
        if self.by == "row":
            return _each(keep_largest, z, self.ks)
        if self.by == "batch":
            return _each(keep_largest_of_batch, z, self.ks)
        return z


def keep_largest(z: Tensor, k: int) -> Tensor:
    """Set all but the k largest entries of each row of ``z [..., n_latents]`` to zero."""
    top = z.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(z).scatter(-1, top.indices, top.values)


def keep_largest_of_batch(z: Tensor, k: int) -> Tensor:
    """Set all but the ``k * rows`` largest entries of ``z [..., rows, n_latents]`` to zero."""
    flat = z.flatten(-2)
    top = flat.topk(min(k * z.shape[-2], flat.shape[-1]), dim=-1, sorted=False)
    return torch.zeros_like(flat).scatter(-1, top.indices, top.values).view_as(z)


def _each(keep: Callable[[Tensor, int], Tensor], z: Tensor, ks: tuple[int, ...]) -> Tensor:
    if len(set(ks)) == 1:
        return keep(z, ks[0])
    return torch.stack([keep(member, k) for member, k in zip(z, ks)])
