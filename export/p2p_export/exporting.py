"""The story of an export: checkpoint, reference, graphs, parity, files."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from p2p_runtime.errors import (
    BundleError,
    ConfigError,
    DeviceUnavailableError,
    EngineBuildError,
    ParityError,
    count_of,
)
from p2p_runtime.files import check_writable_folder, write_json
from p2p_runtime.model.bundle import ModelBundle
from p2p_train.segmentation.segmenter import Segmenter

from .graph.fp16 import fp16_graph
from .graph.int8 import int8_graph
from .graph.pixel_generator import PixelGenerator, folded_generator
from .graph.tracing import Graph, to_onnx
from .importers.checkpoint import load_imported
from .inputs import TrainedGenerator, load_checkpoint, read_calibration, read_inputs, top_up
from .options import INT8_FOR_TENSORRT, ExportOptions, checkpoint_of
from .parity import Reference, SegmentationCheck, run_torch
from .targets.onnx import WrittenBundle, write_bundle
from .targets.tensorrt import EngineBuilder, parse_archs
from .targets.triton import check_folder, write_triton
from .targets.web import read_ort_web, write_web

__all__ = ["export"]

PARITY_FRAMES = 16
"""Maximum number of frames from a folder for the parity check."""

SCORED_FRAMES = 250
"""Maximum number of frames for the segmentation score. Rare classes move the mean IoU a lot."""

_log = logging.getLogger(__name__)


def export(options: ExportOptions) -> list[WrittenBundle]:
    """Export a trained generator in every precision that ``options`` asks for.

    Each file appears only after it passed the parity check, and holds its figures. ``parity.json``
    beside the files holds those of all, unless ``options.output`` is one named file. A page for
    browsers and engines are made of the files that passed.

    Raises:
        CheckpointError: there is no usable checkpoint, or the segmenter cannot be read.
        ConfigError: a file is in the way, the generator cannot translate frames of the size, more
            memory is needed than is free, the segmenter knows other labels, or ONNX Runtime Web is
            missing.
        DatasetError: a folder of frames cannot be read.
        ExportError: the generator or the calibration inputs are unusable.
        ParityError: a file does not compute what the torch module does; those before it stay.
        OutputError: a file cannot be written.
        EngineBuildError: TensorRT is missing or builds no engine; the ONNX files are there.
        DeviceUnavailableError: TensorRT finds no GPU; the ONNX files are there.
    """
    if not isinstance(options, ExportOptions):
        raise ConfigError(f"{options!r} are no options; give ExportOptions(source='runs/photos-1')")
    path = options.imported.path if options.imported else checkpoint_of(options.source)
    outputs = options.output_paths(path)
    ort_web = read_ort_web(options.ort_web) if options.web else {}
    if options.triton:
        check_folder(options.triton)
    if options.imported is None:
        trained = load_checkpoint(path, options.size)
    else:
        trained = load_imported(options.imported, options.size, draw_frames=options.frames is None)
    _log.info("exporting %s (%s)", path, trained.description["mode"])
    given = trained.frames
    if options.frames is not None:
        given = read_inputs(options.frames, trained, limit=PARITY_FRAMES, part="val")
    frames, made_up = top_up(given)
    folder = next(iter(outputs.values())).parent
    check_writable_folder(folder)
    calibration = None  # refused, if it is useless, before anything is written
    if options.int8 and options.calibration is not None:
        calibration = read_calibration(options.calibration, trained)
    module = PixelGenerator(trained.module)
    reference = Reference(
        contract=trained.contract,
        frames=frames,
        images=run_torch(module, frames),
        made_up=made_up,
        generator=trained.description,
        provenance=trained.provenance | ({"licence": options.licence} if options.licence else {}),
        segmentation=_segmentation_check(module, trained, options),
    )
    written: dict[str, WrittenBundle] = {}
    for name, output in outputs.items():
        _log.info("%s: making the graph", name)
        graph = _make_graph(name, trained, reference, calibration, options, folder)
        _log.info("%s: comparing %s with torch", name, count_of(len(frames), "frame"))
        precision = name.partition("-")[0]
        try:
            written[name] = write_bundle(output, graph.content, reference, precision, graph.notes)
        except ParityError as error:
            raise ParityError(f"{error}{_way_out(precision, options)}") from error
        if output != options.output:
            figures = {bundle.path.name: asdict(bundle.report) for bundle in written.values()}
            write_json(folder / "parity.json", figures)
    _warn_of_other_bundles(folder, written, trained)
    if options.web:
        quickest = next(written[name] for name in ("int8", "fp32", "fp16") if name in written)
        write_web(quickest.path, options.web, ort_web)
    if options.triton:
        served = next(written[name] for name in ("fp16", "int8", "fp32") if name in written)
        write_triton(served.path, options.triton)
    if options.builds_engines:
        _build_engines(written, options)
    return list(written.values())


def _way_out(precision: str, options: ExportOptions) -> str:
    """Say which flag helps a file through its gates, if one does."""
    imported = options.imported
    if precision != "int8" or imported is None or imported.norm != "batch":
        return ""
    if imported.statistics == "running":
        return ""
    return "; int8 keeps more with --statistics running, if the images please there, too"


def _segmentation_check(
    module: PixelGenerator, trained: TrainedGenerator, options: ExportOptions
) -> SegmentationCheck | None:
    """Score the torch module's images with the segmenter that the user named, if any."""
    if options.segmenter is None:
        return None
    segmenter = Segmenter.load(options.segmenter, torch.device("cpu"))
    segmenter.check_labels(trained.contract.palette)
    folder = options.frames or Path(trained.data.folder)
    frames = read_inputs(folder, trained, limit=SCORED_FRAMES, part="val")
    _log.info("segmentation score: %s of %s", count_of(len(frames), "frame"), folder)
    return SegmentationCheck(segmenter, frames, run_torch(module, frames))


