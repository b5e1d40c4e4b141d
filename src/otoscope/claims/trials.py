"""The trial of each takeaway: from the tables of a run to numbers and a verdict, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Collection
from math import factorial
from typing import Any

import numpy as np
import pandas as pd

from otoscope import wording
from otoscope.claims import evidence, verdicts
from otoscope.claims.duels import TO_BEAT, Duel, duel, judged
from otoscope.claims.evidence import (
    FEWEST_FACTORS,
    LEVEL,
    MARGIN,
    Difference,
    Place,
    Rules,
    Tables,
    Untestable,
    best,
    by_place,
    enough,
    headline,
    paired,
)
from otoscope.claims.verdicts import Found, of, percent, span
from otoscope.results import CODES, DENSE, FEWEST_GROUPS, IN_PART, NOT_TESTED, YES, layer_order

SPEARMAN = 0.9
"""Rank correlation of sparsity and error from which the error is said to grow."""
UP_TO = 0.95
"""Sparsity up to which probing and R2 are said to be kept."""
FEWEST_SPARSITIES, FEWEST_RANKED = 3, 5
EARLY, LATE = 1 / 3, 2 / 3
"""Depths, as shares of the deepest layer, up to and from which a layer is early, or late."""


def error_grows(tables: Tables, rules: Rules) -> Found:
    """Test that reconstruction error grows with sparsity."""
    table = evidence.needed(tables, "reconstruction", "encoder", "layer", "sparsity", "seed", "mse")
    places, aside = evidence.standing(tables, table.dropna(subset=["sparsity", "mse"]), lambda own: own)
    rhos: dict[Place, float] = {}
    chances: dict[Place, float] = {}
    for index, (place, own) in enumerate(places):
        errors = own.pivot_table(index="seed", columns="sparsity", values="mse").dropna()
        n_seeds, n = errors.shape
        if n >= FEWEST_SPARSITIES and n_seeds and factorial(n) ** n_seeds >= 1 / LEVEL:
            rhos[place], chances[place] = evidence.rising(
                errors.to_numpy(), n_permutations=rules.n_permutations, seed=[rules.seed, index]
            )
    if not rhos:
        raise Untestable(
            f"no layer has {FEWEST_SPARSITIES} sparsities with an error, in enough seeds to be no chance"
        )
    excepted = {place: rho for place, rho in rhos.items() if "wavlm" in place[0].lower()}
    tested = {place: rho for place, rho in rhos.items() if place not in excepted}
    if not tested:
        raise Untestable(f"only WavLM was run, which the paper excepts (Spearman {span(excepted.values())})")
    shown = evidence.together({place: chances[place] for place in tested}, level=LEVEL)
    grows = {place: rho >= SPEARMAN and shown[place] for place, rho in tested.items()}
    measured = f"Spearman {span(tested.values())}; at least {SPEARMAN} in {of(grows)}"
    below = [f"{verdicts.name(place)} {rho:.2f}" for place, rho in tested.items() if rho < SPEARMAN]
    measured += f" (below: {', '.join(below)})" if below else ""
    measured += f"; WavLM, which the paper excepts: {span(excepted.values())}" if excepted else ""
    return Found(measured, verdicts.overall(grows.values()), verdicts.scope(tested, aside))


def probing_kept(tables: Tables, rules: Rules) -> Found:
    """Test that the accuracy of probes is kept in codes."""
    numbers = ["difference", "difference_se", "difference_df", "difference_p"]
    columns = ("encoder", "layer", "comparison", "sparsity", "seed", "n_groups", *numbers)
    table = evidence.needed(tables, "comparisons", *columns)
    table = table[(table.comparison == CODES) & (table.sparsity <= UP_TO + 1e-6)]
    if 0 < table.n_groups.min() < FEWEST_GROUPS:
        raise Untestable(
            f"the clips of the test are of {int(table.n_groups.min())} groups: an interval over groups needs "
            f"{FEWEST_GROUPS}"
        )
    table = table.assign(difference=100 * table.difference, difference_se=100 * table.difference_se)
    found: dict[Place, dict[float, Difference]] = {}
    chances: dict[tuple, float] = {}
    nothing_to_keep, n_groups = [], []
    places, aside = evidence.standing(tables, table, lambda own: own)
    at_chance = _at_chance(tables, rules, [place for place, _ in places])
    for place, own in places:
        if place in at_chance:
            nothing_to_keep.append(verdicts.name(place))
        elif not own[numbers[:3]].isna().any(axis=None):
            found[place] = {float(s): evidence.over_seeds(rows) for s, rows in own.groupby("sparsity")}
            n_groups.append(int(own.n_groups.min()))
            for row in own.itertuples():
                p = row.difference_p if row.difference < 0 else 1.0
                chances[place, float(row.sparsity), row.seed, len(chances)] = p
    idle = f"at chance, nothing to keep: {', '.join(nothing_to_keep)}" if nothing_to_keep else ""
    if not found:
        raise Untestable(idle or f"no codes up to {percent(UP_TO)} are compared with dense, with an interval")
    # A loss is a seed's, among all layers, sparsities and seeds that one could have been read off.
    losses = {key[:2] for key, shown in evidence.holm(chances, level=LEVEL).items() if shown}
    groups = f"{min(n_groups)} test groups"
    return verdicts.kept(
        found,
        {(place, s): (place, s) in losses for place, own in found.items() for s in own},
        margin=100 * MARGIN,
        lead="codes minus dense",
        unit=" points",
        digits=1,
        where=verdicts.scope(found, f"codes up to {percent(UP_TO)} sparsity", groups, idle, aside),
    )


def r2_kept(tables: Tables, rules: Rules) -> Found:
    """Test that the mean R2 of the best-predicted factors is kept in codes."""
    found: dict[Place, dict[float, Difference]] = {}
    levels = []
    table = evidence.lasso_rows(tables, rules)
    places, aside = evidence.standing(tables, table, lambda own: evidence.up_to(own, UP_TO))
    for place, own in places:
        codes, dense = evidence.up_to(own, UP_TO), own[own.representation == DENSE]
        pairs = {
            float(s): best(paired(codes[codes.sparsity == s], dense, rules), rules, ranked="either")
            for s in sorted(codes.sparsity.unique())
        }
        if not pairs or not all(map(enough, pairs.values())):
            continue
        found[place] = {s: evidence.over_factors(pair, "score") for s, pair in pairs.items()}
        sparsest = pairs[max(pairs)]
        levels.append((sparsest.score_b.mean(), sparsest.score_a.mean()))
    if not found:
        raise Untestable(
            f"no layer has {FEWEST_FACTORS} factors held dense or in codes up to {percent(UP_TO)}"
        )
    dense_r2, codes_r2 = np.mean(levels, axis=0)
    chances = {(place, s): d.p_below() for place, own in found.items() for s, d in own.items()}
    result = verdicts.kept(
        found,
        evidence.holm(chances, level=LEVEL / 2),
        margin=MARGIN,
        lead=f"mean R2 {dense_r2:.2f} dense and {codes_r2:.2f} in the sparsest of these codes, of the same factors; "
        "codes minus dense",
        unit="",
        digits=2,
        where=verdicts.scope(
            found, f"codes up to {percent(UP_TO)} sparsity", verdicts.fit_scope(rules), aside
        ),
    )
    return verdicts.as_fitted(result, rules)


def completeness_above(tables: Tables, rules: Rules) -> Found:
    """Test that completeness of codes is above that of the dense layer and of every null."""
    table = evidence.lasso_rows(tables, rules, "base")
    places, aside = evidence.standing(tables, table, headline)
    duels: dict[Place, dict[str, Duel]] = {}
    levels, bases, no_worse, unequal = [], set(), {}, []
    for place, own in places:
        if rules.held_out and own[own.representation != "label"].base.nunique() > 1:
            raise Untestable("completeness is of several bases; only on one can it be compared")
        pair = paired(headline(own), own[own.representation == DENSE], rules)
        sides = best(pair, rules, ranked="both")
        if not enough(sides):
            continue
        bases |= set(headline(own).base)
        unequal.append(_published_gain(pair, rules))
        duels[place] = {name: duel(own, name, sides, rules, "completeness") for name in (DENSE, *TO_BEAT)}
        if rules.held_out:  # what is hardly held takes few dimensions: that is no gain
            kept, against = _no_worse(pair, rules), duels[place][DENSE]
            no_worse[place] = kept <= LEVEL / 2
            duels[place][DENSE] = against._replace(p=max(against.p or 0.0, kept))
        levels.append(
            {"codes": sides.completeness_a.mean()} | {name: duel.level for name, duel in duels[place].items()}
        )
    if not levels:
        raise Untestable(f"no layer has {FEWEST_FACTORS} factors ranked both dense and in codes")
    passed, said, untold = judged(duels)
    measured = f"{verdicts.levels(levels, 2)}; "
    measured += f"held-out R2 no worse in {of(no_worse)}; " if no_worse else ""
    measured += f"codes above {said}"
    measured += f"; {untold} could not be compared" if untold else ""
    if not rules.held_out:
        measured += f"; by the published, unequal selections codes minus dense is {np.mean(unequal):+.2f}"
    base = f"completeness on base {max(bases)}" if rules.held_out else "completeness on each one's own width"
    where = (verdicts.headline_scope(table), base, verdicts.fit_scope(rules), aside)
    if not passed:
        return Found(measured, NOT_TESTED, verdicts.scope(duels, *where))
    result = Found(measured, verdicts.overall(passed.values()), verdicts.scope(passed, *where))
    return verdicts.as_fitted(result, rules)


def fewer_dimensions(tables: Tables, rules: Rules) -> Found:
    """Test that a factor takes fewer effective dimensions in codes, at a held-out R2 no worse and at a matched one."""
    if not rules.held_out:
        raise Untestable("nothing was held out, so held-out R2 is not known; protocol sound tests this")
    table = evidence.lasso_rows(tables, rules, "effective_dims_matched")
    places, aside = evidence.standing(tables, table, headline)
    duels: dict[Place, dict[str, Duel]] = {}
    fewer, matched, no_worse, levels = {}, {}, {}, []
    for place, own in places:
        pair = paired(headline(own), own[own.representation == DENSE], rules)
        sides = best(pair, rules, ranked="both")
        if not enough(sides):
            continue
        columns = ("effective_dims", "effective_dims_matched")
        of_nulls = {name: duel(own, name, sides, rules, *columns) for name in (DENSE, *TO_BEAT)}
        fewer[place], matched[place] = (evidence.over_factors(sides, column).high < 0 for column in columns)
        kept = _no_worse(pair, rules)
        no_worse[place] = kept <= LEVEL / 2
        # A null that does not hold the factors as well takes few dimensions for nothing.
        rivals = {name: duel for name, duel in of_nulls.items() if name == DENSE or not duel.holds_less}
        rivals[DENSE] = rivals[DENSE]._replace(p=max(rivals[DENSE].p or 0.0, kept))
        duels[place] = rivals
        levels.append(
            {"codes": sides.effective_dims_a.mean()} | {name: duel.level for name, duel in of_nulls.items()}
        )
    if not levels:
        raise Untestable(f"no layer has {FEWEST_FACTORS} factors ranked both dense and in codes")
    passed, said, _ = judged(duels, required=())
    measured = (
        f"{verdicts.levels(levels, 1)}; fewer than dense in {of(fewer)}, at matched R2 in {of(matched)}, "
    )
    measured += f"held-out R2 no worse in {of(no_worse)}; all of it {said}"
    where = (verdicts.headline_scope(table), "living dimensions", verdicts.fit_scope(rules), aside)
    return Found(measured, verdicts.overall(passed.values()), verdicts.scope(passed, *where))


def _published_gain(pair: pd.DataFrame, rules: Rules) -> float:
    """Return the mean completeness of the codes' most complete factors less that of the best-predicted dense ones."""
    codes = pair[pair.ranked_a].completeness_a.nlargest(rules.top)
    dense = pair[pair.ranked_b].nlargest(rules.top, "score_b").completeness_b
    return float(codes.mean() - dense.mean())


