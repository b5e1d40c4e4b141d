"""What the paper published, read from tables that come with the package, and put beside a run's own results."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
