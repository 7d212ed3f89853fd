"""From runs to points: export each to int8, then score and time that file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from p2p_bench.backends import Files
from p2p_bench.backends.runtime_backend import RuntimeBackend
from p2p_bench.inputs import bench_frames
from p2p_bench.run import compare
from p2p_export.exporting import export
from p2p_export.inspecting import cost_of
from p2p_export.options import ExportOptions
from p2p_runtime.engines import open_engine
from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.files import sha256_of_file, write_json
from p2p_runtime.model.bundle import ModelBundle
from p2p_train.metrics.score import score_generator, validation_pairs
from p2p_train.training.checkpoint import Checkpoint

from .points import Point

if TYPE_CHECKING:
    from p2p_train.segmentation import Segmenter

__all__ = ["find_checkpoints", "measure_runs"]

_log = logging.getLogger(__name__)


def find_checkpoints(runs: Iterable[Path], which: str) -> dict[Path, Path]:
    """Return the checkpoint of each run that has one; the others are named in the log.

    Args:
        runs: run directories.
        which: ``last`` or ``best``.

    Raises:
        CheckpointError: none has one.
    """
    found = {run: run / "checkpoints" / f"{which}.pt" for run in runs}
    for run, path in found.items():
        if not path.is_file():
            _log.warning("left out: %s holds no checkpoints/%s.pt", run, which)
    found = {run: path for run, path in found.items() if path.is_file()}
    if not found:
        raise CheckpointError("none of these runs has a checkpoint; train one with p2p-train")
    return found


def measure_runs(
    checkpoints: dict[Path, Path], judge: Segmenter, data: Path, *, frames: int, threads: int
) -> tuple[list[Point], dict[str, float]]:
    """Export, score and time each run; return their points, and what real photos score.

    ``RUN/pareto/`` keeps the int8 file and its scores, so that a second call only times.

    Args:
        checkpoints: by run directory.
        judge: asked about label fidelity and texture.
        data: the pairs; ``train/`` calibrates, ``val/`` is scored.
        frames: timed frames a run.
        threads: CPU threads of each model.

    Raises:
        ConfigError: image sizes differ, or the judge knows other labels.
        P2PError: whatever else stops an export or a score.
    """
    bundles = {run: _exported(run, path, data) for run, path in checkpoints.items()}
    scores = {run: _scores(run, checkpoints[run], bundles[run], judge, data) for run in bundles}
    latencies_ms = _latencies_ms(bundles, frames, threads)
    points = [
        _point(run, checkpoints[run], bundles[run], scores[run], latencies_ms[run])
        for run in bundles
    ]
    reference = next(iter(scores.values()))
    return points, {**reference["segmentation_real"], "frechet": reference["frechet_real"]}


def _exported(run: Path, checkpoint: Path, calibration: Path) -> Path:
    """Return the int8 file of a checkpoint, made now unless it lies there already."""
    path = run / "pareto" / "model-int8.onnx"
    sha256 = sha256_of_file(checkpoint)
    if path.exists() and _provenance(path).get("checkpoint_sha256") == sha256:
        return path
    export(
        ExportOptions(
            source=checkpoint, output=path, int8=True, calibration=calibration, force=True
        )
    )
    return path


def _provenance(path: Path) -> dict[str, Any]:
    return ModelBundle.load(path).info.provenance


def _scores(
    run: Path, checkpoint: Path, bundle: Path, judge: Segmenter, data: Path
) -> dict[str, Any]:
    """Return the scores of an int8 file, measured now unless they lie there already."""
    result = run / "pareto" / "scores.json"
    key = {
        "bundle_sha256": sha256_of_file(bundle),
        "segmenter_distance": judge.photo_distance,
    }
    if result.exists():
        known: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        if known.items() >= key.items():
            return known
    loaded = Checkpoint.load(checkpoint)
    judge.check_labels(loaded.contract)
    engine = open_engine(ModelBundle.load(bundle), "cpu", 1)
    try:
        scores = score_generator(
            lambda frames: np.concatenate([engine.infer(frame[None]) for frame in frames]),
            validation_pairs(loaded.config, loaded.contract, data),
            segmenter=judge,
        )
    finally:
        engine.close()
    document = {**key, **scores.to_json()}
    write_json(result, document)
    return document


def _latencies_ms(bundles: dict[Path, Path], frames: int, threads: int) -> dict[Path, float]:
    """Time all int8 files in turns; return medians."""
    contracts = [ModelBundle.load(path).contract for path in bundles.values()]
    if len({(contract.height, contract.width) for contract in contracts}) > 1:
        raise ConfigError("the runs have different image sizes; compare those of one size")
    paths = {str(run): path for run, path in bundles.items()}
    files = Files(bundles=paths, checkpoint=None, contract=contracts[0])
    backends = [RuntimeBackend(name=name, what=name, needs=name) for name in paths]
    inputs, _ = bench_frames(files, None, frames, batch=1)
    rows, _ = compare(backends, files, inputs, threads)
    return {Path(row.name): row.latency.median_ms for row in rows if row.latency is not None}


def _point(
    run: Path, checkpoint: Path, bundle: Path, scores: dict[str, Any], latency_ms: float
) -> Point:
    loaded = Checkpoint.load(checkpoint)
    cost = cost_of(onnx.load(bundle))
    return Point(
        name=run.name,
        ngf=loaded.config.ngf,
        distilled=loaded.config.teacher is not None,
        steps=int(loaded.progress["step"]),
        parameters_m=cost.parameters / 1e6,
        gmac=cost.macs / 1e9,
        file_mb=bundle.stat().st_size / 1e6,
        latency_ms=latency_ms,
        pixel_accuracy=scores["segmentation"]["pixel_accuracy"],
        mean_iou=scores["segmentation"]["mean_iou"],
        ssim=scores["ssim"],
        frechet=scores["frechet"],
    )
