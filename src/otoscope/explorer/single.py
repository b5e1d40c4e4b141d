"""An explorer as one file, for a mail or a supplement: everything inside, sound too."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from otoscope.errors import InputError
from otoscope.explorer.shards import sound_script
from otoscope.files import write_text

MOST_MB = 100
"""Browsers open larger files too, but slowly, and no mail takes them."""


def as_single_file(explorer: Path) -> Path:
    """Write a written explorer, of this folder, as ``<folder>.html`` beside it; return its path.

    Its policy allows the scripts and the style inside by their hashes, and nothing else.

    Raises
    ------
    InputError
        If it would be larger than ``MOST_MB``.
    """
    size_mb = sum(file.stat().st_size * 4 / 3 for file in explorer.rglob("*") if file.is_file()) / 1e6
    if size_mb > MOST_MB:
        raise InputError(
            f"'{explorer}' would be one file of {size_mb:.0f} MB, and {MOST_MB} is the most; pass the folder on as "
            "it is, or leave the audio out"
        )
    page = (explorer / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'<script src="([^"]+)"></script>\n', page)
    code = "".join((explorer / name).read_text(encoding="utf-8") for name in named)
    style = (explorer / "explorer.css").read_text(encoding="utf-8")
    data = "".join(file.read_text(encoding="utf-8") for file in sorted((explorer / "data").rglob("*.js")))
    sounds = "".join(
        sound_script(f"audio/{file.stem}", file.read_bytes())
        for file in sorted((explorer / "audio").glob("*.mp3"))
    )
    scripts = [code.replace("\nstart();\n", "\n"), data + sounds, "start();\n"]
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_hash, scripts))}; style-src {_hash(style)}; img-src data:; "
        "media-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types shards"
    )
    page = re.sub(r'(Content-Security-Policy" content=")[^"]+', lambda found: found[1] + policy, page)
    page = page.replace('<link rel="stylesheet" href="explorer.css">', f"<style>{style}</style>")
    for name in named:
        page = page.replace(f'<script src="{name}"></script>\n', "")
    inside = "".join(f"<script>{script}</script>\n" for script in scripts)
    return write_text(
        explorer.with_name(f"{explorer.name}.html"), page.replace("</body>", f"{inside}</body>")
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