def _make_graph(
    name: str,
    trained: TrainedGenerator,
    reference: Reference,
    calibration: tuple[NDArray[np.uint8], str] | None,
    options: ExportOptions,
    folder: Path,
) -> Graph:
    if name == "fp16":
        return fp16_graph(trained.module, reference)
    if name == "fp32" or calibration is None:
        return Graph(content=to_onnx(folded_generator(trained.module), trained.contract))
    frames, note = calibration
    profile = "tensorrt" if name == INT8_FOR_TENSORRT else options.int8_profile
    graph = int8_graph(trained.module, reference, frames, profile, folder)
    return replace(graph, notes=(note, *graph.notes))


def _warn_of_other_bundles(
    folder: Path, written: dict[str, WrittenBundle], trained: TrainedGenerator
) -> None:
    """Name bundles of another export in the folder: ``p2p-run`` may prefer one of them."""
    sha256, ours = trained.provenance["checkpoint_sha256"], trained.contract
    own = {bundle.path for bundle in written.values()}
    for path in sorted(set(folder.glob("model-*.onnx")) - own):
        try:
            info = ModelBundle.load(path).info
        except BundleError as error:
            _log.warning("beside the new files: %s", error)
            continue
        theirs = info.contract
        if info.provenance.get("checkpoint_sha256") != sha256:
            _log.warning("%s is of another checkpoint; export it again or remove it", path)
        elif (theirs.width, theirs.height) != (ours.width, ours.height):
            _log.warning("%s is of another size; export it again or remove it", path)


def _build_engines(written: dict[str, WrittenBundle], options: ExportOptions) -> None:
    """Build engines from every file that TensorRT reads, hence not from int8 for the CPU."""
    library = "tensorrt_rtx" if options.tensorrt_rtx else "tensorrt"
    try:
        builder = EngineBuilder(library, parse_archs(options.gpu_arch) if options.gpu_arch else [])
        for name, bundle in written.items():
            if name != "int8" or options.int8_profile == "tensorrt":
                engines = builder.build(bundle.path, bundle.report.precision)
                written[name] = replace(bundle, engines=engines)
    except (EngineBuildError, DeviceUnavailableError) as error:
        files = ", ".join(str(bundle.path) for bundle in written.values())
        raise type(error)(f"{error}; the ONNX files are written ({files})") from error
