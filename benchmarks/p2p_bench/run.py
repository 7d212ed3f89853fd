"""The story of a benchmark: files, frames, a process a backend, rounds, quality, report."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.roofline import measure_ceilings
from p2p_runtime.console import require_extra
from p2p_runtime.errors import ConfigError
from p2p_train.networks.macs import unet_macs

from .backends import Backend, Files
from .backends.opening import choose, find_files
from .inputs import bench_frames
from .machine import describe_machine
from .measure import Latency, agreement_db, measure
from .process import BackendProcess, StartupTimes, Unavailable
from .report import BenchReport, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BenchOptions", "bench", "compare", "gmac_of"]

COMPARED = 8
"""Frames whose images are compared with the reference's."""

TOO_SLOW_MS = 2000.0
"""A backend whose second frame takes longer is not timed: it would hold up all others."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions:
    """What the user asked for.

    Attributes:
        model: a bundle, a folder of bundles, or None to search as ``p2p-run`` does.
        checkpoint: for torch; None for the one that lies in the bundles' run.
        names: which backends, or which not, see :func:`.backends.opening.choose`; None for all.
        inputs: a label video or a folder of label maps; None for the checkpoint's own.
        frames: timed frames a backend.
        batch: frames a call.
        threads: CPU threads of each; None for all cores.
        judge: a judge of ``p2p-train judge``, for label fidelity.
    """

    model: Path | None = None
    checkpoint: Path | None = None
    names: tuple[str, ...] | None = None
    inputs: str | None = None
    frames: int = 50
    batch: int = 1
    threads: int | None = None
    judge: Path | None = None


def bench(request: BenchOptions) -> BenchReport:
    """Measure every backend that was asked for and is there.

    Raises:
        BundleError, CheckpointError: a model is missing or broken.
        ConfigError: a name is unknown, a named backend cannot run here, or none can.
        DeviceUnavailableError: a backend fell back to something else.
        SourceError: the inputs cannot be read.
    """
    machine = describe_machine(request.threads)
    threads = machine["threads"]
    backends = choose(request.names)
    files = find_files(request.model, request.checkpoint)
    frames, said = bench_frames(files, request.inputs, request.frames, request.batch)
    ceilings = measure_ceilings(threads)
    required = request.names or ()
    judged = len(frames) if request.judge else COMPARED
    rows, images = compare(backends, files, frames, threads, required=required, compared=judged)
    if request.judge is not None:
        rows = _judged(rows, images, files, frames, request.judge)
    return BenchReport(
        rows=rows,
        height=files.contract.height,
        width=files.contract.width,
        batch=request.batch,
        inputs=said,
        generator=files.generator,
        gmac=gmac_of(files),
        ceilings=ceilings,
        machine=machine,
    )


def compare(
    backends: Sequence[Backend],
    files: Files,
    frames: NDArray[np.uint8],
    threads: int,
    *,
    required: Sequence[str] = (),
    compared: int = COMPARED,
) -> tuple[tuple[Row, ...], dict[str, NDArray[np.uint8]]]:
    """Time some backends on the same frames, each in a process of its own.

    Args:
        backends: the first that can run here is the reference.
        files: what they run.
        frames: (M, N, H, W, 3) uint8 BGR, M batches.
        threads: CPU threads of each.
        required: names of those that must be able to run.
        compared: batches whose images are compared with the reference's.

    Returns:
        A row a backend, and the images that were compared by name, (M * N, H, W, 3) uint8 BGR.

    Raises:
        ConfigError: a required backend cannot run here, or none can.
        P2PError: what a backend raised.
    """
    numbers = range(min(compared, len(frames)))
    with contextlib.ExitStack() as processes:
        started = [_start(one, files, frames, threads, processes) for one in backends]
        _check_required(required, started)
        rows = _measure_all(started, len(frames))
        images = {
            one.name: one.contender.images(numbers) for one in started if isinstance(one, _Started)
        }
    return tuple(_with_psnr(row, images) for row in rows), images


def gmac_of(files: Files) -> float | None:
    """Return the work of a frame in thousands of millions; None for unknown architectures."""
    shape = files.generator
    if shape.get("architecture") != "unet":
        return None
    macs = unet_macs(
        ngf=shape["ngf"],
        downsamplings=shape["downsamplings"],
        max_width=shape.get("max_width"),
        height=files.contract.height,
        width=files.contract.width,
    )
    return macs / 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class _Started:
    """A backend after its first two frames."""

    backend: Backend
    path: Path
    contender: BackendProcess
    birth: StartupTimes

    @property
    def name(self) -> str:
        return self.backend.name

    def row(self, latency: Latency) -> Row:
        return Row(
            name=self.name,
            what=self.backend.what,
            latency=latency,
            size_mib=self.path.stat().st_size / 2**20,
            start_ms=self.birth.start_ms,
            first_ms=self.birth.first_ms,
            peak_rss_mib=self.contender.peak_rss_mib(),
        )


def _start(
    backend: Backend,
    files: Files,
    frames: NDArray[np.uint8],
    threads: int,
    processes: contextlib.ExitStack,
) -> _Started | Row:
    """Start a backend; return its row already if it takes no part."""
    path = files.find(backend.needs)
    if path is None:
        return _absent(backend, f"there is no {backend.needs} of this generator here")
    contender = processes.enter_context(BackendProcess(backend, path, frames, threads))
    birth = contender.start()
    if isinstance(birth, Unavailable):
        return _absent(backend, birth.reason)
    _log.info(
        "%s: loaded after %.1f s, first frame %.0f ms",
        backend.name,
        birth.start_ms / 1e3,
        birth.first_ms,
    )
    if birth.second_ms > TOO_SLOW_MS:
        return _absent(backend, f"its second frame took {birth.second_ms / 1e3:.1f} s")
    return _Started(backend=backend, path=path, contender=contender, birth=birth)


def _absent(backend: Backend, reason: str) -> Row:
    _log.info("%s: not measured: %s", backend.name, reason)
    return Row(name=backend.name, what=backend.what, absent=reason)


def _check_required(required: Sequence[str], started: Sequence[_Started | Row]) -> None:
    """What a user names is never left out; and something must be there to measure."""
    absent = [row for row in started if isinstance(row, Row)]
    for row in absent:
        if row.name in required or len(absent) == len(started):
            raise ConfigError(f"{row.name} cannot be measured here: {row.absent}")


def _measure_all(started: Sequence[_Started | Row], frames: int) -> list[Row]:
    """Let all that can take turns; what is a row already stays one."""
    runners = [one.contender for one in started if isinstance(one, _Started)]
    _log.info("timing %s", ", ".join(runner.name for runner in runners))
    latencies = {latency.name: latency for latency in measure(runners, frames)}
    return [one if isinstance(one, Row) else one.row(latencies[one.name]) for one in started]


def _with_psnr(row: Row, images: dict[str, NDArray[np.uint8]]) -> Row:
    """Compare images with those of the first backend, which is eager wherever torch is."""
    reference = next(iter(images))
    if row.name == reference or row.name not in images:
        return row
    return replace(row, psnr_db=agreement_db(images[row.name], images[reference]))


def _judged(
    rows: Sequence[Row],
    images: dict[str, NDArray[np.uint8]],
    files: Files,
    frames: NDArray[np.uint8],
    judge: Path,
) -> tuple[Row, ...]:
    require_extra("torch", "train")
    from .judging import judge_images

    scores = judge_images(judge, files.contract, images, frames)
    return tuple(replace(row, fidelity=scores.get(row.name)) for row in rows)
