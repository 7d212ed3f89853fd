"""The device: translate label frames with an exported pix2pix bundle, without torch.

It defines the pixel contract that training and export conform to. The public names below are
loaded when they are first used, so that ``import p2p_runtime`` and ``p2p-run --help`` are instant::

    from p2p_runtime import Translator
"""

import importlib
import os
import sys

TYPE_CHECKING = False
"""Means the same to type checkers as typing's, whose import would take as long as the rest."""

if TYPE_CHECKING:
    from .console import setup_logging
    from .errors import (
        BundleError,
        ConfigError,
        ContractError,
        DeviceUnavailableError,
        EngineError,
        MissingExtraError,
        P2PError,
        SinkError,
        SourceError,
    )
    from .labels.palette import Palette
    from .model.bundle import ModelBundle
    from .model.contract import PixelContract
    from .translate.translator import Translator

__all__ = [
    "BundleError", "ConfigError", "ContractError", "DeviceUnavailableError", "EngineError",
    "MissingExtraError", "ModelBundle", "P2PError", "Palette", "PixelContract", "SinkError",
    "SourceError", "Translator", "setup_logging",
]  # fmt: skip

__version__ = "0.1.0"

# onnxruntime sends telemetry unless this is set before its import, and every import of ours
# passes here first. `disable_telemetry_events()` after the import does not stop it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Read at the import of OpenCV; the same as pictures.LARGEST_PIXELS.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "80000000")

_MODULES = {
    "ModelBundle": "model.bundle",
    "Palette": "labels.palette",
    "PixelContract": "model.contract",
    "setup_logging": "console",
    "Translator": "translate.translator",
}
"""Module of each public name; errors are not listed."""


def load_public(package: str, name: str, module: str | None) -> object:
    """Load a public name of a package on its first use, for its ``__getattr__`` (PEP 562)."""
    names = vars(sys.modules[package])
    if module is None or name not in names["__all__"]:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    names[name] = getattr(importlib.import_module(f".{module}", package), name)
    return names[name]


def __getattr__(name: str) -> object:
    return load_public(__name__, name, _MODULES.get(name, "errors"))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
