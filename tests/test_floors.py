"""The floors: a module imports only from floors below its own, and heavy libraries only when needed."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import otoscope

PACKAGE = Path(otoscope.__file__).parent
FLOORS = [
    {"errors", "registry", "audio", "clips", "splits", "tables", "containers", "contents", "compute"}
    | {"files", "hub", "multiple_testing", "results", "wording"},
    {"encoders", "datasets", "factors"},
    {"saes", "activations"},
    {"probing", "disentanglement", "latents", "claims"},
    {"interventions"},
    {"experiment"},
    {"report", "explorer"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_floors_below(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR_OF, f"{room} stands on no floor: name it in the design first"
    for other in imported_rooms(path):
        below = FLOOR_OF[other] < FLOOR_OF[room]
        both_ground = FLOOR_OF[other] == FLOOR_OF[room] == 0
        assert other == room or below or both_ground, f"{room} must not import {other}"


def test_no_files_import_each_other() -> None:
    """Not in a circle of any length either, nor for annotations alone; what a function imports when called is apart."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    imports = {name: set(imported(at_import(ast.parse(path.read_text())))) for name, path in names.items()}
    needs = {
        name: {module if module in names else module.rpartition(".")[0] for module in found} - {name}
        for name, found in imports.items()
    }
    assert sum(len(found & names.keys()) for found in needs.values()) > 500
    list(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError, which names them


@pytest.mark.parametrize("statement", ["import otoscope", "import otoscope.cli"])
def test_start_is_light(statement: str) -> None:
    heavy = [
        "torch",
        "transformers",
        "sklearn",
        "scipy",
        "pandas",
        "librosa",
        "matplotlib",
        "zarr",
        "soundfile",
    ]
    code = f"{statement}; import sys; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        (
            "import otoscope.activations.reader",
            ["torch", "transformers", "librosa", "numba", "matplotlib", "sklearn"],
        ),
        (
            "from otoscope.tables import read_table; read_table(sys.argv[1])",
            ["torch", "transformers", "scipy"],
        ),
        (
            "import otoscope.encoders.encoder, otoscope.activations.extraction",
            ["transformers", "librosa", "numba", "matplotlib", "sklearn"],
        ),
        (
            "from otoscope.activations import Activations; store = Activations.open(sys.argv[2]); "
            "assert store.layer(1).shape == (1, 16); store.rows",
            ["torch", "transformers", "librosa", "numba", "matplotlib", "sklearn", "scipy", "soundfile"],
        ),
        (
            "from otoscope.cli import main\ntry: main(['list', 'encoders'])\nexcept SystemExit: pass",
            ["torch", "transformers", "librosa", "numba", "matplotlib", "sklearn", "scipy", "zarr"],
        ),
    ],
)
def test_opening_listing_and_reading_are_light(statement: str, heavy: list[str], a_store: tuple) -> None:
    code = f"import sys\n{statement}\nprint([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-c", code, *map(str, a_store)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def a_store(tiny_encoder, tmp_path_factory) -> tuple[Path, Path]:
    """A clips table on disk, and the store of its one clip."""
    import numpy as np
    import pandas as pd

    from otoscope.audio import write_audio

    folder = tmp_path_factory.mktemp("store")
    write_audio(folder / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(8000), 16_000)
    clips = pd.DataFrame([["a", str(folder / "a.wav"), 0.0, 0.5, "train", "a"]])
    clips.columns = ["clip_id", "path", "start_s", "stop_s", "split", "group"]
    clips.to_csv(folder / "clips.csv", index=False)
    encoder = otoscope.load_encoder(tiny_encoder, device="cpu")
    otoscope.extract(clips, encoder, out=folder / "store", progress=False)
    return folder / "clips.csv", folder / "store"


def test_every_public_name_resolves() -> None:
    for name in otoscope.__all__:
        assert getattr(otoscope, name) is not None


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms that a module imports anywhere, functions included."""
    inside = [
        name.split(".")[1]
        for name in imported(ast.walk(ast.parse(path.read_text())))
        if name.startswith("otoscope.")
    ]
    return {room for room in inside if room in FLOOR_OF or (PACKAGE / room).exists()}


def imported(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the dotted name of all that these statements import: of a module, or of something in it."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"write absolute imports, not from {'.' * node.level}{node.module or ''}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what lies below a node, without the insides of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)
