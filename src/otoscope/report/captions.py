"""What each figure shows and how to read it, for someone who sees such a figure for the first time."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope.report import wording
from otoscope.report.headlines import SPARSITY
from otoscope.report.runs import Run, codes_of, nearest_sparsity


@dataclass(frozen=True)
class Caption:
    """A figure's name in a few words, what is drawn, and how to read it."""

    title: str
    shows: str
    read: str


def caption(run: Run, number: int) -> Caption:
    """Return the caption of figure 1, 2, 3 or 4 of a run."""
    return {1: _figure1, 2: _figure2, 3: _figure3, 4: _figure4}[number](run)


def selection_name(run: Run, selection: str) -> str:
    """Return what a selection of factors is, in words."""
    top = (run.spec.get("disentanglement") or {}).get("top", 10)
    names = {
        "top10_r2": f"the {top} best-predicted factors of each representation",
        "top10_completeness": f"the {top} factors of highest completeness of each representation",
        "r2_floor": "all factors that are predicted at all",
    }
    return names.get(selection, selection)


def r2_kind(run: Run) -> str:
    """Return "in-sample" or "held-out": what the R2 of this run's summaries is."""
    return "in-sample" if run.protocol == "paper" else "held-out"


def _figure1(run: Run) -> Caption:
    metric = wording.METRICS.get(str(run.summary.get("metric") or "accuracy"), "score")
    several = _n_seeds(run) > 1
    return Caption(
        "Is the label in there, and does it survive in sparse codes?",
        f"Left: {metric} on test clips for each layer, with its 95\u00a0% interval as a band; large markers are the layers that "
        "were split into latents, in the same colours as on the right. Middle: the same probe on the sparse codes of those "
        "layers; the dashed line of the same colour is the dense layer, thin upright lines are 95\u00a0% intervals. Right: the "
        "share of variance that the codes fail to reconstruct (FVU; the plain squared error, MSE, depends on each layer's scale "
        "and stands in the table below)."
        + (" Curves are means over seeds, the band on the right their range." if several else ""),
        "A layer far above chance holds the label in a form that a straight line can read. Where the solid curve stays near its "
        "dashed line, the sparse code keeps what the probe needs. Further right fewer latents are active on each clip, so the "
        "error on the right should rise.",
    )


def _figure2(run: Run) -> Caption:
    summary = run.table("disentanglement_summary")
    nulls = (
        summary is not None
        and summary["representation"].isin(("untrained", "random", "pca", "shuffled")).any()
    )
    from otoscope.report.headlines import main_selection

    chosen = selection_name(run, main_selection(summary)) if summary is not None else "selected factors"
    return Caption(
        "Which physical properties are in the codes, and in how few latents?",
        f"Left: mean {r2_kind(run)} R² of {chosen}, predicted by a Lasso (a linear model that keeps few inputs). Right: mean "
        "completeness of the same factors. Solid: sparse codes; dashed: the dense layer."
        + (
            " Thin grey lines are nulls, means over the layers shown: representations that learnt nothing from this data."
            if nulls
            else ""
        ),
        "High on the left: the property can be read off. High on the right: it is read off from few dimensions. Both together "
        "are what a disentangled code looks like. Codes that are no higher than an untrained SAE or a random projection owe "
        "nothing to training. Completeness is scaled by the number of dimensions, which differs between dense and codes: "
        "compare effective dimensions in the table as well.",
    )


def _figure3(run: Run) -> Caption:
    table = run.table("disentanglement")
    found = nearest_sparsity(codes_of(table), SPARSITY) if table is not None else None
    floor = float((run.spec.get("disentanglement") or {}).get("min_r2") or 0.0)
    return Caption(
        "Do properties with more information need more latents?",
        f"Each point is a factor: its completeness in the codes at {wording.sparsity(found or SPARSITY)} sparsity, against its "
        "entropy over the clips (nearest-neighbour estimate, factors scaled to unit variance, so bits can be negative). "
        f"Colour and shape: its family. Hollow: R² below {wording.number(floor)}, so where it is held says little.",
        "A falling cloud, ρ well below 0, means that factors which vary in richer ways are spread over more latents.",
    )


def _figure4(run: Run) -> Caption:
    top = (run.spec.get("disentanglement") or {}).get("top", 10)
    return Caption(
        "What kind of property does each layer hold best?",
        f"Of the {top} factors predicted best, how many belong to each family; a bar for the dense layer and for each sparsity.",
        "A long block of one colour: that layer is mostly about that kind of property. Bars that look alike from top to bottom: "
        "sparsity does not change what the code is about. A bar that stops early had fewer factors that were predicted at all.",
    )


def _n_seeds(run: Run) -> int:
    return max((table["seed"].nunique() for table in run.tables.values() if "seed" in table), default=1)
