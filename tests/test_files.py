"""Files appear whole or not at all, are on the disk when they do, and are read with an error that names them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from otoscope import files
from otoscope.errors import InputError, ModelError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "table.csv"
    with files.whole_file(path) as draft:
        assert draft.name == "table.csv"  # writers go by the suffix
        draft.write_text("half")
        assert names(tmp_path) != ["table.csv"]
        assert not path.exists()
    assert path.read_text() == "half"
    with pytest.raises(LookupError), files.whole_file(path) as draft:
        draft.write_bytes({}[draft.write_text("another half")])
    assert path.read_text() == "half"
    assert names(tmp_path) == ["table.csv"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with files.whole_folder(tmp_path / "new" / "set") as draft:
        (draft / "a" / "b").mkdir(parents=True)
        (draft / "a" / "b" / "c.txt").write_text("c")
        assert not (tmp_path / "new" / "set").exists()
    assert (tmp_path / "new" / "set" / "a" / "b" / "c.txt").read_text() == "c"
    with pytest.raises(OSError, match="set"), files.whole_folder(tmp_path / "new" / "set") as draft:
        (draft / "other").touch()  # another process was first
    assert names(tmp_path / "new" / "set") == ["a"]
    assert names(tmp_path / "new") == ["set"]


KILLED = """
import sys, time
from otoscope.files import whole_file, whole_folder
whole = {"file": whole_file, "folder": whole_folder}[sys.argv[1]]
with whole(sys.argv[2]) as draft:
    (draft if draft.suffix == ".txt" else draft / "x.txt").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("kind", "name"), [("file", "a.txt"), ("folder", "a")])
def test_a_killed_writer_leaves_the_old_and_a_draft_that_can_be_cleared(tmp_path, kind, name):
    if kind == "file":
        (tmp_path / name).write_text("old")
    before = names(tmp_path)
    (tmp_path / ".a.txt.note").touch()
    (tmp_path / ".another.12345678.part").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, kind, str(tmp_path / name)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(names(tmp_path)) == len(before) + 3
    files.clear_drafts(tmp_path / name)
    assert names(tmp_path) == sorted([*before, ".a.txt.note", ".another.12345678.part"])
    if kind == "file":
        assert (tmp_path / name).read_text() == "old"


def test_content_is_on_the_disk_before_the_name_and_the_name_before_going_on(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        done.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(source, target) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    files.write_text(tmp_path / "a.txt", "é")
    assert done == ["flush a.txt", "rename", f"flush {tmp_path.name}"]
    assert (tmp_path / "a.txt").read_bytes() == "é".encode()
    done.clear()
    with files.whole_folder(tmp_path / "b") as draft:
        (draft / "c.txt").write_text("c")
    assert done[0] == "flush c.txt"
    assert done[-2:] == ["rename", f"flush {tmp_path.name}"]


def test_readers_never_see_half_of_what_two_processes_write(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"writer": -1, "text": ""})
    code = (
        "import sys; from otoscope.files import write_json\n"
        "for i in range(40): write_json(sys.argv[1], {'writer': int(sys.argv[2]), 'text': 'x' * 200_000})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), str(i)]) for i in range(2)]
    seen = set()
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
        found = files.read_mapping(path)
        assert found["text"] in ("", "x" * 200_000)
        seen.add(found["writer"])
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen & {0, 1}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("puts_whole", [True, False])
def test_behind_urls(monkeypatch, puts_whole):
    fs = fsspec.filesystem("memory")
    folder = f"/files-{puts_whole}"
    monkeypatch.setattr(files, "PUTS_WHOLE", {"memory"} if puts_whole else set())
    piped: list[str] = []
    pipe_file = type(fs).pipe_file
    monkeypatch.setattr(
        type(fs),
        "pipe_file",
        lambda self, path, *a, **k: (piped.append(path), pipe_file(self, path, *a, **k)),
    )
    files.put_bytes(fs, f"{folder}/rows/a.parquet", b"one")
    files.put_bytes(fs, f"{folder}/rows/a.parquet", b"two")
    assert fs.cat_file(f"{folder}/rows/a.parquet") == b"two"
    assert fs.ls(f"{folder}/rows", detail=False) == [f"{folder}/rows/a.parquet"]
    assert all((path == f"{folder}/rows/a.parquet") == puts_whole for path in piped)
    monkeypatch.setattr(type(fs), "mv", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("gone")))
    if not puts_whole:
        with pytest.raises(OSError, match="gone"):
            files.put_bytes(fs, f"{folder}/rows/a.parquet", b"three")
    assert fs.cat_file(f"{folder}/rows/a.parquet") == b"two"
    assert fs.ls(f"{folder}/rows", detail=False) == [f"{folder}/rows/a.parquet"]


def test_mappings(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "a.yaml").write_text("a: 1")
    assert files.read_mapping(tmp_path / "a.json") == files.read_mapping(tmp_path / "a.yaml") == {"a": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"a: 1", "is not valid JSON"),
        ("a.yaml", b"a: [1", "is not valid YAML"),
        ("a.json", b"\xff\xfe", "is no text in UTF-8"),
        ("a.json", b"[1]", "must hold a mapping .*not list"),
        ("a.yaml", b"", "must hold a mapping .*not NoneType"),
        ("a.json", None, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for kind in (InputError, ModelError):
        with pytest.raises(kind, match=rf"{name}.* {message}"):
            files.read_mapping(tmp_path / name, error=kind)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=r"folder.json cannot be read"):
        files.read_mapping(tmp_path / "folder.json")
