"""What makes an architecture: the options that every kind has, and how it is named."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from otoscope.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SAEConfig:
    """What makes an architecture, save for the width of its input. Every kind adds its own options."""

    kind: ClassVar[str]

    n_latents: int
    """Width of the code."""

    def __post_init__(self) -> None:
        if not isinstance(self.n_latents, int) or self.n_latents < 1:
            raise InputError(f"n_latents must be a positive whole number, got {self.n_latents!r}")

    @property
    def name(self) -> str:
        """Short name for folders and tables, e.g. ``topk-2048-s0.95``."""
        return f"{self.kind}-{self.n_latents}"

    @property
    def active(self) -> int | None:
        """How many latents may be active at once (k), where the kind fixes it."""
        return None

    @property
    def sparsity_target(self) -> float | None:
        """The fraction of latents kept silent, where the kind fixes it."""
        asked = getattr(self, "sparsity", None)
        if asked is not None:
            return asked
        return None if self.active is None else 1 - self.active / self.n_latents

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, ready for JSON."""
        return asdict(self)
