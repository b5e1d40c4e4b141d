"""Factors: physical attributes of clips (pitch, loudness, spectral shape ...), keyed like clips.

A factor set is found by name in `FACTOR_SETS`; other packages add theirs through the entry point group
``otoscope.factors``: a function ``build(clips, *, workers, progress, **options) -> Factors``.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
