from . import (
    activations,
    datasets,
    disentanglement,
    encoders,
    experiment,
    explorer,
    factors,
    interventions,
    latents,
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
from .explorer import open_latents, write_explorer
from .factors import compute_factors
from .latents import describe_latents
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
    "describe_latents",
    "disentanglement",
    "encoders",
    "experiment",
    "explorer",
    "extract",
    "factors",
    "interventions",
    "latents",
    "load_clips",
    "load_encoder",
    "open_latents",
    "probing",
    "report",
    "run",
    "saes",
    "split_clips",
    "train_saes",
    "write_explorer",
    "write_report",
]
__version__: str
