"""What sentences about a run are made of."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope import wording
from otoscope.report.numbers.dictionaries import layer_health
from otoscope.report.run import Run


@dataclass(frozen=True)
class Finding:
    """A sentence or two, the few words it is about, and a command that would tell more."""

    lead: str
    text: str
    command: str = ""


def place_of(run: Run, encoder: str, layer: int | str) -> str:
    """Return ``layer 3``, or ``layer 3 of hubert`` where the run has several encoders."""
    table = run.table("layer_probing")
    encoders = table["encoder"].nunique() if table is not None else len(run.spec.get("encoders", [])) or 1
    return wording.place(encoder, layer, encoders=encoders)


def not_tested(run: Run, place: tuple[str, int | str], lead: str) -> Finding:
    """Return what is said instead of a finding on the codes of a dictionary that has collapsed."""
    verdicts = [health.verdict for health in layer_health(run) if (health.encoder, health.layer) == place]
    text = f"Not tested: the dictionary of {place_of(run, *place)} has collapsed"
    text += f" ({verdicts[0].removeprefix('collapsed: ')})" if verdicts else ""
    return Finding(lead, f"{text}, so its codes say nothing about sparse codes.")
