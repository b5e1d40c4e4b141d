"""A local HTTP server with one file and the faults that real ones show: `serving`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """One file, `content`, at `url`, and what was asked.

    Attributes
    ----------
    ranges : bool
        Whether parts may be asked for.
    breaks_after : list of int
        Connections, in order, that end after so many bytes.
    statuses : list of int
        Answers given before the first good one.
    asked : list of str or None
        The Range header of every request.
    """

    content: bytes
    url: str = ""
    ranges: bool = True
    breaks_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)


@contextmanager
def serving(content: bytes, name: str, **faults) -> Iterator[Server]:
    """Serve `content` as `name` on this machine while the block runs."""
    server = Server(content, **faults)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            server.asked.append(asked)
            if server.statuses:
                self.send_error(server.statuses.pop(0))
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
            size = len(server.content)
            if asked and server.ranges and start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            stop = start + server.breaks_after.pop(0) if server.breaks_after else size
            self.wfile.write(server.content[start:stop])

        def log_message(self, *args) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/files/{name}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
