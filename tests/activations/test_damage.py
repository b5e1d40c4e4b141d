"""What lies on disk is compared with what was written: a damaged store gives an error, never a number."""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
import zarr

import otoscope
from otoscope.activations import Activations, plan
from otoscope.activations.checking import check_store
from otoscope.activations.store import Store
from otoscope.errors import InputError, OtoscopeError, ProvenanceError

from .conftest import change_reader, write


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 5)


@pytest.fixture
def store(clips, encoder, tmp_path) -> Path:
    otoscope.extract(clips, encoder, out=tmp_path / "store", layers=[0, 2])
    return tmp_path / "store"


def test_a_record_says_what_was_written(store) -> None:
    record = json.loads((store / "rows" / "00001.json").read_text())
    assert record["first_row"] == 5
    assert record["rows"] == 5
    chunk = (store / "layer_02" / "c" / "1" / "0").read_bytes()
    assert record["layers"]["layer_02"] == {"chunk_bytes": 5 * 32 * 4, "sums": [zlib.crc32(chunk)]}
    assert record["table"] == zlib.crc32((store / "rows" / "00001.parquet").read_bytes())


@pytest.mark.parametrize("cut", [None, 0, 100])
def test_a_chunk_that_is_missing_or_short_is_seen_on_opening(store, clips, encoder, cut) -> None:
    whole = Activations.open(store).layer(2)
    chunk = store / "layer_02" / "c" / "1" / "0"
    if cut is None:
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"is damaged: its file layer_02/c/1/0 .*rows/00001.parquet"):
        Activations.open(store)
    again = otoscope.extract(clips, encoder, out=store, layers=[0, 2])  # that shard is made anew
    np.testing.assert_array_equal(again.layer(2), whole)


def test_only_the_lost_shard_is_heard_again(store, clips, encoder, monkeypatch) -> None:
    shutil.rmtree(store / "layer_00" / "c" / "2")
    passes: list[int] = []
    change_reader(encoder, monkeypatch, before=lambda inputs: passes.append(len(inputs)))
    otoscope.extract(clips, encoder, out=store, layers=[0, 2])
    assert sum(passes) == 2


def test_a_lost_shard_is_its_own_processs_to_make_again(store, clips, encoder) -> None:
    """Another process, which fills the same store, lets it be: its maker may be at it."""
    whole = Activations.open(store).layer(2)
    (store / "layer_02" / "c" / "1" / "0").unlink()  # of shard 2 of 3
    otoscope.extract(clips, encoder, out=store, layers=[0, 2], shard="1/3")
    assert (store / "rows" / "00001.parquet").exists()
    otoscope.extract(clips, encoder, out=store, layers=[0, 2], shard="2/3")
    np.testing.assert_array_equal(Activations.open(store).layer(2), whole)


def test_a_store_that_another_process_made_just_now_is_filled(clips, encoder, tmp_path, monkeypatch) -> None:
    first = iter([False])
    exists = Store.exists
    monkeypatch.setattr(Store, "exists", lambda self: next(first, None) is None and exists(self))
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="1/2")
    first = iter([False])
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="2/2")
    Activations.open(tmp_path / "store")


def reads(name: str, store: Activations) -> None:
    if name == "layer":
        store.layer(2)
    elif name == "batches":
        list(store.batches([2], batch_size=3))
    elif name == "array":
        np.asarray(store.array(2)[:])
    else:
        pytest.importorskip("xarray")
        store.to_xarray().layer_02.to_numpy()


@pytest.mark.parametrize("name", ["layer", "batches", "array", "xarray"])
def test_a_changed_byte_is_seen_when_it_is_first_read(store, name) -> None:
    flip(store / "layer_02" / "c" / "1" / "0", 77)
    opened = Activations.open(store)
    opened.layer(0)
    with pytest.raises(InputError, match=r"layer_02/c/1/0 is not what was written \(checksum\)"):
        reads(name, opened)


def test_a_chunk_lost_after_opening_is_no_zeros(store) -> None:
    opened = Activations.open(store)
    (store / "layer_02" / "c" / "1" / "0").unlink()
    with pytest.raises(InputError, match="layer_02/c/1/0 is missing"):
        opened.layer(2)


