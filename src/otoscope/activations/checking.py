"""Is a store as it was written? ``otoscope validate STORE``."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field

from otoscope.activations.reader import Activations
from otoscope.activations.records import ShardRecord
from otoscope.activations.store import Store
from otoscope.compute import progress, thread_map
from otoscope.errors import InputError


@dataclass
class StoreFindings:
    """What a check of a store found.

    Attributes
    ----------
    n_shards, n_rows, n_bytes : int
        What is as it was written.
    problems : list of str
        What is missing, or is not what was written.
    """

    n_shards: int = 0
    n_rows: int = 0
    n_bytes: int = 0
    problems: list[str] = field(default_factory=list)


def check_store(path: str | os.PathLike) -> StoreFindings:
    """Read all of a store and compare it with its checksums; see `StoreFindings`."""
    store, found = Store(path), StoreFindings()
    names = store.done()
    lost = store.damage(names)
    try:
        opened = Activations(store, partial=True, without=set(lost))
        for layer in opened.layers:
            opened.array(layer)
    except InputError as error:
        found.problems.append(str(error))
        return found
    found.problems += [f"shard {name}: {reason}" for name, reason in lost.items()]
    missing = int(opened.provenance["shards"]) - len(names)
    if missing:
        found.problems.append(f"{missing} of {opened.provenance['shards']} shards are missing")
    records = opened.records
    with progress("reading", len(records), unit="shards") as bar:
        for record, (n_bytes, problems) in zip(records, thread_map(lambda r: _read(store, r), records)):
            bar.advance()
            found.problems += [f"shard {record.shard}: {problem}" for problem in problems]
            if not problems:
                found.n_shards += 1
                found.n_rows += record.rows
            found.n_bytes += n_bytes
    return found


def _read(store: Store, record: ShardRecord) -> tuple[int, list[str]]:
    """Read a shard; return how many bytes, and what is wrong."""
    n_bytes, problems = 0, []
    try:
        store.rows(record)
    except InputError as error:
        problems.append(str(error))
    for key, (_, wanted) in record.chunks().items():
        content = store.read(key)
        n_bytes += len(content or b"")
        if content is None:
            problems.append(f"its file {key} is missing")
        elif zlib.crc32(content) != wanted:
            problems.append(f"its file {key} is not what was written (checksum)")
    return n_bytes, problems
