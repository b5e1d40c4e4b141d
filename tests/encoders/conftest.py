"""Small random models of every family, saved to disk as a user's would be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    Data2VecAudioConfig,
    EncodecConfig,
    EncodecFeatureExtractor,
    HubertConfig,
    MoonshineConfig,
    SeamlessM4TFeatureExtractor,
    SEWConfig,
    UniSpeechConfig,
    UniSpeechSatConfig,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
)

transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

N_LAYERS = 3
_SIZE = {"hidden_size": 32, "num_hidden_layers": N_LAYERS, "num_attention_heads": 2, "intermediate_size": 48}
_STEM = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_WAVE = _SIZE | _STEM
_LARGE = _WAVE | {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
_RATE = {"sampling_rate": 16_000}


def _normalised(rate: int = 16_000) -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(sampling_rate=rate, do_normalize=True)


def _as_it_is() -> Wav2Vec2FeatureExtractor:
    return Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=False)


_WHISPER = WhisperConfig(
    d_model=32, encoder_layers=N_LAYERS, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=60, max_source_positions=50, num_mel_bins=20,
    pad_token_id=1, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
)  # fmt: skip
_AST = ASTConfig(**_SIZE, max_length=104, num_mel_bins=48)

# name -> (class that is saved, its configuration, its feature extractor)
FAMILIES = {
    "hubert-base": ("HubertModel", HubertConfig(**_WAVE), _normalised()),
    "hubert-large": ("HubertModel", HubertConfig(**_LARGE), _normalised()),
    "wavlm-base": ("WavLMModel", WavLMConfig(**_WAVE), _as_it_is()),
    "wavlm-large": ("WavLMModel", WavLMConfig(**_LARGE), _normalised()),
    "wav2vec2-base": ("Wav2Vec2Model", Wav2Vec2Config(**_WAVE), _normalised()),
    "wav2vec2-large": ("Wav2Vec2Model", Wav2Vec2Config(**_LARGE), _normalised()),
    "wav2vec2-conformer": ("Wav2Vec2ConformerModel", Wav2Vec2ConformerConfig(**_WAVE), _normalised()),
    "wav2vec2-bert": (
        "Wav2Vec2BertModel",
        Wav2Vec2BertConfig(**_SIZE, feature_projection_input_dim=40),
        SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20),
    ),
    "data2vec-audio": (
        "Data2VecAudioModel",
        Data2VecAudioConfig(**_WAVE | {"num_conv_pos_embeddings": 2}, conv_pos_kernel_size=5),
        _normalised(),
    ),
    "unispeech": ("UniSpeechModel", UniSpeechConfig(**_WAVE), _normalised()),
    "unispeech-sat": ("UniSpeechSatModel", UniSpeechSatConfig(**_WAVE), _normalised()),
    "sew": ("SEWModel", SEWConfig(**_WAVE, squeeze_factor=2), _normalised()),
    "ast": ("ASTModel", _AST, ASTFeatureExtractor(num_mel_bins=48, max_length=104)),
    "whisper": ("WhisperModel", _WHISPER, WhisperFeatureExtractor(feature_size=20, chunk_length=1)),
    "moonshine": (
        "MoonshineModel",
        MoonshineConfig(
            hidden_size=32, intermediate_size=48, encoder_num_hidden_layers=N_LAYERS, decoder_num_hidden_layers=2,
            encoder_num_attention_heads=2, decoder_num_attention_heads=2, vocab_size=60,
        ),
        _as_it_is(),
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function: family name -> folder of its small model, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("models") / name
            class_name, config, extractor = FAMILIES[name]
            save(made[name], class_name, config, extractor)
        return made[name]

    return folder


@pytest.fixture
def mert(tmp_path) -> Path:
    """A small MERT: HuBERT's weights under the old names, a config of its own type, remote code named in it."""
    folder = tmp_path / "mert"
    save(folder, "HubertModel", HubertConfig(**_WAVE), _normalised(24_000))
    old_weight_names(folder)
    edit_json(
        folder / "config.json",
        model_type="mert_model",
        architectures=["MERTModel"],
        auto_map={"AutoModel": "modeling_MERT.MERTModel", "AutoConfig": "configuration_MERT.MERTConfig"},
        sample_rate=24_000,
        feature_extractor_cqt=False,
        deepnorm=False,
        attention_relax=-1.0,
    )
    return folder


@pytest.fixture
def encodec(tmp_path) -> Path:
    folder = tmp_path / "encodec"
    config = EncodecConfig(num_filters=4, hidden_size=16, upsampling_ratios=[5, 4, 2], codebook_size=16,
                           codebook_dim=16, num_lstm_layers=1)  # fmt: skip
    save(folder, "EncodecModel", config, EncodecFeatureExtractor(sampling_rate=24_000))
    return folder


@pytest.fixture
def noise() -> SimpleNamespace:
    """Two clips of noise each, 0.9 s at 16 kHz and a little shorter."""
    rng = np.random.default_rng(0)
    clips = rng.normal(0, 0.1, (2, 14_480)).astype(np.float32)
    return SimpleNamespace(long=clips, short=clips[:, :9_123])


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Return a function that sets how many threads torch has, for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def save(folder: Path, class_name: str, config, extractor) -> None:
    torch.manual_seed(0)
    model = getattr(transformers, class_name)(config)
    with torch.no_grad():  # weights at zero, at one, or tiny would hide mistakes
        for parameter in model.parameters():
            if (parameter == parameter.flatten()[0]).all():
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif parameter.std() < 0.03:
                parameter.mul_(5)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def old_weight_names(folder: Path) -> None:
    """Name the positional convolution's weights as checkpoints made before 2023 do."""
    new = ".parametrizations.weight.original"

    def rename(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        assert any(new in key for key in weights)
        names = {key: key.replace(f"{new}0", ".weight_g").replace(f"{new}1", ".weight_v") for key in weights}
        return {names[key]: value for key, value in weights.items()}

    edit_weights(folder, rename)
