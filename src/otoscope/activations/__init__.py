"""Activations: every clip through an encoder once, the states of its layers pooled and kept on disk."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