def _no_worse(pair: pd.DataFrame, rules: Rules) -> float:
    """Return the p of codes holding the factors worse than dense by the margin; those that codes lost count."""
    return evidence.over_factors(best(pair, rules, ranked="either"), "score").p_above(-MARGIN)


def entropy_lowers_completeness(tables: Tables, rules: Rules) -> Found:
    """Test that factors of higher entropy have lower completeness."""
    table = evidence.lasso_rows(tables, rules)
    entropies = evidence.needed(tables, "factor_entropy", "factor", "mixed", rules.entropy_column)
    n_mixed = int(entropies.mixed.sum())
    entropies = entropies[~entropies.mixed]  # of tied values an entropy is a number of no meaning
    entropy = entropies.set_index("factor")[rules.entropy_column].astype(float)
    rhos: dict[Place, float] = {}
    chances: dict[Place, float] = {}
    places, aside = evidence.standing(tables, table, headline)
    for index, (place, own) in enumerate(places):
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
    ties = f"{wording.count(n_mixed, 'factor')} with many ties left out" if n_mixed else ""
    where = (verdicts.headline_scope(table), verdicts.fit_scope(rules), ties, aside)
    result = Found(measured, verdicts.overall(shown.values()), verdicts.scope(rhos, *where))
    return verdicts.as_fitted(result, rules)


