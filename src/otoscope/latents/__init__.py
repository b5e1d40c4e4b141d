"""Latents: what does each feature respond to, when, and what may it be called?

Arrays and tables in, tables out; no file is opened. `describe_latents` streams over a store's rows and tests what each
latent goes with; names are made of that evidence and judged on groups that they were not made from.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
