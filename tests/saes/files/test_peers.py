"""Files that the other libraries wrote themselves; run where they are installed (benchmarks/requirements-peers.txt)."""

import json

import pytest
import torch

from otoscope.errors import ModelError
from otoscope.saes import SparseAutoencoder, make_config
from otoscope.saes.base import build_sae
from otoscope.saes.files import write_saelens

D, N = 24, 96


def shake(module):
    """Move all weights off their start, so that biases and norms matter."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module


@pytest.fixture
def x():
    return torch.randn(200, D, generator=torch.Generator().manual_seed(1))


def saelens(architecture, apply_bias):
    sae_lens = pytest.importorskip("sae_lens")
    kinds = {
        "standard": (sae_lens.StandardSAE, sae_lens.StandardSAEConfig, {}),
        "topk": (sae_lens.TopKSAE, sae_lens.TopKSAEConfig, {"k": 7}),
        "topk-rescaled": (
            sae_lens.TopKSAE,
            sae_lens.TopKSAEConfig,
            {"k": 7, "rescale_acts_by_decoder_norm": True},
        ),
        "jumprelu": (sae_lens.JumpReLUSAE, sae_lens.JumpReLUSAEConfig, {}),
        "gated": (sae_lens.GatedSAE, sae_lens.GatedSAEConfig, {}),
    }
    module, config, options = kinds[architecture]
    sae = shake(module(config(d_in=D, d_sae=N, apply_b_dec_to_input=apply_bias, **options)))
    if architecture == "jumprelu":
        sae.threshold.data.abs_()
    return sae


@pytest.mark.parametrize("apply_bias", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "topk", "topk-rescaled", "jumprelu", "gated"])
def test_reads_what_saelens_wrote(architecture, apply_bias, x, tmp_path):
    theirs = saelens(architecture, apply_bias)
    theirs.save_model(tmp_path)
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    torch.testing.assert_close(sae.encode(x), theirs.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae(x), theirs(x), rtol=1e-5, atol=1e-5)


KINDS = {
    "topk": {"k": 7},
    "topk-gao": {"k": 7},
    "relu": {},
    "jumprelu": {},
    "gated": {},
    "batch-topk": {"k": 7},
    "archetypal": {"k": 7, "n_points": 9},
}


@pytest.mark.parametrize("kind", KINDS)
def test_saelens_reads_what_we_write(kind, x, tmp_path):
    sae_lens = pytest.importorskip("sae_lens")
    sae = shake(build_sae(make_config(kind, n_latents=N, **KINDS[kind]), D)).eval()
    if kind == "batch-topk":
        sae.threshold.fill_(0.3)
    theirs = sae_lens.SAE.load_from_disk(write_saelens(sae, tmp_path))
    torch.testing.assert_close(theirs.encode(x), sae.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs(x), sae(x), rtol=1e-5, atol=1e-5)


def test_reads_what_sparsify_wrote(x, tmp_path):
    sparsify = pytest.importorskip("sparsify")
    theirs = shake(sparsify.SparseCoder(D, sparsify.SparseCoderConfig(num_latents=N, k=7)))
    theirs.save_to_disk(tmp_path)
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    top = theirs.encode(x)
    codes = torch.zeros(len(x), N).scatter(-1, top.top_indices, top.top_acts)
    torch.testing.assert_close(sae.encode(x), codes, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sae(x), theirs(x).sae_out, rtol=1e-5, atol=1e-5)


def trained(name, **options):
    """Return a trainer of dictionary_learning's, its dictionary moved off its start."""
    module, class_name = {
        "standard": ("standard", "StandardTrainer"),
        "april": ("standard", "StandardTrainerAprilUpdate"),
        "p-anneal": ("p_anneal", "PAnnealTrainer"),
        "gated": ("gdm", "GatedSAETrainer"),
        "gated-anneal": ("gated_anneal", "GatedAnnealTrainer"),
        "jumprelu": ("jumprelu", "JumpReluTrainer"),
        "topk": ("top_k", "TopKTrainer"),
        "batch-topk": ("batch_top_k", "BatchTopKTrainer"),
        "matryoshka": ("matryoshka_batch_top_k", "MatryoshkaBatchTopKTrainer"),
    }[name]
    trainers = pytest.importorskip(f"dictionary_learning.trainers.{module}")
    more = {"matryoshka": {"group_fractions": [0.25, 0.25, 0.5]}}.get(name, {})
    more |= {"k": 7} if "topk" in name or name == "matryoshka" else {}
    about = {"layer": 3, "lm_name": "a-model", "steps": 5000, "device": "cpu"}
    trainer = getattr(trainers, class_name)(activation_dim=D, dict_size=N, **about, **more, **options)
    shake(trainer.ae)
    if name == "jumprelu":
        trainer.ae.threshold.data.abs_()
    return trainer


