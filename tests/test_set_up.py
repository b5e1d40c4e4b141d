"""``make`` finds a Python that runs, says which, and says in words what is missing (``.ci/set_up``)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["python3.11", "python3.14", "python3.13", "python3.12", "python3", "python"]
SHIM = 'echo "pyenv: $0: command not found" >&2; exit 127'
RUNS = f'case "$1" in -m) echo "asked $0 $*"; exit 1;; esac; exec {sys.executable} "$@"'
NO_VENV = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not (ROOT / ".ci" / "set_up").is_file(), reason="a clone on a POSIX system"
)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def set_up(tmp_path: Path, pythons: dict[str, str], **environment: str) -> tuple[int, str]:
    """Run it with these programs in front of the PATH, others of such names failing as shims do."""
    for name in NAMES:
        program(tmp_path / "bin" / name, pythons.get(name, SHIM))
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "TORCH_INDEX")}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / ".ci" / "set_up", tmp_path / "venv"],
        env=clean | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (NAMES, "python3.11"),
        (["python3.12", "python3.13", "python3.14"], "python3.14"),
        (["python3.12", "python3"], "python3.12"),
        (["python3"], "python3"),
    ],
)
def test_the_python_that_is_taken(tmp_path, there, taken):
    code, said = set_up(tmp_path, dict.fromkeys(there, RUNS))
    assert f"asked {tmp_path / 'bin' / taken} -m venv {tmp_path / 'venv'}" in said
    assert "Python: 3." in said
    assert "could not be made" in said  # by these, which only say what they are asked
    assert code == 1


def test_a_python_may_be_named(tmp_path):
    _, said = set_up(tmp_path, dict.fromkeys(NAMES, RUNS), PYTHON="python3.12")
    assert f"asked {tmp_path / 'bin' / 'python3.12'} -m venv" in said


@pytest.mark.parametrize(
    ("pythons", "environment", "words"),
    [
        ({}, {}, "no Python 3.11 to 3.14 that runs is on the PATH"),
        ({"python3.12": NO_VENV}, {}, "its venv module is not: on Debian or Ubuntu, apt install python3."),
        ({"python3.11": RUNS}, {"PYTHON": "python3.13"}, "'python3.13' does not run, or is no Python"),
    ],
)
def test_what_is_missing(tmp_path, pythons, environment, words):
    code, said = set_up(tmp_path, pythons, **environment)
    assert (code, words in said) == (1, True), said


PIP = """
case "$*" in
  *--dry-run*) {dry_run} ;;
  *" install "*) echo "installing $*"; exit 0 ;;
  *"import torch"*) exit 1 ;;
esac
"""


def test_without_a_network(tmp_path):
    fails = "echo 'Failed to establish a new connection: Temporary failure in name resolution' >&2; exit 1"
    program(tmp_path / "venv" / "bin" / "python", PIP.format(dry_run=fails))
    code, said = set_up(tmp_path, {})
    assert (code, "the package index cannot be reached: is there a network" in said) == (1, True), said


@pytest.mark.parametrize(("package", "large"), [("nvidia-cublas", True), ("sympy", False)])
def test_a_large_download_is_said_before(tmp_path, package, large):
    report = (
        f"""while [ "$1" != --report ]; do shift; done; echo '{{"metadata": {{"name": "{package}"}}}}' > $2"""
    )
    program(tmp_path / "venv" / "bin" / "python", PIP.format(dry_run=report))
    code, said = set_up(tmp_path, {})
    assert code == 0, said
    assert ("a download of several GB" in said.partition("installing")[0]) == large
    assert "install -q -c constraints.txt torch" in said
    code, said = set_up(tmp_path, {}, TORCH_INDEX="https://example.org/cpu")
    assert "several GB" not in said
    assert "install -q -c constraints.txt torch --index-url https://example.org/cpu" in said


def test_a_broken_environment_is_named(tmp_path):
    program(tmp_path / "venv" / "bin" / "python", "exit 1")
    code, said = set_up(tmp_path, {})
    assert (code, "make clean removes it" in said) == (1, True), said
