"""The store: shards, resume, several processes, provenance, streaming."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

import otoscope
from otoscope.activations import Activations, plan
from otoscope.activations.store import Store
from otoscope.encoders import precision
from otoscope.errors import InputError, OtoscopeError, ProvenanceError

from .conftest import change_reader


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(plan, "SHARD_CROPS", 5)


def test_it_is_a_zarr_v3_group_with_one_array_per_layer(clips, encoder, tmp_path) -> None:
    otoscope.extract(clips, encoder, out=tmp_path / "store", layers=[0, 2, "final"])
    group = zarr.open_group(tmp_path / "store", mode="r")
    assert sorted(name for name, _ in group.arrays()) == ["final", "layer_00", "layer_02"]
    assert group.metadata.zarr_format == 3
    assert sorted(path.name for path in (tmp_path / "store" / "rows").iterdir()) == [
        f"{shard}.{suffix}"
        for shard in ("00000", "00001", "00002")
        for suffix in ("json", "parquet", "seen.json")
    ]
    array = group["layer_02"]
    assert array.shape == (15, 32)  # three shards of five; the last fills two rows of its five
    np.testing.assert_array_equal(array[:12], Activations.open(tmp_path / "store").layer(2))


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("pool", ["mean", "frames"])
def test_a_killed_extraction_ends_with_the_same_bytes(
    clips, encoder, tmp_path, monkeypatch, threads, pool, n_threads
) -> None:
    threads(n_threads)
    otoscope.extract(clips, encoder, out=tmp_path / "whole", pool=pool)
    write_shard, written = Store.write_shard, []

    def dies_at_the_second(self, shard, arrays, rows, skipped, heard):
        if written:  # after the first layer of the second shard is on disk
            group = self.group("r+")
            group["layer_00"][shard.first_row : shard.first_row + 1] = 7
            raise KeyboardInterrupt
        written.append(shard)
        write_shard(self, shard, arrays, rows, skipped, heard)

    monkeypatch.setattr(Store, "write_shard", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        otoscope.extract(clips, encoder, out=tmp_path / "killed", pool=pool)
    monkeypatch.undo()
    monkeypatch.setattr(plan, "SHARD_CROPS", 5)
    with pytest.raises(InputError, match="2 of 3 shards are missing"):
        Activations.open(tmp_path / "killed")
    assert len(Activations.open(tmp_path / "killed", partial=True).rows.clip_id.unique()) == 5

    passes = count_passes(encoder, monkeypatch)
    otoscope.extract(clips, encoder, out=tmp_path / "killed", pool=pool)
    assert sum(passes) == 7  # the five clips of the complete shard are not heard again
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.slow  # tests/fuzz/test_reliability.py ends a process at each of its writes
def test_a_process_that_is_killed_for_good(clips, encoder, tmp_path) -> None:
    """SIGKILL at a random moment leaves nothing half-written that is read, and no lock."""
    code = f"""
