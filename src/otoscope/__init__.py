"""Otoscope looks inside the neural networks that listen.

Clips in; layer probes, sparse autoencoders, disentanglement and a report out. Each step is a function of
its own; everything heavy is imported when first used.
"""

from __future__ import annotations

import os

import lazy_loader

# Before torch is imported: its threads, where they wait for one another, spin for 0.2 ms, not for 6 as they would by
# default. On a busy machine that is a third of the processor time, and on a quiet one they seldom wait longer.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
