"""How much the layers know: linear probes of `synthsing`'s data set, which is never trained on.

While training, only train and valid singers are looked at; the test singers once, at the end.
"""

from dataclasses import dataclass
from functools import cached_property

import librosa
import numpy as np
import pandas as pd
import torch
from corpus import normalise
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from targets import SAMPLE_RATE
from transformers import HubertModel

from otoscope.datasets.synthsing import SINGERS, plan_clips, render, voice_of


@dataclass(frozen=True)
class ProbeSet:
    """Rendered clips of the data set with `seed`, all but the sides of the split that are left out."""

    plan: pd.DataFrame
    waveforms: list[np.ndarray]

    @cached_property
    def split(self) -> np.ndarray:
        return self.plan["singer"].map(dict(SINGERS)).to_numpy()


def probe_set(n_singers: int, *, sides: tuple[str, ...]) -> ProbeSet:
    """Render the default data set's clips of its first singers, on the named sides ("train", "valid", "test")."""
    plan = plan_clips(n_singers=n_singers)
    plan = plan[plan["singer"].map(dict(SINGERS)).isin(sides)].reset_index(drop=True)
    return ProbeSet(plan, [render(voice_of(row)) for _, row in plan.iterrows()])


def probe_layers(hubert: HubertModel, clips: ProbeSet, *, side: str) -> pd.DataFrame:
    """Probe all hidden states, averaged over time.

    Returns
    -------
    pd.DataFrame
        `layer` (0 enters the first block), `accuracy` of logistic regression for the ten techniques on the singers of
        `side`, trained on the train singers, and `f0_r2_cv`: R2 of log f0 predicted by ridge regression, out of fold,
        grouped by singer, over all clips given.
    """
    pooled = mean_states(hubert, clips.waveforms)
    return pd.DataFrame([{"layer": i, **_probe(rows, clips, side)} for i, rows in enumerate(pooled)])


def probe_mfcc(clips: ProbeSet, *, side: str) -> dict[str, float]:
    """The same probes on the mean of 20 MFCCs."""
    rows = [librosa.feature.mfcc(y=w, sr=SAMPLE_RATE, n_mfcc=20).mean(axis=1) for w in clips.waveforms]
    return _probe(np.stack(rows), clips, side)


@torch.no_grad()
def mean_states(hubert: HubertModel, waveforms: list[np.ndarray]) -> np.ndarray:
    """[layers, clips, width]: the mean over time of each hidden state; clips of equal length share a batch."""
    training = hubert.training
    hubert.eval()  # in train mode LayerDrop could leave layers out
    lengths = np.array([len(w) for w in waveforms])
    pooled = np.empty(
        (hubert.config.num_hidden_layers + 1, len(waveforms), hubert.config.hidden_size), np.float32
    )
    for length in np.unique(lengths):
        for at in np.array_split(at_length := np.flatnonzero(lengths == length), -(-len(at_length) // 16)):
            batch = torch.from_numpy(normalise(np.stack([waveforms[i] for i in at])).astype(np.float32))
            for layer, states in enumerate(hubert(batch, output_hidden_states=True).hidden_states):
                pooled[layer, at] = states.mean(dim=1).numpy()
    hubert.train(training)
    return pooled


def _probe(rows: np.ndarray, clips: ProbeSet, side: str) -> dict[str, float]:
    technique, train, held_out = (
        clips.plan["technique"].to_numpy(),
        clips.split == "train",
        clips.split == side,
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    accuracy = classifier.fit(rows[train], technique[train]).score(rows[held_out], technique[held_out])
    log_f0 = np.log2(clips.plan["f0_hz"].to_numpy())
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(0.1, 1e4, 11)))
    predicted = cross_val_predict(ridge, rows, log_f0, groups=clips.plan["singer"], cv=GroupKFold(5))
    r2 = 1 - np.sum((log_f0 - predicted) ** 2) / np.sum((log_f0 - log_f0.mean()) ** 2)
    return {"accuracy": float(accuracy), "f0_r2_cv": float(r2)}
