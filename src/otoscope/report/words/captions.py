"""What each figure shows and how to read it, for someone who sees such a figure for the first time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from otoscope import wording
from otoscope.report.numbers.dictionaries import collapsed, pca_errors
from otoscope.report.numbers.factors import base_rate
from otoscope.report.numbers.groups import few_groups
from otoscope.report.numbers.headlines import FEWEST_FACTORS, main_rows, main_selection
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
    row_word,
    unequal_selection,
)
from otoscope.results import (
    HEADLINE_SPARSITY,
    METRIC_LABELS,
    NULLS,
    entropy_column,
    nearest_sparsity,
    trained_codes,
)

DENSE_APART = "the dense layer stands left of them, and as a thin dashed line"


@dataclass(frozen=True)
class Caption:
    """A figure's name in a few words, what is drawn, and how to read it."""

    title: str
    shows: str
    read: str


def caption(run: Run, number: int) -> Caption:
    """Return the caption of a figure of a run, by its number."""
    known = {1: _figure1, 2: _figure2, 3: _figure3, 4: _figure4, 5: _figure5, 6: _figure6}
    found = known[number](run)
    return replace(found, shows=found.shows + _collapsed(run))


def _figure1(run: Run) -> Caption:
    metric = f"probe {METRIC_LABELS.get(metric_of(run), 'score')}"
    error, several = error_measure(run), _n_seeds(run) > 1
    seeds = " Curves are means over seeds; bands around them are their range." if several else ""
    pca = pca_errors(run)
    if pca is not None and not pca[error].isna().all():
        line = "Dotted" if pca["sparsity"].nunique() > 1 else "Short bars"
        seeds += f" {line}: principal components (PCA), as many as latents are active on a {row_word(run)}."
    places = _places(run, "sae_probing")
    whiskers = (
        ", thin upright lines are 95\u00a0% intervals" if len(places) <= 3 and not few_groups(run) else ""
    )
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
        f"“Each layer”: {metric} on test clips, {_band(run)}. Large markers: the layers "
        "that were split into latents, in the colours they keep in the other panels. “Sparse codes”: the same kind "
        f"of probe on the codes of those layers; {dense}{whiskers}. “What the codes lose”: {lost}{seeds}{pale}",
        "A layer far above chance holds the label in a form that a linear model can read. Where a solid curve "
        "stays near the dense level of its colour, the codes keep what the probe needs. Towards the right fewer "
        f"latents are active on each {row_word(run)}, so the error should rise.",
    )


def _band(run: Run) -> str:
    """Say what stands beside the scores of layers."""
    n = few_groups(run)
    if n:
        return f"small dots its score in each of the {n} test groups, which are too few for an interval"
    over = " (a t over the test groups)" if run.over_groups else ""
    return f"with its 95\u00a0% interval{over} as a band"


