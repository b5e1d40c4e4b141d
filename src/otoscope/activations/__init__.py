"""Activations: every clip through an encoder once, the states of its layers pooled and kept on disk."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "crops": ["Crop", "parse_crop"],
        "extraction": ["extract"],
        "plan": ["provenance_of", "store_name"],
        "reader": ["Activations", "layer_rows"],
    },
)
