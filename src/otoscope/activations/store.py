"""The store on disk: a Zarr v3 group with one array per layer, and a table of rows per shard.

A shard exists once its rows file has been renamed into place, which is done after all of its arrays are
written; whatever a killed process left behind is written again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pandas as pd
import zarr
from fsspec.implementations.local import LocalFileSystem
from zarr.storage import FsspecStore, LocalStore

from otoscope.errors import InputError, OtoscopeError, ProvenanceError
from otoscope.files import flush, put_bytes, whole_folder, write_bytes

if TYPE_CHECKING:
    from otoscope.activations.plan import Plan, Shard
    from otoscope.encoders.tokens import Layer

ATTRIBUTE = "otoscope"


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

    def group(self, mode: str = "r") -> zarr.Group:
        """Open the Zarr group."""
        return zarr.open_group(self._zarr_store(self.root, read_only=mode == "r"), mode=mode, zarr_format=3)  # type: ignore[arg-type]

    def provenance(self) -> dict[str, Any]:
        """Return what was recorded when the store was made."""
        if not self.exists():
            raise InputError(f"no activation store at {self.url}; make one with otoscope extract")
        found = self.group().attrs.get(ATTRIBUTE)
        if not isinstance(found, dict):
            raise InputError(f"{self.url} is a Zarr group, but not one that Otoscope made")
        return dict(found)

    def create(self, plan: Plan) -> None:
        """Make an empty store for `plan`; of several processes that try at once, one wins and all go on."""
        if self.fs.exists(self.root) and self.fs.ls(self.root):
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
        if not self.fs.exists(f"{self.root}/rows"):
            return set()
        files = self.fs.ls(f"{self.root}/rows", detail=False)
        names = {str(file).replace("\\", "/").rsplit("/", 1)[-1] for file in files}
        return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}

    def write_shard(
        self, shard: Shard, arrays: dict[Layer, np.ndarray], rows: pd.DataFrame, skipped: list[dict[str, str]]
    ) -> None:
        """Write a shard: arrays [rows, width] first, then its skipped clips, and its rows file last."""
        rows = rows.assign(array_row=np.arange(shard.first_row, shard.first_row + len(rows)))
        with self._file_errors(f"writing shard {shard.name}"):
            group = self.group("r+")
            for layer, values in arrays.items():
                array = group[array_name(layer)]
                assert isinstance(array, zarr.Array)
                array[shard.first_row : shard.first_row + len(values)] = values
                if self.local:
                    self._flush(array, shard)
            if skipped:
                self._put(f"rows/{shard.name}.skipped.json", json.dumps(skipped, indent=1).encode())
            self._put(f"rows/{shard.name}.parquet", rows.to_parquet(None, index=False))

    def rows(self, name: str) -> pd.DataFrame:
        """Return the rows of a complete shard."""
        with self.fs.open(f"{self.root}/rows/{name}.parquet", "rb") as stream:
            return pd.read_parquet(stream)

    def skipped(self, name: str) -> list[dict[str, str]]:
        """Return the clips a complete shard left out: clip_id, path, reason."""
        path = f"{self.root}/rows/{name}.skipped.json"
        if not self.fs.exists(path):
            return []
        return json.loads(self.fs.cat_file(path))

    @contextlib.contextmanager
    def claim(self, shard: Shard) -> Iterator[None]:
        """Hold a shard while it is made; a second process that wants it is refused.

        The claim is a lock of the operating system: it ends with the process that holds it, however that ends.
        Remote stores have no such locks; there two writers of one shard write the same bytes.
        """
        if not self.local:
            yield
            return
        path = f"{self.root}/rows/{shard.name}.lock"
        with self._file_errors("claiming a shard"), open(path, "a+") as stream:
            if not _lock(stream):
                stream.seek(0)
                raise OtoscopeError(
                    f"shard {shard.name} of {self.url} is being made by another process ({stream.read().strip()}); "
                    "give each process its own --shard i/n"
                )
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

    def _put(self, name: str, content: bytes) -> None:
        path = f"{self.root}/{name}"
        if self.local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_bytes(path, content)
        else:
            put_bytes(self.fs, path, content)

    def _flush(self, array: zarr.Array, shard: Shard) -> None:
        """Wait until a shard's chunks are on the disk: its rows file vouches for them."""
        first = shard.first_row // array.chunks[0]
        for chunk in range(first, first + -(-shard.capacity // array.chunks[0])):
            file = Path(self.root) / array.path / "c" / str(chunk) / "0"
            if file.exists():  # a chunk of nothing but zeros is not written
                flush(file)

    def _zarr_store(self, root: str, read_only: bool = False) -> LocalStore | FsspecStore:
        if self.local:
            return LocalStore(root, read_only=read_only)
        return FsspecStore.from_url(self.url, read_only=read_only)

    @contextlib.contextmanager
    def _file_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OtoscopeError:
            raise
        except Exception as error:
            if self.local and not isinstance(error, OSError):
                raise  # while a remote file system's errors may be anything
            number = getattr(error, "errno", None)
            if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                reason = "the disk is full; free some space"
            elif number in (errno.EACCES, errno.EROFS, errno.EPERM):
                reason = "the folder cannot be written to; name another, or mend its rights"
            else:
                reason = str(error)
            raise OtoscopeError(
                f"{self.url}: {doing} failed: {reason}. Complete shards are kept: run the same command again to go on"
            ) from error


def array_name(layer: Layer) -> str:
    """Return the array's name of a layer: ``layer_06``, ``final``."""
    return "final" if layer == "final" else f"layer_{int(layer):02d}"


def check_same(found: dict[str, Any], wanted: dict[str, Any], url: str, *, complete: bool) -> None:
    """Raise ProvenanceError where a store was made with other settings.

    Library versions matter only as long as shards are missing: a store is never made with two versions. Files left out
    of the clips table before are no part of it, nor is where the model's weights lie.
    """
    if found.get("format") != wanted["format"]:
        raise ProvenanceError(
            f"{url} was made by another version of Otoscope (format {found.get('format')} there, "
            f"{wanted['format']} now). It can be read, but not added to: name another folder"
        )
    ignored = {"left_out", "folder"} | ({"versions"} if complete else set())
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        if key not in ignored and found.get(key) != wanted.get(key):
            raise ProvenanceError(
                f"{url} was made with other settings: {key} is {found.get(key)!r} there, {wanted.get(key)!r} now. "
                "Name another folder, or ask for the same"
            )


def _lock(stream: Any) -> bool:
    """Take an exclusive lock on an open file without waiting; where locks do not exist, go ahead without."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
