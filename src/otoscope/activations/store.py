"""The store on disk: a Zarr v3 group with one array per layer, and for each shard a record and a table of rows.

A shard exists once its rows file has been renamed into place, which is done after all of its arrays and its record are
written; whatever a killed process left behind is written again.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore

from otoscope.activations.records import (
    FORMAT,
    CheckedStore,
    Provenance,
    ShardRecord,
    Slice,
    check_rows,
    damaged,
    wrong_files,
)
from otoscope.contents import Content, Signature
from otoscope.errors import FileError, InputError, OtoscopeError, ProvenanceError
from otoscope.files import checked, flush, put_bytes, said, try_lock, whole_folder, write_bytes

if TYPE_CHECKING:
    from otoscope.activations.plan import Plan, Shard
    from otoscope.encoders.tokens import Layer

ATTRIBUTE = "otoscope"


class Held(OtoscopeError):
    """A shard that another process is making."""

    def __init__(self, shard: Shard, url: str, owner: str, lock: str) -> None:
        super().__init__(
            f"shard {shard.name} of {url} is being made by another process ({owner or 'it does not say which'}); all "
            "others that this command was to make are made. Run it again when that one has ended. If it never will, "
            f"end it (kill -9), or, where its machine will not come back, remove {lock}: the shard is then made anew"
        )
        self.shard = shard


class Store:
    """Files of one store, local or behind any fsspec URL."""

    def __init__(self, url: str | os.PathLike) -> None:
        self.url = os.fspath(url)
        try:
            self.fs, self.root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:  # a package that is not installed, an unknown kind of URL
            raise InputError(f"a store cannot be at {self.url}: {error}") from error
        self.local = isinstance(self.fs, LocalFileSystem)

    def exists(self) -> bool:
        """Whether a Zarr group lies here."""
        with self._file_errors("looking for the store"):
            return self.fs.exists(f"{self.root}/zarr.json")

    def group(self, mode: Literal["r", "r+"] = "r", *, records: Sequence[ShardRecord] = ()) -> zarr.Group:
        """Open the Zarr group; chunks of the shards in `records` are compared with their sums when first read."""
        inner = self._zarr_store(self.root, read_only=mode == "r")
        place = CheckedStore(inner, records, self.url) if records else inner
        try:
            return zarr.open_group(place, mode=mode, zarr_format=3)
        except Exception as error:  # zarr's errors for what it cannot read may be anything
            raise InputError(
                f"{self.url}/zarr.json cannot be read as a Zarr group's: the store is damaged; remove it and extract "
                "again"
            ) from error

    def provenance(self) -> dict[str, Any]:
        """Return what was recorded when the store was made."""
        if not self.exists():
            raise InputError(f"no activation store at {self.url}; make one with otoscope extract")
        found = self.group().attrs.get(ATTRIBUTE)
        if not isinstance(found, dict):
            raise InputError(f"{self.url} is a Zarr group, but not one that Otoscope made")
        if found.get("format") == FORMAT:  # others are refused, where they are to be used
            checked(found, Provenance, f"{self.url}/zarr.json")
        return dict(found)

    def create(self, plan: Plan) -> None:
        """Make an empty store for `plan`; of several processes that try at once, one wins and all go on."""
        if self.fs.exists(self.root) and self.fs.ls(self.root) and not self.exists():
            raise InputError(f"{self.url} holds other files; name a folder that is new or empty")
        with self._file_errors("making the store"):
            if not self.local:
                self._fill(self.root, plan)
                return
            try:
                with whole_folder(self.root) as draft:
                    self._fill(str(draft), plan)
                    (draft / "rows").mkdir()
            except OSError:
                if not self.exists():  # else another process was first
                    raise

    def done(self) -> set[str]:
        """Return the names of the shards that are complete."""
        with self._file_errors("looking for shards"):
            if not self.fs.exists(f"{self.root}/rows"):
                return set()
            files = self.fs.ls(f"{self.root}/rows", detail=False)
        names = {str(file).replace("\\", "/").rsplit("/", 1)[-1] for file in files}
        return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}

    def has(self, shard: Shard) -> bool:
        """Whether a shard is complete."""
        with self._file_errors("looking for shards"):
            return self.fs.exists(f"{self.root}/rows/{shard.name}.parquet")

    def write_shard(
        self,
        shard: Shard,
        arrays: dict[Layer, np.ndarray],
        rows: pd.DataFrame,
        skipped: list[dict[str, str]],
        heard: Mapping[str, Content | None] | None = None,
    ) -> None:
        """Write a shard: arrays first, then its record, and its rows file last.

        Parameters
        ----------
        arrays : dict of layer to [rows, width]
        rows : DataFrame [rows]
        skipped : list of dict
            clip_id, path and reason of what was left out.
        heard : mapping, optional
            What each recording held, by its path, in order of the clips.
        """
        rows = rows.assign(array_row=np.arange(shard.first_row, shard.first_row + len(rows)))
        table = rows.to_parquet(None, index=False)
        with self._file_errors(f"writing shard {shard.name}"):
            slices, chunk_rows = {}, 1
            with zarr.config.set({"array.write_empty_chunks": True}):  # so that a missing file is a lost one
                group = self.group("r+")
                for layer, values in arrays.items():
                    array = group[array_name(layer)]
                    assert isinstance(array, zarr.Array)
                    chunk_rows = array.chunks[0]
                    slices[array_name(layer)] = self._write_chunks(array, shard.first_row, values)
            record = ShardRecord(
                shard=shard.name,
                first_row=shard.first_row,
                rows=len(rows),
                chunk_rows=chunk_rows,
                table=zlib.crc32(table),
                layers=slices,
                recordings=[(Path(path).name, held and held.sha256) for path, held in (heard or {}).items()],
                skipped=skipped,
            )
            self.note_seen(shard.name, heard or {})
            self._put(f"rows/{shard.name}.json", record.model_dump_json(indent=1).encode())
            self._put(f"rows/{shard.name}.parquet", table)

    def records(self, shards: Iterable[str]) -> list[ShardRecord]:
        """Return the records of complete shards, in the order of their names."""
        names = sorted(shards)
        found = self._cat([f"rows/{name}.json" for name in names])
        return [_record(self.url, name, found[f"rows/{name}.json"]) for name in names]

    def damage(self, shards: Iterable[str]) -> dict[str, str]:
        """Return shard -> what is wrong with its record, or with its files as far as their sizes tell."""
        names = sorted(shards)
        contents = self._cat([f"rows/{name}.json" for name in names])
        found, records = {}, []
        for name in names:
            try:
                records.append(_record(self.url, name, contents[f"rows/{name}.json"]))
            except InputError as error:
                found[name] = str(error)
        return found | self.wrong_files(records)

    def wrong_files(self, records: Sequence[ShardRecord]) -> dict[str, str]:
        """Return shard -> which of its files is missing or of another size."""
        if self.local:
            return wrong_files(records, lambda key: _size(f"{self.root}/{key}"))
        sizes: dict[str, int] = {}
        with self._file_errors("looking for the chunks"):
            for layer in {layer for record in records for layer in record.layers}:
                listed = self.fs.find(f"{self.root}/{layer}/c", detail=True)
                sizes |= {str(file): int(about["size"]) for file, about in listed.items()}
        return wrong_files(records, lambda key: sizes.get(f"{self.root}/{key}", -1))

    def rows(self, record: ShardRecord) -> pd.DataFrame:
        """Return the rows of a complete shard."""
        name = f"rows/{record.shard}.parquet"
        table = self.read(name)
        if table is None or zlib.crc32(table) != record.table:
            raise damaged(self.url, record.shard, f"its file {name} is not what was written (checksum)")
        return check_rows(pq.read_table(pa.BufferReader(table)).to_pandas(), record, self.url)

    def read(self, name: str) -> bytes | None:
        """Return what a file of the store holds, None if it is not there."""
        return self._cat([name])[name]

    def withdraw(self, shard: str) -> None:
        """Take back that a shard is complete, so that it is made anew."""
        with self._file_errors(f"withdrawing shard {shard}"):
            self.fs.rm_file(f"{self.root}/rows/{shard}.parquet")

    def note_seen(self, shard: str, heard: Mapping[str, Content | None]) -> None:
        """Note what tells that recordings are as they were heard, so that they need not be read again to know it."""
        seen = [(held.sha256, held.signature) for held in heard.values() if held and held.is_settled]
        self._put(f"rows/{shard}.seen.json", json.dumps(seen).encode())

    def seen(self, shards: Iterable[str]) -> list[tuple[str, Signature]]:
        """Return what was noted of recordings: SHA-256 and signature; nothing where that cannot be read."""
        found: list[tuple[str, Signature]] = []
        for content in self._cat([f"rows/{name}.seen.json" for name in shards]).values():
            with contextlib.suppress(ValueError):
                found += _SEEN.validate_json(content or b"[]")
        return found

    @contextlib.contextmanager
    def claim(self, shard: Shard) -> Iterator[None]:
        """Hold a shard while it is made; a second process that wants it is refused.

        The claim is a lock of the operating system on a file: it ends with the process that holds it, however that
        ends, and with the file. Two that make one shard at once, as may then be, write the same bytes, each file whole.
        Remote stores have no such locks.
        """
        if not self.local:
            yield
            return
        path = f"{self.root}/rows/{shard.name}.lock"
        with self._file_errors("claiming a shard"), open(path, "a+") as stream:
            if not try_lock(stream):
                stream.seek(0)
                raise Held(shard, self.url, stream.read().strip(), path)
            stream.truncate(0)
            stream.write(f"process {os.getpid()} on {platform.node()}")
            stream.flush()
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.remove(path)

    def _fill(self, root: str, plan: Plan) -> None:
        """Make the group and its empty arrays."""
        group = zarr.open_group(self._zarr_store(root), mode="w", zarr_format=3)
        for layer in plan.layers:
            group.create_array(
                array_name(layer),
                shape=(plan.n_rows, plan.widths[layer]),
                chunks=(plan.chunk_rows, plan.widths[layer]),
                dtype=plan.dtype,
                compressors=None,  # floats of this kind hardly shrink, and raw chunks stream twice as fast
                dimension_names=("row", f"feature_{layer}"),
            )
        group.attrs[ATTRIBUTE] = plan.provenance

    def _write_chunks(self, array: zarr.Array, first_row: int, values: np.ndarray) -> Slice:
        """Write whole chunks, filled up with zeros, wait until they are on the disk, and return what they should be."""
        n_rows = array.chunks[0]
        n_chunks = -(-len(values) // n_rows)
        whole = np.zeros((n_chunks * n_rows, array.shape[1]), array.dtype.newbyteorder("<"))
        whole[: len(values)] = values
        if n_chunks:
            array[first_row : first_row + len(whole)] = whole
        sums = [
            zlib.crc32(whole[start : start + n_rows].data.cast("B")) for start in range(0, len(whole), n_rows)
        ]
        if self.local:
            first = first_row // n_rows
            for chunk in range(first, first + n_chunks):
                flush(Path(self.root) / array.path / "c" / str(chunk) / "0")
        return Slice(chunk_bytes=n_rows * array.shape[1] * array.dtype.itemsize, sums=sums)

    def _put(self, name: str, content: bytes) -> None:
        path = f"{self.root}/{name}"
        if self.local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_bytes(path, content)
        else:
            put_bytes(self.fs, path, content)

    def _cat(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """Return small files by name, None for those that are not there."""
        paths = {f"{self.root}/{name}": name for name in names}
        if not paths:
            return {}
        if self.local:
            return {name: _content(path) for path, name in paths.items()}
        with self._file_errors("reading the store's records"):
            found = self.fs.cat(list(paths), on_error="return")
        if isinstance(found, bytes):  # of one path alone
            found = {next(iter(paths)): found}
        return {
            name: got if isinstance(got := found.get(path), bytes) else None for path, name in paths.items()
        }

    def _zarr_store(self, root: str, read_only: bool = False) -> LocalStore | FsspecStore:
        if self.local:
            return LocalStore(root, read_only=read_only)
        return FsspecStore.from_url(self.url, read_only=read_only)

    def _kept(self) -> str:
        """Return what to say of the shards that are complete, if any are."""
        with contextlib.suppress(Exception):  # where the file system fails, so may this
            if any(str(file).endswith(".parquet") for file in self.fs.ls(f"{self.root}/rows", detail=False)):
                return ". Complete shards are kept: run the same command again to go on"
        return ""

    @contextlib.contextmanager
    def _file_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OtoscopeError as error:
            if not isinstance(error, FileError):
                raise
            raise FileError(f"{self.url}: {doing} failed: {error}{self._kept()}") from error
        except Exception as error:
            if self.local and not isinstance(error, OSError):
                raise  # while a remote file system's errors may be anything
            reason = said(error) if isinstance(error, OSError) and error.errno else str(error)
            raise OtoscopeError(f"{self.url}: {doing} failed: {reason}{self._kept()}") from error


def array_name(layer: Layer) -> str:
    """Return the array's name of a layer: ``layer_06``, ``final``."""
    return "final" if layer == "final" else f"layer_{int(layer):02d}"


