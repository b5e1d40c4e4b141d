"""A real Slurm of one node on this machine: its own daemons, keys, ports and files, and nothing of a system's."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONF = """\
ClusterName=otoscope-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
KillWait=5
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PriorityType=priority/basic
NodeName={host} NodeAddr=127.0.0.1 CPUs={n_cpus} RealMemory={memory_mb}
PartitionName=test Nodes=ALL Default=YES State=UP DefMemPerNode=1000
"""


def missing() -> str | None:
    """Return why no Slurm can be started here; None where one can."""
    gone = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if gone:
        return f"no Slurm here ({', '.join(gone)} not found): docs/scale.md says what to install"
    return None if os.geteuid() == 0 else "Slurm's daemons are started as root, and this is another user"


@contextlib.contextmanager
def slurm(folder: Path, *, n_cpus: int = 2, memory_mb: int = 4000) -> Iterator[dict[str, str]]:
    """Start a cluster whose files lie in `folder`; yield the environment in which sbatch and squeue speak to it.

    Jobs run at a lower priority than all else, so that tests beside them do not starve.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)  # munge wants folders that others cannot write to
    ctld_port, slurmd_port = _free_ports(2)
    host = socket.gethostname().split(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(folder=folder, host=host, ctld_port=ctld_port, slurmd_port=slurmd_port,
                                n_cpus=n_cpus, memory_mb=memory_mb))  # fmt: skip
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(conf)}
    munged = ["munged", "--force", "--foreground", f"--socket={folder}/munge.socket"]
    munged += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    slurmctld, slurmd = ["slurmctld", "-D", "-c", "-f", str(conf)], ["nice", "-n", "10", "slurmd", "-D"]
    daemons: list[subprocess.Popen] = []
    try:
        for command in (munged, slurmctld, [*slurmd, "-f", str(conf)]):
            with (folder / f"{command[0]}.out").open("wb") as out:
                daemons.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
            if command is munged:
                _wait(lambda: (folder / "munge.socket").exists(), "munged", folder)
        _wait(lambda: _node_state(environment) == "idle", "a node that is idle", folder)
        yield environment
    finally:
        _stop(daemons, environment)


def _stop(daemons: list[subprocess.Popen], environment: dict[str, str]) -> None:
    """End all jobs, then the daemons."""
    cancel = ["scancel", "--user=root", "--signal=KILL"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(cancel, env=environment, capture_output=True, check=False, timeout=30)
    for daemon in reversed(daemons):
        daemon.terminate()
    for daemon in daemons:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(15)
        daemon.kill()
        daemon.wait()


def _node_state(environment: dict[str, str]) -> str:
    asked = ["sinfo", "--noheader", "--format=%T"]
    return subprocess.run(asked, env=environment, capture_output=True, text=True, check=False).stdout.strip()


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(holds, what: str, folder: Path, timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            logs = [f"{log.name}: {log.read_text(errors='replace')[-500:]}" for log in sorted(folder.glob("*.*"))
                    if log.suffix in (".log", ".out")]  # fmt: skip
            raise TimeoutError(f"waited {timeout_s:g} s for {what}\n" + "\n".join(logs))
        time.sleep(0.2)
