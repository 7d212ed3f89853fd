"""The bridge: turn a trained generator into model bundles, and prove that they compute the same."""

from p2p_runtime import load_public  # switches onnxruntime's telemetry off, too

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
    return load_public(__name__, name, _MODULES.get(name))
