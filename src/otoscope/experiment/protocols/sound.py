"""The rules for new work. They are the spec's own defaults, so nothing is overridden here."""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {"protocol": "sound"}
