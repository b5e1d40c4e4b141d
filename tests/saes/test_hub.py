"""Push to and load from a Hub: a small local server that speaks as much of its protocol as that needs."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """One model repository, kept in `server.files`."""

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
            self.reply({"url": f"http://{self.headers['Host']}/me/saes"})
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
            url = f"http://{self.headers['Host']}/me/saes/commit/{COMMIT}"
            self.reply({"success": True, "commitOid": COMMIT, "commitUrl": url})
        else:
            self.reply({"error": self.path}, status=404)

    def do_GET(self):
        if self.path.startswith("/api/models/me/saes/tree/"):
            self.reply(
                [
                    {"type": "file", "path": p, "size": len(c), "oid": "0"}
                    for p, c in self.server.files.items()
                ]
            )
        elif self.path.startswith("/api/models/me/saes"):
            self.reply(
                {"id": "me/saes", "sha": COMMIT, "siblings": [{"rfilename": p} for p in self.server.files]}
            )
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


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def run(hub, cache, code):
    """Run `code` in a process of its own: huggingface_hub reads its settings once, when it is imported."""
    settings = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
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
    return done.stdout


def test_push_and_load(hub, tmp_path):
    printed = run(
        hub,
        tmp_path,
        """
        import torch
        from otoscope.errors import ModelError
        from otoscope.saes import SparseAutoencoder, make_config
        from otoscope.saes.kinds import build_sae

        sae = build_sae(make_config("topk", n_latents=16, k=3), 6, seed=1)
        sae.layer = 4
        print(sae.push_to_hub("me/saes"))
        sae.push_to_hub("me/saes", folder="layer_4/topk", private=True, message="One more")
        for source in ("me/saes", "me/saes/layer_4/topk"):
            loaded = SparseAutoencoder.from_pretrained(source)
            assert torch.equal(loaded.encoder_weight, sae.encoder_weight) and loaded.layer == 4
        for source in ("me/saes/nowhere", "me/other", "nothing"):
            try:
                SparseAutoencoder.from_pretrained(source)
            except ModelError as error:
                print("refused:", error)
        try:
            sae.push_to_hub("me/forbidden")
        except ModelError as error:
            print("refused:", error)
        """,
    )
    assert f"/me/saes/commit/{COMMIT}" in printed
    assert "me/saes has no folder 'nowhere'" in printed
    assert "me/other is no directory, and not to be had from the Hub" in printed
    assert "nothing: no such directory" in printed
    assert "could not push to me/forbidden" in printed
    assert set(hub.files) == {
        f"{folder}{name}"
        for folder in ("", "layer_4/topk/")
        for name in ("README.md", "config.json", "model.safetensors")
    }
    assert b"library_name: otoscope" in hub.files["README.md"]
