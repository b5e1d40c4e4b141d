"""What each figure shows and how to read it, for someone who sees such a figure for the first time."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope.report import wording
from otoscope.report.headlines import SPARSITY, main_selection
from otoscope.report.rules import min_r2, n_top, r2_kind
from otoscope.report.runs import NULLS, Run, codes_of, nearest_sparsity


@dataclass(frozen=True)
class Caption:
    """A figure's name in a few words, what is drawn, and how to read it."""

    title: str
    shows: str
    read: str


def caption(run: Run, number: int) -> Caption:
    """Return the caption of figure 1, 2, 3 or 4 of a run."""
    return {1: _figure1, 2: _figure2, 3: _figure3, 4: _figure4}[number](run)


def _figure1(run: Run) -> Caption:
    metric = wording.METRICS.get(str(run.summary.get("metric") or "accuracy"), "probe score")
    seeds = " Curves are means over seeds; the bands of FVU are their range." if _n_seeds(run) > 1 else ""
    few = len(_places(run, "sae_probing")) <= 3
    whiskers = ", thin upright lines are 95\u00a0% intervals" if few else ""
    return Caption(
        "Is the label in there, and does it survive in sparse codes?",
        f"“Each layer”: {metric} on test clips, with its 95\u00a0% interval as a band. Large markers: the layers "
        "that were split into latents, in the colours they keep in the other panels. “Sparse codes”: the same kind "
        f"of probe on the codes of those layers; dashed is the dense layer{whiskers}. “What the codes lose”: the "
        "share of variance that is missing when the layer is rebuilt from its codes (FVU). FVU can be compared "
        "between layers; the plain squared error (MSE) depends on each layer's scale, and stands in the table "
        f"below.{seeds}",
        "A layer far above chance holds the label in a form that a linear model can read. Where a solid curve "
        "stays near the dashed line of its colour, the codes keep what the probe needs. Towards the right fewer "
        "latents are active on each clip, so the error should rise.",
    )


def _figure2(run: Run) -> Caption:
    summary = run.table("disentanglement_summary")
    selection = main_selection(summary) if summary is not None else ""
    chosen = {
        "top10_r2": f"the {n_top(run)} best-predicted factors of each representation",
        "top10_completeness": f"the {n_top(run)} factors of highest completeness of each representation",
        "r2_floor": "all factors that are predicted at all",
    }.get(selection, "the selected factors")
    nulls = ""
    if summary is not None and summary["representation"].isin(NULLS).any():
        nulls = (
            " Grey: nulls, each a mean over the layers shown; a level where it was measured at one sparsity only, "
            "“none” where no factor could be predicted."
        )
    return Caption(
        "Which physical properties are in the codes, and in how few latents?",
        f"“How well”: mean {r2_kind(run)} R² of {chosen}, each predicted by a Lasso (a linear model that uses few "
        "inputs). “How few”: mean completeness of the same factors. Solid: sparse codes; dashed: the dense "
        f"layer.{nulls}",
        "High R²: the properties can be read off. High completeness: each is read off from few dimensions. Both "
        "at once is what “disentangled” means. What an untrained SAE or a random projection reaches as well, "
        "training cannot take the credit for. Completeness counts on a scale that depends on how many dimensions "
        "there are, which differs between dense and codes: compare the effective dimensions in the table too.",
    )


def _figure3(run: Run) -> Caption:
    table = run.table("disentanglement")
    found = nearest_sparsity(codes_of(table), SPARSITY) if table is not None else None
    return Caption(
        "Do properties that vary more richly need more latents?",
        f"Each point is a factor: its completeness in the codes at {wording.sparsity(found or SPARSITY)} sparsity, "
        "against its entropy over the clips (estimated from nearest neighbours, factors scaled to unit variance, "
        "so that bits can be negative). Colour and shape: its family. "
        f"Hollow: R² below {wording.number(min_r2(run))}; where such a factor is held says little, and Spearman's "
        "rank correlation ρ leaves it out.",
        "A cloud that falls to the right, with ρ well below 0, means that factors which vary more richly are "
        "spread over more latents.",
    )


def _figure4(run: Run) -> Caption:
    return Caption(
        "What kind of property does each layer hold best?",
        f"Of the {n_top(run)} factors predicted best, how many belong to each family; one bar for the dense layer, "
        "then one for each sparsity.",
        "A long block of one colour: the layer is mostly about that kind of property. Bars that look alike from "
        "top to bottom: sparsity does not change what the codes are about. A bar that stops early: fewer factors "
        "than that could be predicted at all.",
    )


def _places(run: Run, name: str) -> set[tuple[str, int | str]]:
    table = run.table(name)
    return set() if table is None else set(zip(table["encoder"], table["layer"]))


def _n_seeds(run: Run) -> int:
    return max((table["seed"].nunique() for table in run.tables.values() if "seed" in table), default=1)
