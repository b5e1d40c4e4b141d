"""Where work runs: the device, all threads and lanes of it, and the progress a person sees."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from otoscope.errors import InputError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def pick_device(name: str | torch.device = "auto") -> torch.device:
    """Return the torch device for `name`; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    InputError
        If `name` is no device, or one this machine does not have.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"device '{name}' cannot be used here ({error}); try 'auto' or 'cpu'") from error
    return device


def free_memory(device: torch.device | None = None) -> int | None:
    """Return the bytes that can be had without swapping, of a CUDA device its own; None where none are told."""
    if device is not None and device.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo") as stream:
            return 1024 * next(int(line.split()[1]) for line in stream if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of a device or the machine, did not hold what was asked of it."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU, MPS, and the libraries beneath CUDA raise a plain RuntimeError.
    told = str(error)
    words = ("out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in told for word in words)


def empty_cache(device: torch.device) -> None:
    """Give back what PyTorch keeps of a device's memory for later, so that what is smaller finds room in one piece."""
    import torch

    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).empty_cache()


def as_tensor(x: Any) -> torch.Tensor:
    """Return an array as a tensor over the same memory, but a copy of one that is read-only (a memory map, say).

    PyTorch has no read-only tensors, and warns when it is given what is one.
    """
    import numpy as np
    import torch

    return x if isinstance(x, torch.Tensor) else torch.from_numpy(np.require(x, requirements="W"))


def cpu_count() -> int:
    """Return how many cores this process may use (a Slurm allocation or taskset counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` in order, computed in threads that run at most `ahead` items in front.

    The first exception is raised where its result would have come; nothing after it is started.
    """
    workers = workers or min(4, cpu_count())
    ahead = max(ahead or 2 * workers, 1)
    waiting: deque = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="otoscope")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_lanes(
    function: Callable[[Item], Result], items: Iterable[Item], n_lanes: int | None = None
) -> Generator[Result]:
    """Yield ``function(item)`` in order, computed `n_lanes` at a time, each with its share of torch's threads.

    Threads that share an operation wait for one another after each; those that have an item of their own do not.
    By default every thread is a lane. A single lane is the calling thread.
    """
    import torch

    n_threads = torch.get_num_threads()
    n_lanes = min(n_lanes or n_threads, n_threads)

    def in_lane(item: Item) -> Result:
        torch.set_num_threads(n_threads // n_lanes)  # this thread's; but the BLAS's are the process's
        return function(item)

    if n_lanes < 2:
        yield from map(function, items)
        return
    try:
        yield from thread_map(in_lane, items, workers=n_lanes, ahead=2 * n_lanes)
    finally:
        torch.set_num_threads(n_threads)


class Lanes:
    """Threads that share one step: called, they run ``function(first, last)`` on parts of ``range(size)``.

    PyTorch's own threads wait for each other within every operation; these only between the parts of a step.

    Parameters
    ----------
    n : int
        How many parts; the calling thread takes the first itself.
    """

    def __init__(self, n: int = 1) -> None:
        self.n = n
        self._pool = ThreadPoolExecutor(n - 1, "lane", initializer=set_up_thread) if n > 1 else None

    def __call__(self, function: Callable[[int, int], Any], size: int) -> list[Any]:
        """Return what the calls returned, in order."""
        if self._pool is None:
            return [function(0, size)]
        ends = [size * part // self.n for part in range(self.n + 1)]
        others = [self._pool.submit(function, *part) for part in pairwise(ends[1:])]
        try:
            mine = function(ends[0], ends[1])
        finally:  # they write into what the caller owns
            found = [other.result() for other in others]
        return [mine, *found]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def set_up_thread() -> None:
    """Have a new thread compute alone, and take numbers below the normal range for zero.

    Adam's moments fall into that range where a latent stays silent, and arithmetic there is slower.
    """
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep PyTorch's operations in this thread to themselves; other threads are left as they are."""
    import torch

    n_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_before)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch and the BLAS use one thread each while the block runs: for many small products.

    Threads that share a small product mostly wait for one another; on a busy machine that is tens of times slower.
    The setting is the process's. Blocks may be nested, and overlap in several threads: the last to leave restores it.
    """
    import torch
    from threadpoolctl import threadpool_limits

    with _LIMITS:
        if not _inside:
            threads, limits = torch.get_num_threads(), threadpool_limits(limits=1)
            torch.set_num_threads(1)
            _restore.extend([lambda: torch.set_num_threads(threads), limits.restore_original_limits])
        _inside.append(True)
    try:
        yield
    finally:
        with _LIMITS:
            _inside.pop()
            while _restore and not _inside:
                _restore.pop()()


_LIMITS = Lock()
_inside: list[bool] = []
_restore: list[Callable[[], None]] = []


class Progress:
    """A handle on one bar: `advance` it, and `note` a short text beside it."""

    def __init__(self, advance: Callable[[float], None], note: Callable[[str], None]) -> None:
        self._advance, self._note = advance, note

    def advance(self, n: float = 1) -> None:
        """Count `n` more done."""
        self._advance(n)

    def note(self, text: str) -> None:
        """Show `text` (a rate, a loss) at the end of the bar."""
        self._note(text)


@contextmanager
def progress(
    description: str, total: float | None, *, unit: str = "it", show: bool = True
) -> Iterator[Progress]:
    """Show a bar with its rate and the time left on stderr while the block runs; silent where it is no terminal.

    Parameters
    ----------
    description : str
        What is going on, in a few words.
    total : float or None
        How much there is; None if unknown.
    unit : str
        What is counted ("clips", "steps"), shown as a rate.
    show : bool
        False never shows anything.
    """
    if not show or not sys.stderr.isatty():
        yield Progress(lambda n: None, lambda text: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed:.0f}/{task.total:.0f}" if total is not None else "{task.completed:.0f}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left" if total is not None else ""),
        TextColumn("{task.fields[note]}"),
    )
    console, hour_s = Console(stderr=True), 3600.0  # a step may take minutes, and a speed needs two of them
    with Bars(*columns, console=console, transient=True, speed_estimate_period=hour_s) as bars:
        task = bars.add_task(description, total=total, rate="", note="")

        def advance(n: float) -> None:
            bars.advance(task, n)
            speed = bars.tasks[0].speed
            if speed:
                bars.update(task, rate=f"{speed:,.3g} {unit}/s")

        yield Progress(advance, lambda text: bars.update(task, note=text))
