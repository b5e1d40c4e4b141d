"""Apply a trained autoencoder to the rows of activations, as a table of active latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from otoscope.compute import as_tensor
from otoscope.errors import InputError
from otoscope.saes.training.rows import Layer, check_finite

if TYPE_CHECKING:
    from otoscope.saes.base import SparseAutoencoder


def encode_rows(
    sae: SparseAutoencoder, activations: Any, *, layer: Layer | None = None, chunk_rows: int = 4096
) -> pd.DataFrame:
    """Encode every row of a layer of an activations store.

    Parameters
    ----------
    sae
        The autoencoder.
    activations
        An activations store: its ``rows``, ``layers`` and ``layer(name)`` are used.
    layer
        Which layer; the one the autoencoder was trained on by default.
    chunk_rows
        Rows encoded at a time.

    Returns
    -------
    pandas.DataFrame
        clip_id, start_s, stop_s, latent, value: a row for every active latent, in the order of the rows. Where the
        store has frames or frequency patches, also time_s and band, before latent.

    Raises
    ------
    InputError
        If the layer is not there, has another width, or holds rows that are not finite.
    """
    layer = sae.layer if layer is None else layer
    if layer is None:
        raise InputError("the autoencoder does not know its layer: name one")
    if layer not in list(activations.layers):
        raise InputError(
            f"there are no activations of layer {layer}; there are layers {list(activations.layers)}"
        )
    table = activations.rows
    rows = as_tensor(activations.layer(layer))
    sae.check_input(rows)
    check_finite(rows, layer, "given", table, np.arange(len(rows)))
    weight = next(sae.parameters())
    found, latents, values = [], [], []
    with torch.no_grad():
        for start in range(0, len(rows), chunk_rows):
            z = sae.encode(rows[start : start + chunk_rows].to(weight)).cpu()
            row, latent = torch.nonzero(z, as_tuple=True)
            found.append(row.numpy() + start)
            latents.append(latent.numpy())
            values.append(z[row, latent].float().numpy())
    index = np.concatenate(found) if found else np.empty(0, dtype=int)
    columns = [c for c in ("clip_id", "start_s", "stop_s", "time_s", "band") if c in table]
    keys = table[columns].iloc[index].reset_index(drop=True)
    return keys.assign(
        latent=np.concatenate(latents) if latents else np.empty(0, dtype=int),
        value=np.concatenate(values) if values else np.empty(0, dtype=np.float32),
    )


def codes_of(sae: SparseAutoencoder, x: np.ndarray, *, chunk_rows: int = 4096) -> np.ndarray:
    """Return the codes [..., latents] of activations ``x [..., width]``, float32, `chunk_rows` at a time."""
    with torch.no_grad():
        parts = as_tensor(np.ascontiguousarray(x)).float().flatten(0, -2).split(chunk_rows)
        return torch.cat([sae.encode(part) for part in parts]).numpy().reshape(*x.shape[:-1], -1)
