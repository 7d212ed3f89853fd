"""ONNX Runtime: a strict session, and the engine on the CPU.

A strict session has the one provider that was asked for, or is an error. onnxruntime itself
replaces a missing provider by the CPU, with a warning.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import io
import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from p2p_runtime.cpus import cpu_quota, usable_cpus
from p2p_runtime.errors import BundleError, DeviceUnavailableError, EngineError
from p2p_runtime.memory import check_memory, generator_bytes
from p2p_runtime.model.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle

__all__ = [
    "ORT_ERRORS", "PROVIDERS", "SESSION_KEYS", "OrtEngine", "available_devices", "check_device",
    "first_line", "open_session", "session_options",
]  # fmt: skip

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""The device names that users type, and onnxruntime's names for them."""

NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"
ALLOW_SPINNING = "session.intra_op.allow_spinning"
SHARED_ARENA = "session.use_env_allocators"
SESSION_KEYS = (NO_CPU_FALLBACK, ALLOW_SPINNING, SHARED_ARENA)
"""onnxruntime accepts a misspelt key in silence, so each is written once, and tested."""

FOLDED_BYTES = "optimization.constant_folding_max_output_size_in_bytes"
LARGEST_FOLDED_BYTES = 256 << 20
"""Key and maximum size of what an operator computes while a model is loaded, above any weight; the
library knows it since 1.27, and older ones ignore it."""

_FELL_BACK = "fallback to CPU EP has been explicitly disabled"

# onnxruntime's exceptions have no common base but Exception, and each version adds some.
_KINDS = (kind for kind in vars(ort_errors).values() if isinstance(kind, type))
ORT_ERRORS: tuple[type[Exception], ...] = (
    *(kind for kind in _KINDS if issubclass(kind, Exception)),
    *(RuntimeError, ValueError),
)

_EXTRAS = {"cuda": ("CUDA", "gpu"), "tensorrt": ("TensorRT", "gpu,tensorrt")}

_log = logging.getLogger(__name__)


def available_devices() -> list[str]:
    """Return the devices that this onnxruntime offers, by the names that users type."""
    offered = ort.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in offered]


def check_device(device: str) -> str:
    """Return onnxruntime's name for a device; raise a DeviceUnavailableError if it is not there."""
    devices = available_devices()
    if device in devices:
        return PROVIDERS[device]
    hint = ""
    if device in _EXTRAS:
        name, extra = _EXTRAS[device]
        command = f'pip uninstall onnxruntime; pip install "pix2pix-edge[{extra}]"'
        hint = f" (for {name}, type: {command})"
    raise DeviceUnavailableError(
        f"device {device!r} is not available; onnxruntime {ort.__version__} offers "
        f"{', '.join(devices)}{hint}"
    )


def session_options(device: str) -> Any:
    """Return options with which a session on a device tells errors, and keeps to that device."""
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal; everything else comes back as an exception
    options.add_session_config_entry(FOLDED_BYTES, str(LARGEST_FOLDED_BYTES))
    if device != "cpu":
        options.add_session_config_entry(NO_CPU_FALLBACK, "1")
    return options


def open_session(
    bundle: ModelBundle,
    device: str,
    options: Any,
    provider_options: Mapping[str, str] | None = None,
) -> ort.InferenceSession:
    """Open a bundle on exactly one device, with what :func:`session_options` returned.

    Raises:
        DeviceUnavailableError: the device is not there, cannot run a part of the model, or the
            session did not get it.
        BundleError: onnxruntime cannot load the file, or its inputs and outputs are not the
            contract's.
    """
    provider = check_device(device)
    _preload(device)
    providers = [(provider, dict(provider_options or {}))]
    try:
        session = ort.InferenceSession(bundle.read(), options, providers=providers)
    except ORT_ERRORS as error:
        raise _not_opened(bundle, device, error) from error
    got = session.get_providers()[0]
    if got != provider:
        raise DeviceUnavailableError(
            f"asked onnxruntime for {provider} but got {got}; "
            "its libraries (CUDA, cuDNN, TensorRT) may be missing: see p2p-run --doctor"
        )
    _check_ports(bundle, session)
    _return_freed_memory()
    return session


