"""The work of an extraction: decoding ahead in threads, the model on every core, writing behind in a thread."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
import torch

from otoscope.activations.claims import Claims
from otoscope.activations.plan import Plan, Shard, n_pieces
from otoscope.activations.pooling import Pooled, join_pieces, keeps_frames, pool_tokens
from otoscope.activations.store import Store
from otoscope.audio import read_audio
from otoscope.compute import empty_cache, in_lanes, is_out_of_memory, progress, thread_map
from otoscope.contents import Content, content, signature
from otoscope.encoders.encoder import Encoder
from otoscope.encoders.tokens import Layer
from otoscope.errors import AudioError, InputError, ModelError, OtoscopeError

LANES_S = 160.0
"""Seconds of sound that a CPU's lanes hold at once: about 3 GB in the first convolutions of HuBERT."""
EARLY_S = 0.05  # a table's stop_s may be rounded
OVERREAD_S = 0.002  # read a little past a crop's end, so that rounding never leaves it a sample short


@dataclass(frozen=True)
class _Decoded:
    """A unit that was decoded: the inputs of its pieces, or why there are none."""

    crop: Any  # the first of the crops that it stands for
    inputs: tuple[torch.Tensor, ...] = ()
    n_given: int = 0  # samples per piece
    starts: tuple[int, ...] = ()  # of the pieces, in samples
    n_sound: int = 0  # samples of the whole crop that are sound, not padding
    problem: str = ""


@dataclass(frozen=True)
class _Piece:
    """What the model takes in one pass, alone or with others of its shape."""

    source: _Decoded
    place: int

    @property
    def inputs(self) -> torch.Tensor:
        return self.source.inputs[self.place]


_Read = Callable[[torch.Tensor], dict[Layer, torch.Tensor]]
_Passed = list[tuple[_Piece, dict[Layer, Pooled]]]
"""What became of the pieces of a batch."""


