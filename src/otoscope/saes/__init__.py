"""Sparse autoencoders: the architectures, their training, their files.

Every kind has one file with its config and its module, and the same three methods: ``encode``, ``decode``
and ``forward``. :func:`train_saes` trains any number of them together.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["SparseAutoencoder", "build_sae"],
        "config": ["SAEConfig"],
        "kinds.topk": ["TopK", "TopKConfig"],
        "kinds.topk_gao": ["GaoTopK", "GaoTopKConfig"],
        "kinds.relu": ["ReLU", "ReLUConfig"],
        "kinds.batch_topk": ["BatchTopK", "BatchTopKConfig"],
        "kinds.jumprelu": ["JumpReLU", "JumpReLUConfig"],
        "kinds.gated": ["Gated", "GatedConfig"],
        "kinds.matryoshka": ["Matryoshka", "MatryoshkaConfig"],
        "kinds.archetypal": ["Archetypal", "ArchetypalConfig"],
        "metrics": ["reconstruction_metrics"],
        "training.options": ["TrainingOptions"],
        "training.train": ["train_saes"],
        "training.preflight": ["preflight"],
        "checkup": ["health"],
        "matching": ["stability"],
        "encoding": ["codes_of", "encode_rows"],
        "estimator": ["TopKCoder"],
        "registry": ["SAES", "make_config", "make_configs"],
    },
)