def _return_freed_memory() -> None:
    """Give the memory that packing the weights took back to the system; glibc would keep it."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its name when it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _not_opened(bundle: ModelBundle, device: str, error: Exception) -> Exception:
    if _FELL_BACK in str(error):
        return DeviceUnavailableError(
            f"{device} cannot run all of {bundle.path}; onnxruntime would run the rest on the CPU, "
            "which is refused; use --device cpu, or export another precision"
        )
    return BundleError(
        f"onnxruntime {ort.__version__} cannot load {bundle.path} for {PROVIDERS[device]}: "
        f"{first_line(error)}"
    )


def _preload(device: str) -> None:
    """Load the libraries that pip installed; onnxruntime prints what it could not find."""
    if device == "cpu":
        return
    if device == "tensorrt":
        with contextlib.suppress(ImportError):  # a system-wide TensorRT needs no package
            importlib.import_module("tensorrt")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls()
    for line in printed.getvalue().splitlines():
        _log.debug("onnxruntime: %s", line)


def _check_ports(bundle: ModelBundle, session: ort.InferenceSession) -> None:
    """Compare the session's inputs and outputs with the contract, before the first frame."""
    contract = bundle.contract
    sides = [contract.height, contract.width, 3]
    for what, name, ports in (
        ("input", INPUT_NAME, session.get_inputs()),
        ("output", OUTPUT_NAME, session.get_outputs()),
    ):
        found = ", ".join(f"{port.name} {port.type} {port.shape}" for port in ports)
        if [port.name for port in ports] != [name] or not _is_picture(ports[0], sides):
            raise BundleError(
                f"{bundle.path} breaks its contract: its {what} should be {name} uint8 "
                f"(batch, {', '.join(map(str, sides))}), but is {found or 'missing'}"
            )


def _is_picture(port: Any, sides: list[int]) -> bool:
    """Tell whether a port is (batch, *sides) uint8, with a batch that may be 1."""
    batch, *rest = port.shape or [0]
    free = batch == 1 or not isinstance(batch, int)
    return bool(port.type == "tensor(uint8)" and free and rest == sides)


class OrtEngine:
    """A bundle in an ONNX Runtime session; several threads may call :meth:`infer` at a time."""

    device = "cpu"
    restarts = 0

    def __init__(
        self, bundle: ModelBundle, *, threads: int | None = None, allow_spinning: bool = True
    ) -> None:
        """Load a checked model file.

        Args:
            bundle: the file.
            threads: CPU threads inside an operator; None for all cores, within a container's quota.
            allow_spinning: let idle threads spin. Faster at full load; for a paced stream it
                doubles the CPU time.

        Raises:
            BundleError: see :func:`open_session`.
            ConfigError: a frame takes more memory than is free.
        """
        _check_memory(bundle)
        options = session_options(self.device)
        options.intra_op_num_threads = threads or (usable_cpus() if cpu_quota() else 0)
        _make_arena()
        options.enable_mem_pattern = False  # it would keep one per worker
        options.add_session_config_entry(SHARED_ARENA, "1")
        options.add_session_config_entry(ALLOW_SPINNING, "1" if allow_spinning else "0")
        self._session: ort.InferenceSession | None = open_session(bundle, self.device, options)
        self._shape = (bundle.contract.height, bundle.contract.width, 3)
        self._run: Any = ort.RunOptions()
        self._run.log_severity_level = 4  # what goes wrong is raised

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR, see :class:`p2p_runtime.engines.base.Engine`."""
        session = self._session
        if session is None:
            raise EngineError("the engine is closed")
        try:
            (images,) = session.run([OUTPUT_NAME], {INPUT_NAME: frames}, self._run)
        except ORT_ERRORS as error:
            raise EngineError(f"the model failed on {self.device}: {first_line(error)}") from error
        images = np.asarray(images)
        if images.shape != (len(frames), *self._shape) or images.dtype != np.uint8:
            raise EngineError(
                f"the model returned {images.shape} {images.dtype}, "
                f"not {(len(frames), *self._shape)} uint8"
            )
        return images

    def interrupt(self) -> None:
        """Let every :meth:`infer`, now and later, end with an error."""
        self._run.terminate = True

    def close(self) -> None:
        """Free the session and its memory."""
        self._session = None


def _check_memory(bundle: ModelBundle) -> None:
    width, height = bundle.contract.width, bundle.contract.height
    if isinstance(channels := bundle.info.generator.get("ngf"), int):
        needed = generator_bytes(channels, width, height)
        needed //= 4 if bundle.precision == "int8" else 1
        what = f"{bundle.path}: a frame of {width}x{height} px"
        check_memory(needed, what, "export a smaller --size, or with --int8")


@functools.cache
def _make_arena() -> None:
    """Set up the arena of sessions with :data:`SHARED_ARENA`: it grows by what is asked for.

    A session's own doubles each time: 22 MiB more for two workers of width 64, at the same speed.
    A model that asks for more than three quarters of the machine's memory fails.
    """
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    as_requested = {"arena_extend_strategy": 1, "max_mem": memory_bytes // 4 * 3}
    unset = {"initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({**as_requested, **unset}))
