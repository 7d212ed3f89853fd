"""Where frames go. Whatever can be known to fail is checked before the first frame.

An output is sorted into a kind by how it is written: ``null:`` is nowhere, ``-`` is stdout, a URL
is a server to push to, a name that ends like a video is a video file, a name without a suffix is a
folder of PNGs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_runtime.errors import SinkError
from p2p_runtime.model.onnx_check import redact

from .images import ImageFolderSink
from .null import NullSink
from .pipe import PipeSink
from .stream import PUSH_FORMATS, StreamSink
from .tee import TeeSink
from .videofile import VIDEO_FORMATS, VideoFileSink

if TYPE_CHECKING:
    from p2p_runtime.video.frames import FrameSink

__all__ = [
    "NULL",
    "STDOUT",
    "ImageFolderSink",
    "NullSink",
    "VideoFileSink",
    "open_sink",
    "open_sinks",
]

NULL = "null:"
STDOUT = "-"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_sinks(
    outputs: Sequence[str],
    *,
    width: int,
    height: int,
    fps: float,
    source: Path | None = None,
    overwrite: bool = False,
) -> FrameSink:
    """Open one sink that writes to all outputs; the arguments are those of :func:`open_sink`.

    Raises:
        SinkError: an output is wrong or named twice; nothing was changed.
    """
    for output in outputs:
        if outputs.count(output) > 1:
            raise SinkError(f"output {redact(output)} is named twice")
    sinks: list[FrameSink] = []
    try:
        for output in outputs:
            sinks.append(
                open_sink(
                    output, width=width, height=height, fps=fps, source=source, overwrite=overwrite
                )
            )
    except SinkError:
        for sink in sinks:
            sink.abort()
        raise
    return sinks[0] if len(sinks) == 1 else TeeSink(sinks)


def open_sink(
    output: str | Path,
    *,
    width: int,
    height: int,
    fps: float,
    source: Path | None = None,
    overwrite: bool = False,
) -> FrameSink:
    """Open a video file, a folder of PNGs, a connection to a server, stdout, or nowhere.

    Args:
        output: where to write.
        width, height: size of the frames to come, in pixels (folders take any).
        fps: frames a second.
        source: what is being read; never written over.
        overwrite: replace what stands at ``output``.

    Raises:
        SinkError: the name, the place or the permission is wrong; nothing was changed.
    """
    if output == NULL:
        return NullSink()
    if output == STDOUT:
        return PipeSink(width=width, height=height)
    if match := _URL.match(str(output)):
        _check_scheme(match[1], str(output))
        return StreamSink(str(output), width=width, height=height, fps=fps)
    path = Path(output)
    if path.suffix.lower() in VIDEO_FORMATS:
        return VideoFileSink(
            path, width=width, height=height, fps=fps, source=source, overwrite=overwrite
        )
    if path.suffix and not path.is_dir():
        raise SinkError(
            f"cannot write {path}: {path.suffix} is not known; use "
            f"{', '.join(VIDEO_FORMATS)}, or a name without a suffix for a folder of PNGs"
        )
    return ImageFolderSink(path, source=source, overwrite=overwrite)


def _check_scheme(scheme: str, output: str) -> None:
    if scheme.lower() not in PUSH_FORMATS:
        raise SinkError(
            f"cannot push to {redact(output)}: {scheme} is not known; use {', '.join(PUSH_FORMATS)}"
        )
