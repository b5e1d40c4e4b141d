"""What is known of synthsing."""

from __future__ import annotations

from otoscope.datasets.dataset import DataSet, Source
from otoscope.datasets.synthsing.factors import true_factors, true_moments
from otoscope.datasets.synthsing.folder import LICENCE, check, load

DATASET = DataSet(
    load,
    source=Source(page="made on this machine by otoscope", licence=LICENCE, citation="none asked for"),
    check=check,
    true_factors=true_factors,
    true_moments=true_moments,
)
