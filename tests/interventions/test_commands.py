"""splice, erase and steer from the command line: their tables, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile

from otoscope import Activations
from otoscope.cli import main
from otoscope.results import TABLES, read_table
from otoscope.saes import SparseAutoencoder, build_sae, make_config

RATE = 16_000


@pytest.fixture(scope="module")
def lab(checkpoint, tmp_path_factory):
    """Sixteen recordings, a HuBERT with a head of classes, its store, and an autoencoder of layer 2."""
    root = tmp_path_factory.mktemp("lab")
    (root / "clips").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(16):
        tone = np.sin(2 * np.pi * [200, 1500][i % 2] * np.arange(RATE // 2) / RATE)
        soundfile.write(root / "clips" / f"{i:02d}.wav", 0.1 * tone + 0.01 * rng.normal(size=RATE // 2), RATE)
        rows.append({"file_name": f"{i:02d}.wav", "pitch": ["low", "high"][i % 2], "speaker": f"s{i // 4}"})
    pd.DataFrame(rows).to_csv(root / "clips" / "metadata.csv", index=False)
    encoder = checkpoint("hubert")
    for pool in ("mean", "frames"):
        main_quietly(
            "extract", root / "clips", "--encoder", encoder, "--out", root / pool, "--pool", pool, "--group",
            "speaker",
        )  # fmt: skip
    main_quietly(
        "train", root / "mean", "--out", root / "saes", "--latents", 64, "--sparsity", 0.9, "--layers", "2",
        "--epochs", 3, "--batch-size", 4,
    )  # fmt: skip
    (sae,) = (root / "saes" / "layer_02").glob("*")
    return root, encoder, sae


def main_quietly(*arguments) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert not stopped.value.code


def refused(capsys, *arguments) -> str:
    """Run a command that must fail as a user's mistake does: exit code 2, one message, no traceback."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.split())


def test_splice(lab, tmp_path):
    root, _, sae = lab
    out = tmp_path / "splice.csv"
    main_quietly(
        "splice", sae, "--clips", root / "clips", "--readout", "classes", "--store", root / "mean", "--group",
        "speaker", "--out", out, "--card",
    )  # fmt: skip
    table = read_table(out)
    assert tuple(table) == TABLES["splice"].names
    (kl,) = table[(table.replaced_by == "reconstruction") & (table.measure == "kl")].value
    assert f"| kl | {kl:.4g} |" in (sae / "README.md").read_text()
    assert set(table.replaced_by) == {"untouched", "mean", "zero", "components", "reconstruction"}
    assert (table.n_clips == 16).all()
    assert (table.n_groups == 4).all()
    own = table[table.replaced_by == "reconstruction"]
    loaded = SparseAutoencoder.from_pretrained(sae)
    assert set(own.sae) == {loaded.config.name}
    assert set(own.k) == {loaded.config.active}
    assert (table[(table.replaced_by == "untouched") & (table.measure == "kl")].value.abs() < 1e-9).all()


@pytest.mark.parametrize("pool", ["mean", "frames"])
def test_erase(lab, tmp_path, pool, capsys):
    root, _, sae = lab
    out = tmp_path / "erasure.csv"
    main_quietly(
        "erase", sae, root / pool, "--clips", root / "clips", "--target", "pitch", "--keep", "speaker", "--group",
        "speaker", "--out", out,
    )  # fmt: skip
    table = read_table(out)
    assert tuple(table) == TABLES["erasure"].names
    assert set(table.method) >= {"untouched", "latents", "LEACE", "mean projection", "random directions"}
    assert dict(zip(table.label, table.held_out)) == {"target": "groups", "speaker": "clips"}
    untouched = table[(table.method == "untouched") & (table.label == "target")].score.item()
    leace = table[(table.method == "LEACE") & (table.label == "target")].score.item()
    assert untouched == 1.0
    assert leace < untouched
    assert "selectivity" in capsys.readouterr().out


@pytest.mark.parametrize("pushed", [["--latents", "LATENT"], ["--towards", "pitch=high", "--n-latents", 2]])
def test_steer(lab, tmp_path, pushed):
    root, _, sae = lab
    store = Activations.open(root / "mean")
    from otoscope.saes import codes_of

    codes = codes_of(SparseAutoencoder.from_pretrained(sae), store.layer(2))
    pushed = [str(int((codes != 0).any(0).argmax())) if part == "LATENT" else part for part in pushed]
    pushed += ["--chosen-on", root / "clips"] if "--towards" in pushed else []
    out = tmp_path / "steering.csv"
    main_quietly(
        "steer", sae, root / "mean", "--clips", root / "clips", "--readout", "classes", "--doses", "0,1,20",
        "--group", "speaker", "--out", out, *pushed,
    )  # fmt: skip
    table = read_table(out)
    assert tuple(table) == TABLES["steering"].names
    kl = table[table.measure == "kl"].pivot(index="dose", columns="by", values="value")
    assert set(kl) >= {"latents", "random latents", "random direction"}
    assert ("raw direction" in kl) == ("--towards" in pushed)
    assert (kl.loc[0].abs() < 1e-9).all()
    assert (kl.loc[20] > kl.loc[0]).all()


