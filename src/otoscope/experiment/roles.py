"""What clips are played to an encoder for, and which part of which clips: the roles, and the stores they share."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope.experiment.spec import EncoderSpec, Spec


@dataclass(frozen=True)
class StorePlan:
    """A store to be made: one way in which clips are cut.

    Attributes
    ----------
    crop : str
        As in ``otoscope extract``.
    roles : tuple of str
        What it serves: "train" (learnt from), "evaluate" (epochs, layers and probes are judged on it), "measure"
        (reconstruction and disentanglement).
    splits : tuple of str
        Whose clips are in it.
    """

    crop: str
    roles: tuple[str, ...]
    splits: tuple[str, ...]


def splits_of(spec: Spec, role: str) -> tuple[str, ...]:
    """Return whose clips serve `role`."""
    measured = ("test",) if spec.disentanglement.rows == "test" else ("train", "valid", "test")
    return {"train": ("train",), "evaluate": ("valid", "test"), "measure": measured}[role]


def store_plans(spec: Spec, encoder: EncoderSpec) -> list[StorePlan]:
    """Return the stores of an encoder; roles that cut alike share one."""
    settings = spec.extraction
    crops = {
        "train": settings.train_crop or settings.crop,
        "evaluate": settings.evaluate_crop or settings.crop,
        "measure": encoder.measure_crop or settings.measure_crop or settings.crop,
    }
    found = []
    for crop in dict.fromkeys(crops.values()):
        roles = tuple(role for role in crops if crops[role] == crop)
        splits = {split for role in roles for split in splits_of(spec, role)}
        found.append(StorePlan(crop, roles, tuple(s for s in ("train", "valid", "test") if s in splits)))
    return found
