"""The diagnosis of ``p2p-run --doctor``: what is installed, what is wrong, what is missing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from p2p_runtime import __version__
from p2p_runtime.console import missing_library
from p2p_runtime.errors import P2PError

__all__ = ["examine", "has_codec", "installed_version"]

PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "av")
ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu")
ENCODER = "libx264"
DECODERS = ("h264", "hevc", "vp9", "av1", "mjpeg", "ffv1")
JETSON_MODEL = Path("/proc/device-tree/model")
JETSON_RELEASE = Path("/etc/nv_tegra_release")
JETPACKS = {"R36": "JetPack 6", "R38": "JetPack 7", "R39": "JetPack 7"}


@dataclass(frozen=True, slots=True)
class Finding:
    """A result of the diagnosis; ``no`` marks what may be missing, ``BAD`` what must change."""

    mark: Literal["ok", "no", "BAD"]
    text: str

    @property
    def healthy(self) -> bool:
        """Whether ``p2p-run`` can work."""
        return self.mark != "BAD"

    def __str__(self) -> str:
        """Return the line to print."""
        return f"{self.mark:4}{self.text}"


_ok, _missing, _bad = (partial(Finding, mark) for mark in ("ok", "no", "BAD"))


def examine() -> list[Finding]:
    """Return results on versions, the machine, devices and codecs.

    One frame is decoded, and one is translated. A library that cannot be loaded is a result.
    """
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    versions = [f"{name} {version}" for name in PACKAGES if (version := installed_version(name))]
    findings = [_ok(f"pix2pix-edge {__version__}, {python}"), _ok(", ".join(versions))]
    for section in (_machine, _onnxruntime, _opencv, _codecs, _clip):
        findings += _loaded(section)
    return list(dict.fromkeys(findings))  # what one library lacks is told once


def _loaded(section: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield a section's findings, until a library cannot be loaded."""
    try:
        yield from section()
    except ImportError as error:
        yield _bad(missing_library(error) or f"{error.name or 'a package'} is unusable: {error}")


def _machine() -> Iterator[Finding]:
    """Report the GPU, and the Jetson if this is one."""
    from p2p_runtime.engines.gpu import first_gpu

    if JETSON_MODEL.is_file():
        model = JETSON_MODEL.read_bytes().rstrip(b"\0").decode(errors="replace")
        release = JETSON_RELEASE.read_text().splitlines()[:1] if JETSON_RELEASE.is_file() else []
        jetpack = [name for number, name in JETPACKS.items() if f"# {number} " in "".join(release)]
        yield _ok(", ".join([model, *release, *jetpack]))
        yield from _power_mode()
    try:
        gpu = first_gpu()
        yield _ok(f"GPU: {gpu.sm}, driver for CUDA {gpu.driver}")
    except P2PError as error:
        yield _missing(f"GPU: {error}")


def _power_mode() -> Iterator[Finding]:
    """Report how much of a Jetson may run."""
    if (program := shutil.which("nvpmodel")) is None:
        return
    try:
        said = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError) as error:
        yield _missing(f"power mode: {error}")
        return
    mode = re.search(r"Power Mode: *(\S+)", said)
    yield _ok(
        f"power mode: {mode[1] if mode else 'unknown'}; docs/jetson.md tells how to change it"
    )


def _onnxruntime() -> Iterator[Finding]:
    installed = [name for name in ONNXRUNTIMES if installed_version(name)]
    if not installed:
        yield _bad('onnxruntime is not installed; type: pip install "pix2pix-edge[cpu]"')
    elif len(installed) > 1:
        yield _bad(
            f"{' and '.join(installed)} are both installed and overwrite each other; type: "
            f"pip uninstall -y {' '.join(installed)}, then "
            'pip install "pix2pix-edge[gpu]" (or [cpu])'
        )
    else:
        try:
            import onnxruntime
        except ImportError as error:
            yield _bad(f"{installed[0]} cannot be imported: {error}")
            return
        yield _ok(f"{installed[0]} {onnxruntime.__version__}")
        yield from _devices(installed[0])


