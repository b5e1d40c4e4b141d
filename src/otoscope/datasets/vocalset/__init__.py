"""VocalSet: 20 professional singers, ten techniques studied, 44.1 kHz (Wilkins et al., ISMIR 2018; CC BY 4.0)."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
