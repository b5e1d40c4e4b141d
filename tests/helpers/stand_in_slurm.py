"""A stand-in for Slurm: sbatch, squeue, scontrol and scancel on PATH, and a queue that runs its tasks in turn.

Jobs are kept in a folder, ``<number>.json``; tasks run when the test says so, through bash, as Slurm would run them: in
order of submission, after those that they wait for, those that were requeued once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

SBATCH = """\
#!{python} -S
import json, os, pathlib, shlex, sys
folder = pathlib.Path({folder!r})
script = pathlib.Path(sys.argv[-1])
words = sys.argv[1:-1]
for line in script.read_text().splitlines():
    if line.startswith("#SBATCH "):
        words += shlex.split(line[8:])
options = dict(word.lstrip("-").partition("=")[::2] for word in words)
if options.get("partition") == "nowhere":
    print("sbatch: error: invalid partition specified: nowhere", file=sys.stderr)
    sys.exit("sbatch: error: Batch job submission failed: Invalid partition name specified")
number = 101 + len(list(folder.glob("*.json")))
if number > int(os.environ.get("STAND_IN_LIMIT", "999")):
    sys.exit("sbatch: error: Batch job submission failed: Job violates accounting/QOS policy")
(folder / f"{{number}}.json").write_text(json.dumps({{"script": script.read_text(), "options": options}}))
print(number)
"""
SQUEUE = '#!/bin/bash\ncat "{folder}/squeue" 2> /dev/null\nexit 0\n'
SCONTROL = '#!/bin/bash\necho "$2" >> "{folder}/requeued"\n'
PYTHON = """\
#!{python} -S
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect({socket!r})
    client.sendall(json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode())
    client.shutdown(socket.SHUT_WR)
    sys.exit(int(client.recv(16)))
"""
Answer = Callable[[list[str]], int]
"""The words after ``python`` in a task's script -> the exit code of what they ran."""


class StandIn:
    """A Slurm whose files lie in a folder."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.states: dict[str, str] = {}
        """``101_1`` -> Slurm's word for it, of what has run."""
        self.turns: list[tuple[str, list[str], str]] = []
        """Each turn of each task: its number, what it ran, the threads it was given."""
        bin_ = folder / "bin"
        bin_.mkdir(parents=True)
        texts = {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL, "python": PYTHON}
        for name, text in texts.items():
            full = text.format(python=sys.executable, folder=str(folder), socket=str(folder / "socket"))
            (bin_ / name).write_text(full)
            (bin_ / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
        monkeypatch.setattr(sys, "executable", str(bin_ / "python"))

    def jobs(self) -> dict[str, dict]:
        """What was submitted: number -> script and options."""
        return {path.stem: json.loads(path.read_text()) for path in sorted(self.folder.glob("*.json"))}

    def run(self, answer: Answer) -> None:
        """Run what was submitted and has not run."""
        for number, job in self.jobs().items():
            tasks = self._tasks(number, job)
            if any(task in self.states for task, _ in tasks):
                continue
            _, *before = job["options"].get("dependency", "").split(":")
            ended_well = all(
                state == "COMPLETED" for task, state in self.states.items() if task.split("_")[0] in before
            )
            for task, variables in tasks:
                self.states[task] = self._run(task, job, variables, answer) if ended_well else "CANCELLED"
        self.write_queue(self.states)

    def write_queue(self, states: dict[str, str]) -> None:
        """Have squeue tell these states."""
        lines = [f"{task}|{state}|None" for task, state in states.items()]
        (self.folder / "squeue").write_text("\n".join(lines) + "\n")

    def _tasks(self, number: str, job: dict) -> list[tuple[str, dict[str, str]]]:
        array = job["options"].get("array")
        if array is None:
            return [(number, {"SLURM_JOB_ID": number})]
        indices = list(_numbers(array.partition("%")[0]))
        about = {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_MIN": str(min(indices))}
        return [
            (f"{number}_{i}", {**about, "SLURM_ARRAY_TASK_ID": str(i), "SLURM_JOB_ID": f"{number}{i}"})
            for i in indices
        ]

    def _run(self, task: str, job: dict, variables: dict[str, str], answer: Answer) -> str:
        number, _, index = task.partition("_")
        log = job["options"]["output"].replace("%A", number).replace("%a", index).replace("%j", number)
        requeued = self.folder / "requeued"
        for restarts in range(20):
            requeued.unlink(missing_ok=True)
            turn = {**variables, "SLURM_RESTART_COUNT": str(restarts)} if restarts else variables
            with open(log.replace("%%", "%"), "a") as stream:
                code = self._bash(task, job["script"], {**os.environ, **turn}, stream, answer)
            if not requeued.exists():
                return "FAILED" if code else "COMPLETED"
            assert requeued.read_text().split() == [task]
        raise AssertionError(f"{task} is requeued for ever")

    def _bash(self, task: str, script: str, environment: dict[str, str], log, answer: Answer) -> int:
        place = self.folder / "socket"
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
            server.listen()
            server.settimeout(0.02)
            bash = subprocess.Popen(["bash", "-c", script], env=environment, stdout=log, stderr=log)
            while bash.poll() is None:
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                with client:
                    told = b"".join(iter(lambda c=client: c.recv(65536), b""))
                    here, its_environment, words = json.loads(told)
                    self.turns.append((task, words, its_environment["OMP_NUM_THREADS"]))
                    before = Path.cwd()
                    os.chdir(here)
                    try:
                        with contextlib.redirect_stdout(log):
                            code = answer(words)
                        log.flush()
                        client.sendall(str(code).encode())
                    finally:
                        os.chdir(before)
            return bash.returncode


def _numbers(text: str) -> Iterator[int]:
    """Read ``1-3,7``."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
