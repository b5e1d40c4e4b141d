"""Probing: is the task still there? Linear probes on layers and codes; arrays in, scores with intervals out."""

from otoscope.probing.intervals import bootstrap_mean, paired_difference, wilson
from otoscope.probing.linear import linear_probes
from otoscope.probing.probe import STRENGTHS, probe, probe_all
from otoscope.probing.results import Probe
from otoscope.probing.sparse import latents_needed, sparse_probes
from otoscope.probing.tables import best_layer, confusion_table, probe_row

__all__ = [
    "STRENGTHS",
    "Probe",
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
