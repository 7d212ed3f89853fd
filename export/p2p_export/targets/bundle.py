"""From a graph to a bundle on disk: measured, described, verified, and only then given its name."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from p2p_export.parity import ParityReport, compare, picture, run_engine
from p2p_runtime.engines import open_engine
from p2p_runtime.files import write_bytes
from p2p_runtime.model.bundle import BundleInfo, ModelBundle
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.onnx_check import payload_sha256
from p2p_runtime.translate.translator import Translator

from .onnx import attach

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_export.fidelity import LabelCheck
    from p2p_runtime.model.contract import PixelContract

__all__ = ["Reference", "WrittenBundle", "measure", "write_bundle"]

GOLDEN_SEED = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """What every exported file of one checkpoint is held against.

    Attributes:
        contract: the checkpoint's.
        generator: architecture, for the bundle.
        provenance: origin of the weights, for the bundle.
        frames: inputs, (N, H, W, 3) uint8 BGR.
        images: what the torch module makes of them, (N, H, W, 3) uint8 BGR.
        made_up: how many frames are copies, see :func:`p2p_export.frames.top_up`.
        labels: what a judge can read in the torch module's images, if one was given.
    """

    contract: PixelContract
    generator: dict[str, Any]
    provenance: dict[str, Any]
    frames: NDArray[np.uint8]
    images: NDArray[np.uint8]
    made_up: int
    labels: LabelCheck | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What a graph makes of the reference's frames and of the golden frame, and its figures."""

    images: NDArray[np.uint8]
    golden: NDArray[np.uint8]
    report: ParityReport


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenBundle:
    """A bundle that passed: where it lies, how close it is, and the engines built from it."""

    path: Path
    report: ParityReport
    notes: tuple[str, ...] = ()
    engines: tuple[Path, ...] = ()


def write_bundle(
    path: Path, graph: bytes, reference: Reference, precision: str, notes: tuple[str, ...] = ()
) -> WrittenBundle:
    """Measure a graph and, if it passes, write it as a bundle to ``path``.

    A picture of the worst frame is written beside it, passed or not.

    Args:
        path: the bundle's final name; nothing appears there unless everything passes.
        graph: a serialised ONNX model without metadata.
        reference: what it must compute.
        precision: ``fp32``, ``fp16`` or ``int8``.
        notes: what was done to the graph, for people; kept in the bundle's provenance.

    Raises:
        ParityError: the file does not compute what the torch module does.
        OutputError: it cannot be written.
    """
    info = BundleInfo(
        contract=reference.contract,
        precision=precision,
        golden=GoldenFrame.record(reference.images[0], GOLDEN_SEED),  # replaced below
        payload_sha256=payload_sha256(graph),
        generator=reference.generator,
        provenance={**reference.provenance, "notes": list(notes)},
    )
    outcome = _run(graph, info, path.parent, reference)
    _write_picture(path.with_name(f"{path.stem}-parity.png"), reference, outcome)
    outcome.report.require()
    info = replace(
        info,
        golden=GoldenFrame.record(outcome.golden, GOLDEN_SEED),
        parity=outcome.report.to_json(),
    )
    write_bytes(path, attach(graph, info), check=_verify)
    _log.info("wrote %s", path)
    return WrittenBundle(path=path, report=outcome.report, notes=notes)


def measure(graph: bytes, reference: Reference, precision: str, folder: Path) -> ParityReport:
    """Return how close a graph is, writing nothing that stays."""
    info = BundleInfo(
        contract=reference.contract,
        precision=precision,
        golden=GoldenFrame.record(reference.images[0], GOLDEN_SEED),
        payload_sha256=payload_sha256(graph),
    )
    return _run(graph, info, folder, reference).report


def _run(graph: bytes, info: BundleInfo, folder: Path, reference: Reference) -> _Outcome:
    """Run a graph in the device's engine and hold it against the reference."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".p2p-export-", dir=folder) as scratch:
        draft = Path(scratch) / "draft.onnx"
        write_bytes(draft, graph)
        engine = open_engine(ModelBundle(path=draft, info=info), device="cpu")
        try:
            images = run_engine(engine, reference.frames)
            golden = engine.infer(GoldenFrame.draw(info.contract, GOLDEN_SEED)[np.newaxis])[0]
            report = compare(
                reference.images, images, precision=info.precision, made_up=reference.made_up
            )
            if (labels := reference.labels) is not None:
                found = labels.of(run_engine(engine, labels.frames))
                report = replace(report, fidelity=found, trained_fidelity=labels.trained)
        finally:
            engine.close()
    return _Outcome(images=images, golden=golden, report=report)


def _verify(draft: Path) -> None:
    """Open the complete file as a device would, golden frame included."""
    Translator.load(draft, device="cpu").close()


def _write_picture(path: Path, reference: Reference, outcome: _Outcome) -> None:
    worst = outcome.report.worst_frame
    done, png = cv2.imencode(".png", picture(reference.images[worst], outcome.images[worst]))
    assert done, "a uint8 picture always encodes as PNG"
    write_bytes(path, png.tobytes())
