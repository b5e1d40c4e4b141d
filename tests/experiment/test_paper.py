"""The recipes `paper` and `paper-sound` on a fake VocalSet with the four architectures at a small random size."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Lasso

from otoscope.activations import Activations
from otoscope.errors import SpecError
from otoscope.experiment import ablate, load_spec, run
from otoscope.experiment.protocols.switches import SWITCHES
from otoscope.report import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from fake_vocalset import write_fake_vocalset
from paper_models import write_paper_models

pytestmark = pytest.mark.filterwarnings("ignore:VocalSet in .* is incomplete")  # as it is meant to be

LAYERS = {"ast": [6, 12], "wavlm-base-plus": [1, 12], "hubert-base": [3, 12], "mert-v1-95m": [4, 7]}
TABLES = (
    "layer_probing", "reconstruction", "sae_probing", "disentanglement", "disentanglement_summary",
    "latent_disentanglement", "factor_entropy", "factor_families", "comparisons", "sparse_probing", "gap_scores",
    "claims",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("vocalset")
    write_fake_vocalset(root, per_technique=1)
    models = write_paper_models(tmp_path_factory.mktemp("models"))
    factors = "egemaps" if importlib.util.find_spec("opensmile") else "descriptors"
    return [
        f"dataset.root={root}",
        *(f"encoders.{i}.name={folder}" for i, folder in enumerate(models)),
        f"factors.name={factors}",
        "saes.n_latents=128",
        "saes.sparsities=[0.75, 0.95]",
        "saes.seeds=[0]",
        "saes.epochs=2",
        "probing.epochs=3",
        "probing.few_latents=[1]",
        "probing.regularisation=[0.01]",
        "disentanglement.alphas=[0.1, 0.02]",
        "disentanglement.folds=3",
        "disentanglement.nulls=[untrained, random, label]",  # tests/experiment/test_run.py has them all
        "disentanglement.infomec=none",
    ]


@pytest.fixture(scope="module")
def paper(settings, tmp_path_factory):
    return run("paper", out=tmp_path_factory.mktemp("runs") / "paper", settings=settings)


@pytest.fixture(scope="module")
def sound(settings, tmp_path_factory):
    return run("paper-sound", out=tmp_path_factory.mktemp("runs") / "sound", settings=settings)


@pytest.mark.parametrize("which", ["paper", pytest.param("sound", marks=pytest.mark.slow)])
def test_the_whole_recipe(which, request):
    made = request.getfixturevalue(which)
    for name in TABLES:
        assert len(made.table(name)), name
    assert len(made.table("layer_probing")) == 4 * 13
    studied = made.table("reconstruction").groupby("encoder").layer.unique()
    assert {encoder: sorted(layers) for encoder, layers in studied.items()} == LAYERS
    assert len(made.table("sae_probing")) == 8 * 2


@pytest.mark.slow  # tests/report draws all of it from tables made up
@pytest.mark.parametrize("which", ["paper", "sound"])
def test_the_last_figure(which, request):
    made = request.getfixturevalue(which)
    page = write_report(made.root)
    assert page.exists()
    for number in range(1, 5):
        assert (made.root / "figures" / f"figure{number}.png").stat().st_size > 10_000


def test_each_clip_is_heard_three_ways(paper):
    for encoder in LAYERS:
        heard = {}
        for role in ("train", "evaluate", "measure"):
            record = paper.root / "stages" / f"activations-{encoder}-{role}.json"
            outputs = pd.read_json(record, typ="series").outputs
            heard[role] = Activations.open(paper.root / outputs["store"])
        crops = {role: store.provenance["crop"] for role, store in heard.items()}
        whole = "first:10.24" if encoder == "ast" else "full"
        assert crops == {"train": "random:8x5,pad", "evaluate": "first:5,pad", "measure": whole}
        assert {store.provenance["pool"] for store in heard.values()} == {"paper"}
        clips = paper.frame("clips").set_index("clip_id")
        assert set(clips.split[heard["train"].rows.clip_id]) == {"train"}
        assert set(clips.split[heard["evaluate"].rows.clip_id]) == {"valid", "test"}
        assert set(clips.split[heard["measure"].rows.clip_id]) == {"test"}
        family = heard["train"].provenance["family"]
        assert (family == "wav2vec2") == (encoder == "wavlm-base-plus"), family


@pytest.mark.slow
def test_published_probes_keep_an_epoch(paper, sound):
    assert paper.table("layer_probing").epoch.between(1, paper.spec.probing.epochs).all()
    assert sound.table("layer_probing").epoch.isna().all()


def test_r2_is_of_the_rows_that_were_fitted(paper):
    """Against scikit-learn's Lasso on the test clips' whole files."""
    record = pd.read_json(paper.root / "stages" / "activations-hubert-base-measure.json", typ="series")
    store = Activations.open(paper.root / record.outputs["store"])
    x = store.layer(3).astype(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    factors = paper.frame("factors").set_index("clip_id").loc[store.rows.clip_id]
    table = paper.table("disentanglement")
    dense = table[(table.encoder == "hubert-base") & (table.layer == 3) & (table.representation == "dense")]
    checked = 0
    for row in dense.itertuples():
        y = factors[row.factor].to_numpy()
        if not np.isfinite(y).all() or np.ptp(y) == 0:
            continue
        y = (y - y.mean()) / y.std()
        fit = Lasso(alpha=0.1, max_iter=100_000, tol=1e-10).fit(x, y)
        assert row.r2 == pytest.approx(fit.score(x, y), abs=1e-4)
        weights = np.abs(fit.coef_)
        if not weights.any():
            assert row.completeness == 1.0  # as published
        checked += 1
    assert checked >= 10
    assert table.r2_cv.isna().all()


@pytest.mark.slow
def test_a_validation_clip_is_drawn_by_file_or_by_singer(paper, sound):
    clips = paper.frame("clips")
    assert set(clips.singer[clips.split == "valid"]) & set(clips.singer[clips.split == "train"])
    clips = sound.frame("clips")
    assert not set(clips.singer[clips.split == "valid"]) & set(clips.singer[clips.split == "train"])


def test_switches_are_the_21_differences_in_order():
    assert [switch.number for switch in SWITCHES] == list(range(1, 25))
    spec = load_spec("paper", settings=["dataset.root=x"])
    for switch in SWITCHES:
        assert switch.settings(spec) is not None or switch.reason or switch.common_width, switch.name


def test_only_autoencoders_share_an_epoch():
    spec = load_spec("paper", settings=["dataset.root=x"])
    assert "shared_epoch" not in spec.probing.model_dump()
    assert spec.saes[0].select == "paper"
    with pytest.raises(SpecError, match="shared_epoch"):
        load_spec("paper", settings=["dataset.root=x", "probing.shared_epoch=true"])


@pytest.mark.slow
def test_ablation_turns_each_rule_alone(tiny_encoder, tmp_path_factory, tmp_path):
    settings = [
        f"dataset.root={tmp_path_factory.mktemp('synthsing')}",
        "dataset.options={n_singers: 5}",
        f"encoders=[{{name: {tiny_encoder}, layers: [1, 2]}}]",
        "saes.n_latents=32",
        "saes.sparsities=[0.75, 0.95]",
        "saes.epochs=3",
        "probing.epochs=5",
        "probing.few_latents=[]",
        "disentanglement.nulls=[untrained, random]",
        "disentanglement.infomec=none",
    ]
    table = ablate("paper-demo", out=tmp_path, settings=settings).set_index("number")
    assert list(table.index) == list(range(26))
    assert list(table.role) == ["published", *["switch"] * 24, "sound"]
    assert (table.loc[0, ["d_best_layer_score", "d_r2_top10", "d_completeness_gain"]] == 0).all()
    for number in (1, 7, 8, 9, 10, 12, 16, 17, 19, 21):
        assert table.note[number]
        assert np.isnan(table.best_layer_score[number])
    assert "groups" in table.note[3]  # one or two test singers cannot be folded: said, and the rest goes on
    for number in (4, 5, 6):  # rules of completeness alone
        assert table.d_best_layer_score[number] == table.d_r2_top10[number] == 0
    assert (
        table.d_completeness_gain[5] <= 0
    )  # most complete factors are at least as complete as the best predicted
    assert table.d_r2_top10[18] == 0  # the probes' epoch
    made = pd.read_json(
        tmp_path / "04-factor-without-a-coefficient" / "stages" / "saes-tiny.json", typ="series"
    )
    assert (tmp_path / "04-factor-without-a-coefficient" / made.files[0]).is_symlink()  # taken over
    with pytest.raises(SpecError, match="paper protocol"):
        ablate("demo", out=tmp_path)
