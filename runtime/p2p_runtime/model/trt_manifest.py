"""The manifest of a TensorRT engine file: a JSON document beside it.

An engine file is executable code: it is loaded only if its manifest matches its bytes, the ONNX
file, the library and the GPU.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from p2p_runtime.documents import parse_json, read_file
from p2p_runtime.errors import BundleError, ContractError
from p2p_runtime.files import sha256_of_file

__all__ = ["EngineManifest", "EngineTarget", "check_manifest", "manifest_path", "read_manifest"]

FORMAT, MAX_MANIFEST_BYTES = 1, 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineTarget:
    """The library and the GPU that an engine file is for.

    No other version of ``tensorrt`` or ``tensorrt_rtx`` can load it. ``sm`` is an architecture such
    as ``sm86``; the driver's CUDA version is None if it was built without a GPU.
    """

    library: str
    version: str
    sm: str
    driver: str | None = None

    def __str__(self) -> str:
        """Return the target for people."""
        return f"{self.library} {self.version} on {self.sm}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineManifest:
    """The origin of an engine file.

    Its shapes are those of the input, (N, H, W, 3), under ``min``, ``opt`` and ``max``.
    """

    target: EngineTarget
    engine_sha256: str
    onnx_sha256: str
    precision: str
    shapes: dict[str, list[int]]
    flags: list[str]
    built_by: str

    def to_json(self) -> str:
        """Return the JSON document; equal manifests give equal text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EngineManifest:
        """Return the manifest of what :meth:`to_json` returned, or raise a ContractError."""
        try:
            document = parse_json(text)
            if (written := document.pop("format")) != FORMAT:
                raise ContractError(f"format {written!r} is unknown; this version reads {FORMAT}")
            target = EngineTarget(**document.pop("target"))
            return cls(target=target, **document)
        except (ValueError, TypeError, KeyError) as error:
            raise ContractError(f"not an engine's manifest ({error})") from error


def manifest_path(engine: Path) -> Path:
    """Return the path of the manifest: ``model.engine.json`` beside ``model.engine``."""
    return engine.with_name(f"{engine.name}.json")


def read_manifest(engine: Path) -> EngineManifest:
    """Return the manifest beside an engine file, unchecked; raise a BundleError without one."""
    path = manifest_path(engine)
    try:
        return EngineManifest.from_json(read_file(path, MAX_MANIFEST_BYTES).decode("utf-8"))
    except (OSError, ValueError, ContractError) as error:
        raise BundleError(f"{engine} has no usable manifest: {error}") from error


def check_manifest(engine: Path, onnx: Path, here: EngineTarget) -> bytes:
    """Return an engine file's bytes, those that were checked, if its manifest matches.

    It must have been built from the bundle ``onnx``, for the library and GPU that are ``here``; the
    driver may differ.

    Raises:
        BundleError: something is missing or does not match; the message says how to rebuild.
    """
    rebuild = f"rebuild it with p2p-export --{here.library.replace('_', '-')}"
    try:
        manifest = read_manifest(engine)
        content, onnx_sha256 = engine.read_bytes(), sha256_of_file(onnx)
    except (OSError, BundleError) as error:
        raise BundleError(f"{error}; {rebuild}") from error
    engine_sha256 = hashlib.sha256(content).hexdigest()
    checks = {
        "its bytes are not those that were built": manifest.engine_sha256 == engine_sha256,
        f"it was not built from {onnx}": manifest.onnx_sha256 == onnx_sha256,
        f"it is for {manifest.target}, and this is {here}": (
            replace(manifest.target, driver=None) == replace(here, driver=None)
        ),
    }
    if faults := [fault for fault, passed in checks.items() if not passed]:
        raise BundleError(f"{engine} is refused: {'; '.join(faults)}; {rebuild}")
    return content
