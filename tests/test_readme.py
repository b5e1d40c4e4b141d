"""What README shows from Python runs, without a warning, and learns from training rows only."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_the_snippet(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"## From Python\n\n```python\n(.*?)```", README.read_text(), re.DOTALL)
    for whole, part in (
        ('load_clips("synthsing")', 'load_clips("synthsing", root="sound", n_singers=4)'),
        ("n_latents=512", "n_latents=32"),
        ("epochs=20", "epochs=2"),
    ):
        assert whole in code
        code = code.replace(whole, part)
    found: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        exec(code, found)
    rows, clips, store = found["rows"], found["clips"], found["store"]
    training = set(clips.clip_id[clips.split == "train"])
    np.testing.assert_array_equal(found["train"], store.rows.clip_id.isin(training))
    assert 0 < found["train"].sum() < len(rows)
    assert [sae.layer for sae in found["saes"]] == [1, 3]
    learnt_from = found["oto"].train_saes(
        {1: store.layer(1)[found["train"]]}, found["configs"], epochs=2, progress=False
    )
    assert learnt_from[0].history.train_mse[0] == found["saes"][0].history.train_mse[0]
