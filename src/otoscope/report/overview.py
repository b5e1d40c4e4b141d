"""What was run, in plain words and a few numbers: the top of a run's page, and its settings."""

from __future__ import annotations

from typing import Any

from otoscope.report import wording
from otoscope.report.headlines import headlines, studied_layers
from otoscope.report.rules import metric_of, r2_kind
from otoscope.report.runs import Run, layer_order

_SIDES = (("n_train", "for training"), ("n_valid", "for validation"), ("n_test", "for the test"))
_PROTOCOLS = {
    "sound": "sound: nothing is chosen or fitted on what it is scored on",
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


def tiles(run: Run) -> list[tuple[str, str, str]]:
    """Return (number, what it is, remark) of what a reader looks for first."""
    table = headlines(run)
    if table.empty:
        return []
    row, metric = table.iloc[0], metric_of(run)
    best = wording.place(row["encoder"], row["layer"], encoders=len(table))
    codes = f"layer {row['studied']} at about 95\u00a0% sparsity"
    found = [
        (
            wording.score(row["score"], metric),
            f"best probe: {best}",
            wording.score_interval(row["low"], row["high"], metric),
        ),
        (wording.difference(row["code_change"], metric), "codes against dense", f"probes on {codes}"),
        (wording.percent(row["fvu"]), "lost by the codes", f"FVU of {codes}"),
        (wording.number(row["r2"]), f"mean {r2_kind(run)} R²", "best-predicted factors, same codes"),
    ]
    return [tile for tile in found if tile[0] != "n/a"]


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
