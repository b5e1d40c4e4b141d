"""Families found by name: encoders, data sets, SAE kinds, factor sets.

A registry maps a name to an object, or to ``"package.module:attribute"`` that is imported at first use,
so that listing names imports nothing heavy. Third-party packages add entries through an entry point group.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

from otoscope.errors import InputError, UnknownNameError, nearest


@dataclass(frozen=True)
class _Entry:
    target: Any
    summary: str


class Registry:
    """Names of one kind of thing.

    Parameters
    ----------
    kind : str
        What the names stand for ("encoder"), used in messages.
    group : str
        Entry point group through which other packages add names (``"otoscope.encoders"``).
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._own: dict[str, _Entry] = {}

    def add(self, name: str, target: Any, summary: str = "") -> None:
        """Add `target` (an object or ``"module:attribute"``) under `name`; a name taken twice is an error."""
        if name in self._own:
            raise InputError(f"{self.kind} '{name}' is registered twice; pick another name for the second")
        self._own[name] = _Entry(target, summary)

    def get(self, name: str) -> Any:
        """Return what `name` stands for.

        Raises
        ------
        UnknownNameError
            If nobody registered `name`.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise UnknownNameError(
                f"unknown {self.kind} '{name}'{nearest(name, self.names())} (known: {', '.join(self.names())})"
            )
        target = entry.target
        if isinstance(target, metadata.EntryPoint):
            return target.load()
        if isinstance(target, str):
            module, _, attribute = target.partition(":")
            return getattr(importlib.import_module(module), attribute)
        return target

    def names(self) -> list[str]:
        """Return all names, our own first."""
        return list(self._entries)

    def summaries(self) -> dict[str, str]:
        """Return a line on each name."""
        return {name: entry.summary for name, entry in self._entries.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def _entries(self) -> dict[str, _Entry]:
        return {**self._third_party, **self._own} if self._third_party else self._own

    @cached_property
    def _third_party(self) -> dict[str, _Entry]:
        return {
            point.name: _Entry(point, f"from {point.dist.name if point.dist else point.value}")
            for point in metadata.entry_points(group=self.group)
        }
