"""Probing: is the task still there? Linear probes on layers and codes; arrays in, scores with intervals out."""

from otoscope.probing.folds import fold_table, probe_folds
from otoscope.probing.guide import layer_guide
from otoscope.probing.intervals import (
    Estimate,
    group_interval,
    holm,
    mean_interval,
    p_value,
    paired_difference,
    wilson,
    wilson_interval,
)
from otoscope.probing.linear import linear_probes
from otoscope.probing.probe import STRENGTHS, probe, probe_all
from otoscope.probing.results import Probe
from otoscope.probing.sparse import latents_needed, sparse_probes
from otoscope.probing.tables import best_layer, confusion_table, probe_row

__all__ = [
    "STRENGTHS",
    "Estimate",
    "Probe",
    "best_layer",
    "confusion_table",
    "fold_table",
    "group_interval",
    "holm",
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
    "sparse_probes",
    "wilson",
    "wilson_interval",
]
