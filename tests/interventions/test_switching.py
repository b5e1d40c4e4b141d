"""One latent off or on: what a clip's answer becomes, beside a push as large, and what people are shown of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from otoscope.errors import InputError
from otoscope.interventions import (
    READOUTS,
    ablate,
    answers,
    as_far,
    clamp,
    switch,
    through,
)
from otoscope.interventions.probed import Probed
from otoscope.interventions.readouts import Logits
from otoscope.saes import build_sae, make_config


@pytest.fixture
def asked(load):
    encoder = load("hubert")
    readout = READOUTS.get("classes")()
    readout.prepare(encoder)
    return encoder, readout, build_sae(make_config("topk", n_latents=24, k=6), n_inputs=32, seed=0)


def test_each_case_is_the_edit_made_alone(asked, noise):
    encoder, readout, sae = asked
    found = switch(
        encoder, noise, readout, 2, sae, [(3, "off", [2, 0]), (5, "on", [1])], on=np.full(24, 4.0), seed=7
    )
    assert [(one.latent, one.to, one.clip, one.measure) for one in found] == [
        (3, "off", 2, "kl"),
        (3, "off", 0, "kl"),
        (5, "on", 1, "kl"),
    ]
    plain = answers(encoder, noise, readout)
    off = answers(encoder, noise, readout, {2: through(sae, ablate(3))})
    on = answers(encoder, noise, readout, {2: through(sae, clamp(5, 4.0))})
    for one, after in zip(found, (off[2], off[0], on[1]), strict=True):
        np.testing.assert_allclose(one.before.values, plain[one.clip].values, atol=1e-5)
        np.testing.assert_allclose(one.after.values, after.values, atol=1e-5)
        assert one.change == pytest.approx(readout.score(one.before, one.after)["kl"])
    assert found[2].change > 1e-6
    assert found[2].change_random > 0
    assert found[2].change_random != found[2].change


def test_a_random_push_is_as_far_at_every_token_and_along_one_direction():
    torch.manual_seed(0)
    sae = build_sae(make_config("topk", n_latents=24, k=6), n_inputs=8, seed=0)
    state = torch.randn(2, 5, 8)
    edit = through(sae, ablate([1, 4]))
    with torch.no_grad():
        own, other = edit(state) - state, as_far(edit, seed=3)(state) - state
    torch.testing.assert_close(own.norm(dim=-1), other.norm(dim=-1), atol=1e-6, rtol=1e-4)
    moved = other[own.norm(dim=-1) > 1e-4]
    along = moved / moved.norm(dim=-1, keepdim=True)
    assert len(moved)
    torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-3, rtol=0)
    nothing = through(sae, ablate([]))
    assert as_far(nothing, seed=3)(state) is state


def test_a_switch_is_off_or_on(asked, noise):
    encoder, readout, sae = asked
    with pytest.raises(InputError, match="'off' or 'on'; got 'half'"):
        switch(encoder, noise, readout, 2, sae, [(3, "half", [0])], on=np.ones(24))


def test_what_people_are_shown(load, noise):
    for name in ("hubert", "ast"):  # one of several classes, and each for itself
        encoder = load(name)
        classes = READOUTS.get("classes")()
        classes.prepare(encoder)
        (answer,) = answers(encoder, noise[:1], classes)
        told = classes.tell(answer)
        logits = torch.from_numpy(answer.values).double()
        expected = logits.softmax(-1) if name == "hubert" else logits.sigmoid()
        np.testing.assert_allclose(list(told.shares.values()), expected, rtol=1e-6)
        assert told.says == max(told.shares, key=told.shares.__getitem__)
    probe = Probed(1, np.eye(2), np.zeros(2), ["low", "high"])
    assert probe.tell(Logits(np.array([0.0, np.log(3)]), "high")).shares == pytest.approx(
        {"low": 0.25, "high": 0.75}
    )
    assert Probed(1, np.eye(2), np.zeros(2)).tell(Logits(np.array([1.5, 2.25]), "")).says == "1.5, 2.25"
    encoder = load("whisper")
    words = READOUTS.get("words")()
    words.prepare(encoder)
    (answer,) = answers(encoder, noise[:1], words)
    assert words.tell(answer).says == answer.text
    assert words.tell(answer).shares == {"no speech": pytest.approx(answer.no_speech)}
