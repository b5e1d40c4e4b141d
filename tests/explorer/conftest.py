"""An explorer of two small dictionaries whose latents hear known bands and clicks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_latents import write_clips, write_effects, write_latents
from shards import read_shard

from otoscope.explorer import write_explorer

FRAMES = "otoscope-mini/layer_03/topk-40-s0.9-seed0"
POOLED = "otoscope-mini/layer_03/topk-40-s0.95-seed0"


@pytest.fixture(scope="session")
def latents_run(tmp_path_factory) -> Path:
    """A folder with latents tables as a run has them: one dictionary of frames, one of clips."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    clips = write_clips(run / "clips")
    write_latents(run / "latents" / FRAMES, clips)
    write_latents(run / "latents" / POOLED, clips, sparsity=0.95, framewise=False)
    write_effects(run, clips)
    return run


@pytest.fixture(scope="session")
def explorer(latents_run) -> Path:
    """Its explorer's folder."""
    return write_explorer(latents_run).parent


@pytest.fixture(scope="session")
def shard(explorer):
    """Return what a shard of it holds."""
    return lambda name: read_shard(explorer / "data" / f"{name}.js", name)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser, or a reason to skip."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (make test-all, or the extra browser)"
    )
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on the PATH")
    with playwright.sync_playwright() as driver:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        started = driver.chromium.launch(executable_path=found, args=flags)
        yield started
        started.close()
