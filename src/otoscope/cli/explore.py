"""The command that opens the explorer: ``explore``."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from otoscope.cli.app import app
from otoscope.errors import InputError
from otoscope.wording import count


@app.command()
def explore(
    places: Annotated[
        list[Path], typer.Argument(help="A run, or folders that otoscope latents wrote.", metavar="RUN...")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the explorer. Default: explorer in the first place.")
    ] = None,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="Copy the recordings as small MP3s, or leave them out.")
    ] = True,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Also write it as one file, to pass on; for small runs.")
    ] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Serve it on this machine alone, where it also takes a sound of yours."),
    ] = False,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in the browser, or only write it.")
    ] = True,
) -> None:
    """Hear what each latent responds to: write pages that open from disk, if needed, and open them."""
    from otoscope.explorer import write_explorer
    from otoscope.explorer.reading import left_out

    if serve and single_file:
        raise InputError("--serve serves the folder; give it without --single-file")
    page = write_explorer(*places, out=out, audio=audio, single_file=single_file)
    for name in left_out(places):
        print(f"left out: {name} has no latents.parquet any more; run 'otoscope latents' again")
    files = [page] if single_file else [file for file in page.parent.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 1e6
    print(f"Explorer: {page} ({size:.1f} MB in {count(len(files), 'file')})   <- open this one")
    if audio:
        print(
            "It holds copies of the recordings: pass it on only as their licence and the people in them allow."
        )
    if serve:
        _serve(page, places, open_page)
    elif open_page and _has_screen():
        typer.launch(page.resolve().as_uri())


def _has_screen() -> bool:
    """Whether a browser can open: on Linux a desktop says where it shows things."""
    return sys.platform != "linux" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _serve(page: Path, places: list[Path], open_page: bool) -> None:
    from otoscope.explorer.serving import make_server

    with make_server(page, places) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        print(f"Served at {address} until you press Ctrl-C; takes a sound of your own too.", flush=True)
        if open_page and _has_screen():
            typer.launch(address)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
