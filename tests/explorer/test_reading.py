"""Finding the latents tables of runs and folders."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
from fake_latents import write_latents
from shards import read_shard

from otoscope.cli import main
from otoscope.errors import InputError
from otoscope.explorer.reading import find_dictionaries, left_out

FRAMES = "otoscope-mini/layer_03/topk-40-s0.9-seed0"
POOLED = FRAMES.replace("0.9", "0.95")


def test_a_run_and_a_bare_folder_name_their_dictionaries(latents_run):
    names = [dictionary.name for dictionary in find_dictionaries([latents_run])]
    assert names == [FRAMES, FRAMES.replace("0.9", "0.95")]  # by layer, then sparsity
    (bare,) = find_dictionaries([latents_run / "latents" / FRAMES])
    assert bare.name == "topk-40-s0.9-seed0"
    assert bare.about["licence"] == "CC BY 4.0"


def test_one_folder_named_twice_is_one_and_equal_names_are_told_apart(latents_run, tmp_path):
    folder = latents_run / "latents" / FRAMES
    assert len(find_dictionaries([folder, folder])) == 1
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("explorer"))
    names = [dictionary.name for dictionary in find_dictionaries([folder, copy])]
    assert names == [folder.name, f"{folder.name}~2"]


def test_a_folder_without_latents_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match="otoscope latents"):
        find_dictionaries([tmp_path])


def test_a_dictionary_whose_latents_are_gone_is_named(latents_run, tmp_path, capsys):
    run = shutil.copytree(latents_run, tmp_path / "run", ignore=shutil.ignore_patterns("explorer"))
    assert left_out([run]) == []
    (run / "latents" / POOLED / "latents.parquet").unlink()
    assert left_out([run]) == [POOLED]
    assert [dictionary.name for dictionary in find_dictionaries([run])] == [FRAMES]
    with pytest.raises(SystemExit) as ended:
        main(["explore", str(run), "--no-open", "--no-audio"])
    assert not ended.value.code
    assert f"left out: {POOLED} has no latents.parquet any more" in capsys.readouterr().out
    assert read_shard(run / "explorer" / "data" / "run.js", "run")["left_out"] == [POOLED]
    (run / "latents" / FRAMES / "latents.parquet").unlink()
    with pytest.raises(InputError, match=rf"there was '{FRAMES}', whose latents\.parquet is gone"):
        find_dictionaries([run])


def test_a_missing_table_and_a_missing_column_are_named(latents_run, tmp_path):
    folder = latents_run / "latents" / FRAMES
    copy = shutil.copytree(folder, tmp_path / "copy")
    (dictionary,) = find_dictionaries([copy])
    pd.read_parquet(copy / "curves.parquet").drop(columns="peak").to_parquet(copy / "curves.parquet")
    with pytest.raises(InputError, match=r"lacks the column\(s\) peak"):
        dictionary.table("curves")
    (copy / "curves.parquet").unlink()
    with pytest.raises(InputError, match=r"has no curves\.parquet"):
        dictionary.table("curves")


def test_ids_that_are_categories_are_read_as_text(latents_run, tmp_path):
    clips = pd.read_parquet(latents_run / "latents" / FRAMES / "clips.parquet")
    folder = write_latents(tmp_path / "latents", clips, n_latents=8)
    activity = pd.read_parquet(folder / "activity.parquet").astype({"clip_id": "category"})
    activity.to_parquet(folder / "activity.parquet")
    (dictionary,) = find_dictionaries([folder])
    clip_ids = dictionary.table("activity").clip_id
    assert not isinstance(clip_ids.dtype, pd.CategoricalDtype)
    assert clip_ids.tolist() == activity.clip_id.tolist()
