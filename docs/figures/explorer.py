"""Draw the pictures of `docs/explorer.md`: an explorer's pages as Debian's Chromium shows them.

    otoscope explore RUN --no-open && python docs/figures/explorer.py RUN/explorer LATENT CLIP

Needs `pip install playwright` and a Chromium on the PATH.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDE, TALL, PHONE = (1280, 860), (1280, 1150), (390, 844)


def main(explorer: Path, latent: str, clip: str) -> None:
    """Write the pictures beside this script."""
    page = (explorer / "index.html").resolve().as_uri()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        first = browser.new_page()
        first.goto(page)
        first.wait_for_selector("[data-ready]")
        home = first.evaluate("address(run.dictionaries[0])")
        for name, place, size, scheme in (
            ("overview", "", TALL, "light"),
            ("latent", f"/latent/{latent}", WIDE, "light"),
            ("clip", f"/clip/{clip}", WIDE, "light"),
            ("dark", f"/latent/{latent}", WIDE, "dark"),
            ("phone", f"/latent/{latent}", PHONE, "light"),
        ):
            shot = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
            shot.goto(page + home + place)
            shot.wait_for_selector("[data-ready]")
            shot.wait_for_timeout(1500)
            path = Path(__file__).with_name(f"explorer-{name}.png")
            shot.screenshot(path=path)
            Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
