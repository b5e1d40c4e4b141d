"""Every family, on small random models saved to disk: our layers are transformers' own."""

from __future__ import annotations

import ast
import inspect
import warnings

import numpy as np
import pytest
import torch
import transformers

import otoscope
from otoscope.encoders.families import FAMILIES as FAMILY_ROWS
from otoscope.encoders.families import Family
from otoscope.errors import InputError

from .conftest import FAMILIES, N_LAYERS

OUTSIDE_A_PASS = (
    "__init__",
    "_freeze_parameters",
    "load_adapter",
    "set_input_embeddings",
    "set_output_embeddings",
)
WITH_LAST_NORM = {
    "hubert-large",
    "wavlm-large",
    "wav2vec2-large",
    "wav2vec2-conformer",
    "ast",
    "whisper",
    "moonshine",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_are_those_of_transformers(name, folders, noise) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
    states = encoder.hidden_states(noise.long, [*range(N_LAYERS + 1), "final"])
    expected, last_block, last = oracle(folders(name), name, noise.long)
    assert encoder.n_layers == N_LAYERS
    assert len(encoder.hidden_states(noise.long)) == N_LAYERS + 1
    for layer in range(N_LAYERS):
        assert_equal(states[layer], expected[layer])
    assert_equal(states[N_LAYERS], last_block)
    if name == "sew":  # its output is brought back to the full rate; ours stays at the blocks' rate
        last = last_block
    assert_equal(states["final"], last)
    assert (name in WITH_LAST_NORM) == (not torch.allclose(states["final"], states[N_LAYERS], atol=1e-3))
    assert {layer: state.shape[-1] for layer, state in states.items()} == encoder.widths


@pytest.mark.parametrize("name", FAMILIES)
def test_a_clip_does_not_depend_on_its_batch(name, folders, noise) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
    together = encoder.hidden_states(noise.long)
    for i, clip in enumerate(noise.long):
        for layer, state in encoder.hidden_states(clip[None]).items():
            assert_equal(state[0], together[layer][i])


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cores_that_share_a_batch_change_nothing(name, precision, folders, noise, threads) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision=precision)
    waveforms = np.concatenate([noise.short, -noise.short, noise.short[:, ::-1]])
    alone = [encoder.hidden_states(waveform[None]) for waveform in waveforms]
    threads(3)
    for layers in ("all", [2]):
        together = encoder.hidden_states(waveforms, layers)
        for layer, states in together.items():
            for state, one in zip(states, alone):
                if encoder.reentrant:  # the same kernels run
                    assert torch.equal(state, one[layer][0])
                elif precision == "float32":
                    assert_equal(state, one[layer][0])
    assert torch.get_num_threads() == 3
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.module.modules())


