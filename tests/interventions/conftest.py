"""Small random models with heads, saved to disk as fine-tuned ones would be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    HubertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
)

import otoscope

transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

_SIZE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
_WAVE = _SIZE | {
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
}  # fmt: skip
_HEARS = Wav2Vec2FeatureExtractor(sampling_rate=16_000, do_normalize=True)
_NAMES = {"id2label": {0: "low", 1: "mid", 2: "high"}, "label2id": {"low": 0, "mid": 1, "high": 2}}
_LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghij"]
_WHISPER = {
    "d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "vocab_size": 60,
    "max_source_positions": 50, "max_target_positions": 40, "num_mel_bins": 20, "pad_token_id": 1,
    "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 4, "suppress_tokens": None,
    "begin_suppress_tokens": None, "classifier_proj_size": 16,
}  # fmt: skip
_WHISPER_HEARS = WhisperFeatureExtractor(feature_size=20, chunk_length=1)

# name -> (class that is saved, its configuration, its feature extractor, the readout that its head is)
HEADS = {
    "hubert": ("HubertForSequenceClassification", HubertConfig(**_WAVE, **_NAMES), _HEARS, "classes"),
    "wavlm": ("WavLMForSequenceClassification", WavLMConfig(**_WAVE, **_NAMES), _HEARS, "classes"),
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", Wav2Vec2Config(**_WAVE, **_NAMES), _HEARS, "classes"),
    "ast": (
        "ASTForAudioClassification",
        ASTConfig(**_SIZE, max_length=104, num_mel_bins=48, num_labels=7, problem_type="multi_label_classification"),
        ASTFeatureExtractor(num_mel_bins=48, max_length=104),
        "classes",
    ),
    "whisper-classes": (
        "WhisperForAudioClassification", WhisperConfig(**_WHISPER, **_NAMES), _WHISPER_HEARS, "classes",
    ),
    "hubert-ctc": ("HubertForCTC", HubertConfig(**_WAVE, vocab_size=len(_LETTERS)), _HEARS, "letters"),
    "wavlm-ctc": ("WavLMForCTC", WavLMConfig(**_WAVE, vocab_size=len(_LETTERS)), _HEARS, "letters"),
    "wav2vec2-ctc": ("Wav2Vec2ForCTC", Wav2Vec2Config(**_WAVE, vocab_size=len(_LETTERS)), _HEARS, "letters"),
    "whisper": ("WhisperForConditionalGeneration", WhisperConfig(**_WHISPER), _WHISPER_HEARS, "words"),
}  # fmt: skip


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function: name of `HEADS` -> folder of its model, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            class_name, config, extractor, readout = HEADS[name]
            torch.manual_seed(0)
            model = getattr(transformers, class_name)(config)
            with torch.no_grad():  # initial weights are tiny: a head would say the same whatever it hears
                for parameter in model.parameters():
                    if parameter.ndim > 1 and parameter.std() < 0.03:
                        parameter.mul_(8)
            made[name] = tmp_path_factory.mktemp("heads") / name
            model.save_pretrained(made[name])
            extractor.save_pretrained(made[name])
            if readout == "letters":
                vocabulary = made[name] / "vocab.json"
                vocabulary.write_text(json.dumps({letter: i for i, letter in enumerate(_LETTERS)}))
                transformers.Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(made[name])
            if readout == "words":
                _words(made[name])
        return made[name]

    return folder


@pytest.fixture
def load(checkpoint):
    return lambda name: otoscope.load_encoder(checkpoint(name), device="cpu")


@pytest.fixture
def noise() -> np.ndarray:
    """Three clips of 0.9 s at 16 kHz."""
    return np.random.default_rng(0).normal(0, 0.1, (3, 14_480)).astype(np.float32)


def _words(folder: Path) -> None:
    """Give a Whisper of 60 tokens a vocabulary of one made-up word a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {f"w{i}": i for i in range(60)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.Metaspace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    settings = transformers.GenerationConfig.from_pretrained(folder)
    settings.update(no_timestamps_token_id=58, suppress_tokens=[57], begin_suppress_tokens=[3])
    settings.no_timestamps_token_id = 58
    settings._from_model_config = (
        False  # else loading makes them from the model's own, and drops what that lacks
    )
    settings.save_pretrained(folder)
