"""Fetching and unpacking, against a server on this machine that fails in the ways real ones do."""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from file_server import serving

from otoscope.datasets import DATASETS, DataSet, Source, downloads, transfer
from otoscope.datasets.downloads import download
from otoscope.datasets.unpack import unpack
from otoscope.errors import InputError, UnknownNameError

CHUNK = transfer._CHUNK_BYTES
NOISE = np.random.default_rng(0).bytes(600_000)  # does not compress, so that parts have a size


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)


def zipped(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in files.items():
            pack.writestr(name, content)
    return memory.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as pack:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            pack.addfile(member, io.BytesIO(content))
    return memory.getvalue()


WHOLE = zipped({"FULL/female1/a.wav": NOISE, "readme.txt": b"hello"})


@pytest.fixture
def offer(monkeypatch):
    """Let "vocalset" stand for what a local server has."""

    def offered(server, content: bytes = WHOLE, checksum: str = "", **changes) -> Source:
        source = Source(
            page="https://example.org", licence="CC0", citation="Nobody (2026)", url=server.url,
            checksum=checksum or f"md5:{hashlib.md5(content).hexdigest()}",
            **{"size_bytes": len(content), "unpacked_bytes": 2_000_000} | changes,
        )  # fmt: skip
        monkeypatch.setattr(type(DATASETS), "get", lambda self, name: DataSet(lambda: None, source))
        return source

    return offered


def test_a_set_is_fetched_checked_and_unpacked_once(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        folder = download("vocalset", tmp_path / "new" / "data")
        assert folder == tmp_path / "new" / "data" / "Tiny"
        assert (folder / "FULL/female1/a.wav").read_bytes() == NOISE
        assert [path.name for path in folder.parent.iterdir()] == ["Tiny"]  # no archive, nothing half
        assert download("vocalset", tmp_path / "new" / "data") == folder
        assert len(server.asked) == 1


def test_an_archive_that_is_there_is_not_fetched(tmp_path, offer):
    (tmp_path / "Tiny.zip").write_bytes(WHOLE)
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        download("vocalset", tmp_path, keep_archive=True)
        assert server.asked == []
    assert (tmp_path / "Tiny.zip").exists()


def test_a_broken_connection_goes_on_where_it_was(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip", breaks_after=[3 * CHUNK, 2 * CHUNK + 5]) as server:
        offer(server)
        folder = download("vocalset", tmp_path)
        assert server.asked == [None, f"bytes={3 * CHUNK}-", f"bytes={5 * CHUNK}-"]
    assert (folder / "FULL/female1/a.wav").read_bytes() == NOISE


def test_a_killed_download_goes_on_where_it_was(tmp_path, offer):
    (tmp_path / "Tiny.zip.part").write_bytes(WHOLE[:350_000])
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        download("vocalset", tmp_path)
        assert server.asked == ["bytes=350000-"]


def test_a_server_without_ranges_starts_again(tmp_path, offer):
    (tmp_path / "Tiny.zip.part").write_bytes(b"x" * 350_000)  # would spoil the file if it were kept
    with serving(WHOLE, "Tiny.zip", ranges=False, breaks_after=[CHUNK]) as server:
        offer(server)
        folder = download("vocalset", tmp_path)
        assert server.asked == ["bytes=350000-", f"bytes={CHUNK}-"]
    assert (folder / "FULL/female1/a.wav").read_bytes() == NOISE


def test_a_part_that_is_whole_already_and_one_that_is_too_long(tmp_path, offer):
    (tmp_path / "Tiny.zip.part").write_bytes(WHOLE)
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        download("vocalset", tmp_path)
        assert len(server.asked) == 1
    other = tmp_path / "other"
    other.mkdir()
    (other / "Tiny.zip.part").write_bytes(WHOLE + b"more")
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        download("vocalset", other)
        assert server.asked[-1] is None


def test_a_busy_server_is_asked_again(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip", statuses=[503, 429]) as server:
        offer(server)
        download("vocalset", tmp_path)
        assert len(server.asked) == 3


def test_a_server_that_never_finishes_is_given_up_and_what_came_is_kept(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip", breaks_after=[2 * CHUNK, *[0] * 20]) as server:
        offer(server)
        with pytest.raises(InputError, match=r"cannot fetch .*Tiny\.zip.*the same command goes on"):
            download("vocalset", tmp_path)
    assert (tmp_path / "Tiny.zip.part").stat().st_size == 2 * CHUNK


def test_not_found(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip", statuses=[404]) as server:
        offer(server)
        with pytest.raises(InputError, match="answers 404"):
            download("vocalset", tmp_path)


def test_without_network_it_is_said_what_to_do(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
    with pytest.raises(
        InputError, match=r"Connection refused.*No network\? Fetch it elsewhere and put it at .*Tiny\.zip'"
    ):
        download("vocalset", tmp_path)  # the server is gone


def test_a_wrong_checksum_throws_the_file_away(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server, checksum="md5:" + "0" * 32)
        with pytest.raises(InputError, match="is not the published file"):
            download("vocalset", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room(tmp_path, offer):
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server, unpacked_bytes=10**18)
        with pytest.raises(InputError, match=r"GB free; .* GB are needed"):
            download("vocalset", tmp_path)
        assert server.asked == []


def test_a_folder_that_cannot_be_written(tmp_path, offer):
    (tmp_path / "file").touch()
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        with pytest.raises(InputError, match="cannot write to"):
            download("vocalset", tmp_path / "file" / "data")


def test_a_tar_without_a_folder_of_its_own(tmp_path, offer):
    content = tarred({"./yes/a_nohash_0.wav": b"sound", "./validation_list.txt": b"yes/a_nohash_0.wav\n"})
    with serving(content, "words_v0.02.tar.gz") as server:
        offer(server, content, checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")
        folder = download("vocalset", tmp_path)
    assert folder.name == "words_v0.02"
    assert (folder / "yes/a_nohash_0.wav").read_bytes() == b"sound"


def test_sets_without_an_address_say_where_they_are(tmp_path):
    with pytest.raises(InputError, match=r"Get it at https://github\.com/karolpiczak/ESC-50"):
        download("esc50", tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'vocalset'"):
        download("vocalst", tmp_path)


def test_every_address_has_a_checksum():
    sources = {name: DATASETS.get(name).source for name in DATASETS.names()}
    own = {"folder", "raven", "audacity", "textgrid", "elan"}
    assert {name for name, source in sources.items() if source is None} == own
    for source in filter(None, sources.values()):
        assert source.licence
        assert source.citation
        if source.url:
            assert source.url.startswith("https://")
            assert len(source.checksum) in (len("md5:") + 32, len("sha256:") + 64)
            assert source.size_bytes > 0 < source.unpacked_bytes


# Hostile archives: whatever they hold, nothing is left behind and nothing outside the folder is touched.


def refused(tmp_path, content: bytes, suffix: str, message: str, limit_bytes: int = 10**7) -> None:
    home = tmp_path / "home"
    home.mkdir()
    archive = home / f"bad{suffix}"
    archive.write_bytes(content)
    with pytest.raises(InputError, match=message):
        unpack(archive, home / "bad", limit_bytes=limit_bytes, show_progress=False)
    assert [path.name for path in home.iterdir()] == [archive.name]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/etc/evil", "..\\evil", "C:\\evil", "C:evil"]
)
@pytest.mark.parametrize(("make", "suffix"), [(zipped, ".zip"), (tarred, ".tar.gz")])
def test_places_outside_are_refused(tmp_path, name, make, suffix):
    refused(tmp_path, make({"good.txt": b"x", name: b"evil"}), suffix, "names a place outside")


def test_a_link_in_a_zip_is_refused(tmp_path):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as pack:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        pack.writestr(link, "/etc/passwd")
    refused(tmp_path, memory.getvalue(), ".zip", "link or a device")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as pack:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = kind, "/etc/passwd"
        pack.addfile(member)
    refused(tmp_path, memory.getvalue(), ".tar.gz", "link or a device")


@pytest.mark.parametrize(("make", "suffix"), [(zipped, ".zip"), (tarred, ".tar.gz")])
def test_a_bomb_is_refused(tmp_path, make, suffix):
    bomb = make({f"{i}.bin": bytes(1_000_000) for i in range(12)})
    assert len(bomb) < 100_000
    refused(tmp_path, bomb, suffix, "would unpack to more than")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_damaged_archives_are_refused(tmp_path, suffix):
    content = (zipped if suffix == ".zip" else tarred)({"a.bin": NOISE})
    spoilt = content[:300_000] + b"damage" * 10 + content[300_060:]
    refused(tmp_path, spoilt, suffix, "cannot be unpacked")


def test_what_is_no_archive_is_refused(tmp_path):
    refused(tmp_path, b"<html>maintenance</html>", ".zip", "cannot be unpacked")


def test_a_name_twice_is_refused(tmp_path):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as pack:
        pack.writestr("a.txt", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            pack.writestr("a.txt", "2")
    refused(tmp_path, memory.getvalue(), ".zip", "names a file twice")


def test_an_unpacking_that_was_killed_is_done_again(tmp_path):
    archive = tmp_path / "good.zip"
    archive.write_bytes(zipped({"a/b.txt": b"whole"}))
    (tmp_path / ".good.0123abcd.part/a").mkdir(parents=True)
    (tmp_path / ".good.0123abcd.part/a/b.txt").write_bytes(b"ha")
    unpack(archive, tmp_path / "good", limit_bytes=100, show_progress=False)
    assert (tmp_path / "good/a/b.txt").read_bytes() == b"whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "good.zip"]


def test_disk_space_counts_what_is_there(tmp_path, offer, monkeypatch):
    usage = type("Usage", (), {"free": 2_000_000 + 300_000})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: usage)
    with serving(WHOLE, "Tiny.zip") as server:
        offer(server)
        with pytest.raises(InputError, match="are needed"):
            download("vocalset", tmp_path)
        (tmp_path / "Tiny.zip.part").write_bytes(WHOLE[:400_000])
        download("vocalset", tmp_path)
