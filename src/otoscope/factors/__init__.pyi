from .families import egemaps_families
from .moments import moment_factors
from .sets import FACTOR_SETS, compute_factors
from .tables import Factors, join_factors

__all__ = [
    "FACTOR_SETS",
    "Factors",
    "compute_factors",
    "egemaps_families",
    "join_factors",
    "moment_factors",
]
