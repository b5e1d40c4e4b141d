"""What each figure shows and how to read it, for someone who sees such a figure for the first time."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope import wording
from otoscope.report.numbers.headlines import HEADLINE_SPARSITY, main_selection
from otoscope.report.numbers.published import beside, published_name
from otoscope.report.run import (
    Run,
    empty_counts,
    entropy_of,
    error_measure,
    in_sample,
    metric_of,
    min_r2,
    n_top,
    r2_kind,
    unequal_selection,
)
from otoscope.results import METRIC_LABELS, NULLS, entropy_column, nearest_sparsity, trained_codes

DENSE_APART = "the dense layer stands left of them, and as a thin dashed line"


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
    metric = f"probe {METRIC_LABELS.get(metric_of(run), 'score')}"
    error, several = error_measure(run), _n_seeds(run) > 1
    seeds = f" Curves are means over seeds; the bands of {error.upper()} are their range." if several else ""
    places = _places(run, "sae_probing")
    whiskers = ", thin upright lines are 95\u00a0% intervals" if len(places) <= 3 else ""
    dense = "dashed is the dense layer" if len(places) <= 3 and not beside(run) else DENSE_APART
    if error == "fvu":
        lost = (
            "the share of variance that is missing when the layer is rebuilt from its codes (FVU). FVU can "
            "be compared "
            "between layers; the plain squared error (MSE) depends on each layer's scale, and stands in the "
            "table below."
        )
    else:
        lost = (
            "the mean squared error (MSE) of the layer rebuilt from its codes, as published. It depends on "
            "each layer's "
            "scale, so heights cannot be compared between layers; the share of variance (FVU), which can, stands in "
            "the table below."
        )
    pale = _pale(run, "accuracies" + (" and errors" if error == "mse" else ""))
    if pale and error == "fvu":
        pale += " The published errors are MSE: the table of published values has them beside ours."
    if pale and any(published_name(encoder) == "hubert" and layer == 3 for encoder, layer in places):
        pale += " HuBERT's layer 3 has two published values at 75\u00a0% and none at 99\u00a0%: one of the two is "
        pale += "the 99\u00a0% autoencoder misread, and which is not known."
    return Caption(
        "Is the label in there, and does it survive in sparse codes?",
        f"“Each layer”: {metric} on test clips, with its 95\u00a0% interval as a band. Large markers: the layers "
        "that were split into latents, in the colours they keep in the other panels. “Sparse codes”: the same kind "
        f"of probe on the codes of those layers; {dense}{whiskers}. “What the codes lose”: {lost}{seeds}{pale}",
        "A layer far above chance holds the label in a form that a linear model can read. Where a solid curve "
        "stays near the dense level of its colour, the codes keep what the probe needs. Towards the right fewer "
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
    few = "mean completeness of the same factors"
    if unequal_selection(run):
        few = (
            f"mean completeness, as published: for the dense layer of those {n_top(run)} factors, but for codes and "
            f"nulls of the {n_top(run)} factors of highest completeness. The two selections are not equal, which "
            "raises codes; the table “Dense, codes and nulls” has the same selection for all"
        )
    dense = (
        "dashed: the dense layer"
        if len(_places(run, "sae_probing")) <= 3 and not beside(run)
        else DENSE_APART
    )
    pale = _pale(run, "values (in-sample R²; completeness by the unequal selection)")
    return Caption(
        "Which physical properties are in the codes, and in how few latents?",
        f"“How well”: mean {r2_kind(run)} R² of {chosen}, each predicted by a Lasso (a linear model that uses few "
        f"inputs). “How few”: {few}. Solid: sparse codes; {dense}.{nulls}{pale}",
        "High R²: the properties can be read off. High completeness: each is read off from few dimensions. Both "
        "at once is what “disentangled” means. What an untrained SAE or a random projection reaches as well, "
        "training cannot take the credit for. Completeness counts on a scale that depends on how many dimensions "
        "there are, which differs between dense and codes: compare the effective dimensions in the table too."
        + (
            " A factor that keeps no coefficient counts as 1 here, by the published rule."
            if empty_counts(run)
            else ""
        ),
    )


def _figure3(run: Run) -> Caption:
    table = run.table("disentanglement")
    known = trained_codes(table)["sparsity"] if table is not None else []
    sparsity = wording.sparsity(nearest_sparsity(known) or HEADLINE_SPARSITY)
    if entropy_of(run) == entropy_column("histogram"):
        estimate = "from a histogram of ten bins, as in the published figure; the paper's text names nearest neighbours"
    else:
        estimate = "from nearest neighbours, factors scaled to unit variance, so that bits can be negative"
    if in_sample(run):
        hollow = (
            "Hollow: the Lasso keeps no coefficient for the factor, which counts as completeness 1 by the published "
            "rule, and is counted in Spearman's rank correlation ρ; a second ρ leaves such factors out."
        )
    else:
        hollow = (
            f"Hollow: R² below {wording.number(min_r2(run))}; where such a factor is held says little, and "
            "Spearman's "
            "rank correlation ρ leaves it out."
        )
    published = ""
    if beside(run):
        published = (
            " The published figure is of AST 6, WavLM 1, HuBERT 3 and MERT 4; its caption says 90\u00a0% "
            "sparsity, the "
            "code that draws it takes 95\u00a0%, and it prints no values to put here."
        )
    return Caption(
        "Do properties that vary more richly need more latents?",
        f"Each point is a factor: its completeness in the codes at {sparsity} sparsity, "
        f"against its entropy over the clips (estimated {estimate}). Colour and shape: its family. {hollow} "
        f"In small print: ρ of the dense layer and of the nulls.{published}",
        "A cloud that falls to the right, with ρ well below 0, means that factors which vary more richly are "
        "spread over more latents. Where a null's ρ is as low, training cannot take the credit.",
    )


def _figure4(run: Run) -> Caption:
    thin = (
        " Thin and pale below a bar: the published counts, which have no dense layer." if beside(run) else ""
    )
    return Caption(
        "What kind of property does each layer hold best?",
        f"Of the {n_top(run)} factors predicted best, how many belong to each family; one bar for the dense layer, "
        f"then one for each sparsity, and, below, nulls that no training shaped.{thin}",
        "A long block of one colour: the layer is mostly about that kind of property. Bars that look alike from "
        "top to bottom: sparsity does not change what the codes are about. A bar that stops early: fewer factors "
        "than that could be predicted at all.",
    )


def _pale(run: Run, what: str) -> str:
    if not beside(run):
        return ""
    rules = "" if run.protocol == "paper" else " They were made by the paper's rules, not by this run's."
    return f" Short pale bars behind the curves: the published {what}, in the colour of their curve.{rules}"


def _places(run: Run, name: str) -> set[tuple[str, int | str]]:
    table = run.table(name)
    return set() if table is None else set(zip(table["encoder"], table["layer"]))


def _n_seeds(run: Run) -> int:
    return max((table["seed"].nunique() for table in run.tables.values() if "seed" in table), default=1)
