"""Disentanglement: how well, and by how many dimensions, is each physical factor held?

Arrays in, tables out: informativeness (R2), completeness and disentanglement (DCI, Eastwood & Williams 2018),
by a Lasso whose penalty is chosen on held-out groups, or as published; nulls to put beside; entropy of the
factors.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
