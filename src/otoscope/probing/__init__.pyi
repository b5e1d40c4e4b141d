from .folds import fold_table, probe_folds
from .guide import layer_guide
from .intervals import (
    Estimate,
    group_interval,
    mean_interval,
    p_value,
    paired_difference,
    wilson,
    wilson_interval,
)
from .linear import linear_probes
from .probes import STRENGTHS, probe, probe_all
from .results import Probe
from .sparse import latents_needed, sparse_probes
from .tables import best_layer, confusion_table, probe_row
from .units import area_under_curve, single_units

__all__ = [
    "Estimate",
    "Probe",
    "STRENGTHS",
    "area_under_curve",
    "best_layer",
    "confusion_table",
    "fold_table",
    "group_interval",
    "latents_needed",
    "layer_guide",
    "linear_probes",
    "mean_interval",
    "p_value",
    "paired_difference",
    "probe",
    "probe_all",
    "probe_folds",
    "probe_row",
    "single_units",
    "sparse_probes",
    "wilson",
    "wilson_interval",
]
