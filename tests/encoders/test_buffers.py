"""The audit of unsaved buffers: what transformers leaves wrong in them is caught every time, what is right is left."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import otoscope
from otoscope.encoders import FAMILIES as ROWS
from otoscope.encoders import Encoder, Family, huggingface
from otoscope.encoders.buffers import _unsaved, audit_buffers
from otoscope.encoders.fitting import Fitting, even_widths, raw
from otoscope.encoders.taps import block_taps
from otoscope.encoders.tokens import conv_grid
from otoscope.errors import ModelError

from .conftest import FAMILIES

POISONS = {
    "nan": lambda x: torch.full_like(x, torch.nan),
    "one": lambda x: torch.cat([x.flatten()[:-1], x.flatten()[-1:] * 1.001]).view_as(x),
    "plausible": lambda x: x.flip(0),
    "zeros": torch.zeros_like,
    "longer": lambda x: torch.cat([x, x]),
}
_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_PAIR = {"encoder_layers": 1, "decoder_layers": 1, "vocab_size": 30}
NATIVE = {  # models of transformers with buffers that are not saved; the families that are served come on top
    "LlamaModel": transformers.LlamaConfig(**_SIZE, vocab_size=30),
    "ParakeetEncoder": transformers.ParakeetEncoderConfig(**_SIZE, num_mel_bins=32, subsampling_conv_channels=8),
    "Speech2TextModel": transformers.Speech2TextConfig(
        **_PAIR, d_model=32, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=48,
        decoder_ffn_dim=48, max_source_positions=60, max_target_positions=60,
    ),
    "FastSpeech2ConformerModel": transformers.FastSpeech2ConformerConfig(
        **_PAIR, hidden_size=32, encoder_num_attention_heads=2, decoder_num_attention_heads=2,
        encoder_linear_units=48, decoder_linear_units=48, num_mel_bins=16, speech_decoder_postnet_units=16,
        duration_predictor_channels=16, energy_predictor_channels=16, pitch_predictor_channels=16,
    ),
    "Gemma3nAudioEncoder": transformers.Gemma3nAudioConfig(
        vocab_size=8, input_feat_size=16, hidden_size=32, conf_num_attention_heads=2, conf_num_hidden_layers=1,
        sscp_conv_channel_size=[8, 4],
    ),
    "MoshiModel": transformers.MoshiConfig(
        **{k: v for k, v in _SIZE.items() if k != "intermediate_size"}, vocab_size=30, num_key_value_heads=2,
        ffn_dim=48, audio_vocab_size=16, num_codebooks=2,
    ),
}  # fmt: skip


class ToyConfig(transformers.PretrainedConfig):
    model_type = "toy"
    width = 8
    n_layers = 2


class Toy(transformers.PreTrainedModel):
    """A model as remote code has them: tables are computed when it is built, and never again."""

    config_class = ToyConfig
    base_model_prefix = "toy"

    def __init__(self, config, random_table: bool = False) -> None:
        super().__init__(config)
        self.stem = nn.Conv1d(1, config.width, 4, stride=4)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.n_layers))
        steps = torch.arange(config.width, dtype=torch.float32)
        self.register_buffer("inv_freq", 10_000 ** (-steps / config.width), persistent=False)
        inner = nn.Module()
        inner.register_buffer("window", torch.hann_window(config.width), persistent=False)
        self.front = inner
        self.post_init()

    def _init_weights(self, module) -> None: ...

    def forward(self, x):
        x = self.stem(x[:, None]).transpose(1, 2) * self.front.window + self.inv_freq
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = Toy(ToyConfig()).eval()
    model.save_pretrained(tmp_path / "toy")
    return model, tmp_path / "toy"


def wrapped(model) -> Encoder:
    return Encoder.from_module(model, blocks="layers.*", sample_rate=1000, min_samples=4, device="cpu")


SOUND = np.random.default_rng(0).normal(0, 1, (1, 40)).astype(np.float32)


def test_what_transformers_leaves_is_repaired_every_time(saved) -> None:
    right, folder = saved
    with torch.no_grad():
        expected = right(torch.from_numpy(SOUND))
    for _ in range(20):
        model = Toy.from_pretrained(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this one came out right by luck is no fault
            states = wrapped(model).hidden_states(SOUND)
        assert torch.equal(model.inv_freq, right.inv_freq)
        assert torch.equal(model.front.window, right.front.window)
        assert (states[2] - expected).abs().max() < 1e-6


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("inside", [False, True])
def test_a_poisoned_buffer_is_caught_and_named(poison, inside, saved) -> None:
    model, _ = saved
    expected = wrapped(model).hidden_states(SOUND)[2]
    model.inv_freq = POISONS[poison](model.inv_freq)
    whole = nn.ModuleDict({"encoder": model}) if inside else model
    with pytest.warns(UserWarning, match="1 tables .* wrong .*inv_freq"):
        assert audit_buffers(whole, name="toy") == ["encoder.inv_freq" if inside else "inv_freq"]
    assert (wrapped(model).hidden_states(SOUND)[2] - expected).abs().max() < 1e-6


@pytest.mark.parametrize("poison", ["nan", "plausible"])
def test_from_module_says_so(poison, saved) -> None:
    model, _ = saved
    model.front.window = POISONS[poison](model.front.window + 0.01)
    with pytest.warns(UserWarning, match="front.window"):
        wrapped(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(model)  # now it is right


def test_a_model_in_half_precision_is_no_poison(saved) -> None:
    model, _ = saved
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert audit_buffers(model.half(), name="toy") == []


def test_the_random_state_is_left_alone(saved) -> None:
    model, _ = saved
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    audit_buffers(model, name="toy")
    assert torch.equal(torch.rand(3), expected)


def test_a_table_that_is_drawn_anew_cannot_be_known(saved) -> None:
    class Drawn(Toy):
        def __init__(self, config) -> None:
            super().__init__(config)
            self.register_buffer("drawn", torch.randn(4), persistent=False)

    with pytest.raises(ModelError, match=r"drawn is in no checkpoint .* persistent buffer"):
        audit_buffers(Drawn(ToyConfig()), name="toy")


def test_a_class_that_cannot_be_built_again_is_refused(saved) -> None:
    class Needy(Toy):
        def __init__(self, config, table) -> None:
            super().__init__(config)

    with pytest.raises(ModelError, match="cannot be built from its configuration"):
        audit_buffers(Needy(ToyConfig(), 3), name="toy")


def test_a_module_that_is_no_model_of_transformers_is_left(saved) -> None:
    module = nn.Linear(2, 2)
    module.register_buffer("drawn", torch.randn(4), persistent=False)
    assert audit_buffers(module, name="linear") == []


@pytest.mark.parametrize("poison", ["nan", "plausible"])
def test_a_loaded_folder_is_audited(poison, saved, monkeypatch) -> None:
    right, folder = saved

    def fit(model, config, settings):
        taps = block_taps(model.layers)
        return Fitting(
            module=model, sample_rate=16_000, taps=taps, final=taps[-1], widths=even_widths(8, 2), frontend=raw,
            grid=conv_grid([4], [4], 16_000), min_samples=4,
        )  # fmt: skip

    monkeypatch.setattr(huggingface.transformers, "Toy", Toy, raising=False)
    monkeypatch.setitem(
        ROWS._own, "toy", type(ROWS._own["hubert"])(Family("Toy", ("stem", "layers"), fit), "")
    )
    (folder / "preprocessor_config.json").write_text('{"sampling_rate": 16000}')
    loaded = Toy.from_pretrained

    def poisoned(*args, **kwargs):
        model, report = loaded(*args, **kwargs)
        model.inv_freq = POISONS[poison](right.inv_freq)
        return model, report

    monkeypatch.setattr(Toy, "from_pretrained", poisoned)
    with pytest.warns(UserWarning, match="came wrong from transformers .*inv_freq"):
        encoder = otoscope.load_encoder(folder, device="cpu")
    with torch.no_grad():
        expected = right(torch.from_numpy(SOUND))
    assert (encoder.hidden_states(SOUND)[2] - expected).abs().max() < 1e-6


@pytest.mark.parametrize("name", [*FAMILIES, *NATIVE])
def test_native_models_pass_unrepaired(name, folders, tmp_path) -> None:
    if name in NATIVE:
        model_class = getattr(transformers, name)
        model_class(NATIVE[name]).save_pretrained(tmp_path)
        model = model_class.from_pretrained(tmp_path)
        assert dict(_unsaved(model))
    else:
        model = getattr(transformers, FAMILIES[name][0]).from_pretrained(folders(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert audit_buffers(model, name=name) == []
