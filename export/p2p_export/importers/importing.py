"""Exporting what was trained with pytorch-CycleGAN-and-pix2pix, by the same path as our own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from p2p_export.exporting import MAX_FRAMES, write_bundles
from p2p_export.fidelity import check_labels
from p2p_export.frames import read_inputs, top_up
from p2p_export.graph.pixel_generator import PixelGenerator
from p2p_export.parity import MIN_FRAMES, run_torch
from p2p_export.targets.bundle import Reference
from p2p_runtime import __version__
from p2p_runtime.errors import ConfigError
from p2p_runtime.files import check_writable_folder, sha256_of_file
from p2p_runtime.labels.palette import load_palette
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.scenes import draw_scene

from .weights import BLOCKS, ImportedNetwork, build, read_state

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from p2p_export.fidelity import LabelCheck
    from p2p_export.options import ExportOptions
    from p2p_export.targets.bundle import WrittenBundle
    from p2p_train.networks.geometry import Norm

    from .options import Direction, NetG, Statistics

__all__ = ["ImportedCheckpoint", "export_imported"]

LEAST_PX = 32

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedCheckpoint:
    """A file of weights, and what it does not say of itself.

    Attributes:
        path: the file.
        network: which generator it holds.
        contract: what frames become before they reach it.
        statistics: see :func:`p2p_export.importers.weights.build`.
        config: how folders of inputs are read.
    """

    path: Path
    network: ImportedNetwork
    contract: PixelContract
    statistics: Statistics
    config: TrainConfig

    @classmethod
    def from_flags(
        cls,
        *,
        foreign: Path,
        palette: str,
        net: NetG = "unet_256",
        norm: Norm = "batch",
        ngf: int | None = None,
        statistics: Statistics | None = None,
        input_size: tuple[int, int] | None = None,
        direction: Direction = "AtoB",
    ) -> ImportedCheckpoint:
        """Fill in what was left out.

        Raises:
            ConfigError: the size or the palette does not go, or InstanceNorm is asked for running
                statistics, which it has not.
        """
        if norm == "instance" and statistics == "running":
            raise ConfigError("instance norm has no running statistics; leave --statistics out")
        network = ImportedNetwork(net=net, norm=norm, ngf=ngf)
        default_px = 128 if net == "unet_128" else 256
        height, width = input_size or (default_px, default_px)
        _check_size(network, height, width)
        contract = PixelContract(
            height=height,
            width=width,
            palette=None if palette == "none" else load_palette(palette),
            direction=direction.replace("to", " to "),
        )
        config = TrainConfig(input_side="left" if direction == "AtoB" else "right", palette=palette)
        return cls(
            path=foreign,
            network=network,
            contract=contract,
            statistics=statistics or "frame",
            config=config,
        )

    def says(self) -> str:
        """Return in words which function is exported."""
        if self.network.norm == "instance" or self.statistics == "frame":
            return "each frame's own statistics, no dropout"
        return "running statistics, no dropout"


def export_imported(checkpoint: ImportedCheckpoint, request: ExportOptions) -> list[WrittenBundle]:
    """Export a generator of that repository in every precision that was asked for.

    Raises:
        CheckpointError: the file is unsafe, broken, or of another network.
        ConfigError: the request contradicts itself, or a file is in the way.
        DatasetError: ``--frames`` or ``--calibration`` cannot be read.
        ParityError, OutputError, EngineBuildError: as for :func:`p2p_export.exporting.export`.
    """
    if request.int8 and checkpoint.network.net in BLOCKS:
        raise ConfigError(f"--int8 is for U-Nets; {checkpoint.network.net} exports to fp32, fp16")
    if request.judge and not request.frames:
        raise ConfigError("--judge needs label maps to look at; give a folder with --frames DIR")
    targets = request.targets(checkpoint.path)
    state = read_state(checkpoint.path)
    generator = build(checkpoint.network, state, checkpoint.statistics)
    _log.info("exporting %s: %s", checkpoint.path, checkpoint.says())
    frames = _frames(checkpoint, request.frames)
    check_writable_folder(next(iter(targets.values())).parent)
    labels = check_labels(request, generator, checkpoint.contract, checkpoint.config)
    reference = _reference(checkpoint, generator, frames, labels)
    return write_bundles(generator, reference, checkpoint.config, targets, request)


def _check_size(network: ImportedNetwork, height: int, width: int) -> None:
    step = network.multiple_px
    if min(height, width) < LEAST_PX or height % step or width % step:
        raise ConfigError(
            f"--input-size {height}x{width} does not fit {network.net}: both sides must be "
            f"multiples of {step}, {LEAST_PX} or more"
        )


def _frames(checkpoint: ImportedCheckpoint, folder: Path | None) -> NDArray[np.uint8]:
    """Return inputs for the parity check, (N, H, W, 3) uint8 BGR."""
    contract = checkpoint.contract
    if folder is not None:
        return read_inputs(folder, checkpoint.config, contract, limit=MAX_FRAMES, part="val")
    if contract.palette is None:
        raise ConfigError(
            "with --palette none there is nothing to draw for the parity check; "
            "give a folder of inputs with --frames DIR"
        )
    _log.warning("parity is measured on drawn street scenes; give real inputs with --frames DIR")
    size = (contract.height, contract.width)
    return np.stack([contract.preprocess(draw_scene(seed, *size)[0]) for seed in range(MIN_FRAMES)])


def _reference(
    checkpoint: ImportedCheckpoint,
    generator: nn.Module,
    given: NDArray[np.uint8],
    labels: LabelCheck | None,
) -> Reference:
    frames, made_up = top_up(given)
    if made_up:
        _log.warning("%d frames for the parity check, topped up with mirrored ones", len(given))
    network = checkpoint.network
    return Reference(
        contract=checkpoint.contract,
        generator={
            "architecture": network.net,
            "norm": network.norm,
            "mode": checkpoint.says(),
        },
        provenance={
            "origin": "pytorch-CycleGAN-and-pix2pix",
            "checkpoint_sha256": sha256_of_file(checkpoint.path),
            "tools": {
                "pix2pix-edge": __version__,
                "torch": torch.__version__,
                "onnx": onnx.__version__,
            },
        },
        frames=frames,
        images=run_torch(PixelGenerator(generator), frames),
        made_up=made_up,
        labels=labels,
    )
