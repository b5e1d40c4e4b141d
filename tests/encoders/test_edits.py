"""Editing layers: against the same change made by a plain hook on transformers' own model, and what must not change."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import otoscope
from otoscope.encoders import Encoder
from otoscope.errors import InputError

from .conftest import FAMILIES, N_LAYERS

LAYERS = [*range(N_LAYERS + 1), "final"]


@pytest.fixture
def load(folders):
    return lambda name, precision="float32": otoscope.load_encoder(
        folders(name), device="cpu", precision=precision
    )


def turned(state: torch.Tensor) -> torch.Tensor:
    """A change that no norm undoes: features move on by one place, the first ones are silent."""
    return torch.cat([torch.zeros_like(state[..., :4]), state[..., 3:-1]], dim=-1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_identity_changes_no_bit(name, precision, load, noise) -> None:
    encoder = load(name, precision)
    plain = encoder.hidden_states(noise.short, LAYERS)
    whole = tensors(encoder.module(encoder.frontend(noise.short[0])[None])) if precision == "float32" else []
    for layer in LAYERS:
        with encoder.edited(layer, lambda state: state):
            same = encoder.hidden_states(noise.short, LAYERS)
            assert all(torch.equal(same[key], plain[key]) for key in LAYERS)
            if whole:
                again = tensors(encoder.module(encoder.frontend(noise.short[0])[None]))
                assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True))
    assert unhooked(encoder)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("layer", [1, 2, N_LAYERS])
def test_it_is_the_change_of_a_plain_hook(name, layer, load, folders, noise) -> None:
    def by_hand(module, args, output):
        return (turned(output[0]), *output[1:]) if isinstance(output, tuple) else turned(output)

    encoder = load(name)
    plain = encoder.hidden_states(noise.long, LAYERS)
    with encoder.edited(layer, turned):
        edited = encoder.hidden_states(noise.long, LAYERS)
    model = getattr(transformers, FAMILIES[name][0]).from_pretrained(folders(name)).eval()
    model = model.encoder if name in ("whisper", "moonshine") else model
    blocks = model.layers if hasattr(model, "layers") else model.encoder.layers
    blocks[layer - 1].register_forward_hook(by_hand)
    inputs = torch.stack([encoder.frontend(clip) for clip in noise.long])
    with torch.no_grad():
        expected = model(inputs, output_hidden_states=True).hidden_states
    for key in range(N_LAYERS):
        assert (edited[key] - expected[key]).abs().max() < 1e-5
    assert torch.equal(edited[layer], turned(plain[layer]))
    for key in LAYERS:  # nothing before it, everything after it
        before = key != "final" and int(key) < layer
        assert torch.equal(edited[key], plain[key]) == before


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_enters_the_first_block_and_what_follows_the_last_norm(name, precision, load, noise) -> None:
    encoder = load(name, precision)
    plain = encoder.hidden_states(noise.short, LAYERS)
    seen = []
    with encoder.edited(0, lambda state: seen.append(state) or 0 * state):
        first = encoder.hidden_states(noise.short, LAYERS)
    assert torch.equal(torch.cat(seen), plain[0])
    assert seen[0].dtype == torch.float32
    assert not first[0].any()
    assert all(not torch.equal(first[key], plain[key]) for key in LAYERS)
    with encoder.edited("final", turned):
        final = encoder.hidden_states(noise.short, LAYERS)
        output = encoder.module(encoder.frontend(noise.short[0])[None]) if precision == "float32" else None
    assert torch.equal(final["final"], turned(plain["final"]))
    assert all(torch.equal(final[key], plain[key]) for key in range(N_LAYERS))
    if output is not None and name != "sew":  # whose output is brought back to the full rate
        assert (output.last_hidden_state - turned(plain["final"])[:1]).abs().max() < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
def test_an_edited_clip_does_not_depend_on_its_batch(name, load, noise, threads) -> None:
    encoder = load(name)
    waveforms = np.concatenate([noise.short, -noise.short])
    with encoder.edited(1, turned), encoder.edited(2, lambda state: state - state.mean(1, keepdim=True)):
        alone = [encoder.hidden_states(waveform[None]) for waveform in waveforms]
        for n_threads in (1, 3):
            threads(n_threads)
            together = encoder.hidden_states(waveforms)
            for layer, states in together.items():
                for state, one in zip(states, alone):
                    assert (state - one[layer][0]).abs().max() < 1e-5


def test_encodec_goes_back_in_its_own_layout(encodec) -> None:
    encoder = otoscope.load_encoder(encodec, device="cpu")
    sound = np.random.default_rng(0).normal(0, 0.1, (2, 4810)).astype(np.float32)
    plain = encoder.hidden_states(sound, [0, 1, 2, "final"])
    with encoder.edited(1, turned):
        edited = encoder.hidden_states(sound, [0, 1, 2, "final"])
        output = encoder.module(torch.from_numpy(sound)[:, None])
    assert torch.equal(edited[0], plain[0])
    assert torch.equal(edited[1], turned(plain[1]))
    assert not torch.equal(edited[2], plain[2])
    assert (output.transpose(1, 2) - edited["final"]).abs().max() < 1e-6


def test_several_edits_are_made_in_order(load, noise) -> None:
    encoder = load("hubert-base")
    plain = encoder.hidden_states(noise.short, [1])[1]
    with encoder.edited(1, lambda state: state + 1), encoder.edited(1, lambda state: 2 * state):
        both = encoder.hidden_states(noise.short, [1])[1]
        assert len(encoder.provenance()["edits"]) == 2
    assert torch.equal(both, 2 * (plain + 1))
    assert "edits" not in encoder.provenance()
    assert torch.equal(encoder.hidden_states(noise.short, [1])[1], plain)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_edit_in_place_counts(precision, load, noise) -> None:
    encoder = load("wavlm-base", precision)

    def in_place(state: torch.Tensor) -> torch.Tensor:
        state[:, :, 5] = 0
        return state

    plain = encoder.hidden_states(noise.short, [1, 2])
    with encoder.edited(2, in_place):
        edited = encoder.hidden_states(noise.short, [1, 2])
        with torch.inference_mode():
            again = encoder.hidden_states(noise.short, [2])[2]
    assert torch.equal(edited[1], plain[1])
    assert not edited[2][..., 5].any()
    assert torch.equal(edited[2][..., 6:], plain[2][..., 6:])
    assert torch.equal(again, edited[2])


def test_hooks_come_off_when_the_block_raises(load, noise) -> None:
    encoder = load("hubert-base")
    plain = encoder.hidden_states(noise.short, [2])[2]

    def fail(state: torch.Tensor) -> torch.Tensor:
        raise ValueError("a mistake in the edit")

    with pytest.raises(ValueError, match="a mistake in the edit"), encoder.edited(1, fail):
        encoder.hidden_states(noise.short, [2])
    with pytest.raises(KeyboardInterrupt), encoder.edited(0, turned), encoder.edited("final", turned):
        raise KeyboardInterrupt
    assert unhooked(encoder)
    assert torch.equal(encoder.hidden_states(noise.short, [2])[2], plain)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda state: state[:, 1:], r"the edit of layer 2 of hubert-base must return .* \(1, 79, 32\); got"),
        (lambda state: None, "got NoneType"),
        (lambda state: state.numpy(), "got ndarray"),
    ],
)
def test_an_edit_that_returns_no_state(load, noise, function, message) -> None:
    encoder = load("hubert-base")
    n_tokens = len(encoder.tokens(noise.short.shape[1]))
    with pytest.raises(InputError, match=message.replace("79", str(n_tokens))), encoder.edited(2, function):
        encoder.hidden_states(noise.short[:1], [3])


def test_a_layer_that_does_not_exist(load) -> None:
    with pytest.raises(InputError, match="has no layer '7'"), load("hubert-base").edited(7, turned):
        pass


class Answer(NamedTuple):
    state: torch.Tensor
    note: str


class Block(nn.Module):
    """Works in place, takes its state by name, and answers with a tuple."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.linear, self.kind = nn.Linear(6, 6, dtype=torch.float64), kind

    def forward(self, *, hidden: torch.Tensor, scale: float):
        hidden.add_(self.linear(hidden) * scale)
        return {"tuple": (hidden, scale), "list": [hidden, scale], "named": Answer(hidden, "kept")}[self.kind]


