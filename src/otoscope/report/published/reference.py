"""The published tables, and whether a run may be put beside them."""

from __future__ import annotations

from functools import cache
from importlib import resources

import pandas as pd

from otoscope.report.runs import Run

CITATION = (
    "Mariotte, Lebourdais, Almudévar, Tahon, Ortega, Dugué: Sparse Autoencoders Make Audio Foundation Models More "
    "Explainable (2025)"
)
DATASET, LABEL = "vocalset", "technique"

ENCODERS = {
    "ast": ("ast", "ast-finetuned-audioset-10-10-0.4593"),
    "hubert": ("hubert-base", "hubert-base-ls960"),
    "wavlm": ("wavlm-base-plus",),
    "mert": ("mert-v1-95m",),
}
"""Name in the tables -> what a run calls the same model: our short name, or the last part of its hub id."""

Published = dict[str, pd.DataFrame]
"""Published tables by name, with a run's own names for the encoders."""


def published_name(encoder: str) -> str | None:
    """Return what the published tables call an encoder of a run, None if it is none of theirs."""
    last = encoder.replace("--", "/").rpartition("/")[2].lower()
    return next((name for name, ours in ENCODERS.items() if last in ours), None)


def published_table(name: str) -> pd.DataFrame:
    """Return a published table.

    Parameters
    ----------
    name : {"layer_probing", "sae_probing", "reconstruction", "disentanglement", "factor_families", "table1_sota"}

    Returns
    -------
    DataFrame
        As the file has it, ``source`` last; layers are ints, and the sparsity of a dense layer is NaN.
    """
    return _read(name).copy()


def beside(run: Run) -> Published:
    """Return the published tables of the encoders that a run has too, under the run's own names for them.

    Empty unless the run is of the paper's data set and label, and has one of its four encoders.
    """
    dataset = run.spec.get("dataset") or {}
    if dataset.get("name") != DATASET or dataset.get("label", LABEL) != LABEL:
        return {}
    encoders = dict.fromkeys(
        encoder for table in run.tables.values() if "encoder" in table for encoder in table["encoder"]
    )
    ours = {name: encoder for encoder in encoders if (name := published_name(encoder)) is not None}
    if not ours:
        return {}
    found = {}
    for name in ("layer_probing", "sae_probing", "reconstruction", "disentanglement", "factor_families"):
        table = published_table(name)
        table = table[table["encoder"].isin(ours)]
        found[name] = table.assign(encoder=table["encoder"].map(ours)).reset_index(drop=True)
    found["table1_sota"] = published_table("table1_sota")
    return found


@cache
def _read(name: str) -> pd.DataFrame:
    path = resources.files("otoscope.report.published") / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, na_values=["dense"])
    if "layer" in table:
        table["layer"] = table["layer"].astype("Int64").astype(object)
    return table
