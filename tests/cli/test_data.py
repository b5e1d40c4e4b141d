"""``otoscope download`` and ``otoscope validate`` as a person meets them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import zipfile

import pytest
from fake_vocalset import write_fake_vocalset
from file_server import serving

from otoscope.cli import main
from otoscope.cli.tables import read_clips
from otoscope.datasets import DATASETS, Source, transfer
from otoscope.errors import InputError


def run(capsys, *arguments) -> tuple[int, str]:
    """Run a command; return its exit code and everything it printed."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return stopped.value.code, printed.out + printed.err


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_fake_vocalset(tmp_path_factory.mktemp("data") / "VocalSet11", seconds=0.01)


def test_a_whole_set_is_well(capsys, tree):
    code, printed = run(capsys, "validate", "vocalset", tree.parent, "--quick")
    assert code == 0
    assert "1,617 clips, all is well" in printed
    assert "note: folder 'vibrado', misspelt: 5 files" in printed


def test_a_broken_set_is_not(capsys, tree, tmp_path):
    shutil.copytree(tree / "FULL/male3", tmp_path / "FULL/male3")
    shutil.copytree(tree / "FULL/female1", tmp_path / "FULL/female1")
    (tmp_path / "FULL/male3/scales/trill").mkdir()
    (tmp_path / "FULL/male3/long_tones/trillo/m3_long_trillo_a.wav").write_bytes(b"")
    code, printed = run(capsys, "validate", "vocalset", tmp_path)
    assert code == 1
    assert "problem: no recordings of female2" in printed
    assert "m3_long_trillo_a.wav: is an empty file" in printed
    assert "male3, trillo: 4 clips; the published set has 5" in printed


def test_validate_where_there_is_nothing(capsys, tmp_path):
    code, printed = run(capsys, "validate", "vocalset", tmp_path / "nowhere")
    assert code == 1
    assert "otoscope download vocalset" in printed
    code, printed = run(capsys, "validate", "vocalsets", tmp_path)
    assert code == 2
    assert "did you mean 'vocalset'" in printed


def offer(monkeypatch, source: Source) -> None:
    """Let "vocalset" come from another place."""
    dataset = dataclasses.replace(DATASETS.get("vocalset"), source=source)
    monkeypatch.setitem(DATASETS._own, "vocalset", type(DATASETS._own["vocalset"])(dataset, ""))


def test_download_says_what_its_makers_are_owed(capsys, tmp_path, tree, monkeypatch):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as pack:
        for singer in ("male3", "female1"):
            for path in sorted((tree / "FULL" / singer).rglob("*_a.wav")):
                pack.write(path, path.relative_to(tree))
    content = memory.getvalue()
    real = DATASETS.get("vocalset").source
    with serving(content, "VocalSet11.zip") as server:
        source = Source(
            page=real.page, licence=real.licence, citation=real.citation, url=server.url,
            checksum=f"md5:{hashlib.md5(content).hexdigest()}", size_bytes=len(content), unpacked_bytes=10**7,
        )  # fmt: skip
        offer(monkeypatch, source)
        code, printed = run(capsys, "download", "vocalset", tmp_path / "data")
        assert code == 0
        assert "VocalSet11" in printed
        assert "CC BY 4.0" in printed
        assert "Wilkins" in printed
        code, printed = run(capsys, "validate", "vocalset", tmp_path / "data", "--quick")
        assert code == 1  # two singers of 20


def test_download_without_network_is_one_message(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    with serving(b"", "VocalSet11.zip") as server:
        source = Source(
            page="", licence="", citation="", url=server.url, checksum="md5:0", size_bytes=1, unpacked_bytes=1
        )
    offer(monkeypatch, source)
    code, printed = run(capsys, "download", "vocalset", tmp_path)
    assert code == 2
    assert "No network?" in printed


def test_download_of_a_set_to_be_fetched_by_hand(capsys, tmp_path):
    code, printed = run(capsys, "download", "esc50", tmp_path)
    assert code == 2
    assert "https://github.com/karolpiczak/ESC-50" in printed


def test_commands_take_a_data_set_and_where_it_lies(tree):
    clips = read_clips(f"vocalset:{tree}", skip_unreadable=True, group=None)
    assert len(clips) == 1617
    with pytest.raises(InputError, match="has groups of its own; leave --group out"):
        read_clips(f"vocalset:{tree}", group="singer")
    with pytest.raises(InputError, match="vocalset:/data/vocalset of any other command"):
        read_clips("vocalset")
