"""Write checkpoints and bundles with random weights, for studies of speed and memory.

Weights decide what an image looks like, not how long it takes. The graphs are those of
``p2p-export``, without its parity check.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from p2p_bench.files import Files
from p2p_export.graph.int8 import PROFILES, Quantiser
from p2p_export.graph.integer_ends import integer_form
from p2p_export.graph.pixel_generator import DepthToSpace, PixelGenerator, fold, swap_channels
from p2p_export.graph.tracing import to_onnx
from p2p_export.targets.onnx import attach
from p2p_runtime.engines import open_engine
from p2p_runtime.files import sha256_of_file, write_bytes
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.bundle import BundleInfo, ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.onnx_check import payload_sha256
from p2p_train.config import TrainConfig
from p2p_train.scenes import draw_scene
from p2p_train.training.checkpoint import Checkpoint, make_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_train.networks.generator import UNetGenerator

__all__ = [
    "CHECKPOINT_NAME",
    "DEPTH_TO_SPACE",
    "FLOAT_ENDS",
    "FORMS",
    "write_random_int8",
    "write_random_run",
]

CALIBRATION_FRAMES = 8
GOLDEN_SEED = 1
CHECKPOINT_NAME = "random.pt"
FLOAT_ENDS = "int8, float ends"
"""Name of the int8 graph whose conversions from and to pixels, and last layer, are in float."""
DEPTH_TO_SPACE = "int8, float ends, DepthToSpace"
"""Name of the same graph with ONNX's DepthToSpace operator in place of our own layers."""
FORMS = ("fp32", "int8", FLOAT_ENDS, DEPTH_TO_SPACE)
"""Names of all graphs that :func:`write_random_run` can write."""


def write_random_run(
    folder: Path,
    *,
    ngf: int,
    height: int,
    width: int,
    num_downs: int | None = None,
    forms: Sequence[str] = FORMS,
) -> Files:
    """Write a checkpoint with random weights and its graphs.

    Args:
        folder: an existing folder.
        ngf: width of the generator.
        height, width: of its frames in pixels.
        num_downs: its downsamplings; None for as many as bring the shorter side to 1 px.
        forms: names of the graphs, of :data:`FORMS`.
    """
    config = TrainConfig.of(ngf=ngf, image_size=(width, height), num_downs=num_downs)
    contract, scenes, generator = _random_generator(config)
    checkpoint = folder / CHECKPOINT_NAME
    Checkpoint(
        config=config,
        contract=contract,
        generator=generator.state_dict(),
        frames=torch.from_numpy(scenes),
        progress={},
        dataset={},
    ).save(checkpoint)
    provenance = {"checkpoint_sha256": sha256_of_file(checkpoint)}
    bundles = {}
    for name in forms:
        graph = _graph(name, generator, contract, scenes, folder)
        info = _info(graph, name.partition(",")[0], contract, _shape(config), provenance)
        bundles[name] = _write_bundle(folder / f"model-{name}.onnx", graph, info)
    return Files(
        bundles=bundles, checkpoint=checkpoint, contract=contract, generator=_shape(config)
    )


def write_random_int8(path: Path, config: TrainConfig) -> Files:
    """Write the int8 bundle of a generator with random weights to ``path``."""
    contract, scenes, generator = _random_generator(config)
    graph = _graph("int8", generator, contract, scenes, path.parent)
    bundle = _write_bundle(path, graph, _info(graph, "int8", contract, _shape(config), {}))
    return Files(
        bundles={"int8": bundle}, checkpoint=None, contract=contract, generator=_shape(config)
    )


def _shape(config: TrainConfig) -> dict[str, Any]:
    """Return the architecture for a bundle's metadata."""
    return {
        "architecture": "unet",
        "ngf": config.model.ngf,
        "downsamplings": config.downsamplings,
    }


def _random_generator(
    config: TrainConfig,
) -> tuple[PixelContract, NDArray[np.uint8], UNetGenerator]:
    """Return a contract, drawn label maps (N, H, W, 3) uint8 BGR, and a random generator."""
    contract = PixelContract(height=config.data.height, width=config.data.width, palette=CITYSCAPES)
    seeds = range(CALIBRATION_FRAMES)
    scenes = np.stack([draw_scene(n, config.data.height, config.data.width)[0] for n in seeds])
    torch.manual_seed(0)
    return contract, scenes, make_generator(config)


def _graph(
    form: str,
    generator: UNetGenerator,
    contract: PixelContract,
    scenes: NDArray[np.uint8],
    scratch: Path,
) -> bytes:
    """Return the ONNX graph of a form, of :data:`FORMS`."""
    if form == "fp32":
        return to_onnx(PixelGenerator(swap_channels(fold(generator)), order="bgr"), contract)
    module = integer_form(generator, scenes, uint8_ends=form == "int8")
    if form == DEPTH_TO_SPACE:
        module = with_depth_to_space(module)
    return _quantised(module, contract, scenes, scratch)


def _quantised(
    module: nn.Module, contract: PixelContract, scenes: NDArray[np.uint8], scratch: Path
) -> bytes:
    graph = to_onnx(module, contract)
    return Quantiser(graph, scenes, PROFILES["x86"], scratch).quantise([])


def _info(
    graph: bytes,
    precision: str,
    contract: PixelContract,
    shape: dict[str, Any],
    provenance: dict[str, Any],
) -> BundleInfo:
    return BundleInfo(
        contract=contract,
        precision=precision,
        golden=GoldenFrame.record(GoldenFrame.draw(contract, 0), GOLDEN_SEED),
        payload_sha256=payload_sha256(graph),
        generator=shape,
        provenance=provenance,
    )


def _write_bundle(path: Path, graph: bytes, info: BundleInfo) -> Path:
    """Write a bundle whose golden frame is recorded with this graph."""
    write_bytes(path, graph)
    engine = open_engine(ModelBundle(path=path, info=info), device="cpu")
    (image,) = engine.infer(GoldenFrame.draw(info.contract, GOLDEN_SEED)[np.newaxis])
    engine.close()
    golden = GoldenFrame.record(image, GOLDEN_SEED)
    write_bytes(path, attach(graph, replace(info, golden=golden)))
    return path


class _DepthToSpace(nn.Module):
    """The function of :class:`.DepthToSpace`, exported as ONNX's operator."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Turn (N, 4 * outputs, H + 1, W + 1) into (N, outputs, 2H, 2W)."""
        return functional.pixel_shuffle(signal, 2)[:, :, 1:-1, 1:-1]


def with_depth_to_space(generator: nn.Module) -> nn.Module:
    """Return a copy of an int8 generator whose decoder blocks use ONNX's DepthToSpace.

    Args:
        generator: one with :class:`.DepthToSpace` in its decoder blocks, wrapped or not.
    """
    rewritten = copy.deepcopy(generator)
    for parent in rewritten.modules():
        if isinstance(parent, nn.Sequential) and any(
            isinstance(one, DepthToSpace) for one in parent
        ):
            _reorder(parent[0])
            for index, layer in enumerate(parent):
                if isinstance(layer, DepthToSpace):
                    parent[index] = _DepthToSpace()
    return rewritten


def _reorder(conv: nn.Module) -> None:
    """Bring output channels from (row, column, output) to (output, row, column)."""
    assert isinstance(conv, nn.Conv2d)
    order = torch.arange(conv.out_channels).reshape(4, -1).T.flatten()
    conv.weight.data = conv.weight.data[order]
    if conv.bias is not None:
        conv.bias.data = conv.bias.data[order]
