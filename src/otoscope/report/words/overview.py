"""What was run, in plain words and a few numbers: the top of a run's page, and its settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from otoscope import wording
from otoscope.report.numbers.dictionaries import COLLAPSED, STATES, LayerHealth, layer_health
from otoscope.report.numbers.groups import few_groups, group_noun, sides
from otoscope.report.numbers.headlines import FEWEST_FACTORS, headlines, representations, studied_layers
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run, in_sample, metric_of, r2_kind, row_word, sections
from otoscope.report.words.groups import short_groups
from otoscope.results import NULL_LABELS, NULLS, layer_order, trained_codes

PAPER = (
    "The paper: Mariotte, Lebourdais, Almudévar, Tahon, Ortega and Dugué, “Sparse Autoencoders Make Audio Foundation "
    "Models More Explainable” (2025)."
)
LISTED = 12
"""Groups of a side of the split at most that are named."""
_SIDES = (("n_train", "for training"), ("n_valid", "for validation"), ("n_test", "for the test"))
_PROTOCOLS = {
    "sound": "sound: probes and fits of factors are scored on groups that they have not seen; layer, penalty and "
    "k are chosen without those. Autoencoders learn from training clips, without labels; factors are measured on "
    "these too, unless the settings say otherwise",
    "paper": "paper: the rules of the published code, so that its numbers can be compared",
}


def intro(run: Run) -> str:
    """Say in plain words what was run."""
    summary, dataset = run.summary, run.spec.get("dataset") or {}
    probes = run.table("layer_probing")
    encoders = _encoders(run) if probes is None else list(dict.fromkeys(probes["encoder"]))
    clips = "Clips of sound"
    if summary.get("n_clips"):
        clips = f"{wording.count(summary['n_clips'], 'clip')} of “{dataset.get('name', 'a data set')}”"
    if summary.get("n_groups"):
        clips += f" from {wording.count(summary['n_groups'], 'group')}"
        clips += f" ({dataset['group']})" if dataset.get("group") else ""
    label = summary.get("label") or dataset.get("label")
    classes = f" ({len(summary['classes'])} classes)" if summary.get("classes") else ""
    hold = f"the label “{label}”{classes}" if label else "the label"
    said = [f"{clips} were played to {wording.listing(encoders) or 'an audio model'}."]
    said.append(f"Linear probes ask which layers hold {hold}.")
    layers = sorted({layer for _, layer in studied_layers(run)}, key=layer_order)
    if layers:
        own = sections(run)
        width = own[0].get("n_latents") if len(own) == 1 else None
        named = wording.listing([str(layer) for layer in layers])
        which = f"Layer {named} was" if len(layers) == 1 else f"Layers {named} were"
        said.append(
            f"{which} then rewritten by sparse autoencoders as codes{f' of {width:,} latents' if width else ''}, "
            f"few of them active on each {row_word(run)}. The rest of this page asks what these codes keep, "
            "what they lose, and whether single latents stand for single physical properties of the sound."
        )
    return " ".join(said)


@dataclass(frozen=True)
class Verdict:
    """The health of a layer's dictionaries, as the first screen has it."""

    state: str
    where: str
    verdict: str
    others: str


def verdicts(run: Run) -> list[Verdict]:
    """Return a verdict per layer, which comes before anything that its codes are said to hold."""
    found = layer_health(run)
    several = len({health.encoder for health in found}) > 1
    cards = []
    for health in found:
        where = wording.place(health.encoder, health.layer, encoders=2 if several else 1)
        at = "" if math.isnan(health.sparsity) else f" at {wording.sparsity(health.sparsity)}"
        others = [
            f"{state} at {wording.listing([wording.sparsity(s) for s in sparsities])}"
            for state, sparsities in health.others.items()
        ]
        said = f"{health.alive:,} of {wording.count(health.n_latents, 'latent')} alive on training rows"
        said += f", {health.silent:,} of them silent on held-out ones; " if health.silent else "; "
        said += f"loses {wording.percent(health.fvu)} of the variance"
        said += "." if math.isnan(health.pca_fvu) else f" ({_beside_pca(health)})."
        said += f" Others: {'; '.join(others)}." if others else ""
        verdict = health.verdict
        if health.state == COLLAPSED:
            said = f"What its codes are said to hold is not tested. {said}".strip()
        elif health.state == STATES[0]:
            verdict = "not collapsed" if verdict == STATES[0] else verdict
            said += _not_said(run, health)
        cards.append(Verdict(health.state, f"Dictionary of {where}{at}", verdict, said))
    return cards


def _beside_pca(health: LayerHealth) -> str:
    more = (
        "more than" if health.fvu > health.pca_fvu else "less than" if health.fvu < health.pca_fvu else "as"
    )
    return f"{more} PCA with as many components: {wording.percent(health.pca_fvu)}"


def _not_said(run: Run, health: LayerHealth) -> str:
    """Say what a dictionary that has not collapsed may yet lack: what nulls tell of the factors as well as it does."""
    if in_sample(run):
        return ""
    table = representations(run, health.encoder, health.layer)
    codes = trained_codes(table)["r2"].mean()
    better = [
        f"{wording.with_article(NULL_LABELS[row.representation])} ({wording.number(row.r2)})"
        for row in rows_of(table)
        if row.representation in NULLS and row.representation != "label" and row.r2 >= codes
    ]
    text = " Not collapsed says no more than that its latents live and differ"
    if not better:
        return f"{text}."
    return (
        f"{text}: factors are told no better (R² {wording.number(codes)}) than by {wording.listing(better)}."
    )


