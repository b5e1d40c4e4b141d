"""Submitting a run, beside a stand-in for Slurm that runs its tasks in this process."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from stand_in_slurm import StandIn

from otoscope.cli import main
from otoscope.errors import InputError
from otoscope.experiment import RunDirectory, Spec, load_spec, run
from otoscope.experiment.records import StageRecord, versions
from otoscope.experiment.runner import UNIT_STAGES
from otoscope.experiment.slurm import Resources, job_lines, plan_jobs, submit_run
from otoscope.experiment.slurm.plan import AFTER, is_of
from otoscope.results import SCHEMA

SMALL = [
    "dataset.options={n_singers: 4}",
    "encoders.0.layers=[1]",
    "saes.n_latents=16",
    "saes.sparsities=[0.75]",
    "saes.seeds=[0]",
    "saes.epochs=2",
    "disentanglement.alphas=[0.1]",
    "disentanglement.nulls=[untrained]",
    "disentanglement.folds=2",
    "latents.describe=none",
    "probing.regularisation=[0.01]",
    "probing.few_latents=[]",
]


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> StandIn:
    return StandIn(tmp_path / "cluster", monkeypatch)


@pytest.fixture(scope="module")
def settings(tiny_encoder, tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("data") / "synth sing's $HOME"
    return [*SMALL, f"encoders.0.name={tiny_encoder}", f"dataset.root={root}"]


def call(words: list[str]) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return int(stopped.value.code or 0)


def ours(words: list[str]) -> int:
    """What a task's ``python -m otoscope ...`` comes to, in this process."""
    assert words[:2] == ["-m", "otoscope"]
    return call(words[2:])


def write_no_report(directory: RunDirectory) -> None:
    (directory.root / "report.html").touch()
    (directory.root / "figures").mkdir()


def sums(root: Path) -> dict[str, str]:
    paths = [path for folder in ("results", "activations", "saes") for path in (root / folder).rglob("*")]
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(paths)
        if path.is_file() and not path.name.endswith(".seen.json")  # times of change of what was read
    }


