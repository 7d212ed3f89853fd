"""A whole run with random weights: they decide what a picture looks like, not what it costs.

The graphs are the exporter's own, without its gates.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from p2p_export.graph import PixelGenerator, fold, swap_channels, with_integer_ups
from p2p_export.int8 import PROFILES, Quantiser
from p2p_export.to_onnx import attach, to_onnx
from p2p_runtime.bundle import BundleInfo, GoldenFrame, ModelBundle
from p2p_runtime.contract import PixelContract
from p2p_runtime.engines import open_engine
from p2p_runtime.files import write_bytes
from p2p_runtime.palette import CITYSCAPES
from p2p_runtime.safety import payload_sha256
from p2p_train.checkpoint import Checkpoint, make_generator
from p2p_train.config import TrainConfig
from p2p_train.scenes import draw_scene

from .backends import Files
from .depth_to_space import with_depth_to_space

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["DEPTH_TO_SPACE", "write_random_run"]

CALIBRATION_FRAMES = 8
GOLDEN_SEED = 1
DEPTH_TO_SPACE = "int8, DepthToSpace"


def write_random_run(folder: Path, *, ngf: int, height: int, width: int) -> Files:
    """Write a checkpoint and its graphs: ``fp32``, ``int8`` and :data:`DEPTH_TO_SPACE`.

    Args:
        folder: where to.
        ngf: width of the generator.
        height, width: of its frames in pixels.
    """
    config = TrainConfig(ngf=ngf, height=height, width=width)
    contract = PixelContract(height=height, width=width, palette=CITYSCAPES)
    scenes = np.stack([draw_scene(n, height, width)[0] for n in range(CALIBRATION_FRAMES)])
    torch.manual_seed(0)
    generator = make_generator(config)
    checkpoint = folder / "random.pt"
    Checkpoint(
        config=config,
        contract=contract,
        generator=generator.state_dict(),
        frames=torch.from_numpy(scenes),
        progress={},
        dataset={},
    ).save(checkpoint)
    shape = {"architecture": "unet", "ngf": ngf, "downsamplings": config.downsamplings}
    bundles = {}
    for name, graph in _graphs(generator, contract, scenes, folder).items():
        info = BundleInfo(
            contract=contract,
            precision=name.partition(",")[0],
            golden=GoldenFrame.record(scenes[0], GOLDEN_SEED),
            payload_sha256=payload_sha256(graph),
            generator=shape,
        )
        bundles[name] = _write_bundle(folder / f"model-{name}.onnx", graph, info)
    return Files(bundles=bundles, checkpoint=checkpoint, contract=contract, generator=shape)


def _graphs(
    generator: nn.Module, contract: PixelContract, scenes: NDArray[np.uint8], scratch: Path
) -> dict[str, bytes]:
    def quantise(module: nn.Module) -> bytes:
        graph = to_onnx(PixelGenerator(module, order="bgr"), contract)
        return Quantiser(graph, scenes, PROFILES["x86"], scratch).quantise([])

    folded = swap_channels(fold(generator))
    integer_ups = with_integer_ups(folded)
    return {
        "fp32": to_onnx(PixelGenerator(folded, order="bgr"), contract),
        "int8": quantise(integer_ups),
        DEPTH_TO_SPACE: quantise(with_depth_to_space(integer_ups)),
    }


def _write_bundle(path: Path, graph: bytes, info: BundleInfo) -> Path:
    """Write a bundle whose golden frame is what this very graph makes of it."""
    write_bytes(path, graph)
    engine = open_engine(ModelBundle(path=path, info=info), device="cpu")
    (image,) = engine.infer(GoldenFrame.draw(info.contract, GOLDEN_SEED)[np.newaxis])
    engine.close()
    golden = GoldenFrame.record(image, GOLDEN_SEED)
    write_bytes(path, attach(graph, replace(info, golden=golden)))
    return path
