"""``python -m experiments.speed.crosscheck``: compare the benchmark with an independent clock.

A program that only loads a model and translates frames runs under ``/usr/bin/time``, once with few
frames and once with many. The difference of the two wall times divided by the difference in frames
is the time of a frame: loading, warming up and exiting are in both and cancel out.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.harness import Document, frames_option, study, threads_option
from p2p_runtime.errors import P2PError

if TYPE_CHECKING:
    from p2p_bench.files import Files

__all__ = ["TIME", "main", "table", "translate", "whole_process_ms"]

BACKENDS_COMPARED = ("eager", "fp32", "int8")
NGF, SIDE_PX = 64, 256
SMOKE_NGF, SMOKE_SIDE_PX = 2, 32
TIME = "/usr/bin/time"
REPEATS = 3
"""Number of pairs of processes, whose median counts."""
FEW = 10
"""Number of frames of the short process."""
INPUTS = 8
"""Maximum number of different inputs."""


def translate(backend: str, path: str, folder: str, frames: str, threads: str) -> None:
    """Load a model and translate frames; the program that is timed from outside."""
    from p2p_bench.backends.registry import BACKENDS
    from p2p_bench.files import bench_frames, find_files

    inputs, _ = bench_frames(find_files(Path(folder), None), None, min(int(frames), INPUTS), 1)
    engine = BACKENDS[backend].open(Path(path), int(threads))
    for number in range(int(frames)):
        engine.infer(inputs[number % len(inputs)])


def whole_process_ms(
    backend: str, files: Files, frames: int, threads: int, *, repeats: int = REPEATS
) -> float:
    """Return milliseconds per frame from the wall times of whole processes.

    Args:
        backend: its name.
        files: the generator.
        frames: number of frames by which the long process is longer.
        threads: CPU threads.
        repeats: number of pairs of processes.

    Raises:
        P2PError: there is no ``/usr/bin/time``, or the program failed.
    """
    differences = []
    for _ in range(repeats):
        few_s, many_s = (_wall_s(backend, files, n, threads) for n in (FEW, FEW + frames))
        differences.append((many_s - few_s) / frames * 1e3)
    return statistics.median(differences)


def _wall_s(backend: str, files: Files, frames: int, threads: int) -> float:
    from p2p_bench.backends.registry import BACKENDS

    code = (
        "import sys; from experiments.speed.crosscheck import translate; translate(*sys.argv[1:])"
    )
    folder = next(iter(files.bundles.values())).parent
    arguments = [backend, str(files.find(BACKENDS[backend].needs)), str(folder), frames, threads]
    command = [TIME, "-f", "%e", sys.executable, "-c", code, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise P2PError(f"{TIME} is not installed: {error}") from error
    if done.returncode:
        raise P2PError(f"{backend} failed: {done.stderr.strip()}")
    return float(done.stderr.split()[-1])


def table(document: Document) -> str:
    """Return the two times of each backend."""
    from experiments.harness import markdown_table

    rows = [
        [
            name,
            f"{row['bench_ms']:.1f} ms",
            f"{row['whole_process_ms']:.1f} ms",
            f"{row['difference']:+.1%}",
        ]
        for name, row in document["rows"].items()
    ]
    return markdown_table(["backend", "p2p-bench, median", "whole processes", "difference"], rows)


@study("crosscheck", frames_option(100), threads_option(2), table=table)
def main(*, frames: int, threads: int, smoke: bool) -> Document:
    """Time backends with p2p-bench and with whole processes, one right after the other."""
    from experiments.random_models import FORMS, write_random_run
    from p2p_bench.backends.registry import BACKENDS
    from p2p_bench.files import bench_frames
    from p2p_bench.run import compare

    ngf, side_px, repeats = (SMOKE_NGF, SMOKE_SIDE_PX, 1) if smoke else (NGF, SIDE_PX, REPEATS)
    names = BACKENDS_COMPARED[1:2] if smoke else BACKENDS_COMPARED
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        forms = [name for name in names if name in FORMS]
        folder, size = Path(scratch), {"height": side_px, "width": side_px}
        files = write_random_run(folder, ngf=ngf, **size, forms=forms)
        inputs, _ = bench_frames(files, None, frames, 1)
        measured = compare([BACKENDS[name] for name in names], files, inputs, threads)
        for one in (row.latency for row in measured if row.latency is not None):
            whole_ms = whole_process_ms(one.name, files, frames, threads, repeats=repeats)
            rows[one.name] = {
                "bench_ms": one.median_ms,
                "whole_process_ms": whole_ms,
                "difference": one.median_ms / whole_ms - 1 if whole_ms else 0.0,
            }
    return {"frames": frames, "rows": rows}


if __name__ == "__main__":
    main()
