"""What came out, in sentences: every number is read from a table, and nothing is claimed beyond its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from otoscope.report import wording
from otoscope.report.headlines import (
    SPARSITY,
    best_factors,
    best_layers,
    code_drops,
    comparison,
    entropy_points,
    main_layer,
    r2_column,
    representations,
    spearman,
)
from otoscope.report.rules import empty_counts, entropy_column, in_sample, metric_of, min_r2, picked_on_test
from otoscope.report.runs import NULLS, Run, codes_of, curves_of, over_seeds, rows_of


@dataclass(frozen=True)
class Finding:
    """A sentence or two, and the few words it is about."""

    lead: str
    text: str


def findings(run: Run) -> list[Finding]:
    """Return what the run's tables say, in the order a newcomer asks; what lacks its table is left out."""
    found = [
        _best_layer(run),
        _gain(run),
        _codes(run),
        _reconstruction(run),
        _factors(run),
        _disentanglement(run),
        _entropy(run),
    ]
    return [finding for finding in found if finding is not None]


def _best_layer(run: Run) -> Finding | None:
    bests = best_layers(run)
    if not bests:
        return None
    best, metric = bests[0], metric_of(run)
    label = run.summary.get("label")
    what = f"the label “{label}”" if label else "the label"
    interval = wording.score_interval(best.low, best.high, metric)
    score = wording.score(best.score, metric) + (f" ({interval})" if interval else "")
    text = wording.sentence_case(_place(run, best.encoder, best.layer))
    elsewhere = best.peak_layer != best.layer
    text += f" was picked for {what}, without the test clips: " if elsewhere else f" holds {what} best: "
    if metric == "accuracy":
        text += f"from it, a linear probe gets {score} of the test clips right"
    else:
        text += f"{_metric_name(metric)} on the test clips is {score}"
    chance = run.summary.get("chance")
    if chance is not None and metric == "accuracy":
        text += f"; always saying the commonest class would get {wording.score(chance, metric)}."
        if best.low <= chance:
            text += " The interval reaches down to that, so the probe is not shown to do better."
    else:
        text += "."
    if elsewhere:
        peak = wording.sentence_case(_place(run, best.encoder, best.peak_layer))
        text += f" {peak} would have done better on them ({wording.score(best.peak_score, metric)})."
    elif picked_on_test(run):
        text += " It was picked by the same test clips that score it, which flatters it a little."
    if len(bests) > 1:
        others = [f"{b.encoder} {wording.score(b.score, metric)} (layer {b.layer})" for b in bests[1:]]
        text += f" The best layers of the others: {wording.listing(others)}."
    return Finding("Best layer", text)


def _gain(run: Run) -> Finding | None:
    metric = metric_of(run)
    rows = [row for best in best_layers(run) if (row := comparison(run, best.encoder)) is not None]
    if not rows:
        return None
    several = len(best_layers(run)) > 1
    verdicts: dict[str, list[str]] = {}
    for row in rows:
        low, high = row["difference_low"], row["difference_high"]
        interval = wording.difference_interval(low, high, metric)
        size = wording.difference(row["difference"], metric) + (f" ({interval})" if interval else "")
        name = wording.sentence_case(str(row["a"])) + (f" of {row['encoder']}" if several else "")
        verdicts.setdefault(_verdict(low, high), []).append(f"{name} against {row['b']}: {size}")
    said = [f"{'; '.join(names)}. {verdict}" for verdict, names in verdicts.items()]
    said.append("Layer 0 is what enters the first block.")
    return Finding("What the blocks add", " ".join(said))


def _verdict(low: float, high: float) -> str:
    """Say what an interval of a difference allows to claim."""
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
    usual = [drop for drop in drops if drop.sparsity < SPARSITY + 0.01] or drops
    changes = [-drop.drop for drop in usual]
    text = (
        f"Probing the sparse codes of {_place(run, *place)} instead of its dense state changes the score by "
    )
    if len(usual) > 1:
        text += f"{wording.difference_range(min(changes), max(changes), metric)} "
        text += (
            f"at {wording.sparsity(usual[0].sparsity)} to {wording.sparsity(usual[-1].sparsity)} sparsity."
        )
    else:
        text += f"{wording.difference(changes[0], metric)} at {wording.sparsity(usual[0].sparsity)} sparsity."
    if all(drop.shown is not None for drop in usual):
        shown, cases = sum(bool(drop.shown) for drop in usual), wording.count(len(usual), "case")
        if shown:
            text += f" In {shown} of these {cases} the interval of the difference excludes 0."
        else:
            text += f" In none of these {cases} does the interval of the difference exclude 0."
    worst = max(everywhere, key=lambda drop: drop.drop)
    if worst.drop <= 0:
        return Finding("What the codes keep", f"{text} In no layer do codes do worse than the dense state.")
    size = wording.difference(worst.drop, metric).lstrip("+")
    interval = wording.difference_interval(worst.low, worst.high, metric)
    where = f"{_place(run, worst.encoder, worst.layer)} at {wording.sparsity(worst.sparsity)}"
    text += f" The largest drop of all is {size} ({where}{f'; {interval}' if interval else ''})"
    text += ", which is not shown to be more than chance." if worst.shown is False else "."
    return Finding("What the codes keep", text)


