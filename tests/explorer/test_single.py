"""The explorer as one file."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil

import pytest

from otoscope.errors import InputError
from otoscope.explorer import single


def test_all_is_inside_and_allowed_by_its_hash(explorer, tmp_path):
    folder = shutil.copytree(explorer, tmp_path / "mine")
    page = single.as_single_file(folder)
    assert page == tmp_path / "mine.html"
    text = page.read_text()
    assert not re.search(r'(?:src|href)="(?!data:,|#)', text)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "'self'" not in policy
    assert "unsafe" not in policy
    inside = re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", text, re.DOTALL)
    assert len(inside) == 4
    for part in inside:
        assert base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() in policy
    assert text.count('put("audio/') == 16 + 2  # the clips, and one before and after


def test_what_is_too_large_for_one_file_is_refused(explorer, tmp_path, monkeypatch):
    monkeypatch.setattr(single, "MOST_MB", 0.1)
    with pytest.raises(InputError, match="pass the folder on"):
        single.as_single_file(explorer)
    assert not list(explorer.parent.glob("*.html"))
