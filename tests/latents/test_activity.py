"""What is streamed is what a table of all codes says: clips cut by blocks, peaks, courses in time, histograms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from otoscope.latents import Codes, codes_of_array, describe_codes, measure_activity, sampled_rows
from otoscope.latents.curves import measure_courses, moments_of
from otoscope.latents.neighbours import neighbours, recurrence

CLIP_OF = np.repeat([0, 1, 2, 3], [5, 1, 17, 9])
RNG = np.random.default_rng(0)
CODES = (RNG.gamma(1.0, 1.0, (32, 7)) * (RNG.random((32, 7)) < 0.3)).astype(np.float32)
CODES[:, 6] = 0  # dead


def in_blocks(size: int) -> Codes:
    def blocks():
        for start in range(0, 32, size):
            part = torch.from_numpy(CODES[start : start + size])
            yield np.arange(start, start + len(part)), part

    return Codes(32, 7, blocks)


@pytest.mark.parametrize("size", [3, 8, 32])
def test_activity_is_what_all_codes_say(size):
    found = measure_activity(in_blocks(size), CLIP_OF, sample_rows=np.array([1, 2, 20]))
    table = pd.DataFrame(vars(found)["clip"], columns=["clip"]).assign(latent=found.latent, max=found.max)
    table = table.assign(mean=found.mean, share=found.share, peak=found.peak_row)
    expected = 0
    for clip in range(4):
        own = np.flatnonzero(clip == CLIP_OF)
        for latent in range(7):
            codes = CODES[own, latent]
            row = table[(table["clip"] == clip) & (table.latent == latent)]
            assert len(row) == int(codes.max() > 0)
            if len(row):
                expected += 1
                got = row.iloc[0]
                assert got["max"] == pytest.approx(codes.max())
                assert got["mean"] == pytest.approx(codes.mean(), rel=1e-5)
                assert got["share"] == pytest.approx((codes > 0).mean())
                assert got["peak"] == own[codes.argmax()]
    assert len(table) == expected
    assert found.frequency == pytest.approx((CODES > 0).mean(0))
    assert np.isnan(found.mean_active[6])
    assert found.sample.toarray() == pytest.approx(CODES[[1, 2, 20]])
    assert found.matrix("max").toarray()[2] == pytest.approx(CODES[CLIP_OF == 2].max(0))


@pytest.mark.parametrize(("most", "times"), [(1000, 1), (3, 2)])
def test_codes_are_made_once_where_they_fit(monkeypatch, most, times):
    monkeypatch.setattr("otoscope.latents.activity.MOST_REMEMBERED", most)
    made = []
    codes = Codes(32, 7, lambda: made.append(0) or in_blocks(8).blocks())
    for _ in range(2):
        places, active = zip(*codes.active())
        assert np.array_equal(np.concatenate(places), np.arange(32))
        assert np.array_equal(np.concatenate([block.toarray() for block in active]), CODES)
    assert len(made) == times


def test_courses_and_histograms():
    clip_start_s = np.array([0.0, 10.0, 0.5, 0.0])
    index = np.concatenate([np.arange(5), [0], np.arange(17), np.arange(9)])
    rows = pd.DataFrame({"time_s": clip_start_s[CLIP_OF] + 0.01 + 0.02 * index})
    when = moments_of(rows, CLIP_OF, clip_start_s)
    assert when is not None
    assert when.step_s == pytest.approx(0.02)
    activity = measure_activity(in_blocks(6), CLIP_OF)
    entries = pd.DataFrame({"clip": activity.clip, "latent": activity.latent, "peak": activity.max})
    histogram, curves = measure_courses(in_blocks(6), activity, CLIP_OF, entries, when)
    for latent in range(6):
        on = CODES[:, latent][CODES[:, latent] > 0]
        expected, _ = np.histogram(on, bins=20, range=(0, on.max()))
        assert np.abs(histogram[latent] - expected).sum() <= 2  # a value on an edge may fall on either side
        assert histogram[latent].sum() == len(on)
    assert len(curves) == len(entries)
    for row in curves.itertuples():
        codes = CODES[row.clip == CLIP_OF, row.latent]
        assert row.values * row.peak / 255 == pytest.approx(codes, abs=row.peak / 500)
        assert row.values.max() == 255
        assert row.start_s == pytest.approx(0.0)


def test_rows_of_one_moment_share_it():
    """Bands of a moment, or crops that overlap: the strongest is the moment's."""
    clip_of = np.zeros(6, int)
    rows = pd.DataFrame({"time_s": [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]})
    when = moments_of(rows, clip_of, np.zeros(1))
    codes = np.array([[1.0], [3.0], [0.0], [0.0], [6.0], [2.0]], np.float32)
    activity = measure_activity(codes_of_array(codes), clip_of)
    wanted = pd.DataFrame({"clip": [0], "latent": [0], "peak": [6.0]})
    _, curves = measure_courses(codes_of_array(codes), activity, clip_of, wanted, when)
    assert curves["values"].iloc[0].tolist() == [128, 0, 255]


