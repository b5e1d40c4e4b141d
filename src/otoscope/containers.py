"""What libsndfile does not see: how long an mp3 without a count of its frames is, whether an Ogg file is whole."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import NamedTuple

from otoscope.errors import AudioError

_BITRATES = {  # kbit/s by (version 1?, layer), index 1 to 14: ISO 11172-3 and 13818-3
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)
_SEARCHED = 65_536  # bytes in which an mp3 begins
_LONGEST_OGG_PAGE = 27 + 255 + 255 * 255


class _Frame(NamedTuple):
    """An MPEG audio frame's header."""

    size: int  # bytes
    version: int  # 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
    layer: int
    is_mono: bool
    rate_index: int
    has_checksum: bool


def with_count(path: Path) -> io.BytesIO | None:
    """Return an mp3 with the number of its frames put before them; None where the file says that itself.

    Without a Xing, Info or VBRI header libsndfile guesses from the first frame's bit rate, and reads no further.

    Raises
    ------
    AudioError
        If such a file ends within a frame.
    """
    with path.open("rb") as stream:
        start = _after_id3(stream.read(10))
        stream.seek(start)
        first = stream.read(_SEARCHED)
        found = _first_frame(first)
        if found is None or _says_its_length(first, *found):
            return None
        stream.seek(start + found[0])
        content = stream.read()
    return io.BytesIO(_info_frame(content, found[1], _count(path, content)) + content)


def check_ogg(path: Path, n_samples: int, sample_rate: int) -> None:
    """Refuse an Ogg file that ends within a page, or that libsndfile finds shorter than its last page says (RFC 3533).

    Raises
    ------
    AudioError
        If it is cut short or damaged.
    """
    with path.open("rb") as stream:
        head = stream.read(_LONGEST_OGG_PAGE)
        size = stream.seek(0, 2)
        stream.seek(max(size - 2 * _LONGEST_OGG_PAGE, 0))
        tail = stream.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    sizes = page[27 : 27 + page[26]] if len(page) >= 27 else b""
    if start < 0 or len(page) < 27 or len(sizes) < page[26] or len(page) < 27 + len(sizes) + sum(sizes):
        raise AudioError(path, "is truncated: it ends within an Ogg page")
    (position,) = struct.unpack_from("<q", page, 6)
    if page[14:18] != head[14:18] or position < 0:
        return  # several streams one after the other: the last page tells of the last alone
    promised = _ogg_samples(head, position, sample_rate)
    if promised is not None and n_samples < promised - max(sample_rate // 100, 1):
        raise AudioError(
            path, f"is damaged: its last page ends at sample {promised:,}, and {n_samples:,} can be read"
        )


def _ogg_samples(head: bytes, position: int, sample_rate: int) -> int | None:
    """Return how many samples end at the granule position; None where the codec counts otherwise."""
    packet = head[27 + head[26] :]
    if packet.startswith(b"OpusHead"):  # RFC 7845: 48 kHz, what is skipped at the start included
        (skipped,) = struct.unpack_from("<H", packet, 10)
        return (position - skipped) * sample_rate // 48_000
    return position if packet.startswith((b"\x01vorbis", b"\x7fFLAC")) else None


def _after_id3(head: bytes) -> int:
    """Return where an ID3v2 tag ends (its size: four bytes of seven bits)."""
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    size = (head[6] << 21) | (head[7] << 14) | (head[8] << 7) | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _header(content: bytes, at: int) -> _Frame | None:
    if at + 4 > len(content) or content[at] != 0xFF or content[at + 1] < 0xE0:
        return None
    version, layer = (content[at + 1] >> 3) & 3, 4 - ((content[at + 1] >> 1) & 3)
    bitrate, rate = content[at + 2] >> 4, (content[at + 2] >> 2) & 3
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    sample_rate = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 1000 * _BITRATES[version == 3, layer][bitrate - 1]
    padding = (content[at + 2] >> 1) & 1
    if layer == 1:
        size = (12 * bits // sample_rate + padding) * 4
    else:
        size = (72 if layer == 3 and version != 3 else 144) * bits // sample_rate + padding
    return _Frame(size, version, layer, content[at + 3] >> 6 == 3, rate, not content[at + 1] & 1)


def _first_frame(content: bytes) -> tuple[int, _Frame] | None:
    """Return where the first frame begins: a header that another one follows."""
    for at in range(len(content) - 4):
        if content[at] == 0xFF and (frame := _header(content, at)):
            after = at + frame.size
            if after + 4 > len(content) or _header(content, after):
                return at, frame
    return None


def _says_its_length(content: bytes, at: int, frame: _Frame) -> bool:
    """Whether the first frame is no sound, but a header with the number of frames."""
    if content[at + 36 : at + 40] == b"VBRI":
        return True
    place = at + _info_place(frame)
    if content[place : place + 4] not in (b"Xing", b"Info"):
        return False
    return bool(content[place + 7] & 1)


def _info_place(frame: _Frame) -> int:
    side = (17 if frame.is_mono else 32) if frame.version == 3 else (9 if frame.is_mono else 17)
    return 4 + side + (2 if frame.has_checksum else 0)


def _count(path: Path, content: bytes) -> int:
    """Return the number of frames; what lies between them (tags, gaps) is stepped over."""
    n_frames, at = 0, 0
    end = len(content) - (128 if content[-128:-125] == b"TAG" else 0)
    while at < end:
        frame = _header(content, at)
        if frame is None:
            at = content.find(b"\xff", at + 1)
            if at < 0:
                break
            continue
        if at + frame.size > end:
            if n_frames and end - at > 4 and _header(content, at):
                raise AudioError(path, "is truncated: it ends within an MPEG frame")
            break
        n_frames += 1
        at += frame.size
    return n_frames


def _info_frame(content: bytes, frame: _Frame, n_frames: int) -> bytes:
    """Return a frame without sound that holds the number of frames, as encoders write before a stream."""
    header = bytearray(content[:4])
    header[1] |= 1  # no checksum
    for bitrate in range(1, 15):
        header[2] = bitrate << 4 | frame.rate_index << 2
        made = _header(bytes(header), 0)
        if made is not None and made.size >= _info_place(made) + 16:
            body = bytearray(made.size)
            body[:4] = header
            struct.pack_into(">4sII", body, _info_place(made), b"Info", 1, n_frames)
            return bytes(body)
    raise AssertionError("a frame of the highest bit rate holds 16 bytes")
