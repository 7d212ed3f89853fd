"""The files of one generator: bundles, TensorRT engines, and the checkpoint they come from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.files import sha256_of_file
from p2p_runtime.model.bundle import ENGINE_SUFFIX, ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.discover import find_bundles

from .backends.registry import CHECKPOINT, ENGINE

__all__ = ["Files", "find_files"]

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
