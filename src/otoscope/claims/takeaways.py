"""What the paper takes away from its figures, and the rule by which each of them is tested on a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from otoscope.claims import trials
from otoscope.claims.evidence import LEVEL, MARGIN, Rules, Tables
from otoscope.claims.trials import SPEARMAN, UP_TO
from otoscope.claims.verdicts import Found, percent
from otoscope.results import HEADLINE_SPARSITY


@dataclass(frozen=True)
class Takeaway:
    """A claim of the paper and how it is tested."""

    name: str
    statement: str
    rule: str
    test: Callable[[Tables, Rules], Found]


_CODES = f"codes of the sparsity nearest to {percent(HEADLINE_SPARSITY)}"
_SAME = "the same factors on both sides, the best by the sum of both R2"
_BY_FACTORS = (
    "Intervals (95 %) are Student's t over factors, seeds averaged: a description of these factors, as factors are not "
    "groups"
)
_TOGETHER = "In some layers but not all: after Holm's correction over layers"

TAKEAWAYS = (
    Takeaway(
        "error_grows",
        "Reconstruction error grows with sparsity (the paper excepts WavLM).",
        f"Spearman of sparsity and test MSE, mean over seeds, at least {SPEARMAN} in every layer but WavLM's, and "
        f"p below {LEVEL} by permutation of the sparsities within seeds.",
        trials.error_grows,
    ),
    Takeaway(
        "probing_kept",
        f"Probing is kept in codes up to {percent(UP_TO)} sparsity.",
        f"Kept in a layer: the whole 95 % interval of the paired difference over test groups, codes minus dense, mean "
        f"over seeds with their mean standard error, is above {-100 * MARGIN:g} points at every such sparsity; lost: "
        f"at one the loss is over {100 * MARGIN:g} points, and one seed's is below 0 after Holm's correction over "
        f"layers, sparsities and seeds; else open. Yes: kept in all; no: lost in some, kept in none. {_TOGETHER}.",
        trials.probing_kept,
    ),
    Takeaway(
        "r2_kept",
        f"The mean R2 of the best-predicted factors is kept in codes up to {percent(UP_TO)} sparsity.",
        f"As for probing, with a margin of {MARGIN} and Holm's correction over layers and sparsities, over {_SAME}, "
        f"ranked in either. {_BY_FACTORS}.",
        trials.r2_kept,
    ),
    Takeaway(
        "completeness_above",
        "Completeness of codes is above that of the dense layer, and more than codes that learnt nothing have.",
        "The interval of mean completeness, codes minus each of dense and the nulls that the run has (an untrained SAE "
        "and a random projection at least), all on one base, is above 0, over the factors that codes and dense rank, "
        f"at a held-out R2 no worse (as in the next claim): "
        f"{_SAME}, {_CODES}. A null without a ranked factor is beaten. {_TOGETHER}. {_BY_FACTORS}.",
        trials.completeness_above,
    ),
    Takeaway(
        "fewer_dimensions",
        "A factor takes fewer effective dimensions in codes than in the dense layer, at a held-out R2 no worse.",
        "The intervals of mean effective dimensions, codes minus dense, at the best R2 and at a matched one (the "
        f"sparsest fit within .01 of it), are below 0, and that of held-out R2 above {-MARGIN}; likewise fewer than "
        f"each null that holds the factors as well: {_SAME}, {_CODES}. {_TOGETHER}. {_BY_FACTORS}.",
        trials.fewer_dimensions,
    ),
    Takeaway(
        "entropy_lowers_completeness",
        "Factors of higher entropy have lower completeness.",
        f"Spearman over ranked factors is below 0, one-sided p by permutation below {LEVEL} after Holm's correction "
        f"over layers; factors with many equal values are left out; {_CODES}.",
        trials.entropy_lowers_completeness,
    ),
    Takeaway(
        "families_by_depth",
        "Pitch is predicted best in early layers, formants in late ones.",
        "Mean R2 of all the family's factors, an encoder's earliest minus latest studied layer for pitch, the reverse "
        "for formants, has an interval above 0 (one factor must be ranked in either); the layers must lie in the first "
        f"and the last third of its depth; {_CODES}. In some but not all: after Holm's correction. {_BY_FACTORS}.",
        trials.families_by_depth,
    ),
)