class Classifier(nn.Module):
    """Blocks in float64, then a head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(kind) for _ in range(2))
        self.head = nn.Linear(6, 3, dtype=torch.float64)
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.double().reshape(len(x), -1, 6)
        for block in self.blocks:
            answer = block(hidden=x, scale=0.5)
            assert type(answer) is {"tuple": tuple, "list": list, "named": Answer}[self.kind]
            x, note = answer
            assert note in (0.5, "kept")
        return self.head(x.mean(1))


@pytest.mark.parametrize("kind", ["tuple", "list", "named"])
def test_a_module_of_ones_own_runs_on_to_its_head(kind) -> None:
    torch.manual_seed(0)
    model = Classifier(kind)
    encoder = Encoder.from_module(
        model, blocks="blocks.*", sample_rate=600, preprocess=lambda x: x[: len(x) // 6 * 6], device="cpu"
    )
    sound = torch.randn(2, 600)
    plain, states = model(sound), encoder.hidden_states(sound)
    for layer in (0, 1, 2, "final"):
        with encoder.edited(layer, lambda state: state):
            assert torch.equal(model(sound), plain)  # float64: a cast to float32 and back would show
    with encoder.edited(2, turned):
        assert torch.allclose(model(sound), model.head(turned(states[2]).double().mean(1)), atol=1e-6)
        edited = encoder.hidden_states(sound)
    assert torch.equal(edited[0], states[0])
    assert torch.equal(edited[1], states[1])
    assert torch.equal(edited[2], turned(states[2]))
    assert all(parameter.requires_grad for parameter in model.parameters())  # it is theirs to train
    model.requires_grad_(False)  # what works in place has no gradient of its own
    by = torch.zeros(6, requires_grad=True)
    with encoder.edited(2, lambda state: state + by):
        model(sound)[:, 0].sum().backward()
    assert by.grad is not None
    assert by.grad.abs().sum() > 0


def test_an_edit_changes_nothing_before_it_even_where_blocks_share_memory() -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())
    encoder = Encoder.from_module(
        model, blocks="*", sample_rate=100, preprocess=lambda x: x[:, None], device="cpu"
    )
    sound = torch.randn(1, 100)
    with encoder.edited(2, lambda state: state.mul_(0)):
        states = encoder.hidden_states(sound)
    assert torch.equal(states[1][..., 0], sound)
    assert not states[2].any()
    assert not states[3].any()


def test_whisper_runs_on_to_its_words(folders) -> None:
    """The whole of Whisper is a module of one's own; its decoder hears what the edit leaves."""
    model = transformers.WhisperForConditionalGeneration(FAMILIES["whisper"][1]).eval()
    extractor = FAMILIES["whisper"][2]
    encoder = Encoder.from_module(
        model,
        blocks="model.encoder.layers.*",
        final="model.encoder.layer_norm",
        sample_rate=16_000,
        preprocess=lambda x: extractor(x.numpy(), sampling_rate=16_000, return_tensors="pt").input_features[
            0
        ],
        frame_rate_hz=50,
        max_samples=16_000,
        device="cpu",
    )
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 16_000)).astype(np.float32)
    words = {
        "input_features": encoder.frontend(sound[0])[None],
        "decoder_input_ids": torch.tensor([[2, 5, 7]]),
    }
    with torch.no_grad():
        plain = model(**words).logits
        with encoder.edited(2, lambda state: state):
            assert torch.equal(model(**words).logits, plain)
        with encoder.edited("final", lambda state: 0 * state):
            deaf = model(**words).logits
    memory = model.model.encoder(words["input_features"]).last_hidden_state
    with torch.no_grad():
        expected = model(encoder_outputs=(0 * memory,), decoder_input_ids=words["decoder_input_ids"]).logits
    assert torch.equal(deaf, expected)
    assert not torch.allclose(deaf, plain)


def test_whisper_tiny_is_edited_on_real_weights(whisper_tiny) -> None:
    encoder = otoscope.load_encoder(whisper_tiny, device="cpu")
    sound = np.random.default_rng(0).normal(0, 0.1, (1, 8000)).astype(np.float32)
    plain = encoder.hidden_states(sound, [*range(5), "final"])
    with encoder.edited(2, lambda state: state):
        same = encoder.hidden_states(sound, [*range(5), "final"])
    assert all(torch.equal(same[layer], plain[layer]) for layer in plain)
    with encoder.edited(2, turned):
        edited = encoder.hidden_states(sound, [*range(5), "final"])
    assert [torch.equal(edited[layer], plain[layer]) for layer in plain] == [True, True, *[False] * 4]
    assert torch.equal(edited[2], turned(plain[2]))


def tensors(output) -> list[torch.Tensor]:
    """Return all tensors of a model's output."""
    if isinstance(output, torch.Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output if isinstance(output, tuple) else []
    return [tensor for value in values for tensor in tensors(value)]


def unhooked(encoder: Encoder) -> bool:
    modules = encoder.module.modules()
    return not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
