"""How autoencoders are trained: what the result depends on, beside the data, the configs and the seeds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from otoscope.errors import InputError, nearest

SELECT_RULES = ("own", "paper")
NORMALISATIONS = ("auto", "none", "center", "scale", "whiten")
STARTS = ("data", "own")
PARTS = ("nothing", "encoder", "decoder")
PRECISIONS = ("float32", "float64", "bf16")

AS_PUBLISHED = {"normalise": "none", "revive": False, "decay_fraction": 0.0}
"""Changes after which kinds train as their authors describe: on raw rows, at a constant learning rate."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of :func:`otoscope.saes.train_saes`.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    epochs: int = 100
    """Passes over the rows."""
    batch_size: int = 32
    """Rows in a step."""
    lr: float = 1e-3
    """Learning rate of Adam (betas 0.9 and 0.999)."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly."""
    decay_fraction: float = 1.0
    """Last fraction of all steps, over which the learning rate falls linearly to 0."""
    normalise: str = "auto"
    """``"auto"``, ``"none"``, ``"center"``, ``"scale"`` or ``"whiten"``, estimated on the training rows (see
    :func:`otoscope.saes.training.normalise.fit_normalisers`). Training and its history see normalised rows; the
    autoencoders returned read and write raw ones."""
    start: str = "own"
    """Where latents start: ``"own"``, where the kind's authors have them, or ``"data"``, at training rows. From data
    none is dead at the outset and seeds agree more, since they start alike; on real rows the error came out higher."""
    revive: bool = True
    """Whether latents that fall silent get another start, after every epoch but the last few (not those of
    batch-topk and matryoshka, which have AuxK)."""
    frozen: str = "nothing"
    """What stays as it was drawn: ``"nothing"``, the ``"encoder"`` or the ``"decoder"`` (its bias learns): nulls, to
    be beaten by what has learnt both. No latent is then revived."""
    data_seed: int = 0
    """Seed of the order of the rows."""
    select: str = "own"
    """Which epoch is kept. ``"own"``: each autoencoder's own best, the one with the lowest mean squared error over all
    validation rows; without validation rows, the last. ``"paper"``: the published code's rule: the lowest mean squared
    error on the last validation batch, summed over all layers, which share it."""
    precision: str = "float32"
    """Of the arithmetic: ``"float32"``, ``"float64"``, or ``"bf16"``: products in bfloat16, weights in float32."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}")
        if self.warmup_steps < 0 or not 0 <= self.decay_fraction <= 1:
            raise InputError("warmup_steps must be at least 0 and decay_fraction a fraction")
        choices = {
            "normalise": NORMALISATIONS,
            "start": STARTS,
            "frozen": PARTS,
            "select": SELECT_RULES,
            "precision": PRECISIONS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be one of {', '.join(known)}, got '{getattr(self, name)}'")

    def changed(self, **changes: Any) -> Self:
        """Return these options with some of them changed; InputError for one that there is not."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise InputError(
                    f"training has no option '{name}'{nearest(name, known)} (it has: {', '.join(known)})"
                )
        return dataclasses.replace(self, **changes)
