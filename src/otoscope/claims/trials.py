"""The trial of each takeaway: from the tables of a run to numbers and a verdict, or a reason why there is none."""

from __future__ import annotations

import numpy as np

from otoscope import wording
from otoscope.claims import evidence, verdicts
from otoscope.claims.evidence import (
    FEWEST_FACTORS,
    Difference,
    Place,
    Rules,
    Tables,
    Untestable,
    best,
    by_place,
    difference,
    enough,
    headline,
)
from otoscope.claims.verdicts import Found, of, percent, span
from otoscope.results import CODES, DENSE, IN_PART, NOT_TESTED, NULL_LABELS, YES, layer_order, trained_codes

SPEARMAN = 0.9
"""Rank correlation of sparsity and error from which the error is said to grow."""
MARGIN = 0.05
"""Loss of accuracy or of R2 up to which it still counts as kept (non-inferiority)."""
UP_TO = 0.95
"""Sparsity up to which probing and R2 are said to be kept."""
LEVEL = 0.05
FEWEST_SPARSITIES, FEWEST_RANKED = 3, 5
TO_BEAT = {name: wording.with_article(NULL_LABELS[name]) for name in ("untrained", "random")}
"""The nulls that codes must beat."""


def error_grows(tables: Tables, rules: Rules) -> Found:
    """Test that reconstruction error grows with sparsity."""
    table = evidence.needed(tables, "reconstruction", "encoder", "layer", "sparsity", "mse")
    rhos: dict[Place, float] = {}
    for place, own in by_place(table.dropna(subset=["sparsity", "mse"])):
        means = own.groupby("sparsity")["mse"].mean()
        if len(means) >= FEWEST_SPARSITIES:
            rhos[place] = evidence.spearman(means.index.to_numpy(), means.to_numpy())
    if not rhos:
        raise Untestable(f"no layer has {FEWEST_SPARSITIES} sparsities with an error")
    excepted = {place: rho for place, rho in rhos.items() if "wavlm" in place[0].lower()}
    tested = {place: rho for place, rho in rhos.items() if place not in excepted}
    if not tested:
        raise Untestable(f"only WavLM was run, which the paper excepts (Spearman {span(excepted.values())})")
    grows = {place: rho >= SPEARMAN for place, rho in tested.items()}
    measured = f"Spearman {span(tested.values())}; at least {SPEARMAN} in {of(grows)}"
    below = [f"{verdicts.name(place)} {rho:.2f}" for place, rho in tested.items() if rho < SPEARMAN]
    measured += f" (below: {', '.join(below)})" if below else ""
    measured += f"; WavLM, which the paper excepts: {span(excepted.values())}" if excepted else ""
    return Found(measured, verdicts.overall(grows.values()), verdicts.scope(tested))


def probing_kept(tables: Tables, rules: Rules) -> Found:
    """Test that the accuracy of probes is kept in codes."""
    numbers = ["difference", "difference_low", "difference_high"]
    columns = ("encoder", "layer", "comparison", "sparsity", *numbers)
    table = evidence.needed(tables, "comparisons", *columns)
    table = table[(table.comparison == CODES) & (table.sparsity <= UP_TO + 1e-6)]
    at_chance = _at_chance(tables, rules)
    found: dict[Place, dict[float, Difference]] = {}
    nothing_to_keep = []
    for place, own in by_place(table):
        means = 100 * own.groupby("sparsity")[numbers].mean()
        if place in at_chance:
            nothing_to_keep.append(verdicts.name(place))
        elif not means.isna().any(axis=None):
            found[place] = {row.Index: Difference(*row[1:]) for row in means.itertuples()}
    aside = f"at chance, nothing to keep: {', '.join(nothing_to_keep)}" if nothing_to_keep else ""
    if not found:
        raise Untestable(
            aside or f"no codes up to {percent(UP_TO)} are compared with dense, with an interval"
        )
    return verdicts.kept(
        found,
        margin=100 * MARGIN,
        lead="codes minus dense",
        unit=" points",
        digits=1,
        where=verdicts.scope(found, f"codes up to {percent(UP_TO)} sparsity", aside),
    )


