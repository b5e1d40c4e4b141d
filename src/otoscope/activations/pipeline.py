"""The work of an extraction: decoding ahead in threads, the model in this one, writing behind in another."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from otoscope.activations.plan import Plan, Shard, n_stretches
from otoscope.activations.pooling import Pooled, join_stretches, keeps_frames, pool_tokens
from otoscope.activations.store import Store
from otoscope.audio import read_audio
from otoscope.compute import progress, thread_map
from otoscope.encoders.encoder import Encoder
from otoscope.encoders.tokens import Layer
from otoscope.errors import AudioError, InputError, ModelError

OVERREAD_S = 0.002  # read a little past a crop's end, so that rounding never leaves it a sample short


@dataclass(frozen=True)
class _Heard:
    """A unit that was decoded: the inputs of its stretches, or why there are none."""

    unit: int
    inputs: tuple[torch.Tensor, ...] = ()
    n_given: int = 0  # samples per stretch
    starts: tuple[int, ...] = ()  # of the stretches, in samples
    n_sound: int = 0  # samples of the whole crop that are sound, not padding
    problem: str = ""


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
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1; got {batch_size}")
        self.plan, self.encoder, self.store = plan, encoder, store
        self.batch_size, self.workers, self.skip = batch_size, workers, skip
        # Crops that are the same stretch (a short clip drawn several times) are computed once.
        keys = plan.crops[["path", "start_s", "stop_s", "n_given"]]
        self.unit_of = keys.groupby(list(keys), sort=False).ngroup().to_numpy()
        self.crops: list[Any] = list(plan.crops.itertuples())
        self.crop_of = {unit: crop for crop, unit in zip(self.crops[::-1], self.unit_of[::-1])}

    def make(self, todo: list[Shard], *, show: bool) -> None:
        """Make the shards, in order."""
        n_crops = sum(s.stop_crop - s.first_crop for s in todo)
        name = f"extract {self.encoder.name}"
        with (
            progress(name, n_crops, unit="clips", show=show) as bar,
            closing(_Claims(self.store)) as self.claims,
            ThreadPoolExecutor(1, thread_name_prefix="otoscope-write") as writer,
            closing(self._heard(todo)) as heard,
        ):
            written: Future | None = None
            began, sound_s = time.perf_counter(), 0.0
            for shard in todo:
                units = self._shard_units(shard)
                pooled: dict[int, dict[Layer, Pooled]] = {}
                problems: dict[int, str] = {}
                for batch in self._batches(heard, len(units), problems):
                    self._pass(batch, pooled)
                    sound_s += sum(h.n_sound for h in batch) / self.encoder.sample_rate
                    bar.advance(len(batch) * (shard.stop_crop - shard.first_crop) / len(units))
                    bar.note(f"{sound_s / (time.perf_counter() - began):.1f} s of sound per s")
                if written is not None:
                    written.result()  # at most one shard waits to be written
                written = writer.submit(self._write, shard, pooled, problems)
            if written is not None:
                written.result()

    def _heard(self, todo: list[Shard]) -> Generator[_Heard]:
        """Yield the units of all shards in order, decoded ahead in threads; each shard is claimed first."""

        def units() -> Iterator[int]:
            for shard in todo:
                self.claims.take(shard)
                yield from self._shard_units(shard)

        yield from thread_map(self._hear, units(), workers=self.workers, ahead=2 * (self.batch_size or 8))

    def _shard_units(self, shard: Shard) -> list[int]:
        """Return the units of a shard, the shortest first, so that equal lengths stand together."""
        units = dict.fromkeys(self.unit_of[shard.first_crop : shard.stop_crop])
        return sorted(units, key=lambda unit: self.crop_of[unit].n_given)

    def _hear(self, unit: int) -> _Heard:
        """Decode and resample one unit and make the model's inputs; runs in a worker thread."""
        crop = self.crop_of[unit]
        rate = self.encoder.sample_rate
        if crop.problem:
            return _Heard(unit, problem=crop.problem)
        try:
            stop_s = min(crop.stop_s + OVERREAD_S, crop.clip_stop_s)
            waveform, _ = read_audio(crop.path, sample_rate=rate, start_s=crop.start_s, stop_s=stop_s)
            waveform = waveform[: round((crop.stop_s - crop.start_s) * rate)]
            n_sound = len(waveform)
            if crop.given_s > crop.stop_s - crop.start_s:  # the rule pads
                waveform = np.pad(waveform, (0, max(crop.n_given - n_sound, 0)))
            if (len(waveform) if self.plan.pool == "paper" else n_sound) < self.encoder.min_samples:
                raise AudioError(
                    crop.path, f"holds {n_sound} samples at {rate} Hz, {self.encoder.min_samples} are needed"
                )
        except AudioError as error:
            if not self.skip:
                raise
            return _Heard(unit, problem=error.reason)
        size, starts = equal_stretches(len(waveform), n_stretches(self.encoder, len(waveform)))
        inputs = tuple(self.encoder.frontend(waveform[start : start + size]) for start in starts)
        return _Heard(unit, inputs, size, starts, n_sound)

    def _batches(
        self, heard: Iterator[_Heard], n_units: int, problems: dict[int, str]
    ) -> Iterator[list[_Heard]]:
        """Yield the next `n_units` units, those with inputs of one shape together."""
        batch: list[_Heard] = []
        for _ in range(n_units):
            item = next(heard)
            if item.problem:
                problems[item.unit] = item.problem
                continue
            if batch and (batch[0].inputs[0].shape != item.inputs[0].shape or self._full(batch, item)):
                yield batch
                batch = []
            batch.append(item)
        if batch:
            yield batch

    def _full(self, batch: list[_Heard], item: _Heard) -> bool:
        n_stacked = sum(len(h.inputs) for h in batch) + len(item.inputs)
        if self.batch_size is not None:
            return n_stacked > self.batch_size
        longest_s = 40.0 if self.encoder.device.type == "cpu" else 600.0
        return n_stacked * item.n_given > longest_s * self.encoder.sample_rate

    def _pass(self, batch: list[_Heard], pooled: dict[int, dict[Layer, Pooled]]) -> None:
        """Run the model on a batch and pool what comes out."""
        plan, encoder = self.plan, self.encoder
        states = encoder.run(torch.stack([inputs for h in batch for inputs in h.inputs]), plan.layers)
        for h in batch:
            pooled[h.unit] = {}
        for layer, state in states.items():
            place = 0
            for h in batch:
                tokens = encoder.tokens(h.n_given, layer, n_tokens=state.shape[1])
                stretches = []
                for start in h.starts:
                    sound_s = min(h.n_sound - start, h.n_given) / encoder.sample_rate
                    stretches.append(pool_tokens(state[place], tokens, sound_s, plan.pool))
                    place += 1
                starts_s = [start / encoder.sample_rate for start in h.starts]
                pooled[h.unit][layer] = join_stretches(stretches, starts_s, plan.pool)

    def _write(self, shard: Shard, pooled: dict[int, dict[Layer, Pooled]], problems: dict[int, str]) -> None:
        """Put a shard's rows together and write them; runs in the writer's thread."""
        plan = self.plan
        crops = self.crops[shard.first_crop : shard.stop_crop]
        units = self.unit_of[shard.first_crop : shard.stop_crop]
        kept = [(crop, pooled[unit]) for crop, unit in zip(crops, units) if unit in pooled]
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
            crop.clip_id: {"clip_id": crop.clip_id, "path": crop.path, "reason": problems[unit]}
            for crop, unit in zip(crops, units)
            if unit in problems
        }
        self.store.write_shard(shard, arrays, rows, list(skipped.values()))
        self.claims.release(shard)

    def _stored(self, layer: Layer, parts: list[np.ndarray]) -> np.ndarray:
        values = np.concatenate(parts) if parts else np.empty((0, self.plan.widths[layer]), np.float32)
        if not np.isfinite(values).all():
            raise ModelError(
                f"layer {layer} of {self.encoder.name} gave NaN or infinite values; try dtype 'float32' of load_encoder"
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
            rows["start_s"], rows["stop_s"], rows["time_s"] = time_s - half_s, time_s + half_s, time_s
        else:
            rows["start_s"], rows["stop_s"] = crop.start_s, crop.stop_s
        if pooled.band is not None:
            rows["band"] = pooled.band
        return rows


class _Claims:
    """The shards this process holds: taken as decoding reaches them, released as they are written."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.held: dict[int, ExitStack] = {}

    def take(self, shard: Shard) -> None:
        self.held[shard.number] = ExitStack()
        self.held[shard.number].enter_context(self.store.claim(shard))

    def release(self, shard: Shard) -> None:
        self.held.pop(shard.number).close()

    def close(self) -> None:
        for stack in self.held.values():
            stack.close()


def equal_stretches(n_samples: int, count: int) -> tuple[int, tuple[int, ...]]:
    """Return the size and the starts of `count` equal stretches that cover `n_samples` samples.

    Where it does not divide, neighbours share a sample.
    """
    size = -(-n_samples // count)
    return size, tuple(round(i * (n_samples - size) / max(count - 1, 1)) for i in range(count))
