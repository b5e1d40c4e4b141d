"""Fetch one file over HTTP, going on where an earlier try stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from urllib.parse import urlsplit

from otoscope.compute import progress
from otoscope.errors import InputError
from otoscope.files import flush

RETRIES = 4
"""Tries in a row that bring nothing before giving up."""

PAUSE_S = 1.0
"""Before the second try; doubled before each further one."""

_CHUNK_BYTES = 1 << 16  # what a break can lose


def resuming(
    part: Path, *, size_bytes: int, show_progress: bool = True
) -> Callable[[str, str | Path, object], None]:
    """Return a downloader for pooch that keeps what has come in `part`, and moves it to its place once whole.

    Parameters
    ----------
    part : Path
        Kept when a download breaks; a later one asks the server for the rest (HTTP Range), and starts again where
        the server cannot do that.
    size_bytes : int
        Expected size, for the bar.
    show_progress : bool
        False draws no bar.
    """

    def fetch(url: str, output_file: str | Path, _pooch: object) -> None:
        with progress(f"downloading {part.stem}", size_bytes / 1e6, unit="MB", show=show_progress) as bar:
            shown = 0
            for here in _bytes_here(url, part):
                bar.advance((here - shown) / 1e6)
                shown = here
        flush(part)
        part.replace(output_file)

    return fetch


def _bytes_here(url: str, part: Path) -> Generator[int, None, None]:
    """Fetch until `part` is whole, over as many connections as it takes; yield its size as it grows."""
    import requests

    breaks = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError, _TryAgain)
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        reason: Exception | str = "the connection ended early"
        try:
            whole = yield from _one_connection(url, part)
        except breaks as error:
            whole, reason = False, error
        except requests.RequestException as error:
            raise InputError(f"cannot fetch {url}: {_short(error)}") from error
        if whole:
            return
        here = part.stat().st_size if part.exists() else 0
        fruitless = fruitless + 1 if here <= before else 0
        if fruitless >= RETRIES:
            raise InputError(
                f"cannot fetch {url} ({_short(reason)}). No network? Fetch it elsewhere and put it at "
                f"'{part.with_suffix('')}': the same command goes on from there"
                + (f"; {here / 1e6:.0f} MB are kept" if here else "")
            )
        time.sleep(PAUSE_S * 2**fruitless)


class _TryAgain(Exception):
    """The server is busy, or the part it has does not fit ours."""


def _one_connection(url: str, part: Path) -> Generator[int, None, bool]:
    """Ask for what is missing and append it; yield the size here; return whether the file is whole."""
    import requests

    import otoscope

    here = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"otoscope/{otoscope.__version__}", "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
    with requests.get(url, headers=headers, stream=True, timeout=(15, 60)) as reply:
        if reply.status_code == 416:  # nothing beyond what we have: whole, or not of this file
            if reply.headers.get("Content-Range", "").rpartition("/")[2] == str(here):
                return True
            part.unlink()
            raise _TryAgain("its file is shorter than the part here")
        if reply.status_code == 429 or reply.status_code >= 500:
            raise _TryAgain(f"{urlsplit(url).netloc} answers {reply.status_code} {reply.reason}")
        if reply.status_code not in (200, 206):
            raise InputError(f"{url}: the server answers {reply.status_code} {reply.reason}")
        going_on = reply.status_code == 206 and reply.headers.get("Content-Range", "").startswith(
            f"bytes {here}-"
        )
        if not going_on:
            here = 0
        length = reply.headers.get("Content-Length")
        total = here + int(length) if length else None
        with part.open("ab" if going_on else "wb") as file:
            for chunk in reply.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                here += len(chunk)
                yield here
    return total is None or here >= total


def _short(reason: Exception | str) -> str:
    """Return the innermost words of an error: libraries wrap "Name or service not known" several times over."""
    inner: BaseException | str = reason
    while isinstance(inner, BaseException) and (cause := inner.__cause__ or inner.__context__):
        inner = cause
    return str(inner).strip() or type(inner).__name__