def _figure2(run: Run) -> Caption:
    summary = run.table("disentanglement_summary")
    selection = main_selection(summary) if summary is not None else ""
    chosen = {
        "same": f"the same factors for all of a layer, the {n_top(run)} that dense and codes together predict best",
        "top10_r2": f"the {n_top(run)} best-predicted factors of each representation",
        "top10_completeness": f"the {n_top(run)} factors of highest completeness of each representation",
        "r2_floor": "all factors that are predicted at all",
    }.get(selection, "the selected factors")
    nulls = ""
    if summary is not None and summary["representation"].isin(NULLS).any():
        nulls = (
            " Grey marks at the right: nulls, each a mean over the layers shown, at the sparsity nearest to 95\u00a0%; "
            "none for a null from which no factor is predicted. Grey band: from the lowest to the highest of them, "
            "without the label and shuffled factors. “Label”: a table of class means, which hears nothing, "
            "counted likewise."
        )
    few = "over how many dimensions each of the same factors is spread (effective dimensions, mean)"
    if not in_sample(run) and (main_rows(run)["n_factors"] < FEWEST_FACTORS).any():
        few += "; left out where fewer than three factors are held, which is no mean"
    if in_sample(run):
        few = "mean completeness of the same factors, as published: each by the log of its own width"
    if unequal_selection(run):
        few = (
            f"mean completeness, as published, each by the log of its own width: "
            f"for the dense layer of those {n_top(run)} factors, but for codes and "
            f"nulls of the {n_top(run)} factors of highest completeness. The two selections are not equal, which "
            "raises codes; the table “Dense, codes and nulls” has the same selection for all"
        )
    dense = (
        "dashed: the dense layer"
        if len(_places(run, "sae_probing")) <= 3 and not beside(run)
        else DENSE_APART
    )
    pale = _pale(
        run, "values (in-sample R²" + ("; completeness by the unequal selection)" if in_sample(run) else ")")
    )
    bands = " (bands: range over seeds)" if _n_seeds(run) > 1 else ""
    beyond, high, base = (
        "Of a factor that the label alone tells, only R² beyond the label counts. ",
        "Few dimensions",
        "",
    )
    if in_sample(run):
        beyond, high = "", "High completeness"
        base = " Completeness has another base for the dense layer than for codes: compare the effective dimensions in "
        base += "the table too."
    return Caption(
        "Which physical properties are in the codes, and in how few latents?",
        f"“How well”: mean {r2_kind(run)} R² of {chosen}, each predicted by a Lasso (a linear model that uses few "
        f"inputs). {beyond}“How few”: {few}. Solid: sparse codes{bands}; {dense}.{nulls}{pale}",
        f"High R²: the properties can be read off. {high}: each is read off from few dimensions. Both "
        "at once is what “disentangled” means. What an untrained SAE or a random projection reaches as well, "
        f"training cannot take the credit for.{base}"
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
    base = "each by the log of its own width, as published" if in_sample(run) else _base(run)
    published = _mixed(run)
    if beside(run):
        published += (
            " The published figure is of AST 6, WavLM 1, HuBERT 3 and MERT 4; its caption says 90\u00a0% "
            "sparsity, the "
            "code that draws it takes 95\u00a0%, and it prints no values to put here."
        )
    return Caption(
        "Do properties that vary more richly need more latents?",
        f"Each point is a factor: its completeness ({base}) in the codes at {sparsity} sparsity, "
        f"against its entropy over the clips (estimated {estimate}). Colour and shape: its family. {hollow} "
        f"In small print: ρ of the dense layer, and from the lowest to the highest of the nulls.{published}",
        "A cloud that falls to the right, with ρ well below 0, means that factors which vary more richly are "
        "spread over more latents. Where a null's ρ is as low, training cannot take the credit.",
    )


def _figure4(run: Run) -> Caption:
    thin = (
        " Thin and pale below a bar: the published counts, which have no dense layer." if beside(run) else ""
    )
    return Caption(
        "What kind of property does each layer hold best?",
        f"Of the {n_top(run)} factors that each predicts best, its own, how many belong to each family. "
        "First bar: the base rate, as "
        f"many factors drawn blindly of all that were measured{_rates(run)}; then the dense layer, each sparsity, and, "
        f"below, nulls.{thin}",
        "A block of one colour that is longer than in the first bar: the layer holds that kind of property better than "
        "others. As long as there, or as in the nulls: nothing is shown but how many such factors were measured. A bar "
        "that stops early: fewer factors than that could be predicted at all.",
    )


def _figure5(run: Run) -> Caption:
    table = run.table("splice")
    clips = "" if table is None else f" on {wording.count(int(table['n_clips'].iloc[0]), 'test clip')}"
    return Caption(
        "What does the model still do on reconstructions?",
        f"The model run{clips} with one layer replaced: by itself (untouched), by what each dictionary makes of it "
        "(blue), by as many principal components as it has latents on (PCA), by its mean over training rows, and by "
        "zero (grey). Thin lines: 95\u00a0% intervals for clips of new groups. Percentages: how much of what zero "
        "loses is recovered.",
        "Blue near untouched: the codes keep what the model itself needs of this layer, whatever a probe can read. "
        "Blue no lower than PCA: as few numbers do as well without a dictionary. No lower than the mean: they keep "
        "nothing of it that counts.",
    )


def _figure6(run: Run) -> Caption:
    table = run.table("erasure")
    target = "the label" if table is None else f"“{table['target'].iloc[0]}”"
    return Caption(
        "Can one label be taken out, and the others left?",
        f"Fresh probes of what is left once {target} is erased. Solid: the latents that tell it best, more and more of "
        "them, each set to its mean (bands: range over seeds); dotted: as many latents of equal frequency drawn at "
        "random. Diamonds: edits in closed form, LEACE, mean projection, and as many random directions. Thin dashed: "
        "what always saying the commonest class gets.",
        "A solid curve of the target that falls while the others stay: the label lies in latents of its own. Where "
        "LEACE leaves more of the others at less of the target, directions do better than latents do.",
    )


def _collapsed(run: Run) -> str:
    """Warn of codes that are drawn though nothing is claimed of them."""
    n = len(collapsed(run))
    if not n:
        return ""
    said = f"{wording.count(n, 'dictionary that', 'dictionaries that')} collapsed (see the table of health)"
    return f" Drawn too: codes of {said}, which say nothing about sparse codes."


def _base(run: Run) -> str:
    """Say by the log of what completeness is divided."""
    table = run.table("disentanglement")
    bases = sorted(set(table["base"].dropna().astype(int))) if table is not None else []
    bases = [base for base in bases if base > 0]
    if len(bases) == 1:
        return f"by the log of {bases[0]:,} for all"
    return "by the log of one width for all representations of a layer"


def _mixed(run: Run) -> str:
    """Name the factors that nearest neighbours say nothing of."""
    entropy = run.table("factor_entropy")
    if entropy is None or entropy_of(run) != entropy_column("knn") or not entropy["mixed"].any():
        return ""
    names = list(entropy.loc[entropy["mixed"], "factor"])
    listed = wording.listing(names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"])
    return f" Left out, since most of their values are tied (“mixed”): {listed}."


def _rates(run: Run) -> str:
    rate = base_rate(run)
    if rate is None:
        return ""
    listed = [f"{family} {wording.percent(share, 0)}" for family, share in rate.items()]
    return f" ({', '.join(listed)})"


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
