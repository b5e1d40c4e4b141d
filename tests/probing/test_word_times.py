"""``benchmarks/word_times.py`` against transformers' own times, and against attention whose steps are planted."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.generation_whisper import _dynamic_time_warping

FILE = Path(__file__).parents[2] / "benchmarks" / "word_times.py"
HEADS = [[0, 1], [1, 0], [1, 1]]
START, PLAIN, END, WORDS = 4, 5, 3, [20, 21, 22, 23, 24, 25]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("word_times", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=60, max_source_positions=50, max_target_positions=40,
        num_mel_bins=20, pad_token_id=1, bos_token_id=2, eos_token_id=END, decoder_start_token_id=START,
        attn_implementation="eager",
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():  # a random model's attention is nearly even
        for layer in model.model.decoder.layers:
            layer.encoder_attn.q_proj.weight *= 40
            layer.encoder_attn.k_proj.weight *= 40
    model.generation_config = GenerationConfig(
        alignment_heads=HEADS, no_timestamps_token_id=PLAIN, eos_token_id=END, pad_token_id=1
    )
    return model


@pytest.mark.parametrize("seed", range(20))
def test_a_path_begins_rows_where_transformers_does(benchmark, seed):
    rng = np.random.default_rng(seed)
    gain = rng.normal(size=(rng.integers(1, 12), rng.integers(12, 60))).astype(np.float32)
    rows, steps = _dynamic_time_warping(-gain.astype(np.float64))
    firsts = [int(steps[np.argmax(rows == row)]) for row in range(len(gain))]
    assert benchmark.first_steps(gain.astype(np.float64)).tolist() == firsts


@pytest.mark.parametrize("n_steps", [50, 31])
def test_times_are_those_of_transformers(benchmark, model, n_steps):
    torch.manual_seed(n_steps)
    states = model.model.encoder(torch.randn(1, 20, 100)).last_hidden_state
    ours = benchmark.alignment(model, states, WORDS, n_steps)
    with torch.no_grad():
        read = model.model.decoder(
            input_ids=torch.tensor([[START, PLAIN, *WORDS]]),
            encoder_hidden_states=states,
            output_attentions=True,
        ).cross_attentions

    class Generated(dict):
        cross_attentions = (read,)
        sequences = torch.tensor([[START, PLAIN, *WORDS, END]])

    # With one row of the prompt less left out, its first row is the position that writes the first token, as here.
    theirs = model._extract_token_timestamps(
        Generated(), HEADS, num_frames=torch.tensor([2 * n_steps]), num_input_ids=1
    )
    assert len(set(ours.tolist())) > 3
    np.testing.assert_allclose(ours * benchmark.STEP_S, theirs[0, 1:-1].numpy(), atol=1e-6)


def test_planted_steps_are_found(benchmark):
    starts, rng = np.array([0, 12, 13, 40, 70, 95]), np.random.default_rng(0)
    weights = rng.uniform(0, 0.2, size=(3, 6, 120))
    for token, (start, stop) in enumerate(zip(starts, [*starts[1:], 120])):
        weights[:, token, start:stop] += 1
    assert np.abs(benchmark.token_starts(weights) - starts).max() <= 3  # half of the running median


def test_words_are_made_of_tokens(benchmark):
    texts = {1: " The", 2: " fox", 3: "es", 4: "'", 5: " ran", 6: ".", 7: " -"}

    class Tokenizer:
        def decode(self, tokens):
            return "".join(texts[token] for token in tokens)

    steps = np.array([0, 10, 20, 25, 26, 40, 45, 50])
    found = benchmark.words_of([1, 2, 3, 4, 5, 6, 7], steps, Tokenizer())
    assert found["word"].tolist() == ["the", "foxes", "ran"]
    np.testing.assert_allclose(found[["start_s", "stop_s"]], [[0, 0.2], [0.2, 0.52], [0.52, 0.9]])
    assert benchmark.words_of([], np.zeros(1, int), Tokenizer()).empty
