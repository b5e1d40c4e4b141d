"""Modules of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from otoscope.encoders import Encoder
from otoscope.errors import InputError, ModelError


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> tuple[torch.Tensor, float]:
        return x.add_(self.linear(x) * scale), scale  # in place, and a tuple: both happen


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 12, 400, stride=160)
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(Block(12) for _ in range(12))})
        self.norm = nn.LayerNorm(12)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        x = self.stem(waveforms[:, None]).transpose(1, 2).contiguous()
        for block in self.encoder["layers"]:
            x = block(x, scale=0.5)[0]
        return self.norm(x)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


def wrap(model, **changes) -> Encoder:
    options = {"blocks": "encoder.layers.*", "sample_rate": 16_000, "min_samples": 400, "device": "cpu"}
    return Encoder.from_module(model, **(options | changes))


def test_layers_are_what_enters_and_leaves_the_blocks(model) -> None:
    encoder = wrap(model, final="norm")
    assert encoder.n_layers == 12  # and layer 10 comes after layer 9, not after layer 1
    assert encoder.widths == {**dict.fromkeys(range(13), 12), "final": 12}
    sound = np.random.default_rng(0).normal(0, 1, (2, 1600)).astype(np.float32)
    states = encoder.hidden_states(sound, [*range(13), "final"])
    with torch.no_grad():
        x = model.stem(torch.from_numpy(sound)[:, None]).transpose(1, 2)
        for i, block in enumerate(model.encoder["layers"]):
            assert (states[i] - x).abs().max() < 1e-5
            x = x + 0.5 * block.linear(x)
        assert (states[12] - x).abs().max() < 1e-5
        assert (states["final"] - model.norm(x)).abs().max() < 1e-5


def test_preprocess_and_final_are_optional(model) -> None:
    encoder = wrap(model, preprocess=lambda waveform: waveform * 2)
    sound = np.random.default_rng(0).normal(0, 1, (1, 1600)).astype(np.float32)
    doubled = wrap(model).hidden_states(2 * sound, [12, "final"])
    states = encoder.hidden_states(sound, [12, "final"])
    assert torch.equal(states[12], states["final"])
    assert torch.equal(states[12], doubled[12])


def test_channels_first(model) -> None:
    class Convolutional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv1d(1, 4, 5, 2), nn.Conv1d(4, 8, 5, 2)])

        def forward(self, x):
            for conv in self.convs:
                x = conv(x)
            return x

    encoder = wrap(Convolutional(), blocks="convs.*", preprocess=lambda x: x[None], channels_first=True)
    assert encoder.widths == {0: 1, 1: 4, 2: 8, "final": 8}


def test_times_of_frames(model) -> None:
    encoder = wrap(model, frame_rate_hz=100)
    np.testing.assert_allclose(encoder.frame_times(1600), 0.005 + 0.01 * np.arange(10))
    with pytest.raises(InputError, match="give from_module a frame_rate_hz"):
        wrap(model).frame_times(1600)


def test_provenance_holds_a_hash_of_the_weights(model) -> None:
    before = wrap(model).provenance()
    assert before == wrap(model).provenance()
    with torch.no_grad():
        model.norm.bias[0] = 1
    assert wrap(model).provenance()["weights_sha256"] != before["weights_sha256"]


def test_blocks_that_do_not_exist(model) -> None:
    with pytest.raises(InputError, match=r"no module is named like 'encoder.layer.\*'"):
        wrap(model, blocks="encoder.layer.*")
    with pytest.raises(InputError, match="no module is named 'nrm'; did you mean 'norm'"):
        wrap(model, final="nrm")


def test_a_module_that_cannot_take_the_input(model) -> None:
    with pytest.raises(ModelError, match="failed on 16000 samples of silence"):
        wrap(model, preprocess=lambda x: x[None])


def test_blocks_that_give_no_states(model) -> None:
    class Scalar(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Identity()])

        def forward(self, x):
            return self.blocks[0](x.sum(-1))

    with pytest.raises(ModelError, match=r"layer 0 of Scalar is no \[clips, tokens, width\] tensor"):
        wrap(Scalar(), blocks="blocks.*")


def test_blocks_that_never_run(model) -> None:
    model.spare = nn.ModuleList([nn.Identity()])
    with pytest.raises(ModelError, match="was never run"):
        wrap(model, blocks="spare.*")


class WithClassTokens(nn.Module):
    """Ten tokens a second, and `front` and `back` more that are no moment, with a value of their own."""

    def __init__(self, front: int = 0, back: int = 0, pad_to: int | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity()])
        self.front, self.back, self.pad_to = front, back, pad_to

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        if self.pad_to is not None:
            waveforms = nn.functional.pad(waveforms, (0, self.pad_to - waveforms.shape[1]))
        moments = waveforms[:, : waveforms.shape[1] // 10 * 10].reshape(len(waveforms), -1, 10)
        front, back = (torch.full((len(moments), n, 10), 1e3) for n in (self.front, self.back))
        return self.blocks[0](torch.cat([front, moments, back], dim=1))


class TestClassTokens:
    @pytest.mark.parametrize(
        ("front", "back", "said"), [(1, 0, 1), (2, 0, [1, 0]), (0, 1, [-1]), (2, 1, [0, 1, -1])]
    )
    @pytest.mark.parametrize("frame_rate_hz", [10, None])
    def test_they_are_no_moment(self, front, back, said, frame_rate_hz) -> None:
        encoder = wrap_tokens(WithClassTokens(front, back), frame_rate_hz=frame_rate_hz, class_tokens=said)
        n_tokens = front + 12 + back
        assert encoder.hidden_states(np.zeros((1, 120)), [1])[1].shape[1] == n_tokens
        tokens = encoder.tokens(120, 1, n_tokens=n_tokens)
        moments = slice(front, n_tokens - back)
        np.testing.assert_allclose(tokens.time_s[moments], 0.05 + 0.1 * np.arange(12))
        assert np.isnan(np.delete(tokens.time_s, np.arange(n_tokens)[moments])).all()
        assert tokens.inside(1.2).sum() == 12
        if frame_rate_hz:
            np.testing.assert_allclose(encoder.frame_times(120), 0.05 + 0.1 * np.arange(12))

    def test_a_frame_rate_that_loses_a_token_is_refused(self) -> None:
        with pytest.raises(
            InputError, match=r"11 tokens of 1 s are more than the 10 that frame_rate_hz=10 .*class_tokens"
        ):
            wrap_tokens(WithClassTokens(1), frame_rate_hz=10)
        with pytest.raises(InputError, match="12 tokens of 1 s are more than the 10"):
            wrap_tokens(WithClassTokens(2, 1), frame_rate_hz=10, class_tokens=[-1])
        with pytest.raises(InputError, match="10 tokens of 1 s are more than the 8"):
            wrap_tokens(WithClassTokens(), frame_rate_hz=8)
        with pytest.raises(InputError, match="frame_rate_hz must be above 0"):
            wrap_tokens(WithClassTokens(), frame_rate_hz=0)

    def test_padding_of_the_modules_own_may_lie_beyond_the_sound(self) -> None:
        encoder = wrap_tokens(
            WithClassTokens(1, pad_to=300), frame_rate_hz=10, class_tokens=1, max_samples=300
        )
        tokens = encoder.tokens(120, 1, n_tokens=31)
        assert tokens.inside(1.2).sum() == 12

    @pytest.mark.parametrize("said", [12, -1, [11], [0, 0], [0, -11], range(11)])
    def test_places_that_cannot_be(self, said) -> None:
        with pytest.raises(InputError, match="must be a number of tokens at the front, or different places"):
            wrap_tokens(WithClassTokens(1), class_tokens=said)


def wrap_tokens(module: nn.Module, **options) -> Encoder:
    return Encoder.from_module(module, blocks="blocks.*", sample_rate=100, device="cpu", **options)
