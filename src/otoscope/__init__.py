"""Otoscope looks inside the neural networks that listen.

Clips in; layer probes, sparse autoencoders, disentanglement and a report out. Each step is a function of
its own; everything heavy is imported when first used.
"""

from __future__ import annotations

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "activations",
        "datasets",
        "disentanglement",
        "encoders",
        "experiment",
        "factors",
        "probing",
        "report",
        "saes",
    ],
    submod_attrs={
        "activations": ["Activations", "extract"],
        "clips": ["check_clips", "split_clips"],
        "datasets": ["load_clips"],
        "encoders": ["Encoder", "load_encoder"],
        "errors": ["OtoscopeError"],
        "experiment": ["run"],
        "factors": ["compute_factors"],
        "report": ["write_report"],
        "saes": ["SparseAutoencoder", "TopKCoder", "TopKConfig", "train_saes"],
    },
)
