from .base import SparseAutoencoder, build_sae
from .checkup import health
from .config import SAEConfig
from .encoding import codes_of, encode_rows
from .estimator import TopKCoder
from .kinds.archetypal import Archetypal, ArchetypalConfig
from .kinds.batch_topk import BatchTopK, BatchTopKConfig
from .kinds.gated import Gated, GatedConfig
from .kinds.jumprelu import JumpReLU, JumpReLUConfig
from .kinds.matryoshka import Matryoshka, MatryoshkaConfig
from .kinds.relu import ReLU, ReLUConfig
from .kinds.temporal import Temporal, TemporalConfig
from .kinds.topk import TopK, TopKConfig
from .kinds.topk_gao import GaoTopK, GaoTopKConfig
from .matching import stability
from .metrics import reconstruction_metrics
from .over_time import coherence
from .pooling import CLIP_CODES, pooled_codes
from .registry import SAES, make_config, make_configs
from .training.options import TrainingOptions
from .training.preflight import preflight
from .training.train import train_saes

__all__ = [
    "Archetypal",
    "ArchetypalConfig",
    "BatchTopK",
    "BatchTopKConfig",
    "CLIP_CODES",
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
    "Temporal",
    "TemporalConfig",
    "TopK",
    "TopKCoder",
    "TopKConfig",
    "TrainingOptions",
    "build_sae",
    "codes_of",
    "coherence",
    "health",
    "preflight",
    "stability",
    "encode_rows",
    "make_config",
    "make_configs",
    "pooled_codes",
    "reconstruction_metrics",
    "train_saes",
]
