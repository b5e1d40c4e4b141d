from . import (
    activations,
    datasets,
    disentanglement,
    encoders,
    experiment,
    factors,
    interventions,
    probing,
    report,
    saes,
)
from .activations import Activations, extract
from .clips import check_clips, split_clips
from .datasets import load_clips
from .encoders import Encoder, load_encoder
from .errors import OtoscopeError
from .experiment import run
from .factors import compute_factors
from .report import write_report
from .saes import SparseAutoencoder, TopKCoder, TopKConfig, train_saes

__all__ = [
    "Activations",
    "Encoder",
    "OtoscopeError",
    "SparseAutoencoder",
    "TopKCoder",
    "TopKConfig",
    "activations",
    "check_clips",
    "compute_factors",
    "datasets",
    "disentanglement",
    "encoders",
    "experiment",
    "extract",
    "factors",
    "interventions",
    "load_clips",
    "load_encoder",
    "probing",
    "report",
    "run",
    "saes",
    "split_clips",
    "train_saes",
    "write_report",
]
__version__: str