import sys, torch, pandas as pd, otoscope
from otoscope.activations import plan
torch.set_num_threads(1)
plan.SHARD_CROPS = 1
clips = pd.read_csv({str(tmp_path / "clips.csv")!r}, dtype={{"clip_id": str}})
encoder = otoscope.load_encoder({str(model_folder(encoder, tmp_path))!r}, device="cpu", precision="float32")
import time
encoder.module.register_forward_pre_hook(lambda *_: time.sleep(0.1))
print("go", flush=True)
otoscope.extract(clips, encoder, out={str(tmp_path / "store")!r})
"""
    clips.to_csv(tmp_path / "clips.csv", index=False)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"go\n"
    until(lambda: len(Store(tmp_path / "store").done()) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = Store(tmp_path / "store").done()
    assert 2 <= len(done) < 12
    del code
    loaded = otoscope.load_encoder(model_folder(encoder, tmp_path), device="cpu", precision="float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "SHARD_CROPS", 1)
        resumed = otoscope.extract(clips, loaded, out=tmp_path / "store")
        whole = otoscope.extract(clips, loaded, out=tmp_path / "whole")
    for layer in whole.layers:
        np.testing.assert_array_equal(resumed.layer(layer), whole.layer(layer))


def test_a_finished_store_is_not_made_again(clips, encoder, tmp_path, monkeypatch) -> None:
    otoscope.extract(clips, encoder, out=tmp_path / "store")
    passes = count_passes(encoder, monkeypatch)
    otoscope.extract(clips, encoder, out=tmp_path / "store")
    assert passes == []


class TestShards:
    def test_several_processes_fill_one_store(self, clips, encoder, tmp_path) -> None:
        whole = otoscope.extract(clips, encoder, out=tmp_path / "whole")
        first = otoscope.extract(clips, encoder, out=tmp_path / "store", shard="1/2")
        assert list(first.rows.clip_id) == [*clips.clip_id[:5], *clips.clip_id[10:]]
        np.testing.assert_array_equal(first.layer(1), whole.layer(1)[[0, 1, 2, 3, 4, 10, 11]])
        odd = np.arange(7) % 2 == 1
        np.testing.assert_array_equal(first.layer(1, kept=odd), first.layer(1)[odd])
        otoscope.extract(clips, encoder, out=tmp_path / "store", shard="2/2")
        assert contents(tmp_path / "store") == contents(tmp_path / "whole")

    def test_the_same_shard_twice_at_once_is_refused(self, clips, encoder, tmp_path) -> None:
        otoscope.extract(clips, encoder, out=tmp_path / "store", shard="1/3")
        store = Store(tmp_path / "store")
        second = plan.Shard(1, 5, 10, 5, 5)
        with store.claim(second):
            with pytest.raises(OtoscopeError, match=r"shard 00001 of .* is being made by another process"):
                otoscope.extract(clips, encoder, out=tmp_path / "store", shard="2/3")
            otoscope.extract(clips, encoder, out=tmp_path / "store", shard="3/3")  # another one is welcome
        otoscope.extract(clips, encoder, out=tmp_path / "store", shard="2/3")
        assert len(Activations.open(tmp_path / "store")) == len(clips)

    @pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
    def test_spelling(self, clips, encoder, tmp_path, shard) -> None:
        with pytest.raises(InputError, match="shard must be i/n"):
            otoscope.extract(clips, encoder, out=tmp_path / "store", shard=shard)

    def test_a_long_clip_is_spread_over_shards(self, clips, encoder, tmp_path, monkeypatch) -> None:
        """Memory stays bounded by the shard, however many windows one file gives."""
        whole = otoscope.extract(
            clips[:1], encoder, out=tmp_path / "whole", crop="windows:0.1/0.01", pool="frames"
        )
        monkeypatch.setattr(plan, "SHARD_BYTES", 20 * 20 * 3 * 32 * 4)
        split = otoscope.extract(
            clips[:1], encoder, out=tmp_path / "split", crop="windows:0.1/0.01", pool="frames"
        )
        assert split.provenance["shards"] == 3
        assert split.rows.equals(whole.rows)
        np.testing.assert_allclose(split.layer(2), whole.layer(2), atol=1e-5)


class TestProvenance:
    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"layers": [1]}, "layers"),
            ({"crop": "first:0.2"}, "crop"),
            ({"pool": "frames"}, "pool"),
            ({"dtype": "float16"}, "dtype"),
        ],
    )
    def test_other_settings_are_refused_with_the_reason(
        self, clips, encoder, tmp_path, changes, named
    ) -> None:
        otoscope.extract(clips, encoder, out=tmp_path / "store")
        with pytest.raises(ProvenanceError, match=f"made with other settings: {named} is .* there, .* now"):
            otoscope.extract(clips, encoder, out=tmp_path / "store", **changes)

    def test_other_clips_and_another_model_are_refused(self, clips, encoder, whisper, tmp_path) -> None:
        otoscope.extract(clips, encoder, out=tmp_path / "store")
        with pytest.raises(ProvenanceError, match="clips is"):
            otoscope.extract(clips[::-1], encoder, out=tmp_path / "store")
        with pytest.raises(ProvenanceError, match="encoder is 'tiny-hubert' there, 'tiny-whisper' now"):
            otoscope.extract(clips, whisper, out=tmp_path / "store")

    def test_other_library_versions_finish_nothing_but_read_all(self, clips, encoder, tmp_path) -> None:
        otoscope.extract(clips, encoder, out=tmp_path / "half", shard="1/2")
        otoscope.extract(clips, encoder, out=tmp_path / "whole")
        for name in ("half", "whole"):
            group = zarr.open_group(tmp_path / name, mode="r+")
            made = dict(group.attrs["otoscope"])
            group.attrs["otoscope"] = made | {"versions": made["versions"] | {"torch": "1.0"}}
        with pytest.raises(ProvenanceError, match="versions is"):
            otoscope.extract(clips, encoder, out=tmp_path / "half")
        assert len(otoscope.extract(clips, encoder, out=tmp_path / "whole")) == len(clips)

    def test_a_store_of_another_format_is_refused(self, clips, encoder, tmp_path) -> None:
        otoscope.extract(clips, encoder, out=tmp_path / "store")
        group = zarr.open_group(tmp_path / "store", mode="r+")
        group.attrs["otoscope"] = dict(group.attrs["otoscope"]) | {"format": 1}
        with pytest.raises(ProvenanceError, match=r"another version of Otoscope \(format 1 there, 3 now\)"):
            Activations.open(tmp_path / "store")
        with pytest.raises(ProvenanceError, match=r"another version of Otoscope \(format 1 there, 3 now\)"):
            otoscope.extract(clips, encoder, out=tmp_path / "store")

    def test_what_it_records(self, clips, encoder, tmp_path) -> None:
        found = otoscope.extract(clips, encoder, out=tmp_path / "store").provenance
        assert {"model", "weights_sha256", "versions", "layer_convention", "sample_rate", "crop", "pool", "dtype",
                "precision", "clips"} <= set(found)  # fmt: skip

    def test_precision_auto_is_kept_on_resume(self, clips, encoder, tmp_path, monkeypatch) -> None:
        folder = model_folder(encoder, tmp_path)
        monkeypatch.setattr(precision, "_cpu_features", lambda: ["avx512_bf16"])
        begun = otoscope.load_encoder(folder, device="cpu", precision="auto")
        assert begun.precision == "bfloat16"
        otoscope.extract(clips, begun, out=tmp_path / "store", shard="1/2")
        monkeypatch.setattr(precision, "_cpu_features", list)  # it goes on on another machine
        resuming = otoscope.load_encoder(folder, device="cpu", precision="auto")
        assert resuming.precision == "float32"
        store = otoscope.extract(clips, resuming, out=tmp_path / "store")
        assert store.provenance["precision"] == "bfloat16"
        assert resuming.precision == "float32"  # the caller's encoder is as it was
        whole = otoscope.extract(clips, begun, out=tmp_path / "whole")
        np.testing.assert_array_equal(store.layer(2), whole.layer(2))
        with pytest.raises(ProvenanceError, match="precision_asked"):
            otoscope.extract(clips, encoder, out=tmp_path / "store")

    def test_a_folder_with_other_files_is_left_alone(self, clips, encoder, tmp_path) -> None:
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "thesis.tex").write_text("all of it")
        with pytest.raises(InputError, match="holds other files"):
            otoscope.extract(clips, encoder, out=tmp_path / "store")
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["thesis.tex"]

    def test_an_empty_folder_is_used(self, clips, encoder, tmp_path) -> None:
        (tmp_path / "store").mkdir()
        assert len(otoscope.extract(clips, encoder, out=tmp_path / "store")) == len(clips)

    def test_nothing_there(self, tmp_path) -> None:
        with pytest.raises(InputError, match="no activation store"):
            Activations.open(tmp_path / "nothing")


class TestReading:
    def test_xarray(self, clips, encoder, tmp_path) -> None:
        pytest.importorskip("xarray")
        store = otoscope.extract(clips, encoder, out=tmp_path / "store", pool="frames", layers=[0, 2])
        dataset = store.to_xarray()
        assert set(dataset.data_vars) == {"layer_00", "layer_02"}
        np.testing.assert_array_equal(dataset.layer_02.values, store.layer(2))
        mine = dataset.isel(row=(dataset.clip_id == "c3").values)
        np.testing.assert_array_equal(
            mine.layer_00.values, store.layer(0)[(store.rows.clip_id == "c3").to_numpy()]
        )
        np.testing.assert_array_equal(dataset.time_s.values, store.rows.time_s)

    @pytest.mark.parametrize("buffer_rows", [50, 300, 100_000])
    def test_shuffled_batches_are_every_row_once(
        self, clips, encoder, tmp_path, monkeypatch, buffer_rows
    ) -> None:
        monkeypatch.setattr(plan, "CHUNK_ROWS", 64)
        store = otoscope.extract(
            clips, encoder, out=tmp_path / "store", pool="frames", dtype="float16", layers=[1, 2]
        )
        first, whole = store.layer(1), store.layer(2)
        batches = list(store.batches([1, 2], batch_size=37, seed=3, buffer_rows=buffer_rows))
        assert [len(index) for index, _ in batches[:-1]] == [37] * (len(whole) // 37)
        index = np.concatenate([index for index, _ in batches])
        np.testing.assert_array_equal(np.sort(index), np.arange(len(whole)))
        for places, values in batches:
            assert values[2].dtype == np.float32
            np.testing.assert_array_equal(values[2], whole[places])
            np.testing.assert_array_equal(values[1], first[places])
        again = np.concatenate(
            [i for i, _ in store.batches([1], batch_size=37, seed=3, buffer_rows=buffer_rows)]
        )
        np.testing.assert_array_equal(again, index)  # layers come in one order
        other = np.concatenate(
            [i for i, _ in store.batches([2], batch_size=37, seed=4, buffer_rows=buffer_rows)]
        )
        assert (other != index).mean() > 0.9
        clips_per_batch = [store.rows.clip_id.iloc[places].nunique() for places, _ in batches[:-1]]
        assert np.mean(clips_per_batch) > (8 if buffer_rows > 1000 else 1.2)

    def test_batches_in_order_of_some_rows(self, clips, encoder, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(plan, "CHUNK_ROWS", 64)
        store = otoscope.extract(clips, encoder, out=tmp_path / "store", pool="frames", layers=[1, 2])
        kept = np.arange(len(store)) % 5 == 2
        kept[100:400] = False  # whole chunks that are not read
        found = list(store.batches(batch_size=30, seed=None, kept=kept, buffer_rows=50))
        index = np.concatenate([places for places, _ in found])
        np.testing.assert_array_equal(index, np.flatnonzero(kept))
        np.testing.assert_array_equal(np.concatenate([v[2] for _, v in found]), store.layer(2)[kept])

    def test_each_chunk_is_read_once_and_whole(self, clips, encoder, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(plan, "CHUNK_ROWS", 64)
        store = otoscope.extract(clips, encoder, out=tmp_path / "store", pool="frames", layers=[1])
        array, read = store.array(1), []

        class Watched:
            shape, chunks, dtype = array.shape, array.chunks, array.dtype

            def __getitem__(self, rows):
                read.append((rows.start // 64, (rows.stop - 1) // 64))
                return array[rows]

        monkeypatch.setattr(store, "array", lambda layer: Watched())
        list(store.batches([1], batch_size=7, buffer_rows=100))
        assert all(first == last for first, last in read)
        assert len(read) == len(set(read)) == len({row // 64 for a, b in store.spans for row in range(a, b)})

    @pytest.mark.parametrize(
        ("url", "reason"),
        [("nosuch://bucket/store", "Protocol not known"), ("oci://bucket/store", "[Ii]nstall")],
    )
    def test_a_url_nobody_here_can_open(self, url, reason) -> None:
        with pytest.raises(InputError, match=f"a store cannot be at {url}: .*{reason}"):
            Activations.open(url)

    def test_a_remote_disk_that_does_not_answer(self, monkeypatch) -> None:
        def refuse(*arguments, **options):
            raise RuntimeError("could not connect to the endpoint")  # no OSError, as of s3fs

        monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.exists", refuse)
        with pytest.raises(OtoscopeError, match="looking for the store failed: could not connect"):
            Activations.open("memory://bucket/store")

    def test_any_fsspec_url(self, clips, encoder, tmp_path) -> None:
        local = otoscope.extract(clips, encoder, out=tmp_path / "store", pool="frames")
        url = f"memory://{tmp_path.name}/store"
        otoscope.extract(clips, encoder, out=url, pool="frames", shard="2/2")
        remote = otoscope.extract(clips, encoder, out=url, pool="frames")
        assert Activations.open(url).rows.equals(local.rows)
        np.testing.assert_array_equal(remote.layer(2), local.layer(2))
        np.testing.assert_array_equal(
            np.sort(np.concatenate([v[1] for _, v in remote.batches([1], batch_size=8)]), axis=0),
            np.sort(local.layer(1), axis=0),
        )


@pytest.mark.slow  # fuzz/test_reliability.py fills it at each write in turn, in process
def test_no_half_written_shard_when_the_disk_is_full(clips, encoder, tmp_path) -> None:
    """With a limit on file size in place of a full disk: the error names it, complete shards stay, resume works."""
    code = f"""
