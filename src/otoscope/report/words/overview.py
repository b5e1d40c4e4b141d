"""What was run, in plain words and a few numbers: the top of a run's page, and its settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from otoscope import wording
from otoscope.report.numbers.dictionaries import COLLAPSED, layer_health
from otoscope.report.numbers.headlines import headlines, representations, studied_layers
from otoscope.report.run import Run, in_sample, metric_of, r2_kind
from otoscope.results import layer_order, trained_codes

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
        sections = _sections(run)
        width = sections[0].get("n_latents") if len(sections) == 1 else None
        named = wording.listing([str(layer) for layer in layers])
        which = f"Layer {named} was" if len(layers) == 1 else f"Layers {named} were"
        said.append(
            f"{which} then rewritten by sparse autoencoders as codes{f' of {width:,} latents' if width else ''}, "
            "few of them active on each clip. The rest of this page asks what these codes keep, what they lose, "
            "and whether single latents stand for single physical properties of the sound."
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
        said = f"{health.alive:,} of {wording.count(health.n_latents, 'latent')} alive; loses "
        said += f"{wording.percent(health.fvu)} of the variance (PCA with as many components: "
        said += f"{wording.percent(health.pca_fvu)})."
        said += f" Others: {'; '.join(others)}." if others else ""
        if health.state == COLLAPSED:
            said = f"What its codes are said to hold is not tested. {said}".strip()
        cards.append(Verdict(health.state, f"Dictionary of {where}{at}", health.verdict, said))
    return cards


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
            wording.score_interval(
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
        dense = wording.number(row["dense_effective_dims"], 1)
        dims = wording.number(row["effective_dims"], 1)
        found.append(
            (row["effective_dims"], dims, "effective dimensions a factor", f"same codes; dense {dense}")
        )
    main = [
        health
        for health in layer_health(run)
        if (health.encoder, health.layer) == (row["encoder"], row["studied"])
    ]
    if main and main[0].state == COLLAPSED:  # no number of such codes is a headline
        found = found[:1]
    return [tile for value, *tile in found if not math.isnan(value)]


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
        ("Encoders", wording.listing(_encoders(run))),
        ("Autoencoders", "; ".join(_autoencoders(section) for section in _sections(run))),
        ("Factors", str((spec.get("factors") or {}).get("name", ""))),
        ("Versions", ", ".join(versions)),
    ]
    return [(name, value) for name, value in pairs if value]


def _encoders(run: Run) -> list[str]:
    return [str(encoder.get("name")) for encoder in run.spec.get("encoders") or []]


def _sections(run: Run) -> list[dict[str, Any]]:
    """Return the sections of dictionaries: a spec of one holds it as it is, of several a list."""
    saes = run.spec.get("saes") or []
    return saes if isinstance(saes, list) else [saes]


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