def _reconstruction(run: Run) -> Finding | None:
    table, place = run.table("reconstruction"), main_layer(run)
    if table is None or place is None:
        return None
    curves = curves_of(over_seeds(table, "fvu", by=("encoder", "layer", "sparsity")))
    curve = curves.get(place)
    if curve is None or len(curve) < 2:
        return None
    first, last = curve.iloc[0], curve.iloc[-1]
    text = f"Rebuilt from its codes, {_place(run, *place)} lacks {wording.percent(first['mean'])} of its variance on "
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
    return Finding("What the codes lose", text)


def _factors(run: Run) -> Finding | None:
    table, best = run.table("disentanglement"), best_factors(run)
    if table is None or best.empty:
        return None
    named = []
    for row in rows_of(best.head(3)):
        source = "dense" if row.representation == "dense" else f"codes at {wording.sparsity(row.sparsity)}"
        place = wording.place(row.encoder, row.layer, encoders=table["encoder"].nunique())
        named.append(f"{row.factor} ({wording.number(row.score)}; {place}, {source})")
    how = "on groups that were held out (cross-validated R²)"
    if r2_column(table) == "r2":
        how = "on the very clips they were fitted on (in-sample R²; nothing was held out)"
    above = int((best["score"].round(2) >= 0.7).sum())  # as it is written
    text = f"Best predicted {how}: {wording.listing(named)}. Of {wording.count(len(best), 'factor')}, "
    text += f"{above} {'reaches' if above == 1 else 'reach'} 0.70 from some layer or code"
    below = list(best.loc[best["score"] < min_r2(run), "factor"])
    if below:
        names = wording.listing([*below[:4], *(["others"] if len(below) > 4 else [])])
        text += f"; {names} {'stays' if len(below) == 1 else 'stay'} below {wording.number(min_r2(run))} everywhere"
    return Finding("Which properties of the sound are there", text + ".")


def _disentanglement(run: Run) -> Finding | None:
    place, summary = main_layer(run), run.table("disentanglement_summary")
    if place is None or summary is None:
        return None
    table = representations(run, *place).dropna(subset=["completeness"])
    rows = {row.representation: row for row in rows_of(table)}
    codes, dense = next(iter(rows_of(codes_of(table))), None), rows.get("dense")
    if codes is None or dense is None:
        return None
    text = f"In {_place(run, *place)}, mean completeness is {wording.number(codes.completeness)} in the codes at "
    text += f"{wording.sparsity(codes.sparsity)} sparsity and {wording.number(dense.completeness)} in the dense state"
    if not math.isnan(codes.effective_dims + dense.effective_dims):
        text += f"; a factor takes {_dims(codes.effective_dims)} effective dimensions in the codes, "
        text += f"{_dims(dense.effective_dims)} in the dense state"
    text += f" (mean R² {wording.number(codes.r2)} and {wording.number(dense.r2)})."
    nulls = [rows[name] for name in NULLS if name in rows]
    if nulls:
        listed = [
            f"{wording.NULLS[null.representation]} {wording.number(null.completeness)} (R² {wording.number(null.r2)})"
            for null in nulls
        ]
        text += f" The nulls: {wording.listing(listed)}."
        as_good = [
            wording.NULLS[null.representation] for null in nulls if null.completeness >= codes.completeness
        ]
        if as_good:
            text += (
                f" Codes do not beat {wording.listing(as_good)}, so sparse training cannot take the credit."
            )
    if empty_counts(run):
        text += " By this run's rules, a factor of which the Lasso keeps nothing counts as completeness 1."
    seeds = wording.count(summary["seed"].nunique(), "seed")
    text += f" These means carry no interval ({seeds}): small differences mean little."
    return Finding("How disentangled the codes are", text)


def _entropy(run: Run) -> Finding | None:
    table, entropy, place = run.table("disentanglement"), run.table("factor_entropy"), main_layer(run)
    if table is None or entropy is None or place is None:
        return None
    floor = None if in_sample(run) else min_r2(run)
    points = entropy_points(table, entropy, sparsity=SPARSITY, column=entropy_column(run), min_r2=floor)
    points = points[(points["encoder"] == place[0]) & (points["layer"] == place[1]) & points["counted"]]
    rho, n = spearman(points["entropy"], points["completeness"]), len(points)
    if math.isnan(rho):
        return None
    chance = min(1.96 / math.sqrt(n - 1), 1.0)  # the normal approximation to rho of two unrelated rankings
    noun = "factor" if floor is None else "predicted factor"
    numbers = f"Spearman's ρ = {wording.number(rho)} over {wording.count(n, noun)}"
    text = f"In {_place(run, *place)}, "
    if abs(rho) < chance:
        text += f"no relation of a factor's entropy and its completeness is shown: {numbers}; unrelated rankings of "
        text += f"that many reach ±{wording.number(chance)} by chance."
    else:
        text += f"factors of higher entropy have {'lower' if rho < 0 else 'higher'} completeness: {numbers}; "
        text += f"unrelated rankings stay within ±{wording.number(chance)} in 95\u00a0% of cases."
    return Finding("Entropy", text)


def _place(run: Run, encoder: str, layer: int | str) -> str:
    table = run.table("layer_probing")
    encoders = table["encoder"].nunique() if table is not None else len(run.spec.get("encoders", [])) or 1
    return wording.place(encoder, layer, encoders=encoders)


def _metric_name(metric: str) -> str:
    return {"r2": "the probe's R²", "macro average precision": "the probe's macro average precision"}.get(
        metric, metric
    )


def _dims(value: float) -> str:
    return wording.number(value, 1 if value < 20 else 0)