import resource, signal, sys, pandas as pd, torch, otoscope
from otoscope.activations import plan
torch.set_num_threads(1)
plan.SHARD_CROPS = 5
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clips = pd.read_csv({str(tmp_path / "clips.csv")!r}, dtype={{"clip_id": str}})
encoder = otoscope.load_encoder({str(model_folder(encoder, tmp_path))!r}, device="cpu", precision="float32")
otoscope.extract(clips, encoder, out={str(tmp_path / "store")!r}, pool="frames", shard="1/3")
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    otoscope.extract(clips, encoder, out={str(tmp_path / "store")!r}, pool="frames")
except otoscope.OtoscopeError as error:
    print(error)
"""
    clips.to_csv(tmp_path / "clips.csv", index=False)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the disk is full; free some space. Complete shards are kept" in done.stdout, done.stderr
    assert Store(tmp_path / "store").done() == {"00000"}
    loaded = otoscope.load_encoder(model_folder(encoder, tmp_path), device="cpu", precision="float32")
    resumed = otoscope.extract(clips, loaded, out=tmp_path / "store", pool="frames")
    whole = otoscope.extract(clips, loaded, out=tmp_path / "whole", pool="frames")
    np.testing.assert_array_equal(resumed.layer(1), whole.layer(1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(clips, encoder, tmp_path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OtoscopeError, match="cannot be written to"):
        otoscope.extract(clips, encoder, out=tmp_path / "closed" / "store")


def count_passes(encoder, monkeypatch) -> list[int]:
    """Return a list that grows by the batch size at every pass of the model."""
    passes: list[int] = []
    change_reader(encoder, monkeypatch, before=lambda inputs: passes.append(len(inputs)))
    return passes


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a store, but for what it remembers of this machine's files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".seen.json")
    }


def model_folder(encoder, tmp_path: Path) -> Path:
    """Save the encoder's model where a new process finds it."""
    folder = tmp_path / encoder.name
    if not folder.exists():
        import transformers

        encoder.module.save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def until(condition, process, *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the process ended too early"
        assert time.monotonic() < end
        time.sleep(0.02)