def r2_kept(tables: Tables, rules: Rules) -> Found:
    """Test that the mean R2 of the best-predicted factors is kept in codes."""
    found: dict[Place, dict[float, Difference]] = {}
    levels = []
    for place, own in by_place(evidence.lasso_rows(tables, rules)):
        dense = best(own[own.representation == DENSE], rules)
        codes = trained_codes(own)
        codes = codes[codes.sparsity <= UP_TO + 1e-6]
        if not enough(dense) or codes[rules.score].isna().all():
            continue
        # As many factors as dense ranks, ranked or not: one that codes no longer hold must count.
        sides = {
            float(s): best(codes[codes.sparsity == s], rules, n=len(dense), ranked=False)
            for s in codes.sparsity.unique()
        }
        found[place] = {s: difference(side, dense, rules.score, rules) for s, side in sides.items()}
        levels.append((dense[rules.score].mean(), sides[max(sides)][rules.score].mean()))
    if not found:
        raise Untestable(
            f"no layer has {FEWEST_FACTORS} factors ranked dense and codes up to {percent(UP_TO)}"
        )
    dense_r2, codes_r2 = np.mean(levels, axis=0)
    result = verdicts.kept(
        found,
        margin=MARGIN,
        lead=f"mean R2 {dense_r2:.2f} dense and {codes_r2:.2f} in the sparsest of these codes; codes minus dense",
        unit="",
        digits=2,
        where=verdicts.scope(found, f"codes up to {percent(UP_TO)} sparsity", verdicts.fit_scope(rules)),
    )
    return verdicts.as_fitted(result, rules)


def completeness_above(tables: Tables, rules: Rules) -> Found:
    """Test that completeness of codes is above that of the dense layer and of both nulls."""
    table = evidence.lasso_rows(tables, rules)
    wins: dict[str, dict[Place, bool]] = {name: {} for name in (DENSE, *TO_BEAT)}
    passed: dict[Place, bool] = {}
    levels, unequal = {}, []
    for place, own in by_place(table):
        codes, dense = best(headline(own), rules), best(own[own.representation == DENSE], rules)
        if not enough(codes, dense):
            continue
        others = {name: own[own.representation == name] for name in wins}
        outcomes = {name: evidence.above(codes, other, rules) for name, other in others.items()}
        for name, outcome in outcomes.items():
            if outcome is not None:
                wins[name][place] = outcome
        if False in outcomes.values() or None not in outcomes.values():
            passed[place] = False not in outcomes.values()
        sides = {"codes": codes} | {name: best(other, rules) for name, other in others.items()}
        levels[place] = {name: side.completeness.mean() for name, side in sides.items()}
        most_complete = best(headline(own), rules, by="completeness")
        unequal.append(most_complete.completeness.mean() - dense.completeness.mean())
    if not levels:
        raise Untestable(f"no layer has {FEWEST_FACTORS} ranked factors both dense and in codes")
    measured = f"{verdicts.levels(list(levels.values()), 2)}; codes above "
    called = {DENSE: "dense"} | TO_BEAT
    measured += wording.listing([f"{called[name]} in {of(own)}" for name, own in wins.items() if own])
    missing = [called[name] for name, own in wins.items() if not own]
    measured += f"; {wording.listing(missing)} could not be compared" if missing else ""
    if not rules.held_out:
        measured += f"; by the published, unequal selections codes minus dense is {np.mean(unequal):+.2f}"
    where = (verdicts.headline_scope(table), verdicts.fit_scope(rules))
    if not passed:
        return Found(measured, NOT_TESTED, verdicts.scope(levels, *where))
    result = Found(measured, verdicts.overall(passed.values()), verdicts.scope(passed, *where))
    return verdicts.as_fitted(result, rules)


def fewer_dimensions(tables: Tables, rules: Rules) -> Found:
    """Test that a factor takes fewer effective dimensions in codes than dense, at a held-out R2 no worse."""
    if not rules.held_out:
        raise Untestable("nothing was held out, so held-out R2 is not known; protocol sound tests this")
    table = evidence.lasso_rows(tables, rules)
    fewer, no_worse = {}, {}
    levels = []
    for place, own in by_place(table):
        codes, dense = best(headline(own), rules), best(own[own.representation == DENSE], rules)
        if not enough(codes, dense):
            continue
        as_many = best(headline(own), rules, n=len(dense), ranked=False)
        fewer[place] = difference(codes, dense, "effective_dims", rules).high < 0
        no_worse[place] = difference(as_many, dense, rules.score, rules).low > -MARGIN
        nulls = {name: best(own[own.representation == name], rules) for name in TO_BEAT}
        sides = {"codes": codes, DENSE: dense} | nulls
        levels.append({name: side.effective_dims.mean() for name, side in sides.items()})
    if not levels:
        raise Untestable(f"no layer has {FEWEST_FACTORS} ranked factors both dense and in codes")
    both = {place: fewer[place] and no_worse[place] for place in fewer}
    measured = f"{verdicts.levels(levels, 1)}; fewer than dense in {of(fewer)}, held-out R2 no worse in "
    measured += f"{of(no_worse)}, both in {of(both)}"
    where = (verdicts.headline_scope(table), verdicts.fit_scope(rules))
    return Found(measured, verdicts.overall(both.values()), verdicts.scope(both, *where))