def test_a_run_by_tasks_has_the_bytes_of_one_process(slurm, settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("otoscope.report.write_report", write_no_report)  # half a minute of drawing
    alone = sums(run("demo", out=tmp_path / "alone", settings=settings).root)
    out = tmp_path / "a run's $HOME 100%"
    asked = ["slurm", "demo", "--out", str(out), "--tasks", "2", "--cpus-per-task", "1"]
    asked += [word for setting in settings for word in ("--set", setting)]
    assert call(asked) == 0
    assert "factors: job 101, 2 tasks" in capsys.readouterr().out
    slurm.run(ours)
    assert set(slurm.states.values()) == {"COMPLETED"}
    assert {threads for _, _, threads in slurm.turns} == {"1"}
    (gathered,) = (out / "slurm" / "logs").glob("gather-*.log")
    begun = [line.removesuffix(" ...") for line in gathered.read_text().splitlines() if line.endswith(" ...")]
    assert "report" in begun
    assert not [name for name in begun if any(is_of(name, stage) for stage in UNIT_STAGES)], (
        "left to one task"
    )
    found = sums(out)
    assert {name: found.get(name) for name in alone} == alone
    assert (out / "report.html").exists()
    assert all("ended well" in line for line in job_lines(out)[1:])
    assert call([*asked, "--retry-missing"]) == 0
    assert "nothing is missing" in capsys.readouterr().out


def submit(out: Path, settings: list[str], **options) -> dict[str, str]:
    return submit_run("demo", out=out, settings=settings, resources=Resources(), n_tasks=4, **options)


def test_each_array_waits_for_what_it_reads(slurm, settings, tmp_path):
    numbers = submit(tmp_path / "run", settings)
    assert list(numbers) == [
        "factors", "activations", "layer_probing", "saes", "nulls", "sae_probing", "disentanglement", "gather",
    ]  # fmt: skip
    waits = {name: slurm.jobs()[number]["options"].get("dependency") for name, number in numbers.items()}
    assert waits == {
        "factors": None,
        "activations": None,
        "layer_probing": "afterok:102",
        "saes": "afterok:103",
        "nulls": "afterok:104",
        "sae_probing": "afterok:105",
        "disentanglement": "afterok:101:105",
        "gather": "afterok:106:107",
    }
    assert all(
        "kill-on-invalid-dep" in slurm.jobs()[numbers[name]]["options"] for name in waits if waits[name]
    )
    arrays = {name: slurm.jobs()[number]["options"].get("array") for name, number in numbers.items()}
    assert arrays == dict.fromkeys(numbers, "1-4") | {"layer_probing": "1", "saes": "1", "gather": None}


def test_a_dry_run_writes_nothing_and_is_a_script_that_submits_the_same(slurm, settings, tmp_path, capsys):
    out = tmp_path / "a run's $HOME"
    submit(out, settings, dry_run=True, say=print)
    shown = capsys.readouterr().out
    assert not out.exists()
    assert slurm.jobs() == {}
    subprocess.run(["bash", "-c", shown], check=True, capture_output=True)
    by_hand = slurm.jobs()
    for file in slurm.folder.glob("*.json"):
        file.unlink()
    submit(out, settings)
    assert slurm.jobs() == by_hand


def test_a_task_that_fails_is_told_and_retried_and_nothing_else_is(slurm, settings, tmp_path):
    out = tmp_path / "run"
    ran: list[list[str]] = []

    def answer(words: list[str]) -> int:
        ran.append(words)
        if words[-2:] == ["--shard", "3/4"] and "activations" in words:
            print("Killed")
            return 137
        return 0

    submit(out, settings)
    slurm.run(answer)
    turns = [task for task, _, _ in slurm.turns]
    assert turns.count("102_3") == 4  # three times back to the queue
    assert turns.count("102_1") == 1
    assert not any(task.startswith("103") for task in turns)  # what waits for it never ran
    lines = job_lines(out)
    assert lines[1] == "  factors (101): 4 ended well"
    assert lines[2] == "  activations (102): 3 ended well: 1-2,4; 1 failed (exit code 137): 3"
    assert lines[3] == "  layer_probing (103): 1 never ran"
    log = out / "slurm" / "logs" / "activations-102_3.log"
    assert f"activations 102_3: failed (exit code 137); {log} ends with" in lines
    assert lines[-1] == "    otoscope slurm: ended with 137"


def begun(root: Path, spec: Spec) -> None:
    (root / "spec.yaml").write_text(yaml.safe_dump(spec.model_dump(mode="json")))


def made(root: Path, stage: str) -> None:
    (root / "stages").mkdir(exist_ok=True)
    record = StageRecord(
        fingerprint="", schema=SCHEMA, seconds=1, outputs={}, files=[], sums={}, versions=versions()
    )
    (root / "stages" / f"{stage}.json").write_text(record.text())


def half_made(root: Path, stage: str, n: int, done: list[int]) -> None:
    folder = root / "work" / f"{stage}-{'0' * 16}"
    folder.mkdir(parents=True)
    (folder / "units.json").write_text(json.dumps({"units": [f"unit {i}" for i in range(n)]}))
    for i in done:
        (folder / f"unit {i}.zip").touch()


def test_only_what_is_missing_is_submitted(settings, tmp_path):
    """A stage that is made is left out; of one half made, the tasks whose units are all there; of others all."""
    spec = load_spec("demo", settings=settings)
    begun(tmp_path, spec)
    for name in ("factors", "activations-tiny", "layer_probing"):
        made(tmp_path, name)
    half_made(tmp_path, "saes-tiny", 10, [0, 1, 3, 4, 5, 7, 8, 9])
    jobs = {job.name: job for job in plan_jobs(spec, ["run"], tmp_path, n_tasks=4)}
    assert list(jobs) == ["saes", "nulls", "sae_probing", "disentanglement", "gather"]
    assert (jobs["saes"].n, jobs["saes"].indices) == (
        4,
        (3,),
    )  # units 2 and 6 of every fourth from the third on
    assert jobs["saes"].after == ()
    assert jobs["nulls"].indices == (1, 2, 3, 4)
    assert jobs["disentanglement"].after == ("nulls",)
    many = {job.name: job for job in plan_jobs(spec, ["run"], tmp_path, n_tasks=64)}
    assert (many["saes"].n, many["saes"].indices) == (10, (3, 7))  # no more tasks than units
    two = load_spec("demo", settings=[*settings, "encoders=[{name: a/b, layers: [1, 2, 3]}, {name: c/d}]"])
    begun(tmp_path, two)
    of_two = {job.name: job for job in plan_jobs(two, ["run"], tmp_path, n_tasks=4)}
    assert of_two["saes"].indices == (1, 2, 3)  # of the other encoder nothing is known yet


def test_every_stage_of_units_is_known():
    assert set(AFTER) == set(UNIT_STAGES)
    order = list(UNIT_STAGES)
    assert all(order.index(before) < order.index(stage) for stage in AFTER for before in AFTER[stage])


def test_a_stage_whose_units_are_all_there_needs_no_tasks(settings, tmp_path):
    spec = load_spec("demo", settings=settings)
    begun(tmp_path, spec)
    half_made(tmp_path, "factors", 3, [0, 1, 2])
    assert "factors" not in [job.name for job in plan_jobs(spec, ["run"], tmp_path, n_tasks=4)]


def test_what_other_settings_made_is_not_taken_for_made(settings, tmp_path):
    begun(tmp_path, load_spec("demo", settings=settings))
    made(tmp_path, "factors")
    other = load_spec("demo", settings=[*settings, "saes.epochs=3"])
    assert "factors" in [job.name for job in plan_jobs(other, ["run"], tmp_path, n_tasks=4)]


def test_what_slurm_refuses_is_told_once(slurm, settings, tmp_path):
    with pytest.raises(InputError) as told:
        submit_run("demo", out=tmp_path, settings=settings, resources=Resources(partition="nowhere"))
    path = tmp_path / "slurm" / "factors.sbatch"
    assert str(told.value) == (
        f"sbatch refused {path}: invalid partition specified: nowhere; Batch job submission failed: Invalid partition "
        "name specified"
    )


def test_a_third_job_that_is_refused(slurm, settings, tmp_path, monkeypatch):
    """The first two are named, kept on record, and can be taken back; what is in the queue is not submitted again."""
    monkeypatch.setenv("STAND_IN_LIMIT", "102")
    with pytest.raises(InputError, match=r"policy. Submitted before it: factors .101., activations .102."):
        submit(tmp_path, settings)
    slurm.write_queue({"101_1": "RUNNING", "102_[1-4]": "PENDING", "77": "RUNNING"})
    with pytest.raises(InputError, match=r"still in the queue: 101, 102.*scancel 101 102"):
        submit(tmp_path, settings, retry_missing=True)
    slurm.write_queue({"101_1": "CANCELLED", "77": "RUNNING"})
    with pytest.raises(InputError, match=r"submitted before.*--retry-missing"):
        submit(tmp_path, settings)
    monkeypatch.setenv("STAND_IN_LIMIT", "999")
    assert submit(tmp_path, settings, retry_missing=True)["factors"] == "103"


def test_what_squeue_says(slurm, settings, tmp_path):
    submit(tmp_path, settings)
    slurm.write_queue(
        {
            "101_1": "RUNNING",
            "101_2": "COMPLETING",
            "102_1": "RUNNING",
            "102_2": "NODE_FAIL",
            "103_1": "PENDING",
        }
    )
    (tmp_path / "slurm" / "logs" / "activations-102_2.log").write_text(
        "otoscope slurm: begins on n1\nhalf way\n"
    )
    lines = job_lines(tmp_path)
    assert lines[:4] == [
        "Slurm:",
        "  factors (101): 1 running: 1; 1 completing: 2; 2 never ran: 3-4",
        "  activations (102): 1 running: 1; 1 node fail: 2; 2 never ran: 3-4",
        "  layer_probing (103): 1 waiting (None)",
    ]
    assert lines[-1] == "    half way"


def test_without_slurm(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"sbatch was not found.*--dry-run"):
        submit(tmp_path / "run", settings)
    assert job_lines(tmp_path / "run") == []


def test_setup_lines_from_a_file(slurm, settings, tmp_path, capsys):
    (tmp_path / "setup.sh").write_text("module load cuda\nsource 'my env'\n")
    asked = ["slurm", "demo", "--out", str(tmp_path / "run"), "--dry-run", "--setup", "export A=1"]
    assert call([*asked, "--setup-file", str(tmp_path / "setup.sh")]) == 0
    assert "module load cuda\nsource 'my env'\nexport A=1\n" in capsys.readouterr().out
    assert call([*asked, "--setup-file", str(tmp_path / "gone.sh")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_what_slurm_could_not_read_is_refused_in_a_dry_run_too(settings, tmp_path, capsys):
    asked = ["slurm", "demo", "--out", str(tmp_path / "run"), "--dry-run"]
    assert call([*asked, "--time", "abc"]) == 2
    told = capsys.readouterr()
    assert "--time 'abc' is nothing that Slurm can read; it takes minutes (90)" in told.err
    assert "sbatch" not in told.out
    with pytest.raises(InputError, match="--tasks must be at least 1, got 0"):
        submit_run("demo", settings=settings, resources=Resources(), n_tasks=0, dry_run=True)
