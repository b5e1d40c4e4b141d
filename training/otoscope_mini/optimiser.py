"""Muon for the weight matrices, AdamW for all else.

With AdamW alone the first hundred steps, in which all gradients point the same way, pulled the hidden states onto one
direction (effective rank 57 to 1) and the loss then stayed at the units' entropy. Muon's steps have full rank.
"""

import torch
from torch import nn


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is brought close to an orthogonal one (Jordan et al. 2024, github.com/KellerJordan/Muon).

    A convolution counts as the matrix [out, in x kernel]. Steps are scaled to the size of AdamW's, 0.2 sqrt(max(rows,
    columns)) (Liu et al. 2025, arXiv:2502.16982).
    """

    def __init__(
        self, parameters: list[nn.Parameter], *, lr: float, weight_decay: float, momentum: float = 0.95
    ):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                state["mean"].lerp_(parameter.grad, 1 - group["momentum"])
                nesterov = parameter.grad.lerp(state["mean"], group["momentum"]).flatten(1)
                step = group["lr"] * 0.2 * max(nesterov.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(step * _orthogonal(nesterov).view_as(parameter))


def optimisers(
    model: nn.Module, *, lr: float, matrix_lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the encoder's dense and convolution weights (of more than one input channel), AdamW for the rest."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        dense = parameter.ndim == 2 or (parameter.ndim == 3 and parameter.shape[1] > 1)
        matrix = dense and name.startswith("hubert.") and "pos_conv_embed" not in name
        (matrices if matrix else others).append(parameter)
    return [
        Muon(matrices, lr=matrix_lr, weight_decay=weight_decay),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True),
    ]


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz steps with Jordan's coefficients; singular values end between about 0.7 and 1.2."""
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
