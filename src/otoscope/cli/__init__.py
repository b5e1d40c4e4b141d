"""The command line: ``otoscope``. Each command is a thin face on one function of the library."""

from __future__ import annotations

import sys

from otoscope.errors import OtoscopeError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error a user can mend is one message on stderr and exit code 2."""
    import otoscope.cli.data
    import otoscope.cli.explore
    import otoscope.cli.listen
    import otoscope.cli.study  # noqa: F401  they add their commands to the app
    from otoscope.cli.app import app

    try:
        app(args=arguments)
    except OtoscopeError as error:
        from rich.console import Console
        from rich.text import Text

        Console(stderr=True, soft_wrap=True).print(Text.assemble(("otoscope: ", "bold red"), str(error)))
        sys.exit(2)
    except SystemExit as stopped:
        if stopped.code == 130:  # Ctrl-C, as typer says it
            print("\notoscope: interrupted; the same command goes on where it was", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
