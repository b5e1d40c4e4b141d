"""The families that are served, a row each: those of transformers, and those whose forward pass is written here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from otoscope.encoders import beats, dasheng, mert_v2, muq, passt, timm_vit
from otoscope.encoders.ast import fit_ast
from otoscope.encoders.clap import fit_clap
from otoscope.encoders.encodec import fit_encodec
from otoscope.encoders.fitting import Fit, fit_mert, fit_moonshine, fit_waveform
from otoscope.encoders.wav2vec2_bert import fit_wav2vec2_bert
from otoscope.encoders.whisper import fit_whisper
from otoscope.registry import Registry


@dataclass(frozen=True)
class Family:
    """How one `model_type` of transformers is loaded and read.

    Attributes
    ----------
    model_class : str
        Class of transformers that holds the encoder.
    parts : tuple of str
        Names under which the encoder's own weights lie; all other weights of a checkpoint (heads, quantisers,
        decoders) are left aside.
    fit : Fit
        Finds blocks, frames and input of a loaded model.
    reentrant : bool
        Whether several threads may run it at once. Those that keep a table of positions for the last length may not.
    """

    model_class: str
    parts: tuple[str, ...]
    fit: Fit
    reentrant: bool = True


@dataclass(frozen=True)
class WrittenFamily:
    """A model that transformers lacks: how it is built here, and takes the weights that its authors published.

    Attributes
    ----------
    build : callable
        The settings of ``config.json`` -> a module whose weights have the published names.
    parts, fit, reentrant
        As of a `Family`.
    sample_rate : int
        At which it listens, in Hz.
    licence : str
        Of its code and its published weights.
    adapt : callable
        Published weights -> those of the module, where names differ.
    unused : tuple of str
        Beginnings of names within `parts` of weights that the model does not use.
    defaults : mapping
        Settings that a ``config.json`` may leave out.
    known_by : tuple of str
        Settings by which a ``config.json`` that names no model type is recognised.
    """

    build: Callable[[Mapping[str, Any]], nn.Module]
    parts: tuple[str, ...]
    fit: Fit
    sample_rate: int
    licence: str
    adapt: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict
    unused: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    known_by: tuple[str, ...] = ()
    reentrant: bool = True


FAMILIES = Registry("model type", "otoscope.families")
"""Model types, as ``config.json`` names them. An entry is a `Family` or a `WrittenFamily`."""

_STEM = ("feature_extractor", "feature_projection", "encoder")

for _type, _family in {
    "hubert": Family("HubertModel", _STEM, fit_waveform),
    "mert_model": Family("HubertModel", _STEM, fit_mert),
    "wav2vec2": Family("Wav2Vec2Model", _STEM, fit_waveform),
    "wav2vec2-conformer": Family("Wav2Vec2ConformerModel", _STEM, fit_waveform, reentrant=False),
    "wav2vec2-bert": Family("Wav2Vec2BertModel", _STEM, fit_wav2vec2_bert, reentrant=False),
    "wavlm": Family("WavLMModel", _STEM, fit_waveform),
    "data2vec-audio": Family("Data2VecAudioModel", _STEM, fit_waveform),
    "unispeech": Family("UniSpeechModel", _STEM, fit_waveform),
    "unispeech-sat": Family("UniSpeechSatModel", _STEM, fit_waveform),
    "sew": Family("SEWModel", (*_STEM, "layer_norm"), fit_waveform),
    "audio-spectrogram-transformer": Family(
        "ASTModel", ("embeddings", "encoder", "layers", "layernorm"), fit_ast
    ),
    "whisper": Family("WhisperModel", ("encoder",), fit_whisper),
    "moonshine": Family("MoonshineModel", ("encoder",), fit_moonshine),
    "encodec": Family("EncodecModel", ("encoder",), fit_encodec),
    "clap": Family("ClapModel", ("audio_model",), fit_clap, reentrant=False),
}.items():
    FAMILIES.add(_type, _family)

_MUQ: dict[str, Any] = {
    "build": muq.Muq,
    "parts": ("conv", "conformer"),
    "unused": ("conformer.pos_conv_embed.",),
    "fit": muq.fit_muq,
    "adapt": muq.adapt_muq,
    "sample_rate": muq.RATE,
    "defaults": muq.DEFAULTS,
    "reentrant": False,
}
for _type, _written in {
    "muq": WrittenFamily(
        **_MUQ,
        known_by=("w2v2_config", "label_rate", "encoder_dim"),
        licence="code MIT, weights CC BY-NC 4.0",
    ),
    "musicfm": WrittenFamily(**_MUQ, licence="code MIT, weights MIT"),
    "beats": WrittenFamily(
        build=beats.Beats,
        parts=("patch_embedding", "layer_norm", "post_extract_proj", "encoder"),
        fit=beats.fit_beats,
        adapt=beats.adapt_beats,
        sample_rate=beats.RATE,
        defaults=beats.DEFAULTS,
        licence="code MIT, weights MIT",
    ),
    "passt": WrittenFamily(
        build=passt.Passt,
        parts=(
            "patch_embed",
            "cls_token",
            "dist_token",
            "new_pos_embed",
            "freq_new_pos_embed",
            "time_new_pos_embed",
            "blocks",
            "norm",
        ),
        fit=passt.fit_passt,
        sample_rate=passt.RATE,
        licence="code Apache 2.0, weights Apache 2.0",
    ),
    "timm-vit": WrittenFamily(
        build=timm_vit.TimmVit,
        parts=("patch_embed", "cls_token", "pos_embed", "blocks", "norm"),
        fit=timm_vit.fit_timm_vit,
        sample_rate=timm_vit.RATE,
        known_by=("architecture", "pretrained_cfg"),
        licence="code Apache 2.0, weights as their page says (AudioMAE's CC BY 4.0)",
    ),
    "dasheng": WrittenFamily(
        build=dasheng.Dasheng,
        parts=("init_bn", "patch_embed", "time_pos_embed", "freq_pos_embed", "blocks", "norm"),
        fit=dasheng.fit_dasheng,
        adapt=dasheng.adapt_dasheng,
        sample_rate=dasheng.RATE,
        licence="code Apache 2.0, weights Apache 2.0",
    ),
    "mert2": WrittenFamily(
        build=mert_v2.MertV2,
        parts=("feature_extractor", "subsampling_module", "layers"),
        fit=mert_v2.fit_mert_v2,
        sample_rate=mert_v2.RATE,
        defaults=mert_v2.DEFAULTS,
        licence="code and weights CC BY-NC 4.0",
    ),
}.items():
    FAMILIES.add(_type, _written)
