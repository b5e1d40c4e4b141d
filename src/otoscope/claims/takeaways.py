"""What the paper takes away from its figures, and the rule by which each of them is tested on a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from otoscope.claims import trials
from otoscope.claims.evidence import Rules, Tables
from otoscope.claims.trials import LEVEL, MARGIN, SPEARMAN, UP_TO
from otoscope.claims.verdicts import Found, percent
from otoscope.results import HEADLINE_SPARSITY


@dataclass(frozen=True)
class Takeaway:
    """A claim of the paper and how it is tested."""

    name: str
    statement: str
    rule: str
    test: Callable[[Tables, Rules], Found]


_SAME = f"the best-predicted ranked factors of each side, codes of the sparsity nearest to {percent(HEADLINE_SPARSITY)}"
_BY_FACTORS = "intervals (95 %) by bootstrap over factors"

TAKEAWAYS = (
    Takeaway(
        "error_grows",
        "Reconstruction error grows with sparsity (the paper excepts WavLM).",
        f"Spearman of sparsity and test MSE, mean over seeds, at least {SPEARMAN} in every layer but WavLM's.",
        trials.error_grows,
    ),
    Takeaway(
        "probing_kept",
        f"Probing is kept in codes up to {percent(UP_TO)} sparsity.",
        f"Kept in a layer: the whole 95 % interval of the paired difference, codes minus dense, is above "
        f"{-100 * MARGIN:g} points at every such sparsity; lost: at one it is below 0 and the loss is over "
        f"{100 * MARGIN:g} points; else open. Yes: kept in all layers; no: lost in some, kept in none.",
        trials.probing_kept,
    ),
    Takeaway(
        "r2_kept",
        f"The mean R2 of the best-predicted factors is kept in codes up to {percent(UP_TO)} sparsity.",
        f"As for probing, with a margin of {MARGIN}, over as many best-predicted factors as dense ranks; "
        f"{_BY_FACTORS}.",
        trials.r2_kept,
    ),
    Takeaway(
        "completeness_above",
        "Completeness of codes is above that of the dense layer, and more than codes that learnt nothing have.",
        "The interval of mean completeness, codes minus each of dense, an untrained SAE and a random projection of the "
        f"same width, is above 0: {_SAME}; {_BY_FACTORS}. A null without a ranked factor is beaten.",
        trials.completeness_above,
    ),
    Takeaway(
        "fewer_dimensions",
        "A factor takes fewer effective dimensions in codes than in the dense layer, at a held-out R2 no worse.",
        f"The interval of mean effective dimensions, codes minus dense, is below 0, and that of held-out R2 above "
        f"{-MARGIN}: {_SAME}; {_BY_FACTORS}.",
        trials.fewer_dimensions,
    ),
    Takeaway(
        "entropy_lowers_completeness",
        "Factors of higher entropy have lower completeness.",
        f"Spearman over ranked factors is below 0, one-sided p by permutation below {LEVEL} after Holm's correction "
        f"over layers; codes of the sparsity nearest to {percent(HEADLINE_SPARSITY)}.",
        trials.entropy_lowers_completeness,
    ),
    Takeaway(
        "families_by_depth",
        "Pitch is predicted best in early layers, formants in late ones.",
        "Mean R2 of the family's factors, earliest minus latest studied layer of an encoder for pitch, the reverse for "
        "formants, has an interval above 0 (one factor must be ranked in either); codes of the sparsity nearest to "
        f"{percent(HEADLINE_SPARSITY)}; {_BY_FACTORS}.",
        trials.families_by_depth,
    ),
)
