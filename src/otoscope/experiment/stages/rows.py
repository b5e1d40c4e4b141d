"""Rows of a store: whose they are, and their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from otoscope.activations import Activations
    from otoscope.saes import SparseAutoencoder


def layer_rows(store: Activations, clips: pd.DataFrame) -> pd.DataFrame:
    """Return the store's rows in order, with the clip's split, group and labels beside them."""
    own = store.rows
    about = clips.drop(columns=["path", "start_s", "stop_s"])
    return own.merge(about, on="clip_id", how="left", validate="many_to_one")


def codes_of(sae: SparseAutoencoder, x: np.ndarray) -> np.ndarray:
    """Return the codes [rows, latents] of activations [rows, width], float32."""
    import torch

    with torch.no_grad():
        parts = torch.from_numpy(np.ascontiguousarray(x)).float().split(4096)
        return torch.cat([sae.encode(part) for part in parts]).numpy()
