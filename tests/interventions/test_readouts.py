"""Readouts: identity edits to the bit, against transformers' own models, and messages where there is no such head."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from sklearn.decomposition import PCA

import otoscope
from otoscope.errors import InputError, ModelError, ProvenanceError
from otoscope.interventions import (
    READOUTS,
    Probed,
    States,
    Words,
    ablate,
    answers,
    check_sae,
    editing,
    replaced_by,
    scale,
    scores,
    splice,
    states_of,
    steer,
    through,
)
from otoscope.interventions.readouts import Logits
from otoscope.saes import build_sae, make_config
from otoscope.saes.nulls import fit_pca

from .conftest import HEADS


def prepared(encoder, name):
    readout = READOUTS.get(name)()
    readout.prepare(encoder)
    return readout


def n_hooks(encoder) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in encoder.module.modules()
    )


def same(a, b) -> bool:
    if isinstance(a, Logits):
        return np.array_equal(a.values, b.values) and a.says == b.says
    return (a.text, a.tokens) == (b.text, b.tokens) and np.array_equal(
        a.no_speech, b.no_speech, equal_nan=True
    )


def sae_for(layer=2, width=32):
    sae = build_sae(make_config("topk", n_latents=64, k=8), width, seed=0).eval()
    sae.layer = layer
    return sae


@pytest.mark.parametrize("name", HEADS)
def test_an_identity_changes_no_bit_and_an_edit_reaches_the_answer(name, load, noise):
    encoder = load(name)
    readout = prepared(encoder, HEADS[name][3])
    plain = answers(encoder, noise, readout)
    hooked = n_hooks(encoder)  # transformers keeps some of its own
    for edit in (lambda state: state, through(sae_for(), scale(range(64), 1.0)), through(sae_for())):
        identical = answers(encoder, noise, readout, {1: edit, 2: edit, "final": lambda s: s}, plain=plain)
        assert all(same(a, b) for a, b in zip(plain, identical, strict=True))
    table = scores(readout, plain, identical)
    assert table.kl.abs().max() < 1e-6
    assert not table.filter(like="changed").to_numpy().any()
    edited = answers(encoder, noise, readout, {2: through(sae_for(), ablate(range(64)))}, plain=plain)
    assert (scores(readout, plain, edited).kl > 1e-7).all()
    assert n_hooks(encoder) == hooked


@pytest.mark.parametrize("name", HEADS)
def test_an_answer_does_not_depend_on_its_batch(name, load, noise):
    encoder = load(name)
    readout = prepared(encoder, HEADS[name][3])
    edits = {2: through(sae_for(), ablate(range(32)))}
    plain = answers(encoder, noise, readout)
    together = scores(readout, plain, answers(encoder, noise, readout, edits, plain=plain))
    alone = scores(readout, plain, answers(encoder, noise, readout, edits, plain=plain, batch_size=1))
    assert np.abs(together.to_numpy() - alone.to_numpy()).max() < 1e-4


@pytest.mark.parametrize("name", [name for name in HEADS if name != "whisper"])
def test_a_head_says_what_transformers_says(name, load, checkpoint, noise):
    encoder = load(name)
    found = answers(encoder, noise, prepared(encoder, HEADS[name][3]))
    model = getattr(transformers, HEADS[name][0]).from_pretrained(checkpoint(name)).eval()
    inputs = torch.stack([encoder.frontend(clip) for clip in noise])
    with torch.no_grad():
        expected = model(**{model.main_input_name: inputs}).logits.numpy()
    assert np.abs(np.stack([answer.values for answer in found]) - expected).max() < 1e-4


def test_whisper_says_what_transformers_generates(load, checkpoint, noise):
    encoder = load("whisper")
    words = Words(most=20)
    words.prepare(encoder)
    found = answers(encoder, noise, words)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(checkpoint("whisper")).eval()
    inputs = torch.stack([encoder.frontend(clip) for clip in noise])
    for clip, answer in zip(inputs, found, strict=True):
        tokens = [4, 58]
        with torch.no_grad():
            first = model(clip[None], decoder_input_ids=torch.tensor([[4]])).logits[0, -1]
            assert answer.no_speech == pytest.approx(float(first.softmax(-1)[57]), abs=1e-5)
            for _ in range(20):  # greedy by hand, without a cache
                logits = model(clip[None], decoder_input_ids=torch.tensor([tokens])).logits[0, -1]
                logits[[57, 3] if len(tokens) == 2 else [57]] = -torch.inf
                tokens.append(int(logits.argmax()))
                if tokens[-1] == 3:
                    break
        assert list(answer.tokens) == tokens[2:]
        logits = model(clip[None], decoder_input_ids=torch.tensor([tokens[:-1]])).logits[0, 1:]
        assert (logits.log_softmax(-1) - torch.from_numpy(answer.log_probs)).abs().max() < 1e-4


def test_whisper_of_several_languages_is_told_the_one_it_hears(checkpoint, tmp_path, noise):
    """The likeliest of the languages' tokens after the first, and then what transformers' model goes on with."""
    folder = tmp_path / "whisper"
    shutil.copytree(checkpoint("whisper"), folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"lang_to_id": {"<|en|>": 50, "<|de|>": 51, "<|fr|>": 52}, "task_to_id": {"transcribe": 55}}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    encoder = otoscope.load_encoder(folder, device="cpu")
    words = Words(most=1)
    words.prepare(encoder)
    plain = answers(encoder, noise, words)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    for clip, answer in zip(noise, plain, strict=True):
        heard = encoder.frontend(clip)[None]
        with torch.no_grad():
            first = model(heard, decoder_input_ids=torch.tensor([[4]])).logits[0, -1]
            language = 50 + int(first[50:53].argmax())
            after = model(heard, decoder_input_ids=torch.tensor([[4, language, 55, 58]])).logits[0, -1]
        after[[57, 3]] = -torch.inf
        assert answer.language == ["<|en|>", "<|de|>", "<|fr|>"][language - 50]
        assert answer.tokens == (int(after.argmax()),)
    measured = scores(words, plain, [replace(answer, language="<|xx|>") for answer in plain])
    assert measured.changed_language.tolist() == [1, 1, 1]
    assert words.score(plain[0], plain[0])["changed_language"] == 0


def test_loss_and_divergence_by_hand():
    classes = READOUTS.get("classes")()
    classes._independent = False
    plain, edited = Logits(np.log([0.5, 0.25, 0.25]), "a"), Logits(np.log([0.25, 0.5, 0.25]), "b")
    found = classes.score(plain, edited, "a")
    assert found["loss"] == pytest.approx(np.log(4))
    assert found["kl"] == pytest.approx(0.5 * np.log(2) - 0.25 * np.log(2))
    assert (found["changed"], found["error"]) == (1, 1)
    classes._independent = True
    plain, edited = Logits(np.array([0.0]), "a"), Logits(np.array([np.log(3)]), "a")  # .5 and .75
    found = classes.score(plain, edited)
    assert found["kl"] == pytest.approx(-0.5 * np.log(0.75) - 0.5 * np.log(0.25) - np.log(2))


def test_later_states_and_probes(load, noise):
    encoder = load("hubert")
    states, probe = States(3), Probed(3, np.eye(32)[:, :2], np.zeros(2), ["a", "b"])
    number = Probed(3, np.eye(32)[:, :1], np.ones(1))
    for readout in (states, probe, number):
        readout.prepare(encoder)
        plain = answers(encoder, noise, readout)
        assert not scores(readout, plain, plain).filter(regex="moved|changed|kl").to_numpy().any()
        gone = answers(encoder, noise, readout, {3: replaced_by(0.0)})
        assert (scores(readout, plain, gone).filter(regex="moved|kl") > 0).all(axis=None)
    with pytest.raises(InputError, match=r"width 16, and layer 3 .* has 32"):
        Probed(3, np.ones((16, 2)), np.zeros(2)).prepare(encoder)


def test_the_splice_test_ranks_what_is_left(load, noise):
    encoder = load("hubert")
    readout = prepared(encoder, "classes")

    class Perfect(type(sae_for())):
        def forward(self, x):
            return x

        def encode(self, x):
            return x

        def decode(self, z):
            return z

    perfect = Perfect(sae_for().config, 32)
    rows = np.concatenate(list(states_of(encoder, noise, 2)))
    table = splice(
        encoder, list(noise), readout, 2, {"perfect": perfect, "fresh": sae_for()}, pca=fit_pca(rows)
    )
    loss = table[table.measure == "kl"].set_index(["sae", "replaced_by"])
    assert loss.value["", "untouched"] == 0
    assert loss.value["perfect", "reconstruction"] == 0
    assert loss.recovered["perfect", "reconstruction"] == 1
    assert loss.recovered["", "zero"] == 0
    assert loss.value["", "zero"] > 0
    k = sae_for().config.active
    model = PCA(k).fit(rows)

    def by_sklearn(state):
        rows = state.flatten(0, 1).numpy()
        return torch.from_numpy(model.inverse_transform(model.transform(rows))).view_as(state).to(state)

    linear = answers(encoder, noise, readout, {2: by_sklearn})
    plain = answers(encoder, noise, readout)
    assert loss.k["", "components"] == k
    assert loss.value["", "components"] == pytest.approx(scores(readout, plain, linear).kl.mean(), rel=1e-3)
    assert (loss.n_clips == 3).all()


def test_a_dose_curve_starts_where_nothing_happens(load, noise):
    encoder = load("hubert")
    readout = prepared(encoder, "classes")
    table = steer(
        encoder,
        list(noise),
        readout,
        2,
        {"all": lambda d: through(sae_for(), scale(range(64), 1 - d))},
        [0, 1, 5],
    )
    kl = table[table.measure == "kl"].value.to_numpy()
    assert kl[0] == 0
    assert kl[0] < kl[1] < kl[2]


def test_padding_is_left_alone(load):
    """Whisper hears a window of fixed length: tokens past the clip's end keep their state."""
    encoder = load("whisper")
    short = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    readout = States(2)
    readout.prepare(encoder)
    (plain,), (edited,) = (
        answers(encoder, [short], readout),
        answers(encoder, [short], readout, {2: replaced_by(0.0)}),
    )
    assert not edited[:25].any()
    assert np.array_equal(edited[25:], plain[25:])
    everywhere = answers(
        encoder, [short], readout, {2: replaced_by(0.0)}, where=lambda n, layer: np.ones(50, bool)
    )
    assert not everywhere[0].any()


