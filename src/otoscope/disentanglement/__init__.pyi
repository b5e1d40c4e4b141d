from .crossfit import CrossFitted, compare_best, cross_fitted
from .entropy import MIXED_SHARE, factor_entropy, histogram_entropy, knn_entropy
from .held_out import LABEL_FLOOR, LABEL_SHARE, HeldOut, label_owned
from .lasso import lasso_gram, lasso_path
from .leave_one_out import Jackknife, factor_intervals, jackknife
from .measure import R2_FLOOR, measure_all, measure_disentanglement, measure_in_sample, measure_label
from .mutual_information import InfoMEC, infomec
from .nulls import pca_codes, random_codes, shuffle_factors
from .other_scores import gap_scores, measure_forest
from .results import COLUMNS, Disentanglement, living, on_base
from .scores import completeness, disentanglement, effective_dims
from .summary import SAME, SELECTIONS, family_counts, same_factors, select_factors, summarise, summarise_same
from .uniqueness import completeness_range, free_directions

__all__ = [
    "COLUMNS",
    "CrossFitted",
    "Disentanglement",
    "HeldOut",
    "InfoMEC",
    "Jackknife",
    "LABEL_FLOOR",
    "LABEL_SHARE",
    "MIXED_SHARE",
    "R2_FLOOR",
    "SAME",
    "SELECTIONS",
    "compare_best",
    "completeness",
    "completeness_range",
    "cross_fitted",
    "disentanglement",
    "effective_dims",
    "factor_entropy",
    "factor_intervals",
    "family_counts",
    "free_directions",
    "gap_scores",
    "histogram_entropy",
    "infomec",
    "jackknife",
    "knn_entropy",
    "label_owned",
    "lasso_gram",
    "lasso_path",
    "living",
    "measure_all",
    "measure_disentanglement",
    "measure_forest",
    "measure_in_sample",
    "measure_label",
    "on_base",
    "pca_codes",
    "random_codes",
    "same_factors",
    "select_factors",
    "shuffle_factors",
    "summarise",
    "summarise_same",
]
