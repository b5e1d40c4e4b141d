"""Reports: the figures and the page of a run, or of several side by side.

`run` reads a run; `numbers` holds the few that the whole page shares; `words`, `tables` and `figures` say, list and
draw them; `pages` puts them together. Computes nothing of its own but means over seeds.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
