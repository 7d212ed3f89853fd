"""The files of one generator, and the label maps that every backend translates."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import CheckpointError, ConfigError, SourceError
from p2p_runtime.files import sha256_of_file
from p2p_runtime.model.bundle import ENGINE_SUFFIX, ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.translate.discover import find_bundles
from p2p_runtime.video.sources import open_source

from .backends.registry import CHECKPOINT, ENGINE

__all__ = ["Files", "bench_frames", "find_files", "read_frames"]

DRAWN = 16
"""Maximum number of different drawn label maps."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """One generator in every form that was found.

    Attributes:
        bundles: the file of each precision; TensorRT engines under ``<precision> TensorRT engine``.
        checkpoint: what the bundles were exported from; None on a device.
    """

    bundles: dict[str, Path]
    checkpoint: Path | None
    contract: PixelContract
    generator: dict[str, Any] = field(default_factory=dict)

    def find(self, kind: str) -> Path | None:
        """Return the file of a kind, :data:`CHECKPOINT` or a key of ``bundles``; None if absent."""
        return self.checkpoint if kind == CHECKPOINT else self.bundles.get(kind)


def find_files(model: Path | None, checkpoint: Path | None) -> Files:
    """Find bundles, as ``p2p-run`` does without a ``model``, and what they were exported from.

    Raises:
        BundleError: a bundle is missing or broken.
        CheckpointError: the named checkpoint does not exist.
        ConfigError: the bundles' frame sizes differ.
    """
    paths = [model] if model is not None and model.is_file() else find_bundles(model)
    bundles = [ModelBundle.load(path) for path in paths]
    _check_sizes(bundles)
    found = _find_checkpoint(checkpoint, bundles[0].path.parent.parent)
    if found is not None:
        _warn_of_another(found, bundles)
    return Files(
        bundles={bundle.precision: bundle.path for bundle in bundles} | _engines(bundles),
        checkpoint=found,
        contract=bundles[0].contract,
        generator=bundles[0].info.generator,
    )


def _engines(bundles: list[ModelBundle]) -> dict[str, Path]:
    """Return the TensorRT engines beside the bundles, by the precision of their ONNX file."""
    folders = {bundle.path.parent for bundle in bundles}
    paths = sorted(path for folder in folders for path in folder.glob(f"*{ENGINE_SUFFIX}"))
    # model-<precision>-<architecture>
    return {path.stem.partition("-")[2].rpartition("-")[0] + ENGINE: path for path in paths}


def _find_checkpoint(named: Path | None, run: Path) -> Path | None:
    """Return the named checkpoint or the run's; None if none was named and the run has none."""
    if named is not None and not named.exists():
        raise CheckpointError(f"{named} does not exist")
    folder = named or run
    names = ("checkpoints/best.pt", "checkpoints/last.pt", "best.pt", "last.pt")
    places = (folder, *(folder / name for name in names))
    found = next((path for path in places if path.is_file()), None)
    if found is None and named is not None:
        raise CheckpointError(f"{named} holds no checkpoints/best.pt or last.pt")
    return found


def _warn_of_another(checkpoint: Path, bundles: list[ModelBundle]) -> None:
    digest = sha256_of_file(checkpoint)
    for bundle in bundles:
        if bundle.info.provenance.get("checkpoint_sha256") != digest:
            _log.warning("%s was not exported from %s", bundle.path, checkpoint)


def _check_sizes(bundles: list[ModelBundle]) -> None:
    sizes = {one.precision: f"{one.contract.width}x{one.contract.height}" for one in bundles}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{precision} {size}" for precision, size in sizes.items())
        raise ConfigError(
            f"the models take frames of different sizes: {listed}; see p2p-export --size"
        )


def bench_frames(
    files: Files, spec: str | None, count: int, batch: int
) -> tuple[NDArray[np.uint8], str]:
    """Return (count, batch, H, W, 3) uint8 BGR, and a few words on where they come from.

    ``spec`` is a label video or a folder of label maps; None stands for the validation inputs in
    the checkpoint or, without a checkpoint or torch to read it, for drawn label maps. Frames are
    repeated until there are enough.

    Raises:
        SourceError: the frames cannot be read, or there are none.
    """
    if spec is not None:
        frames = _read(files.contract, spec, count * batch)
        words = f"{len(frames)} given inputs"
    elif files.checkpoint is not None and importlib.util.find_spec("torch"):
        from p2p_train.training.checkpoint import Checkpoint

        own = Checkpoint.load(files.checkpoint).frames.numpy()
        frames = np.stack([files.contract.preprocess(frame) for frame in own])
        words = f"{len(frames)} validation inputs"
    else:
        seeds = range(min(count * batch, DRAWN))
        frames = np.stack([GoldenFrame.draw(files.contract, seed) for seed in seeds])
        words = f"{len(frames)} drawn inputs"
    numbers = np.arange(count * batch) % len(frames)
    return frames[numbers].reshape(count, batch, *frames.shape[1:]), words


def _read(contract: PixelContract, spec: str, most: int) -> NDArray[np.uint8]:
    frames = [contract.preprocess(frame) for frame in read_frames(spec)]
    chosen = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return np.stack([frames[number] for number in chosen])


def read_frames(spec: str | Path) -> list[NDArray[np.uint8]]:
    """Return all frames of a video or a folder, (H, W, 3) uint8 BGR each; a SourceError if none."""
    with contextlib.closing(open_source(str(spec))) as source:
        frames = [frame.image.copy() for frame in source]
    if not frames:
        raise SourceError(f"{spec} holds no frames")
    return frames
