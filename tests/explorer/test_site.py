"""The folder: what lies in it, and that nothing in it asks for anything outside."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from fake_latents import LICENCE, MARKUP, write_latents
from shards import read_shard

import otoscope as oto
from otoscope.cli import main
from otoscope.errors import InputError
from otoscope.explorer import write_explorer

FRAMES = "otoscope-mini/layer_03/topk-40-s0.9-seed0"
PAGE = Path(oto.explorer.__file__).parent / "page"


def texts(folder: Path) -> dict[str, str]:
    return {
        path.name: path.read_text("utf-8")
        for path in folder.rglob("*")
        if path.suffix in (".html", ".css", ".js")
    }


def test_a_run_gets_its_folder_with_each_clip_once(explorer, latents_run, shard):
    assert explorer == latents_run / "explorer"
    clips = shard("clips")
    assert len(list((explorer / "audio").glob("[0-9]*.mp3"))) == len(clips["id"]) == 16
    assert {path.stem for path in (explorer / "data" / "clips").glob("[0-9]*")} == set(map(str, range(16)))
    info = soundfile.info(explorer / "audio" / "0.mp3")
    assert info.duration == pytest.approx(2.0, abs=1e-6)
    assert {path.name for path in explorer.iterdir() if path.is_file()} == {
        path.name for path in PAGE.iterdir()
    } | {"built.json"}


def test_no_web_address_lies_in_the_folder(explorer):
    for name, text in texts(explorer).items():
        found = re.findall(
            r"(?:https?:)?//[\w.-]+\.\w+",
            re.sub(r"//.*$", "", text, flags=re.M) if name.endswith(".js") else text,
        )
        assert [address for address in found if "w3.org" not in address] == [], name
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name


def test_the_policy_lets_nothing_in_and_nothing_out(explorer):
    page = (explorer / "index.html").read_text()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy
    assert rules["require-trusted-types-for"] == "'script'"
    assert "connect-src" not in rules  # so default-src refuses it
    assert not re.search(r"<script(?![^>]* src=)", page)
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)


def test_no_code_of_the_page_can_make_markup_or_reach_out():
    for name, text in texts(PAGE).items():
        code = re.sub(r"/\*\*[\s\S]*?\*/|(^|; )//.*$", "", text, flags=re.MULTILINE)  # without comments
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert word not in code, (name, word)
        if name == "own.js":  # what only a served page does: ask the server it came from
            assert code.count("fetch(") == 1
            code = code.replace('fetch("own", ', "")
        for word in ("fetch(", "XMLHttpRequest", "WebSocket", "sendBeacon", "import(", 'type="module"'):
            assert word not in code, (name, word)


def test_every_script_of_the_page_is_in_the_folder(explorer):
    page = (explorer / "index.html").read_text()
    named = re.findall(r'<script src="([^"]+)"', page) + re.findall(r'rel="stylesheet" href="([^"]+)"', page)
    assert all((explorer / name).is_file() for name in named)
    assert {path.name for path in PAGE.iterdir()} == {"index.html", *named}


def test_the_licence_and_the_labels_are_told(shard):
    run, clips = shard("run"), shard("clips")
    assert {row["licence"] for row in run["dictionaries"]} == {LICENCE}
    assert run["audio"] is True
    assert clips["columns"] == ["vowel", "f0_hz"]
    assert MARKUP in clips["labels"][0]


def test_it_is_small(explorer):
    size = sum(path.stat().st_size for path in explorer.rglob("*") if path.is_file())
    assert size < 32 * 16_000 + 400_000  # 32 s of sound in two dictionaries


def test_it_is_built_once_and_again_when_something_changes(latents_run, tmp_path):
    folder = shutil.copytree(latents_run / "latents" / FRAMES, tmp_path / "latents")
    page = write_explorer(folder)
    assert page == folder / "explorer" / "index.html"
    before = page.stat().st_mtime_ns
    assert write_explorer(folder).stat().st_mtime_ns == before
    table = pd.read_parquet(folder / "latents.parquet").assign(name="another name")
    table.to_parquet(folder / "latents.parquet")
    assert write_explorer(folder).stat().st_mtime_ns > before
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


def test_no_audio_leaves_the_recordings_out(latents_run, tmp_path):
    main_quietly(["explore", str(latents_run), "--no-audio", "--no-open", "--out", str(tmp_path / "silent")])
    assert not list((tmp_path / "silent" / "audio").iterdir())
    assert len(list((tmp_path / "silent" / "data" / "clips").glob("[0-9]*"))) == 16  # pictures stay


def main_quietly(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code in (0, None)


def test_the_command_says_where_it_is_and_what_it_holds(latents_run, explorer, capsys):
    main_quietly(["explore", str(latents_run), "--no-open"])
    said = " ".join(capsys.readouterr().out.split())
    assert str(explorer / "index.html").replace(" ", "") in said.replace(" ", "")
    assert "copies of the recordings" in said


def test_a_folder_of_something_else_is_not_overwritten(latents_run, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no explorer"):
        write_explorer(latents_run, out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_recording_that_is_gone_leaves_the_others(latents_run, tmp_path):
    clips = pd.read_parquet(latents_run / "latents" / FRAMES / "clips.parquet")
    folder = write_latents(tmp_path / "latents", clips, n_latents=12)
    clips.loc[0, "path"] = str(tmp_path / "gone.wav")
    clips.to_parquet(folder / "clips.parquet")
    home = write_explorer(folder).parent
    assert read_shard(home / "data" / "run.js", "run")["unread"] == 1
    assert (
        len(list((home / "audio").iterdir()))
        == len(read_shard(home / "data" / "clips.js", "clips")["id"]) - 1
    )


def test_a_runs_tables_give_the_measures(latents_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(latents_run / "latents", run / "latents")
    (run / "results").mkdir()
    (run / "spec.yaml").write_text("name: measured\n")
    header = "encoder,layer,sae,sparsity,k,seed,mse,fvu,l0,dead_fraction\n"
    (run / "results" / "reconstruction.csv").write_text(
        f"{header}otoscope-mini,3,topk-40-s0.9,0.9,4,0,1,0.125,4,0\notoscope-mini,3,topk-40-s0.9,0.9,4,1,1,0.5,4,0\n"
    )
    home = write_explorer(run).parent
    told = read_shard(home / "data" / "run.js", "run")
    assert told["name"] == "measured"
    assert [row["fvu"] for row in told["dictionaries"]] == [0.125, None]
    assert json.loads((home / "built.json").read_text())["made_of"]
