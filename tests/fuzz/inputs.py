"""What is fed in: a bench of whole things, and for each family a function that damages one and uses it.

A function returns whether the result is right: that of the whole thing, or one that nobody can know better.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

import otoscope
from otoscope.activations import Activations, extract, plan
from otoscope.audio import audio_info, read_audio
from otoscope.cli import main
from otoscope.errors import OtoscopeError
from otoscope.experiment.records import read_record
from otoscope.experiment.spec import RECIPES, load_spec
from otoscope.factors import compute_factors
from otoscope.results import TABLES, read_table
from otoscope.saes import SparseAutoencoder, TopKConfig, train_saes

RATE = 16_000
ODD = (
    "", "0", "-1", "1e999", "nan", "inf", "-inf", "²", "null", "[]", "{}", "[1", "a: b: c", "&a [*a]", "true", "\0",
    "é", "x" * 300, "9" * 5000, "1" + "0" * 30, "../..", "~nobody/x", "2001-99-99", "0x10", "1:1", "[" * 2000,
    "!!python/object:os.system x", "\ud800", " ", "'", '"', "%s", "NaN", "1,5", "61.5", "1:01.5", "final", "all",
    "best", "-0", "1_000",
)  # fmt: skip


class Bench:
    """Whole recordings, tables, a store, an autoencoder and a model, made once in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        rng = np.random.default_rng(0)
        torch.set_num_threads(1)
        self.data = root / "data"
        self.data.mkdir()
        for i in range(6):
            soundfile.write(self.data / f"{i}.wav", 0.1 * rng.standard_normal(3200), RATE)
        names = [f"{i}.wav" for i in range(6)]
        described = pd.DataFrame({"file_name": names, "word": ["yes", "no"] * 3, "group": names})
        described.to_csv(self.data / "metadata.csv", index=False)
        self.clips = otoscope.load_clips(self.data)
        self.clips.to_csv(root / "clips.csv", index=False)
        factors = self.clips[["clip_id", "start_s", "stop_s"]].assign(f0=rng.random(6), level=rng.random(6))
        factors.to_csv(root / "factors.csv", index=False)
        factors.to_parquet(root / "factors.parquet")
        self.clips.to_parquet(root / "clips.parquet")
        self.clips.to_json(root / "clips.jsonl", orient="records", lines=True)
        self.sounds = root / "sounds"
        self.sounds.mkdir()
        tone = 0.3 * np.sin(np.arange(8000) / 7)
        for suffix, subtype in (("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", None), ("ogg", None), ("mp3", None),
                                ("aiff", None)):  # fmt: skip
            soundfile.write(self.sounds / f"{subtype}.{suffix}", tone, RATE, subtype=subtype)

    @cached_property
    def model(self) -> Path:
        from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

        torch.manual_seed(0)
        config = HubertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            conv_dim=[8] * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        )  # fmt: skip
        HubertModel(config).save_pretrained(self.root / "model")
        Wav2Vec2FeatureExtractor().save_pretrained(self.root / "model")
        return self.root / "model"

    @cached_property
    def store(self) -> Path:
        before, plan.SHARD_CROPS = plan.SHARD_CROPS, 3
        encoder = otoscope.load_encoder(self.model, device="cpu")
        extract(self.clips, encoder, out=self.root / "store", layers=[0, 2], progress=False)
        plan.SHARD_CROPS = before
        return self.root / "store"

    @cached_property
    def numbers(self) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        opened = Activations.open(self.store)
        return opened.rows, opened.layer(0), opened.layer(2)

    @cached_property
    def sae(self) -> Path:
        rows = {2: np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)}
        (made,) = train_saes(rows, TopKConfig(n_latents=24, k=3), epochs=2, device="cpu", progress=False)
        return made.save_pretrained(self.root / "sae")

    @cached_property
    def codes(self) -> torch.Tensor:
        return _codes(self.sae)

    def copy(self, source: Path) -> Path:
        """Return a copy of a file or folder that may be damaged."""
        place = self.root / "copies" / uuid.uuid4().hex[:8]
        shutil.rmtree(place.parent, ignore_errors=True)
        place.mkdir(parents=True)
        if source.is_dir():
            return Path(shutil.copytree(source, place / source.name))
        return Path(shutil.copy(source, place))


class Refused(OtoscopeError):
    """A command ended with a message, which was printed, and exit code 1 or 2."""


