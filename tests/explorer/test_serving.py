"""The explorer served on this machine alone, with a sound of one's own."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fake_latents import write_clips, write_latents

import otoscope as oto
from otoscope.explorer import write_explorer
from otoscope.explorer.serving import fired, make_server

NAME = "tiny/layer_01/topk-16-s0.75-seed0"


@pytest.fixture(scope="module")
def heard_run(tiny_encoder, tmp_path_factory) -> Path:
    """A run with a real encoder and autoencoder, so that new sound can be heard."""
    run = tmp_path_factory.mktemp("served") / "run"
    clips = write_clips(run / "clips", n_clips=8)
    encoder = oto.load_encoder(tiny_encoder, device="cpu")
    store = oto.extract(clips, encoder, out=run / "store", layers=[1], pool="frames", progress=False)
    (sae,) = oto.train_saes(
        store, [oto.TopKConfig(n_latents=16, sparsity=0.75)], epochs=1, batch_size=64, progress=False
    )
    sae.save_pretrained(run / "saes" / NAME)
    write_latents(run / "latents" / NAME, clips, n_latents=16, layer=1)
    write_explorer(run)
    return run


@pytest.fixture(scope="module")
def port(heard_run):
    """Where it is served."""
    with make_server(heard_run / "explorer" / "index.html", [heard_run]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        named = {"Host": f"127.0.0.1:{port}"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        for name, text in named.items():
            connection.putheader(name, text)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_gives_the_folder_and_nothing_above(port):
    status, page = ask(port, "GET", "/")
    assert status == 200
    assert b"connect-src 'self'" in page and b"data-served" in page  # noqa: PT018
    assert ask(port, "GET", "/data/run.js")[0] == 200
    for path in ("/../latents/x.js", "/%2e%2e/spec.yaml", "/built.json", "/nobody.js", "/../../clips/x.mp3"):
        assert ask(port, "GET", path)[0] == 404, path


def test_other_names_and_other_pages_are_refused(port):
    assert ask(port, "GET", "/", Host="evil.example")[0] == 403
    sound = np.zeros(1600, "<f4").tobytes()
    asked = {"X_Rate": "16000", "X_Dictionary": NAME}
    assert ask(port, "POST", "/own", sound, Origin="http://evil.example", **asked)[0] == 403
    assert ask(port, "POST", "/own", sound, **asked)[0] == 403
    own = f"http://127.0.0.1:{port}"
    assert ask(port, "POST", "/own", sound, Origin=own, X_Rate="16000", X_Dictionary="nobody")[0] == 400
    assert ask(port, "POST", "/own", sound, Origin=own, X_Rate="1", X_Dictionary=NAME)[0] == 422


def test_a_sound_of_ones_own_gives_what_the_autoencoder_says(port, heard_run, tiny_encoder, tmp_path):
    """Against the library's own way from a file to codes."""
    wave, rate = soundfile.read(heard_run / "clips" / "singer-2 01.wav", dtype="float32")
    status, answer = ask(
        port, "POST", "/own", wave.astype("<f4").tobytes(),
        Origin=f"http://127.0.0.1:{port}", X_Rate=str(rate), X_Dictionary=NAME,
    )  # fmt: skip
    assert status == 200
    found = json.loads(answer)
    store = oto.Activations.open(heard_run / "store")
    sae = oto.SparseAutoencoder.from_pretrained(heard_run / "saes" / NAME)
    codes = oto.saes.codes_of(sae, store.layer(1)[(store.rows.clip_id == "clip-01").to_numpy()])
    assert {row[0] for row in found["rows"]} == set(np.flatnonzero(codes.max(axis=0)))
    for latent, most, share, _ in found["rows"]:
        assert most == pytest.approx(codes[:, latent].max(), rel=2e-3)
        assert share == pytest.approx((codes[:, latent] > 0).mean(), rel=2e-3)
    first = str(found["rows"][0][0])
    drawn = np.frombuffer(base64.b64decode(found["curves"][first][3]), np.uint8) / 255
    np.testing.assert_allclose(drawn, codes[:, int(first)] / codes[:, int(first)].max(), atol=0.004)
    assert found["duration_s"] == pytest.approx(2.0)


def test_a_curve_stands_where_its_frames_do():
    rows = pd.DataFrame({"time_s": [0.01, 0.03, 0.05, 0.07]})
    found = pd.DataFrame({"latent": [5, 5, 2], "time_s": [0.03, 0.07, 0.01], "value": [1.0, 2.0, 0.5]})
    shown = fired(found, rows, {5: 4.0})
    assert shown["rows"] == [[5, 2.0, 0.5, 0.5], [2, 0.5, 0.25, None]]
    start_s, step_s, peak, values = shown["curves"]["5"]
    assert (start_s, step_s, peak) == (pytest.approx(0.0, abs=1e-9), pytest.approx(0.02), 2.0)
    assert list(base64.b64decode(values)) == [0, 128, 0, 255]


@pytest.mark.slow
def test_an_upload_gives_its_latents_in_the_browser(port, heard_run, browser):
    page, wrong = browser.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_role("link", name="Try a sound of your own").click()
    page.set_input_files("input[type=file]", heard_run / "clips" / "singer-2 01.wav")
    page.wait_for_selector(".page.clip-page[data-ready]", timeout=30_000)  # with loading the models
    page.go_back()
    page.wait_for_selector(".own")
    started = time.monotonic()
    page.set_input_files("input[type=file]", heard_run / "clips" / "singer-3 02.wav")
    page.wait_for_selector(".page.clip-page[data-ready]", timeout=30_000)
    assert time.monotonic() - started < 3  # with the models loaded
    assert page.locator("h1").inner_text() == "own: singer-3 02.wav"
    assert page.locator(".strip .who .number").count() > 0
    page.locator("#transport .play").click()
    page.wait_for_timeout(500)
    assert page.evaluate("player.sound.currentTime") > 0
    page.get_by_label("Compare with").select_option("own: singer-2 01.wav")
    page.wait_for_selector(".compared tbody tr")
    assert wrong == []
    page.close()
