"""Where tokens are patches of a band: the band of the peak is marked, and can be heard alone."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from fake_latents import RATE, SECONDS, write_latents
from shards import read_shard

from otoscope.explorer import write_explorer
from otoscope.explorer.single import as_single_file
from otoscope.explorer.sounds import N_BANDS, mel_digits

LOW_HZ, HIGH_HZ = 500.0, 4000.0
BANDS_HZ = [[20.0, 900.0], [800.0, 2500.0], [2400.0, 8000.0]]


@pytest.fixture(scope="module")
def banded(tmp_path_factory) -> Path:
    """The explorer of clips of two tones, the higher one 12 dB up; latents of frames peak in the lower one's band."""
    home = tmp_path_factory.mktemp("banded")
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    wave = 0.1 * np.sin(2 * np.pi * LOW_HZ * time_s) + 0.4 * np.sin(2 * np.pi * HIGH_HZ * time_s)
    rows = []
    for i in range(8):
        soundfile.write(home / f"{i}.wav", 0.97**i * wave, RATE)
        rows.append(
            [
                f"clip-{i:02d}",
                str(home / f"{i}.wav"),
                0.0,
                SECONDS,
                "train",
                f"g{i % 2}",
                "ab"[i % 2],
                float(i),
            ]
        )
    columns = ["clip_id", "path", "start_s", "stop_s", "split", "group", "vowel", "f0_hz"]
    folder = write_latents(home / "latents", pd.DataFrame(rows, columns=columns), n_latents=12)
    examples = pd.read_parquet(folder / "examples.parquet")
    examples.assign(band=np.where(examples.value > 0, 0, -1)).to_parquet(folder / "examples.parquet")
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps(about | {"bands_hz": BANDS_HZ}))
    return write_explorer(folder).parent


def test_sounds_lie_in_scripts_once_and_a_third_larger(banded, explorer):
    assert not list((banded / "audio").iterdir())
    scripts = sorted((banded / "data" / "audio").iterdir())
    assert len(scripts) == read_shard(banded / "data" / "run.js", "run")["n_clips"] > 4
    packed = scripts[0].read_text().removeprefix('put("audio/0","').removesuffix('");\n')
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(packed)))
    assert (len(wave), rate) == (SECONDS * RATE, RATE)
    assert not (explorer / "data" / "audio").exists()  # where no dictionary has bands, they are files


def test_the_page_knows_edges_and_the_peaks_band(banded):
    run = read_shard(banded / "data" / "run.js", "run")
    assert run["dictionaries"][0]["bands_hz"] == BANDS_HZ
    assert run["in_scripts"] is True
    page = read_shard(banded / "data" / "d0" / "latents-0.js", "d0/latents-0")
    for latent in page.values():
        for example in latent["examples"]:
            assert example["band"] == (0 if example["value"] else None)


def address(index: Path, home: Path) -> str:
    """Return where the first latent that fires in some clip has its page."""
    pages = read_shard(home / "data" / "d0" / "latents-0.js", "d0/latents-0")
    latent = next(latent for latent, page in pages.items() if any(each["value"] for each in page["examples"]))
    return f"{index.as_uri()}#/latents/latent/{latent}"


def level_db(wave: np.ndarray, hz: float) -> float:
    """Return the level of a tone in the middle of a sound."""
    inner = np.asarray(wave)[RATE // 4 : -RATE // 4]
    phase = np.exp(-2j * np.pi * hz / RATE * np.arange(len(inner)))
    return float(20 * np.log10(np.abs((inner * np.hanning(len(inner)) * phase).mean()) + 1e-12))


HEARD = """async () => {
  const bytes = bytesOf(player.sound.src.split(",")[1]);
  const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes.buffer);
  return [player.sound.src.slice(0, 15), Array.from(sound.getChannelData(0))];
}"""


def until(page, condition: str) -> None:
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(30)
    raise AssertionError(condition)


@pytest.mark.slow
@pytest.mark.parametrize("single", [False, True])
def test_the_band_is_heard_alone(browser, banded, single):
    """Heard whole, the tone beside the band is 12 dB up; heard alone, it is at least 40 dB under that of the band."""
    index = as_single_file(banded) if single else banded / "index.html"
    page, wrong = browser.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address(index, banded))
    page.wait_for_selector("[data-ready]")
    button = page.get_by_role("button", name="Its band alone")
    assert button.get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="Loop the peak").click()  # so that a busy machine does not find it ended
    page.locator(".clip .play").first.click()
    until(page, "player.sound.currentTime > 0.1")
    kind, whole = page.evaluate(HEARD)
    assert kind == "data:audio/mpeg"
    assert level_db(whole, HIGH_HZ) - level_db(whole, LOW_HZ) == pytest.approx(12, abs=1)
    button.click()
    until(
        page,
        "player.sound.src.startsWith('data:audio/wav')",
    )
    until(page, "player.sound.currentTime > 0.1 && !player.sound.paused")
    assert button.get_attribute("aria-pressed") == "true"
    _, alone = page.evaluate(HEARD)
    assert len(alone) == len(whole)  # nothing is delayed: as long as the clip, and in step with it
    assert level_db(alone, LOW_HZ) - level_db(alone, HIGH_HZ) > 40
    inner = slice(RATE // 2, RATE)
    tone = np.sin(2 * np.pi * LOW_HZ * np.arange(len(whole)) / RATE)
    assert np.corrcoef(np.asarray(alone)[inner], tone[inner])[0, 1] > 0.999
    assert np.abs(alone).max() <= 1.0
    assert wrong == []
    page.close()


@pytest.mark.slow
def test_the_stripe_stands_where_the_spectrogram_has_the_band(browser, banded):
    """The row of the picture in which a tone is loudest lies in the stripe if the tone lies in the band."""
    page = browser.new_page()
    page.goto(address(banded / "index.html", banded))
    page.wait_for_selector(".stripe")
    style = page.evaluate(
        "[document.querySelector('.stripe').style].map((each) => [each.bottom, each.height])[0]"
    )
    foot, height = (float(part.removesuffix("%")) for part in style)
    time_s = np.arange(RATE) / RATE
    for hz, inside in ((LOW_HZ, True), (890.0, True), (920.0, False), (HIGH_HZ, False)):
        digits = mel_digits(np.sin(2 * np.pi * hz * time_s).astype(np.float32), RATE)
        rows = np.array([int(digit, 16) for digit in digits]).reshape(N_BANDS, -1).mean(1)
        place = 100 * (np.average(np.arange(N_BANDS), weights=rows**8) + 0.5) / N_BANDS
        assert (foot < place < foot + height) == inside, (hz, place, foot, height)
    assert "20 to 900 Hz" in page.locator(".clip").first.inner_text()
    page.close()


@pytest.mark.slow
def test_without_bands_there_is_no_such_button(browser, explorer):
    page = browser.new_page()
    page.goto(f"{(explorer / 'index.html').as_uri()}#/otoscope-mini/layer_03/topk-40-s0.9-seed0/latent/0")
    page.wait_for_selector("[data-ready]")
    assert page.get_by_role("button", name="Its band alone").count() == 0
    assert page.locator(".stripe").count() == 0
    page.close()