@pytest.mark.parametrize(
    "model_type", [name for name in FAMILY_ROWS.names() if isinstance(FAMILY_ROWS.get(name), Family)]
)
def test_what_several_threads_run_keeps_nothing_from_a_pass(model_type) -> None:
    """A module of transformers that writes to itself as it runs may be run by one thread only."""
    row = FAMILY_ROWS.get(model_type)
    source = inspect.getsource(inspect.getmodule(getattr(transformers, row.model_class)))
    writes = {
        f"{found.name}.{target.attr}"
        for found in ast.walk(ast.parse(source))
        if isinstance(found, ast.ClassDef)
        for method in found.body
        if isinstance(method, ast.FunctionDef) and method.name not in OUTSIDE_A_PASS
        for statement in ast.walk(method)
        if isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for target in getattr(statement, "targets", [getattr(statement, "target", None)])
        if isinstance(target, ast.Attribute)
        and isinstance(target.value, ast.Name)
        and target.value.id == "self"
    }
    assert row.reentrant == (not writes), writes


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_past_the_deepest_layer_do_not_run(name, folders, noise) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
    runs = []
    for i in range(1, N_LAYERS + 1):
        encoder.tap(i).module.register_forward_hook(lambda *_, i=i: runs.append(i))
    for layers, expected in (([0], []), ([1], [1]), ([2, 0], [1, 2]), (["final", 1], [1, 2, 3])):
        runs.clear()
        assert list(encoder.hidden_states(noise.short, layers)) == layers
        assert runs == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_states_are_float32_in_eval_mode_without_gradient(name, folders, noise) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="bfloat16")
    state = encoder.hidden_states(noise.short, [2])[2]
    again = encoder.hidden_states(noise.short, [2])[2]
    assert state.dtype == torch.float32
    assert not state.requires_grad
    assert not any(module.training for module in encoder.module.modules())
    assert torch.equal(state, again)  # no dropout, no masks
    exact = otoscope.load_encoder(folders(name), device="cpu", precision="float32").hidden_states(
        noise.short, [2]
    )[2]
    assert 0 < (state - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize("name", FAMILIES)
def test_a_click_is_heard_when_it_sounds(name, folders) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
    n_samples, click = 15_200, 9_000
    silence = np.random.default_rng(1).normal(0, 0.02, n_samples).astype(np.float32)
    sound = silence.copy()
    sound[click] = 1.0
    times_s = encoder.frame_times(n_samples)
    heard = stem_change(encoder, silence, sound)
    assert len(heard) == len(times_s)
    centre_s = times_s[heard.argmax()]
    hop_s = np.diff(times_s).mean()
    assert abs(centre_s - click / encoder.sample_rate) <= hop_s
    assert (np.diff(times_s) > 0).all()
    assert 0 <= times_s[0] <= times_s[-1] < n_samples / encoder.sample_rate


@pytest.mark.parametrize("name", FAMILIES)
def test_the_shortest_input_is_served_and_a_shorter_one_refused(name, folders, noise) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
    shortest = noise.long[:1, : encoder.min_samples]
    for state in encoder.hidden_states(shortest).values():
        assert state.shape[1] >= 1
        assert torch.isfinite(state).all()
    assert len(encoder.frame_times(encoder.min_samples)) >= 1
    if encoder.min_samples > 1:
        with pytest.raises(InputError, match="too short"):
            encoder.hidden_states(shortest[:, :-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_silence_gives_finite_states(name, folders) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
    states = encoder.hidden_states(np.zeros((1, 8000), np.float32))
    assert all(torch.isfinite(state).all() for state in states.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_sound_that_is_read_only_is_no_reason_to_warn(name, folders, noise) -> None:
    """As pandas and memory maps give it."""
    encoder = otoscope.load_encoder(folders(name), device="cpu")
    expected = encoder.hidden_states(noise.short, [1])[1]
    sound = noise.short.copy()
    sound.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(encoder.hidden_states(sound, [1])[1], expected)


@pytest.mark.parametrize("name", ["ast", "whisper"])
def test_longer_than_the_model_is_refused_not_cut(name, folders) -> None:
    encoder = otoscope.load_encoder(folders(name), device="cpu")
    with pytest.raises(InputError, match=r"too long for one pass .*extract"):
        encoder.hidden_states(np.zeros((1, encoder.max_samples + 1), np.float32))


def test_frames_and_tokens_of_each_layer_agree(folders, noise) -> None:
    for name in FAMILIES:
        encoder = otoscope.load_encoder(folders(name), device="cpu", precision="float32")
        for n_samples in (9_123, 9_124, 10_007, 14_480):
            states = encoder.hidden_states(noise.long[:1, :n_samples])
            assert all(len(encoder.tokens(n_samples, layer)) == s.shape[1] for layer, s in states.items()), (
                name
            )


def test_real_sizes_give_the_known_frame_counts(folders) -> None:
    """5 s are 249 frames at 16 kHz and 374 at 24 kHz; AST has 12 x 101 patches after two class tokens."""
    from otoscope.encoders.tokens import conv_grid, conv_reach

    kernels, strides = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]
    assert conv_reach(kernels, strides) == 400
    tokens = conv_grid(kernels, strides, 16_000)(80_000, 0)
    assert len(tokens) == 249
    np.testing.assert_allclose(tokens.time_s[:2], [199.5 / 16_000, 519.5 / 16_000])
    assert len(conv_grid(kernels, strides, 24_000)(120_000, 0)) == 374

    class Layers:
        def __init__(self) -> None:
            self.layers, self.layernorm = [torch.nn.Identity()], torch.nn.Identity()

    from otoscope.encoders.ast import fit_ast

    fitting = fit_ast(Layers(), transformers.ASTConfig(), {"sampling_rate": 16_000})
    tokens = fitting.grid(163_840, 0)
    assert len(tokens) == 1214
    assert (tokens.band[2 + 101 * 3 + 7], np.isnan(tokens.time_s[:2]).all()) == (3, True)
    np.testing.assert_allclose(tokens.time_s[2 + 101 * 3 + 7], 0.0875 + 0.1 * 7)
    assert fitting.max_samples == 163_840


def oracle(folder, name: str, clips: np.ndarray):
    """Return transformers' own hidden states, the last block's output by a hook, and the last hidden state."""
    model = getattr(transformers, FAMILIES[name][0]).from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    inputs = extractor(list(clips), sampling_rate=16_000, return_tensors="pt")
    if name != "wav2vec2-bert":  # whose mask hides an odd last frame
        inputs.pop("attention_mask", None)
    model = model.encoder if name in ("whisper", "moonshine") else model
    blocks = model.layers if hasattr(model, "layers") else model.encoder.layers
    caught = []
    blocks[-1].register_forward_hook(lambda module, args, out: caught.append(out))
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
    last_block = caught[0][0] if isinstance(caught[0], tuple) else caught[0]
    assert len(output.hidden_states) == N_LAYERS + 1
    n_tokens = inputs["attention_mask"].sum(1)[0] if name == "wav2vec2-bert" else None
    states = [state[:, :n_tokens] for state in (*output.hidden_states, last_block, output.last_hidden_state)]
    return states[:-2], states[-2], states[-1]


def stem_change(encoder, silence: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Return per moment how much a click changes what the model sees before anything mixes moments over time."""
    if encoder.family in ("audio-spectrogram-transformer", "whisper"):
        states = [encoder.hidden_states(x[None], [0])[0][0] for x in (silence, sound)]
        change = (states[1] - states[0]).abs().sum(-1).numpy()
        tokens = encoder.tokens(len(sound))
        inside = tokens.inside(len(sound) / encoder.sample_rate)
        return change[inside].reshape(max(tokens.band.max() + 1, 1), -1).sum(0)
    if encoder.family == "wav2vec2-bert":
        inputs = [encoder.frontend(x) for x in (silence, sound)]
        return (inputs[1] - inputs[0]).clamp(min=0).sum(-1).numpy()
    stem = encoder.module.conv3 if encoder.family == "moonshine" else encoder.module.feature_extractor
    caught: list[torch.Tensor] = []
    handle = stem.register_forward_hook(lambda module, args, out: caught.append(out[0]))
    for x in (silence, sound):
        encoder.hidden_states(x[None], [0])
    handle.remove()
    change = (caught[1] - caught[0]).abs().sum(0).numpy()
    squeeze = round(len(change) / len(encoder.frame_times(len(sound))))
    return change[: len(change) // squeeze * squeeze].reshape(-1, squeeze).mean(1)


def assert_equal(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-5
