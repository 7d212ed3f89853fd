"""The story of an export: checkpoint, reference, graphs, parity, files.

What is exported is the generator in ``eval`` mode: running statistics and no dropout, so one
frame always gives one image.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from p2p_runtime import __version__
from p2p_runtime.bundle import ModelBundle
from p2p_runtime.errors import (
    BundleError,
    CheckpointError,
    ConfigError,
    DeviceUnavailableError,
    EngineBuildError,
)
from p2p_runtime.files import check_writable_folder, sha256_of_file, write_text
from p2p_train.checkpoint import Checkpoint, load_weights, make_generator
from p2p_train.checkpoint import find_checkpoint as checkpoint_of

from .artefact import Artefact, Reference, publish
from .frames import read_inputs, top_up
from .graph import PixelGenerator
from .int8 import PROFILES, calibration_frames
from .parity import run_torch
from .precision import Graph, fp16_graph, fp32_graph, int8_graph
from .to_tensorrt import EngineRequest

if TYPE_CHECKING:
    from torch import nn

    from p2p_train.config import TrainConfig
    from p2p_train.networks import UNetGenerator

__all__ = ["MAX_FRAMES", "ExportRequest", "export", "find_checkpoint", "publish_all"]

RUNS = Path("runs")
MAX_FRAMES = 16
INT8_FOR_ENGINES = "int8-tensorrt"
"""Its name keeps the file out of `p2p-run`'s sight: on a CPU it is the slower one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportRequest:
    """What the user asked for.

    Attributes:
        source: a run's folder, a checkpoint, or None for the newest run under ``runs/``.
        output: a folder, a file name for one precision, or None for the run's ``export/``.
        fp16, int8: precisions beside fp32.
        int8_profile: the target of int8, see :data:`p2p_export.int8.PROFILES`.
        calibration: folder of inputs or pairs that int8 takes its ranges from.
        frames: folder of inputs or pairs for the parity check; None for the checkpoint's own.
        force: replace files that another export wrote.
        engines: TensorRT engines to build of every file; of int8, its ``tensorrt`` profile.
    """

    source: Path | None = None
    output: Path | None = None
    fp16: bool = False
    int8: bool = False
    int8_profile: str = "x86"
    calibration: Path | None = None
    frames: Path | None = None
    force: bool = False
    engines: EngineRequest = field(default_factory=EngineRequest)

    def __post_init__(self) -> None:
        if self.int8_profile not in PROFILES:
            raise ConfigError(
                f"int8 profile {self.int8_profile!r} is unknown; there are {', '.join(PROFILES)}"
            )
        if self.int8 and self.calibration is None:
            raise ConfigError(
                "int8 takes its ranges from real inputs; name a folder of them (100 or more) "
                "with --calibration DIR"
            )
        if self.output is not None and self.output.suffix == ".onnx" and self.fp16 and self.int8:
            raise ConfigError("--output names one file, but --fp16 --int8 make two; name a folder")
        if self.output is not None and self.output.suffix == ".onnx" and self._int8_twice:
            raise ConfigError(
                "--output names one file, but int8 for the CPU and for TensorRT are two; "
                "name a folder, or give --int8-profile tensorrt"
            )

    @property
    def _int8_twice(self) -> bool:
        """Whether an engine needs an int8 file of its own, beside the one for the CPU."""
        return self.int8 and bool(self.engines) and self.int8_profile != "tensorrt"

    def targets(self, checkpoint: Path) -> dict[str, Path]:
        """Return the file of each precision, fp32 first.

        Raises:
            ConfigError: one exists, was not written into this run's own folder, and may not be
                replaced without ``--force``.
        """
        own = _run_of(checkpoint) / "export"
        asked = [name for name in ("fp16", "int8") if getattr(self, name)]
        if self.output is not None and self.output.suffix == ".onnx":
            targets = {asked[0] if asked else "fp32": self.output}
        else:
            folder = own if self.output is None else self.output
            asked += [INT8_FOR_ENGINES] if self._int8_twice else []
            targets = {name: folder / f"model-{name}.onnx" for name in ("fp32", *asked)}
        for path in targets.values():
            foreign = path.resolve().parent != own.resolve()
            if path.exists() and foreign and not self.force:
                raise ConfigError(f"{path} exists already; give --force to replace it")
        return targets


def export(request: ExportRequest) -> list[Artefact]:
    """Export a checkpoint in every precision that was asked for.

    Each file appears only when it has passed. ``parity.json`` beside them holds the figures, unless
    the output is one named file: the figures lie in every bundle, too.

    Raises:
        CheckpointError: there is no usable checkpoint.
        ConfigError: the request contradicts itself, or a file is in the way.
        ParityError: a file does not compute what the torch module does; those before it stay.
        OutputError: a file cannot be written.
        EngineBuildError: TensorRT is not there or builds no engine; the ONNX files are there.
        DeviceUnavailableError: TensorRT finds no GPU; the ONNX files are there.
    """
    path = find_checkpoint(request.source)
    targets = request.targets(path)
    checkpoint = Checkpoint.load(path)
    check_writable_folder(next(iter(targets.values())).parent)

    generator = make_generator(checkpoint.config)
    load_weights(generator, checkpoint.generator, "generator")
    _log.info("exporting %s in eval mode: running statistics, no dropout", path)
    reference = _reference(checkpoint, generator, path, request.frames)
    return publish_all(generator, reference, checkpoint.config, targets, request)


