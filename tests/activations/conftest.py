"""A few clips as files and small random encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import transformers
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    HubertConfig,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
)

import otoscope

transformers.logging.disable_progress_bar()
torch.set_num_threads(1)

RATE = 16_000
_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


@pytest.fixture(scope="session")
def encoder(tmp_path_factory) -> otoscope.Encoder:
    """A small HuBERT: tokens every 80 samples, the first centred on sample 64.5."""
    config = HubertConfig(**_SIZE, conv_dim=(16, 16, 16), conv_kernel=(10, 3, 3), conv_stride=(5, 4, 4),
                          num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2)  # fmt: skip
    return _saved(
        tmp_path_factory, "tiny-hubert", transformers.HubertModel, config, Wav2Vec2FeatureExtractor()
    )


@pytest.fixture(scope="session")
def ast(tmp_path_factory) -> otoscope.Encoder:
    """A small AST of 1.04 s: 4 bands x 9 moments, every 0.1 s from 0.0875 s."""
    config = ASTConfig(**_SIZE, max_length=104, num_mel_bins=48)
    return _saved(tmp_path_factory, "tiny-ast", transformers.ASTModel, config,
                  ASTFeatureExtractor(num_mel_bins=48, max_length=104))  # fmt: skip


@pytest.fixture(scope="session")
def whisper(tmp_path_factory) -> otoscope.Encoder:
    """A small Whisper of 1 s: 50 tokens, every 0.02 s."""
    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=60, max_source_positions=50, num_mel_bins=20,
        pad_token_id=1, bos_token_id=2, eos_token_id=3, decoder_start_token_id=2,
    )  # fmt: skip
    return _saved(tmp_path_factory, "tiny-whisper", transformers.WhisperModel, config,
                  WhisperFeatureExtractor(feature_size=20, chunk_length=1))  # fmt: skip


@pytest.fixture
def clips(tmp_path) -> pd.DataFrame:
    """Twelve clips of noise under a tone, 0.2 to 1.3 s, three of one length; two are stretches of one file."""
    rng = np.random.default_rng(0)
    lengths = [8000, 3200, 8000, 12_345, 20_800, 8000, 5001, 16_000, 9999, 7000]
    rows = []
    for i, n_samples in enumerate(lengths):
        tone = np.sin(2 * np.pi * (200 + 50 * i) * np.arange(n_samples) / RATE)
        path = write(tmp_path / f"clip{i}.wav", 0.3 * tone + 0.05 * rng.standard_normal(n_samples))
        rows.append((f"c{i}", path, 0.0, n_samples / RATE))
    rows.append(("early", rows[4][1], 0.1, 0.6))
    rows.append(("late", rows[4][1], 0.7, 1.2))
    return table(rows)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Return a function that sets how many threads torch has, for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def change_reader(encoder, monkeypatch, *, before=lambda inputs: None, after=lambda state: state) -> None:
    """Call `before` with the inputs of every pass of the model, and put `after` between its states and their use."""
    reader = encoder.reader

    @contextmanager
    def changed(layers):
        with reader(layers) as read:

            def read_changed(inputs):
                before(inputs)
                return {layer: after(state) for layer, state in read(inputs).items()}

            yield read_changed

    monkeypatch.setattr(encoder, "reader", changed)


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> str:
    soundfile.write(
        path, samples.astype(np.float32), rate, subtype="FLOAT" if path.suffix == ".wav" else None
    )
    return str(path)


def table(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    clips = pd.DataFrame(rows, columns=["clip_id", "path", "start_s", "stop_s"])
    return clips.assign(split="train", group=clips.clip_id)


def _saved(tmp_path_factory, name, model_class, config, extractor) -> otoscope.Encoder:
    folder = tmp_path_factory.mktemp("models") / name
    torch.manual_seed(0)
    model_class(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return otoscope.load_encoder(folder, device="cpu", precision="float32")
