"""Run a benchmark: find the files, start a process per backend, time them, compare the images."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError
from p2p_train.networks.geometry import unet_macs

from .backends.registry import Backend, choose
from .files import Files, bench_frames, find_files
from .machine import describe_machine
from .measure import agreement_db, measure
from .process import BackendProcess
from .report import BenchReport, Row

__all__ = ["bench", "compare", "gmac_of"]

COMPARED = 8
"""Number of batches whose images are compared with the reference's."""

TOO_SLOW_MS = 2000.0
"""Latency of the second frame from which on a backend is not timed further."""

_log = logging.getLogger(__name__)


def bench(
    *,
    model: Path | None,
    checkpoint: Path | None,
    names: Sequence[str] | None,
    inputs: str | None,
    frames: int,
    batch: int,
    threads: int | None,
) -> BenchReport:
    """Measure every requested backend that is available; the arguments are those of the command.

    Raises:
        BundleError, CheckpointError: a model is missing or broken.
        ConfigError: a name is unknown, a named backend is unavailable, or all are.
        DeviceUnavailableError: a backend fell back to another device or precision.
        SourceError: the inputs cannot be read.
    """
    machine = describe_machine(threads)
    backends = choose(names)
    files = find_files(model, checkpoint)
    batches, words = bench_frames(files, inputs, frames, batch)
    return BenchReport(
        rows=compare(backends, files, batches, machine["threads"], required=names or ()),
        height=files.contract.height,
        width=files.contract.width,
        batch=batch,
        inputs=words,
        generator=files.generator,
        gmac=gmac_of(files),
        machine=machine,
    )


def compare(
    backends: Sequence[Backend],
    files: Files,
    frames: NDArray[np.uint8],
    threads: int,
    *,
    required: Sequence[str] = (),
) -> tuple[Row, ...]:
    """Time backends on the same frames, each in a process of its own; return a row for each.

    Args:
        backends, files: the first available one is the reference; the generator's files.
        frames: (M, N, H, W, 3) uint8 BGR, M batches.
        threads: CPU threads of each backend.
        required: names of the backends that must be available.

    Raises:
        ConfigError: a required backend is unavailable, or all are.
        P2PError: the error that a backend raised.
    """
    with contextlib.ExitStack() as stack:
        started = [_start(one, files, frames, threads, stack) for one in backends]
        _check_required(required, [row for row, _ in started])
        running = [process for _, process in started if process is not None]
        _log.info("timing %s", ", ".join(one.name for one in running))
        latencies = {one.name: one for one in measure(running, len(frames))}
        peaks_mib = {one.name: one.peak_rss_mib() for one in running}
        images = {one.name: one.images(range(min(COMPARED, len(frames)))) for one in running}
    reference, *others = images
    psnr_db = {name: agreement_db(images[name], images[reference]) for name in others}
    return tuple(
        replace(
            row,
            latency=latencies.get(row.name),
            peak_rss_mib=peaks_mib.get(row.name),
            psnr_db=psnr_db.get(row.name),
        )
        for row, _ in started
    )


def gmac_of(files: Files) -> float | None:
    """Return the multiply-accumulates of a frame in 10^9; None for unknown architectures."""
    shape = files.generator
    if shape.get("architecture") != "unet":
        return None
    macs = unet_macs(
        ngf=shape["ngf"],
        downsamplings=shape["downsamplings"],
        height=files.contract.height,
        width=files.contract.width,
    )
    return macs / 1e9


def _start(
    backend: Backend,
    files: Files,
    frames: NDArray[np.uint8],
    threads: int,
    stack: contextlib.ExitStack,
) -> tuple[Row, BackendProcess | None]:
    """Start a backend; return its row, and its process or None if it is unavailable."""
    path = files.find(backend.needs)
    if path is None:
        return _unavailable(backend, f"there is no {backend.needs} of this generator here")
    process = stack.enter_context(BackendProcess(backend, path, frames, threads))
    startup = process.start()
    if isinstance(startup, str):
        return _unavailable(backend, startup)
    start_s, first_ms = startup.start_ms / 1e3, startup.first_ms
    _log.info("%s: loaded after %.1f s, first frame %.0f ms", backend.name, start_s, first_ms)
    if startup.second_ms > TOO_SLOW_MS:
        return _unavailable(backend, f"its second frame took {startup.second_ms / 1e3:.1f} s")
    row = Row(
        name=backend.name,
        what=backend.what,
        size_mib=path.stat().st_size / 2**20,
        start_ms=startup.start_ms,
        first_ms=first_ms,
    )
    return row, process


def _unavailable(backend: Backend, reason: str) -> tuple[Row, None]:
    _log.debug("%s: not measured: %s", backend.name, reason)
    return Row(name=backend.name, what=backend.what, unavailable=reason), None


def _check_required(required: Sequence[str], rows: Sequence[Row]) -> None:
    unavailable = [row for row in rows if row.unavailable]
    for row in unavailable:
        if row.name in required or len(unavailable) == len(rows):
            raise ConfigError(f"{row.name} cannot be measured here: {row.unavailable}")