def publish_all(
    generator: nn.Module,
    reference: Reference,
    config: TrainConfig,
    targets: dict[str, Path],
    request: ExportRequest,
) -> list[Artefact]:
    """Make, prove and write every file that was asked for.

    Args:
        generator: the torch module.
        reference: what it computes.
        config: how calibration inputs are read.
        targets: the file of each precision.
        request: what else the user asked for.

    Raises:
        ParityError, OutputError, EngineBuildError: as for :func:`export`.
    """
    folder = next(iter(targets.values())).parent
    done: list[Artefact] = []
    for precision, target in targets.items():
        _log.info("%s: making the graph", precision)
        graph = _make_graph(precision, generator, reference, request, config, folder)
        _log.info("%s: comparing %d frames with torch", precision, len(reference.frames))
        kind = precision.partition("-")[0]
        done.append(publish(target, graph.content, reference, kind, graph.notes))
        if target != request.output:
            _write_figures(folder, done)
    _warn_of_others(folder, done, reference.provenance["checkpoint_sha256"])
    return _with_engines(dict(zip(targets, done, strict=True)), request)


def find_checkpoint(source: Path | None) -> Path:
    """Return the checkpoint that ``source`` means: a file, or a run's ``best``, else ``last``.

    Raises:
        CheckpointError: there is none.
    """
    if source is None:
        source = _newest_run()
        _log.info("no run was named; taking the newest, %s", source)
    return checkpoint_of(source)


def _newest_run() -> Path:
    checkpoints = [path for path in RUNS.glob("*/checkpoints/*.pt") if path.is_file()]
    if not checkpoints:
        raise CheckpointError(
            f"no run with a checkpoint under {RUNS}/; train one with p2p-train, "
            "or name a run or a checkpoint"
        )
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime_ns)
    return newest.parent.parent


def _run_of(checkpoint: Path) -> Path:
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else folder


def _reference(
    checkpoint: Checkpoint, generator: UNetGenerator, path: Path, folder: Path | None
) -> Reference:
    """Run the torch module, as it was trained, on the frames of the parity check."""
    config = checkpoint.config
    given: np.ndarray[Any, np.dtype[np.uint8]] = checkpoint.frames.numpy()
    if folder is not None:
        given = read_inputs(folder, config, checkpoint.contract, limit=MAX_FRAMES, part="val")
    frames, made_up = top_up(given)
    if made_up:
        _log.warning(
            "%d frames for the parity check, topped up with %d mirrored ones; "
            "give more with --frames DIR", len(given), made_up,
        )  # fmt: skip
    return Reference(
        contract=checkpoint.contract,
        generator={
            "architecture": "unet",
            "ngf": config.ngf,
            "downsamplings": config.downsamplings,
            "norm": config.norm,
            "mode": "eval: running statistics, no dropout",
        },
        provenance=_provenance(checkpoint, path),
        frames=frames,
        images=run_torch(PixelGenerator(generator), frames),
        made_up=made_up,
    )


def _provenance(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    return {
        "checkpoint_sha256": sha256_of_file(path),
        "dataset_fingerprint": checkpoint.dataset.get("fingerprint"),
        "images_seen": checkpoint.progress.get("images_seen"),
        "tools": {
            "pix2pix-edge": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
        },
    }


def _make_graph(
    precision: str,
    generator: nn.Module,
    reference: Reference,
    request: ExportRequest,
    config: TrainConfig,
    scratch: Path,
) -> Graph:
    if precision == "fp16":
        return fp16_graph(generator, reference)
    if precision == "fp32" or request.calibration is None:
        return fp32_graph(generator, reference)
    frames, said = calibration_frames(request.calibration, config, reference.contract)
    profile = "tensorrt" if precision == INT8_FOR_ENGINES else request.int8_profile
    graph = int8_graph(generator, reference, frames, profile, scratch)
    return replace(graph, notes=(said, *graph.notes))


def _write_figures(folder: Path, done: list[Artefact]) -> None:
    figures = {artefact.path.name: artefact.report.to_json() for artefact in done}
    write_text(folder / "parity.json", json.dumps(figures, indent=2) + "\n")


def _warn_of_others(folder: Path, done: list[Artefact], checkpoint_sha256: str) -> None:
    """Point at bundles that an earlier export left: p2p-run may prefer one of them."""
    for path in sorted(set(folder.glob("model-*.onnx")) - {artefact.path for artefact in done}):
        try:
            provenance = ModelBundle.load(path).info.provenance
        except BundleError as error:
            _log.warning("beside the new files: %s", error)
            continue
        if provenance.get("checkpoint_sha256") != checkpoint_sha256:
            _log.warning("%s is of another checkpoint; export it again or remove it", path)


def _with_engines(done: dict[str, Artefact], request: ExportRequest) -> list[Artefact]:
    """Build the engines of every file that TensorRT reads; that excludes int8 for other kernels."""
    if not request.engines:
        return list(done.values())
    foreign = () if request.int8_profile == "tensorrt" else ("int8",)
    readable = [name for name in done if name not in foreign]
    try:
        builder = request.engines.builder()
        for name in readable:
            engines = builder.build(done[name].path, done[name].report.precision)
            done[name] = replace(done[name], engines=engines)
    except (EngineBuildError, DeviceUnavailableError) as error:
        written = ", ".join(str(artefact.path) for artefact in done.values())
        raise type(error)(f"{error}; the ONNX files are written ({written})") from error
    return list(done.values())
