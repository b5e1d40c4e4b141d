"""Faster kernels for the heavy parts of a model on a CPU.

In bfloat16 the model runs under autocast, which casts every weight anew in every pass; here matrix products and
convolutions take weights that were cast once, and norms and the residual stream stay in float32. In float32 the matrix
products take weights that oneDNN has laid out in advance: the same sums, in another order.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

Forward = Callable[[torch.Tensor], torch.Tensor]
_WAVLM_ATTENTION = "torch_multi_head_self_attention"


def install(module: nn.Module, precision: str, device: torch.device) -> None:
    """Give the layers of `module` the kernels for `precision`; weights and names stay as they are.

    Called again, it replaces what it did before.
    """
    for child in module.modules():
        for name in ("forward", _WAVLM_ATTENTION):
            vars(child).pop(name, None)  # back to the class's own
    if device.type != "cpu":
        return
    for child in module.modules():
        forward = _faster(child, precision)
        if forward is not None:
            vars(child)["forward"] = forward
        elif hasattr(child, _WAVLM_ATTENTION):
            vars(child)[_WAVLM_ATTENTION] = partial(_attend_with_bias, child)


def autocasting(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context in which a model computes in `precision`: it covers what has no kernel of ours."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def _faster(child: nn.Module, precision: str) -> Forward | None:
    kind = getattr(torch, precision)
    if type(child) is nn.Linear:
        return _linear(child, kind)
    if isinstance(child, nn.Conv1d | nn.Conv2d) and child.padding_mode == "zeros":
        if kind == torch.float32 and not parametrize.is_parametrized(child):
            return None
        return _convolution(child, kind)
    if isinstance(child, nn.LayerNorm | nn.GroupNorm) and kind != torch.float32:
        return _in_float32(type(child).forward, child)
    return None


def _linear(layer: nn.Linear, kind: torch.dtype) -> Forward:
    weight = layer.weight.detach().to(kind)
    bias = None if layer.bias is None else layer.bias.detach().to(kind)
    if not (kind in (torch.float32, torch.bfloat16) and prepacked_linear_works()):
        return lambda x: functional.linear(x.to(kind), weight, bias)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: product(x.to(kind), packed, bias, "none", [], "")


def _convolution(layer: nn.Conv1d | nn.Conv2d, kind: torch.dtype) -> Forward:
    # A weight-normed convolution computes its weight anew in every pass; here it is computed once.
    weight = layer.weight.detach().to(kind)
    bias = None if layer.bias is None else layer.bias.detach().to(kind)
    return lambda x: layer._conv_forward(x.to(kind), weight, bias)


def _attend_with_bias(
    attention: Any, hidden: torch.Tensor, mask: None, bias: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """Compute WavLM's attention fused: its own code also forms, averages and repeats the attention weights.

    `hidden` [clips, tokens, width]; `bias` [clips x heads, tokens, tokens] is added to the scores, in float32.
    """
    n_clips, n_tokens, width = hidden.shape
    split = n_clips, n_tokens, attention.num_heads, -1
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    query, key, value = (project(hidden).float().view(split).transpose(1, 2) for project in projections)
    bias = bias.float().view(n_clips, -1, n_tokens, n_tokens)
    with torch.autocast(hidden.device.type, enabled=False):
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return attention.out_proj(mixed.transpose(1, 2).reshape(n_clips, n_tokens, width)), None


def _in_float32(forward: Callable, layer: nn.Module) -> Forward:
    return lambda x: forward(layer, x.float())


@cache
def prepacked_linear_works() -> bool:
    """Whether this PyTorch has oneDNN's prepacked product here, and it gives what `linear` gives."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((3, 5, 64), (32, 64), (32,)))
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight)
        got = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.allclose(got, functional.linear(x, weight, bias), atol=1e-5)
