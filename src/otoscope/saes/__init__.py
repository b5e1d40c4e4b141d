"""Sparse autoencoders: the architectures, their training, their files.

Every kind has one file with its config and its module, and the same three methods: ``encode``, ``decode``
and ``forward``. :func:`train_saes` trains any number of them together.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["SAEConfig", "SparseAutoencoder"],
        "topk": ["TopK", "TopKConfig"],
        "gao": ["GaoTopK", "GaoTopKConfig"],
        "relu": ["ReLU", "ReLUConfig"],
        "batch_topk": ["BatchTopK", "BatchTopKConfig"],
        "jumprelu": ["JumpReLU", "JumpReLUConfig"],
        "gated": ["Gated", "GatedConfig"],
        "matryoshka": ["Matryoshka", "MatryoshkaConfig"],
        "archetypal": ["Archetypal", "ArchetypalConfig"],
        "metrics": ["reconstruction_metrics"],
        "training": ["train_saes"],
        "diagnostics": ["diagnose_activations"],
        "encoding": ["encode_rows"],
        "estimator": ["TopKCoder"],
        "kinds": ["SAES", "build_sae", "make_config"],
    },
)
