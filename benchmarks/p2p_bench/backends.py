"""One engine a backend, all behind the same boundary: host uint8 BGR in, host uint8 BGR out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_runtime.bundle import PRECISIONS, ModelBundle
from p2p_runtime.console import require_extra
from p2p_runtime.discover import find_bundles
from p2p_runtime.engines import Engine, open_engine
from p2p_runtime.errors import CheckpointError, ConfigError, MissingExtraError
from p2p_runtime.files import sha256_of_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.contract import PixelContract

__all__ = ["EAGER", "Backend", "open_backends"]

EAGER = "eager"
"""The checkpoint in torch, as it was trained: what the others are compared with."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """A row of the benchmark.

    Attributes:
        name: ``eager``, or a bundle's precision.
        source: the file that it runs.
        contract: the size and the palette of its frames.
        engine: what runs it.
        inputs: (N, H, W, 3) uint8 BGR, real inputs that came with it, if any did.
    """

    name: str
    source: Path
    contract: PixelContract
    engine: Engine
    inputs: NDArray[np.uint8] | None = None


def open_backends(
    model: Path | None,
    checkpoint: Path | None,
    names: Sequence[str] | None,
    threads: int | None,
) -> list[Backend]:
    """Open what is to be compared, ``eager`` first.

    Args:
        model: a bundle, a folder of bundles, or None to search as ``p2p-run`` does.
        checkpoint: for ``eager``; None for the one that lies in the bundles' run.
        names: which backends; None for all that are found.
        threads: CPU threads of each; None for all cores.

    Raises:
        BundleError: a bundle is missing or broken.
        CheckpointError: ``eager`` was asked for and there is no checkpoint.
        ConfigError: a name is unknown, or the models' sizes differ.
    """
    paths = [model] if model is not None and model.is_file() else find_bundles(model)
    loaded = sorted(map(ModelBundle.load, paths), key=lambda b: PRECISIONS.index(b.precision))
    bundles = {bundle.precision: bundle for bundle in loaded}
    _check_names(names, bundles)
    backends = [
        Backend(
            name=precision,
            source=bundle.path,
            contract=bundle.contract,
            engine=open_engine(bundle, "cpu", threads),
        )
        for precision, bundle in bundles.items()
        if names is None or precision in names
    ]
    if names is None or EAGER in names:
        required = names is not None or checkpoint is not None
        eager = _open_eager(checkpoint, next(iter(bundles.values())), threads, required=required)
        backends[:0] = [] if eager is None else [eager]
    _check_sizes(backends)
    return backends


def _check_names(names: Sequence[str] | None, bundles: dict[str, ModelBundle]) -> None:
    there = [EAGER, *bundles]
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise ConfigError(f"no backend {', '.join(unknown)} here; there are {', '.join(there)}")


def _open_eager(
    checkpoint: Path | None, bundle: ModelBundle, threads: int | None, *, required: bool
) -> Backend | None:
    """Open the checkpoint; where it or torch is missing, say so, unless it is required."""
    try:
        return _eager(checkpoint or bundle.path.parent.parent, bundle, threads)
    except (CheckpointError, MissingExtraError) as error:
        if required:
            raise
        _log.info("no eager backend: %s", error)
        return None


def _eager(run: Path, bundle: ModelBundle, threads: int | None) -> Backend:
    for module in ("torch", "onnx"):
        require_extra(module, "export")
    from p2p_train.checkpoint import find_checkpoint

    from .eager import EagerEngine

    path = find_checkpoint(run)
    engine = EagerEngine(path, threads)
    _warn_of_another(path, bundle)
    return Backend(
        name=EAGER, source=path, contract=engine.contract, engine=engine, inputs=engine.inputs
    )


def _warn_of_another(checkpoint: Path, bundle: ModelBundle) -> None:
    if sha256_of_file(checkpoint) != bundle.info.provenance.get("checkpoint_sha256"):
        _log.warning("%s was not exported from %s", bundle.path, checkpoint)


def _check_sizes(backends: list[Backend]) -> None:
    sizes = {(backend.contract.height, backend.contract.width) for backend in backends}
    if len(sizes) > 1:
        listed = ", ".join(
            f"{backend.name} {backend.contract.height}x{backend.contract.width}"
            for backend in backends
        )
        raise ConfigError(f"the models take frames of different sizes: {listed}")
