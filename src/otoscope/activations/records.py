"""What is noted of a shard when it is written, and what tells later that it lies there as it was written."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pydantic
from zarr.storage import WrapperStore

from otoscope.errors import InputError

FORMAT = 3
"""Of a store; goes up when what it holds, or means, changes. From 3 on it keeps checksums."""
COLUMNS = ("clip_id", "crop", "start_s", "stop_s", "array_row")
"""Which every table of rows has."""

Count = Annotated[int, pydantic.Field(ge=0)]


class Slice(pydantic.BaseModel):
    """A shard's part of one layer's array."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    chunk_bytes: Annotated[int, pydantic.Field(gt=0)]
    """Of each chunk's file."""
    sums: list[Count]
    """CRC-32 of each chunk's file, in order."""


class ShardRecord(pydantic.BaseModel):
    """What lies on disk as ``rows/<shard>.json``."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    shard: str
    first_row: Count
    """Its first row in the arrays."""
    rows: Count
    chunk_rows: Annotated[int, pydantic.Field(gt=0)]
    table: Count
    """CRC-32 of its table of rows."""
    layers: dict[str, Slice]
    """By the array's name."""
    recordings: list[tuple[str, str | None]]
    """File name and SHA-256 of each recording, in order of the clips; None where there was no such file."""
    skipped: list[dict[str, str]]
    """What was left out: clip_id, path, reason."""

    def chunks(self) -> dict[str, tuple[int, int]]:
        """Return the bytes and the sum of each chunk's file, by its key."""
        first = self.first_row // self.chunk_rows
        return {
            f"{layer}/c/{first + i}/0": (part.chunk_bytes, found)
            for layer, part in self.layers.items()
            for i, found in enumerate(part.sums)
        }


class Provenance(pydantic.BaseModel):
    """The part of a store's provenance that reading it relies on."""

    encoder: str
    layers: list[Annotated[str, pydantic.Field(pattern="^([0-9]{1,4}|final)$")]]
    dtype: str
    shards: Annotated[int, pydantic.Field(gt=0)]
    left_out: list[str] = []


class CheckedStore(WrapperStore):
    """A Zarr store that compares each chunk with its sum when it is first read.

    Parameters
    ----------
    store : zarr.abc.store.Store
    records : sequence of ShardRecord
    url : str
        For the message.
    """

    def __init__(self, store: Any, records: Sequence[ShardRecord], url: str) -> None:
        super().__init__(store)
        self._records, self._url = records, url
        self._unread = {
            key: (found, record.shard) for record in records for key, (_, found) in record.chunks().items()
        }

    def _with_store(self, store: Any) -> CheckedStore:
        return CheckedStore(store, self._records, self._url)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return what lies at `key`; InputError where it is not what was written there."""
        found = await self._store.get(key, prototype, byte_range)
        if byte_range is None and (wanted := self._unread.get(key)):
            if found is None:
                raise damaged(self._url, wanted[1], f"its file {key} is missing")
            buffer = found.as_array_like()
            large = len(buffer) > 1 << 20  # else a thread costs more than the sum
            is_sum = await asyncio.to_thread(zlib.crc32, buffer) if large else zlib.crc32(buffer)
            if is_sum != wanted[0]:
                raise damaged(self._url, wanted[1], f"its file {key} is not what was written (checksum)")
            self._unread.pop(key, None)
        return found


def damaged(url: str, shard: str, what: str) -> InputError:
    """Return the error for a store that is not as it was written."""
    return InputError(
        f"{url} is damaged: {what}. Remove {url}/rows/{shard}.parquet and run the command that made the store again: "
        "this shard alone is made anew"
    )


def check_rows(rows: pd.DataFrame, record: ShardRecord, url: str) -> pd.DataFrame:
    """Return a shard's table of rows; InputError where it cannot be that of the record."""
    missing = [column for column in COLUMNS if column not in rows]
    places = np.arange(record.first_row, record.first_row + record.rows)
    if missing:
        raise damaged(url, record.shard, f"its table of rows lacks the column {missing[0]}")
    if not np.array_equal(rows["array_row"].to_numpy(), places):
        raise damaged(url, record.shard, f"its table of rows is not that of the shard's {record.rows} rows")
    return rows


def wrong_files(records: Iterable[ShardRecord], size_of: Callable[[str], int]) -> dict[str, str]:
    """Return shard -> what is wrong with a file of it: missing (its size is below 0), or of another size."""
    found: dict[str, str] = {}
    for record in records:
        for key, (n_bytes, _) in record.chunks().items():
            size = size_of(key)
            if size != n_bytes:
                reason = "is missing" if size < 0 else f"has {size:,} bytes, not {n_bytes:,}"
                found.setdefault(record.shard, f"its file {key} {reason}")
    return found
