"""Slurm on this machine alone: its real daemons, in a folder, on ports that are free."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["missing", "slurm"]

_CONFIG = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Return why Slurm cannot run here; empty if it can."""
    if os.geteuid() != 0:
        return "Slurm's daemons need root"
    names = [name for name in ("slurmctld", "slurmd", "sbatch", "sinfo") if not shutil.which(name)]
    return f"{', '.join(names)} of slurm-wlm is not installed" if names else ""


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start a controller and a node of eight pretended cores; yield the environment for sbatch."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (first, second)]
    host, config = socket.gethostname().partition(".")[0], folder / "slurm.conf"
    config.write_text(_CONFIG.format(host=host, ports=ports, folder=folder), encoding="utf-8")
    environment = {"SLURM_CONF": str(config)}
    with contextlib.ExitStack() as stack:
        for words in (["slurmctld"], ["slurmd", "-N", host]):
            log = stack.enter_context((folder / f"{words[0]}.log").open("wb"))
            daemon = subprocess.Popen(
                [*words, "-D", "-f", config], stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(daemon.wait, 60)
            stack.callback(daemon.terminate)
        until_s, ready = time.monotonic() + 60, False
        while not ready:
            assert time.monotonic() < until_s, (folder / "slurmd.log").read_text()
            time.sleep(0.2)
            done = subprocess.run(
                ["sinfo", "-h", "-o", "%t"], env={**os.environ, **environment},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            ready = done.stdout.strip() == "idle"
        yield environment
