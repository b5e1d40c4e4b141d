"""Names, lazily loaded, with third parties' through entry points."""

from __future__ import annotations

from importlib import metadata

import pytest

from otoscope.errors import InputError, UnknownNameError
from otoscope.registry import Registry


def test_a_target_is_imported_at_first_use():
    registry = Registry("thing", "otoscope.test-things")
    registry.add("sqrt", "math:sqrt", "a root")
    registry.add("broken", "no_such_module:x")  # adding imports nothing
    assert registry.get("sqrt")(9.0) == 3.0
    assert registry.summaries()["sqrt"] == "a root"


def test_names_are_unique_and_unknown_ones_get_a_suggestion():
    registry = Registry("thing", "otoscope.test-things")
    registry.add("alpha", object())
    with pytest.raises(InputError, match="registered twice"):
        registry.add("alpha", object())
    with pytest.raises(UnknownNameError, match="did you mean 'alpha'"):
        registry.get("alhpa")


def test_other_packages_add_names(monkeypatch):
    point = metadata.EntryPoint("theirs", "math:floor", "otoscope.test-things")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [point] if group == point.group else [])
    registry = Registry("thing", "otoscope.test-things")
    registry.add("ours", len)
    assert set(registry.names()) == {"ours", "theirs"}
    assert registry.get("theirs")(2.5) == 2
    assert "math:floor" in registry.summaries()["theirs"]
