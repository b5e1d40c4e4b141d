from .entropy import factor_entropy, histogram_entropy, knn_entropy
from .lasso import lasso_gram, lasso_path
from .measure import ALPHAS, R2_FLOOR, measure_all, measure_disentanglement, measure_in_sample
from .nulls import pca_codes, random_codes, shuffle_factors
from .other_scores import gap_scores, measure_forest
from .results import Disentanglement
from .scores import completeness, disentanglement, effective_dims
from .summary import SELECTIONS, family_counts, select_factors, summarise
from .uniqueness import completeness_range, free_directions

__all__ = [
    "ALPHAS",
    "Disentanglement",
    "R2_FLOOR",
    "SELECTIONS",
    "completeness",
    "completeness_range",
    "disentanglement",
    "effective_dims",
    "factor_entropy",
    "family_counts",
    "free_directions",
    "gap_scores",
    "histogram_entropy",
    "knn_entropy",
    "lasso_gram",
    "lasso_path",
    "measure_all",
    "measure_disentanglement",
    "measure_forest",
    "measure_in_sample",
    "pca_codes",
    "random_codes",
    "select_factors",
    "shuffle_factors",
    "summarise",
]
