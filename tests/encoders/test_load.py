"""Finding, loading and refusing models."""

from __future__ import annotations

import doctest
import re
import shutil

import numpy as np
import pytest
import torch
import transformers
from transformers import EncodecConfig, EncodecFeatureExtractor, HubertConfig, WavLMConfig

import otoscope
from otoscope.encoders import ENCODERS
from otoscope.errors import InputError, ModelError, UnknownNameError

from .conftest import (  # fmt: skip
    _WAVE,
    FAMILIES,
    N_LAYERS,
    _as_it_is,
    _normalised,
    edit_json,
    edit_weights,
    old_weight_names,
    save,
)


@pytest.mark.parametrize(
    ("class_name", "config_class"),
    [
        ("HubertForSequenceClassification", "HubertConfig"),
        ("HubertForCTC", "HubertConfig"),
        ("WavLMForSequenceClassification", "WavLMConfig"),
        ("Wav2Vec2ForCTC", "Wav2Vec2Config"),
        ("Wav2Vec2ForPreTraining", "Wav2Vec2Config"),
        ("WhisperForConditionalGeneration", None),
        ("ASTForAudioClassification", None),
    ],
)
def test_fine_tuned_checkpoints_load_without_their_heads(class_name, config_class, tmp_path, noise) -> None:
    family = next(key for key in FAMILIES if class_name.lower().startswith(key.split("-")[0]))
    _, config, extractor = FAMILIES[family]
    if config_class is not None:
        extra = {
            "codevector_dim": 8,
            "num_codevectors_per_group": 4,
            "proj_codevector_dim": 8,
            "vocab_size": 12,
        }
        config = getattr(transformers, config_class)(**_WAVE, **extra)
    save(tmp_path / "tuned", class_name, config, extractor)
    encoder = otoscope.load_encoder(tmp_path / "tuned", device="cpu", precision="float32")
    whole = getattr(transformers, class_name).from_pretrained(tmp_path / "tuned")
    base = whole.base_model
    inputs = torch.stack([encoder.frontend(clip) for clip in noise.short])
    with torch.no_grad():
        base = base.encoder.eval() if family == "whisper" else base.eval()
        expected = base(inputs, output_hidden_states=True).hidden_states
    for layer, state in encoder.hidden_states(noise.short, range(N_LAYERS)).items():
        assert (state - expected[layer]).abs().max() < 1e-5
    assert encoder.skipped_weights
    assert not any(".encoder.layers.0.attention" in key for key in encoder.skipped_weights)


def test_old_names_of_the_positional_convolution(folders, tmp_path, noise) -> None:
    expected = otoscope.load_encoder(folders("hubert-base"), device="cpu", precision="float32").hidden_states(
        noise.short
    )
    folder = copy(folders("hubert-base"), tmp_path)
    old_weight_names(folder)
    states = otoscope.load_encoder(folder, device="cpu", precision="float32").hidden_states(noise.short)
    assert all(torch.equal(states[layer], expected[layer]) for layer in expected)