def families_by_depth(tables: Tables, rules: Rules) -> Found:
    """Test that pitch is predicted best in early layers, formants in late ones."""
    table = evidence.lasso_rows(tables, rules, "family")
    places, aside = evidence.standing(tables, table, headline)
    layers: dict[str, dict[Any, pd.DataFrame]] = {}
    for (encoder, layer), own in places:
        layers.setdefault(encoder, {})[layer] = headline(own)
    found: dict[tuple[str, str], Difference] = {}
    pairs, reasons = [], []
    for encoder, studied in layers.items():
        early, late = min(studied, key=layer_order), max(studied, key=layer_order)
        reason = _not_apart(tables, encoder, early, late)
        if reason:
            reasons.append(reason)
            continue
        pairs.append(f"{encoder} {early} and {late}")
        for family, (here, there) in {"pitch": (early, late), "formants": (late, early)}.items():
            first, second = (studied[layer][studied[layer].family == family] for layer in (here, there))
            both = paired(first, second, rules)
            if enough(both) and (both.ranked_a | both.ranked_b).any():
                found[family, encoder] = evidence.over_factors(both, "score")
    if not pairs:
        raise Untestable("; ".join([*reasons, *([aside] if aside else [])]) or "no codes were measured")
    if not found:
        raise Untestable(
            f"no encoder has {FEWEST_FACTORS} factors of pitch, or of formants, with one ranked in either layer"
        )
    above = evidence.together({key: d.p_above() for key, d in found.items()})
    parts: list[str] = []
    for family, order in {"pitch": "early minus late", "formants": "late minus early"}.items():
        own = {key: d for key, d in found.items() if key[0] == family}
        if not own:
            parts.append(f"{family} not tested (fewer than {FEWEST_FACTORS} factors, or none ranked)")
            continue
        size = span([d.mean for d in own.values()], signed=True)
        outcomes = {key: above[key] for key in own}
        parts.append(f"R2 of {family}, {order}: {size}, above 0 in {of(outcomes, 'encoder')}")
    holds = verdicts.overall(above.values())
    if len({family for family, _ in found}) < 2 and holds == YES:  # half of the claim is open
        holds = IN_PART
    where = [f"layers {wording.listing(pairs)}", verdicts.headline_scope(table), verdicts.fit_scope(rules)]
    where += [text for text in (*reasons, aside) if text]
    return verdicts.as_fitted(Found("; ".join(parts), holds, ", ".join(where)), rules)


