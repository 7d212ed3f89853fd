"""``python -m experiments.speed.installing``: measure what it takes to install the package.

Each requirement goes into a virtual environment of its own, without pip's cache. CPU seconds are
those of pip; how long it takes besides depends on the network and on who else uses the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.harness import Document, study

__all__ = ["Installation", "install", "main", "table"]

ROOT = Path(__file__).parents[3]
CPU_BUILD = "torch==2.13.0+cpu"
"""A CPU build of PyTorch, as an index has it that is made for that."""
WANTED = {
    "base": [f"{ROOT}"],
    "`[cpu]`": [f"{ROOT}[cpu]"],
    "`[cpu,export]`, CPU build of PyTorch": [f"{ROOT}[cpu,export]", CPU_BUILD],
    "`[cpu,export]`, PyTorch with CUDA": [f"{ROOT}[cpu,export]"],
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """What an environment took.

    Attributes:
        name: of what was installed.
        disk_mb: size of the environment on disk in 10^6 bytes, pip included.
        cpu_s: CPU time of pip in seconds.
        wall_s: elapsed time in seconds.
    """

    name: str
    disk_mb: float
    cpu_s: float
    wall_s: float


def install(name: str, requirements: list[str], folder: Path) -> Installation:
    """Install requirements into a new environment; raise a CalledProcessError if pip fails."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    began, began_s = os.times(), time.perf_counter()
    subprocess.run([*pip, *requirements], check=True)
    ended, wall_s = os.times(), time.perf_counter() - began_s
    cpu_s = ended.children_user + ended.children_system
    cpu_s -= began.children_user + began.children_system
    blocks = sum(path.lstat().st_blocks for path in folder.rglob("*"))
    return Installation(name=name, disk_mb=blocks * 512 / 1e6, cpu_s=cpu_s, wall_s=wall_s)


def table(document: Document) -> str:
    """Return a row per environment, as Markdown."""
    from experiments.harness import markdown_table

    rows = [
        [row["name"], f"{row['disk_mb']:,.0f} MB", f"{row['cpu_s']:.0f} s"]
        for row in document["rows"]
    ]
    return markdown_table(["what", "on disk", "CPU time of pip"], rows)


@study("installing", table=table)
def main(*, smoke: bool) -> Document:
    """Measure size and time of the installations that the guides name."""
    wanted = {"pip alone": ["--no-index", "pip"]} if smoke else WANTED
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, requirements) in enumerate(wanted.items()):
            rows.append(asdict(install(name, requirements, Path(folder) / f"{number}")))
    return {"rows": rows}


if __name__ == "__main__":
    main()
