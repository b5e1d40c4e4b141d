"""The text of sbatch files: what bash makes of it, and what sbatch would."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from otoscope.errors import InputError
from otoscope.experiment.slurm import Job, Resources, script
from otoscope.experiment.slurm.scripts import ranges, sbatch_quote

ODD = ["a b", "it's", 'say "x"', "$HOME", "`id`", "a;b", "back\\slash", "100%", "*", "ünï", "-x", "#1"]


def options_of(text: str) -> dict[str, str]:
    """What follows #SBATCH, as a shell's words."""
    words = [
        word for line in text.splitlines() if line.startswith("#SBATCH ") for word in shlex.split(line[8:])
    ]
    return dict(word.removeprefix("--").partition("=")[::2] for word in words)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def run_script(tmp_path, monkeypatch):
    """Run a job's script through bash beside a scontrol that writes down what it is told."""
    (tmp_path / "bin").mkdir()
    write(tmp_path / "bin", "scontrol", f'#!/bin/bash\necho "$@" >> {tmp_path}/scontrol\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def start(text: str, **variables: str) -> subprocess.Popen:
        about = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "7"}
        path = write(tmp_path, "job.sbatch", text)
        pipe = subprocess.PIPE
        environment = {**os.environ, **about, **variables}
        return subprocess.Popen(["bash", path], env=environment, stdout=pipe, stderr=pipe, text=True)

    return start


def told(tmp_path: Path) -> list[str]:
    path = tmp_path / "scontrol"
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("odd", ODD)
def test_every_word_comes_through_bash_as_it_is(odd, tmp_path, run_script):
    here = tmp_path / f"here {odd}"
    here.mkdir()
    python = write(
        here, f"python {odd}", f'#!/bin/bash\npwd > {tmp_path}/pwd\nprintf "%s\\0" "$@" > {tmp_path}/words\n'
    )
    job = Job("saes", ("run", odd, "--set", f"a={odd}"), n=8, indices=(3,))
    text = script(job, Resources(), folder=tmp_path, here=here, python=str(python))
    assert run_script(text).wait() == 0
    words = (tmp_path / "words").read_text().split("\0")[:-1]
    assert words == ["-m", "otoscope", "run", odd, "--set", f"a={odd}", "--shard", "3/8"]
    assert (tmp_path / "pwd").read_text().strip() == str(here)


def test_options_in_the_words_of_slurm(tmp_path):
    asked = Resources(
        partition="gpu", account="my lab", qos="long", constraint="a100|h100", time="04:00:00", mem="16G",
        gpus="a100:1", cpus_per_task=6, parallel=2, setup=("module load cuda",),
        sbatch=("--comment=it's a \"test\"", "--exclusive"),
    )  # fmt: skip
    job = Job("saes", ("run", "demo"), n=8, indices=(1, 2, 3, 7))
    text = script(job, asked, folder=tmp_path / "100% mine", here=tmp_path, python="python")
    assert options_of(text) == {
        "job-name": "otoscope-saes",
        "array": "1-3,7%2",
        "partition": "gpu",
        "account": "my lab",
        "qos": "long",
        "constraint": "a100|h100",
        "ntasks": "1",
        "cpus-per-task": "6",
        "mem": "16G",
        "gres": "gpu:a100:1",
        "time": "04:00:00",
        "comment": 'it\'s a "test"',
        "exclusive": "",
        "output": f"{tmp_path}/100%% mine/logs/saes-%A_%a.log",
        "open-mode": "append",
        "requeue": "",
        "signal": "B:USR1@60",
    }
    lines = text.splitlines()
    assert lines.index("module load cuda") < lines.index(f"cd {tmp_path} || exit 2")
    assert "export OMP_NUM_THREADS=6" in text


def test_what_would_not_stay_on_its_line_is_refused(tmp_path):
    for name in ("partition", "account", "qos", "constraint", "time", "mem", "gpus"):
        with pytest.raises(InputError, match=f"--{name} holds a line break"):
            Resources(**{name: "x\nrm -r /"})
    with pytest.raises(InputError, match="--setup holds a line break"):
        Resources(setup=("a\nb",))
    with pytest.raises(InputError, match="--sbatch takes an option"):
        Resources(sbatch=("reservation=x",))
    places = {"folder": tmp_path, "here": tmp_path, "python": "python"}
    with pytest.raises(InputError, match="line break"):
        script(Job("a", ("run", "x\ny")), Resources(), **places)
    with pytest.raises(InputError, match="backslash"):
        script(Job("a", ("run",)), Resources(), **{**places, "folder": tmp_path / "a\\b"})


