"""Every crop through the encoder once, into the store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import pandas as pd

from otoscope import contents
from otoscope.activations.crops import Crop
from otoscope.activations.pipeline import Pipeline
from otoscope.activations.plan import Plan, Shard, make_plan
from otoscope.activations.reader import Activations
from otoscope.activations.records import FORMAT
from otoscope.activations.store import Store, check_same
from otoscope.encoders.encoder import Encoder
from otoscope.encoders.tokens import Layer
from otoscope.errors import InputError, OtoscopeError, ProvenanceError


def extract(
    clips: pd.DataFrame,
    encoder: Encoder,
    *,
    out: str | os.PathLike,
    layers: str | Iterable[Layer] = "all",
    crop: str | Crop = "full",
    pool: str = "mean",
    dtype: str = "float32",
    device: str | None = None,
    batch_size: int | None = None,
    shard: str | None = None,
    workers: int | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> Activations:
    """Run the encoder over all clips and keep the pooled states of its layers.

    A store that is there already is completed, not made again: a killed extraction goes on at its first missing
    shard, and ends with the same bytes. Shards of which a file is lost are made anew. What each recording holds is
    noted; a store whose recordings hold something else by now is refused, wherever they lie. Only crops of equal
    length share a batch, so no crop's numbers depend on its neighbours.

    Parameters
    ----------
    clips : DataFrame
        A clips table.
    out : str or Path
        Folder of the store, or any fsspec URL.
    layers : "all", or list of int or "final"
        "all" is 0..L.
    crop : str or Crop
        What of a clip is heard: ``full``, ``first:5``, ``random:8x5``, ``windows:5/2.5``; see `parse_crop`. A crop
        longer than the model takes in one pass is cut into equal pieces, and what comes of them is joined again.
    pool : str
        "mean", "frames", "bands", "tokens" or "paper"; see `otoscope.activations.pooling.POOLS`.
    dtype : str
        Of the arrays on disk: "float32" or "float16". What the model computes in is `load_encoder`'s `precision`.
    device : str, optional
        Where the encoder runs meanwhile. Default: where it is.
    batch_size : int, optional
        Crops per pass, fewer where memory does not hold them. Default: on a CPU one, while every core takes its own (of
        a model that several threads cannot run, as many as keep about 40 s of sound in one pass); on a GPU as many as
        keep about 10 min.
    shard : str, optional
        "i/n", i from 1: make every n-th shard only, so that n processes fill one store.
    workers : int, optional
        Threads that decode and resample ahead of the model.
    skip_unreadable : bool
        Leave out files that cannot be used, and list them in ``Activations.skipped``. Default: stop there; complete
        shards are kept.
    progress : bool
        Show a bar on a terminal.

    Returns
    -------
    Activations
        With `shard`, what is there so far.

    Raises
    ------
    AudioError
        If a file cannot be used.
    ProvenanceError
        If `out` was made with other settings, or from recordings that hold something else now.
    OtoscopeError
        If another process is making one of the shards (all others are made by then), memory does not hold one crop, or
        the disk is full.

    Examples
    --------
    >>> import numpy as np
    >>> import otoscope as oto
    >>> from otoscope.audio import write_audio
    >>> write_audio("tone.wav", 0.5 * np.sin(2 * np.pi * 220 * np.arange(16_000) / 16_000), 16_000)
    >>> encoder = oto.load_encoder("otoscope-mini", device="cpu")
    >>> store = extract(oto.load_clips("tone.wav"), encoder, layers=[0, 3], out="activations")
    >>> store.layers, store.layer(3).shape == (1, encoder.widths[3])
    ([0, 3], True)
    """
    store = Store(out)
    mine = _parse_shard(shard)
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size}")
    # A store that was begun is finished in the precision that "auto" meant then.
    begun = store.provenance().get("precision") if store.exists() else None
    with encoder.placed(device, auto=begun):
        plan = make_plan(
            clips, encoder, layers=layers, crop=crop, pool=pool, dtype=dtype, skip_unreadable=skip_unreadable
        )
        if not store.exists():
            store.create(plan)
        own = [s for s in plan.shards if s.number % mine[1] == mine[0]]
        done, lost = _usable(store, {s.name for s in own})
        check_same(store.provenance(), plan.provenance, store.url, complete=len(done) == len(plan.shards))
        todo = [s for s in own if s.name not in done]
        _check_recordings(plan, store, _to_check(plan, own, done))
        if todo:
            Pipeline(plan, encoder, store, batch_size, workers, skip_unreadable).make(todo, show=progress)
    return Activations(store, partial=shard is not None, without=lost)


def _usable(store: Store, own: set[str]) -> tuple[set[str], set[str]]:
    """Return the shards that are complete, and those of which a file is lost.

    Of the latter its own are taken back, to be made anew; others' are theirs to take back: they may be at it.
    """
    done = store.done()
    if store.provenance().get("format") != FORMAT:
        return done, set()  # it is refused anyhow
    lost = set(store.damage(done))
    for name in lost & own:
        store.withdraw(name)
    return done - lost, lost - own


def _to_check(plan: Plan, own: list[Shard], done: set[str]) -> list[Shard]:
    """Return the complete shards of this call, and those that hear recordings which it is to hear too."""
    numbers = {shard.number for shard in own}
    heard = {path for shard in own if shard.name not in done for path in plan.paths(shard)}
    return [
        shard
        for shard in plan.shards
        if shard.name in done and (shard.number in numbers or not heard.isdisjoint(plan.paths(shard)))
    ]


def _check_recordings(plan: Plan, store: Store, shards: list[Shard]) -> None:
    """Raise ProvenanceError where a shard was made from other recordings than lie there now."""
    names = [shard.name for shard in shards]
    before = store.seen(names)
    contents.remember(before)
    paths = {shard.name: plan.paths(shard) for shard in shards}
    now = contents.hashes(path for own in paths.values() for path in own)
    for record in store.records(names):
        for (name, heard), path in zip(record.recordings, paths[record.shard]):
            found = now.get(path)
            if heard != (found and found.sha256):
                raise ProvenanceError(
                    f"{store.url} was made from another recording '{name}' than "
                    + (f"lies at {path} now" if found else f"there is now: {path} cannot be read")
                    + ". Name another folder to extract what is there now, or remove this one"
                )
    known = set(before)
    for name, own in paths.items():  # moved, or copied anew: they need not be read a third time
        heard_now = {path: now.get(path) for path in own}
        if any(held and held.is_settled and held[:2] not in known for held in heard_now.values()):
            with contextlib.suppress(OtoscopeError):  # of a store that is only to be read
                store.note_seen(name, heard_now)


def _parse_shard(text: str | None) -> tuple[int, int]:
    """Return (index from 0, count) of "i/n", where i counts from 1."""
    if text is None:
        return 0, 1
    index, _, count = str(text).partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise InputError(f"shard must be i/n with i from 1 to n, such as 1/4; got '{text}'")
    return int(index) - 1, int(count)
