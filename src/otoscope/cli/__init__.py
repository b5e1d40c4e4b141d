"""The command line: ``otoscope``. Each command is a thin face on one function of the library."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from otoscope.errors import InputError, OtoscopeError

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after Ctrl-C and after SIGTERM: 128 and the signal's number."""

RARELY = (20_000, 20, 20)
"""Thresholds of the garbage collector, for Python's own 700, 10 and 10: modules and tables of clips are millions of
objects that stay; to look through them again and again took an eighth of a short command's time, at equal memory."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error a user can mend is one message on stderr and exit code 2."""
    import otoscope.cli.data
    import otoscope.cli.explore
    import otoscope.cli.intervene
    import otoscope.cli.listen
    import otoscope.cli.slurm
    import otoscope.cli.study  # noqa: F401  they add their commands to the app
    from otoscope.cli.app import app

    gc.set_threshold(*RARELY)
    with _stopped_by_sigterm() as terminated:
        try:
            _refuse_empty(sys.argv[1:] if arguments is None else arguments)
            app(args=arguments)
        except OtoscopeError as error:
            _say(str(error))
            sys.exit(2)
        except MemoryError:
            _say("there is not enough memory for this; fewer layers, latents or clips need less")
            sys.exit(2)
        except OSError as error:  # of a place that no other message spoke of
            from otoscope.files import said

            _say(f"{error.filename or 'a file'}: {said(error)}")
            sys.exit(2)
        except (SystemExit, KeyboardInterrupt) as stopped:
            if isinstance(stopped, SystemExit) and stopped.code != INTERRUPTED:
                raise
            how = "terminated" if terminated else "interrupted"
            print(f"\notoscope: {how}; the same command goes on where it was", file=sys.stderr)
            sys.exit(TERMINATED if terminated else INTERRUPTED)


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[list[int]]:
    """Let SIGTERM, which clusters send, stop the block as Ctrl-C does; yields what came so far."""
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        yield came
        return
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Raise InputError for an argument that is empty: mostly a variable of the shell that was never set."""
    for place, argument in enumerate(arguments):
        option = (
            argument[:-1] if argument.startswith("--") and argument.find("=") == len(argument) - 1 else ""
        )
        if option or not argument.strip():
            where = option or (f"after '{arguments[place - 1]}'" if place else "the first")
            raise InputError(f"an argument is empty ({where}); is a variable of the shell not set?")


def _say(message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble(("otoscope: ", "bold red"), message.encode(errors="replace").decode())
    Console(stderr=True, soft_wrap=True).print(text)


if __name__ == "__main__":
    main()
