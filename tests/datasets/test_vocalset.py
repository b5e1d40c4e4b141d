"""VocalSet on a tree of its own names: what is kept, who tests, what `paper` and `sound` do differently."""

from __future__ import annotations

import random
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest
from fake_vocalset import ALL_SINGERS, TEST_SINGERS, published_names, write_fake_vocalset

from otoscope.datasets import load_clips
from otoscope.datasets.checks import check_dataset
from otoscope.datasets.vocalset import QUIRKS, SINGERS, TECHNIQUES, expected_count, quirk_of
from otoscope.errors import AudioError, InputError


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """All 20 singers, every published name, very short sound."""
    return write_fake_vocalset(tmp_path_factory.mktemp("vocalset"), seconds=0.01)


@pytest.fixture
def small(tmp_path) -> Path:
    """Six singers, two files a technique: a copy that a test may break."""
    singers = ("female1", "female2", "female6", "male1", "male3", "male8")
    return write_fake_vocalset(tmp_path / "VocalSet11", singers=singers, per_technique=2, seconds=0.01)


def load(root, **options) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_clips("vocalset", root=root, **options)


def test_the_fake_tree_has_the_published_names(egemaps_csv):
    """The names in a table of real features of the training singers, which are paths with / made _."""
    published = set(pd.read_csv(egemaps_csv, usecols=["clip"])["clip"])
    ours = {
        f"{singer}_{context}_{technique}_{stem}"
        for singer in ALL_SINGERS
        if singer not in TEST_SINGERS
        for context, technique, stem in published_names(singer)
    }
    assert ours == published


def test_the_published_counts(tree):
    sound, paper = load(tree), load(tree, quirks="paper")
    assert len(sound) == 1617
    assert len(paper) == 1612
    assert (paper.split == "test").sum() == 400  # as the paper says
    counts = sound.groupby(["singer", "technique"]).size()
    assert all(
        counts.get((s, t), 0) == expected_count(s, t) for s in SINGERS for t in TECHNIQUES
    )  # and nobody else
    assert counts.sum() == sum(expected_count(s, t) for s in SINGERS for t in TECHNIQUES)


def test_a_clip(tree):
    clip = load(tree).set_index("clip_id").loc["male10/long_tones/trillo/m10_long_trillo_e.wav"]
    assert clip.to_dict() == {
        "path": str(tree / "FULL/male10/long_tones/trillo/m10_long_trillo_e.wav"),
        "start_s": 0.0, "stop_s": pytest.approx(0.01), "split": "test", "group": "male10",
        "singer": "male10", "sex": "male", "technique": "trillo", "context": "long_tones", "vowel": "e",
    }  # fmt: skip


def test_the_publishers_singers_test_and_whole_singers_validate(tree):
    clips = load(tree)
    assert set(clips.singer[clips.split == "test"]) == set(TEST_SINGERS)
    assert clips[clips.split == "valid"].singer.nunique() == 3  # a fifth of 15
    assert (clips.group == clips.singer).all()
    other = load(tree, split_seed=1)
    assert set(other.singer[other.split == "valid"]) != set(clips.singer[clips.split == "valid"])
    assert clips.equals(load(tree))


def test_the_papers_validation_is_drawn_by_file_before_filtering(tree):
    """An independent reading of the published rule, on sorted names."""
    files = sorted(path.relative_to(tree / "FULL").as_posix() for path in (tree / "FULL").rglob("*.wav"))
    train = [path for path in files if path.split("/")[0] not in TEST_SINGERS]
    assert len(train) == 2699
    random.seed(42)
    random.shuffle(train)
    valid = set(train[int(len(train) * 0.8) :])
    clips = load(tree, quirks="paper", valid_by="clip", split_seed=42)
    assert set(clips.clip_id[clips.split == "valid"]) == valid & set(clips.clip_id)
    both = set(clips.singer[clips.split == "valid"]) & set(clips.singer[clips.split == "train"])
    assert len(both) > 10  # singers are on both sides, as published; the group says so
    assert clips.group[clips.split == "valid"].str.endswith(" (valid)").all()
    assert (clips.group == clips.singer)[clips.split != "valid"].all()


def test_version_1_2_gives_the_same_clips(tmp_path, small):
    singers = ("female1", "female2", "female6", "male1", "male3", "male8")
    other = write_fake_vocalset(
        tmp_path / "12", version="1.2", singers=singers, per_technique=2, seconds=0.01
    )
    assert load(other).drop(columns="path").equals(load(small).drop(columns="path"))


def test_the_root_may_be_named_at_three_levels(small):
    wanted = load(small)
    assert load(small / "FULL").equals(wanted)
    assert load(small.parent).equals(wanted)


def test_misspelt_folder(small):
    name = "female2/arpeggios/vibrado/f2_arpeggios_vibrato_u.wav"
    clips = load(small).set_index("clip_id")
    assert clips.loc[name, "technique"] == "vibrato"
    assert clips.loc[name, "vowel"] == "u"
    assert name not in set(load(small, quirks="paper").clip_id)


