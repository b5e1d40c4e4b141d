"""The Hugging Face families that are served, a row each."""

from __future__ import annotations

from dataclasses import dataclass

from otoscope.encoders.ast import fit_ast
from otoscope.encoders.encodec import fit_encodec
from otoscope.encoders.fitting import Fit, fit_mert, fit_moonshine, fit_waveform
from otoscope.encoders.wav2vec2_bert import fit_wav2vec2_bert
from otoscope.encoders.whisper import fit_whisper


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


_STEM = ("feature_extractor", "feature_projection", "encoder")

FAMILIES: dict[str, Family] = {
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
}
