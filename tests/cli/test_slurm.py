"""``otoscope slurm``: what its page says of it."""

from __future__ import annotations

import re
from pathlib import Path

import typer

import otoscope.cli.slurm  # noqa: F401  it adds its command
from otoscope.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_page_names_each_option_and_no_other():
    command = typer.main.get_command(app).commands["slurm"]
    known = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    text = PAGE.read_text(encoding="utf-8")
    shown = [
        block for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "otoscope slurm" in block
    ]
    table = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `--"))
    named = set(
        re.findall(r"--[a-z][a-z-]+", re.sub(r"--sbatch=--\w+", "--sbatch", "\n".join([*shown, table])))
    )
    assert named - known == set()
    assert known - named == {"--set"}
