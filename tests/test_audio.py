"""Decoding against signals whose samples and spectra are known."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from otoscope.audio import audio_info, read_audio, write_audio
from otoscope.errors import AudioError, InputError

RATE = 16_000


def tone(frequency_hz: float, duration_s: float, rate: int = RATE) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * rate)) / rate)


def test_mono_is_the_mean_of_the_channels(tmp_path):
    left, right = tone(200, 0.1), tone(300, 0.1)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    waveform, rate = read_audio(tmp_path / "stereo.wav")
    assert rate == RATE
    np.testing.assert_allclose(waveform, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats_decode_to_the_same_tone(tmp_path, suffix):
    soundfile.write(tmp_path / f"tone.{suffix}", tone(440, 1.0), RATE)
    waveform, _ = read_audio(tmp_path / f"tone.{suffix}")
    spectrum = np.abs(np.fft.rfft(waveform[:RATE]))
    assert abs(np.argmax(spectrum) - 440) <= 1


@pytest.mark.parametrize("own_rate", [8_000, 44_100, 192_000])
def test_resampling_keeps_length_in_seconds_and_pitch(tmp_path, own_rate):
    soundfile.write(tmp_path / "tone.wav", tone(440, 1.0, own_rate), own_rate)
    waveform, rate = read_audio(tmp_path / "tone.wav", sample_rate=RATE)
    assert (rate, len(waveform)) == (RATE, RATE)
    middle = slice(RATE // 10, -RATE // 10)
    np.testing.assert_allclose(waveform[middle], tone(440, 1.0)[middle], atol=2e-3)


def test_a_stretch_is_that_stretch(tmp_path):
    ramp = np.linspace(-0.5, 0.5, RATE)
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE, subtype="FLOAT")
    waveform, _ = read_audio(tmp_path / "ramp.wav", start_s=0.25, stop_s=0.5)
    np.testing.assert_allclose(waveform, ramp[RATE // 4 : RATE // 2], atol=1e-7)
    beyond, _ = read_audio(tmp_path / "ramp.wav", start_s=0.75, stop_s=9.0)
    assert len(beyond) == RATE // 4


def test_what_is_written_is_read(tmp_path):
    write_audio(tmp_path / "a.flac", tone(440, 0.2), RATE)
    waveform, _ = read_audio(tmp_path / "a.flac")
    np.testing.assert_allclose(waveform, tone(440, 0.2), atol=2 / 32768)
    info = audio_info(tmp_path / "a.flac")
    assert (info.sample_rate, info.n_channels, info.duration_s) == (RATE, 1, 0.2)


def test_bad_files_are_named(tmp_path):
    (tmp_path / "zero.wav").touch()
    (tmp_path / "text.wav").write_text("not audio at all")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan), RATE, subtype="FLOAT")
    for name, reason in {
        "missing.wav": "no such file",
        "zero.wav": "empty file",
        "text.wav": "cannot be decoded",
        "empty.wav": "no samples",
        "nan.wav": "NaN",
    }.items():
        with pytest.raises(AudioError, match=reason) as caught:
            read_audio(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("wav", {}),
        ("wav", {"subtype": "FLOAT"}),
        ("wav", {"format": "RF64"}),
        ("wav", {"format": "W64"}),
        ("aiff", {}),
        ("au", {}),
        ("flac", {}),
        ("ogg", {}),
        ("opus", {"format": "OGG", "subtype": "OPUS"}),
        ("mp3", {}),
    ],
)
def test_a_truncated_file_is_an_error_not_a_short_clip(tmp_path, suffix, options):
    file = tmp_path / f"cut.{suffix}"
    soundfile.write(file, np.random.default_rng(0).normal(size=3 * RATE) * 0.1, RATE, **options)
    assert len(read_audio(file)[0]) == 3 * RATE
    whole = file.read_bytes()
    for share in (0.4, 0.8):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(AudioError, match=r"cut\.\w+: (is truncated|cannot be decoded)"):
            read_audio(file)
    if suffix not in ("flac", "mp3"):  # whose headers are whole
        with pytest.raises(AudioError, match="is truncated"):
            audio_info(file)


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFFFFF - 36, 2 * RATE + 44])
def test_a_header_that_cannot_know_or_counts_itself_is_forgiven(tmp_path, promised):
    """As ffmpeg and sox write to a pipe; as programs write that count the header's 44 bytes in."""
    file = tmp_path / "piped.wav"
    soundfile.write(file, np.full(RATE, 0.1), RATE)
    whole = bytearray(file.read_bytes())
    assert whole[36:40] == b"data"
    whole[40:44] = promised.to_bytes(4, "little")
    file.write_bytes(whole)
    assert len(read_audio(file)[0]) == RATE


