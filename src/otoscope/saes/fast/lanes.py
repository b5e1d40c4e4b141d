"""Cores that share one autoencoder's step: each takes a part of its rows, or of its latents.

PyTorch's own threads wait for each other within every operation; these only between the parts of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch


class Lanes:
    """Call it with a function and a size: ``function(first, last)`` runs on `n` parts of ``range(size)`` at once."""

    def __init__(self, n: int = 1) -> None:
        self.n = n
        self._pool = ThreadPoolExecutor(n - 1, "lane", initializer=set_up_thread) if n > 1 else None

    def __call__(self, function: Callable[[int, int], Any], size: int) -> list[Any]:
        """Return what the calls returned, in order; the calling thread takes the first part itself."""
        if self._pool is None:
            return [function(0, size)]
        ends = [size * part // self.n for part in range(self.n + 1)]
        others = [self._pool.submit(function, *part) for part in pairwise(ends[1:])]
        try:
            mine = function(ends[0], ends[1])
        finally:  # they write into what the caller owns
            found = [other.result() for other in others]
        return [mine, *found]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


@contextmanager
def one_core() -> Iterator[None]:
    """Keep PyTorch's operations in this thread to themselves."""
    n_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_before)


def set_up_thread() -> None:
    """Have a new thread compute alone, and take numbers below the normal range for zero.

    Adam's moments fall into that range where a latent stays silent, and arithmetic there is slower.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
