"""Content hashes: made once, and known again only as long as the file cannot have changed."""

from __future__ import annotations

import hashlib
import os

import pytest

from otoscope import contents
from otoscope.errors import InputError


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(contents, "_known", {})


def test_it_is_the_sha256_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert contents.content(tmp_path / "a").sha256 == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_settled_file_is_read_once_and_a_fresh_one_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert not contents.content(path).is_settled
    monkeypatch.setattr(contents, "SETTLED_NS", 0)
    assert contents.content(path).is_settled
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was read"))
    assert contents.content(path).sha256 == hashlib.sha256(b"one").hexdigest()


def test_a_time_of_change_that_was_set_back_does_not_hide_a_change(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "SETTLED_NS", 0)
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before, old = contents.content(path), path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (old.st_size, old.st_mtime_ns)
    assert contents.content(path).sha256 != before.sha256


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    digest = hashlib.file_digest

    def changes(stream, kind):
        path.write_bytes(b"longer")
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", changes)
    with pytest.raises(InputError, match="was changed while it was read"):
        contents.content(path)


def test_what_cannot_be_read_is_left_out(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    assert list(contents.hashes([tmp_path / "a", tmp_path / "b"])) == [str(tmp_path / "a")]
