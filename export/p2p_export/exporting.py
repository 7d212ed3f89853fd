"""The story of an export: checkpoint, reference, graphs, parity, files.

What is exported is the generator in ``eval`` mode: running statistics and no dropout, so one
frame always gives one image.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch

from p2p_runtime import __version__
from p2p_runtime.errors import BundleError, DeviceUnavailableError, EngineBuildError
from p2p_runtime.files import check_writable_folder, sha256_of_file, write_json
from p2p_runtime.model.bundle import ModelBundle
from p2p_train.tensorfile import load_weights
from p2p_train.training.checkpoint import Checkpoint, make_generator

from .fidelity import check_labels
from .frames import read_inputs, top_up
from .graph.int8 import calibration_frames
from .graph.pixel_generator import PixelGenerator
from .graph.precision import Graph, fp16_graph, fp32_graph, int8_graph
from .options import INT8_FOR_ENGINES, ExportOptions, find_checkpoint
from .parity import run_torch
from .targets.bundle import Reference, WrittenBundle, write_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from p2p_train.config import TrainConfig
    from p2p_train.networks.generator import UNetGenerator

__all__ = ["MAX_FRAMES", "export", "write_bundles"]

MAX_FRAMES = 16

_log = logging.getLogger(__name__)


def export(request: ExportOptions) -> list[WrittenBundle]:
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
    reference = _reference(checkpoint, generator, path, request)
    return write_bundles(generator, reference, checkpoint.config, targets, request)


def write_bundles(
    generator: nn.Module,
    reference: Reference,
    config: TrainConfig,
    targets: dict[str, Path],
    request: ExportOptions,
) -> list[WrittenBundle]:
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
    done: list[WrittenBundle] = []
    for precision, target in targets.items():
        _log.info("%s: making the graph", precision)
        graph = _make_graph(precision, generator, reference, request, config, folder)
        _log.info("%s: comparing %d frames with torch", precision, len(reference.frames))
        kind = precision.partition("-")[0]
        done.append(write_bundle(target, graph.content, reference, kind, graph.notes))
        if target != request.output:
            _write_figures(folder, done)
    _warn_of_others(folder, done, reference.provenance["checkpoint_sha256"])
    return _with_engines(dict(zip(targets, done, strict=True)), request)


def _reference(
    checkpoint: Checkpoint, generator: UNetGenerator, path: Path, request: ExportOptions
) -> Reference:
    """Run the torch module, as it was trained, on the frames of the parity check."""
    config = checkpoint.config
    given: np.ndarray[Any, np.dtype[np.uint8]] = checkpoint.frames.numpy()
    if request.frames is not None:
        given = read_inputs(
            request.frames, config, checkpoint.contract, limit=MAX_FRAMES, part="val"
        )
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
            "max_width": config.max_width,
            "norm": config.norm,
            "mode": "eval: running statistics, no dropout",
        },
        provenance=_provenance(checkpoint, path),
        frames=frames,
        images=run_torch(PixelGenerator(generator), frames),
        made_up=made_up,
        labels=check_labels(request, generator, checkpoint.contract, config),
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
    request: ExportOptions,
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


def _write_figures(folder: Path, done: list[WrittenBundle]) -> None:
    figures = {artefact.path.name: artefact.report.to_json() for artefact in done}
    write_json(folder / "parity.json", figures)


def _warn_of_others(folder: Path, done: list[WrittenBundle], checkpoint_sha256: str) -> None:
    """Point at bundles that an earlier export left: p2p-run may prefer one of them."""
    for path in sorted(set(folder.glob("model-*.onnx")) - {artefact.path for artefact in done}):
        try:
            provenance = ModelBundle.load(path).info.provenance
        except BundleError as error:
            _log.warning("beside the new files: %s", error)
            continue
        if provenance.get("checkpoint_sha256") != checkpoint_sha256:
            _log.warning("%s is of another checkpoint; export it again or remove it", path)


def _with_engines(done: dict[str, WrittenBundle], request: ExportOptions) -> list[WrittenBundle]:
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
