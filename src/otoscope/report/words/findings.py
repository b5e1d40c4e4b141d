"""What came out, in sentences: every number is read from a table, and nothing is claimed beyond its interval."""

from __future__ import annotations

import math

import pandas as pd

from otoscope import wording
from otoscope.report.numbers.details import latents_needed
from otoscope.report.numbers.dictionaries import collapse, pca_errors
from otoscope.report.numbers.groups import few_groups
from otoscope.report.numbers.headlines import (
    Best,
    best_layers,
    code_drops,
    comparison,
    main_layer,
)
from otoscope.report.numbers.means import curves_of, over_seeds
from otoscope.report.run import Run, metric_of, picked_on_test
from otoscope.report.words.factor_findings import factor_findings
from otoscope.report.words.finding import Finding, not_tested, place_of
from otoscope.report.words.groups import gain_by_group, named_groups, too_few, what_would_tell
from otoscope.report.words.intervention_findings import intervention_findings
from otoscope.results import DENSE, HEADLINE_SPARSITY, METRIC_LABELS, at_nearest_sparsity, trained_codes


def findings(run: Run) -> list[Finding]:
    """Return what the run's tables say, in the order a newcomer asks; what lacks its table is left out."""
    found = [
        _best_layer(run),
        _gain(run),
        _codes(run),
        _few_latents(run),
        _reconstruction(run),
        *factor_findings(run),
        *intervention_findings(run),
    ]
    return [finding for finding in found if finding is not None]


def _best_layer(run: Run) -> Finding | None:
    bests = best_layers(run)
    if not bests:
        return None
    best, metric = bests[0], metric_of(run)
    label = run.summary.get("label")
    what = f"the label “{label}”" if label else "the label"
    interval = wording.score_interval(best.low, best.high, metric, groups=best.groups, trusted=best.trusted)
    score = wording.score(best.score, metric) + (f" ({interval})" if interval else "")
    text = wording.sentence_case(place_of(run, best.encoder, best.layer))
    elsewhere = best.peak_layer != best.layer
    text += f" was picked for {what}, without the test clips: " if elsewhere else f" holds {what} best: "
    if metric == "accuracy":
        text += f"from it, a linear probe gets {score} of the test clips right"
    else:
        text += f"the probe's {METRIC_LABELS.get(metric, metric)} on the test clips is {score}"
    text += f"{_against_chance(run, best)}{named_groups(run, best.encoder, best.layer)}"
    if elsewhere:
        peak = wording.sentence_case(place_of(run, best.encoder, best.peak_layer))
        text += f" {peak} would have done better on them ({wording.score(best.peak_score, metric)})."
    elif picked_on_test(run):
        text += " It was picked by the same test clips that score it, which flatters it a little."
    if len(bests) > 1:
        others = [f"{b.encoder} {wording.score(b.score, metric)} (layer {b.layer})" for b in bests[1:]]
        text += f" The best layers of the others: {wording.listing(others)}."
    more, command = what_would_tell(run)
    return Finding("Best layer", text + more, command)


def _against_chance(run: Run, best: Best) -> str:
    """Say what chance is, and whether the interval reaches down to it."""
    chance, metric = run.summary.get("chance"), metric_of(run)
    if chance is None or metric != "accuracy":
        return "."
    text = f"; always saying the commonest class would get {wording.score(chance, metric)}."
    if best.low <= chance:
        text += " The interval reaches down to that, so the probe is not shown to do better."
    return text


