"""The recipe of `otoscope-mini`, on a model of 26,000 parameters, and the packaged model that it made."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import HubertConfig, HubertModel

RECIPE = Path(__file__).parents[2] / "training" / "otoscope_mini"
PACKAGED = Path(__file__).parents[2] / "src" / "otoscope" / "encoders" / "mini"
TINY = """
    --n-singers 1 --width 32 --ffn-width 64 --n-blocks 2 --n-heads 2 --stem-width 16 --position-kernel 16
    --position-groups 4 --timbre-units 16 --pitch-units 8 --movement-units 16 --phrase-units 8
    --steps 24 8 --batch-audio-s 4 --crop-s 1.0 --learning-rate 0.01
    --log-every 4 --check-every 0 --probe-singers 5 --threads 1
""".split()  # noqa: SIM905 - reads like the command line it is


@pytest.fixture(scope="module", autouse=True)
def recipe_on_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RECIPE)
        yield


def train(out: Path, *options: str) -> None:
    from train import main

    main(["--out", str(out), *TINY, *options])


@pytest.fixture(scope="module")
def run(recipe_on_path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "whole"
    train(out)
    return out


@pytest.mark.slow  # it trains a model
def test_loss_falls_within_each_stage(run):
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for stage in (0, 1):
        losses = [row["loss"] for row in rows if row["stage"] == stage]
        assert losses[-1] < losses[0]


@pytest.mark.slow  # it trains a model
def test_a_stopped_run_goes_on_to_the_same_weights(run, tmp_path):
    out = tmp_path / "stopped"
    train(out, "--stop-after", "5")
    train(out, "--resume", "--stop-after", "22")  # over the border of the stages
    train(out, "--resume")
    whole, stopped = (load_file(folder / "model" / "model.safetensors") for folder in (run, out))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


@pytest.mark.slow  # it trains a model
def test_export_is_a_whole_hubert_in_float16(run):
    model, report = HubertModel.from_pretrained(run / "model", output_loading_info=True)
    assert not any(report.values())
    assert model.dtype == torch.float32
    stored = load_file(run / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    trained = torch.load(run / "checkpoint.pt", weights_only=True)["model"]
    stem = "feature_extractor.conv_layers.1.conv.weight"
    assert torch.equal(stored[stem], trained[f"hubert.{stem}"].half())


@pytest.mark.slow  # it trains a model
def test_record_and_card_say_what_was_done(run):
    record = json.loads((run / "model" / "training.json").read_text())
    assert (record["steps"], record["stages"], record["corpus_clips"]) == (32, 2, 50)
    card = (run / "model" / "README.md").read_text()
    for row in record["scores"]["layers"]:
        assert f"| layer {row['layer']} | {row['accuracy']:.3f} | {row['f0_r2_cv']:.3f} |" in card


@pytest.mark.slow  # it trains a model
def test_a_run_refuses_other_settings_and_to_begin_anew(run):
    with pytest.raises(SystemExit, match="other settings"):
        train(run, "--resume", "--seed", "1")
    with pytest.raises(SystemExit, match="go on with --resume"):
        train(run)


@pytest.mark.parametrize("n_samples", [16_000, 16_079, 16_080, 80_000])
def test_targets_have_a_frame_for_each_frame_of_hubert(n_samples):
    from targets import acoustic_views, n_frames

    expected = int(HubertModel(HubertConfig(num_hidden_layers=1))._get_feat_extract_output_lengths(n_samples))
    assert n_frames(n_samples) == expected
    waveform = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32)
    assert {len(view) for view in acoustic_views(waveform).values()} == {expected}


def test_masks_cover_the_wanted_share_in_spans():
    from model import draw_mask

    masked = draw_mask(np.random.default_rng(0), 2000, 60, share=0.5, span=10)
    assert masked.mean() == pytest.approx(
        0.5 + 0.5 / 60, abs=0.005
    )  # one frame of each crop is always masked
    edges = np.diff(np.pad(masked, ((0, 0), (1, 1))).astype(int), axis=1)
    starts, stops = np.argwhere(edges == 1), np.argwhere(edges == -1)
    whole = (starts[:, 1] > 0) & (stops[:, 1] < 60)  # neither end of the crop cuts the span
    short = whole & (stops[:, 1] - starts[:, 1] < 10)
    assert np.bincount(starts[short, 0]).max() == 1  # that one frame, at most
    assert whole.sum() > 2000


def test_packaged_model_is_small_and_whole():
    assert sum(path.stat().st_size for path in PACKAGED.iterdir() if path.is_file()) <= 5_000_000
    model, report = HubertModel.from_pretrained(PACKAGED, output_loading_info=True)
    assert not any(report.values())
    with torch.no_grad():
        states = model.eval()(torch.randn(1, 80_000), output_hidden_states=True).hidden_states
    assert [tuple(state.shape) for state in states] == [(1, 249, 192)] * 5
    assert all(torch.isfinite(state).all() for state in states)


def test_muon_takes_orthogonal_steps_of_adams_size():
    from optimiser import Muon

    weight = torch.nn.Parameter(torch.zeros(48, 16, 3))
    weight.grad = torch.randn(48, 16, 3, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=1e-3, weight_decay=0.0).step()
    u, s, vh = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
    gradient_u, _, gradient_vh = torch.linalg.svd(weight.grad.flatten(1), full_matrices=False)
    step = 1e-3 * 0.2 * 48**0.5
    assert ((s > 0.6 * step) & (s < 1.3 * step)).all()
    cosine = -torch.sum((u * s) @ vh * (gradient_u @ gradient_vh)) / (s.norm() * 48**0.5)
    assert cosine > 0.97
