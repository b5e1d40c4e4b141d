"""Reports: the figures and the page of a run. Reads tables, computes nothing of its own but means over seeds."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