def test_chunks_that_changed_places(store) -> None:
    first, second = (store / "layer_02" / "c" / name / "0" for name in ("0", "1"))
    both = first.read_bytes(), second.read_bytes()
    first.write_bytes(both[1])
    second.write_bytes(both[0])
    with pytest.raises(InputError, match="not what was written"):
        Activations.open(store).layer(2)


def test_a_chunk_of_zeros_is_written_too(clips, encoder, tmp_path, monkeypatch) -> None:
    change_reader(encoder, monkeypatch, after=lambda state: 0 * state)
    store = otoscope.extract(clips, encoder, out=tmp_path / "zeros", layers=[1])
    assert not store.layer(1).any()
    (tmp_path / "zeros" / "layer_01" / "c" / "0" / "0").unlink()
    with pytest.raises(InputError, match="is missing"):
        Activations.open(tmp_path / "zeros")


ROWS = {
    "short": lambda rows: rows[:-1],
    "doubled": lambda rows: pd.concat([rows, rows]),
    "shuffled": lambda rows: rows[::-1],
    "lacks a column": lambda rows: rows.drop(columns="start_s"),
    "names shuffled": lambda rows: rows.assign(clip_id=list(rows.clip_id[::-1])),
}


@pytest.mark.parametrize("change", ROWS)
def test_rows_that_are_not_those_written(store, change) -> None:
    path = store / "rows" / "00001.parquet"
    ROWS[change](pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(InputError, match=r"rows/00001.parquet is not what was written"):
        _ = Activations.open(store).rows
    if change != "names shuffled":  # and if somebody mends the checksum, too
        record = store / "rows" / "00001.json"
        told = json.loads(record.read_text()) | {"table": zlib.crc32(path.read_bytes())}
        record.write_text(json.dumps(told))
        with pytest.raises(InputError, match=r"its table of rows (lacks the column start_s|is not that of)"):
            _ = Activations.open(store).rows


def test_rows_of_another_shard(store) -> None:
    for suffix in ("parquet", "json"):
        shutil.copy(store / "rows" / f"00000.{suffix}", store / "rows" / f"00001.{suffix}")
    with pytest.raises(InputError, match=r"rows/00001\.json is not the record of this shard"):
        Activations.open(store)
    shutil.copy(store / "rows" / "00000.parquet", store / "rows" / "00007.parquet")
    with pytest.raises(InputError, match=r"00007.parquet is of none of its 3 shards"):
        Activations.open(store)


@pytest.mark.parametrize("name", ["zarr.json", "layer_02/zarr.json", "rows/00000.json", "rows/00000.parquet"])
@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", "null", "\0" * 40])
def test_garbled_records_are_an_error_in_a_sentence(store, name, text) -> None:
    (store / name).write_text(text)

    def use() -> None:
        opened = Activations.open(store)
        opened.rows, opened.layer(2)

    with pytest.raises(OtoscopeError, match=str(store)):
        use()


@pytest.mark.parametrize(
    ("key", "value"),
    [("dtype", "int32"), ("shape", [15, 31]), ("shape", [15]), ("chunks", [3, 32]), ("shape", [7, 32])],
)
def test_an_array_described_as_another(store, key, value) -> None:
    path = store / "layer_02" / "zarr.json"
    told = json.loads(path.read_text())
    if key == "chunks":
        told["chunk_grid"]["configuration"]["chunk_shape"] = value
    else:
        told["data_type" if key == "dtype" else key] = value
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"layer_02/zarr\.json"):
        Activations.open(store).layer(2)


def test_validate_names_all_that_is_wrong(store) -> None:
    assert check_store(store).problems == []
    assert check_store(store).n_rows == 12
    flip(store / "layer_00" / "c" / "0" / "0", 5)
    (store / "layer_02" / "c" / "1" / "0").unlink()
    rows = store / "rows" / "00002.parquet"
    rows.write_bytes(rows.read_bytes()[:-9])
    found = "\n".join(check_store(store).problems)
    for what in ("layer_00/c/0/0 is not what", "layer_02/c/1/0 is missing", "rows/00002.parquet is not what"):
        assert what in found
    assert check_store(store).n_shards == 0
    assert "no activation store" in check_store(store / "nothing").problems[0]


