"""What ends up in the store, against the encoder called by hand."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import soundfile
import torch

import otoscope
from otoscope.activations import Activations, pipeline
from otoscope.activations.plan import provenance_hash, store_name
from otoscope.audio import read_audio
from otoscope.encoders import load_recorded
from otoscope.errors import InputError, ProvenanceError, UnknownNameError

from .conftest import RATE, change_reader, table, write


def test_a_row_per_clip_is_the_mean_over_its_frames(clips, encoder, tmp_path) -> None:
    store = otoscope.extract(clips, encoder, out=tmp_path / "store")
    assert store.layers == [0, 1, 2]
    assert store.widths == {0: 32, 1: 32, 2: 32}
    assert list(store.rows.columns) == ["clip_id", "crop", "start_s", "stop_s"]
    assert list(store.rows.clip_id) == list(clips.clip_id)
    np.testing.assert_array_equal(store.rows[["start_s", "stop_s"]], clips[["start_s", "stop_s"]])
    for layer in store.layers:
        expected = [by_hand(encoder, clip, layer).mean(0) for clip in clips.itertuples()]
        np.testing.assert_allclose(store.layer(layer), expected, atol=1e-5)


def test_results_do_not_depend_on_neighbours_or_batches(clips, encoder, tmp_path) -> None:
    whole = otoscope.extract(clips, encoder, out=tmp_path / "whole", batch_size=8)
    single = otoscope.extract(clips, encoder, out=tmp_path / "single", batch_size=1)
    backwards = otoscope.extract(clips[::-1], encoder, out=tmp_path / "backwards")
    for layer in whole.layers:
        np.testing.assert_allclose(single.layer(layer), whole.layer(layer), atol=1e-5)
        np.testing.assert_allclose(backwards.layer(layer)[::-1], whole.layer(layer), atol=1e-5)


@pytest.mark.parametrize("pool", ["mean", "frames", "paper"])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_cores_that_share_the_clips_change_nothing(
    clips, encoder, ast, tmp_path, threads, pool, batch_size
) -> None:
    for model in (encoder, ast):  # the AST windows the longest clip
        folder = tmp_path / model.name
        threads(1)
        alone = otoscope.extract(clips, model, out=folder / "alone", pool=pool, batch_size=batch_size)
        threads(3)
        lanes = otoscope.extract(clips, model, out=folder / "lanes", pool=pool, batch_size=batch_size)
        assert lanes.rows.equals(alone.rows)
        for layer in alone.layers:
            np.testing.assert_allclose(lanes.layer(layer), alone.layer(layer), atol=1e-5)


def test_fewer_cores_share_where_the_crops_are_long(clips, encoder, tmp_path, monkeypatch, threads) -> None:
    threads(4)
    used: set[int] = set()
    monkeypatch.setattr(pipeline, "LANES_S", 2.7)  # the longest clip has 1.3 s
    change_reader(encoder, monkeypatch, before=lambda inputs: used.add(threading.get_ident()))
    otoscope.extract(clips, encoder, out=tmp_path / "two")
    assert len(used) == 2
    used.clear()
    monkeypatch.setattr(pipeline, "LANES_S", 0.1)
    otoscope.extract(clips, encoder, out=tmp_path / "one", workers=1)
    assert used == {threading.get_ident()}


def test_an_error_in_one_lane_ends_all_and_leaves_the_model_as_it_was(
    clips, encoder, tmp_path, monkeypatch, threads
) -> None:
    threads(3)

    def fail(inputs: torch.Tensor) -> None:
        if inputs.shape[1] == 12_345:
            raise RuntimeError("it broke")

    change_reader(encoder, monkeypatch, before=fail)
    with pytest.raises(RuntimeError, match="it broke"):
        otoscope.extract(clips, encoder, out=tmp_path / "store")
    assert torch.get_num_threads() == 3
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.module.modules())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("otoscope")]


def test_stretches_of_a_long_clip_are_not_one_batch(ast, tmp_path, monkeypatch) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(100 * RATE)
    clips = table([("long", write(tmp_path / "long.wav", sound), 0.0, 100.0)])
    passes: list[int] = []
    change_reader(ast, monkeypatch, before=lambda inputs: passes.append(len(inputs)))
    store = otoscope.extract(clips, ast, out=tmp_path / "store")
    assert sum(passes) == 97  # of 1.04 s at most
    assert max(passes) <= 40  # about 40 s of sound
    assert len(store) == 1


def test_frames_are_kept_with_their_times(clips, encoder, tmp_path) -> None:
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", pool="frames", layers=[2])
    rows = store.rows
    assert list(rows.columns) == ["clip_id", "crop", "start_s", "stop_s", "time_s"]
    for clip in clips.itertuples():
        mine = (rows.clip_id == clip.clip_id).to_numpy()
        np.testing.assert_allclose(store.layer(2)[mine], by_hand(encoder, clip, 2), atol=1e-5)
        times_s = clip.start_s + encoder.frame_times(round((clip.stop_s - clip.start_s) * RATE))
        np.testing.assert_allclose(rows.time_s[mine], times_s)
    of = clips.set_index("clip_id").loc[rows.clip_id]  # a frame is one hop around its centre, inside its crop
    np.testing.assert_allclose(rows.start_s, np.maximum(rows.time_s - 40 / RATE, of.start_s.to_numpy()))
    np.testing.assert_allclose(rows.stop_s, np.minimum(rows.time_s + 40 / RATE, of.stop_s.to_numpy()))
    assert (rows.stop_s - rows.start_s).min() > 0


def test_random_crops_are_cut_from_the_file(clips, encoder, tmp_path) -> None:
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", crop="random:3x0.3,seed=1", layers=[1])
    n_crops = store.rows.groupby("clip_id").size()
    assert n_crops.pop("c1") == 1  # 0.2 s long: the clip itself, once
    assert (n_crops == 3).all()
    for i, row in enumerate(store.rows.itertuples()):
        path = clips.set_index("clip_id").path[row.clip_id]
        samples, _ = read_audio(path, start_s=row.start_s, stop_s=row.stop_s)
        expected = encoder.hidden_states(samples[None], [1])[1][0].mean(0)
        np.testing.assert_allclose(
            store.layer(1)[i], expected, atol=2e-3
        )  # a sample more or less at the edge


def test_windows_with_a_hop(clips, encoder, tmp_path) -> None:
    store = otoscope.extract(clips[:1], encoder, out=tmp_path / "store", crop="windows:0.2/0.1", layers=[1])
    samples, _ = read_audio(clips.path[0])
    assert list(store.rows.crop) == [0, 1, 2, 3]
    for i in range(4):
        window = samples[i * 1600 : i * 1600 + 3200]
        expected = encoder.hidden_states(window[None], [1])[1][0].mean(0)
        np.testing.assert_allclose(store.layer(1)[i], expected, atol=1e-5)


def test_padding_only_when_asked(clips, encoder, tmp_path) -> None:
    clip = clips.iloc[1]  # 3,200 samples
    samples, _ = read_audio(clip.path)
    padded = np.pad(samples, (0, 4800))
    state = encoder.hidden_states(padded[None], [2])[2][0]
    one = clips.iloc[[1]]
    paper = otoscope.extract(
        one, encoder, out=tmp_path / "paper", crop="first:0.5,pad", pool="paper", layers=[2]
    )
    np.testing.assert_allclose(paper.layer(2)[0], state.mean(0), atol=1e-5)
    mean = otoscope.extract(one, encoder, out=tmp_path / "mean", crop="first:0.5,pad", layers=[2])
    inside = encoder.frame_times(8000) < 0.2
    np.testing.assert_allclose(mean.layer(2)[0], state[inside].mean(0), atol=1e-5)
    never = otoscope.extract(one, encoder, out=tmp_path / "never", crop="first:0.5", layers=[2])
    np.testing.assert_allclose(never.layer(2)[0], by_hand(encoder, clip, 2).mean(0), atol=1e-5)
    assert paper.rows.stop_s[0] == 0.2


def test_other_rates_and_channels_are_resampled_and_mixed(encoder, tmp_path) -> None:
    import soxr

    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, (22_050, 2)).astype(np.float32)
    soundfile.write(tmp_path / "stereo.flac", sound, 44_100)
    many = rng.normal(0, 0.1, (48_000, 8)).astype(np.float32)
    soundfile.write(tmp_path / "eight.wav", many, 192_000)
    clips = table([("a", str(tmp_path / "stereo.flac"), 0, 0.5), ("b", str(tmp_path / "eight.wav"), 0, 0.25)])
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", layers=[1])
    for i, (path, rate) in enumerate((("stereo.flac", 44_100), ("eight.wav", 192_000))):
        samples, _ = soundfile.read(tmp_path / path, dtype="float32")
        mono = soxr.resample(samples.mean(1), rate, RATE)
        np.testing.assert_allclose(
            store.layer(1)[i], encoder.hidden_states(mono[None], [1])[1][0].mean(0), atol=1e-5
        )


@pytest.mark.parametrize("suffix", [".ogg", ".mp3"])
def test_lossy_files_are_read(encoder, tmp_path, suffix) -> None:
    sound = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    clips = table([("a", write(tmp_path / f"a{suffix}", sound), 0.0, 1.0)])
    assert len(otoscope.extract(clips, encoder, out=tmp_path / "store")) == 1


class TestAst:
    def test_true_frames_only_and_never_the_class_tokens(self, clips, ast, tmp_path) -> None:
        store = otoscope.extract(clips[:1], ast, out=tmp_path / "store", layers=[2])
        state = self.patches(clips, ast)  # bands x moments
        moments = (0.0875 + 0.1 * np.arange(9)) < 0.5
        assert moments.sum() == 5
        np.testing.assert_allclose(store.layer(2)[0], state[:, moments].mean((0, 1)), atol=1e-5)

    def test_the_papers_mean_counts_everything(self, clips, ast, tmp_path) -> None:
        store = otoscope.extract(clips[:1], ast, out=tmp_path / "store", layers=[2], pool="paper")
        samples, _ = read_audio(clips.path[0])
        state = ast.hidden_states(samples[None], [2])[2][0]
        assert len(state) == 2 + 4 * 9
        np.testing.assert_allclose(store.layer(2)[0], state.mean(0), atol=1e-5)

    def test_time_and_frequency_apart(self, clips, ast, tmp_path) -> None:
        state = self.patches(clips, ast)[:, :5]
        frames = otoscope.extract(clips[:1], ast, out=tmp_path / "frames", layers=[2], pool="frames")
        np.testing.assert_allclose(frames.layer(2), state.mean(0), atol=1e-5)
        np.testing.assert_allclose(frames.rows.time_s, 0.0875 + 0.1 * np.arange(5))
        bands = otoscope.extract(clips[:1], ast, out=tmp_path / "bands", layers=[2], pool="bands")
        np.testing.assert_allclose(bands.layer(2), state.mean(1), atol=1e-5)
        assert list(bands.rows.band) == [0, 1, 2, 3]
        tokens = otoscope.extract(clips[:1], ast, out=tmp_path / "tokens", layers=[2], pool="tokens")
        np.testing.assert_allclose(tokens.layer(2), state.reshape(20, 32), atol=1e-5)
        assert list(tokens.rows.band[:6]) == [0, 0, 0, 0, 0, 1]
        expected = {"2": ast.tokens(RATE, 2).bands_hz.round(2).tolist()}
        assert bands.provenance["bands_hz"] == tokens.provenance["bands_hz"] == expected
        assert "bands_hz" not in frames.provenance

    def test_a_store_of_before_bands_had_edges_opens_and_is_taken_up(self, clips, ast, tmp_path) -> None:
        made = otoscope.extract(clips, ast, out=tmp_path / "store", layers=[2], pool="tokens")
        assert provenance_hash(made.provenance) == provenance_hash(
            {key: value for key, value in made.provenance.items() if key != "bands_hz"}
        )
        about = json.loads((tmp_path / "store" / "zarr.json").read_text())
        (kept,) = (value for value in about["attributes"].values() if "bands_hz" in value)
        del kept["bands_hz"]
        (tmp_path / "store" / "zarr.json").write_text(json.dumps(about))
        assert "bands_hz" not in otoscope.Activations.open(tmp_path / "store").provenance
        again = otoscope.extract(clips, ast, out=tmp_path / "store", layers=[2], pool="tokens")
        np.testing.assert_array_equal(again.layer(2), made.layer(2))

    def test_longer_clips_are_windowed_never_cut(self, clips, ast, tmp_path) -> None:
        long = clips[clips.clip_id == "c4"]  # 1.3 s; the model takes 1.04 s: two stretches of 0.65 s
        store = otoscope.extract(long, ast, out=tmp_path / "store", layers=[2])
        samples, _ = read_audio(long.path.iloc[0])
        halves = ast.hidden_states(samples.reshape(2, -1), [2])[2][:, 2:].reshape(2, 4, 9, 32)
        inside = (0.0875 + 0.1 * np.arange(9)) < 0.65
        np.testing.assert_allclose(store.layer(2)[0], halves[:, :, inside].mean((0, 1, 2)), atol=1e-5)
        frames = otoscope.extract(long, ast, out=tmp_path / "frames", layers=[2], pool="frames")
        assert frames.rows.time_s.max() > 1.1
        assert len(frames) == 2 * inside.sum()

    def test_clips_of_unequal_length_may_share_a_batch(self, clips, ast, tmp_path) -> None:
        whole = otoscope.extract(clips, ast, out=tmp_path / "whole", batch_size=8, layers=[2])
        single = otoscope.extract(clips, ast, out=tmp_path / "single", batch_size=1, layers=[2])
        np.testing.assert_allclose(whole.layer(2), single.layer(2), atol=1e-5)

    def patches(self, clips, ast) -> torch.Tensor:
        samples, _ = read_audio(clips.path[0])
        return ast.hidden_states(samples[None], [2])[2][0, 2:].reshape(4, 9, 32)


def test_whisper_keeps_the_frames_of_the_sound_only(clips, whisper, tmp_path) -> None:
    store = otoscope.extract(clips[:2], whisper, out=tmp_path / "store", pool="frames", layers=[2, "final"])
    assert list(store.rows.groupby("clip_id").size()) == [25, 10]  # 0.5 s and 0.2 s at 50 frames per second
    samples, _ = read_audio(clips.path[1])
    states = whisper.hidden_states(samples[None], [2, "final"])
    np.testing.assert_allclose(store.layer(2)[25:], states[2][0, :10], atol=1e-5)
    np.testing.assert_allclose(store.layer("final")[25:], states["final"][0, :10], atol=1e-5)
    assert store.rows.time_s[0] == store.rows.start_s[0] == 0  # not half a frame before the sound
    assert store.rows.stop_s[0] == 0.01


def test_bands_need_patches(clips, encoder, tmp_path) -> None:
    with pytest.raises(InputError, match="frequency patches"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", pool="bands")
    with pytest.raises(InputError, match="batch_size must be at least 1; got 0"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", batch_size=0)
    assert not (
        tmp_path / "store"
    ).exists()  # where a store of these settings would stand in the right one's way


def test_an_unknown_pooling(clips, encoder, tmp_path) -> None:
    with pytest.raises(InputError, match="did you mean 'frames'"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", pool="frame")


def test_a_module_of_ones_own(clips, tmp_path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(*(torch.nn.Linear(100, 100) for _ in range(3)))
    mine = otoscope.Encoder.from_module(
        module, blocks="*", sample_rate=RATE, preprocess=lambda x: x[: len(x) // 100 * 100].reshape(-1, 100),
        name="mine", device="cpu", min_samples=100, frame_rate_hz=160,
    )  # fmt: skip
    store = otoscope.extract(clips, mine, out=tmp_path / "store", layers=[0, 3])
    samples, _ = read_audio(clips.path[0])
    blocks = torch.from_numpy(samples.reshape(-1, 100))
    np.testing.assert_allclose(store.layer(0)[0], blocks.mean(0), atol=1e-6)
    np.testing.assert_allclose(store.layer(3)[0], module(blocks).detach().mean(0), atol=1e-6)
    frames = otoscope.extract(clips, mine, out=tmp_path / "frames", layers=[3], pool="frames")
    np.testing.assert_allclose(frames.rows.time_s[:2], [0.5 / 160, 1.5 / 160])


def test_float16_on_disk(clips, encoder, tmp_path) -> None:
    exact = otoscope.extract(clips, encoder, out=tmp_path / "exact", layers=[2])
    half = otoscope.extract(clips, encoder, out=tmp_path / "half", layers=[2], dtype="float16")
    assert half.array(2).dtype == np.float16
    assert half.layer(2).dtype == np.float32
    np.testing.assert_array_equal(half.layer(2), exact.layer(2).astype(np.float16).astype(np.float32))


def test_the_stores_name_is_the_encoders_and_its_settings(clips, encoder, tmp_path) -> None:
    first = otoscope.extract(clips, encoder, out=tmp_path / "a").provenance
    same = otoscope.extract(clips, encoder, out=tmp_path / "b").provenance
    other = otoscope.extract(clips, encoder, out=tmp_path / "c", crop="first:0.3").provenance
    assert store_name(first) == store_name(same) != store_name(other)
    assert store_name(first).startswith("tiny-hubert-")
    assert len(store_name(first)) == len("tiny-hubert-") + 8


def test_it_can_be_opened_again(clips, encoder, tmp_path) -> None:
    made = otoscope.extract(clips, encoder, out=tmp_path / "store")
    opened = Activations.open(tmp_path / "store")
    assert opened.provenance == made.provenance
    assert opened.provenance["pool"] == "mean"
    assert opened.rows.equals(made.rows)
    np.testing.assert_array_equal(opened.layer(1), made.layer(1))
    with pytest.raises(InputError, match="no layer '7'"):
        opened.layer(7)


def test_class_tokens_of_a_module_of_ones_own_are_in_no_mean_and_no_frame(clips, tmp_path) -> None:
    class WithClassToken(torch.nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.cat([torch.full((len(x), 1, 100), 1e3), x], dim=1))

    mine = otoscope.Encoder.from_module(
        WithClassToken(torch.nn.Identity()), blocks="*", sample_rate=RATE, device="cpu", min_samples=100,
        preprocess=lambda x: x[: len(x) // 100 * 100].reshape(-1, 100), frame_rate_hz=160, class_tokens=1,
    )  # fmt: skip
    samples, _ = read_audio(clips.path[0])
    blocks = samples.reshape(-1, 100)
    mean = otoscope.extract(clips[:1], mine, out=tmp_path / "mean", layers=[1])
    np.testing.assert_allclose(mean.layer(1)[0], blocks.mean(0), atol=1e-6)
    frames = otoscope.extract(clips[:1], mine, out=tmp_path / "frames", layers=[1], pool="frames")
    np.testing.assert_array_equal(frames.layer(1), blocks)
    np.testing.assert_allclose(frames.rows.time_s, (np.arange(80) + 0.5) / 160)


def test_what_is_extracted_under_an_edit_is_edited_and_kept_apart(clips, encoder, tmp_path) -> None:
    def rolled(state: torch.Tensor) -> torch.Tensor:
        return state.roll(1, dims=2)

    plain = otoscope.extract(clips, encoder, out=tmp_path / "plain")
    with encoder.edited(1, rolled, name="rolled"):
        half = otoscope.extract(clips, encoder, out=tmp_path / "edited", shard="1/2")
        assert half.provenance["edits"] == ["layer 1: rolled"]
        with pytest.raises(ProvenanceError, match="edits"):
            otoscope.extract(clips, encoder, out=tmp_path / "plain")
    with pytest.raises(ProvenanceError, match="edits"):
        otoscope.extract(clips, encoder, out=tmp_path / "edited")
    with encoder.edited(1, rolled), pytest.raises(ProvenanceError, match="edits"):  # what it is, is not said
        otoscope.extract(clips, encoder, out=tmp_path / "edited")
    with encoder.edited(1, rolled, name="rolled"):
        edited = otoscope.extract(clips, encoder, out=tmp_path / "edited")
    np.testing.assert_array_equal(edited.layer(0), plain.layer(0))
    np.testing.assert_array_equal(edited.layer(1), np.roll(plain.layer(1), 1, axis=1))
    assert not np.allclose(edited.layer(2), plain.layer(2), atol=1e-2)
    with pytest.raises(ProvenanceError, match=r"its states were edited \(layer 1: rolled\)"):
        load_recorded(edited.provenance)


def test_the_encoder_is_found_again_by_the_stores_provenance(clips, encoder, tmp_path, monkeypatch) -> None:
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", layers=[1])
    monkeypatch.chdir(tmp_path)
    again = load_recorded(store.provenance, device="cpu")
    found = otoscope.extract(clips, again, out=tmp_path / "again", layers=[1])
    np.testing.assert_array_equal(found.layer(1), store.layer(1))
    module = {"model": "Mine", "family": "module", "weights_sha256": "0"}
    with pytest.raises(UnknownNameError, match="'Mine', which was used, was a module of the user's own"):
        load_recorded(module)


def test_another_device_is_only_for_the_extraction(clips, encoder, tmp_path, monkeypatch) -> None:
    """Without a second device here, the moves are recorded and the model stays."""
    moves: list[str] = []
    monkeypatch.setattr("otoscope.encoders.encoder.pick_device", torch.device)
    monkeypatch.setattr(encoder.module, "to", lambda device: moves.append(str(device)))
    with pytest.raises(InputError, match="batch_size"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", device="meta", batch_size=0)
    with pytest.raises(InputError, match="unknown pooling"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", device="meta", pool="x")
    assert moves == ["meta", "cpu"]
    assert encoder.device.type == "cpu"
    otoscope.extract(clips, encoder, out=tmp_path / "store", device="cpu")
    assert moves == ["meta", "cpu"]


def test_rows_with_what_the_clips_table_says_of_them(clips, encoder, tmp_path) -> None:
    clips = clips.assign(word=[f"w{i}" for i in range(len(clips))], split=["train"] * 9 + ["test"] * 3)
    store = otoscope.extract(clips, encoder, out=tmp_path / "store", crop="windows:0.5")
    rows = store.labelled(clips[::-1])
    assert rows[store.rows.columns].equals(store.rows)
    assert list(rows.columns[4:]) == ["split", "group", "word"]
    words = dict(zip(clips.clip_id, clips.word))
    assert list(rows.word) == [words[clip] for clip in store.rows.clip_id]
    assert store.labelled(clips[:3]).word.isna().sum() == (~store.rows.clip_id.isin(clips.clip_id[:3])).sum()


def by_hand(encoder, clip, layer) -> np.ndarray:
    samples, _ = read_audio(clip.path, start_s=clip.start_s, stop_s=clip.stop_s)
    return encoder.hidden_states(samples[None], [layer])[layer][0].numpy()