def damage(path: Path, rng: np.random.Generator) -> None:
    """Change a file as disks, copies and editors do."""
    content = bytearray(path.read_bytes())
    n = max(len(content), 1)
    match rng.integers(8):
        case 0:
            path.unlink()
            return
        case 1:
            content = content[: rng.integers(n)]
        case 2 if content:
            for place in rng.integers(len(content), size=rng.integers(1, 4)):
                content[place] ^= 1 << rng.integers(8)
        case 3:
            at = rng.integers(n)
            content[at : at + 8] = rng.bytes(rng.integers(0, 16))
        case 4:
            at, size = rng.integers(n), rng.integers(1, 200)
            content[at : at + size] = bytes(len(content[at : at + size]))
        case 5:
            content = bytearray()
        case 6:
            content += content[: rng.integers(n)]
        case _:
            content[: rng.integers(1, 64)] = rng.bytes(rng.integers(1, 64))
    path.write_bytes(bytes(content))


def edit_text(text: str, rng: np.random.Generator) -> str:
    """Put odd words in the place of words of a text, or cut, double and move its lines."""
    import re

    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.7:
            words = list(re.finditer(r"[^\s,:\"{}\[\]]+", text))
            if words:
                word = words[rng.integers(len(words))]
                text = text[: word.start()] + _odd(rng) + text[word.end() :]
        else:
            lines = text.split("\n")
            at = rng.integers(len(lines))
            lines[at : at + 1] = [[], [lines[at]] * 2, [lines[at][: len(lines[at]) // 2]]][rng.integers(3)]
            text = "\n".join(lines)
    return text


def _odd(rng: np.random.Generator) -> str:
    return ODD[rng.integers(len(ODD))]


def _edit(path: Path, rng: np.random.Generator) -> None:
    edited = edit_text(path.read_text(errors="replace"), rng)
    path.write_bytes(edited.encode("utf-8", errors="surrogatepass"))


def audio(bench: Bench, rng: np.random.Generator) -> bool:
    files = sorted(bench.sounds.iterdir())
    path = bench.copy(files[rng.integers(len(files))])
    size = path.stat().st_size
    damage(path, rng)
    is_cut = path.exists() and path.stat().st_size < size - 2048 and path.suffix != ".mp3"
    promised = audio_info(path).n_samples
    waveform, _ = read_audio(path)
    return (
        bool(np.isfinite(waveform).all())
        and not (is_cut and len(waveform) == 8000)
        and len(waveform) <= promised
    )


def tables(bench: Bench, rng: np.random.Generator) -> bool:
    names = [
        "clips.csv",
        "clips.jsonl",
        "clips.parquet",
        "factors.csv",
        "factors.parquet",
        "data/metadata.csv",
    ]
    name = names[rng.integers(len(names))]
    path = bench.copy(bench.root / name)
    if path.suffix == ".parquet" or rng.random() < 0.3:
        damage(path, rng)
    else:
        _edit(path, rng)
    if name.startswith("clips"):
        found = otoscope.load_clips(path)
        return bool(
            (found.stop_s > found.start_s).all()
            and np.isfinite(found.stop_s).all()
            and found.clip_id.is_unique
        )
    if name.startswith("factors"):
        made = compute_factors("csv", bench.clips, path=path).table
        return len(made) == len(bench.clips) and made.clip_id.tolist() == bench.clips.clip_id.tolist()
    folder = bench.copy(bench.data)
    if path.exists():  # else the folder is as it was
        (folder / "metadata.csv").write_bytes(path.read_bytes())
    return bool((otoscope.load_clips(folder).stop_s > 0).all())


def specs(bench: Bench, rng: np.random.Generator) -> bool:
    recipes = sorted(RECIPES.glob("*.yaml"))
    path = bench.copy(recipes[rng.integers(len(recipes))])
    settings = []
    if rng.random() < 0.5:
        _edit(path, rng)
    else:
        keys = (
            "seed", "protocol", "name", "dataset.label", "dataset.root", "dataset.options", "encoders.0.name", "saes",
            "encoders.²", "encoders.0.layers", "saes.sparsities", "saes.seeds", "saes.options", "saes.lr", "probing",
            "probing.regularisation", "disentanglement.alpha", "disentanglement.min_r2", "extraction.crop", "x.y.z",
            "disentanglement.null_sparsity", "disentanglement.empty_completeness", "factors.name", "", ".", "..",
        )  # fmt: skip
        for _ in range(rng.integers(1, 3)):
            settings.append(f"{keys[rng.integers(len(keys))]}={_odd(rng)}")
    spec = load_spec(path, settings=settings)
    return load_spec_again(bench, spec) == spec


def load_spec_again(bench: Bench, spec):
    """Return the spec as a run would write and read it."""
    import yaml

    from otoscope.experiment.spec import resolve

    return resolve(yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json"))))


def stores(bench: Bench, rng: np.random.Generator) -> bool:
    rows, first, last = bench.numbers
    store = bench.copy(bench.store)
    files = sorted(path for path in store.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    if path.suffix == ".json" and rng.random() < 0.6:
        _edit(path, rng)
    elif rng.random() < 0.15:
        path.write_bytes(files[rng.integers(len(files))].read_bytes())
    else:
        damage(path, rng)
    opened = Activations.open(store)
    same = np.array_equal(opened.layer(0), first) and np.array_equal(opened.layer(2), last)
    read = np.concatenate([values[2] for _, values in opened.batches([2], batch_size=4, seed=None)])
    return same and opened.rows.equals(rows) and np.array_equal(read, last)


def saes(bench: Bench, rng: np.random.Generator) -> bool:
    whole = bench.codes
    folder = bench.copy(bench.sae)
    files = sorted(folder.iterdir())
    path = files[rng.integers(len(files))]
    if path.suffix != ".safetensors" and rng.random() < 0.7:
        _edit(path, rng)
    else:
        damage(path, rng)
    return torch.equal(_codes(folder), whole)


def _codes(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return SparseAutoencoder.from_pretrained(folder).encode(
            torch.linspace(-2, 2, 80 * 16).reshape(80, 16)
        )


def models(bench: Bench, rng: np.random.Generator) -> bool:
    folder = bench.copy(bench.model)
    files = sorted(folder.iterdir())
    path = files[rng.integers(len(files))]
    if path.suffix == ".json" and rng.random() < 0.7:
        _edit(path, rng)
    else:
        damage(path, rng)
    encoder = otoscope.load_encoder(folder, device="cpu")
    return encoder.n_layers >= 1 and encoder.sample_rate >= 1000


def runs(bench: Bench, rng: np.random.Generator) -> bool:
    """Result tables and records of stages."""
    folder = bench.copy(bench.data)
    if rng.random() < 0.3:
        record = {
            "fingerprint": "a",
            "schema": 2,
            "seconds": 1.0,
            "outputs": {},
            "files": [],
            "sums": {},
            "versions": {},
        }
        (folder / "stage.json").write_text(json.dumps(record))
        _edit(folder / "stage.json", rng) if rng.random() < 0.7 else damage(folder / "stage.json", rng)
        found = read_record(folder / "stage.json")
        return found is None or isinstance(found.fingerprint, str)
    name = list(TABLES)[rng.integers(len(TABLES))]
    cells = {"text": "a", "layer": "3", "number": "0.5", "count": "4", "flag": "True"}
    header = ",".join(TABLES[name].names)
    row = ",".join(cells[column.kind] for column in TABLES[name].columns)
    path = folder / f"{name}.csv"
    path.write_text(f"{header}\n{row}\n{row}\n")
    _edit(path, rng) if rng.random() < 0.7 else damage(path, rng)
    return bool(len(read_table(path).columns))


def commands(bench: Bench, rng: np.random.Generator) -> bool:
    store, data, out = str(bench.store), str(bench.data), str(bench.root / "out" / uuid.uuid4().hex[:6])
    given = {
        "extract": [data, "--encoder", str(bench.model), "--out", out, "--device", "cpu"],
        "probe": [store, "--clips", data, "--label", "word"],
        "train": [store, "--out", out, "--latents", "8", "--epochs", "1", "--layers", "2", "--device", "cpu"],
        "encode": [str(bench.sae), data, "--out", f"{bench.root}/codes.csv", "--encoder", str(bench.model)],
        "factors": [data, "--out", f"{bench.root}/f.csv", "--name", "csv"],
        "disentangle": [
            store, f"{bench.root}/factors.csv", "--clips", data, "--layer", "2", "--out", f"{bench.root}/d.csv",
        ],
        "validate": [store],
        "report": [data],
        "run": ["demo", "--out", out, "--set", "dataset.name=folder", "--set", "dataset.root=/nowhere"],
        "list": ["saes"],
        "download": ["nothing", out],
    }  # fmt: skip
    name = list(given)[rng.integers(len(given))]
    arguments = list(given[name])
    options = (
        "--shard", "--layers", "--crop", "--pool", "--dtype", "--batch-size", "--sparsity", "--seeds", "--set", "--lr",
        "--group", "--label-kind", "--kind", "--normalise", "--precision", "--skip-unreadable", "--help", "--quick",
    )  # fmt: skip
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.6 and arguments:
            arguments[rng.integers(len(arguments))] = _odd(rng).replace("\0", "")
        else:
            arguments += [options[rng.integers(len(options))], _odd(rng).replace("\0", "")]
    try:
        with contextlib.chdir(bench.root):
            main([name, *arguments])
    except SystemExit as stopped:
        if stopped.code in (1, 2):
            raise Refused from stopped
        return stopped.code in (None, 0)
    return True


FAMILIES: dict[str, Callable[[Bench, np.random.Generator], bool]] = {
    "audio": audio,
    "tables": tables,
    "specs and --set": specs,
    "stores": stores,
    "SAEs": saes,
    "model folders": models,
    "runs": runs,
    "command lines": commands,
}
