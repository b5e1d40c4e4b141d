"""Shared by all tests: one thread a worker (the workers already fill the cores), and where real data may lie."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the network shall fail, not wait

from pathlib import Path

import pytest

from otoscope.cli import RARELY

gc.set_threshold(*RARELY)  # as on the command line: hundreds of modules and tests stay, and are no garbage

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def fsdd() -> Path:
    """The Free Spoken Digit Dataset's recordings."""
    folder = DATA / "fsdd" / "recordings"
    if not folder.is_dir():
        pytest.skip("the Free Spoken Digit Dataset is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def whisper_tiny() -> Path:
    """OpenAI's Whisper tiny.en, all real weights."""
    folder = DATA / "whisper-tiny.en"
    if not folder.is_dir():
        pytest.skip("Whisper tiny.en is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def egemaps_csv() -> Path:
    """Real eGeMAPS functionals of singing."""
    file = DATA / "vocalset_train_egemaps.csv"
    if not file.is_file():
        pytest.skip("the table of real eGeMAPS functionals is not beside this checkout")
    return file


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory) -> Path:
    """A random HuBERT of two blocks, saved as a user would have it."""
    import torch
    from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=[8] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("encoders") / "tiny"
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(folder)
    return folder