def test_amounts_are_of_the_training_side_of_the_clips_that_are_named(lab, tmp_path):
    """A latent off the training side's speakers: what a dose adds, by the rows of the others alone."""
    from otoscope import load_clips, load_encoder
    from otoscope.experiment.sounds import waveforms_of
    from otoscope.interventions import READOUTS, answers, pushes, scores
    from otoscope.saes import codes_of

    root, encoder_folder, path = lab
    sae, store = SparseAutoencoder.from_pretrained(path), Activations.open(root / "mean")
    clips = load_clips(str(root / "clips"), group="speaker")
    x = store.layer(2)
    codes = codes_of(sae, x)
    train = (store.labelled(clips).split == "train").to_numpy()
    latent = int(np.argmax((codes[train] != 0).sum(0)))
    out = tmp_path / "steering.csv"
    main_quietly(
        "steer", path, root / "mean", "--clips", root / "clips", "--chosen-on", root / "clips", "--group", "speaker",
        "--readout", "classes", "--latents", latent, "--doses", "1", "--out", out,
    )  # fmt: skip
    found = read_table(out).set_index(["by", "measure"]).value["latents", "kl"]
    encoder, readout = load_encoder(encoder_folder, device="cpu"), READOUTS.get("classes")()
    readout.prepare(encoder)
    waveforms = waveforms_of(clips, encoder)
    plain = answers(encoder, waveforms, readout)

    def by(own: np.ndarray) -> float:
        edit = pushes(sae, x[own], codes[own], latents=[latent])["latents"](1.0)
        return float(scores(readout, plain, answers(encoder, waveforms, readout, {2: edit})).kl.mean())

    assert 0 < train.sum() < len(train)
    assert found == pytest.approx(by(train), rel=1e-3)
    assert by(np.ones(len(train), bool)) != pytest.approx(by(train), rel=1e-3)


def test_what_is_refused(lab, tmp_path, capsys, checkpoint):
    root, encoder, sae = lab
    ask = ["--clips", root / "clips", "--out", tmp_path / "t.csv"]
    splice = ["splice", sae, *ask, "--readout"]
    assert "hubert has no layer '9' (it has 0 to 3" in refused(capsys, *splice, "classes", "--layer", 9)
    assert "was trained on layer 2, not on layer 1" in refused(capsys, *splice, "classes", "--layer", 1)
    message = refused(capsys, *splice, "letters")
    assert "hubert has no weights for 'ctc'" in message
    assert "another readout" in message
    assert "did you mean 'classes'" in refused(capsys, *splice, "clases")
    message = refused(capsys, *splice, "classes", "--encoder", checkpoint("wavlm"))
    assert "was trained on states of 'hubert'" in message
    assert "is 'wavlm'" in message
    foreign = tmp_path / "foreign"  # of another library, with a card that somebody wrote
    foreign.mkdir()
    (foreign / "README.md").write_text("mine")
    assert "of Otoscope's own format" in refused(
        capsys, "splice", foreign, *ask, "--readout", "classes", "--card"
    )
    assert (foreign / "README.md").read_text() == "mine"
    other = build_sae(make_config("topk", n_latents=64, k=4), 16, seed=0)
    other.layer = 2
    other.save_pretrained(tmp_path / "narrow")
    message = refused(
        capsys, "splice", tmp_path / "narrow", *ask, "--readout", "classes", "--encoder", encoder
    )
    assert "reads states of width 16, and layer 2 of hubert has width 32" in message
    erase = [root / "mean", *ask, "--group", "speaker"]
    assert "width 16" in refused(capsys, "erase", tmp_path / "narrow", *erase, "--target", "pitch")
    assert "no column 'speakr'; did you mean 'speaker'" in refused(
        capsys, "erase", sae, *erase, "--target", "pitch", "--keep", "speakr"
    )
    steer = ["steer", sae, root / "mean", *ask, "--readout", "classes"]
    assert "either --latents or --towards" in refused(capsys, *steer)
    assert "there is no latent 64" in refused(capsys, *steer, "--latents", 64)
    assert "of 'loud'" in refused(capsys, *steer, "--towards", "pitch=loud", "--chosen-on", root / "clips")
