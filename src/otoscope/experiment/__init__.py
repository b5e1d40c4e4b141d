"""Experiments: what to run, in which order, and what is already done."""

from otoscope.experiment.ablation import ablate
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.runner import run
from otoscope.experiment.spec import Spec, load_spec, recipes

__all__ = ["RunDirectory", "Spec", "load_spec", "ablate", "recipes", "run"]