class Pipeline:
    """One call of `extract`."""

    def __init__(
        self,
        plan: Plan,
        encoder: Encoder,
        store: Store,
        batch_size: int | None,
        workers: int | None,
        skip: bool,
    ) -> None:
        self.plan, self.encoder, self.store = plan, encoder, store
        self.batch_size, self.workers, self.skip = batch_size, workers, skip
        # Crops of the same sound (a short clip drawn several times) are computed once: a unit.
        keys = plan.crops[["path", "channel", "start_s", "stop_s", "n_given"]]
        self.crops = plan.crops.assign(unit=keys.groupby(list(keys), sort=False).ngroup())
        self.n_lanes = self._n_lanes()
        self.fits = math.inf  # samples of a batch that memory holds, as far as is known
        self.taken: deque[Shard] = deque()  # claimed, and not yet begun to be put together
        self.contents: dict[str, Content | None] = {}  # of recordings, once they were decoded
        self._reading: defaultdict[str, Lock] = defaultdict(Lock)

    def make(self, todo: list[Shard], *, show: bool) -> None:
        """Make the shards, in order; those that other processes hold are an error once all others are made."""
        n_crops = sum(s.stop_crop - s.first_crop for s in todo)
        name = f"extract {self.encoder.name}"
        with (
            progress(name, n_crops, unit="clips", show=show) as bar,
            closing(Claims(self.store)) as self.claims,
            ThreadPoolExecutor(1, thread_name_prefix="otoscope-write") as writer,
            closing(self._all_decoded(todo)) as decoded,
            self.encoder.reader(self.plan.layers) as read,
        ):
            written: Future | None = None
            began, sound_s = time.perf_counter(), 0.0
            for first in decoded:
                shard = self.taken.popleft()
                units = self._units(shard)
                pooled: dict[int, dict[Layer, Pooled]] = {}
                problems: dict[int, str] = {}
                batches = self._batches(chain([first], decoded), len(units), problems)
                with closing(in_lanes(partial(self._pass, read), batches, self.n_lanes)) as passes:
                    for h, states in self._joined(passes):
                        pooled[h.crop.unit] = states
                        sound_s += h.n_sound / self.encoder.sample_rate
                        bar.advance((shard.stop_crop - shard.first_crop) / len(units))
                        bar.note(f"{sound_s / (time.perf_counter() - began):.1f} s of sound per s")
                if written is not None:
                    written.result()  # at most one shard waits to be written
                written = writer.submit(self._write, shard, pooled, problems)
            if written is not None:
                written.result()
            self.claims.check()

    def _n_lanes(self) -> int:
        """Return how many pieces run at once. It follows from the whole plan, not from what is left of it: how
        many share the cores may show in a state's last digit."""
        heard = self.crops[self.crops.problem == ""].drop_duplicates("unit").n_given.value_counts()
        pieces = {n: n_pieces(self.encoder, n) for n in heard.index}
        longest = max((n / count for n, count in pieces.items()), default=1.0)
        fit = LANES_S * self.encoder.sample_rate / longest
        n_in_all = sum(times * pieces[n] for n, times in heard.items())
        return self.encoder.n_lanes(max(min(n_in_all, int(fit)), 1))

    def _all_decoded(self, todo: list[Shard]) -> Generator[_Decoded]:
        """Yield the units of shards in order, decoded ahead in threads; each shard is claimed first.

        Those that can be are `taken`. What other processes hold is passed over: a process that hangs stops nobody.
        """

        def units() -> Iterator[Any]:
            for shard in todo:
                if self.claims.take(shard):
                    self.taken.append(shard)
                    yield from self._units(shard)

        yield from thread_map(
            self._decode,
            units(),
            workers=self.workers,
            ahead=max(2 * (self.batch_size or 8), 2 * self.n_lanes),
        )

    def _crops(self, shard: Shard) -> list[Any]:
        """Return the crops of a shard; made when they are needed, as a million of them fill memory."""
        return list(self.crops.iloc[shard.first_crop : shard.stop_crop].itertuples())

    def _units(self, shard: Shard) -> list[Any]:
        """Return a crop for each unit of a shard, the shortest first, so that equal lengths stand together."""
        first: dict[int, Any] = {}
        for crop in self._crops(shard):
            first.setdefault(crop.unit, crop)
        return sorted(first.values(), key=lambda crop: crop.n_given)

    def _decode(self, crop: Any) -> _Decoded:
        """Decode and resample one unit and make the model's inputs; runs in a worker thread."""
        rate = self.encoder.sample_rate
        if crop.problem:
            self._note_content(crop.path)
            return _Decoded(crop, problem=crop.problem)
        try:
            self._note_content(crop.path)
            stop_s = min(crop.stop_s + OVERREAD_S, crop.clip_stop_s)
            waveform, _ = read_audio(
                crop.path,
                sample_rate=rate,
                start_s=crop.start_s,
                stop_s=stop_s,
                channel=crop.channel or None,
            )
            self._note_content(crop.path)
            waveform = waveform[: round((crop.stop_s - crop.start_s) * rate)]
            n_sound = len(waveform)
            early_s = crop.stop_s - crop.start_s - n_sound / rate
            if early_s > EARLY_S:
                raise AudioError(
                    crop.path, f"ends {early_s:.2f} s before the clips table says ({crop.stop_s:g} s)"
                )
            if crop.given_s > crop.stop_s - crop.start_s:  # the rule pads
                waveform = np.pad(waveform, (0, max(crop.n_given - n_sound, 0)))
            if (len(waveform) if self.plan.pool == "paper" else n_sound) < self.encoder.min_samples:
                raise AudioError(
                    crop.path, f"holds {n_sound} samples at {rate} Hz, {self.encoder.min_samples} are needed"
                )
        except AudioError as error:
            if not self.skip:
                raise
            return _Decoded(crop, problem=error.reason)
        size, starts = equal_pieces(len(waveform), n_pieces(self.encoder, len(waveform)))
        inputs = tuple(self.encoder.frontend(waveform[start : start + size]) for start in starts)
        return _Decoded(crop, inputs, size, starts, n_sound)

    def _note_content(self, path: str) -> None:
        """Note what a recording holds, once; AudioError if it holds something else by now.

        It is called before and after each time that it is decoded, so that what was heard is what was noted.
        """
        with self._reading[path]:
            try:
                known = self.contents.get(path)
                if known is None:
                    self.contents[path] = content(path)
                elif signature(path) != known.signature:
                    raise AudioError(
                        path, "was changed while it was listened to; extract again once it is whole"
                    )
            except OSError:  # decoding says more
                self.contents[path] = None

    def _batches(
        self, decoded: Iterator[_Decoded], n_units: int, problems: dict[int, str]
    ) -> Iterator[list[_Piece]]:
        """Yield the pieces of the next `n_units` units, those of one shape together."""
        batch: list[_Piece] = []
        for _ in range(n_units):
            item = next(decoded)
            if item.problem:
                problems[item.crop.unit] = item.problem
            for piece in (_Piece(item, place) for place in range(len(item.inputs))):
                if batch and (batch[0].inputs.shape != piece.inputs.shape or self._full(batch, item.n_given)):
                    yield batch
                    batch = []
                batch.append(piece)
        if batch:
            yield batch

    def _full(self, batch: list[_Piece], n_given: int) -> bool:
        if (len(batch) + 1) * n_given > self.fits:
            return True
        if self.batch_size is not None:
            return len(batch) >= self.batch_size
        longest_s = 600.0 if self.encoder.device.type != "cpu" else 40.0 if self.n_lanes == 1 else 0.0
        return (len(batch) + 1) * n_given > longest_s * self.encoder.sample_rate

    def _pass(self, read: _Read, batch: list[_Piece]) -> _Passed:
        """Run the model on a batch and pool what comes out; runs in a lane.

        A batch that memory does not hold is halved, again and again, and those that follow are made no larger.
        """
        try:
            return self._passed(read, batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise self._too_large(batch[0]) from error
        # Only here is what the failed pass had computed free again: an error holds on to it while it is handled.
        empty_cache(self.encoder.device)
        half = len(batch) // 2
        self.fits = min(self.fits, half * batch[0].source.n_given)
        return self._pass(read, batch[:half]) + self._pass(read, batch[half:])

    def _too_large(self, piece: _Piece) -> OtoscopeError:
        h = piece.source
        others = "" if self.n_lanes == 1 else f", while {self.n_lanes - 1} others are in memory too,"
        return OtoscopeError(
            f"{self.encoder.name} has not enough memory on {self.encoder.device} for "
            f"{h.n_given / self.encoder.sample_rate:.2f} s of sound (clip '{h.crop.clip_id}', {h.crop.path}){others} "
            "in a batch of its own. Take shorter crops, such as --crop windows:5, or for Whisper a shorter window_s; "
            "fewer at once (OMP_NUM_THREADS=1 on a CPU); or a device with more memory"
        )

    def _passed(self, read: _Read, batch: list[_Piece]) -> _Passed:
        states = read(torch.stack([piece.inputs for piece in batch]))
        found: _Passed = [(piece, {}) for piece in batch]
        for layer in self.plan.layers:
            for state, (piece, pooled) in zip(states.pop(layer), found):
                h = piece.source
                tokens = self.encoder.tokens(h.n_given, layer, n_tokens=len(state))
                sound_s = min(h.n_sound - h.starts[piece.place], h.n_given) / self.encoder.sample_rate
                pooled[layer] = pool_tokens(state, tokens, sound_s, self.plan.pool)
        return found

    def _joined(self, passes: Iterable[_Passed]) -> Iterator[tuple[_Decoded, dict[Layer, Pooled]]]:
        """Yield each unit when all its pieces have passed, with its layers."""
        parts: list[dict[Layer, Pooled]] = []
        for piece, pooled in chain.from_iterable(passes):
            h = piece.source
            parts.append(pooled)
            if len(parts) == len(h.inputs):
                starts_s = [start / self.encoder.sample_rate for start in h.starts]
                join = partial(join_pieces, starts_s=starts_s, pool=self.plan.pool)
                yield h, {layer: join([part[layer] for part in parts]) for layer in self.plan.layers}
                parts = []

    def _write(self, shard: Shard, pooled: dict[int, dict[Layer, Pooled]], problems: dict[int, str]) -> None:
        """Put a shard's rows together and write them; runs in the writer's thread."""
        plan = self.plan
        crops = self._crops(shard)
        kept = [(crop, pooled[crop.unit]) for crop in crops if crop.unit in pooled]
        arrays = {
            layer: self._stored(layer, [states[layer].values for _, states in kept]) for layer in plan.layers
        }
        tables = [self._rows(crop, states[plan.layers[0]]) for crop, states in kept]
        columns = ["clip_id", "crop", "start_s", "stop_s"]
        rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
        if len(rows) > shard.capacity:
            raise ModelError(
                f"{self.encoder.name} gave {len(rows)} rows where {shard.capacity} were expected at most; "
                "is its frame_rate_hz right?"
            )
        skipped = {
            crop.clip_id: {"clip_id": crop.clip_id, "path": crop.path, "reason": problems[crop.unit]}
            for crop in crops
            if crop.unit in problems
        }
        heard = {path: self.contents.get(path) for path in plan.paths(shard)}
        self.store.write_shard(shard, arrays, rows, list(skipped.values()), heard)
        self.claims.release(shard)

    def _stored(self, layer: Layer, parts: list[np.ndarray]) -> np.ndarray:
        values = np.concatenate(parts) if parts else np.empty((0, self.plan.widths[layer]), np.float32)
        if not np.isfinite(values).all():
            raise ModelError(
                f"layer {layer} of {self.encoder.name} gave NaN or infinite values; load it in precision 'float32'"
            )
        if self.plan.dtype == "float16" and np.abs(values).max(initial=0) > np.finfo(np.float16).max:
            raise InputError(
                f"layer {layer} of {self.encoder.name} reaches {np.abs(values).max():.3g}, "
                "beyond float16; store float32"
            )
        return values.astype(self.plan.dtype)

    def _rows(self, crop: Any, pooled: Pooled) -> pd.DataFrame:
        n_rows = len(pooled.values)
        rows = pd.DataFrame({"clip_id": [crop.clip_id] * n_rows, "crop": crop.crop})
        if pooled.time_s is not None and keeps_frames(self.plan.pool):
            time_s = crop.start_s + pooled.time_s
            half_s = self.encoder.tokens(crop.n_given, self.plan.layers[0], n_tokens=n_rows).hop_s / 2
            rows["start_s"] = np.maximum(time_s - half_s, crop.start_s)
            rows["stop_s"] = np.minimum(time_s + half_s, crop.stop_s)
            rows["time_s"] = time_s
        else:
            rows["start_s"], rows["stop_s"] = crop.start_s, crop.stop_s
        if pooled.band is not None:
            rows["band"] = pooled.band
        return rows


def equal_pieces(n_samples: int, count: int) -> tuple[int, tuple[int, ...]]:
    """Return the size and the starts of `count` equal pieces that cover `n_samples` samples.

    Where it does not divide, neighbours share a sample.
    """
    size = -(-n_samples // count)
    return size, tuple(round(i * (n_samples - size) / max(count - 1, 1)) for i in range(count))
