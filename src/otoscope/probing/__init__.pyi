from .intervals import bootstrap_mean, paired_difference, wilson
from .linear import linear_probes
from .probes import STRENGTHS, probe, probe_all
from .results import Probe
from .sparse import latents_needed, sparse_probes
from .tables import best_layer, confusion_table, probe_row

__all__ = [
    "Probe",
    "STRENGTHS",
    "best_layer",
    "bootstrap_mean",
    "confusion_table",
    "latents_needed",
    "linear_probes",
    "paired_difference",
    "probe",
    "probe_all",
    "probe_row",
    "sparse_probes",
    "wilson",
]
