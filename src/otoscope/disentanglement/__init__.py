"""Disentanglement: how well, and by how many dimensions, is each physical factor held?

Arrays in, tables out: informativeness (R2), completeness and disentanglement (DCI, Eastwood & Williams 2018),
by a Lasso whose penalty is chosen on held-out groups, or as published; nulls to put beside; entropy of the
factors.
"""

from otoscope.disentanglement.crossfit import CrossFitted, compare_best, cross_fitted
from otoscope.disentanglement.entropy import MIXED_SHARE, factor_entropy, histogram_entropy, knn_entropy
from otoscope.disentanglement.held_out import LABEL_FLOOR, LABEL_SHARE, HeldOut, label_owned
from otoscope.disentanglement.infomec import InfoMEC, infomec
from otoscope.disentanglement.jackknife import Jackknife, factor_intervals, jackknife
from otoscope.disentanglement.lasso import lasso_gram, lasso_path
from otoscope.disentanglement.measure import (
    R2_FLOOR,
    measure_all,
    measure_disentanglement,
    measure_in_sample,
    measure_label,
)
from otoscope.disentanglement.nulls import pca_codes, random_codes, shuffle_factors
from otoscope.disentanglement.other_scores import gap_scores, measure_forest
from otoscope.disentanglement.results import COLUMNS, Disentanglement, living
from otoscope.disentanglement.scores import completeness, disentanglement, effective_dims
from otoscope.disentanglement.summary import SELECTIONS, family_counts, select_factors, summarise
from otoscope.disentanglement.uniqueness import completeness_range, free_directions

__all__ = [
    "COLUMNS",
    "LABEL_FLOOR",
    "LABEL_SHARE",
    "MIXED_SHARE",
    "R2_FLOOR",
    "SELECTIONS",
    "CrossFitted",
    "Disentanglement",
    "HeldOut",
    "InfoMEC",
    "Jackknife",
    "compare_best",
    "cross_fitted",
    "factor_intervals",
    "infomec",
    "jackknife",
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
    "label_owned",
    "lasso_gram",
    "lasso_path",
    "living",
    "measure_all",
    "measure_disentanglement",
    "measure_forest",
    "measure_in_sample",
    "measure_label",
    "pca_codes",
    "random_codes",
    "select_factors",
    "shuffle_factors",
    "summarise",
]
