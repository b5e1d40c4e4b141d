"""What the choice of protocol does: the published rules, then each rule alone turned to its sound side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from otoscope.errors import OtoscopeError, SpecError
from otoscope.experiment.protocols.switches import SWITCHES, Switch
from otoscope.experiment.run_directory import RunDirectory
from otoscope.experiment.runner import run
from otoscope.experiment.spec import LatentsSpec, Spec, load_spec, resolve
from otoscope.files import write_text
from otoscope.results import (
    DENSE,
    TABLES,
    at_nearest_sparsity,
    pick_column,
    r2_column,
    to_csv,
    trained_codes,
)

HEADLINES = ("best_layer_score", "r2_top10", "completeness_gain")


def ablate(
    recipe_or_spec: str | Path | Spec,
    *,
    out: str | Path,
    settings: list[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Run a spec of the paper protocol, then again with each listed difference turned alone, and by sound rules.

    Every variant is a run of its own under `out`; what a variant does not change is taken over, not made again.

    Parameters
    ----------
    recipe_or_spec, settings
        As in `otoscope.run`; the protocol must be "paper".
    out : str or Path
        Gets a folder per variant, and ``switches.csv``.
    say : callable
        Takes a line on what was done.

    Returns
    -------
    DataFrame
        ``number, role, switch, published, sound, encoder, metric, best_layer_score, r2_top10, completeness_gain``, the
        three changes ``d_...`` against the unswitched protocol, and ``note``: why a rule could not be turned, empty
        where it was. ``role`` is "published", "switch" or "sound". The R2 is the mean of the ten best factors in codes
        of 95 % sparsity; the gain is the completeness of these codes minus that of the dense layers; both are means
        over studied layers and seeds.

    Raises
    ------
    SpecError
        If the spec is not of the paper protocol.
    """
    spec = (
        recipe_or_spec if isinstance(recipe_or_spec, Spec) else load_spec(recipe_or_spec, settings=settings)
    )
    if spec.protocol != "paper":
        raise SpecError(
            f"only the paper protocol has rules to switch; this spec's protocol is '{spec.protocol}'"
        )
    out = Path(out)
    folders: list[Path] = []

    def made(name: str, variant: Spec) -> RunDirectory:
        say(f"-- {name}")
        variant = variant.model_copy(
            update={"latents": LatentsSpec(describe="none")}
        )  # no headline is of one latent
        found = run(variant, out=out / name, reuse=folders, say=say)
        folders.append(out / name)
        return found

    base_run = made("00-published", spec)
    base = _headlines(base_run)
    none = base.assign(**dict.fromkeys(HEADLINES, np.nan))
    names = {"switch": "paper protocol, nothing switched", "published": "", "sound": ""}
    rows = [_rows(0, "published", names, base, base)]
    for switch in SWITCHES:
        changes = switch.settings(spec)
        if switch.common_width:
            found, note = _headlines(base_run, common_width=True), ""
        elif changes is None:
            found, note = none, switch.reason
        else:
            found, note = none, ""
            try:
                found = _headlines(made(_folder(switch), changed(spec, changes)))
            except OtoscopeError as error:  # say, five singers cannot be folded; other rules can be turned
                note = str(error)
        names = {"switch": switch.name, "published": switch.published, "sound": switch.sound}
        rows.append(_rows(switch.number, "switch", names, found, base, note=note))
        _write(rows, out)
    found = _headlines(made("99-sound", sound(spec)))
    names = {"switch": "sound protocol", "published": "", "sound": "all of them, and the rest of its rules"}
    rows.append(_rows(len(SWITCHES) + 1, "sound", names, found, base))
    return _write(rows, out)


def changed(spec: Spec, changes: Any) -> Spec:
    """Return `spec` with ``{"probing.keep": ...}`` changed; a key of ``encoders`` is changed in all of them."""
    values = spec.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split(".")
        sections = [values]
        for part in path:
            inner = [section[part] for section in sections]
            sections = [item for found in inner for item in (found if isinstance(found, list) else [found])]
        for section in sections:
            section[last] = value
    return Spec.model_validate(values)


def sound(spec: Spec) -> Spec:
    """Return the sound protocol, trained as it trains, for the same data, encoders, dictionaries and factors."""
    values = spec.model_dump(mode="json")
    options = {
        key: value for key, value in values["dataset"]["options"].items() if key not in ("quirks", "valid_by")
    }
    return resolve(
        {
            "name": f"{spec.name}-sound",
            "protocol": "sound",
            "dataset": values["dataset"] | {"options": options},
            "encoders": [
                encoder | {"as_family": None, "measure_crop": None} for encoder in values["encoders"]
            ],
            "saes": [
                section.model_dump(include={"kind", "n_latents", "sparsities", "options"})
                for section in spec.saes
            ],
            "factors": {"name": spec.factors.name},
        }
    )


def _folder(switch: Switch) -> str:
    words = "".join(c if c.isalnum() else "-" for c in switch.name.lower().replace("²", "2"))
    return f"{switch.number:02d}-{words}"


def _headlines(made: RunDirectory, *, common_width: bool = False) -> pd.DataFrame:
    """Return encoder and the three headline numbers, a row per encoder."""
    from otoscope.probing import best_layer

    spec = made.spec
    probes, factors = made.table("layer_probing"), made.table("disentanglement")
    factors = factors[factors.importance == "lasso"]
    if common_width:
        width = np.log(spec.saes[0].n_latents)
        factors = factors.assign(
            completeness=(1 - np.log(factors.effective_dims) / width).fillna(factors.completeness)
        )
    rows = []
    for encoder, own in factors.groupby("encoder", sort=False):
        layers = probes[probes.encoder == encoder]
        best = best_layer(layers, by=pick_column(spec.probing.pick_layer))[0]
        codes = at_nearest_sparsity(trained_codes(own))
        dense = own[own.representation == DENSE]
        unequal = spec.disentanglement.selection == "published"
        gain = _mean(codes, spec, "completeness", by_completeness=unequal) - _mean(
            dense, spec, "completeness"
        )
        score = layers.score[layers.layer == best].mean()
        r2 = _mean(codes, spec, r2_column(spec.disentanglement.fit))
        rows.append((encoder, layers.metric.iloc[0], score, r2, gain))
    return pd.DataFrame(rows, columns=["encoder", "metric", *HEADLINES])


def _mean(table: pd.DataFrame, spec: Spec, value: str, *, by_completeness: bool = False) -> float:
    """Return the mean of `value` over the selected factors of each layer and seed."""
    from otoscope.disentanglement import select_factors

    selection = "top10_completeness" if by_completeness else "top10_r2"
    score = r2_column(spec.disentanglement.fit)
    means = [
        select_factors(own, selection, score=score, n=spec.disentanglement.top)[value].mean()
        for _, own in table.groupby(["layer", "seed"])
    ]
    return float(np.mean(means))


def _rows(
    number: int,
    role: str,
    names: dict[str, str],
    found: pd.DataFrame,
    base: pd.DataFrame,
    *,
    note: str = "",
) -> pd.DataFrame:
    """Return the rows of one switch, an encoder each."""
    changes = {f"d_{column}": found[column].to_numpy() - base[column].to_numpy() for column in HEADLINES}
    table = found.assign(number=number, role=role, **names, **changes, note=note)
    return table[list(TABLES["switches"].names)]


def _write(rows: list[pd.DataFrame], out: Path) -> pd.DataFrame:
    """Write what is known so far, so that an ablation that is broken off leaves its table."""
    table = pd.concat(rows, ignore_index=True)
    write_text(out / "switches.csv", to_csv("switches", table))
    return table