def frames_of(n_clips: int = 30, n_frames: int = 20):
    ids = np.array([f"clip{i:02d}" for i in range(n_clips)])
    clips = pd.DataFrame({"clip_id": ids, "path": "x.wav", "start_s": 1.0, "stop_s": 1.4})
    clips["split"] = "train"
    clips["group"] = [f"g{i % 5}" for i in range(n_clips)]
    clips["vowel"] = [list("ae")[i % 2] for i in range(n_clips)]
    time_s = 1.0 + 0.01 + 0.02 * np.arange(n_frames)
    rows = pd.DataFrame({"clip_id": np.repeat(ids, n_frames), "time_s": np.tile(time_s, n_clips)})
    return clips, rows


def test_examples_lie_where_they_should():
    clips, rows = frames_of(80)
    rng = np.random.default_rng(1)
    codes = np.zeros((1600, 3), np.float32)
    strength = rng.permutation(80) + 1.0
    for clip in range(75):  # five clips are silent
        codes[clip * 20 + clip % 20, 0] = strength[clip]
    codes[:, 1] = rng.random(1600)
    found = describe_codes(codes_of_array(codes), rows, clips, progress=False)
    own = found.examples[found.examples.latent == 0]
    top = own[own.kind == "top"]
    order = np.argsort(-strength[:75])
    assert list(top.clip_id) == [f"clip{i:02d}" for i in order[:12]]
    assert list(top["rank"]) == list(range(12))
    assert top.peak_s.to_numpy() == pytest.approx(0.01 + 0.02 * (order[:12] % 20))
    for kind, share in (("q50", 0.5), ("q25", 0.25)):
        middle = own[own.kind == kind]
        assert len(middle) == 4
        assert middle.value.mean() == pytest.approx(np.quantile(strength[:75], share), abs=2)
    assert not (own.kind == "control").any()  # it has no name that would hold there
    controls = own[own.kind == "alike"]
    assert set(controls.clip_id) <= {f"clip{i}" for i in range(75, 80)}
    assert (controls.value == 0).all()
    assert controls.peak_s.isna().all()
    assert not own.clip_id.duplicated().any()
    assert len(controls) == 4
    latents = found.latents.set_index("latent")
    assert list(latents.alive) == [True, True, False]
    assert latents.evidence[2] == "never fires"
    curve = found.curves[(found.curves.latent == 0) & (found.curves.clip_id == top.clip_id.iloc[0])].iloc[0]
    peak_s = curve.start_s + (curve["values"].argmax() + 0.5) * curve.step_s
    assert peak_s == pytest.approx(top.peak_s.iloc[0])


def test_neighbours_are_near():
    rng = np.random.default_rng(2)
    atoms = rng.normal(size=(40, 8))
    atoms[1] = atoms[0] + 0.1 * rng.normal(size=8)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    from scipy import sparse

    on = rng.random((200, 40)) < 0.1
    on[:, 3] = on[:, 2]
    alive = np.ones(40, bool)
    alive[39] = False
    found = neighbours(atoms, sparse.csr_matrix(on.astype(np.float32)), alive)
    assert found.groupby("latent").size().eq(10).all()
    assert 39 not in set(found.latent) | set(found.other)
    first = found.drop_duplicates("latent").set_index("latent")
    assert first.other[0] == 1
    assert first.cosine[0] == pytest.approx(atoms[0] @ atoms[1])
    together = found[(found.latent == 2) & (found.other == 3)]
    assert together.cofiring.iloc[0] == pytest.approx(1.0)
    for row in found.sample(20, random_state=0).itertuples():
        both, either = (
            (on[:, row.latent] & on[:, row.other]).sum(),
            (on[:, row.latent] | on[:, row.other]).sum(),
        )
        assert row.cofiring == pytest.approx(both / either)
    assert recurrence(atoms, [atoms[::-1]]) == pytest.approx(np.ones(40))
    assert np.isnan(recurrence(atoms, [])).all()


def test_a_sample_is_of_whole_clips():
    _, rows = frames_of()
    chosen = sampled_rows(rows, n=400)
    counts = rows.clip_id.iloc[chosen].value_counts()
    assert len(chosen) == 400
    assert (counts == 20).all()


def test_long_clips_give_a_stretch_and_groups_take_turns():
    """Thirty clips of 300 frames, all but two of one speaker: whole clips would be three, of one group."""
    rows = pd.DataFrame({"clip_id": np.repeat([f"c{i}" for i in range(30)], 300)})
    groups = np.repeat(["ann"] * 28 + ["bob", "eve"], 300)
    chosen = sampled_rows(rows, n=1000, seed=1, groups=groups)
    assert len(chosen) == 1000
    counts = rows.clip_id.iloc[chosen].value_counts()
    assert len(counts) == 20
    assert (counts == 50).all()
    assert set(groups[chosen]) == {"ann", "bob", "eve"}
    for _, own in pd.Series(chosen).groupby(rows.clip_id.to_numpy()[chosen]):
        assert (np.diff(own) == 1).all()  # a stretch