def _not_apart(tables: Tables, encoder: str, early: Any, late: Any) -> str:
    """Return why two layers of an encoder are no early and no late one; empty if they are."""
    probed = evidence.needed(tables, "layer_probing", "encoder", "layer")
    depths = probed[probed.encoder == encoder].layer
    numbered = [layer_order(layer) for layer in depths if layer_order(layer) < np.inf]
    deepest = max(numbered, default=0.0)
    if (
        early != late
        and deepest
        and layer_order(early) / deepest <= EARLY
        and layer_order(late) / deepest >= LATE
    ):
        return ""
    studied = f"layer {early} of" if early == late else f"layers {early} to {late} of"
    return (
        f"{encoder} was studied in {studied} {deepest:g}: a claim about depth needs one of the first third and one of "
        "the last"
    )


def _at_chance(tables: Tables, rules: Rules, places: Collection[Place]) -> set[Place]:
    """Return those of `places` whose dense probe is not shown to beat a constant answer, in every seed.

    After Holm's correction over them, or of many layers that know nothing one would pass, and keep it.
    """
    table = tables.get("layer_probing")
    if rules.chance is None or table is None or not {"score", "score_low", "n_groups"} <= set(table):
        return set()
    p_values = {
        place: max(evidence.p_above_chance(row, rules.chance) for row in own.itertuples())
        for place, own in by_place(table)
        if place in places
    }
    return {place for place, shown in evidence.holm(p_values, level=LEVEL / 2).items() if not shown}