def _devices(wheel: str) -> Iterator[Finding]:
    """Report each device of ONNX Runtime; run the bundled model on the CPU."""
    from p2p_runtime.engines.ort import PROVIDERS, available_devices

    offered = available_devices()
    for device, provider in PROVIDERS.items():
        if device == "cpu":
            yield _trial()
        elif device in offered:
            yield _gpu_device(device)
        elif device == "cuda" and wheel == "onnxruntime-gpu":
            yield _bad(f"device {device}: this {wheel} was built without {provider}")
        else:
            help_ = (
                f'with an NVIDIA GPU, type: pip uninstall {wheel}; pip install "pix2pix-edge[gpu]"'
            )
            if JETSON_RELEASE.is_file():
                help_ = "a Jetson needs a wheel that is built for it: see docs/jetson.md"
            yield _missing(f"device {device}: {wheel} has no {provider}; {help_}")


def _gpu_device(device: str) -> Finding:
    """Report what a GPU device needs besides its provider."""
    from p2p_runtime.engines.gpu import first_gpu
    from p2p_runtime.engines.ort_gpu import tensorrt_version

    try:
        first_gpu()
        version = f" (TensorRT {tensorrt_version()})" if device == "tensorrt" else ""
    except P2PError as error:
        return _missing(f"device {device}: {error}")
    return _ok(f"device {device}: offered{version}; the first run shows whether its libraries load")


def _trial() -> Finding:
    """Load the bundled model and replay its golden frame."""
    from p2p_runtime.translate.discover import DEMO_MODELS, find_bundle
    from p2p_runtime.translate.translator import Translator

    try:
        demo = find_bundle(str(DEMO_MODELS), "cpu")
        Translator.load(demo, device="cpu").close()
    except P2PError as error:
        return _bad(f"device cpu: the demo model does not run: {error}")
    return _ok(f"device cpu: {demo.name} computes here what it did when it was exported")


def _opencv() -> Iterator[Finding]:
    import cv2

    from p2p_runtime.labels.color_lut import check_opencv

    try:
        check_opencv()
    except P2PError as error:
        yield _bad(str(error))
    registry = cv2.videoio_registry
    names = [registry.getBackendName(backend) for backend in registry.getCameraBackends()]
    yield _ok(f"OpenCV camera back-ends: {', '.join(names) or 'none'}")
    windows = re.search(r"GUI: +(\w.*)", cv2.getBuildInformation())
    if windows is None or windows[1] == "NONE":
        yield _missing("OpenCV windows: none, so --show does not work; pip install opencv-python")
    else:
        yield _ok(f"OpenCV windows: {windows[1]}")


def _codecs() -> Iterator[Finding]:
    if has_codec(ENCODER, "w"):
        yield _ok(f"video encoder: {ENCODER}")
    else:
        yield _bad(f"av has no {ENCODER} encoder; type: pip install --force-reinstall av")
    there = [name for name in DECODERS if has_codec(name, "r")]
    yield _ok(f"video decoders: {', '.join(there)}")
    if lacking := [name for name in DECODERS if name not in there]:
        yield _missing(f"video decoders: {', '.join(lacking)}")


def _clip() -> Iterator[Finding]:
    """Decode the first frame of the bundled clip."""
    import av

    from p2p_runtime.translate.discover import DEMO_MODELS
    from p2p_runtime.video.sources import open_source

    try:
        with contextlib.closing(open_source(str(DEMO_MODELS / "demo.mp4"))) as source:
            height, width = next(iter(source)).picture.shape[:2]
    except (P2PError, AttributeError, TypeError) as error:  # the last two: PyAV has changed
        yield _bad(f"av {av.__version__} does not decode the demo video: {error}")
    else:
        yield _ok(f"av {av.__version__} decodes the demo video, {width}x{height}")


def has_codec(name: str, mode: Literal["r", "w"]) -> bool:
    """Return whether FFmpeg can read (``r``) or write (``w``) a codec."""
    import av

    try:
        av.Codec(name, mode)
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed distribution, else None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
