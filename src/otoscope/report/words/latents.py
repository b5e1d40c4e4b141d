"""The report's section on single latents: how many have names, how many names hold, and the best of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from otoscope import wording
from otoscope.report.numbers.latents import Described, address, described
from otoscope.report.numbers.means import rows_of
from otoscope.report.run import Run
from otoscope.report.tables.cells import Column, Table, laid_out

BEST = 5


@dataclass(frozen=True)
class LatentsSection:
    """What a page says of latents: sentences, tables, and where to hear them, a link or a command."""

    text: str
    tables: list[Table]
    link: str
    command: str


def latents_section(run: Run) -> LatentsSection | None:
    """Return the section on latents, None for a run that described none."""
    found = described(run)
    if not found:
        return None
    link = address(run, found[0].name)
    return LatentsSection(
        text=_said(found),
        tables=[_counts(run, found), *_best(run, found)],
        link=link,
        command="" if link else f"otoscope explore {run.path}",
    )


def _said(found: list[Described]) -> str:
    """Say how many latents have a name, and how many names hold."""
    named, alive = sum(each.n_named for each in found), sum(each.n_alive for each in found)
    single = sum(each.n_one_group for each in found)
    judged, hold = sum(len(each.judged) for each in found), sum(each.n_hold for each in found)
    tested = sum(each.n_tested for each in found)
    text = f"Of {wording.count(alive, 'latent')} that fire at all, {tested:,} fire in clips enough to be described, "
    text += f"and {named:,} of these got a name, made by rules from what they fire for."
    if single:
        text += f" {single:,} of the names are of one group, which nobody else can confirm."
    if not judged:
        return f"{text} No name could be judged on groups that it was not made from."
    text += f" {judged:,} could be judged on groups that they were not made from: {hold:,} "
    text += f"{'holds' if hold == 1 else 'hold'} there (the latent fires oftener where its name says so: Fisher's "
    text += "exact test, clips taken for independent, corrected by Holm's method for all names of a dictionary; by "
    text += "chance one dictionary in twenty would have any)."
    return text


def _counts(run: Run, found: list[Described]) -> Table:
    columns: list[Column] = [
        ("dictionary", lambda each: _linked(address(run, each.name), _dictionary(found, each))),
        ("latents that fire", lambda each: f"{each.n_alive:,}"),
        ("described", lambda each: f"{each.n_tested:,}"),
        ("named", lambda each: f"{each.n_named:,}"),
        ("of one group only", lambda each: f"{each.n_one_group:,}"),
        ("judged on new groups", lambda each: f"{len(each.judged):,}"),
        ("hold there", lambda each: f"{each.n_hold:,}"),
        ("mean AUC there", lambda each: _mean(each, "auc")),
        ("of another latent's name", lambda each: _mean(each, "random_auc")),
    ]
    note = (
        "AUC: the chance that the latent is stronger in a clip of its name than in another, in groups that the name "
        "was not made from; 0.5 is chance, and beside it what the name of another latent reaches."
    )
    return laid_out("Names of latents", columns, found, note=note)


def _best(run: Run, found: list[Described]) -> list[Table]:
    rows = [(each, row) for each in found for row in rows_of(each.judged[each.judged["holds"]])]
    rows = sorted(rows, key=lambda pair: -pair[1].auc)[:BEST]
    if not rows:
        return []
    columns: list[Column] = [
        ("latent", lambda pair: _linked(address(run, pair[0].name, pair[1].latent), str(pair[1].latent))),
        ("dictionary", lambda pair: _dictionary(found, pair[0])),
        ("name", lambda pair: pair[1].name),
        ("in new groups it fires in", lambda pair: _fires(pair[1])),
        ("AUC", lambda pair: wording.number(pair[1].auc)),
        ("of another's name", lambda pair: wording.number(pair[1].random_auc)),
        ("p", lambda pair: "< 0.001" if pair[1].p < 0.001 else wording.number(pair[1].p, 3)),
    ]
    title = "The name that holds" if len(rows) == 1 else f"The {len(rows)} names that hold best"
    return [laid_out(title, columns, rows, wraps=True)]


def _fires(row: Any) -> str:
    """Return ``10 of 12 clips of its name, 3 of 108 others``."""
    what = wording.count(row.n_holding, "moment" if row.moments else "clip")
    others = row.n_rows - row.n_holding
    return f"{row.n_hits:,} of {what} of its name, {row.n_false:,} of {others:,} others"


def _dictionary(found: list[Described], each: Described) -> str:
    several = len({other.encoder for other in found}) > 1
    place = wording.place(each.encoder, each.layer, encoders=2 if several else 1)
    same = [other for other in found if (other.encoder, other.layer, other.sparsity) == _key(each)]
    seed = f", {each.name.rpartition('-')[2]}" if len(same) > 1 else ""
    sparsity = "" if math.isnan(each.sparsity) else f", {wording.sparsity(each.sparsity)}"
    return f"{place}{sparsity}{seed}"


def _key(each: Described) -> tuple:
    return each.encoder, each.layer, each.sparsity


def _mean(each: Described, name: str) -> str:
    return wording.number(float(each.judged[name].mean())) if len(each.judged) else "n/a"


def _linked(target: str, text: str) -> str:
    return Markup('<a href="{}">{}</a>').format(target, text) if target else text
