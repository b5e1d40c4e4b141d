"""The public face: names load lazily, have types, do not shadow modules, and come with the wheel."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import otoscope

PACKAGE = Path(otoscope.__file__).parent
STUBS = sorted(PACKAGE.rglob("*.pyi"))
ROOT = Path(__file__).parents[1]
INNER = {"cli"}
"""Rooms without public names."""


def module_of(stub: Path) -> str:
    return ".".join(["otoscope", *stub.parent.relative_to(PACKAGE).parts])


def names_of(stub: Path) -> list[str]:
    listed = next(
        node.value
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return ast.literal_eval(listed)


def test_every_room_has_a_stub():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - INNER
    assert rooms == {stub.parent.name for stub in STUBS if stub.parent.parent == PACKAGE}
    assert PACKAGE / "__init__.pyi" in STUBS


@pytest.mark.parametrize("stub", STUBS, ids=module_of)
def test_every_name_of_a_stub_can_be_had(stub):
    package = importlib.import_module(module_of(stub))
    assert "attach_stub" in stub.with_suffix(".py").read_text()
    assert sorted(names_of(stub)) == sorted(package.__all__) == sorted(set(dir(package)))
    for name in names_of(stub):
        assert getattr(package, name) is not None


def test_no_function_shadows_its_module():
    shadowed = []
    for init in PACKAGE.rglob("__init__.py"):
        package = importlib.import_module(module_of(init))
        for module in [
            *init.parent.glob("*.py"),
            *(path.parent for path in init.parent.glob("*/__init__.py")),
        ]:
            if module.stem not in ("__init__", "__main__"):
                inner = importlib.import_module(f"{package.__name__}.{module.stem}")
                if getattr(package, module.stem) is not inner:
                    shadowed.append(inner.__name__)
    assert shadowed == []


def test_a_type_checker_sees_the_types(tmp_path):
    pytest.importorskip("mypy")
    user = tmp_path / "user.py"
    user.write_text(
        "import otoscope as oto\n"
        "from otoscope.probing import probe\n"
        "from otoscope.saes import TopKConfig\n"
        "reveal_type(oto.load_clips)\n"
        "reveal_type(probe)\n"
        "reveal_type(TopKConfig(n_latents=8).sparsity)\n"
        "reveal_type(oto.__version__)\n"
        "oto.load_clip('x')\n"
    )
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nfollow_imports = skip\n[mypy-otoscope.*]\nfollow_imports = silent\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", tmp_path / "cache", user],
        env=os.environ | {"MYPYPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
    )
    said = done.stdout
    assert "root: str | pathlib.Path | None" in said, said + done.stderr  # load_clips
    assert "-> otoscope.probing.results.Probe" in said
    assert '"float | None"' in said
    assert '"str"' in said
    assert 'has no attribute "load_clip"; maybe "load_clips"?' in said
    assert '"Any"' not in said, said


@pytest.mark.slow
def test_the_wheel_holds_all_that_is_public(tmp_path):
    """Built, and installed where there is nothing of this checkout; its dependencies are those of this Python."""
    wheels = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", ROOT, "--no-deps", "-w", wheels]
    done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode and "setuptools" in done.stderr:
        pytest.skip("no network to get setuptools from")
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("otoscope-*.whl")
    venv.create(tmp_path / "bare", with_pip=False)
    bare = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = subprocess.run(
        [bare, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    ).stdout.strip()
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    theirs = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (Path(site) / "dependencies.pth").write_text("\n".join(theirs))
    asks = [f"import {module_of(stub)} as m; [getattr(m, n) for n in {names_of(stub)}]" for stub in STUBS]
    asks.append("import otoscope; print(otoscope.__file__)")
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    said = subprocess.run(
        [bare, "-c", "\n".join(asks)], env=clean, cwd=tmp_path, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip().startswith(site)
    installed = Path(site) / "otoscope"
    assert {path.relative_to(installed) for path in installed.rglob("*.pyi")} == {
        path.relative_to(PACKAGE) for path in STUBS
    }
    assert (installed / "py.typed").exists()