def tiles(run: Run) -> list[list[str]]:
    """Return [number, what it is, remark] of what a reader looks for first."""
    table = headlines(run)
    if table.empty:
        return []
    row, metric = table.iloc[0], metric_of(run)
    best = wording.place(row["encoder"], row["layer"], encoders=len(table))
    codes = f"layer {row['studied']} at about 95\u00a0% sparsity"
    found = [
        (
            row["score"],
            wording.score(row["score"], metric),
            f"best probe: {best}",
            short_groups(run, row["encoder"], row["layer"])
            if few_groups(run)
            else wording.score_interval(
                row["low"], row["high"], metric, groups=row["groups"], trusted=row["trusted"]
            ),
        ),
        (
            row["code_change"],
            wording.difference(row["code_change"], metric),
            "codes against dense",
            f"probes on {codes}",
        ),
        (row["fvu"], wording.percent(row["fvu"]), "lost by the codes", f"FVU of {codes}"),
        (
            row["r2"],
            wording.number(row["r2"]),
            f"mean {r2_kind(run)} R²",
            f"{'best-predicted' if in_sample(run) else 'the same'} factors; dense "
            f"{wording.number(row['dense_r2'])}" + _label_alone(run, row["encoder"], row["studied"]),
        ),
    ]
    if not in_sample(run):
        found.append((row["n_factors"], *_dims_tile(row)))
    main = [
        health
        for health in layer_health(run)
        if (health.encoder, health.layer) == (row["encoder"], row["studied"])
    ]
    if main and main[0].state == COLLAPSED:  # no number of such codes is a headline
        found = found[:1]
    return [tile for value, *tile in found if not math.isnan(value)]


def _dims_tile(row: Any) -> tuple[str, str, str]:
    """The mean of effective dimensions, or, of too few factors for one, how many are held."""
    held, asked = row["n_factors"], row["n_asked"]
    if held < FEWEST_FACTORS:
        return (
            f"{held:.0f} of {asked:.0f}",
            "factors held by the codes",
            "too few for a mean of their dimensions",
        )
    dense = wording.number(row["dense_effective_dims"], 1)
    remark = f"same codes; dense {dense}" if row["dense_n_factors"] >= FEWEST_FACTORS else "same codes"
    return wording.number(row["effective_dims"], 1), "effective dimensions a factor", remark


def _label_alone(run: Run, encoder: str, layer: int | str | None) -> str:
    """The null beside an R2: what the label alone predicts of the same factors."""
    label = trained_codes(representations(run, encoder, layer))["r2_label"].mean()
    return "" if math.isnan(label) else f"; the label alone: {wording.number(label)}"


def settings(run: Run) -> list[tuple[str, str]]:
    """Return the settings a reader wants without opening the whole spec."""
    spec, summary = run.spec, run.summary
    dataset = spec.get("dataset") or {}
    sizes = [f"{summary[key]:,} {name}" for key, name in _SIDES if summary.get(key) is not None]
    versions = [f"{name} {version}" for name, version in (spec.get("versions") or {}).items()]
    pairs = [
        ("Protocol", _PROTOCOLS.get(run.protocol, run.protocol)),
        ("Seed", str(spec.get("seed", ""))),
        ("Data set", " ".join(str(dataset[key]) for key in ("name", "root") if dataset.get(key))),
        ("Clips", wording.listing(sizes)),
        *((f"{name[:1].upper()}{name[1:]}", text) for name, text in _who(run)),
        ("Encoders", wording.listing(_encoders(run))),
        ("Probes", _probes(run)),
        ("Autoencoders", "; ".join(_autoencoders(section) for section in sections(run))),
        ("Factors", str((spec.get("factors") or {}).get("name", ""))),
        ("Versions", ", ".join(versions)),
    ]
    return [(name, value) for name, value in pairs if value]


def _probes(run: Run) -> str:
    """Say on what probes are scored: the spec's folds are of the penalty's choice, not of the score."""
    kind = (run.spec.get("probing") or {}).get("probe")
    if not kind:
        return ""
    folds = "; the spec's probing.folds only choose the penalty" if kind == "logistic" else ""
    return f"{kind}, scored on the test clips of one split{folds}"


def _who(run: Run) -> list[tuple[str, str]]:
    """Name the groups of each side of the split, with their clips; those of a side with many are counted."""
    found, split = [], sides(run)
    for side, heading in (("train", "training"), ("valid", "validation"), ("test", "test")):
        groups = split.get(side, {})
        if groups:
            named = [f"{name} ({wording.count(n, 'clip')})" for name, n in groups.items()]
            text = ", ".join(named) if len(named) <= LISTED else wording.count(len(named), "group")
            found.append((f"{heading} {group_noun(run)}s", text))
    return found


def _encoders(run: Run) -> list[str]:
    return [str(encoder.get("name")) for encoder in run.spec.get("encoders") or []]


def _autoencoders(saes: dict[str, Any]) -> str:
    sparsities = wording.listing([wording.sparsity(value) for value in saes.get("sparsities") or []])
    parts = [
        str(saes.get("kind", "")),
        f"{saes['n_latents']:,} latents" if saes.get("n_latents") else "",
        f"sparsity {sparsities}" if sparsities else "",
        wording.count(len(saes["seeds"]), "seed") if saes.get("seeds") else "",
        wording.count(saes["epochs"], "epoch") if saes.get("epochs") else "",
    ]
    return ", ".join(part for part in parts if part)