def test_a_checkpoint_of_the_old_kind(folders, tmp_path, noise) -> None:
    """``pytorch_model.bin``, as MERT and HuBERT are published; read without executing anything in it."""
    from safetensors.torch import load_file

    folder = copy(folders("hubert-base"), tmp_path)
    old_weight_names(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    states = otoscope.load_encoder(folder, device="cpu", precision="float32").hidden_states(noise.short)
    expected = otoscope.load_encoder(folders("hubert-base"), device="cpu", precision="float32").hidden_states(
        noise.short
    )
    assert all(torch.equal(states[layer], expected[layer]) for layer in expected)


def test_a_pickle_that_would_run_code_is_not_read(folders, tmp_path) -> None:
    folder = copy(folders("hubert-base"), tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({"encoder.weight": pytest.raises}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read"):
        otoscope.load_encoder(folder, device="cpu")


def test_weights_saved_as_float16_are_computed_in_float32(folders, tmp_path, noise) -> None:
    folder = copy(folders("hubert-base"), tmp_path)
    edit_weights(folder, lambda weights: {key: value.half() for key, value in weights.items()})
    encoder = otoscope.load_encoder(folder, device="cpu", precision="float32")
    assert {parameter.dtype for parameter in encoder.module.parameters()} == {torch.float32}
    assert encoder.hidden_states(noise.short, [1])[1].dtype == torch.float32


@pytest.mark.parametrize(
    "family", ["hubert-base", "wavlm-large", "ast", "whisper", "moonshine", "wav2vec2-bert"]
)
def test_a_missing_weight_is_an_error(family, folders, tmp_path) -> None:
    folder = copy(folders(family), tmp_path)
    lost = []

    def lose(weights):
        lost.append(
            next(key for key in weights if "encoder" in key and "layer" in key and "decoder" not in key)
        )
        return {key: value for key, value in weights.items() if key != lost[0]}

    edit_weights(folder, lose)
    with pytest.raises(ModelError, match="1 missing"):
        otoscope.load_encoder(folder, device="cpu")


@pytest.mark.parametrize("family", ["hubert-base", "ast", "whisper"])
def test_a_weight_too_many_inside_the_encoder_is_an_error(family, folders, tmp_path) -> None:
    folder = copy(folders(family), tmp_path)
    edit_weights(folder, lambda weights: weights | {"encoder.layers.0.adapter.weight": torch.zeros(2)})
    with pytest.raises(ModelError, match=r"1 without a place in it: encoder\.layers\.0\.adapter\.weight"):
        otoscope.load_encoder(folder, device="cpu")


def test_a_weight_too_many_outside_is_listed(folders, tmp_path) -> None:
    folder = copy(folders("hubert-base"), tmp_path)
    edit_weights(folder, lambda weights: weights | {"my_head.weight": torch.zeros(2)})
    assert otoscope.load_encoder(folder, device="cpu").skipped_weights == ("my_head.weight",)


def test_a_weight_of_another_shape_is_an_error(folders, tmp_path) -> None:
    folder = copy(folders("hubert-base"), tmp_path)
    edit_json(folder / "config.json", intermediate_size=40)
    with pytest.raises(ModelError):
        otoscope.load_encoder(folder, device="cpu")


def test_a_config_with_more_blocks_than_weights_is_an_error(folders, tmp_path) -> None:
    folder = copy(folders("hubert-base"), tmp_path)
    edit_json(folder / "config.json", num_hidden_layers=N_LAYERS + 1)
    with pytest.raises(ModelError, match="16 missing"):
        otoscope.load_encoder(folder, device="cpu")


class TestMert:
    def test_it_is_the_hubert_it_numerically_is(self, mert, noise) -> None:
        encoder = otoscope.load_encoder(mert, device="cpu", precision="float32")
        assert (encoder.sample_rate, encoder.family) == (24_000, "mert_model")
        model = transformers.HubertModel.from_pretrained(mert, config=HubertConfig(**_WAVE)).eval()
        inputs = _normalised(24_000)(list(noise.long), sampling_rate=24_000, return_tensors="pt").input_values
        with torch.no_grad():
            expected = model(inputs, output_hidden_states=True).hidden_states
        for layer, state in encoder.hidden_states(noise.long).items():
            assert (state - expected[layer]).abs().max() < 1e-5

    @pytest.mark.parametrize("extra", ["feature_extractor_cqt", "deepnorm"])
    def test_its_extras_are_refused_with_a_reason(self, mert, extra) -> None:
        edit_json(mert / "config.json", **{extra: True})
        with pytest.raises(ModelError, match=extra):
            otoscope.load_encoder(mert, device="cpu")

    def test_two_sample_rates_are_refused(self, mert) -> None:
        edit_json(mert / "preprocessor_config.json", sampling_rate=16_000)
        with pytest.raises(ModelError, match="24000 Hz, the preprocessor 16000 Hz"):
            otoscope.load_encoder(mert, device="cpu")


class TestWavLMInTheWrongClass:
    def test_without_the_switch_it_cannot_happen(self, folders, tmp_path) -> None:
        folder = copy(folders("wavlm-base"), tmp_path)
        edit_json(folder / "config.json", model_type="wav2vec2")
        with pytest.raises(ModelError, match="without a place in it"):
            otoscope.load_encoder(folder, device="cpu")

    def test_the_switch_gives_the_numbers_of_the_published_code(self, folders, noise) -> None:
        folder = folders("wavlm-base")
        wrong = otoscope.load_encoder(folder, device="cpu", precision="float32", as_family="wav2vec2")
        right = otoscope.load_encoder(folder, device="cpu", precision="float32")
        config = transformers.Wav2Vec2Config(**_WAVE)
        model = transformers.Wav2Vec2Model.from_pretrained(folder, config=config).eval()
        with torch.no_grad():
            expected = model(torch.from_numpy(noise.short), output_hidden_states=True).hidden_states
        states = wrong.hidden_states(noise.short)
        for layer, state in states.items():
            assert (state - expected[layer]).abs().max() < 1e-5
        assert not torch.allclose(states[3], right.hidden_states(noise.short)[3], atol=1e-3)
        assert wrong.provenance()["as_family"] == "wav2vec2"
        assert any("gru_rel_pos" in key for key in wrong.skipped_weights)

    def test_it_exists_for_wavlm_only(self, folders) -> None:
        with pytest.raises(ModelError, match="for 'wavlm' as 'wav2vec2' only"):
            otoscope.load_encoder(folders("hubert-base"), as_family="wav2vec2")


class TestEncodec:
    def test_layers_are_the_stages(self, encodec) -> None:
        encoder = otoscope.load_encoder(encodec, device="cpu", precision="float32")
        sound = np.random.default_rng(0).normal(0, 0.1, (2, 4810)).astype(np.float32)
        states = encoder.hidden_states(sound, [*range(encoder.n_layers + 1), "final"])
        model = transformers.EncodecModel.from_pretrained(encodec).eval()
        with torch.no_grad():
            embedding = model.encoder(torch.from_numpy(sound)[:, None])
        assert (states["final"] - embedding.transpose(1, 2)).abs().max() < 1e-5
        assert encoder.widths == {0: 4, 1: 8, 2: 16, 3: 32, 4: 32, "final": 16}
        assert {layer: state.shape[2] for layer, state in states.items()} == encoder.widths
        for layer, state in states.items():
            assert len(encoder.tokens(4810, layer)) == state.shape[1]
            assert encoder.tokens(4810, layer).hop_s == {0: 1, 1: 2, 2: 8}.get(layer, 40) / 24_000

    def test_what_follows_the_stage_asked_for_does_not_run(self, encodec) -> None:
        encoder = otoscope.load_encoder(encodec, device="cpu")
        runs = []
        encoder.tap("final").module.register_forward_hook(lambda *_: runs.append("final"))
        encoder.hidden_states(np.zeros((1, 960), np.float32), [0, 4])
        assert runs == []

    def test_a_click_is_heard_at_its_time_and_not_before(self, encodec) -> None:
        encoder = otoscope.load_encoder(encodec, device="cpu", precision="float32")
        silence = np.full((1, 4800), 0.01, np.float32)
        sound = silence.copy()
        sound[0, 2420] = 1.0
        for layer in (1, 2, 3):
            change = (
                encoder.hidden_states(sound, [layer])[layer] - encoder.hidden_states(silence, [layer])[layer]
            )
            first = np.flatnonzero(change[0].abs().sum(-1).numpy() > 1e-6)[0]
            tokens = encoder.tokens(4800, layer)
            assert abs(tokens.time_s[first] - 2420 / 24_000) <= tokens.hop_s / 2 + 1e-9

    def test_a_stereo_one_is_refused(self, tmp_path) -> None:
        config = EncodecConfig(num_filters=4, hidden_size=16, audio_channels=2, chunk_length_s=1.0, overlap=0.01,
                               normalize=True, codebook_size=16, codebook_dim=16)  # fmt: skip
        save(tmp_path / "stereo", "EncodecModel", config, EncodecFeatureExtractor(feature_size=2))
        with pytest.raises(ModelError, match=r"2 channels in chunks of 1\.0 s"):
            otoscope.load_encoder(tmp_path / "stereo", device="cpu")


class TestNames:
    def test_an_unknown_name_suggests_the_nearest(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'hubert-base'"):
            otoscope.load_encoder("hubert-bse")

    def test_no_network_and_nothing_cached_says_what_to_download(self, monkeypatch, tmp_path) -> None:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(ModelError, match=r"hf download facebook/hubert-base-ls960 --local-dir FOLDER"):
            otoscope.load_encoder("hubert-base")

    @pytest.mark.parametrize(
        ("asked", "repo_id", "name"),
        [
            ("hubert-base", "facebook/hubert-base-ls960", "hubert-base"),
            ("facebook/hubert-base-ls960", "facebook/hubert-base-ls960", "hubert-base"),
            ("someone/their-hubert", "someone/their-hubert", "someone--their-hubert"),
        ],
    )
    def test_a_cached_model_needs_no_network(
        self, asked, repo_id, name, folders, monkeypatch, tmp_path
    ) -> None:
        from huggingface_hub import constants

        commit = "0123456789abcdef0123456789abcdef01234567"
        cached = tmp_path / f"models--{repo_id.replace('/', '--')}"
        shutil.copytree(folders("hubert-base"), cached / "snapshots" / commit)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(commit)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        encoder = otoscope.load_encoder(asked, device="cpu")
        assert encoder.name == name
        assert encoder.n_layers == N_LAYERS
        assert (encoder.provenance()["model"], encoder.provenance()["revision"]) == (repo_id, commit)

    @pytest.mark.parametrize("name", ["./nowhere", "/nowhere/model", "~/nowhere/to/be/found"])
    def test_a_path_that_is_no_folder(self, name) -> None:
        with pytest.raises(ModelError, match="is no folder"):
            otoscope.load_encoder(name)

    def test_a_folder_without_a_model(self, tmp_path) -> None:
        with pytest.raises(ModelError, match=r"holds no config\.json"):
            otoscope.load_encoder(tmp_path)

    def test_a_folder_without_weights(self, folders, tmp_path) -> None:
        folder = copy(folders("hubert-base"), tmp_path)
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="holds no weights"):
            otoscope.load_encoder(folder)

    def test_broken_weights(self, folders, tmp_path) -> None:
        folder = copy(folders("hubert-base"), tmp_path)
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        with pytest.raises(ModelError, match="cannot be read"):
            otoscope.load_encoder(folder)

    def test_a_family_that_is_not_served(self, folders, tmp_path) -> None:
        folder = copy(folders("hubert-base"), tmp_path)
        edit_json(folder / "config.json", model_type="huberd")
        with pytest.raises(ModelError, match="'huberd' is not served; did you mean 'hubert'"):
            otoscope.load_encoder(folder)

    @pytest.mark.parametrize("rate", [None, 8, "16000", 400_000])
    def test_a_sample_rate_that_cannot_be_served(self, rate, folders, tmp_path) -> None:
        folder = copy(folders("hubert-base"), tmp_path)
        edit_json(folder / "preprocessor_config.json", sampling_rate=rate)
        with pytest.raises(ModelError, match="Hz cannot be served"):
            otoscope.load_encoder(folder)

    def test_no_preprocessor_no_guess(self, folders, tmp_path) -> None:
        folder = copy(folders("hubert-base"), tmp_path)
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(ModelError, match="does not say at which rate"):
            otoscope.load_encoder(folder)

    def test_a_preprocessor_of_another_model(self, folders, tmp_path) -> None:
        for name, key, value in (
            ("ast", "max_length", 99),
            ("whisper", "chunk_length", 2),
            ("wav2vec2-bert", "stride", 1),
        ):
            folder = copy(folders(name), tmp_path / name)
            edit_json(folder / "preprocessor_config.json", **{key: value})
            with pytest.raises(ModelError, match="preprocessor"):
                otoscope.load_encoder(folder)

    def test_another_package_can_add_an_encoder(self, monkeypatch, folders) -> None:
        from importlib import metadata

        from otoscope.registry import Registry

        def load(*, device, precision, revision):
            return otoscope.load_encoder(folders("hubert-base"), device=device, precision=precision)

        class Point(metadata.EntryPoint):
            def load(self):
                return load

        point = Point(name="theirs", value="theirs:load", group="otoscope.encoders")
        monkeypatch.setattr(
            metadata, "entry_points", lambda group: [point] if group == "otoscope.encoders" else []
        )
        registry = Registry("encoder", "otoscope.encoders")
        for name in ENCODERS.names():
            registry.add(name, ENCODERS.get(name))
        monkeypatch.setattr("otoscope.encoders.load.ENCODERS", registry)
        assert "theirs" in registry.names()
        assert otoscope.load_encoder("theirs", device="cpu").n_layers == N_LAYERS

    def test_the_short_names(self) -> None:
        assert {"ast", "hubert-base", "wavlm-base-plus", "mert-v1-95m", "otoscope-mini"} <= set(
            ENCODERS.names()
        )


class TestInput:
    @pytest.fixture
    def encoder(self, folders):
        return otoscope.load_encoder(folders("hubert-base"), device="cpu")

    def test_waveforms_must_be_clips_by_samples(self, encoder) -> None:
        with pytest.raises(InputError, match=r"\[clips, samples\]"):
            encoder.hidden_states(np.zeros(16_000, np.float32))

    def test_nan_is_refused(self, encoder) -> None:
        with pytest.raises(InputError, match="NaN"):
            encoder.hidden_states(np.full((1, 16_000), np.nan))

    @pytest.mark.parametrize(
        ("asked", "got"), [("all", [0, 1, 2, 3]), ("3,1", [3, 1]), ("final", ["final"]), (2, [2])]
    )
    def test_layers_can_be_spelled(self, encoder, asked, got) -> None:
        assert encoder.layers(asked) == got

    @pytest.mark.parametrize("asked", [[4], [-1], "1,1", "finel", []])
    def test_layers_that_do_not_exist(self, encoder, asked) -> None:
        with pytest.raises(InputError):
            encoder.layers(asked)

    def test_float32_unless_asked(self, encoder) -> None:
        assert (encoder.precision, encoder.provenance()["precision"]) == ("float32", "float32")

    def test_a_tensor_is_welcome(self, encoder, noise) -> None:
        states = encoder.hidden_states(torch.from_numpy(noise.short), [1])
        assert torch.equal(states[1], encoder.hidden_states(noise.short, [1])[1])

    def test_an_unknown_precision(self, folders) -> None:
        with pytest.raises(InputError, match="precision must be"):
            otoscope.load_encoder(folders("hubert-base"), precision="float8")


def test_provenance_tells_models_apart(folders, tmp_path) -> None:
    first = otoscope.load_encoder(folders("hubert-base"), device="cpu")
    assert otoscope.load_encoder(folders("hubert-base"), device="cpu").provenance() == first.provenance()
    folder = copy(folders("hubert-base"), tmp_path)
    edit_weights(folder, lambda weights: {key: value + 1e-3 for key, value in weights.items()})
    other = otoscope.load_encoder(folder, device="cpu")
    assert other.name == first.name == "hubert-base"
    assert other.provenance()["weights_sha256"] != first.provenance()["weights_sha256"]


def test_normalisation_is_read_from_the_preprocessor(tmp_path, noise) -> None:
    config = WavLMConfig(**_WAVE)
    for name, extractor in (("plain", _as_it_is()), ("normal", _normalised())):
        save(tmp_path / name, "WavLMModel", config, extractor)
    plain, normal = (otoscope.load_encoder(tmp_path / name, device="cpu") for name in ("plain", "normal"))
    assert torch.equal(plain.frontend(noise.short[0]), torch.from_numpy(noise.short[0]))
    assert abs(normal.frontend(noise.short[0]).std() - 1) < 1e-3


def copy(folder, to):
    to.mkdir(parents=True, exist_ok=True)
    return shutil.copytree(folder, to / folder.name)


def test_the_built_in_model_is_a_hubert_like_any_other(noise) -> None:
    """Loaded by name it gives what transformers gives for its folder."""
    from importlib import resources

    folder = resources.files("otoscope.encoders") / "mini"
    encoder = otoscope.load_encoder("otoscope-mini", device="cpu")
    assert (encoder.name, encoder.family, encoder.sample_rate) == ("otoscope-mini", "hubert", 16_000)
    with resources.as_file(folder) as path:
        model = transformers.HubertModel.from_pretrained(path, dtype=torch.float32).eval()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(path)
    inputs = extractor(list(noise.long), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = model(inputs.input_values, output_hidden_states=True).hidden_states
    for layer, state in encoder.hidden_states(noise.long).items():
        assert (state - expected[layer]).abs().max() < 1e-5
    with pytest.raises(ModelError, match="has no revisions"):
        otoscope.load_encoder("otoscope-mini", revision="main")


def test_the_encoders_docstring_covers_its_fields(folders) -> None:
    encoder = otoscope.load_encoder(folders("hubert-base"), device="cpu")
    named = set(re.findall(r"\w+", otoscope.Encoder.__doc__))
    assert {name for name in vars(encoder) if not name.startswith("_")} <= named
    assert {name for name, value in vars(otoscope.Encoder).items() if isinstance(value, property)} <= named


def test_the_example_of_an_edit_runs() -> None:
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    (example,) = finder.find(otoscope.Encoder.edited, globs={})
    assert runner.run(example) == (0, 4)