def test_layers_before_the_edit_are_untouched(load, noise):
    encoder = load("wavlm")
    plain = encoder.hidden_states(noise)
    with encoder.edited(2, through(sae_for(), ablate(range(64)))):
        edited = encoder.hidden_states(noise)
    assert [torch.equal(plain[layer], edited[layer]) for layer in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("name", HEADS)
def test_edits_of_two_layers_meet(name, load, noise):
    """The second finds what the first left, and what lies between is the model's own."""
    encoder = load(name)
    first, second = through(sae_for(1), ablate(range(32))), through(sae_for(2), ablate(range(64)))
    with editing(encoder, {1: first, 2: second}):
        both = encoder.hidden_states(noise, [0, 1, 2])
    with encoder.edited(1, first):
        one = encoder.hidden_states(noise, [0, 1, 2])
    assert torch.equal(both[0], encoder.hidden_states(noise, [0])[0])
    assert torch.equal(both[1], one[1])
    assert torch.equal(both[2], second(one[2]))
    assert not torch.equal(one[1], encoder.hidden_states(noise, [1])[1])


@pytest.mark.parametrize(
    ("model", "readout", "message"),
    [
        ("hubert", "letters", r"has no weights for 'ctc' .* beside its encoder it has classifier, projector"),
        ("hubert-ctc", "classes", r"no weights for 'classes' .* it has lm_head"),
        ("hubert", "words", "Whisper's transcript; hubert is of 'hubert'"),
        ("whisper-classes", "words", "no weights for 'words'"),
    ],
)
def test_a_readout_that_the_checkpoint_lacks(model, readout, message, load):
    with pytest.raises(ModelError, match=message):
        prepared(load(model), readout)


def test_an_autoencoder_of_something_else(load):
    encoder = load("hubert")
    sae = sae_for()
    check_sae(sae, encoder, 2)
    with pytest.raises(InputError, match="has no layer '9'"):
        check_sae(sae, encoder, 9)
    with pytest.raises(InputError, match=r"reads states of width 16, and layer 2 of hubert has width 32"):
        check_sae(sae_for(width=16), encoder, 2)
    with pytest.raises(ProvenanceError, match="trained on layer 2, not on layer 1"):
        check_sae(sae, encoder, 1)
    sae.about = {"activations": {"model": "wavlm-base-plus"}}
    with pytest.raises(ProvenanceError, match="states of 'wavlm-base-plus', and the encoder is 'hubert'"):
        check_sae(sae, encoder, 2)
    sae.about = {"activations": {"model": "hubert", "weights_sha256": "0"}}
    with pytest.raises(ProvenanceError, match="other weights"):
        check_sae(sae, encoder, 2)


def test_the_built_in_model_has_no_head():
    with pytest.raises(ModelError, match=r"otoscope-mini has no weights for 'classes'"):
        prepared(otoscope.load_encoder("otoscope-mini", device="cpu"), "classes")


def test_third_parties_add_a_readout():
    READOUTS.add("loudness", States, "for this test")
    try:
        assert READOUTS.get("loudness") is States
    finally:
        del READOUTS._own["loudness"]