def test_a_backward_stretch_is_refused(tmp_path):
    with pytest.raises(InputError, match="empty or negative"):
        read_audio(tmp_path / "any.wav", start_s=2.0, stop_s=1.0)


def test_audio_errors_survive_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(AudioError("a.wav", "is broken")))
    assert (str(error), error.path.name) == ("a.wav: is broken", "a.wav")


def mp3_without_count(path, sound: np.ndarray, rate: int, **options) -> None:
    """Write an mp3 as libsndfile does, less its first frame, which holds the count."""
    from otoscope.containers import _first_frame, _says_its_length

    soundfile.write(path, sound, rate, format="MP3", **options)
    content = path.read_bytes()
    at, frame = _first_frame(content)
    assert _says_its_length(content, at, frame)
    path.write_bytes(content[at + frame.size :])


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("name", ["x.mp3", "x.wav"])
def test_an_mp3_without_a_count_is_read_to_its_end(tmp_path, mode, rate, name):
    rng = np.random.default_rng(0)
    sound = np.concatenate([np.full(5 * rate, 1e-4), 0.2 * rng.normal(size=5 * rate)])
    mp3_without_count(tmp_path / name, sound, rate, bitrate_mode=mode)
    info = audio_info(tmp_path / name)
    assert not info.is_counted
    assert info.duration_s == pytest.approx(10, abs=0.08)  # the encoder's own delay is not cut off
    waveform, _ = read_audio(tmp_path / name)
    assert len(waveform) == info.n_samples
    assert waveform[-2 * rate : -rate].std() == pytest.approx(0.2, rel=0.1)
    stretch, _ = read_audio(tmp_path / name, start_s=6.0, stop_s=7.0)
    np.testing.assert_allclose(stretch, waveform[6 * rate : 7 * rate], atol=1e-6)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-50])
    with pytest.raises(AudioError, match="is truncated: it ends within an MPEG frame"):
        audio_info(tmp_path / name)


def test_that_such_a_file_cannot_be_known_to_be_whole_is_said_once(tmp_path):
    from otoscope.datasets import load_clips

    for i in range(4):
        mp3_without_count(tmp_path / f"{i}.mp3", tone(440, 1.0), RATE)
    soundfile.write(tmp_path / "whole.mp3", tone(440, 1.0), RATE)
    notes = [note for note in load_clips(tmp_path).attrs["notes"] if "mp3" in note]
    assert len(notes) == 1
    assert notes[0].startswith("4 mp3 files hold no count of their frames")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_damaged_ogg_is_an_error_not_a_short_clip(tmp_path, subtype):
    file = tmp_path / "x.ogg"
    soundfile.write(
        file, np.random.default_rng(0).normal(size=3 * RATE) * 0.1, RATE, format="OGG", subtype=subtype
    )
    assert audio_info(file).n_samples == 3 * RATE
    whole = file.read_bytes()
    for share in (0.3, 0.5, 0.7, 0.9):
        at = int(share * len(whole))
        file.write_bytes(whole[:at] + bytes(40) + whole[at + 40 :])
        with pytest.raises(AudioError, match=r"is damaged: its last page ends at sample 48,000|is truncated"):
            read_audio(file)


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "GSM610"), ("AU", "G721_32")])
def test_formats_that_cannot_be_wound_are_read_whole(tmp_path, container, subtype):
    file = tmp_path / f"x.{container.lower()}"
    soundfile.write(file, tone(440, 2.0, 8_000), 8_000, format=container, subtype=subtype)
    whole, _ = read_audio(file)
    assert len(whole) == pytest.approx(16_000, abs=320)
    assert np.argmax(np.abs(np.fft.rfft(whole[:8_000]))) == pytest.approx(440, abs=1)
    np.testing.assert_array_equal(read_audio(file, start_s=0.5, stop_s=1.0)[0], whole[4_000:8_000])


def test_a_channel_that_is_not_there(tmp_path):
    soundfile.write(tmp_path / "mono.wav", tone(440, 0.1), RATE)
    assert len(read_audio(tmp_path / "mono.wav", channel=1)[0]) == RATE // 10
    with pytest.raises(AudioError, match="has 1 channels, and none has the number 2"):
        read_audio(tmp_path / "mono.wav", channel=2)


def test_aac_is_refused_with_what_reads_it(tmp_path):
    (tmp_path / "voice memo.m4a").write_bytes(b"\0\0\0\x1cftypM4A \0\0\0\0" + bytes(200))
    with pytest.raises(AudioError, match=r"is AAC.*ffmpeg -i 'voice memo\.m4a' 'voice memo\.flac'"):
        audio_info(tmp_path / "voice memo.m4a")
