"""How the house stands: lines, files, function bodies, circles of imports, and what public modules cost to import.

    python benchmarks/house.py [SRC] [--rounds N]

SRC is a folder that holds the package (default: ../src of this file); an older checkout's can be given. Import times
are ratios to `import torch`, each the shortest of N fresh processes taken in turns, less an empty process.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

MODULES = [
    "otoscope",
    "otoscope.activations.reader",
    "otoscope.cli",
    "otoscope.clips",
    "otoscope.disentanglement.measure",
    "otoscope.encoders.load",
    "otoscope.experiment.runner",
    "otoscope.experiment.spec",
    "otoscope.factors.tables",
    "otoscope.probing.linear",
    "otoscope.report.page",
    "otoscope.saes.training",
    "otoscope.saes.training.train",
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("src", type=Path, nargs="?", default=Path(__file__).parents[1] / "src")
    parser.add_argument("--rounds", type=int, default=3, help="0 measures no imports")
    arguments = parser.parse_args()
    package = arguments.src.resolve() / "otoscope"
    files = sorted(package.rglob("*.py"))
    lines = {file: len(file.read_text().splitlines()) for file in files}
    over = sorted((file for file in files if lines[file] > 300), key=lines.__getitem__, reverse=True)
    print(f"lines {sum(lines.values())}, files {len(files)}, median file {median(lines.values()):.0f} lines")
    print("files over 300 lines:", ", ".join(f"{f.relative_to(package)} {lines[f]}" for f in over) or "none")
    for room in sorted({file.relative_to(package).parts[0] for file in files if file.parent != package}):
        own = [file for file in files if file.relative_to(package).parts[0] == room]
        print(f"  {room}: {len(own)} files, {sum(lines[file] for file in own)} lines")
    bodies = sorted((body for file in files for body in bodies_of(file, package)), reverse=True)
    print(
        f"functions {len(bodies)}, median body {median(b[0] for b in bodies):.0f} lines, longest {bodies[0][0]}"
    )
    print("longest bodies:", ", ".join(f"{name} {length}" for length, name in bodies[:5]))
    print(f"bodies over 60 lines: {sum(length > 60 for length, _ in bodies)}")
    for what, counted in (("", False), (", those for annotations counted", True)):
        circles = circles_of(arrows(package, annotations=counted))
        print(f"circles of imports between files{what}: {len(circles)}")
        for circle in circles:
            print("  " + " ".join(sorted(name.removeprefix("otoscope.") for name in circle)))
    if arguments.rounds:
        print("import times, as multiples of import torch:")
        for name, ratio in import_ratios(arguments.src.resolve(), arguments.rounds).items():
            print(f"  {name}: {ratio:.2f}")


def bodies_of(file: Path, package: Path) -> Iterator[tuple[int, str]]:
    """Yield lines and name of each function's body, its docstring not counted."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield length, f"{file.relative_to(package)}:{node.name}"


def arrows(package: Path, *, annotations: bool) -> dict[str, set[str]]:
    """Return module -> the modules it imports anywhere, in functions too; those for annotations only if asked.

    A name taken from a package counts as taken from the module that holds it.
    """
    modules = {module_name(file, package): file for file in package.rglob("*.py")}
    homes = {name: homes_of(name, file) for name, file in modules.items() if file.name == "__init__.py"}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, file in modules.items():
        for target in imported(file, annotations):
            home = target
            while home not in modules:
                parent, _, attribute = home.rpartition(".")
                if not parent:
                    break
                further = homes.get(parent, {}).get(attribute)
                if further is not None and f"{further}.{attribute}" != home:
                    home = (
                        further if further in modules and further not in homes else f"{further}.{attribute}"
                    )
                else:
                    home = parent
            if home in modules and home != name:
                found[name].add(home)
    return found


def module_name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def homes_of(name: str, file: Path) -> dict[str, str]:
    """Return public name -> the module it comes from, by a package's stub, imports or lazy table."""
    stub = file.with_suffix(".pyi")
    found = {}
    for node in ast.walk(ast.parse((stub if stub.exists() else file).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = f"{name}.{node.module}" if node.level else node.module
            found |= {alias.name: module for alias in node.names}
        elif isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            for module, names in ast.literal_eval(node.value).items():
                found |= dict.fromkeys(names, f"{name}.{module}")
    return found


def imported(file: Path, annotations: bool) -> Iterator[str]:
    """Yield the dotted names a file imports; those under ``if TYPE_CHECKING`` only if `annotations`."""
    waiting: list[ast.AST] = [ast.parse(file.read_text())]
    while waiting:
        node = waiting.pop()
        if not annotations and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("otoscope"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("otoscope"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def circles_of(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that reach one another."""
    reach = {start: reachable(start, arrows) for start in arrows}
    circles = []
    for start, reached in reach.items():
        circle = {other for other in reached if start in reach[other]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def reachable(start: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [*arrows[start]]
    while waiting:
        if (module := waiting.pop()) not in seen:
            seen.add(module)
            waiting += arrows[module]
    return seen


def import_ratios(src: Path, rounds: int) -> dict[str, float]:
    """Return module -> its import time as a multiple of torch's; modules that are not there are left out."""
    there = [name for name in MODULES if spec_exists(src, name)]
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name in ["sys", "torch", *there]:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", f"import {name}"],
                env=os.environ | {"PYTHONPATH": str(src)},
                check=True,
            )
            best[name] = min(best.get(name, float("inf")), time.perf_counter() - started)
    return {name: (best[name] - best["sys"]) / (best["torch"] - best["sys"]) for name in there}


def spec_exists(src: Path, name: str) -> bool:
    path = src.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


if __name__ == "__main__":
    main()
