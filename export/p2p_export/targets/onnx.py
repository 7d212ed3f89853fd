"""ONNX bundles: a graph is measured, described and verified before its file appears."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from p2p_export.parity import GOLDEN_SEED, ParityReport, Reference, measure, picture
from p2p_runtime.files import write_bytes, write_picture
from p2p_runtime.model.bundle import METADATA_KEY, BundleInfo
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.onnx_check import payload_sha256
from p2p_runtime.translate.translator import Translator

__all__ = ["WrittenBundle", "attach", "write_bundle"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenBundle:
    """An ONNX file that passed its gates.

    ``report`` compares it with the torch module, ``notes`` say what was done to the graph, and
    ``engines`` are the TensorRT engines built from it.
    """

    path: Path
    report: ParityReport
    notes: tuple[str, ...] = ()
    engines: tuple[Path, ...] = ()


def write_bundle(
    path: Path, graph: bytes, reference: Reference, precision: str, notes: tuple[str, ...] = ()
) -> WrittenBundle:
    """Measure a graph and, if it passes every check, write it as a bundle to ``path``.

    A picture of the worst frame, ``<stem>-parity.png``, appears beside it in either case. The
    graph is a serialised ONNX model without metadata.

    Raises:
        ParityError: the graph does not compute what the torch module does.
        BundleError: the written file does not open as a device would open it.
        OutputError: the file cannot be written.
    """
    measured = measure(graph, reference, precision, path.parent)
    worst = measured.report.worst_frame
    shown = picture(reference.images[worst], measured.images[worst])
    write_picture(path.with_name(f"{path.stem}-parity.png"), shown)
    measured.report.require()
    info = BundleInfo(
        contract=reference.contract,
        precision=precision,
        golden=GoldenFrame.record(measured.golden, GOLDEN_SEED),
        payload_sha256=payload_sha256(graph),
        generator=reference.generator,
        provenance={**reference.provenance, "notes": list(notes)},
        parity=asdict(measured.report),
    )
    # The complete draft opens as on a device, golden frame included, before it gets its name.
    write_bytes(
        path, attach(graph, info), check=lambda draft: Translator.load(draft, device="cpu").close()
    )
    _log.info("wrote %s", path)
    return WrittenBundle(path=path, report=measured.report, notes=notes)


def attach(graph: bytes, info: BundleInfo) -> bytes:
    """Return the model ``graph`` with ``info`` as its only metadata."""
    model = onnx.load_model_from_string(graph)
    onnx.helper.set_model_props(model, {METADATA_KEY: info.to_json()})
    return bytes(model.SerializeToString(deterministic=True))
