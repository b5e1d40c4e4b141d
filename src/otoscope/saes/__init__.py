"""Sparse autoencoders: the architectures, their training, their files.

Every kind has one file with its config and its module, and the same three methods: ``encode``, ``decode``
and ``forward``. :func:`train_saes` trains any number of them together.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
