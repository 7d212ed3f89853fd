"""One toy run, exported once for all tests that only look at the result."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch

from p2p_export import exporting
from p2p_export.exporting import export
from p2p_export.graph.pixel_generator import PixelGenerator
from p2p_export.graph.tracing import Graph
from p2p_export.options import ExportOptions
from p2p_export.parity import Reference, run_torch
from p2p_export.targets.onnx import WrittenBundle
from p2p_runtime.files import write_bytes
from p2p_train.networks.generator import UNetGenerator
from toy_export import CONTRACT, toy_config, toy_frames, toy_generator, write_checkpoint


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors: a second thread only waits, badly so on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def generator() -> UNetGenerator:
    """Return the toy generator; tests must not change it."""
    return toy_generator()


@pytest.fixture(scope="session")
def reference(generator: UNetGenerator) -> Reference:
    """Return the toy generator's images of eight frames."""
    frames = toy_frames()
    return Reference(
        contract=CONTRACT,
        frames=frames,
        images=run_torch(PixelGenerator(generator), frames),
    )


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of twelve label maps, other ones than the checkpoint's."""
    folder = tmp_path_factory.mktemp("inputs")
    for index, frame in enumerate(toy_frames(count=12, first=0)):
        write_bytes(folder / f"{index}.png", cv2.imencode(".png", frame)[1].tobytes())
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with one checkpoint, not exported."""
    folder = tmp_path_factory.mktemp("runs") / "toy-1"
    write_checkpoint(folder / "checkpoints" / "best.pt", config=toy_config())
    return folder


@pytest.fixture(scope="session")
def exported(run: Path, inputs: Path) -> dict[str, WrittenBundle]:
    """Return the run's bundles in all three precisions, in ``RUN/export/``."""
    options = ExportOptions(source=run, fp16=True, int8=True, calibration=inputs)
    return {bundle.report.precision: bundle for bundle in export(options)}


@pytest.fixture(scope="session")
def graph(exported: dict[str, WrittenBundle]) -> bytes:
    """Return the fp32 graph without its metadata."""
    import onnx

    model = onnx.load(exported["fp32"].path)
    del model.metadata_props[:]
    return model.SerializeToString(deterministic=True)


@pytest.fixture
def traced(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace tracing, which takes seconds, by the toy generator's fp32 graph."""
    monkeypatch.setattr(exporting, "to_onnx", lambda *_: graph)
    monkeypatch.setattr(exporting, "fp16_graph", lambda *_: Graph(content=graph))
