"""The bridge: turn a trained generator into model bundles, and prove that they compute the same."""

import importlib

import p2p_runtime  # noqa: F401  # switches onnxruntime's telemetry off before it is loaded here

TYPE_CHECKING = False
"""Means the same to type checkers as typing's, whose import would take as long as the rest."""

if TYPE_CHECKING:
    from .exporting import export
    from .importers.options import ImportOptions
    from .options import ExportOptions
    from .parity import ParityReport
    from .targets.onnx import WrittenBundle

__all__ = ["ExportOptions", "ImportOptions", "ParityReport", "WrittenBundle", "export"]

_MODULES = {
    "ExportOptions": "options",
    "ImportOptions": "importers.options",
    "ParityReport": "parity",
    "WrittenBundle": "targets.onnx",
    "export": "exporting",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that ``import p2p_export`` is instant."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    return value
