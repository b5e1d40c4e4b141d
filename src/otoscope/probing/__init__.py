"""Probing: is the task still there? Linear probes on layers and codes; arrays in, scores with intervals out."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
