"""A model hub on this machine: as much of the Hugging Face Hub's protocol as loading and pushing need."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """One model repository, `server.repo`, kept in `server.files`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, body, *, status=200, headers=()):
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def do_POST(self):
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = (
            b"".join(self.chunks())
            if chunked
            else self.rfile.read(int(self.headers.get("Content-Length") or 0))
        )
        if self.path == "/api/repos/create":
            if json.loads(body)["name"] == "forbidden":
                self.reply({"error": "no"}, status=403)
                return
            self.reply({"url": f"http://{self.headers['Host']}/{self.server.repo}"})
        elif self.path == "/api/validate-yaml":
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.reply(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
                    ]
                }
            )
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            url = f"http://{self.headers['Host']}/{self.server.repo}/commit/{COMMIT}"
            self.reply({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.reply({"error": self.path}, status=404)

    def do_GET(self):
        repo = self.server.repo
        if self.path.startswith(f"/api/models/{repo}/tree/"):
            self.reply(
                [
                    {"type": "file", "path": p, "size": len(c), "oid": "0"}
                    for p, c in self.server.files.items()
                ]
            )
        elif self.path.startswith(f"/api/models/{repo}"):
            self.reply({"id": repo, "sha": COMMIT, "siblings": [{"rfilename": p} for p in self.server.files]})
        elif "/resolve/" in self.path:
            content = self.server.files.get(self.path.split(f"/resolve/{COMMIT}/")[-1])
            if content is None:
                self.reply({"error": "no"}, status=404, headers=[("X-Error-Code", "EntryNotFound")])
                return
            etag = hashlib.sha1(content).hexdigest()
            self.reply(content, headers=[("ETag", f'"{etag}"'), ("X-Repo-Commit", COMMIT)])
        else:
            self.reply({"error": "no"}, status=404, headers=[("X-Error-Code", "RepoNotFound")])

    do_HEAD = do_GET

    def chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


@contextmanager
def hub_server(repo: str) -> Iterator[ThreadingHTTPServer]:
    """Serve one repository, ``owner/name``; its files are `server.files`, path -> bytes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repo = repo
    server.files = {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def address_of(server: ThreadingHTTPServer) -> str:
    """Return what HF_ENDPOINT shall be."""
    return f"http://127.0.0.1:{server.server_address[1]}"


def run(address: str, cache, code: str) -> str:
    """Run `code` in a process of its own, as huggingface_hub reads its settings once; return what it printed."""
    settings = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_for_a_local_test",
        "NO_PROXY": "127.0.0.1",
    }
    script = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr
