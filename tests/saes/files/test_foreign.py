"""Other libraries' files, built from their documented formats; `test_peers.py` uses their own writers."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from otoscope.errors import InputError, ModelError
from otoscope.saes import SparseAutoencoder, make_config
from otoscope.saes.base import SAEConfig, build_sae
from otoscope.saes.files import write_saelens

D, N = 6, 20


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def saelens_file(folder, architecture, *, apply_bias, rescale=False, **more):
    tensors = {"W_enc": draw(D, N), "W_dec": draw(N, D), "b_dec": draw(D)}
    tensors |= {name: draw(N, seed=i) for i, name in enumerate(more.pop("vectors", ["b_enc"]))}
    if "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"].abs()
    options = {"architecture": architecture, "d_in": D, "d_sae": N, "apply_b_dec_to_input": apply_bias}
    options |= {"normalize_activations": "none", "reshape_activations": "none", "metadata": {}, **more}
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({**options, "rescale_acts_by_decoder_norm": rescale}))
    return tensors


def top(hidden, k):
    found = hidden.topk(k, dim=-1)
    return torch.zeros_like(hidden).scatter(-1, found.indices, found.values.relu())


@pytest.mark.parametrize("apply_bias", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "topk", "topk-rescaled", "jumprelu", "gated"])
def test_saelens(architecture, apply_bias, tmp_path):
    vectors = {"jumprelu": ["b_enc", "threshold"], "gated": ["b_gate", "b_mag", "r_mag"]}
    name, rescaled = architecture.removesuffix("-rescaled"), architecture.endswith("-rescaled")
    t = saelens_file(
        tmp_path, name, apply_bias=apply_bias, rescale=rescaled, k=4, vectors=vectors.get(name, ["b_enc"])
    )
    x = draw(50, D, seed=9)
    shared = (x - t["b_dec"] * apply_bias) @ t["W_enc"]
    norms = t["W_dec"].norm(dim=1) if rescaled else torch.ones(N)
    if name == "gated":
        codes = ((shared + t["b_gate"]) > 0) * (shared * t["r_mag"].exp() + t["b_mag"]).relu()
    else:
        hidden = shared + t["b_enc"]
        codes = {
            "standard": hidden.relu(),
            "topk": top(hidden * norms, 4),
            "jumprelu": hidden.relu() * (hidden > t.get("threshold", torch.zeros(()))),
        }[name]
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    torch.testing.assert_close(sae.encode(x), codes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae(x), (codes / norms) @ t["W_dec"] + t["b_dec"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize_activations": "layer_norm"}, "normalize_activations"),
        ({"reshape_activations": "hook_z"}, "reshape_activations"),
        ({"architecture": "temporal"}, "'temporal'"),
    ],
)
def test_saelens_files_that_weights_cannot_express_are_refused(options, message, tmp_path):
    saelens_file(tmp_path, "topk", apply_bias=True, k=4)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**config, **options}))
    with pytest.raises(ModelError, match=message):
        SparseAutoencoder.from_pretrained(tmp_path)


KINDS = {
    "topk": {"k": 3},
    "topk-gao": {"k": 3},
    "relu": {},
    "jumprelu": {},
    "gated": {},
    "batch-topk": {"k": 3},
    "matryoshka": {"k": 3},
    "archetypal": {"k": 3, "n_points": 5},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_for_saelens_reads_back_with_equal_codes(kind, tmp_path):
    sae = build_sae(make_config(kind, n_latents=N, **KINDS[kind]), D).eval()
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    if kind in ("batch-topk", "matryoshka"):
        sae.threshold.fill_(0.3)
    x = draw(50, D, seed=9)
    back = SparseAutoencoder.from_pretrained(write_saelens(sae, tmp_path))
    torch.testing.assert_close(back.encode(x), sae.encode(x), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(back(x), sae(x), rtol=1e-5, atol=1e-5)
    assert load_file(tmp_path / "sae_weights.safetensors")["W_enc"].shape == (D, N)


def test_kinds_without_an_equal_in_saelens_are_refused(tmp_path):
    class Odd(SAEConfig):
        kind = "odd"

    sae = build_sae(make_config("relu", n_latents=N), D)
    sae.config = Odd(n_latents=N)
    with pytest.raises(InputError, match="no architecture like kind 'odd'"):
        write_saelens(sae, tmp_path)
    assert not any(tmp_path.iterdir())


def sparsify_file(folder, **options):
    tensors = {
        "encoder.weight": draw(N, D),
        "encoder.bias": draw(N),
        "W_dec": draw(N, D, seed=3),
        "b_dec": draw(D),
    }
    save_file(tensors, folder / "sae.safetensors")
    options = {"activation": "topk", "expansion_factor": 32, "k": 4, "d_in": D, **options}
    (folder / "cfg.json").write_text(json.dumps(options))
    return tensors


def test_sparsify(tmp_path):
    t = sparsify_file(tmp_path)
    x = draw(50, D, seed=9)
    codes = top((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"], 4)
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae(x), codes @ t["W_dec"] + t["b_dec"])


@pytest.mark.parametrize(
    "options", [{"transcode": True}, {"skip_connection": True}, {"activation": "groupmax"}]
)
def test_sparsify_transcoders_and_groupmax_are_refused(options, tmp_path):
    sparsify_file(tmp_path, **options)
    with pytest.raises(ModelError, match=r"transcoder|groupmax"):
        SparseAutoencoder.from_pretrained(tmp_path)


def audiosae_file(root, *, threshold=True, **more):
    state = {"encoder.weight": draw(N, D), "encoder.bias": draw(N), "decoder.weight": draw(D, N, seed=4)}
    state |= {"b_dec": draw(D), "k": torch.tensor(4), **more}
    if threshold:
        state["threshold"] = torch.tensor(0.7)
    folder = root / "layer_6"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / "ae.pt")
    (root / "config.json").write_text(json.dumps({"activation_dim": D, "dict_size": N, "k": 4}))
    return folder, state


@pytest.mark.parametrize("threshold", [True, False])
def test_audiosae(threshold, tmp_path):
    folder, t = audiosae_file(tmp_path, threshold=threshold)
    x = draw(50, D, seed=9)
    hidden = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    codes = hidden * (hidden > 0.7) if threshold else top(hidden, 4)
    sae = SparseAutoencoder.from_pretrained(folder)
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae(x), codes @ t["decoder.weight"].T + t["b_dec"])
    assert sae.layer == 6
    assert sae.config.active == 4


def test_audiosae_files_that_disagree_or_lack_something_are_refused(tmp_path):
    folder, _ = audiosae_file(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"activation_dim": D, "dict_size": N + 1}))
    with pytest.raises(ModelError, match=f"dict_size = {N}"):
        SparseAutoencoder.from_pretrained(folder)
    torch.save({"encoder.weight": draw(N, D)}, folder / "ae.pt")
    with pytest.raises(ModelError, match=r"lacks encoder\.bias"):
        SparseAutoencoder.from_pretrained(folder)


def dictionary(folder, name, state, **options):
    torch.save(state, folder / "ae.pt")
    trainer = {"dict_class": name, "activation_dim": D, "dict_size": N, "layer": 3, "lm_name": "m", **options}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {}}))
    return state


def linear(**more):
    state = {"encoder.weight": draw(N, D), "encoder.bias": draw(N), "decoder.weight": draw(D, N, seed=4)}
    return state | {"b_dec": draw(D), "k": torch.tensor(8), "threshold": torch.tensor(0.9), **more}


@pytest.mark.parametrize("threshold", [-1.0, 0.9])
def test_a_topk_dictionary_has_k_latents_whatever_its_threshold(threshold, tmp_path):
    t = dictionary(tmp_path, "AutoEncoderTopK", linear(threshold=torch.tensor(threshold)), k=8)
    x = draw(50, D, seed=9)
    hidden = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    torch.testing.assert_close(sae.encode(x), top(hidden, 8))
    torch.testing.assert_close(sae(x), top(hidden, 8) @ t["decoder.weight"].T + t["b_dec"])
    assert sae.layer is None


def test_a_batch_topk_dictionary_has_a_threshold(tmp_path):
    t = dictionary(tmp_path, "BatchTopKSAE", linear(), k=8)
    x = draw(50, D, seed=9)
    hidden = ((x - t["b_dec"]) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    torch.testing.assert_close(SparseAutoencoder.from_pretrained(tmp_path).encode(x), hidden * (hidden > 0.9))
    dictionary(tmp_path, "BatchTopKSAE", linear(threshold=torch.tensor(-1.0)), k=8)
    with pytest.raises(ModelError, match="the threshold -1: it was never set"):
        SparseAutoencoder.from_pretrained(tmp_path)


def test_a_standard_dictionary_and_one_of_the_april_update(tmp_path):
    x = draw(50, D, seed=9)
    t = {"encoder.weight": draw(N, D), "encoder.bias": draw(N), "decoder.weight": draw(D, N, seed=4)}
    dictionary(tmp_path, "AutoEncoder", t | {"bias": draw(D)}, trainer_class="StandardTrainer")
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    codes = ((x - draw(D)) @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    norms = t["decoder.weight"].norm(dim=0)
    torch.testing.assert_close(sae.encode(x), codes * norms, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae(x), codes @ t["decoder.weight"].T + draw(D), rtol=1e-5, atol=1e-5)
    dictionary(tmp_path, "AutoEncoderNew", t | {"decoder.bias": draw(D)})
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    codes = (x @ t["encoder.weight"].T + t["encoder.bias"]).relu()
    torch.testing.assert_close(sae.encode(x), codes)
    torch.testing.assert_close(sae(x), codes @ t["decoder.weight"].T + draw(D), rtol=1e-5, atol=1e-5)


def test_gated_jumprelu_and_matryoshka_dictionaries(tmp_path):
    x = draw(50, D, seed=9)
    gated = {"encoder.weight": draw(N, D), "decoder.weight": draw(D, N), "decoder_bias": draw(D)}
    gated |= {"r_mag": draw(N), "gate_bias": draw(N, seed=1), "mag_bias": draw(N, seed=2)}
    dictionary(tmp_path, "GatedAutoEncoder", gated, l1_penalty=0.1)
    shared = (x - draw(D)) @ gated["encoder.weight"].T
    codes = (shared + gated["gate_bias"] > 0) * (shared * gated["r_mag"].exp() + gated["mag_bias"]).relu()
    torch.testing.assert_close(
        SparseAutoencoder.from_pretrained(tmp_path).encode(x), codes, rtol=1e-5, atol=1e-5
    )
    t = {"W_enc": draw(D, N), "b_enc": draw(N), "W_dec": draw(N, D), "b_dec": draw(D)}
    dictionary(tmp_path, "JumpReluAutoEncoder", t | {"threshold": draw(N).abs()})
    hidden = x @ t["W_enc"] + t["b_enc"]
    codes = hidden.relu() * (hidden > draw(N).abs())
    torch.testing.assert_close(
        SparseAutoencoder.from_pretrained(tmp_path).encode(x), codes, rtol=1e-5, atol=1e-5
    )
    more = {"k": torch.tensor(4), "threshold": torch.tensor(0.5), "group_sizes": torch.tensor([5, 5, 10])}
    dictionary(tmp_path, "MatryoshkaBatchTopKSAE", t | more, k=4, group_sizes=[5, 5, 10])
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    hidden = ((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    torch.testing.assert_close(sae.encode(x), hidden * (hidden > 0.5), rtol=1e-5, atol=1e-5)
    assert sae.config.prefix_ends == [5, 10, 20]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CrossCoder", {}, "of class 'CrossCoder'"),
        ("AutoEncoderTopK", {"k": 9}, "k = 8, its config.json says 9"),
        ("AutoEncoderTopK", {"trainer_class": "BatchTopKTrainer"}, "contradicts itself"),
        ("AutoEncoderTopK", {"dict_size": N + 1}, f"dict_size = {N}, its"),
        (
            "AutoEncoderTopK",
            {"shrink_codes": 0.5},
            "options that this version does not know: shrink_codes = 0.5",
        ),
        ("AutoEncoder", {}, "holds b_dec, k, threshold, which a dictionary of class AutoEncoder"),
    ],
)
def test_dictionaries_that_contradict_what_they_say_are_refused(name, options, message, tmp_path):
    dictionary(tmp_path, name, linear(), **options)
    with pytest.raises(ModelError, match=message):
        SparseAutoencoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match="says of which class it is"):
        SparseAutoencoder.from_pretrained(tmp_path)


def test_inputs_that_were_scaled_in_training_are_scaled_or_refused(tmp_path):
    """SAELens' checkpoints: the code of x is that of factor * x, and the reconstruction is divided by the factor."""
    t = saelens_file(tmp_path, "standard", apply_bias=True, normalize_activations="expected_average_only_in")
    with pytest.raises(ModelError, match=r"activation_scaler\.json, which holds the factor, is not there"):
        SparseAutoencoder.from_pretrained(tmp_path)
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.25}))
    x = draw(50, D, seed=9)
    codes = ((0.25 * x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]).relu()
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    torch.testing.assert_close(sae.encode(x), codes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae(x), (codes @ t["W_dec"] + t["b_dec"]) / 0.25, rtol=1e-5, atol=1e-4)