def _gain(run: Run) -> Finding | None:
    metric = metric_of(run)
    rows = [row for best in best_layers(run) if (row := comparison(run, best.encoder)) is not None]
    stayed = [str(row["encoder"]) for row in rows if row["layer"] == 0]
    rows = [row for row in rows if row["layer"] != 0]
    if not rows and not stayed:
        return None
    several = len(best_layers(run)) > 1
    verdicts: dict[str, list[str]] = {}
    for row in rows:
        low, high = row["difference_low"], row["difference_high"]
        interval = wording.difference_interval(low, high, metric, groups=row["n_groups"])
        size = wording.difference(row["difference"], metric) + (f" ({interval})" if interval else "")
        name = f"Layer {row['layer']}" + (f" of {row['encoder']}" if several else "")
        if math.isnan(low) and few_groups(run):
            size += gain_by_group(run, str(row["encoder"]), row["layer"])
        verdicts.setdefault(_verdict(run, low, high), []).append(f"{name} against layer 0: {size}")
    said = [f"{'; '.join(names)}. {verdict}" for verdict, names in verdicts.items()]
    if stayed:
        said.append(f"For {wording.listing(stayed)} layer 0 itself was picked, so nothing is compared.")
    said.append("Layer 0 is what enters the first block.")
    return Finding("What the blocks add", " ".join(said))


def _verdict(run: Run, low: float, high: float) -> str:
    """Say what an interval of a difference allows to claim."""
    if (math.isnan(low) or math.isnan(high)) and few_groups(run):
        return f"{wording.sentence_case(too_few(run))} for an interval, so nothing is claimed."
    if math.isnan(low) or math.isnan(high):
        return "No interval was computed, so nothing is claimed."
    if low <= 0 <= high:
        return "The interval includes 0: that the blocks add anything for this label is not shown."
    if low > 0:
        return "The interval is above 0: the blocks add something for this label."
    return "The interval is below 0: for this label the blocks lose something."


def _codes(run: Run) -> Finding | None:
    place, metric = main_layer(run), metric_of(run)
    everywhere = code_drops(run)
    drops = [drop for drop in everywhere if (drop.encoder, drop.layer) == place]
    if not drops or place is None:
        return None
    sound = [drop for drop in everywhere if not collapse(run, drop.encoder, drop.layer, drop.sparsity)]
    n_collapsed = len(everywhere) - len(sound)
    everywhere, drops = sound, [drop for drop in sound if drop in drops]
    if not drops:
        return not_tested(run, place, "What the codes keep")
    usual = [drop for drop in drops if drop.sparsity < HEADLINE_SPARSITY + 0.01] or drops
    changes = [-drop.drop for drop in usual]
    text = f"Probing the sparse codes of {place_of(run, *place)} instead of its dense state changes the score by "
    if len(usual) > 1:
        text += f"{wording.difference_range(min(changes), max(changes), metric)} "
        text += (
            f"at {wording.sparsity(usual[0].sparsity)} to {wording.sparsity(usual[-1].sparsity)} sparsity."
        )
    else:
        text += f"{wording.difference(changes[0], metric)} at {wording.sparsity(usual[0].sparsity)} sparsity."
    if all(drop.shown is not None for drop in usual):
        shown, cases = sum(bool(drop.shown) for drop in usual), wording.count(len(usual), "case")
        if shown and len(usual) == 1:
            text += " The interval of the difference excludes 0."
        elif shown:
            text += f" In {shown} of these {cases} the interval of the difference excludes 0."
        else:
            text += " The interval" if len(usual) == 1 else f" In none of these {cases} does the interval"
            text += f" of the difference {'includes' if len(usual) == 1 else 'exclude'} 0."
    elif few_groups(run):
        text += (
            f" {wording.sentence_case(too_few(run))} for an interval: no loss is shown, and none ruled out."
        )
    if n_collapsed:
        text += f" {wording.sentence_case(wording.count(n_collapsed, 'dictionary', 'dictionaries'))} that collapsed "
        text += f"{'is' if n_collapsed == 1 else 'are'} left out."
    worst = max(everywhere, key=lambda drop: drop.drop)
    if worst.drop <= 0:
        return Finding("What the codes keep", f"{text} In no layer do codes do worse than the dense state.")
    size = wording.difference(worst.drop, metric).lstrip("+")
    interval = wording.difference_interval(worst.low, worst.high, metric, groups=worst.groups)
    where = f"{place_of(run, worst.encoder, worst.layer)} at {wording.sparsity(worst.sparsity)}"
    text += f" The largest drop of all is {size} ({where}{f'; {interval}' if interval else ''})"
    text += ", which is not shown to be more than chance." if worst.shown is False else "."
    return Finding("What the codes keep", text)


