"""Single latents of Whisper switched off and on: how often does a transcript change, and by more than by any push?

Run ``python benchmarks/interventions_before_after.py --whisper FOLDER --sae FOLDER --latents FOLDER`` with a dictionary
of frames and its described latents (``benchmarks/latents.py`` makes both). The latents best named are switched off in
the clips in which they fire most, and on, at their mean when on, in clips in which they are silent, one at a time.
Writes ``interventions/before_after.csv``, and below ``--work`` a folder as a run's, for ``otoscope explore``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pandas as pd

import otoscope as oto
from otoscope.experiment import read_latents
from otoscope.experiment.stages.before_after import switched
from otoscope.files import read_mapping, write_json
from otoscope.interventions import Words
from otoscope.results import table_of
from otoscope.saes import SparseAutoencoder


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("whisper", "sae", "latents"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("interventions-work"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "interventions")
    parser.add_argument("--n-latents", type=int, default=12)
    parser.add_argument("--n-clips", type=int, default=3)
    asked = parser.parse_args()
    encoder = oto.load_encoder(asked.whisper, device="cpu")
    readout = Words()
    readout.prepare(encoder)
    sae, described = SparseAutoencoder.from_pretrained(asked.sae), read_latents(asked.latents)
    about = read_mapping(asked.latents / "about.json")
    name, layer = about["sae"]["name"], about["layer"]
    run = asked.work / "before-after"
    rows, shares = switched(
        described, encoder, readout, layer, sae, n_latents=asked.n_latents, n_clips=asked.n_clips, seed=0, root=run,
        folder="before_after",
    )  # fmt: skip
    seed = about["sae"]["seed"]
    own = {"encoder": about["encoder"], "layer": layer, "sae": name, "seed": seed}
    own |= {key: about["sae"][key] for key in ("sparsity", "k")}
    (run / "results").mkdir(parents=True, exist_ok=True)
    for table, values in (("before_after", rows), ("before_after_shares", shares)):
        found = pd.DataFrame([own | row for row in values])[list(table_of(table).names)]
        found.to_csv(run / "results" / f"{table}.csv", index=False, float_format="%.6g")
        if table == "before_after":
            found.to_csv(asked.out / "before_after.csv", index=False, float_format="%.6g")
    place = run / "latents" / about["encoder"] / f"layer_{layer:02d}" / f"{name}-seed{seed}"
    shutil.copytree(asked.latents, place, dirs_exist_ok=True)
    write_json(place / "about.json", about)


if __name__ == "__main__":
    main()