def check_same(found: dict[str, Any], wanted: dict[str, Any], url: str, *, complete: bool) -> None:
    """Raise ProvenanceError where a store was made with other settings.

    Library versions matter only as long as shards are missing: a store is never made with two versions. Files left out
    of the clips table before are no part of it, nor is where the model's weights lie, nor what its bands span, which
    older stores do not say.
    """
    if found.get("format") != wanted["format"]:
        raise ProvenanceError(
            f"{url} was made by another version of Otoscope (format {found.get('format')} there, {wanted['format']} "
            "now): extract again, to another folder"
        )
    ignored = {"left_out", "folder", "bands_hz"} | ({"versions"} if complete else set())
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        if key not in ignored and found.get(key) != wanted.get(key):
            raise ProvenanceError(
                f"{url} was made with other settings: {key} is {found.get(key)!r} there, {wanted.get(key)!r} now. "
                "Name another folder, or ask for the same"
            )


_SEEN = pydantic.TypeAdapter(list[tuple[str, Signature]])


def _record(url: str, name: str, content: bytes | None) -> ShardRecord:
    """Return a shard's record; InputError where it cannot be one of this shard."""
    place = f"rows/{name}.json"
    if content is None:
        raise damaged(url, name, f"its file {place} is missing")
    try:
        found = ShardRecord.model_validate_json(content)
    except pydantic.ValidationError as error:
        raise damaged(url, name, f"its file {place} cannot be read as a shard's record") from error
    if found.shard != name or any(
        len(part.sums) * found.chunk_rows < found.rows for part in found.layers.values()
    ):
        raise damaged(url, name, f"its file {place} is not the record of this shard")
    return found


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