def entropy_lowers_completeness(tables: Tables, rules: Rules) -> Found:
    """Test that factors of higher entropy have lower completeness."""
    table = evidence.lasso_rows(tables, rules)
    entropies = evidence.needed(tables, "factor_entropy", "factor", rules.entropy_column)
    entropy = entropies.set_index("factor")[rules.entropy_column].astype(float)
    rhos: dict[Place, float] = {}
    chances: dict[Place, float] = {}
    for index, (place, own) in enumerate(by_place(table)):
        codes = headline(own)
        points = codes[codes.ranked].groupby("factor")["completeness"].mean().to_frame()
        points["entropy"] = entropy.reindex(points.index)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) >= FEWEST_RANKED:
            rhos[place], chances[place] = evidence.negative_rank_correlation(
                points.entropy.to_numpy(),
                points.completeness.to_numpy(),
                n_permutations=rules.n_permutations,
                seed=[rules.seed, index],
            )
    if not rhos:
        raise Untestable(f"no layer has {FEWEST_RANKED} ranked factors with a completeness and an entropy")
    shown = evidence.holm(chances, level=LEVEL)
    measured = f"Spearman {span(rhos.values(), signed=True)}; below 0 beyond chance in {of(shown)}"
    measured += f" (p {span(chances.values(), 4)} before Holm's correction)"
    where = (verdicts.headline_scope(table), verdicts.fit_scope(rules))
    result = Found(measured, verdicts.overall(shown.values()), verdicts.scope(rhos, *where))
    return verdicts.as_fitted(result, rules)


def families_by_depth(tables: Tables, rules: Rules) -> Found:
    """Test that pitch is predicted best in early layers, formants in late ones."""
    table = evidence.lasso_rows(tables, rules, "family")
    found: dict[str, dict[str, Difference]] = {"pitch": {}, "formants": {}}
    pairs = []
    for encoder, own in table.groupby("encoder", sort=False):
        layers = sorted(own.layer.unique(), key=layer_order)
        if len(layers) < 2:
            continue
        early, late = (headline(own[own.layer == layer]) for layer in (layers[0], layers[-1]))
        pairs.append(f"{encoder} {layers[0]} and {layers[-1]}")
        for family, (here, there) in {"pitch": (early, late), "formants": (late, early)}.items():
            sides = [part[part.family == family].dropna(subset=[rules.score]) for part in (here, there)]
            if enough(*sides) and any(side.ranked.any() for side in sides):
                found[family][str(encoder)] = difference(sides[0], sides[1], rules.score, rules)
    if not pairs:
        raise Untestable("no encoder has two studied layers, an earlier and a later one")
    if not any(found.values()):
        raise Untestable(
            f"no encoder has {FEWEST_FACTORS} factors of pitch, or of formants, with one ranked in either layer"
        )
    orders = {"pitch": "early minus late", "formants": "late minus early"}
    parts: list[str] = []
    outcomes: list[bool] = []
    for family, own in found.items():
        if not own:
            parts.append(f"{family} not tested (fewer than {FEWEST_FACTORS} factors, or none ranked)")
            continue
        above = {encoder: d.low > 0 for encoder, d in own.items()}
        outcomes += above.values()
        size = span([d.mean for d in own.values()], signed=True)
        parts.append(f"R2 of {family}, {orders[family]}: {size}, above 0 in {of(above, 'encoder')}")
    holds = verdicts.overall(outcomes)
    if not all(found.values()) and holds == YES:  # half of the claim is open
        holds = IN_PART
    where = f"layers {wording.listing(pairs)}, {verdicts.headline_scope(table)}, {verdicts.fit_scope(rules)}"
    return verdicts.as_fitted(Found("; ".join(parts), holds, where), rules)


def _at_chance(tables: Tables, rules: Rules) -> set[Place]:
    """Return the layers whose dense probe is not shown to beat a constant answer."""
    table = tables.get("layer_probing")
    if rules.chance is None or table is None or "score_low" not in table:
        return set()
    return {place for place, own in by_place(table) if own.score_low.mean() <= rules.chance}
