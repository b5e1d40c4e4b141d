from .archetypal import Archetypal, ArchetypalConfig
from .base import SAEConfig, SparseAutoencoder
from .batch_topk import BatchTopK, BatchTopKConfig
from .diagnostics import diagnose_activations
from .encoding import encode_rows
from .estimator import TopKCoder
from .gao import GaoTopK, GaoTopKConfig
from .gated import Gated, GatedConfig
from .jumprelu import JumpReLU, JumpReLUConfig
from .kinds import SAES, build_sae, make_config
from .matryoshka import Matryoshka, MatryoshkaConfig
from .metrics import reconstruction_metrics
from .relu import ReLU, ReLUConfig
from .topk import TopK, TopKConfig
from .training import train_saes

__all__ = [
    "Archetypal",
    "ArchetypalConfig",
    "BatchTopK",
    "BatchTopKConfig",
    "GaoTopK",
    "GaoTopKConfig",
    "Gated",
    "GatedConfig",
    "JumpReLU",
    "JumpReLUConfig",
    "Matryoshka",
    "MatryoshkaConfig",
    "ReLU",
    "ReLUConfig",
    "SAEConfig",
    "SAES",
    "SparseAutoencoder",
    "TopK",
    "TopKCoder",
    "TopKConfig",
    "build_sae",
    "diagnose_activations",
    "encode_rows",
    "make_config",
    "reconstruction_metrics",
    "train_saes",
]
