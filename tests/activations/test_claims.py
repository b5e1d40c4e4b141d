"""Shards that other processes hold, or made meanwhile, are passed over; many clips make larger shards, not more."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import otoscope
from otoscope.activations import Activations, pipeline, plan
from otoscope.activations.store import Store
from otoscope.errors import InputError, OtoscopeError

from .conftest import change_reader, write


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 5)


def test_a_shard_that_another_process_holds_stops_none_of_the_others(clips, encoder, tmp_path) -> None:
    whole = otoscope.extract(clips, encoder, out=tmp_path / "whole")
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="3/3")
    with Store(tmp_path / "store").claim(plan.Shard(0, 0, 5, 0, 5)):
        with pytest.raises(
            OtoscopeError, match=r"shard 00000 .* by another process \(process \d+ on .*kill -9"
        ) as told:
            otoscope.extract(clips, encoder, out=tmp_path / "store")
        assert Store(tmp_path / "store").done() == {"00001", "00002"}
        os.remove(str(told.value).partition("remove ")[2].partition(":")[0])  # where its machine is gone
        found = otoscope.extract(clips, encoder, out=tmp_path / "store")
    np.testing.assert_array_equal(found.layer(2), whole.layer(2))


def test_what_another_process_makes_meanwhile_is_not_made_again(
    clips, encoder, tmp_path, monkeypatch
) -> None:
    whole, store, passes = tmp_path / "whole", tmp_path / "store", []
    otoscope.extract(clips, encoder, out=whole, batch_size=1)

    def before(inputs) -> None:
        if not passes:  # while the first shard is heard, the third comes from elsewhere, its rows file last
            for file in [
                *whole.glob("layer_*/c/2/0"),
                whole / "rows" / "00002.json",
                whole / "rows" / "00002.parquet",
            ]:
                place = store / file.relative_to(whole)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
        passes.append(len(inputs))

    change_reader(encoder, monkeypatch, before=before)
    monkeypatch.setattr(pipeline, "thread_map", lambda function, items, **options: map(function, items))
    found = otoscope.extract(clips, encoder, out=store, batch_size=1)
    assert sum(passes) == 10  # not the two clips of the third
    np.testing.assert_array_equal(found.layer(2), Activations.open(whole).layer(2))


def test_a_recording_that_another_process_heard_otherwise(clips, encoder, tmp_path) -> None:
    """The clips "c4", "early" and "late" are of one file; the first is in another shard than the others."""
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="1/3")
    path = Path(clips.path[4])
    before = path.read_bytes()
    write(path, 0.1 * np.ones(20_800))
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="2/3")  # hears nothing of it
    with pytest.raises(InputError, match=r"made from another recording 'clip4\.wav'"):
        otoscope.extract(clips, encoder, out=tmp_path / "store", shard="3/3")
    path.write_bytes(before)
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="3/3")
    assert len(otoscope.extract(clips, encoder, out=tmp_path / "store")) == 12


def test_many_clips_make_larger_shards(clips, encoder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 1)
    monkeypatch.setattr(plan, "MOST_SHARDS", 4)
    otoscope.extract(clips, encoder, out=tmp_path / "store")
    assert [
        record.rows for record in Store(tmp_path / "store").records(Store(tmp_path / "store").done())
    ] == [3] * 4
