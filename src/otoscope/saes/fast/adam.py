"""Adam through PyTorch's fused kernel, without the optimiser class around it.

The class costs a tenth of a small step in bookkeeping, and keeps gradients until new ones replace them, so that
memory is touched that the cache does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from otoscope.saes.fast.kernels import AdamRates, Weights

BETAS = (0.9, 0.999)
EPS = 1e-8


class Adam:
    """Kingma & Ba, "Adam" (2015), algorithm 1; bit for bit what ``torch.optim.Adam(fused=True)`` computes.

    Parameters
    ----------
    named_parameters
        What to train, by name.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, torch.nn.Parameter]]) -> None:
        named = dict(named_parameters)
        self._parameters: list[Tensor] = list(named.values())
        self._names = list(named)
        self._means = [torch.zeros_like(p, requires_grad=False) for p in self._parameters]
        self._squares = [torch.zeros_like(p, requires_grad=False) for p in self._parameters]
        self._n_steps = torch.zeros((), dtype=torch.float32, device=self._parameters[0].device)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update all parameters that have gradients, and drop these."""
        self._n_steps += 1
        used = [index for index, parameter in enumerate(self._parameters) if parameter.grad is not None]
        torch._fused_adam_(
            [self._parameters[index] for index in used],
            [self._gradient(index) for index in used],
            [self._means[index] for index in used],
            [self._squares[index] for index in used],
            [],
            [self._n_steps for _ in used],
            lr=lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )
        for parameter in self._parameters:
            parameter.grad = None

    def matrix(self, name: str) -> Weights:
        """Return a parameter on a CPU, and its moments, as one matrix each: views to update from outside."""
        index = self._names.index(name)
        tensors = (self._parameters[index].detach(), self._means[index], self._squares[index])
        return Weights(*(tensor.view(-1, tensor.shape[-1]).numpy() for tensor in tensors))

    def next_rates(self, lr: float) -> AdamRates:
        """Return the scalars of the coming step."""
        n_steps = float(self._n_steps) + 1
        scalar = np.float32 if self._means[0].dtype == torch.float32 else np.float64
        return AdamRates(
            keep_mean=scalar(BETAS[0]),
            add_mean=scalar(1 - BETAS[0]),
            keep_square=scalar(BETAS[1]),
            add_square=scalar(1 - BETAS[1]),
            step=scalar(lr / (1 - BETAS[0] ** n_steps)),
            root=scalar((1 - BETAS[1] ** n_steps) ** -0.5),
            eps=scalar(EPS),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by name; views of the present one."""
        means = {f"mean.{name}": value for name, value in zip(self._names, self._means)}
        squares = {f"square.{name}": value for name, value in zip(self._names, self._squares)}
        return {**means, **squares, "n_steps": self._n_steps}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go back to what :meth:`tensors` returned."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])

    def _gradient(self, index: int) -> Tensor:
        gradient = self._parameters[index].grad
        assert gradient is not None
        return gradient