def test_options_that_are_not_known_are_refused_unless_they_are_off(tmp_path):
    saelens_file(tmp_path, "standard", apply_bias=True, sign_codes=False)
    SparseAutoencoder.from_pretrained(tmp_path)
    saelens_file(tmp_path, "standard", apply_bias=True, sign_codes=True)
    with pytest.raises(ModelError, match="sign_codes = True"):
        SparseAutoencoder.from_pretrained(tmp_path)
    (tmp_path / "sae_weights.safetensors").unlink()
    sparsify_file(tmp_path, signed=True)
    with pytest.raises(ModelError, match="signed = True"):
        SparseAutoencoder.from_pretrained(tmp_path)


def test_a_folder_of_several_says_which(tmp_path):
    for layer in ("layer_2", "layer_10"):
        folder, _ = audiosae_file(tmp_path / "both")
        folder.rename(tmp_path / "both" / layer)
    (tmp_path / "both" / "config.json").rename(tmp_path / "both" / "layer_2" / "config.json")
    with pytest.raises(ModelError, match="folders of its own: layer_2, layer_10; name one, such as"):
        SparseAutoencoder.from_pretrained(tmp_path / "both")
    assert SparseAutoencoder.from_pretrained(tmp_path / "both" / "layer_2").layer == 2


class Malice:
    """Runs code when unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


def test_pickles_that_run_code_are_refused(tmp_path):
    folder, _ = audiosae_file(tmp_path)
    (folder / "ae.pt").write_bytes(pickle.dumps(Malice()))
    with pytest.raises(ModelError, match="refused"):
        SparseAutoencoder.from_pretrained(folder)
    torch.save({"encoder.weight": Malice()}, folder / "ae.pt")
    with pytest.raises(ModelError, match="could run code"):
        SparseAutoencoder.from_pretrained(folder)
    (folder / "ae.pt").write_bytes(b"PK\x03\x04 half an archive")
    with pytest.raises(ModelError, match="damaged"):
        SparseAutoencoder.from_pretrained(folder)
