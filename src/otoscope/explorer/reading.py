"""The latents tables that an explorer shows: those of a run, or folders of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otoscope.errors import InputError
from otoscope.files import read_mapping
from otoscope.results import layer_order
from otoscope.tables import read_parquet

if TYPE_CHECKING:
    import pandas as pd

NEEDED = {
    "latents": "latent alive frequency mean_active max histogram name confidence evidence caveat label_column "
    "label_value label_auc label_p factor factor_unit factor_rho factor_p group_value group_auc recurrence",
    "examples": "latent kind rank clip_id value mean peak_s",
    "labels": "latent column value auc null95 p p_corrected",
    "factors": "latent factor family unit rho null95 p p_corrected",
    "neighbours": "latent other cosine cofiring",
    "clips": "clip_id path start_s stop_s split group",
    "activity": "clip_id latent max mean share",
    "curves": "clip_id latent start_s step_s peak values",
    "judged": "latent n_hits n_false n_holding n_rows n_groups",
}
"""The columns that are read of each table."""


@dataclass(frozen=True)
class Dictionary:
    """The latents tables of one sparse autoencoder.

    Attributes
    ----------
    folder : Path
        Where they lie.
    name : str
        What links call it, such as ``hubert-base/layer_03/topk-2048-s0.95-seed0``.
    about : dict
        Of ``about.json``: which encoder, layer and autoencoder, what a row is, the data set and its licence.
    """

    folder: Path
    name: str
    about: dict[str, Any]

    @property
    def sae(self) -> dict[str, Any]:
        """What its autoencoder is: kind, n_latents, k, sparsity, seed."""
        return self.about.get("sae") or {}

    def table(self, name: str) -> pd.DataFrame:
        """Read one of `NEEDED`.

        Raises
        ------
        InputError
            If it is missing or lacks a column.
        """
        path = self.folder / f"{name}.parquet"
        if not path.is_file():
            raise InputError(f"'{self.folder}' has no {name}.parquet; run 'otoscope latents' again")
        table = read_parquet(path)
        missing = [column for column in NEEDED[name].split() if column not in table]
        if missing:
            raise InputError(
                f"'{path}' lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, table.columns))}. "
                "Run 'otoscope latents' again"
            )
        return table.astype({"clip_id": str}) if "clip_id" in table else table


def find_dictionaries(places: Sequence[Path]) -> list[Dictionary]:
    """Return the dictionaries below runs or folders of latents tables, by encoder, layer and sparsity.

    Raises
    ------
    InputError
        If there is none.
    """
    found: dict[Path, Dictionary] = {}
    for place in places:
        top = place / "latents" if (place / "latents").is_dir() else place
        marks = sorted(top.rglob("about.json")) if top.is_dir() else []
        marks = [mark for mark in marks if (mark.parent / "latents.parquet").is_file()]
        if not marks:
            raise InputError(
                f"'{place}' holds no latents tables; make them with 'otoscope latents SAE STORE', or give the folder "
                "of a run that has a folder 'latents'"
            )
        for mark in marks:
            folder = mark.parent
            name = folder.relative_to(top).as_posix() if folder != top else folder.resolve().name
            found[folder.resolve()] = Dictionary(folder, name, read_mapping(mark))
    return _told_apart(sorted(found.values(), key=_order))


def _order(dictionary: Dictionary) -> tuple:
    sparsity = dictionary.sae.get("sparsity")
    layer = layer_order(dictionary.about.get("layer"))
    return str(dictionary.about.get("encoder")), layer, sparsity is None, sparsity or 0.0, dictionary.name


def _told_apart(dictionaries: list[Dictionary]) -> list[Dictionary]:
    """Number names that several have, as folders of different runs may."""
    seen: dict[str, int] = {}
    result = []
    for dictionary in dictionaries:
        seen[dictionary.name] = seen.get(dictionary.name, 0) + 1
        number = seen[dictionary.name]
        name = dictionary.name if number == 1 else f"{dictionary.name}~{number}"
        result.append(Dictionary(dictionary.folder, name, dictionary.about))
    return result