DICTIONARIES = ["standard", "april", "p-anneal", "gated", "gated-anneal", "jumprelu"]
DICTIONARIES += ["topk", "batch-topk", "matryoshka"]


@pytest.mark.parametrize("name", DICTIONARIES)
def test_reads_what_dictionary_learnings_trainers_wrote(name, x, tmp_path):
    loading = pytest.importorskip("dictionary_learning.utils")
    trainer = trained(name)
    if hasattr(trainer.ae, "threshold") and name != "jumprelu":
        trainer.ae.threshold.fill_(0.4)
    torch.save(trainer.ae.state_dict(), tmp_path / "ae.pt")
    (tmp_path / "config.json").write_text(
        json.dumps({"trainer": trainer.config, "buffer": {"d_submodule": D}})
    )
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    theirs, _ = loading.load_dictionary(str(tmp_path), "cpu")
    torch.testing.assert_close(sae.encode(x), theirs.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae(x), theirs(x), rtol=1e-5, atol=1e-5)
    if name == "topk":
        assert ((sae.encode(x) > 0).sum(-1) <= 7).all()


@pytest.mark.parametrize("architecture", ["standard", "topk", "topk-rescaled", "jumprelu", "gated"])
def test_reads_a_checkpoint_of_saelens_whose_scale_is_not_folded_in(architecture, x, tmp_path):
    scaler = pytest.importorskip("sae_lens.training.activation_scaler")
    theirs = saelens(architecture, True)
    theirs.cfg.normalize_activations = "expected_average_only_in"
    theirs.save_model(tmp_path)
    scaler.ActivationScaler(scaling_factor=0.31).save(str(tmp_path / "activation_scaler.json"))
    sae = SparseAutoencoder.from_pretrained(tmp_path)
    theirs.fold_activation_norm_scaling_factor(0.31)  # as when training ends
    torch.testing.assert_close(sae.encode(x), theirs.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_reads_a_hook_of_a_folder_of_sparsifys(x, tmp_path):
    sparsify = pytest.importorskip("sparsify")
    for hook in ("encoder.layers.2", "encoder.layers.10"):
        sparsify.SparseCoder(D, sparsify.SparseCoderConfig(num_latents=N, k=7)).save_to_disk(tmp_path / hook)
    with pytest.raises(
        ModelError, match=r"folders of its own: encoder\.layers\.2, encoder\.layers\.10; name one"
    ):
        SparseAutoencoder.from_pretrained(tmp_path)
    assert SparseAutoencoder.from_pretrained(tmp_path / "encoder.layers.10").layer == 11


@pytest.mark.parametrize("threshold", [True, False])
def test_reads_audiosaes_form_of_dictionary_learnings_files(threshold, x, tmp_path):
    dictionaries = pytest.importorskip("dictionary_learning.trainers.batch_top_k")
    theirs = shake(dictionaries.BatchTopKSAE(D, N, 7))
    if threshold:
        theirs.threshold.fill_(0.4)
    folder = tmp_path / "layer_9"
    folder.mkdir()
    state = theirs.state_dict()
    if not threshold:
        del state["threshold"]
    torch.save(state, folder / "ae.pt")
    (tmp_path / "config.json").write_text(json.dumps({"activation_dim": D, "dict_size": N, "k": 7}))
    sae = SparseAutoencoder.from_pretrained(folder)
    assert sae.layer == 9
    if threshold:
        torch.testing.assert_close(sae.encode(x), theirs.encode(x, use_threshold=True), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sae(x), theirs.decode(sae.encode(x)), rtol=1e-5, atol=1e-5)
    else:
        assert ((sae.encode(x) > 0).sum(-1) <= 7).all()
