"""Before and after: what the tables say stands on the pages of those latents, and of no others."""

from __future__ import annotations

import shutil

import pytest
import soundfile
from fake_latents import MARKUP

from otoscope.explorer import write_explorer
from otoscope.explorer.effects import effects_of
from otoscope.explorer.reading import find_dictionaries


def test_each_switched_latent_has_its_clips(shard):
    clips, run = shard("clips"), shard("run")
    pages = shard("d0/latents-0")
    words = pages["0"]["effects"]
    assert [(one["switched"], clips["id"][one["clip"]]) for one in words] == [
        ("off", "clip-01"),
        ("off", "clip-03"),
        ("on", "clip-00"),
    ]
    assert words[0]["after"] == f"it was {MARKUP} the worst of times"
    assert (words[0]["change"], words[0]["random"]) == (0.25, 0.125)
    assert words[2]["before"] == ""  # nothing was heard, and that is no missing value
    assert words[2]["shares"] == [["no speech", 0.9, 0.4]]
    assert pages["1"]["effects"][0]["shares"] == [["a", 0.75, 0.125], [MARKUP, 0.25, 0.875]]
    assert pages["2"]["effects"] == []
    assert run["dictionaries"][0]["switched"] == [0, 1, 20]
    assert run["dictionaries"][1]["switched"] == []  # the tables are of the other dictionary
    assert all(page["effects"] == [] for page in shard("d1/latents-0").values())


def test_sounds_lie_beside_the_clips(explorer, shard):
    (effect,) = shard("d0/latents-0")["20"]["effects"]
    long = shard("run")["dictionaries"][0]["sounds_s"]
    for side in ("before", "after"):
        name = f"{effect['sound']}-{side}"
        assert long[name] == pytest.approx(2.0, abs=1e-3)
        assert soundfile.info(explorer / "audio" / f"{name}.mp3").duration == pytest.approx(2.0, abs=1e-3)
        mel = shard(f"clips/{name}")["mel"]
        assert len(mel) == 64 * 160


def test_a_sound_that_is_gone_and_no_audio(latents_run, tmp_path):
    run = shutil.copytree(latents_run, tmp_path / "run", ignore=shutil.ignore_patterns("explorer"))
    (run / "before_after" / "20-off-5-after.flac").unlink()
    folder = write_explorer(run, audio=False).parent
    assert not list((folder / "audio").iterdir())
    names = {path.stem for path in (folder / "data" / "clips").iterdir()}
    assert {name for name in names if name.startswith("d0-")} == {"d0-20-off-5-before"}


def test_a_folder_without_a_run_shows_none(latents_run):
    dictionary = find_dictionaries([latents_run])[0]
    assert effects_of(None, dictionary, {}, "d0").of == {}