def test_oddities_are_left_out_or_read_from_folders(tree):
    sound, paper = load(tree), load(tree, quirks="paper")
    for clips in (sound, paper):
        assert not clips.clip_id.str.contains(r"\(1\)|_arps|/arps|__MACOSX|/\._").any()
        assert "female4" in set(clips.group[clips.clip_id.str.contains("/arpeggios_straight_a")])
        assert clips[clips.clip_id.str.contains("f7_ long_trillo")].vowel.tolist() == list("aeiou")
    assert not any("vibrado" in name for name in paper.clip_id)


def test_every_quirk_of_the_table_is_in_the_published_names():
    names = [
        f"{singer}/{context}/{technique}/{stem}.wav"
        for singer in ALL_SINGERS
        for context, technique, stem in published_names(singer)
    ]
    assert {quirk_of(name) for name in names} == {*QUIRKS, None}
    assert len(names) == 3617


def test_an_incomplete_set_is_said(small):
    with pytest.warns(UserWarning, match=r"incomplete: \d+ of 1617"):
        load_clips("vocalset", root=small)


@pytest.mark.parametrize(
    ("singers", "message"), [(("female1",), "lacks the test singers"), (("male3",), "lacks the training")]
)
def test_a_side_without_singers(tmp_path, singers, message):
    root = write_fake_vocalset(tmp_path, singers=singers, per_technique=1, seconds=0.01)
    with pytest.raises(InputError, match=message):
        load_clips("vocalset", root=root)


def test_wrong_folders_and_options(tmp_path, small):
    with pytest.raises(InputError, match="lies on disk; say where"):
        load_clips("vocalset")
    with pytest.raises(InputError, match="no such folder"):
        load_clips("vocalset", root=tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no VocalSet: expected FULL/female1"):
        load_clips("vocalset", root=small / "FULL" / "female1" / "scales")
    with pytest.raises(InputError, match="no option 'quirk'; did you mean 'quirks'"):
        load_clips("vocalset", root=small, quirk="paper")
    with pytest.raises(InputError, match="quirks must be 'sound' or 'paper'"):
        load_clips("vocalset", root=small, quirks="none")
    with pytest.raises(InputError, match="valid_by must be"):
        load_clips("vocalset", root=small, valid_by="singer")
    with pytest.raises(InputError, match="fraction between 0 and 1"):
        load_clips("vocalset", root=small, valid=20)


def test_unreadable_recordings(small):
    bad = small / "FULL/male1/scales/belt/m1_scales_belt_u.wav"
    bad.write_bytes(b"")
    with pytest.raises(AudioError, match="m1_scales_belt_u"):
        load(small)
    assert "m1_scales_belt_u" in load(small, skip_unreadable=True).attrs["left_out"][0]


def test_a_whole_set_passes_its_check_and_its_oddities_are_noted(tree):
    found = check_dataset("vocalset", tree)
    assert found.problems == []
    assert found.n_clips == 1617
    assert found.counts.loc["female4", "trill"] == 0
    notes = " ".join(found.notes)
    for odd in ("vibrado", "(1)", "uncut", "no singer in the name", "wrong singer", "2 resource forks"):
        assert odd in notes


def test_a_broken_set_fails_its_check(tmp_path, tree):
    root = tmp_path / "VocalSet11"
    shutil.copytree(tree, root)
    shutil.rmtree(root / "FULL/male7")
    shutil.rmtree(root / "FULL/female3/long_tones/trill")
    (root / "FULL/stranger").mkdir()
    (root / "FULL/male9/scales/belting").mkdir()
    shutil.copy(
        root / "FULL/male9/scales/belt/m9_scales_belt_a.wav", root / "FULL/male9/scales/belting/x_a.wav"
    )
    (root / "FULL/male1/scales/belt/m1_scales_belt_u.wav").write_bytes(b"no sound")
    (root / "test_singers_technique.txt").write_text("female1\n")
    (root / "train_singers_technique.txt").unlink()
    found = check_dataset("vocalset", root, decode=False)
    problems = "\n".join(found.problems)
    assert "no recordings of male7 (1 of 20" in problems
    assert "female3, trill: 0 clips; the published set has 5" in problems
    assert "unexpected folder 'stranger'" in problems
    assert "unexpected folder 'male9/scales/belting' (1 files)" in problems
    assert "m1_scales_belt_u.wav: cannot be decoded" in problems
    assert "male1, belt: 9 clips" in problems
    assert "test_singers_technique.txt differs" in problems
    assert any("train_singers_technique.txt is not there" in note for note in found.notes)


def test_a_folder_without_vocalset_fails_its_check(tmp_path):
    assert "holds no VocalSet" in check_dataset("vocalset", tmp_path).problems[0]
