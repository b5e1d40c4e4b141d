"""Factors: physical attributes of clips (pitch, loudness, spectral shape ...), keyed like clips.

A factor set is found by name in `FACTOR_SETS`; other packages add theirs through the entry point group
``otoscope.factors``: a function ``build(clips, *, workers, progress, **options) -> Factors``.
"""

from otoscope.factors.families import egemaps_families
from otoscope.factors.sets import FACTOR_SETS, compute_factors
from otoscope.factors.tables import Factors, join_factors

__all__ = ["FACTOR_SETS", "Factors", "compute_factors", "egemaps_families", "join_factors"]
