"""What sentences about a run are made of."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope import wording
from otoscope.report.run import Run


@dataclass(frozen=True)
class Finding:
    """A sentence or two, and the few words it is about."""

    lead: str
    text: str


def place_of(run: Run, encoder: str, layer: int | str) -> str:
    """Return ``layer 3``, or ``layer 3 of hubert`` where the run has several encoders."""
    table = run.table("layer_probing")
    encoders = table["encoder"].nunique() if table is not None else len(run.spec.get("encoders", [])) or 1
    return wording.place(encoder, layer, encoders=encoders)
