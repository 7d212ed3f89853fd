"""A model for NVIDIA's Triton, in the folder layout of its repositories; KServe runs the same.

``config.pbtxt`` beside the numbered versions says how to serve it, and what it was made of.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template

from p2p_export.graph.tracing import MAX_BATCH
from p2p_runtime.errors import BundleError, ConfigError, OutputError
from p2p_runtime.files import check_writable_folder, write_bytes, write_text
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.trt_manifest import check_manifest, read_manifest

__all__ = ["check_folder", "write_triton"]

CONFIG, MARK = "config.pbtxt", "# Written by p2p-export --triton."
"""Name of a model's configuration, and the first line of one that may be replaced."""


def check_folder(folder: Path) -> None:
    """Raise a ConfigError for a name that no model has, an OutputError for a folder in use."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", folder.resolve().name):
        raise ConfigError(
            f"--triton {folder}: the folder's name becomes the model's; use letters, digits, _.-"
        )
    check_writable_folder(folder)
    config = folder / CONFIG
    if config.exists() and not config.read_bytes().startswith(MARK.encode()):
        raise OutputError(f"{config} exists and is no export's; name another folder")


def write_triton(model: Path, folder: Path) -> Path:
    """Write a bundle or engine as the newest version of a Triton model, ``repository/name``.

    Its configuration is returned.

    Raises:
        BundleError: the model is missing or damaged, or an engine that Triton does not load.
    """
    bundle = ModelBundle.load(model)
    check_folder(folder)
    content, file, backend = bundle.read(), "model.onnx", "onnxruntime"
    if bundle.engine_path is not None:
        target = read_manifest(bundle.engine_path).target
        if target.library != "tensorrt":
            raise BundleError(f"{model} is for {target}; Triton loads engines of TensorRT alone")
        content = check_manifest(bundle.engine_path, bundle.path, target)
        file, backend = "model.plan", "tensorrt"
    contract = bundle.contract
    golden = GoldenFrame.draw(contract, bundle.info.golden.seed)
    write_bytes(folder / "warmup" / "golden", golden.tobytes())
    words = {
        "backend": backend, "file": file, "batch": MAX_BATCH, "sha256": bundle.sha256,
        "sides": [contract.height, contract.width, 3], "precision": bundle.precision,
        "contract": json.dumps(json.dumps(contract.to_json())),
        "name": folder.resolve().name, "version": _write_version(folder, file, content),
        "folder": folder.resolve().parent, "source": model.name,
    }  # fmt: skip
    for name, suffix in ((CONFIG, ".pbtxt"), ("README.md", ".md")):
        template = Template(Path(__file__).with_suffix(suffix).read_text(encoding="utf-8"))
        write_text(folder / name, template.substitute(words))
    return folder / CONFIG


def _write_version(folder: Path, file: str, content: bytes) -> int:
    """Write the model under the next number, unless it is the newest one already."""
    numbers = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    newest = max(numbers, default=0)
    path = folder / str(newest) / file
    if path.is_file() and path.read_bytes() == content:
        return newest
    write_bytes(folder / str(newest + 1) / file, content)
    return newest + 1
