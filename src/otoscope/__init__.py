"""Otoscope looks inside the neural networks that listen.

Clips in; layer probes, sparse autoencoders, disentanglement and a report out. Each step is a function of
its own; everything heavy is imported when first used.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
