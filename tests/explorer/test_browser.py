"""The explorer in a real browser, opened from disk: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_latents import MARKUP, STEP_S, click_s

from otoscope.explorer.shards import write_shard
from otoscope.explorer.single import as_single_file

pytestmark = pytest.mark.slow
FRAMES = "otoscope-mini/layer_03/topk-40-s0.9-seed0"


@pytest.fixture
def visit(browser, explorer) -> Iterator[Any]:
    """Return a function that opens an address of the explorer; at the end nothing may have gone wrong or out."""
    contexts, wrong, asked = [], [], []

    def opened(hash_: str = "#/", *, folder: Path = explorer, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append((request.url, folder.resolve().as_uri())))
        page.goto(f"{(folder.resolve() / 'index.html').as_uri()}{hash_}")
        page.wait_for_selector("[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []
    assert [url for url, home in asked if not url.startswith((f"{home}/", "data:,"))] == []


def names(page: Any) -> list[str]:
    return page.locator(".rows .cell.name").all_inner_texts()


def until(page: Any, condition: str, timeout_s: float = 10) -> None:
    """Wait for a condition; the page's policy forbids the browser's own way, which evaluates text in the page."""
    stop = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < stop, condition
        page.wait_for_timeout(30)


def test_search_sort_and_open_a_latent(visit):
    page = visit()
    total = page.locator(".found").inner_text()
    page.fill("#search", "clicks")
    assert names(page) == ["clicks"]
    assert page.locator(".found").inner_text() != total
    page.fill("#search", "")
    page.get_by_role("columnheader", name="Fires").get_by_role("button").click()
    shares = [float(text.split()[0]) for text in page.locator(".rows .cell.frequency").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 5
    page.get_by_role("columnheader", name="Fires").get_by_role("button").click()
    shares = [float(text.split()[0]) for text in page.locator(".rows .cell.frequency").all_inner_texts()]
    assert shares == sorted(shares)
    page.fill("#search", "clicks")
    page.locator(".rows .cell.name a").first.click()
    page.wait_for_selector(".page.latent[data-ready]")
    assert page.locator("h1").inner_text() == "clicks"
    assert page.evaluate("location.hash").endswith("/latent/0")


def test_a_search_may_limit_numbers(visit, shard):
    page = visit()
    table = shard("d0/table")
    alive = np.array(table["alive"], dtype=bool)
    frequency, recurs = (np.array(table[key], dtype=float)[alive] for key in ("frequency", "recurrence"))
    middle = np.median(frequency)
    for words, expected in (
        (f"fires<{100 * middle:.6f}%", frequency < middle),
        (f"fires>{middle:.8f} recurs>0.5", (frequency > middle) & (recurs > 0.5)),
    ):
        page.fill("#search", words)
        assert 0 < expected.sum() < alive.sum()
        assert page.locator(".found").inner_text().split()[0] == str(expected.sum())


def test_links_and_the_tables_view_survive_a_reload(visit):
    page = visit(f"#/{FRAMES}?q=singer-4&sort=latent&clear=")
    before = names(page)
    assert before
    assert set(before) == {"group singer-4"}
    assert page.locator(".head [aria-sort=ascending]").inner_text() == "Latent"
    page.fill("#search", "vowel e")
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.input_value("#search") == "vowel e"
    for kind, id_ in (("latent", "7"), ("clip", "clip-05")):
        page.goto(page.url.partition("#")[0] + f"#/{FRAMES}/{kind}/{id_}")
        page.wait_for_selector(f".page.{kind.replace('clip', 'clip-page')}[data-ready]")
        title = page.locator("h1").inner_text()
        page.reload()
        page.wait_for_selector("[data-ready]")
        assert page.locator("h1").inner_text() == title


def test_an_address_of_nothing_says_so(visit):
    page = visit(f"#/{FRAMES}/latent/99999")
    assert "no latent 99999" in page.locator("main").inner_text()
    page = visit("#/nobody")
    assert "no dictionary 'nobody'" in page.locator("main").inner_text()


def test_audio_plays_and_its_clock_moves_with_the_cursor(visit):
    page = visit(f"#/{FRAMES}/latent/0")
    page.locator(".clip .play").first.click()
    until(page, "player.sound.currentTime > 0.2")
    first = page.evaluate("player.sound.currentTime")
    until(page, f"player.sound.currentTime > {first} + 0.1")
    at, left = page.evaluate(
        "[player.sound.currentTime, parseFloat(document.querySelector('.cursor:not([hidden])').style.left)]"
    )
    assert left == pytest.approx(100 * at / 2.0, abs=8)
    assert page.locator(".clip .play").first.get_attribute("aria-label").startswith("Pause")
    page.keyboard.press("Escape")
    page.wait_for_selector(".page.overview[data-ready]")
    assert page.evaluate("player.sound.paused") is True


def test_a_loop_stays_at_the_peak_and_only_plays_where_it_fires(visit):
    page = visit(f"#/{FRAMES}/latent/0")
    peak_s = page.evaluate("(async () => (await load('d0/latents-0'))['0'].examples[0].peak_s)()")
    page.get_by_role("button", name="Loop the peak").click()
    page.locator(".clip .play").first.click()
    page.wait_for_timeout(1500)  # longer than the loop
    heard = [page.evaluate("player.sound.currentTime") for _ in range(5) if page.wait_for_timeout(60) is None]
    assert all(peak_s - 0.45 < at < peak_s + 0.55 for at in heard), (peak_s, heard)
    assert page.evaluate("player.sound.paused") is False
    page.get_by_role("button", name="Only where it fires").click()
    stretches = page.evaluate("player.stretches")
    assert all(stop - start < 0.2 for start, stop in stretches)  # a click
    assert any(start < peak_s < stop for start, stop in stretches)
    until(page, "player.sound.paused")


def test_a_click_lies_under_the_curves_peak_as_drawn_and_as_heard(visit, explorer):
    """The browser's own decoder finds the click where the page's mark stands, within one frame."""
    page = visit(f"#/{FRAMES}/latent/0")
    clips = page.evaluate("load('clips')")
    for card in page.locator(".examples section").first.locator(".clip").all():
        title = card.locator(".words a").inner_text()
        number = clips["id"].index(title)
        marked_s = (
            float(re.search(r"left: ([\d.]+)%", card.locator(".peak").get_attribute("style"))[1]) / 100 * 2.0
        )
        packed = base64.b64encode((explorer / "audio" / f"{number}.mp3").read_bytes()).decode()
        wave, rate = page.evaluate(DECODE, packed)
        assert len(wave) / rate == pytest.approx(2.0, abs=1 / rate)  # no delay, no tail
        heard_s = float(np.abs(np.diff(wave, 2)).argmax() + 1) / rate
        clicked_s = click_s(int(title.removeprefix("clip-")))
        assert heard_s == pytest.approx(clicked_s, abs=0.003)
        assert marked_s == pytest.approx(heard_s, abs=STEP_S)


DECODE = """async (packed) => {
  const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytesOf(packed).buffer);
  return [Array.from(sound.getChannelData(0)), sound.sampleRate];
}"""


def test_a_label_of_markup_shows_as_text(visit):
    page = visit(f"#/{FRAMES}?q=onerror")
    assert names(page) == [f"vowel {MARKUP}"]
    page.locator(".rows .cell.name a").click()
    page.wait_for_selector(".page.latent[data-ready]")
    assert page.locator("h1").inner_text() == f"vowel {MARKUP}"
    page.goto(page.url.replace("/latent/1", "/clip/clip-03"))
    page.wait_for_selector(".page.clip-page[data-ready]")
    assert MARKUP in page.locator(".facts").inner_text()
    assert page.locator("img").count() == 0
    assert page.title().startswith("clip-03")


def test_before_and_after_are_told_and_heard(visit):
    page = visit()
    page.locator(".switched a", has_text="20").click()
    page.wait_for_selector(".page.latent[data-ready]")
    for side in ("before", "after"):
        page.get_by_role("button", name=re.compile(f"^Play clip clip-05, {side}$")).click()
        until(page, "player.sound.currentTime > 0.1 && !player.sound.paused")
        assert page.evaluate("player.sound.src").endswith(f"/audio/d0-20-off-5-{side}.mp3")
    assert (
        "Moved 1.0 %; of a push as large in a random direction 2.0 %." in page.locator(".effect").inner_text()
    )
    page.goto(page.url.partition("#")[0] + f"#/{FRAMES}/latent/0")
    until(page, "document.querySelector('h1').textContent === 'clicks'")
    first = page.locator(".effect").first
    assert first.locator("del").all_inner_texts() == ["best"]
    assert first.locator("ins").all_inner_texts() == [*MARKUP.split(), "worst"]  # words, not markup
    assert page.locator(".effect").nth(1).locator("dd").nth(1).inner_text() == "the same"
    assert page.locator(".effect").nth(2).locator("dd").nth(0).inner_text() == "nothing"
    page.goto(page.url.partition("#")[0] + f"#/{FRAMES}/latent/1")
    until(page, "document.querySelector('.says') !== null")
    assert page.locator(".says .changed").inner_text() == MARKUP
    bars = page.locator(".effect .bars li").first
    assert bars.locator(".number").inner_text() == "75.0 % → 12.5 %"
    widths = "[...document.querySelectorAll('.effect .bar')].slice(0, 2).map((bar) => bar.style.width)"
    assert page.evaluate(widths) == ["75%", "12.5%"]
    assert page.locator("img").count() == 0


def test_the_policy_refuses_markup_and_requests(browser, explorer):
    page = browser.new_page()
    page.goto((explorer / "index.html").as_uri())
    page.wait_for_selector("[data-ready]")
    assert (
        page.evaluate("try { document.body.innerHTML = '<b>x</b>'; 'made' } catch (e) { e.name }")
        == "TypeError"
    )
    refused = "fetch('http://127.0.0.1:9/').then(() => 'went', () => 'refused')"
    assert page.evaluate(refused) == "refused"
    page.close()


def test_one_file_has_all_and_plays(browser, explorer, tmp_path):
    file = as_single_file(shutil.copytree(explorer, tmp_path / "one"))
    shutil.rmtree(tmp_path / "one")
    page, wrong = browser.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.goto(f"{file.as_uri()}#/{FRAMES}/latent/0")
    page.wait_for_selector("[data-ready]")
    page.locator(".clip .play").first.click()
    until(page, "player.sound.currentTime > 0.1")
    assert wrong == []
    page.close()


def test_two_clips_are_compared(visit):
    page = visit(f"#/{FRAMES}/clip/clip-03")
    page.get_by_label("Compare with").select_option("clip-04")
    page.wait_for_selector(".compared")
    assert page.evaluate("location.hash").endswith("/clip/clip-03?with=clip-04")
    shard = page.evaluate("load('d0/clips-0')")
    one, two = ({row[0]: row[3] for row in shard[str(clip)]["rows"]} for clip in (3, 4))
    most = max(one.keys() | two.keys(), key=lambda latent: abs(one.get(latent, 0) - two.get(latent, 0)))
    assert page.locator(".compared tbody .number").first.inner_text() == str(most)


def test_keys_go_through_latents_in_the_tables_order(visit):
    page = visit()
    page.locator(".grid").focus()
    page.keyboard.press("ArrowDown")
    second = page.locator("#row-1 .cell.name").inner_text(), page.locator("#row-1 .cell.latent").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_selector(".page.latent[data-ready]")
    assert page.locator("h1").inner_text() == second[0]
    assert page.locator(".kicker").inner_text().startswith(f"Latent {second[1]} · 2 of")
    assert page.evaluate("document.activeElement.tagName") == "H1"  # a screen reader goes on here
    page.keyboard.press("ArrowLeft")
    until(page, "document.querySelector('.kicker').textContent.includes(' 1 of')")
    page.keyboard.press("ArrowRight")
    until(page, "document.querySelector('.kicker').textContent.includes(' 2 of')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".page.overview[data-ready]")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", ["", "/latent/0", "/latent/1", "/latent/20", "/clip/clip-03"])
def test_nothing_is_cut_off_on_a_phone_and_every_picture_is_drawn(visit, place, scheme):
    page = visit(f"#/{FRAMES}{place}", viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    until(page, "[...document.querySelectorAll('canvas')].every((canvas) => 'drawn' in canvas.dataset)")
    blank = """[...document.querySelectorAll('canvas')].filter((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size < 3;
    }).length"""
    assert page.evaluate(blank) == 0


@pytest.mark.parametrize("place", ["", "/latent/0", "/latent/1", "/latent/20", "/clip/clip-03"])
def test_axe_finds_nothing_serious(browser, explorer, place):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    context = browser.new_context(bypass_csp=True)  # axe itself is a script that no page lets in
    page = context.new_page()
    page.goto(f"{(explorer / 'index.html').as_uri()}#/{FRAMES}{place}")
    page.wait_for_selector("[data-ready]")
    found = axe.Axe().run(page).response["violations"]
    context.close()
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []


def test_100_000_latents_stay_quick(visit, explorer, shard, tmp_path):
    """Made-up names and numbers; times are those of this machine, and generous to a busy one."""
    folder = shutil.copytree(explorer, tmp_path / "many")
    write_shard(folder / "data", "d0/table", many(100_000))
    page = visit(folder=folder)
    painted_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted_ms < 1000
    assert page.locator(".found").inner_text() == "100,000 latents"
    assert page.locator(".rows .line").count() < 60
    for change in ("search.value = 'name 77'", "search.value = ''"):
        took_ms = page.evaluate(f"""() => {{
          const search = document.getElementById('search');
          const before = performance.now();
          {change};
          search.dispatchEvent(new Event('input'));
          return performance.now() - before;
        }}""")
        assert took_ms < 1500
    page.evaluate("document.querySelector('.grid').scrollTop = 44 * 99_000")
    page.wait_for_selector("#row-99000")


def test_the_demos_own_pages(visit):
    """What `make demo` wrote: from the table to a latent to its sound, with nothing wrong and nothing asked outside."""
    home = Path("runs/demo/explorer")
    if not (home / "index.html").is_file():
        pytest.skip("runs/demo is not there (make demo)")
    page = visit(folder=home)
    assert "not stated" not in page.locator(".notice").inner_text()
    page.fill("#search", "vowel support>0.5")
    rows = page.locator(".rows .line").all_inner_texts()
    assert rows
    assert all("vowel" in row for row in rows)
    title = names(page)[0]
    page.locator(".rows .cell.name a").first.click()
    page.wait_for_selector(".page.latent[data-ready]")
    assert page.locator("h1").inner_text() == title
    page.reload()
    page.wait_for_selector("[data-ready]")
    assert page.locator("h1").inner_text() == title
    page.locator(".clip .play").first.click()
    until(page, "player.sound.currentTime > 0.1")


def many(n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    numbers = {
        key: rng.random(n).round(4).tolist()
        for key in ("frequency", "confidence", "support", "auc", "recurrence")
    }
    return {
        **numbers,
        "latent": list(range(n)),
        "alive": [1] * n,
        "max": [1.0] * n,
        "mean_active": [0.5] * n,
        "rho": (rng.random(n) - 0.5).round(4).tolist(),
        "held_out": None,
        "held_out_random": None,
        "name": {
            "names": [f"name {code}" for code in range(5000)],
            "codes": rng.integers(0, 5000, n).tolist(),
        },
        "label": {"names": list("abcdefgh"), "codes": rng.integers(0, 8, n).tolist()},
        "factor": {"names": ["f0", "level"], "codes": rng.integers(0, 2, n).tolist()},
        "x": [None] * n,
        "y": [None] * n,
    }
