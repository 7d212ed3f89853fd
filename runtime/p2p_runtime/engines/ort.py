"""ONNX Runtime as an engine. The only module of the runtime that imports onnxruntime to run it.

Exactly one provider is asked for, and what the session really got is compared with it:
onnxruntime itself answers an impossible wish with a warning and the CPU.
"""

from __future__ import annotations

import contextlib
import io
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from p2p_runtime.bundle import INPUT_NAME, OUTPUT_NAME, ModelBundle
from p2p_runtime.errors import BundleError, DeviceUnavailableError, EngineError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PROVIDERS", "SESSION_KEYS", "OrtEngine", "available_devices", "check_device"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""The device names that users type, and onnxruntime's names for them."""

NO_CPU_FALLBACK = "session.disable_cpu_ep_fallback"
ALLOW_SPINNING = "session.intra_op.allow_spinning"
SESSION_KEYS = (NO_CPU_FALLBACK, ALLOW_SPINNING)
"""onnxruntime accepts a misspelt key in silence, so each is written once, and tested."""

# onnxruntime's exceptions have no common base but Exception, and each version adds some.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    *(
        kind
        for kind in vars(ort_errors).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
    RuntimeError,
    ValueError,
)

_log = logging.getLogger(__name__)


class OrtEngine:
    """A bundle in an ONNX Runtime session; see :class:`p2p_runtime.engines.base.Engine`."""

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        device: str = "cpu",
        threads: int | None = None,
        spinning: bool = True,
        memory_arena: bool = True,
    ) -> None:
        """Load a bundle onto a device.

        Args:
            bundle: the checked model file.
            device: a key of :data:`PROVIDERS`.
            threads: CPU threads inside an operator; None lets onnxruntime take all cores.
            spinning: let idle threads spin. Faster flat out; for a paced stream it doubles the
                CPU time.
            memory_arena: keep freed CPU memory for the next frame; off saves about a fifth.

        Raises:
            DeviceUnavailableError: the device is not there, or the session did not get it.
            BundleError: onnxruntime cannot load the file, or its inputs and outputs are not the
                contract's.
        """
        provider = check_device(device)
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors; what matters comes back as an exception
        options.intra_op_num_threads = threads or 0
        options.enable_cpu_mem_arena = memory_arena
        options.add_session_config_entry(ALLOW_SPINNING, "1" if spinning else "0")
        if device != "cpu":
            options.add_session_config_entry(NO_CPU_FALLBACK, "1")
        self._session: ort.InferenceSession | None = _open(bundle, options, provider)
        self._device = device
        self._shape = (bundle.contract.height, bundle.contract.width, 3)
        _check_ports(bundle, self._session)

    @property
    def device(self) -> str:
        """``cpu`` or ``cuda``."""
        return self._device

    def infer(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Translate (N, H, W, 3) uint8 BGR into the same shape and type.

        Raises:
            EngineError: the engine is closed, onnxruntime failed, or its answer has another shape.
        """
        if self._session is None:
            raise EngineError("the engine is closed")
        try:
            (images,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: frames})
        except _ORT_ERRORS as error:
            raise EngineError(
                f"the model failed on {self._device}: {_first_line(error)}"
            ) from error
        images = np.asarray(images)
        if images.shape != (len(frames), *self._shape) or images.dtype != np.uint8:
            raise EngineError(
                f"the model answered with {images.shape} {images.dtype}, "
                f"not {(len(frames), *self._shape)} uint8"
            )
        return images

    def close(self) -> None:
        """Free the session and its memory."""
        self._session = None


def available_devices() -> list[str]:
    """Return the devices that this onnxruntime offers, by the names that users type."""
    offered = ort.get_available_providers()
    return [device for device, provider in PROVIDERS.items() if provider in offered]


def check_device(device: str) -> str:
    """Return onnxruntime's name for a device.

    Raises:
        DeviceUnavailableError: it is not there; the message lists what is.
    """
    devices = available_devices()
    if device not in devices:
        raise DeviceUnavailableError(
            f"device {device!r} is not available; onnxruntime {ort.__version__} offers "
            f"{', '.join(devices)}" + (_CUDA_HINT if device == "cuda" else "")
        )
    return PROVIDERS[device]


_CUDA_HINT = ' (for CUDA, type: pip uninstall onnxruntime; pip install "pix2pix-edge[gpu]")'


def _open(bundle: ModelBundle, options: Any, provider: str) -> ort.InferenceSession:
    if provider == PROVIDERS["cuda"]:
        _preload_cuda()
    try:
        session = ort.InferenceSession(str(bundle.path), options, providers=[provider])
    except _ORT_ERRORS as error:
        raise BundleError(
            f"onnxruntime {ort.__version__} cannot load {bundle.path} for {provider}: "
            f"{_first_line(error)}"
        ) from error
    got = session.get_providers()[0]
    if got != provider:
        raise DeviceUnavailableError(
            f"asked onnxruntime for {provider} but got {got}; "
            "its libraries (CUDA, cuDNN) may be missing: see p2p-run --doctor"
        )
    return session


def _preload_cuda() -> None:
    """Load the CUDA and cuDNN that pip installed; onnxruntime prints what it could not find."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        ort.preload_dlls()
    for line in printed.getvalue().splitlines():
        _log.debug("onnxruntime: %s", line)


def _check_ports(bundle: ModelBundle, session: ort.InferenceSession) -> None:
    """Compare the session's inputs and outputs with the contract, before the first frame."""
    contract = bundle.contract
    wanted = f"uint8 (batch, {contract.height}, {contract.width}, 3)"
    for what, name, ports in (
        ("input", INPUT_NAME, session.get_inputs()),
        ("output", OUTPUT_NAME, session.get_outputs()),
    ):
        found = ", ".join(f"{port.name} {port.type} {port.shape}" for port in ports)
        if [port.name for port in ports] != [name] or not _is_picture(ports[0], contract):
            raise BundleError(
                f"{bundle.path} breaks its contract: its {what} should be {name} {wanted}, "
                f"but is {found or 'missing'}"
            )


def _is_picture(port: Any, contract: Any) -> bool:
    """Tell whether a port is (batch, H, W, 3) uint8, with a batch that may be 1."""
    if port.type != "tensor(uint8)" or len(port.shape) != 4:
        return False
    batch, *sides = port.shape
    return (batch == 1 or not isinstance(batch, int)) and sides == [
        contract.height,
        contract.width,
        3,
    ]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
