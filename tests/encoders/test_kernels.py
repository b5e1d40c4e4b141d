"""The faster kernels: same numbers, and a way without them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import otoscope
from otoscope.encoders import kernels, precision
from otoscope.errors import InputError


@pytest.mark.parametrize("name", ["hubert-base", "wavlm-base", "ast", "whisper", "wav2vec2-bert"])
@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_without_the_prepacked_product_the_numbers_stay(name, asked, folders, noise, monkeypatch) -> None:
    ours = otoscope.load_encoder(folders(name), device="cpu", precision=asked).hidden_states(noise.short)
    monkeypatch.setattr(kernels, "prepacked_linear_works", lambda: False)
    plain = otoscope.load_encoder(folders(name), device="cpu", precision=asked).hidden_states(noise.short)
    for layer, state in plain.items():
        difference = (ours[layer] - state).norm() / state.norm()
        assert difference < (1e-6 if asked == "float32" else 2e-2)


def test_weights_and_their_names_stay(folders) -> None:
    encoder = otoscope.load_encoder(folders("hubert-base"), device="cpu", precision="bfloat16")
    import transformers

    model = transformers.HubertModel.from_pretrained(folders("hubert-base"))
    kept, theirs = encoder.module.state_dict(), model.state_dict()
    assert list(kept) == list(theirs)
    assert all(torch.equal(kept[key], theirs[key]) for key in theirs)


def test_kernels_can_be_changed(folders, noise) -> None:
    encoder = otoscope.load_encoder(folders("wavlm-base"), device="cpu", precision="auto")
    states = {}
    for asked in ("float32", "bfloat16", "float32"):
        with encoder.placed(auto=asked):
            states.setdefault(asked, []).append(encoder.hidden_states(noise.short, [3])[3])
    assert torch.equal(*states["float32"])
    assert not torch.equal(states["float32"][0], states["bfloat16"][0])


def test_a_module_of_ones_own_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    encoder = otoscope.Encoder.from_module(
        module,
        blocks="*",
        sample_rate=16_000,
        preprocess=lambda x: x.reshape(-1, 8),
        device="cpu",
        precision="bfloat16",
    )
    assert not any("forward" in vars(child) for child in module.modules())
    sound = torch.randn(1, 800)
    with torch.no_grad():
        module[1].bias += 5  # what the user changes is what is computed
    state = encoder.hidden_states(sound, [2])[2]
    assert abs(state - module(sound.reshape(1, -1, 8))).max() < 0.1


def test_auto_is_a_table_by_family_and_processor(monkeypatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(precision, "_cpu_features", lambda: ["amx_bf16", "avx512_bf16"])
    assert precision.compute_precision("auto", "hubert", cpu) == "bfloat16"
    assert precision.compute_precision("auto", "sew", cpu) == "float32"  # not measured
    assert precision.compute_precision("float32", "hubert", cpu) == "float32"
    monkeypatch.setattr(precision, "_cpu_features", list)
    assert precision.compute_precision("auto", "hubert", cpu) == "float32"
    with pytest.raises(InputError, match="precision must be auto, float32, bfloat16, float16"):
        precision.compute_precision("float8", "hubert", cpu)
