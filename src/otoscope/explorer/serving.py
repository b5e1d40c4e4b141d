"""The explorer on this machine alone, where it also takes a sound of your own.

The page decodes what is uploaded or recorded and sends samples; nothing is kept. Only this machine can connect, and
only the page itself may ask: requests that name another host or come from another page are refused.
"""

from __future__ import annotations

import base64
import json
import tempfile
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import numpy as np

from otoscope.errors import InputError, OtoscopeError
from otoscope.explorer.reading import Dictionary, find_dictionaries
from otoscope.explorer.shards import figures
from otoscope.explorer.sounds import N_BANDS, listen
from otoscope.explorer.tables import MOST_STRIPS

LONGEST_S = 120.0
RATES = (8_000, 192_000)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mp3": "audio/mpeg",
}


def make_server(page: Path, places: list[Path], *, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a written explorer on 127.0.0.1; ``serve_forever()`` runs it.

    Parameters
    ----------
    page : Path
        Its ``index.html``.
    places : list of Path
        The runs or latents folders that it was written of.
    port : int
        0 takes a free one; ``server_port`` says which.
    """
    ears: dict[str, Ear] = {each.name: Ear(each) for each in find_dictionaries(places)}
    return ThreadingHTTPServer(("127.0.0.1", port), _handler(page.parent.resolve(), ears))


class Ear:
    """What one dictionary hears in a sound: its encoder and autoencoder, loaded when first asked."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.dictionary = dictionary
        self._loaded: tuple[Any, Any] | None = None
        self._one_at_a_time = threading.Lock()

    def hear(self, wave: np.ndarray, rate: int) -> dict[str, Any]:
        """Return what a clip's page shows of a waveform [samples] in -1..1.

        Raises
        ------
        OtoscopeError
            If its autoencoder is not there, or the sound cannot be encoded.
        """
        import pandas as pd
        import soundfile

        from otoscope.activations import extract
        from otoscope.saes import encode_rows

        with self._one_at_a_time, tempfile.TemporaryDirectory() as folder:
            sae, encoder = self._load()
            heard = sae.about.get("activations", {})
            path = Path(folder) / "own.wav"
            soundfile.write(path, wave, rate, subtype="FLOAT")
            duration_s = len(wave) / rate
            clips = pd.DataFrame(
                [["own", str(path), 0.0, duration_s, "test", "own"]],
                columns=["clip_id", "path", "start_s", "stop_s", "split", "group"],
            )
            store = extract(
                clips,
                encoder,
                out=Path(folder) / "store",
                layers=[sae.layer],
                pool=heard.get("pool", "mean"),
                crop=heard.get("crop", "full"),
                progress=False,
            )
            found = encode_rows(sae, store, layer=sae.layer)
            sound = listen(str(path), 0.0, duration_s)
            rows = store.rows
        most = self.dictionary.table("latents").set_index("latent")["max"]
        return {
            "duration_s": sound.duration_s,
            "top_hz": sound.top_hz,
            "mel": {"mel": sound.mel, "bands": N_BANDS},
            "mp3": base64.b64encode(sound.mp3).decode(),
            **fired(found, rows, most.to_dict()),
        }

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from otoscope.encoders.load import load_recorded
            from otoscope.saes import SparseAutoencoder

            sae = SparseAutoencoder.from_pretrained(self._folder())
            self._loaded = sae, load_recorded(sae.about.get("activations", {}), device="auto")
        return self._loaded

    def _folder(self) -> str:
        """Return where its autoencoder lies: as its tables say, or where a run keeps it."""
        own, told = self.dictionary.folder.resolve(), self.dictionary.sae.get("folder")
        run = next((parent.parent for parent in own.parents if parent.name == "latents"), None)
        tried = [Path(told)] if told else []
        if run is not None:
            tried += [*([run / told] if told else []), run / "saes" / self.dictionary.name]
        for folder in tried:
            if (folder / "config.json").is_file():
                return str(folder)
        raise InputError(
            f"the autoencoder of '{self.dictionary.name}' is not there ({told or 'its tables name none'}), so it can "
            "hear nothing new; make the latents tables again where it lies"
        )


def fired(found: Any, rows: Any, most: dict[int, float]) -> dict[str, Any]:
    """Return the rows and curves that a clip's page shows, of a table of active latents of one clip.

    Parameters
    ----------
    found : DataFrame
        ``latent, value``, and of frames ``time_s``: what `otoscope.saes.encode_rows` gives.
    rows : DataFrame
        The store's rows, silent ones too.
    most : dict
        Each latent's maximum in the corpus.
    """
    times = np.unique(rows["time_s"]) if "time_s" in rows else np.zeros(0)
    parts = {int(latent): part for latent, part in found.groupby("latent")}
    order = sorted(parts, key=lambda latent: -parts[latent].value.max())
    shown: list[list] = []
    curves: dict[str, list] = {}
    for latent in order:
        part, top = parts[latent], float(parts[latent].value.max())
        share = len(part) / max(len(rows), 1)
        shown.append([latent, *figures([top, share, top / (most.get(latent) or np.nan)])])
        if len(times) > 1 and len(curves) < MOST_STRIPS:
            step_s = float(np.median(np.diff(times)))
            values = np.zeros(len(times))
            np.maximum.at(values, np.searchsorted(times, part.time_s), part.value / top)
            packed = base64.b64encode(np.round(255 * values).astype(np.uint8).tobytes()).decode()
            curves[str(latent)] = [float(times[0] - step_s / 2), step_s, top, packed]
    return {"rows": shown, "curves": curves}


def _handler(folder: Path, ears: dict[str, Ear]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self._is_of_this_page():
                return self._answer(403, b"refused")
            name = self.path.partition("?")[0].lstrip("/") or "index.html"
            path = (folder / name).resolve()
            if not path.is_relative_to(folder) or path.suffix not in _TYPES or not path.is_file():
                return self._answer(404, b"not here")
            content = path.read_bytes()
            if path.name == "index.html":
                content = _for_serving(content.decode()).encode()
            return self._answer(200, content, _TYPES[path.suffix])

        def do_POST(self) -> None:
            own = f"http://{self.headers.get('Host')}"
            if self._is_of_this_page() and self.headers.get("Origin") == own:
                self._say(lambda: ears[unquote(self.headers["X-Dictionary"])].hear(*self._sound()))
            else:
                self._answer(403, b"refused")

        def _sound(self) -> tuple[np.ndarray, int]:
            rate, size = int(self.headers["X-Rate"]), int(self.headers["Content-Length"])
            if not RATES[0] <= rate <= RATES[1] or not 0 < size <= 4 * rate * LONGEST_S:
                raise InputError(f"a sound of your own may be {LONGEST_S:.0f} s long at most")
            wave = np.frombuffer(self.rfile.read(size), "<f4")
            if not np.isfinite(wave).all():
                raise InputError("the sound has samples that are no numbers")
            return np.clip(wave, -1, 1), rate

        def _say(self, work: Callable[[], dict]) -> None:
            try:
                answer, status = work(), 200
            except OtoscopeError as error:
                answer, status = {"error": str(error)}, 422
            except (KeyError, TypeError, ValueError):
                answer, status = {"error": "this is no sound for a dictionary of this explorer"}, 400
            self._answer(status, json.dumps(answer).encode(), "application/json")

        def _is_of_this_page(self) -> bool:
            """Whether the request names this server: a page that had its name moved here names its own."""
            port = cast(ThreadingHTTPServer, self.server).server_port
            return self.headers.get("Host") in (f"127.0.0.1:{port}", f"localhost:{port}")

        def _answer(self, status: int, content: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            for name, value in (
                ("Content-Type", kind),
                ("Content-Length", str(len(content))),
                ("X-Content-Type-Options", "nosniff"),
                ("Cross-Origin-Resource-Policy", "same-origin"),
                ("Cache-Control", "no-store"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing of each request."""

    return Handler


def _for_serving(page: str) -> str:
    """Let the page, as served here, ask this server."""
    page = page.replace("base-uri 'none'", "connect-src 'self'; base-uri 'none'", 1)
    return page.replace('<html lang="en">', '<html lang="en" data-served>', 1)
