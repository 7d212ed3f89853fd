"""Find the forms of one generator that are to be compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from p2p_runtime.app.discover import find_bundles
from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.files import sha256_of_file
from p2p_runtime.model.bundle import ENGINE_SUFFIX, ModelBundle

from . import BACKENDS, Backend, Files

__all__ = ["choose", "find_files"]

_log = logging.getLogger(__name__)


def choose(names: Sequence[str] | None) -> list[Backend]:
    """Return the backends of some names, in the table's order; all of them without names.

    Args:
        names: which, or, with a minus before each, which not.

    Raises:
        ConfigError: a name is unknown, the message lists those that are not; or some have a minus
            and some have none.
    """
    bare = {name.removeprefix("-") for name in names or ()}
    if unknown := [name for name in bare if name not in BACKENDS]:
        raise ConfigError(f"no backend {', '.join(unknown)}; there are {', '.join(BACKENDS)}")
    left_out = [name for name in names or () if name.startswith("-")]
    if left_out and len(left_out) < len(names or ()):
        raise ConfigError("name the backends that you want, or those that you don't, not both")
    wanted = set(BACKENDS) - bare if names is None or left_out else bare
    return [backend for name, backend in BACKENDS.items() if name in wanted]


def find_files(model: Path | None, checkpoint: Path | None) -> Files:
    """Find the bundles and the checkpoint that they come from.

    Args:
        model: a bundle, a folder of bundles, or None to search as ``p2p-run`` does.
        checkpoint: a file or a run; None for the one that lies in the bundles' run.

    Raises:
        BundleError: a bundle is missing or broken.
        CheckpointError: a checkpoint was named and is not there.
        ConfigError: the bundles take frames of different sizes.
    """
    paths = [model] if model is not None and model.is_file() else find_bundles(model)
    bundles = [ModelBundle.load(path) for path in paths]
    _check_sizes(bundles)
    found = _find_checkpoint(checkpoint, bundles[0].path.parent.parent)
    if found is not None:
        _warn_of_another(found, bundles)
    return Files(
        bundles={bundle.precision: bundle.path for bundle in bundles} | _plans(bundles),
        checkpoint=found,
        contract=bundles[0].contract,
        generator=bundles[0].info.generator,
    )


def _plans(bundles: list[ModelBundle]) -> dict[str, Path]:
    """Return the TensorRT engines beside the bundles, by the name of the ONNX they come from."""
    folders = {bundle.path.parent for bundle in bundles}
    plans = {}
    for path in sorted(path for folder in folders for path in folder.glob(f"*{ENGINE_SUFFIX}")):
        stem = path.stem.rpartition("-")[0]  # without the GPU's architecture
        plans[f"{stem.partition('-')[2]} TensorRT engine"] = path
    return plans


def _find_checkpoint(named: Path | None, run: Path) -> Path | None:
    """Return the named checkpoint, or the run's; None when neither was named nor is there."""
    places = ("checkpoints/best.pt", "checkpoints/last.pt", "best.pt", "last.pt")
    if named is not None and not named.is_dir():
        if not named.exists():
            raise CheckpointError(f"{named} does not exist")
        return named
    folder = run if named is None else named
    found = next((folder / place for place in places if (folder / place).is_file()), None)
    if found is None and named is not None:
        raise CheckpointError(f"{named} holds no checkpoints/best.pt or last.pt")
    return found


def _warn_of_another(checkpoint: Path, bundles: list[ModelBundle]) -> None:
    digest = sha256_of_file(checkpoint)
    for bundle in bundles:
        if bundle.info.provenance.get("checkpoint_sha256") != digest:
            _log.warning("%s was not exported from %s", bundle.path, checkpoint)


def _check_sizes(bundles: list[ModelBundle]) -> None:
    sizes = {(bundle.contract.height, bundle.contract.width) for bundle in bundles}
    if len(sizes) > 1:
        listed = ", ".join(
            f"{bundle.precision} {bundle.contract.height}x{bundle.contract.width}"
            for bundle in bundles
        )
        raise ConfigError(f"the models take frames of different sizes: {listed}")
