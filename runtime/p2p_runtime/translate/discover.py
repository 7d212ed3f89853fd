"""The search for a model when the user names a folder, or nothing."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from p2p_runtime.documents import ASSETS
from p2p_runtime.engines.base import is_server
from p2p_runtime.errors import BundleError
from p2p_runtime.model.bundle import ENGINE_SUFFIX

__all__ = ["DEMO_MODELS", "engine_named", "find_bundle", "find_bundles"]

DEMO_MODELS = ASSETS
"""Folder of the bundled model and ``demo.mp4``, a label video; see its ``README.md``."""

_NAME = re.compile(r".*-(fp32|fp16|int8)\.onnx")
_GPU = ("fp16", "fp32", "int8")
_PREFERRED = {"cpu": ("int8", "fp32", "fp16"), "cuda": _GPU, "tensorrt": _GPU}
"""Precisions by device, best first: int8 is fastest on a CPU, fp16 on a GPU."""

_log = logging.getLogger(__name__)


def find_bundle(model: str | None, device: str, *, runs: Path = Path("runs")) -> Path:
    """Return the model file to run: the one named, or the best for the device in a folder.

    For ``tensorrt``, an engine file for this GPU takes precedence over its ONNX file. Without a
    name, :func:`find_bundles` searches.

    Raises:
        BundleError: there is none; the message says what to type.
    """
    path = None if model is None else Path(model)
    if path is not None and not path.is_dir():
        return path
    bundles = find_bundles(path, runs=runs)
    if is_server(device):
        if len(bundles) > 1:
            raise BundleError(
                f"name the bundle that {device} serves with --model: {', '.join(map(str, bundles))}"
            )
        return bundles[0]
    for precision in _PREFERRED[device]:
        if matching := [path for path in bundles if path.stem.endswith(f"-{precision}")]:
            chosen = max(matching, key=_age)
            if device == "tensorrt":
                chosen = _engine_of(chosen) or chosen
            _log.info("model: %s (%s, the best match for %s)", chosen, precision, device)
            return chosen
    raise BundleError(f"no model for {device} among {', '.join(map(str, bundles))}")


def engine_named(model: str | None) -> Path | None:
    """Return the path if the user named a TensorRT engine file, else None."""
    return Path(model) if model is not None and model.endswith(ENGINE_SUFFIX) else None


def find_bundles(folder: Path | None = None, *, runs: Path = Path("runs")) -> list[Path]:
    """Return all ``*-<precision>.onnx`` files of a folder, by name.

    Without a folder, the latest export under ``runs`` counts, else the bundled model.

    Raises:
        BundleError: there are none; the message says what to type.
    """
    if folder is not None:
        if bundles := _in(folder):
            return bundles
        raise BundleError(f"{folder} holds no model-fp32.onnx, model-fp16.onnx or -int8.onnx")
    exports = [bundles for export in runs.glob("*/export") if (bundles := _in(export))]
    if exports:
        return max(exports, key=lambda bundles: max(map(_age, bundles)))
    if demo := _in(DEMO_MODELS):
        _log.info("no export under %s/; the bundled demo model is used", runs)
        return demo
    raise BundleError(
        f"no exported model under {runs}/*/export/; name one with --model, "
        "or make one: p2p-train, then p2p-export"
    )


def _in(folder: Path) -> list[Path]:
    paths = folder.iterdir() if folder.is_dir() else ()  # a glob would hide a lack of permission
    return sorted(path for path in paths if _NAME.fullmatch(path.name))


def _engine_of(bundle: Path) -> Path | None:
    """Return the engine file of a bundle for this GPU, if there is one."""
    from p2p_runtime.engines.gpu import first_gpu

    engine_path = bundle.with_name(f"{bundle.stem}-{first_gpu().sm}{ENGINE_SUFFIX}")
    return engine_path if engine_path.is_file() else None


def _age(bundle: Path) -> float:
    return bundle.stat().st_mtime