def test_a_remote_store_is_checked_too(clips, encoder, tmp_path) -> None:
    url = f"memory://{tmp_path.name}/store"
    otoscope.extract(clips, encoder, out=url, layers=[0, 2])
    fs, root = fsspec.core.url_to_fs(url)
    assert check_store(url).problems == []
    whole = fs.cat_file(f"{root}/layer_02/c/1/0")
    fs.pipe_file(f"{root}/layer_02/c/1/0", whole[:-1] + b"x")
    with pytest.raises(InputError, match="not what was written"):
        Activations.open(url).layer(2)
    fs.rm_file(f"{root}/layer_02/c/1/0")
    with pytest.raises(InputError, match="is missing"):
        Activations.open(url)
    assert "is missing" in check_store(url).problems[0]
    otoscope.extract(clips, encoder, out=url, layers=[0, 2])
    assert fs.cat_file(f"{root}/layer_02/c/1/0") == whole


class TestRecordings:
    def test_an_edited_clip_of_equal_length_is_seen(self, store, clips, encoder) -> None:
        path = Path(clips.path[3])
        before = path.stat()
        write(path, 0.1 * np.ones(12_345))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as rsync -t does
        assert path.stat().st_size == before.st_size
        with pytest.raises(ProvenanceError, match=r"made from another recording .clip3\.wav. than lies at"):
            otoscope.extract(clips, encoder, out=store, layers=[0, 2])
        assert len(Activations.open(store)) == 12

    def test_another_folder_of_equal_names_is_seen_and_a_moved_one_is_kept(
        self, store, clips, encoder, tmp_path, monkeypatch
    ) -> None:
        passes: list[int] = []
        change_reader(encoder, monkeypatch, before=lambda inputs: passes.append(len(inputs)))
        shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-moved", ignore=lambda *_: ["store"])
        moved = clips.assign(path=[p.replace(str(tmp_path), f"{tmp_path}-moved") for p in clips.path])
        otoscope.extract(moved, encoder, out=store, layers=[0, 2])
        assert passes == []
        write(Path(moved.path[0]), 0.1 * np.ones(8000))
        with pytest.raises(ProvenanceError, match=r"another recording .clip0\.wav."):
            otoscope.extract(moved, encoder, out=store, layers=[0, 2])

    def test_a_recording_that_is_gone(self, store, clips, encoder) -> None:
        Path(clips.path[0]).unlink()
        with pytest.raises(ProvenanceError, match=r"than there is now: .*clip0.wav cannot be read"):
            otoscope.extract(clips, encoder, out=store, layers=[0, 2])

    def test_unchanged_files_are_not_read_again(self, clips, encoder, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr("otoscope.contents.SETTLED_NS", 0)
        otoscope.extract(clips, encoder, out=tmp_path / "store")
        monkeypatch.setattr("otoscope.contents._known", {})  # as in another process
        monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("it was read"))
        otoscope.extract(clips, encoder, out=tmp_path / "store")

    def test_a_recording_that_changes_while_it_is_heard(self, clips, encoder, tmp_path, monkeypatch) -> None:
        from otoscope.activations import pipeline

        read = pipeline.read_audio

        def changes(path, **options):
            found = read(path, **options)
            if path.endswith("clip3.wav"):
                write(Path(path), 0.1 * np.ones(12_345))
            return found

        monkeypatch.setattr(pipeline, "read_audio", changes)
        with pytest.raises(InputError, match=r"clip3.wav: was changed while it was listened to"):
            otoscope.extract(clips, encoder, out=tmp_path / "store")


def test_kept_shards_are_told_only_where_there_are_some(clips, encoder, tmp_path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(OtoscopeError) as told, store._file_errors("writing"):
        raise OSError(28, "No space left on device")
    assert "Complete shards" not in str(told.value)
    otoscope.extract(clips, encoder, out=tmp_path / "store", shard="1/3")
    with pytest.raises(OtoscopeError, match="Complete shards are kept"), store._file_errors("writing"):
        raise OSError(28, "No space left on device")


def flip(path: Path, place: int) -> None:
    """Change a byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def test_zarr_reads_the_arrays_without_us(store) -> None:
    """Checksums stand beside the arrays, not in them."""
    np.testing.assert_array_equal(zarr.open_group(store)["layer_02"][:12], Activations.open(store).layer(2))
