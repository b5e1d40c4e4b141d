"""The blocks of a vision transformer, with the names of weights that timm and all that came of it use."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

_EPS = 1e-6


class Attention(nn.Module):
    """Self-attention whose three projections are one matrix."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the tokens of [clips, tokens, width]."""
        n_clips, n_tokens, width = x.shape
        split = self.qkv(x).view(n_clips, n_tokens, 3, self.n_heads, width // self.n_heads)
        mixed = functional.scaled_dot_product_attention(*split.permute(2, 0, 3, 1, 4))
        return self.proj(mixed.transpose(1, 2).reshape(n_clips, n_tokens, width))


class Mlp(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Change each token of [clips, tokens, width] by itself."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then the two layers; the norm comes first in both."""

    def __init__(self, width: int, n_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the state [clips, tokens, width] after the block."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def blocks(n_blocks: int, *, width: int, n_heads: int, hidden: int) -> nn.Sequential:
    """Return a stack of blocks."""
    return nn.Sequential(*(Block(width, n_heads, hidden) for _ in range(n_blocks)))


def last_norm(width: int) -> nn.LayerNorm:
    """Return the norm that follows the blocks."""
    return nn.LayerNorm(width, eps=_EPS)