def _few_latents(run: Run) -> Finding | None:
    """Say by how few latents a typical class is told apart, in codes and in the dense state."""
    needed, place = latents_needed(run), main_layer(run)
    if needed is None or place is None:
        return None
    here = needed[(needed["encoder"] == place[0]) & (needed["layer"] == place[1])]
    codes, dense = trained_codes(here), here[here["representation"] == DENSE]
    codes = at_nearest_sparsity(codes)
    if codes.empty:
        return None
    if collapse(run, *place, codes["sparsity"].iloc[0]):
        return not_tested(run, place, "How few latents a class needs")
    ks = codes.set_index("class")["k_needed"]
    half = wording.count(_half(ks), "latent")
    text = f"In the codes of {place_of(run, *place)} at {wording.sparsity(codes['sparsity'].iloc[0])} sparsity, half "
    text += f"of the {len(ks)} classes are told apart nearly as well by {half} or fewer as by the whole code "
    text += "(95\u00a0% of its average precision, by the validation clips)."
    if ks.min() < ks.max():
        text += f" Fewest, {ks.min():.0f}, for {_tied(ks, ks.min())}; most, {ks.max():,.0f}, for {_tied(ks, ks.max())}."
    if len(dense):
        text += (
            f" From the dense state, half of them need {wording.count(_half(dense['k_needed']), 'dimension')}"
        )
        text += " or fewer."
    return Finding("How few latents a class needs", text)


def _tied(ks: pd.Series, k: float) -> str:
    """Name all classes that need `k`, or the first three of them and how many more."""
    names = [str(name) for name in ks.index[ks == k]]
    return wording.listing(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def _half(ks: pd.Series) -> int:
    return int(ks.quantile(0.5, interpolation="lower"))


def _reconstruction(run: Run) -> Finding | None:
    table, place = run.table("reconstruction"), main_layer(run)
    if table is None or place is None:
        return None
    curves = curves_of(over_seeds(table, "fvu", by=("encoder", "layer", "sparsity")))
    curve = curves.get(place)
    if curve is None or len(curve) < 2:
        return None
    first, last = curve.iloc[0], curve.iloc[-1]
    text = f"Rebuilt from its codes, {place_of(run, *place)} lacks {wording.percent(first['mean'])} of its variance on "
    text += f"test clips (FVU) at {wording.sparsity(first['sparsity'])} sparsity and {wording.percent(last['mean'])} "
    text += f"at {wording.sparsity(last['sparsity'])}."
    steady = sum(bool(other["mean"].is_monotonic_increasing) for other in curves.values())
    rising = sum(bool(other["mean"].iloc[-1] > other["mean"].iloc[0]) for other in curves.values())
    of_all = " in every layer" if len(curves) > 1 else ""
    if steady == len(curves):
        text += f" The loss rises with every step of sparsity{of_all}."
    elif rising == len(curves):
        text += f" The loss rises from the lowest to the highest sparsity{of_all}, though not at every step."
    elif len(curves) == 1:
        text += " The loss does not rise from the lowest to the highest sparsity."
    else:
        text += (
            f" The loss rises from the lowest to the highest sparsity in {rising} of {len(curves)} layers."
        )
    text += _pca(run, place, curve)
    return Finding("What the codes lose", text)


def _pca(run: Run, place: tuple[str, int | str], curve: pd.DataFrame) -> str:
    """Say where principal components, as many as latents are active, lose more or less than the codes."""
    pca = pca_errors(run)
    if pca is None:
        return ""
    theirs = curves_of(over_seeds(pca, "fvu", by=("encoder", "layer", "sparsity"))).get(place)
    if theirs is None:
        return ""
    both = curve.merge(theirs, on="sparsity", suffixes=("", "_pca"))
    worse = list(both.loc[both["mean"] >= both["mean_pca"], "sparsity"])
    text = " PCA with as many components as latents are active"
    if not worse:
        return f"{text} loses more at every sparsity."
    if len(worse) == len(both):
        return f"{text} loses less, or as little, at every sparsity."
    return (
        f"{text} loses less at {wording.listing([wording.sparsity(s) for s in worse])}, and more elsewhere."
    )
