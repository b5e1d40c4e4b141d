"""Families that transformers lacks: states are those of the original code, and every promise holds for them too."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import seeded
import torch
from safetensors.torch import load_file, save_file

import otoscope
from otoscope.encoders import FAMILIES, WrittenFamily
from otoscope.encoders.convert import convert
from otoscope.encoders.written import outline
from otoscope.errors import InputError, ModelError

from .written import N_LAYERS, WRITTEN, fixture, loadable, publish, published_weights

BANDED = ("beats", "beats_norm_first", "passt")
CLASS_TOKENS = {"passt": 2}


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function: name -> folder of the small model, made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = loadable(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture
def encoder(written, request):
    return otoscope.load_encoder(written(request.param), device="cpu")


each = pytest.mark.parametrize("name", WRITTEN)
each_loaded = pytest.mark.parametrize(("name", "encoder"), [(n, n) for n in WRITTEN], indirect=["encoder"])


@each_loaded
def test_states_are_those_of_the_original_code(name, encoder) -> None:
    held = fixture(name)
    sounds = seeded.sounds(int(held["sounds"]))
    mine = torch.stack([encoder.frontend(sound) for sound in sounds])
    # Kaldi's filter bank is float64 here where these originals have float32: quiet bands differ a little.
    np.testing.assert_allclose(
        mine[:1], held["features"], atol=1e-4 if name.startswith(("beats", "audiomae")) else 1e-5
    )
    states = encoder.hidden_states(sounds, [*range(N_LAYERS + 1), "final"])
    assert encoder.n_layers == N_LAYERS
    for layer, state in states.items():
        expected = held.get(f"state/{layer}", held.get(f"state/{N_LAYERS}"))
        assert state.shape == expected.shape
        assert np.abs(state.numpy() - expected).max() < 1e-5 * max(1, np.abs(expected).max()), layer
    assert {layer: state.shape[-1] for layer, state in states.items()} == encoder.widths


@each_loaded
def test_on_the_originals_own_features_they_agree_to_rounding(name, encoder) -> None:
    held = fixture(name)
    states = encoder.run(torch.from_numpy(held["features"]), [*range(N_LAYERS + 1), "final"])
    for layer, state in states.items():
        expected = held.get(f"state/{layer}", held.get(f"state/{N_LAYERS}"))[:1]
        assert np.abs(state.numpy() - expected).max() < 1e-5 * max(1, np.abs(expected).max()), layer


@each_loaded
def test_a_clip_does_not_depend_on_its_batch(name, encoder) -> None:
    sounds = seeded.sounds(int(fixture(name)["sounds"]))
    together = encoder.hidden_states(np.concatenate([sounds, 0 * sounds, 0.3 * sounds]))
    for i, sound in enumerate(sounds):
        for layer, state in encoder.hidden_states(sound[None]).items():
            assert (state[0] - together[layer][i]).abs().max() < 1e-5


@each_loaded
def test_a_click_is_heard_when_it_sounds(name, encoder) -> None:
    n_samples = int(0.9 * encoder.sample_rate)
    silence = 0.02 * seeded.numbers("silence", (n_samples,))
    tokens = encoder.tokens(n_samples)
    times_s = encoder.frame_times(n_samples)
    for at_s in (0.31, 0.62):
        sound = silence.copy()
        sound[int(at_s * encoder.sample_rate)] = 1.0
        change = _stem_change(encoder, silence, sound)[~np.isnan(tokens.time_s)]
        moments = tokens.time_s[~np.isnan(tokens.time_s)]
        heard = np.array([change[moments == time].sum() for time in times_s])
        # A frame of MuQ's spectrogram is 85 ms long, and random weights weigh its parts at random.
        reach_s = max(tokens.hop_s, 0.06) if name.startswith("mu") else tokens.hop_s
        assert abs(times_s[heard.argmax()] - at_s) <= reach_s + 1e-9
        centre_s = np.average(times_s, weights=heard**2)
        assert abs(centre_s - at_s) < 0.75 * reach_s
    assert (np.diff(times_s) > 0).all()
    assert 0 <= times_s[0] <= times_s[-1] < n_samples / encoder.sample_rate


@each_loaded
def test_tokens_and_states_agree_in_number(name, encoder) -> None:
    for n_samples in (encoder.min_samples, encoder.min_samples + 1, 14_480, 15_003):
        if n_samples < encoder.min_samples:
            continue
        sound = seeded.sounds(n_samples)[:1]
        for layer, state in encoder.hidden_states(sound).items():
            assert len(encoder.tokens(n_samples, layer)) == state.shape[1]
            assert torch.isfinite(state).all()
        assert (
            len(encoder.frame_times(n_samples)) >= 1
        )  # every moment lies within the clip: nothing is padded
        tokens = encoder.tokens(n_samples)
        if not name.startswith(
            ("audiomae", "eat")
        ):  # which is padded, as its original is, and tells which tokens are
            assert np.nansum(tokens.time_s >= n_samples / encoder.sample_rate) == 0
    with pytest.raises(InputError, match="too short"):
        encoder.hidden_states(np.zeros((1, encoder.min_samples - 1), np.float32))


@each_loaded
def test_blocks_past_the_deepest_layer_do_not_run(name, encoder) -> None:
    runs = []
    for i in range(1, N_LAYERS + 1):
        encoder.tap(i).module.register_forward_hook(lambda *_, i=i: runs.append(i))
    sound = seeded.sounds(14_480)
    for layers, expected in (([0], []), ([1], [1]), ([2, 0], [1, 2]), (["final", 1], [1, 2, 3])):
        runs.clear()
        encoder.hidden_states(sound, layers)
        assert sorted(set(runs)) == expected


@each
def test_bfloat16_and_threads_change_little_and_nothing(name, written, threads) -> None:
    sounds = np.concatenate([seeded.sounds(14_480)] * 2)
    exact = otoscope.load_encoder(written(name), device="cpu").hidden_states(sounds, [0, 2])
    rough = otoscope.load_encoder(written(name), device="cpu", precision="bfloat16").hidden_states(
        sounds, [2]
    )[2]
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact[2]).norm() / exact[2].norm() < 0.1
    threads(3)
    again = otoscope.load_encoder(written(name), device="cpu").hidden_states(sounds, [0, 2])
    assert all((again[layer] - exact[layer]).abs().max() < 1e-5 for layer in exact)


@each
def test_a_weight_missing_too_many_or_misshapen_is_an_error(name, written, tmp_path) -> None:
    weights = load_file(written(name) / "model.safetensors")
    inside = next(key for key in sorted(weights) if "layers.1." in key or "blocks.1." in key)
    for what, changed in (
        (r"1 missing: .*1", {key: value for key, value in weights.items() if key != inside}),
        (r"1 without a place in it", weights | {f"{inside}.adapter": torch.zeros(2)}),
        (r"1 of another shape", weights | {inside: torch.zeros(3, 5)}),
    ):
        folder = tmp_path / what[2:6]
        shutil.copytree(written(name), folder)
        save_file(changed, folder / "model.safetensors")
        with pytest.raises(ModelError, match=what):
            otoscope.load_encoder(folder, device="cpu")


@each
def test_another_familys_checkpoint_is_refused(name, written, tmp_path) -> None:
    other = "passt" if not name.startswith("passt") else "beats"
    folder = tmp_path / "mixed"
    shutil.copytree(written(name), folder)
    shutil.copy(written(other) / "model.safetensors", folder)
    with pytest.raises(ModelError, match="do not fit"):
        otoscope.load_encoder(folder, device="cpu")


@each_loaded
def test_an_outline_tells_what_loading_does(name, encoder, written) -> None:
    found = outline(written(name))
    assert (len(found.taps) - 1, found.widths) == (encoder.n_layers, encoder.widths)
    assert (found.min_samples, found.max_samples) == (encoder.min_samples, encoder.max_samples)
    n_samples = encoder.max_samples or 24_000
    np.testing.assert_array_equal(found.grid(n_samples, 0, None).time_s, encoder.tokens(n_samples).time_s)
    assert all(parameter.is_meta for parameter in found.module.parameters())


@each
def test_another_rate_is_refused(name, written, tmp_path) -> None:
    shutil.copytree(written(name), tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").write_text('{"sampling_rate": 44100}')
    with pytest.raises(ModelError, match=r"44100 Hz, but .* listens at"):
        otoscope.load_encoder(tmp_path / "model", device="cpu")


@each
def test_licence_and_weights_are_in_the_provenance(name, written, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        encoder = otoscope.load_encoder(written(name), device="cpu")
    told = encoder.provenance()
    family = FAMILIES.get(told["family"])
    assert isinstance(family, WrittenFamily)
    assert told["licence"] == family.licence
    assert len(told["weights_sha256"]) == 64
    assert ("may not be used commercially" in caplog.text) == ("NC" in family.licence)


def test_the_list_of_encoders_says_the_licence() -> None:
    summaries = otoscope.encoders.ENCODERS.summaries()
    for name in ("muq", "mert-v2-30s", "mert-v2-fullsong", "mert-v1-95m"):
        assert "CC BY-NC 4.0" in summaries[name]
    assert all("weights" in line for name, line in summaries.items() if name != "otoscope-mini")


@pytest.mark.parametrize("name", ["beats", "passt", "musicfm"])
def test_what_is_published_as_a_pickle_says_how_to_convert_it(name) -> None:
    with pytest.raises(ModelError, match="otoscope convert"):
        otoscope.load_encoder(name)


class TestPickles:
    @pytest.mark.parametrize("name", ["beats", "passt", "musicfm"])
    def test_is_not_read_without_being_asked_to(self, name, written, tmp_path) -> None:
        shutil.copytree(written(name), tmp_path / "model")
        (tmp_path / "model" / "model.safetensors").unlink()
        shutil.copy(publish(name, tmp_path / "published"), tmp_path / "model")
        with pytest.raises(ModelError, match=r"as a pickle .*otoscope convert"):
            otoscope.load_encoder(tmp_path / "model", device="cpu")

    def test_a_folder_of_pickles_alone_says_what_to_do(self, tmp_path) -> None:
        file = publish("beats", tmp_path / "published")
        with pytest.raises(
            ModelError, match=r"no config\.json \(make one of beats\.pt with `otoscope convert`\)"
        ):
            otoscope.load_encoder(file.parent, device="cpu")

    def test_code_in_it_is_never_run(self, tmp_path) -> None:
        class Bad:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "ran",))

        torch.save({"cfg": {}, "model": {}, "more": Bad()}, tmp_path / "bad.pt")
        with pytest.raises(ModelError, match="it is not run"):
            convert(tmp_path / "bad.pt", tmp_path / "out")
        assert not (tmp_path / "ran").exists()
        assert not (tmp_path / "out").exists()

    def test_the_command_converts(self, tmp_path, capsys) -> None:
        from otoscope.cli import main

        published = publish("musicfm", tmp_path / "published")
        stats = published.parent / "stats.json"
        with pytest.raises(SystemExit) as exit_code:
            main(["convert", str(published), "--out", str(tmp_path / "out"), "--stats", str(stats)])
        assert exit_code.value.code == 0
        assert "Licence: code MIT, weights MIT" in capsys.readouterr().out
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["converted_from"]["file"] == "musicfm.pt"
        assert otoscope.load_encoder(tmp_path / "out", device="cpu").family == "musicfm"

    def test_what_cannot_be_converted(self, tmp_path) -> None:
        musicfm = publish("musicfm", tmp_path / "musicfm")
        passt = publish("passt", tmp_path / "passt")
        torch.save({"other.weight": torch.zeros(2)}, tmp_path / "other.pt")
        torch.save(torch.zeros(2), tmp_path / "tensor.pt")
        (tmp_path / "text.pt").write_text("not weights")
        (tmp_path / "empty.json").write_text("{}")
        stats = musicfm.parent / "stats.json"
        for file, options, error, what in (
            (musicfm, {}, InputError, "--stats"),
            (musicfm, {"stats": tmp_path / "empty.json"}, InputError, "melspec_2048_mean"),
            (musicfm, {"stats": stats, "hop_samples": 100}, InputError, "takes no --hop-samples"),
            (passt, {"stats": stats}, InputError, "takes no --stats"),
            (tmp_path / "other.pt", {}, ModelError, "none of the families"),
            (tmp_path / "tensor.pt", {}, ModelError, "holds a Tensor"),
            (tmp_path / "text.pt", {}, ModelError, "cannot be read"),
            (tmp_path / "nowhere.pt", {}, InputError, "is no file"),
        ):
            with pytest.raises(error, match=what):
                convert(file, tmp_path / "out", **options)
        convert(passt, tmp_path / "out")
        with pytest.raises(InputError, match="holds a model already"):
            convert(passt, tmp_path / "out")


def test_beats_tokens_are_time_major_and_passts_frequency_major(written) -> None:
    beats, passt = (otoscope.load_encoder(written(name), device="cpu") for name in ("beats", "passt"))
    tokens = beats.tokens(16_000)
    assert tokens.band.tolist()[:10] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    np.testing.assert_allclose(tokens.time_s[[0, 7, 8]], [0.0875, 0.0875, 0.2475])
    tokens = passt.tokens(32_000)
    n_moments = (len(tokens) - 2) // 12
    assert tokens.band.tolist()[: 3 + n_moments] == [-1, -1, *[0] * n_moments, 1]
    np.testing.assert_allclose(np.diff(tokens.time_s[2 : 2 + n_moments]), 0.1)


def test_a_high_tone_is_in_a_high_band(written) -> None:
    for name in ("beats", "passt"):
        encoder = otoscope.load_encoder(written(name), device="cpu")
        times = np.arange(16_000) / encoder.sample_rate
        band = encoder.tokens(16_000).band
        hiss, strongest = 0.01 * seeded.numbers("hiss", (16_000,)), []
        for f0_hz in (300, 6000):
            tone = 0.3 * np.sin(2 * np.pi * f0_hz * times).astype(np.float32)
            change = _stem_change(encoder, hiss, hiss + tone)
            strongest.append(np.argmax([change[band == b].mean() for b in range(band.max() + 1)]))
        assert strongest[0] < strongest[1]


def test_longer_than_passts_positions_is_refused(written) -> None:
    encoder = otoscope.load_encoder(written("passt"), device="cpu")
    assert (
        encoder.hidden_states(np.zeros((1, encoder.max_samples), np.float32), [0])[0].shape[1] == 2 + 12 * 13
    )
    with pytest.raises(InputError, match="too long for one pass"):
        encoder.hidden_states(np.zeros((1, encoder.max_samples + 1), np.float32))


def test_a_published_passt_takes_ten_seconds() -> None:
    """99 moments in 12 bands, as its paper says; the 30 s variant has 299."""
    from otoscope.encoders.passt import Passt, fit_passt, passt_config

    shapes = {
        "patch_embed.proj.weight": (768, 1, 16, 16),
        "freq_new_pos_embed": (1, 768, 12, 1),
        "time_new_pos_embed": (1, 768, 1, 99),
        "blocks.11.norm1.weight": (768,),
        "blocks.0.mlp.fc1.weight": (3072, 768),
    }
    config = passt_config({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert (config["depth"], config["num_heads"], config["stride"]) == (12, 12, 10)
    with torch.device("meta"):
        model = Passt(config)
    fitting = fit_passt(model, config, {})
    assert len(fitting.grid(320_000, 0, None)) == 2 + 12 * 99
    assert fitting.max_samples >= 320_000


def test_beats_buckets_by_hand() -> None:
    """T5's: of 8 buckets four lie ahead; of each four, distances 0 and 1 stand alone, the rest grow up to 16."""
    from otoscope.encoders.beats import relative_buckets

    row = relative_buckets(20, 8, 16)[0].tolist()
    assert row[:3] == [0, 5, 6]
    assert row[3:] == [6 if 2 + 2 * np.log(d / 2) / np.log(8) < 3 else 7 for d in range(3, 20)]
    assert relative_buckets(20, 8, 16)[19].tolist()[::-1][:3] == [0, 1, 2]


