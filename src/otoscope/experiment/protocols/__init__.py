"""Protocols: named sets of rules, each only defaults for a spec, so that any rule can be switched alone.

`sound` is the default for new work: layers picked on validation groups, held-out R2 from folds over all groups,
nulls of equal width, intervals for clips of new groups. `paper` is what the published code did.
"""

from __future__ import annotations

from typing import Any

from otoscope.errors import SpecError, nearest
from otoscope.experiment.protocols import paper, sound

_PROTOCOLS: dict[str, dict[str, Any]] = {"sound": sound.DEFAULTS, "paper": paper.DEFAULTS}


def defaults(name: str) -> dict[str, Any]:
    """Return the spec values that protocol `name` sets.

    Raises
    ------
    SpecError
        If there is no such protocol.
    """
    if name not in _PROTOCOLS:
        raise SpecError(
            f"unknown protocol '{name}'{nearest(name, _PROTOCOLS)} (known: {', '.join(_PROTOCOLS)})"
        )
    return _PROTOCOLS[name]
