"""Say what is installed here and what is wrong with it."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass

import av

from . import __version__
from .sinks.h264 import CODEC

__all__ = ["Finding", "examine"]

ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        healthy: whether it is as it should be.
        text: what was found and, if it is not healthy, what to type.
    """

    healthy: bool
    text: str

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{'ok  ' if self.healthy else 'BAD '}{self.text}"


def examine() -> list[Finding]:
    """Look at versions, inference devices and codecs."""
    versions = ", ".join(
        f"{name} {_version(name) or 'missing'}" for name in ("numpy", "opencv-python", "av")
    )
    here = f"pix2pix-edge {__version__}, Python {platform.python_version()} on "
    return [
        Finding(healthy=True, text=f"{here}{platform.system()} {platform.machine()}"),
        Finding(healthy=True, text=versions),
        _onnxruntime(),
        _codec(),
    ]


def _onnxruntime() -> Finding:
    installed = [name for name in ONNXRUNTIMES if _version(name)]
    if not installed:
        return Finding(
            healthy=False,
            text='onnxruntime is not installed; type: pip install "pix2pix-edge[cpu]"',
        )
    if len(installed) > 1:
        return Finding(
            healthy=False,
            text=f"{' and '.join(installed)} are both installed and overwrite each other; type: "
            f"pip uninstall -y {' '.join(installed)}, then "
            'pip install "pix2pix-edge[gpu]" (or [cpu])',
        )
    return _devices(installed[0])


def _devices(name: str) -> Finding:
    try:
        from .engines.session import available_devices
    except ImportError as error:
        return Finding(healthy=False, text=f"{name} cannot be imported: {error}")
    devices = available_devices()
    healthy = "cuda" in devices or name != "onnxruntime-gpu"
    text = f"{name} {_version(name)}, devices: {', '.join(devices)}"
    return Finding(healthy=healthy, text=text if healthy else f"{text}; cuda is missing")


def _codec() -> Finding:
    try:
        av.Codec(CODEC, "w")
    except (ValueError, av.error.FFmpegError):
        return Finding(
            healthy=False, text=f"av has no {CODEC} encoder; type: pip install --force-reinstall av"
        )
    return Finding(healthy=True, text=f"video encoder: {CODEC}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
