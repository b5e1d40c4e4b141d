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
