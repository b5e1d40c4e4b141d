"""What came out, in sentences: every number is read from a table, and nothing is claimed beyond its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from otoscope.report import wording
from otoscope.report.figures import NULL_NAMES, entropy_points, spearman
from otoscope.report.headlines import (
    SPARSITY,
    best_factors,
    best_layers,
    code_drops,
    comparison,
    main_layer,
    r2_column,
    representations,
)
from otoscope.report.runs import NULLS, Run, over_seeds


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


def metric_of(run: Run) -> str:
    """Return what the probes are scored by."""
    return str(run.summary.get("metric") or "accuracy")


def min_r2(run: Run) -> float:
    """Return the held-out R2 under which the run does not rank a factor."""
    return float((run.spec.get("disentanglement") or {}).get("min_r2") or 0.0)


def _best_layer(run: Run) -> Finding | None:
    bests = best_layers(run)
    if not bests:
        return None
    best, metric = bests[0], metric_of(run)
    label = run.summary.get("label")
    what = f"the label “{label}”" if label else "the label"
    interval = wording.score_interval(best.low, best.high, metric)
    score = wording.score(best.score, metric) + (f" ({interval})" if interval else "")
    where = _sentence_case(_place(run, best.encoder, best.layer))
    if metric == "accuracy":
        text = f"{where} holds {what} best: a linear probe on it names {score} of the test clips correctly"
    else:
        text = f"{where} holds {what} best: {_metric_name(metric)} on the test clips is {score}"
    chance = run.summary.get("chance")
    if chance is not None and metric == "accuracy":
        text += f"; always saying the commonest class would give {wording.score(chance, metric)}."
        if best.low <= chance:
            text += " The interval reaches down to that, so the probe has not been shown to do better."
    else:
        text += "."
    if best.peak_layer != best.layer:
        peak = _place(run, best.encoder, best.peak_layer)
        text += f" It was not picked by these clips: on them {peak} reaches {wording.score(best.peak_score, metric)}."
    elif run.protocol != "sound":
        text += " It was picked by the same test clips that score it, which flatters it a little."
    if len(bests) > 1:
        others = [f"{b.encoder} {wording.score(b.score, metric)} (layer {b.layer})" for b in bests[1:]]
        text += f" The best layers of the others: {wording.listing(others)}."
    return Finding("Best layer", text)


def _gain(run: Run) -> Finding | None:
    parts = []
    for best in best_layers(run):
        row = comparison(run, best.encoder)
        if row is None:
            continue
        metric = metric_of(run)
        change = row["difference"]
        interval = wording.difference_interval(row["difference_low"], row["difference_high"], metric)
        size = (
            f"{wording.difference(change, metric)} ({interval})"
            if interval
            else wording.difference(change, metric)
        )
        name = f"{best.encoder}: {row['a']}" if len(best_layers(run)) > 1 else _sentence_case(str(row["a"]))
        text = f"{name} against {row['b']}, which is what enters the first block: {size}"
        if not interval:
            text += "; no interval was computed."
        elif row["difference_low"] <= 0 <= row["difference_high"]:
            text += ". The interval includes 0: this run does not show that the blocks add anything for this label."
        elif change > 0:
            text += ". The interval is above 0: the blocks add something for this label."
        else:
            text += ". The interval is below 0: for this label the blocks lose something."
        parts.append(text)
    return Finding("What the blocks add", " ".join(parts)) if parts else None


def _codes(run: Run) -> Finding | None:
    place, metric = main_layer(run), metric_of(run)
    everywhere = code_drops(run)
    drops = [drop for drop in everywhere if (drop.encoder, drop.layer) == place]
    if not drops or place is None:
        return None
    usual = [drop for drop in drops if drop.sparsity <= 0.951] or drops
    changes = [-drop.drop for drop in usual]
    span = wording.sparsity(usual[0].sparsity)
    if len(usual) > 1:
        span += f" to {wording.sparsity(usual[-1].sparsity)}"
        changed = f"between {wording.difference(min(changes), metric)} and {wording.difference(max(changes), metric)}"
    else:
        changed = f"by {wording.difference(changes[0], metric)}"
    text = f"Reading {_place(run, *place)} from its sparse codes instead of its dense state changes the score {changed} "
    text += f"at {span} sparsity."
    worst = max(everywhere, key=lambda drop: drop.drop)
    if worst.drop <= 0:
        return Finding("What the codes keep", f"{text} No code of any layer does worse than its dense state.")
    where = f"{_place(run, worst.encoder, worst.layer)} at {wording.sparsity(worst.sparsity)} sparsity"
    text += f" The largest drop anywhere is {wording.difference(worst.drop, metric).lstrip('+')} ({where})"
    if worst.dense_in_interval:
        text += "; even there the dense score lies inside the codes' 95\u00a0% interval, so it may be chance."
    else:
        text += "; there the dense score lies outside the codes' 95\u00a0% interval."
    return Finding("What the codes keep", text)


def _reconstruction(run: Run) -> Finding | None:
    table, place = run.table("reconstruction"), main_layer(run)
    if table is None or place is None:
        return None
    points = over_seeds(table, "fvu", by=("encoder", "layer", "sparsity"))
    curves = {where: curve for where, curve in points.groupby(["encoder", "layer"], sort=False)}
    curve = curves.get(place)
    if curve is None or len(curve) < 2:
        return None
    first, last = curve.iloc[0], curve.iloc[-1]
    text = (
        f"The codes of {_place(run, *place)} leave {wording.percent(first['mean'])} of the variance of unseen clips "
        f"unexplained at {wording.sparsity(first['sparsity'])} sparsity and {wording.percent(last['mean'])} at "
        f"{wording.sparsity(last['sparsity'])} (FVU)."
    )
    steady = [where for where, other in curves.items() if other["mean"].is_monotonic_increasing]
    overall = [where for where, other in curves.items() if other["mean"].iloc[-1] > other["mean"].iloc[0]]
    many = len(curves) > 1
    if len(steady) == len(curves):
        text += f" The loss rises with every step of sparsity{', in every layer' if many else ''}."
    elif len(overall) == len(curves):
        text += f" The loss rises from the lowest to the highest sparsity{' in every layer' if many else ''}, not at every step."
    else:
        text += f" The loss rises from the lowest to the highest sparsity in {len(overall)} of {len(curves)} layers."
    return Finding("What the codes lose", text)


def _factors(run: Run) -> Finding | None:
    best = best_factors(run)
    if best.empty:
        return None
    table = run.table("disentanglement")
    assert table is not None  # or there were no best factors
    named = []
    for row in best.head(3).itertuples():
        source = "dense" if row.representation == "dense" else f"codes at {wording.sparsity(row.sparsity)}"
        place = wording.place(str(row.encoder), row.layer, encoders=table["encoder"].nunique())
        named.append(f"{row.factor} ({wording.number(row.score)}; {place}, {source})")
    how = "on groups that were held out (cross-validated R²)"
    if r2_column(table) == "r2":
        how = "in-sample, on the very clips they were fitted on (R²; nothing was held out)"
    above = int((best["score"] >= 0.7).sum())
    text = f"Best predicted {how}: {wording.listing(named)}. "
    text += f"{above} of {wording.count(len(best), 'factor')} {'reaches' if above == 1 else 'reach'} 0.70 or more somewhere"
    floor = min_r2(run)
    below = list(best.loc[best["score"] < floor, "factor"])
    if below:
        text += f"; {wording.listing(below[:4])}{' and others' if len(below) > 4 else ''} stay below {wording.number(floor)} everywhere"
    return Finding("Which properties of sound are there", text + ".")


def _disentanglement(run: Run) -> Finding | None:
    place = main_layer(run)
    if place is None:
        return None
    table = representations(run, *place).dropna(subset=["completeness"]).set_index("representation")
    names = [name for name in table.index if name not in ("dense", *NULLS)]
    if not names or "dense" not in table.index:
        return None
    codes, dense = table.loc[names[0]], table.loc["dense"]
    text = (
        f"In {_place(run, *place)}, codes at {wording.sparsity(codes['sparsity'])} sparsity reach a mean completeness of "
        f"{wording.number(codes['completeness'])} for their best-predicted factors, the dense state {wording.number(dense['completeness'])}"
    )
    if not math.isnan(codes["effective_dims"] + dense["effective_dims"]):
        text += f"; a factor takes {_dims(codes)} effective dimensions in the codes, {_dims(dense)} in the dense state"
    text += f" (mean R² {wording.number(codes['r2'])} and {wording.number(dense['r2'])})."
    nulls = table[table.index.isin([name for name in NULLS if name != "shuffled"])]
    if len(nulls):
        listed = [
            f"{NULL_NAMES[name][0]} {wording.number(row['completeness'])}" for name, row in nulls.iterrows()
        ]
        text += f" What learnt nothing gives: {wording.listing(listed)}."
        better = [
            NULL_NAMES[name][0]
            for name, row in nulls.iterrows()
            if row["completeness"] >= codes["completeness"]
        ]
        if better:
            text += f" {_sentence_case(wording.listing(better))} does as well or better, so sparse training cannot take the credit."
    n_seeds = run.table("disentanglement_summary")["seed"].nunique()  # type: ignore[index]
    text += (
        f" These means carry no interval ({wording.count(n_seeds, 'seed')}); small differences mean little."
    )
    return Finding("How disentangled the codes are", text)


def _entropy(run: Run) -> Finding | None:
    table, entropy, place = run.table("disentanglement"), run.table("factor_entropy"), main_layer(run)
    if table is None or entropy is None or place is None:
        return None
    points = entropy_points(table, entropy, sparsity=SPARSITY)
    points = points[(points["encoder"] == place[0]) & (points["layer"] == place[1])]
    rho = spearman(points["entropy"], points["completeness"])
    if math.isnan(rho):
        return None
    n = len(points)
    chance = min(1.96 / math.sqrt(n - 1), 1.0)  # the normal approximation to rho of two unrelated rankings
    numbers = f"Spearman's ρ = {wording.number(rho)} over {wording.count(n, 'factor')}"
    if abs(rho) < chance:
        text = f"In {_place(run, *place)}, no relation of a factor's entropy and its completeness is shown: {numbers}; "
        text += f"so few unrelated rankings reach ±{wording.number(chance)} by chance."
    else:
        direction = "lower" if rho < 0 else "higher"
        text = (
            f"In {_place(run, *place)}, factors of higher entropy have {direction} completeness: {numbers}; "
        )
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


def _dims(row: pd.Series) -> str:
    return wording.number(row["effective_dims"], 1 if row["effective_dims"] < 20 else 0)


def _sentence_case(text: str) -> str:
    """Capital first letter for our own words; an encoder's name stays as it is written."""
    own = ("layer", "the ", "untrained", "random")
    return text[0].upper() + text[1:] if text.startswith(own) else text
