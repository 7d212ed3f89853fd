"""A whole int8 bundle with random weights: it costs what a trained one of its width costs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from p2p_runtime.bundle import BundleInfo, GoldenFrame, ModelBundle
from p2p_runtime.contract import PixelContract
from p2p_runtime.engines import open_engine
from p2p_runtime.files import write_bytes
from p2p_runtime.palette import CITYSCAPES
from p2p_runtime.safety import payload_sha256

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_random_model"]

CALIBRATION_FRAMES = 8
GOLDEN_SEED = 1


def write_random_model(path: Path, *, ngf: int, side_px: int = 256) -> Path:
    """Export a U-Net with random weights as int8 for x86, and return its path.

    Args:
        path: the bundle to write.
        ngf: width of the generator.
        side_px: height and width of its frames in pixels.
    """
    from p2p_export.to_onnx import attach
    from p2p_train.scenes import draw_scene

    scenes = [draw_scene(seed, side_px, side_px)[0] for seed in range(CALIBRATION_FRAMES)]
    contract = PixelContract(height=side_px, width=side_px, palette=CITYSCAPES)
    graph = _graph(ngf, contract, np.stack(scenes))
    info = BundleInfo(
        contract=contract,
        precision="int8",
        golden=GoldenFrame.record(scenes[0], GOLDEN_SEED),  # replaced below
        payload_sha256=payload_sha256(graph),
        generator={"arch": "unet", "ngf": ngf, "weights": "random"},
    )
    write_bytes(path, graph)
    golden = GoldenFrame.draw(contract, GOLDEN_SEED)
    engine = open_engine(ModelBundle(path=path, info=info), device="cpu")
    image = engine.infer(golden[np.newaxis])[0]
    engine.close()
    write_bytes(path, attach(graph, replace(info, golden=GoldenFrame.record(image, GOLDEN_SEED))))
    return path


def _graph(ngf: int, contract: PixelContract, inputs: NDArray[np.uint8]) -> bytes:
    import torch

    from p2p_export.int8 import PROFILES, Quantiser
    from p2p_export.integers import for_integers
    from p2p_export.to_onnx import to_onnx
    from p2p_train.checkpoint import make_generator
    from p2p_train.config import TrainConfig

    torch.manual_seed(0)
    generator = make_generator(
        TrainConfig(ngf=ngf, height=contract.height, width=contract.width)
    ).eval()
    traced = to_onnx(for_integers(generator, inputs), contract)
    with tempfile.TemporaryDirectory() as scratch:
        return Quantiser(traced, inputs, PROFILES["x86"], Path(scratch)).quantise([])
