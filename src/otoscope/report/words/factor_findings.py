"""What came out about factors, in sentences: what is predicted, in how few dimensions, and how sure that is."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from otoscope import wording
from otoscope.claims.evidence import LEVEL, negative_rank_correlation
from otoscope.report.numbers.details import free_shares, problem_counts
from otoscope.report.numbers.dictionaries import collapse
from otoscope.report.numbers.factors import best_factors, entropy_points, spearman
from otoscope.report.numbers.headlines import FEWEST_FACTORS, factors_asked, main_layer, representations
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run, completeness_of, empty_counts, entropy_of, in_sample, min_r2, score_of
from otoscope.report.words.finding import Finding, not_tested, place_of
from otoscope.results import DENSE, NULL_LABELS, NULLS, entropy_column, nearest_sparsity, trained_codes

PERMUTATIONS = 10_000
"""By which the finding on entropy is judged, as the claim is (`otoscope.claims.claims`)."""


def factor_findings(run: Run) -> list[Finding | None]:
    """Return what the tables of factors say, None for what lacks its table."""
    return [_factors(run), _disentanglement(run), _not_unique(run), _entropy(run)]


def _factors(run: Run) -> Finding | None:
    table, best = run.table("disentanglement"), best_factors(run)
    if table is None or best.empty:
        return None
    info = run.table("factors_info")
    units = {} if info is None else dict(zip(info["name"], info["unit"]))
    named = []
    for row in rows_of(best.head(3)):
        source = "dense" if row.representation == DENSE else f"codes at {wording.sparsity(row.sparsity)}"
        place = wording.place(row.encoder, row.layer, encoders=table["encoder"].nunique())
        unit = f"; {units[row.factor]}" if units.get(row.factor) else ""
        named.append(f"{row.factor} ({wording.number(row.score)}{unit}; {place}, {source})")
    how = "on groups that were held out (cross-validated R²)"
    if in_sample(run):
        how = "on the very clips they were fitted on (in-sample R²; nothing was held out)"
    above = int((best["score"].round(2) >= 0.7).sum())  # as it is written
    text = f"Best predicted {how}: {wording.listing(named)}. Of {wording.count(len(best), 'factor')}, "
    text += f"{above} {'reaches' if above == 1 else 'reach'} 0.70 from some layer or code"
    below = list(best.loc[best["score"] < min_r2(run), "factor"])
    if below:
        names = wording.listing([*below[:4], *(["others"] if len(below) > 4 else [])])
        text += f"; {names} {'stays' if len(below) == 1 else 'stay'} below {wording.number(min_r2(run))} everywhere"
    if not in_sample(run) and best["label_owned"].any():
        text += ". Told mostly by the label alone, and so ranked by what is held beyond it: "
        text += _some(best.loc[best["label_owned"], "factor"])
    problems = problem_counts(run)
    if problems:
        n = run.tables["factor_problems"]["clip_id"].nunique()
        text += f". Some factors could not be measured in {wording.count(n, 'clip')} ({problems[0][0]}"
        text += " and other reasons)" if len(problems) > 1 else ")"
    return Finding("Which properties of the sound are there", text + ".")


def _disentanglement(run: Run) -> Finding | None:
    place, lead = main_layer(run), "How disentangled the codes are"
    if place is None or run.table("disentanglement_summary") is None:
        return None
    table = representations(run, *place)
    few = _too_few(run, place, lead, table)
    if few is not None:
        return few
    table = table.dropna(subset=["completeness"])
    rows = {row.representation: row for row in rows_of(table)}
    codes, dense = next(iter(rows_of(trained_codes(table))), None), rows.get(DENSE)
    if codes is None or dense is None:
        return None
    if collapse(run, *place, codes.sparsity):
        return not_tested(run, place, lead)
    nulls = [rows[name] for name in NULLS if name in rows and name != "label"]
    say = _by_completeness if in_sample(run) else _by_dimensions
    text = f"In {place_of(run, *place)}, {say(codes, dense, nulls)}"
    if not math.isnan(codes.r2_label):
        text += " The label alone, without any audio, predicts these factors with a mean R² of "
        text += f"{wording.number(codes.r2_label)}; beyond it the codes hold {wording.number(codes.r2_beyond)}, the "
        text += f"dense state {wording.number(dense.r2_beyond)}."
    if empty_counts(run):
        text += " By this run's rules, a factor of which the Lasso keeps nothing counts as completeness 1."
    text += f" These means carry no interval ({wording.count(codes.seeds, 'seed')}): small differences mean little."
    return Finding(lead, text)


def _too_few(run: Run, place: tuple[str, int | str], lead: str, table: pd.DataFrame) -> Finding | None:
    """Return what is said where codes hold too few of the factors for a mean over them; None where they hold enough."""
    codes = next(iter(rows_of(trained_codes(table))), None)
    if in_sample(run) or codes is None or not codes.n_factors < FEWEST_FACTORS:
        return None
    if collapse(run, *place, codes.sparsity):
        return not_tested(run, place, lead)
    asked = factors_asked(run)
    others = [
        f"{row.representation if row.representation == DENSE else NULL_LABELS[row.representation]} "
        f"{row.n_factors:.0f} (R² {wording.number(row.r2)})"
        for row in rows_of(table)
        if row.representation in (DENSE, *NULLS)
    ]
    text = f"In {place_of(run, *place)}, the codes at {wording.sparsity(codes.sparsity)} sparsity hold "
    text += f"{codes.n_factors:.0f} of {wording.count(asked, 'factor')} at all (mean R² of the {asked} "
    text += f"{wording.number(codes.r2)}): too few to say how many dimensions a factor takes."
    text += f" Of the same factors: {wording.listing(others)}." if others else ""
    better = [row for row in rows_of(table) if row.representation in NULLS and row.representation != "label"]
    better = [row for row in better if row.r2 >= codes.r2 and row.n_factors >= codes.n_factors]
    return Finding(lead, text + _no_credit(better))


def _by_dimensions(codes: Any, dense: Any, nulls: list[Any]) -> str:
    """Say it in effective dimensions, which need no base; completeness, on one base, stands behind."""
    text = f"a factor takes {_dims(codes.effective_dims)} effective dimensions in the codes at "
    text += f"{wording.sparsity(codes.sparsity)} sparsity and {_dims(dense.effective_dims)} in the dense state (mean "
    text += f"R² {wording.number(codes.r2)} and {wording.number(dense.r2)}; mean completeness, on one base, "
    text += f"{wording.number(codes.completeness)} and {wording.number(dense.completeness)})."
    if not math.isnan(codes.effective_dims_matched + dense.effective_dims_matched):
        text += f" Of the sparsest fits within .01 of the best R²: {_dims(codes.effective_dims_matched)} and "
        text += f"{_dims(dense.effective_dims_matched)}."
    if nulls:
        listed = [
            f"{NULL_LABELS[null.representation]} {_dims(null.effective_dims)} (R² {wording.number(null.r2)})"
            for null in nulls
        ]
        text += f" The nulls: {wording.listing(listed)}."
    # fewer dimensions for a lower R2 are no merit
    as_good = [n for n in nulls if n.effective_dims <= codes.effective_dims and n.r2 >= codes.r2 - 0.01]
    return text + _no_credit(as_good)


def _by_completeness(codes: Any, dense: Any, nulls: list[Any]) -> str:
    """Say it in completeness as published, each by the log of its own width; dimensions stand behind."""
    text = f"mean completeness is {wording.number(codes.completeness)} in the codes at "
    text += f"{wording.sparsity(codes.sparsity)} sparsity and {wording.number(dense.completeness)} in the dense state"
    if not math.isnan(codes.effective_dims + dense.effective_dims):
        text += f"; a factor takes {_dims(codes.effective_dims)} effective dimensions in the codes, "
        text += f"{_dims(dense.effective_dims)} in the dense state"
    text += f" (mean R² {wording.number(codes.r2)} and {wording.number(dense.r2)})."
    if nulls:
        listed = [
            f"{NULL_LABELS[null.representation]} {wording.number(null.completeness)} (R² {wording.number(null.r2)})"
            for null in nulls
        ]
        text += f" The nulls: {wording.listing(listed)}."
    return text + _no_credit([null for null in nulls if null.completeness >= codes.completeness])


def _no_credit(as_good: list[Any]) -> str:
    names = wording.listing([NULL_LABELS[null.representation] for null in as_good])
    return f" Codes do not beat {names}, so sparse training cannot take the credit." if as_good else ""


def _not_unique(run: Run) -> Finding | None:
    shares = free_shares(run)
    if shares is None or not (shares["share"] > 0).any():
        return None
    codes = trained_codes(shares)
    means = codes.groupby("sparsity")["share"].mean()
    worst = means.idxmax()
    if not means.max() > 0:
        return None
    text = f"In the codes of {wording.sparsity(worst)} sparsity, the Lasso has more than one solution for "
    text += f"{wording.percent(means[worst], 0)} of the factors"
    usual = nearest_sparsity(codes["sparsity"])
    if usual is not None and usual != worst:
        text += f" (in those of {wording.sparsity(usual)}: {wording.percent(means[usual], 0)})"
    text += (
        ": latents that fire for the same clips can stand in for each other, so the weights, and with them "
    )
    text += "completeness, could as well be others. Another correct solver may report other numbers there."
    return Finding("Where completeness is not unique", text)


def _entropy(run: Run) -> Finding | None:
    table, entropy, place = run.table("disentanglement"), run.table("factor_entropy"), main_layer(run)
    if table is None or entropy is None or place is None:
        return None
    floor = None if in_sample(run) else min_r2(run)
    points = entropy_points(
        table,
        entropy,
        score=score_of(run),
        column=entropy_of(run),
        min_r2=floor,
        completeness=completeness_of(run),
    )
    points = points[(points["encoder"] == place[0]) & (points["layer"] == place[1]) & points["counted"]]
    if collapse(run, *place, nearest_sparsity(trained_codes(table)["sparsity"]) or 0.0):
        return not_tested(run, place, "Entropy")
    rho, n = spearman(points["entropy"], points["completeness"]), len(points)
    if math.isnan(rho):
        return None
    points = points.sort_values("factor")
    _, p = negative_rank_correlation(
        points["entropy"].to_numpy(),
        points["completeness"].to_numpy(),
        n_permutations=PERMUTATIONS,
        seed=[run.spec.get("seed", 0), 0],
    )
    noun = "factor" if floor is None else "predicted factor"
    lower = "factors of higher entropy have lower completeness"
    text = f"In {place_of(run, *place)}, " + (lower if p < LEVEL else f"that {lower} is not shown")
    text += f": Spearman's ρ = {wording.number(rho)} over {wording.count(n, noun)}; of unrelated rankings of that many "
    text += f"{wording.percent(p)} come out as low."
    if entropy_of(run) == entropy_column("knn") and entropy["mixed"].any():
        text += f" Left out, since most of their values are tied: {_some(entropy.loc[entropy['mixed'], 'factor'])}."
    return Finding("Entropy", text)


def _some(names: pd.Series) -> str:
    known = list(names)
    return wording.listing(known if len(known) <= 6 else [*known[:5], f"{len(known) - 5} more"])


def _dims(value: float) -> str:
    return wording.number(value, 1 if value < 20 else 0)