def test_blocks_of_beats_that_differ_in_their_one_bias_are_refused(written, tmp_path) -> None:
    shutil.copytree(written("beats"), tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    key = "encoder.layers.1.self_attn.relative_attention_bias.weight"
    save_file(weights | {key: weights[key] + 1}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(ModelError, match="differ in their relative bias"):
        otoscope.load_encoder(tmp_path / "model", device="cpu")


def test_the_old_names_of_beats_convolution_give_the_same(tmp_path, written) -> None:
    """Microsoft's own files say weight_g and weight_v."""
    held = fixture("beats")
    new = "encoder.pos_conv.0.parametrizations.weight.original"
    weights = {
        key.replace(f"{new}0", "encoder.pos_conv.0.weight_g").replace(
            f"{new}1", "encoder.pos_conv.0.weight_v"
        ): v
        for key, v in published_weights(held).items()
    }
    assert "encoder.pos_conv.0.weight_g" in weights
    torch.save({"cfg": json.loads(str(held["config"])), "model": weights}, tmp_path / "old.pt")
    convert(tmp_path / "old.pt", tmp_path / "old")
    sound = seeded.sounds(14_480)
    states = [
        otoscope.load_encoder(f, device="cpu").hidden_states(sound, [3])[3]
        for f in (tmp_path / "old", written("beats"))
    ]
    assert torch.equal(*states)


def _stem_change(encoder, silence: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Return per token how much a click changes what is made of the input before tokens are mixed."""
    stem = {
        "beats": lambda m: m.patch_embedding, "passt": lambda m: m.patch_embed["proj"], "muq": lambda m: m.conv.conv,
        "musicfm": lambda m: m.conv.conv, "mert2": None, "dasheng": lambda m: m.patch_embed["proj"],
        "eat": lambda m: m.local_encoder["proj"], "timm-vit": lambda m: m.patch_embed["proj"],
    }[encoder.family]  # fmt: skip
    inputs = [encoder.frontend(x)[None] for x in (silence, sound)]
    if stem is None:  # its response norm hears the whole clip: four frames make a token
        change = (inputs[1] - inputs[0]).clamp(min=0).sum(-1)[0]
        return change[: len(change) // 4 * 4].view(-1, 4).sum(1).numpy()
    caught: list[torch.Tensor] = []
    handle = stem(encoder.module).register_forward_hook(lambda module, args, out: caught.append(out[0]))
    for one in inputs:
        encoder.run(one, [0])
    handle.remove()
    change = (caught[1] - caught[0]).abs().sum(0)  # [bands, moments], or [moments, bands] for BEATs
    if encoder.family in ("muq", "musicfm"):
        return change.sum(0).numpy()
    flat = change.flatten().numpy()
    return np.concatenate([np.zeros(len(encoder.tokens(len(sound))) - len(flat)), flat])


def test_another_package_can_add_a_family(monkeypatch, written, tmp_path) -> None:
    from importlib import metadata

    class Point(metadata.EntryPoint):
        def load(self):
            return FAMILIES.get("passt")

    point = Point(name="passed", value="theirs:FAMILY", group="otoscope.families")
    monkeypatch.setattr(
        metadata, "entry_points", lambda group: [point] if group == "otoscope.families" else []
    )
    monkeypatch.delitem(vars(FAMILIES), "_third_party", raising=False)
    shutil.copytree(written("passt"), tmp_path / "theirs")
    file = tmp_path / "theirs" / "config.json"
    file.write_text(file.read_text().replace('"model_type": "passt"', '"model_type": "passed"'))
    encoder = otoscope.load_encoder(tmp_path / "theirs", device="cpu")
    monkeypatch.delitem(vars(FAMILIES), "_third_party")
    assert encoder.family == "passed"
    assert encoder.hidden_states(seeded.sounds(16_000), [1])[1].shape[2] == 64


@pytest.mark.parametrize(
    ("name", "config", "published_mb"),
    [
        ("mert2", {}, 632.4 * 4),  # its page says 632 M parameters
        ("dasheng", {"name": "dasheng-base"}, 342),  # the size of its file on the hub, as of the others
        ("eat", {}, 360),
        ("beats", {"relative_position_embedding": True, "gru_rel_pos": True, "deep_norm": True}, 362),
    ],
)
def test_at_full_size_they_are_as_large_as_published(name, config, published_mb) -> None:
    family = FAMILIES.get(name)
    with torch.device("meta"):
        model = family.build({**family.defaults, **config})
    size_mb = sum(4 * value.numel() for value in model.state_dict().values()) / 1e6
    assert size_mb == pytest.approx(published_mb, rel=0.005)


def test_dashengs_floor_is_the_clips_own_and_can_be_lifted(written, tmp_path) -> None:
    quiet = 1e-4 * seeded.sounds(14_480)[:1]
    quiet[0, :2000] = 0
    loud_after = quiet.copy()
    loud_after[0, 12_000:] = np.sin(0.4 * np.arange(2480))
    encoder = otoscope.load_encoder(written("dasheng"), device="cpu")
    levels_db = encoder.frontend(loud_after[0])
    assert float(levels_db.max() - levels_db.min()) == pytest.approx(120, abs=1e-3)
    alone = encoder.hidden_states(quiet, [1])[1][0]
    assert (encoder.hidden_states(np.concatenate([quiet, loud_after]), [1])[1][0] - alone).abs().max() < 1e-5
    shutil.copytree(written("dasheng"), tmp_path / "lifted")
    (tmp_path / "lifted" / "preprocessor_config.json").write_text('{"top_db": null}')
    lifted = otoscope.load_encoder(tmp_path / "lifted", device="cpu")
    assert lifted.frontend(loud_after[0]).min() == -100
    # The original's floor is of all clips together; given as a number, it gives what the original would.
    both = np.concatenate([quiet, loud_after])
    levels = torch.stack([lifted.frontend(clip) for clip in both])
    floor_db = float(levels.max()) - 120
    assert floor_db > levels[0].min()  # raises what is quiet in the clip beside the loud one
    shutil.copytree(tmp_path / "lifted", tmp_path / "floored")
    (tmp_path / "floored" / "preprocessor_config.json").write_text(json.dumps({"floor_db": floor_db}))
    floored = otoscope.load_encoder(tmp_path / "floored", device="cpu").hidden_states(both, [1])[1]
    theirs = lifted.run(levels.clamp(min=floor_db), [1])[1]
    assert (floored - theirs).abs().max() < 1e-6 < (floored[0] - alone).abs().max()


@pytest.mark.parametrize(
    ("settings", "what"),
    [('{"floor_db": -80, "top_db": 120}', "both top_db and floor_db"), ('{"top_db": "low"}', "number of dB")],
)
def test_a_floor_that_is_none_is_refused(settings, what, written, tmp_path) -> None:
    shutil.copytree(written("dasheng"), tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").write_text(settings)
    with pytest.raises(ModelError, match=what):
        otoscope.load_encoder(tmp_path / "model", device="cpu")
