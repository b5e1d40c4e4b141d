"""The stages of a run, each a function that writes its tables and is made only when its inputs changed."""

from otoscope.experiment.stages.claims import claims
from otoscope.experiment.stages.data import activations, clips, factors
from otoscope.experiment.stages.disentanglement import disentanglement
from otoscope.experiment.stages.probing import layer_probing, sae_probing
from otoscope.experiment.stages.saes import saes
from otoscope.experiment.stages.summary import summary

__all__ = [
    "activations",
    "claims",
    "clips",
    "disentanglement",
    "factors",
    "layer_probing",
    "sae_probing",
    "saes",
    "summary",
]