TIMES = ["90", "90:30", "04:00:00", "1-12", "1-12:30", "1-12:30:00", "0", "UNLIMITED", "infinite"]
WRITTEN = {
    "time": (TIMES, ["abc", "", "4h", "04:00:00:00", "1-", "-1", "1:2-3", "1.5", "90 minutes", "9\u0661"]),
    "mem": (
        ["16G", "16g", "1500M", "4000", "2T", "900K", "16GB", "0"],
        ["", "16GiB", "1.5G", "-4G", "lots", "16 G", "G"],
    ),
    "gpus": (
        ["1", "a100:1", "a100", "nvidia_h100-80gb:2"],
        ["0", "-1", "a100:0", "a100:", ":1", "1:a100", "", "a b"],
    ),
    "partition": (["gpu", "a,b"], ["", " "]),
}


@pytest.mark.parametrize("option", WRITTEN)
def test_what_no_slurm_can_read_is_refused(option):
    good, bad = WRITTEN[option]
    for value in good:
        assert any(value in told for told in Resources(**{option: value}).options())
    for value in bad:
        with pytest.raises(InputError, match=rf"--{option} '.*' is nothing that Slurm can read; it takes "):
            Resources(**{option: value})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cpus_per_task": 0}, "--cpus-per-task must be at least 1, got 0"),
        ({"parallel": 0}, "--array-parallelism must be at least 1, got 0"),
        ({"retries": -1}, "--retries must be at least 0, got -1"),
    ],
)
def test_counts_begin_at_one(wrong, message):
    with pytest.raises(InputError, match=message):
        Resources(**wrong)


@pytest.mark.parametrize(
    ("code", "restarts", "requeued"),
    [(0, None, False), (2, None, False), (1, None, True), (137, "2", True), (1, "3", False)],
)
def test_who_goes_back_to_the_queue(code, restarts, requeued, tmp_path, run_script):
    """Who crashed, and not too often; not who is done, nor who must be mended. One task alone, not its whole array."""
    python = write(tmp_path, "python", f"#!/bin/bash\nexit {code}\n")
    for job, who in ((Job("saes", ("run",), n=8, indices=(3,)), "7_3"), (Job("gather", ("run",)), "7")):
        text = script(job, Resources(retries=3), folder=tmp_path, here=tmp_path, python=str(python))
        task = run_script(text, **({"SLURM_RESTART_COUNT": restarts} if restarts else {}))
        out, _ = task.communicate()
        assert task.returncode == code
        assert out.splitlines()[-1] == f"otoscope slurm: ended with {code}"
        assert told(tmp_path) == ([f"requeue {who}"] if requeued else [])
        (tmp_path / "scontrol").unlink(missing_ok=True)


@pytest.mark.parametrize(("sent", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_signal_stops_what_runs(sent, requeued, tmp_path, run_script):
    """USR1 (time is nearly up) is handed on as TERM, and the task goes on later; what scancel ends stays ended."""
    python = write(
        tmp_path,
        "python",
        "#!/bin/bash\ntrap 'sleep .2; echo stopped; exit 143' TERM\necho up\nwhile :; do sleep .05; done\n",
    )
    job = Job("saes", ("run",), n=8, indices=(3,))
    task = run_script(script(job, Resources(), folder=tmp_path, here=tmp_path, python=str(python)))
    assert task.stdout is not None
    lines = [task.stdout.readline() for _ in range(2)]
    assert lines[1] == "up\n"
    task.send_signal(sent)
    if sent == signal.SIGTERM:  # scancel's reaches all
        time.sleep(0.05)
        children = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(task.pid)], capture_output=True, text=True, check=True
        )
        os.kill(int(children.stdout.split()[0]), signal.SIGTERM)
    rest, _ = task.communicate(timeout=20)
    assert rest.splitlines() == ["stopped", "otoscope slurm: ended with 143"]
    assert task.returncode == 143
    assert told(tmp_path) == (["requeue 7_3"] if requeued else [])


def test_setup_comes_first_and_from_a_place_of_its_own(tmp_path, run_script):
    python = write(tmp_path, "python", '#!/bin/bash\necho "loaded: $CUDA $OMP_NUM_THREADS"\n')
    asked = Resources(setup=("export CUDA='12 or so'", "export OMP_NUM_THREADS=99"), cpus_per_task=3)
    task = run_script(
        script(Job("gather", ("run",)), asked, folder=tmp_path, here=tmp_path, python=str(python))
    )
    assert "loaded: 12 or so 3" in task.communicate()[0]


def test_a_folder_that_is_gone_is_not_run_in_another(tmp_path, run_script):
    text = script(
        Job("gather", ("run",)), Resources(), folder=tmp_path, here=tmp_path / "gone", python="false"
    )
    assert run_script(text).wait() == 2


@pytest.mark.parametrize(
    ("numbers", "text"),
    [((1,), "1"), ((1, 2, 3), "1-3"), ((2, 3, 7, 9, 10), "2-3,7,9-10"), ((5, 1000), "5,1000")],
)
def test_ranges(numbers, text):
    assert ranges(numbers) == text


@pytest.mark.parametrize("odd", ODD)
def test_sbatch_quote(odd):
    """sbatch takes away quotes, and a backslash with them, as a shell does within double quotes."""
    taken = sbatch_quote(odd)
    assert shlex.split(taken, comments=True) == [odd]
