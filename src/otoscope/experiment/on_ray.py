"""A run on a Ray cluster: a share of the units for each device, as tasks that any of the cluster's machines may take.

A task is what ``otoscope run --shard i/n`` does, so the bytes are those of any other road. The run's folder and the
recordings must lie where all machines see them under the same names. A task whose process or machine is lost is started
again, on whichever machine has room; what it had made stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otoscope.errors import InputError, OtoscopeError
from otoscope.experiment.spec import Spec, load_spec
from otoscope.experiment.status import run_status

RETRIES = 50
"""How often a share is started again whose process was lost."""
LOOK_S = 1.0
"""Between two looks at whether what a share waits for is there."""


def run_on_ray(
    recipe_or_spec: str | Path | Spec,
    *,
    address: str | None = None,
    out: str | Path | None = None,
    settings: list[str] | None = None,
    reuse: Sequence[str | Path] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Make all units of a run on a Ray cluster; return the run's folder, in which `otoscope.run` then finds all made.

    Parameters
    ----------
    recipe_or_spec, out, settings, reuse
        As `otoscope.run` takes them.
    address : str, optional
        Of a cluster, such as ``ray://head:10001``. Default: the cluster this machine belongs to (``RAY_ADDRESS``, or
        what ``ray start`` began), else one of this machine alone.
    say : callable
        Takes a line on what goes on.

    Raises
    ------
    InputError
        If Ray is not installed, or no cluster answers.
    OtoscopeError
        If a unit cannot be made, or its process is lost again and again; what is done is kept.
    """
    spec = (
        recipe_or_spec if isinstance(recipe_or_spec, Spec) else load_spec(recipe_or_spec, settings=settings)
    )
    root = Path(out if out is not None else Path("runs") / spec.name).absolute()
    with _cluster(address) as ray:
        device, n = _devices(ray)
        say(f"{n} shares on Ray, one for each {device}")
        share = ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=int(device == "GPU"))(_make_share)
        told = (
            spec.model_dump(mode="json"),
            str(root),
            [str(Path(each).absolute()) for each in reuse],
            os.getcwd(),
        )

        def start(i: int) -> Any:
            return share.remote(*told, f"{i}/{n}")

        working = {start(i): i for i in range(1, n + 1)}
        waiting: dict[int, list[str]] = {}  # share -> the stages of which it lacks units of others
        while working:
            ended, _ = ray.wait(list(working), timeout=LOOK_S)
            for task in ended:
                i = working.pop(task)
                stages = _result(ray, task, f"{i}/{n}", root)
                if stages:
                    waiting[i] = stages
            for i in [i for i, stages in waiting.items() if not working or _is_there(root, stages)]:
                del waiting[i]
                working[start(i)] = i
    return root


def _make_share(spec: dict[str, Any], root: str, reuse: list[str], place: str, shard: str) -> list[str]:
    """Make a share's units as far as can be; return the stages it waits for. It runs in a process of the cluster."""
    from otoscope.experiment.runner import run

    if os.path.isdir(place):  # paths of the spec count from where the command was given
        os.chdir(place)
    try:
        made = run(Spec.model_validate(spec), out=root, reuse=reuse, shard=shard, say=print)
    except OtoscopeError as error:  # of any kind: not all of them survive a trip between processes
        raise OtoscopeError(str(error)) from None
    return [waits.stage for waits in made.waits]


def _is_there(root: Path, stages: list[str]) -> bool:
    """Whether one of the stages lacks no unit any more."""
    found = {own.stage: own for own in run_status(root)}
    return any(
        (own := found.get(stage)) is not None and (own.made or len(own.done) == len(own.units) > 0)
        for stage in stages
    )


def _result(ray: Any, task: Any, shard: str, root: Path) -> list[str]:
    try:
        return list(ray.get(task))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, OtoscopeError):
            raise OtoscopeError(str(error.cause)) from None
        raise
    except ray.exceptions.RayError as error:
        raise OtoscopeError(
            f"the process of share {shard} was lost more than {RETRIES} times ({type(error).__name__}); is its machine "
            f"short of memory? What is done is kept; 'otoscope status {root}' says what is not"
        ) from error


def _devices(ray: Any) -> tuple[str, int]:
    """Return what each share is given, and how many of it the cluster has: its GPUs, or where it has none its cores."""
    found = ray.cluster_resources()
    device = "GPU" if found.get("GPU", 0) >= 1 else "CPU"
    return device, max(int(found.get(device, 1)), 1)


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Yield Ray, connected; a connection that was there before is used, and stays."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else a cluster begun here reports to its makers
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Ray is not installed; pip install 'otoscope[ray]', or run shards without it: otoscope run --shard i/n"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, logging_level="warning")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise InputError(
            f"no Ray cluster answers at {address or os.environ.get('RAY_ADDRESS', 'its usual place')}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
