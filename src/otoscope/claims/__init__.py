"""The takeaways of the paper, each tested on the result tables of a run: tables in, verdicts out."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
