"""TensorRT engines, each for one GPU architecture and one library version.

TensorRT-RTX builds for the GPUs of other machines and needs none itself. TensorRT builds for the
GPU of this machine; that path is not tested on hardware. Precision comes from the ONNX file alone
(strong typing), the only way that TensorRT 10.12 to 11 and TensorRT-RTX have in common.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
import platform
import re
import time
from pathlib import Path
from typing import Any

from p2p_export.graph.tracing import MAX_BATCH
from p2p_runtime import __version__
from p2p_runtime.engines.gpu import first_gpu
from p2p_runtime.errors import ConfigError, DeviceUnavailableError, EngineBuildError
from p2p_runtime.files import write_bytes, write_text
from p2p_runtime.interrupts import ended_by_ctrl_c
from p2p_runtime.model.trt_manifest import EngineManifest, EngineTarget, manifest_path

__all__ = ["EngineBuilder", "parse_archs"]

_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_ARCH = re.compile(r"(?:sm_?)?(\d{1,2})\.?(\d)")
_log = logging.getLogger(__name__)


def parse_archs(text: str) -> list[str]:
    """Parse ``sm86,8.9,SM120`` into ``["sm86", "sm89", "sm120"]``, or raise a ConfigError."""
    archs = []
    for word in text.split(","):
        match = _ARCH.fullmatch(word.strip().lower())
        if match is None:
            raise ConfigError(f"{word.strip()!r} is not a GPU architecture; write sm86 or 8.6")
        archs.append(f"sm{match[1]}{match[2]}")
    return list(dict.fromkeys(archs))


class EngineBuilder:
    """Builds engines with ``tensorrt`` for this GPU, or ``tensorrt_rtx`` for architectures.

    Raises:
        EngineBuildError: the library is not installed, or does not know an architecture.
        DeviceUnavailableError: TensorRT needs a GPU, and there is none.
    """

    def __init__(self, library: str, archs: list[str]) -> None:
        self._trt = _load(library)
        version = str(self._trt.__version__)
        self._name = f"{_TITLES[library]} {version}"
        target = functools.partial(EngineTarget, library=library, version=version)
        if archs:
            self._require_archs(archs)
            self._targets = [target(sm=sm) for sm in archs]
            return
        try:
            gpu = first_gpu()
        except DeviceUnavailableError as error:
            text = f"--{library} builds for the GPU of the machine it runs on: {error}"
            raise DeviceUnavailableError(text) from error
        self._targets = [target(sm=gpu.sm, driver=gpu.driver)]

    def build(self, onnx: Path, precision: str) -> tuple[Path, ...]:
        """Build the engines of a bundle, ``<bundle>-<sm>.engine``, with a manifest for each.

        Raises:
            EngineBuildError: the library rejects the file; the message quotes the library.
            OutputError: an engine cannot be written.
        """
        return tuple(self._build(onnx, precision, target) for target in self._targets)

    def _build(self, onnx: Path, precision: str, target: EngineTarget) -> Path:
        path = onnx.with_name(f"{onnx.stem}-{target.sm}.engine")
        _log.info("%s: building with %s", path.name, self._name)
        started = time.monotonic()
        content = onnx.read_bytes()
        engine, shapes = self._build_engine(onnx, content, target)
        manifest = EngineManifest(
            target=target,
            engine_sha256=hashlib.sha256(engine).hexdigest(),
            onnx_sha256=hashlib.sha256(content).hexdigest(),
            precision=precision,
            shapes=shapes,
            flags=["STRONGLY_TYPED", "TF32 off"],
            built_by=f"pix2pix-edge {__version__}",
        )
        # The engine first: between the two writes an old manifest refuses the new engine.
        write_bytes(path, engine)
        write_text(manifest_path(path), manifest.to_json())
        _log.info("wrote %s (%.1f s)", path, time.monotonic() - started)
        return path

    def _build_engine(
        self, onnx: Path, content: bytes, target: EngineTarget
    ) -> tuple[bytes, dict[str, list[int]]]:
        trt, logger = self._trt, _logger(self._trt)
        logger.errors.clear()
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)  # owns the weights until the engine is built
        if not parser.parse(content):
            reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
            raise self._failure(onnx, "does not read", reasons)
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # rounds operands to 10 mantissa bits
        shapes = _add_shapes(builder, config, network.get_input(0))
        if target.library == "tensorrt_rtx":
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, target.sm.upper()), 0)
        with ended_by_ctrl_c():
            engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise self._failure(onnx, "builds no engine from", logger.errors)
        return bytes(engine), shapes

    def _require_archs(self, archs: list[str]) -> None:
        names = [name.lower() for name in self._trt.ComputeCapability.__members__]
        if unknown := ", ".join(arch for arch in archs if arch not in names):
            known = ", ".join(name for name in names if name.startswith("sm"))
            text = f"{self._name} does not build for {unknown}; it builds for {known}"
            raise EngineBuildError(text)

    def _failure(self, onnx: Path, what: str, reasons: list[str]) -> EngineBuildError:
        # The lines after the second report a missing driver, which is not needed.
        reason = " ".join(reasons[0].splitlines()[:2]) if reasons else "without a reason"
        return EngineBuildError(f"{self._name} {what} {onnx}: {reason}")


def _load(library: str) -> Any:
    """Import a library; its name with dashes is both the flag and the extra."""
    try:
        return importlib.import_module(library)
    except (ImportError, OSError) as error:
        extra = library.replace("_", "-")
        hint = f'type: pip install "pix2pix-edge[{extra}]"'
        if library == "tensorrt_rtx" and platform.machine() not in ("x86_64", "AMD64"):
            hint = "it exists for x86-64 only; build there"
        text = f"--{extra}: {_TITLES[library]} cannot be imported ({error}); {hint}"
        raise EngineBuildError(text) from error


def _add_shapes(builder: Any, config: Any, frame: Any) -> dict[str, list[int]]:
    """Allow batches of 1 to 8, tuned for 1, and return the input's shapes, (N, H, W, 3)."""
    sides = list(frame.shape)[1:]
    shapes = {name: [batch, *sides] for name, batch in (("min", 1), ("opt", 1), ("max", MAX_BATCH))}
    profile = builder.create_optimization_profile()
    profile.set_shape(frame.name, *(tuple(shape) for shape in shapes.values()))
    config.add_optimization_profile(profile)
    return shapes


@functools.cache  # TensorRT keeps the first logger of a process and warns of a second
def _logger(trt: Any) -> Any:
    """Return a logger that keeps errors for the exception's message and passes warnings on."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # trt is Any
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                self.errors.append(message)
            elif int(severity) == int(trt.ILogger.Severity.WARNING):
                _log.warning("%s", message)

    return Logger()
