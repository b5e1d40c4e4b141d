"""Shards of a run, in processes that the system kills at random moments, until all is made; a program.

``python killed_shards.py OUT KILLS SEED SETTINGS...`` makes OUT/0, OUT/1, ... until so many were killed. Processes are
forked from this one, which has imported everything, so that they are at work at once. A moment is drawn in the
process's own computing time, so that it does not matter what else the machine does. SIGPROF, unhandled, ends a process
as SIGKILL does: nothing of it runs after.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback

N = 4
MOST_ROUNDS = 60
LATEST_S = 1.5
"""Of computing: by then a share is mostly made, as far as it can be."""


def main(out: str, kills: int, seed: int, settings: list[str]) -> None:
    import otoscope.experiment.runner as runner

    _import_all(next(setting for setting in settings if setting.startswith("encoders.0.name=")))
    dice, killed, n_runs = random.Random(seed), 0, 0
    while not n_runs or killed < kills:
        killed += _one_run(runner, f"{out}/{n_runs}", settings, dice, kills - killed)
        n_runs += 1
    print(f"killed {killed} in {n_runs} runs")


def _one_run(runner, out: str, settings: list[str], dice: random.Random, kills: int) -> int:
    """Call all shards again and again until all is made; return how many were killed."""
    killed = 0
    for _ in range(MOST_ROUNDS):
        moments = [dice.uniform(0.02, LATEST_S) if killed + i < kills else None for i in range(N)]
        children = [
            _fork(runner, out, f"{i + 1}/{N}", settings, moments[i]) for i in dice.sample(range(N), N)
        ]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert set(codes) <= {0, 1, -signal.SIGPROF}, codes
        killed += codes.count(-signal.SIGPROF)
        if 1 in codes:  # nothing is left to wait for
            return killed
    raise AssertionError(f"{MOST_ROUNDS} rounds did not finish {out}")


def _import_all(encoder: str) -> None:
    """Import what a run needs late, so that the time of a child is work."""
    import librosa  # noqa: F401

    import otoscope
    from otoscope import disentanglement, latents, probing, saes

    otoscope.load_encoder(encoder.partition("=")[2])
    for room in (disentanglement, latents, probing, saes):
        for name in room.__all__:
            getattr(room, name)


def _fork(runner, out: str, shard: str, settings: list[str], moment: float | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 2
    try:
        if moment is not None:
            signal.setitimer(signal.ITIMER_PROF, moment)
        code = 0 if runner.run("demo", out=out, settings=settings, shard=shard).waits else 1
    except BaseException:
        traceback.print_exc()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
