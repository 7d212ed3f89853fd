"""Outputs for frames. Everything that is certain to fail is checked before the first frame.

The way an output is written decides its kind: ``null:`` discards, ``-`` is stdout, a URL is a
server to push to, a name that ends like a video is a video file, a name without a suffix is a
folder of PNGs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from p2p_runtime.errors import OutputError, SinkError
from p2p_runtime.redaction import redact, split_url
from p2p_runtime.video.frames import FrameSink, VideoInfo
from p2p_runtime.video.live import RECONNECT_S

from .h264 import VIDEO_FORMATS, VideoFileSink
from .plain import NullSink, PipeSink, TeeSink

__all__ = ["NullSink", "OutputSpec", "open_sink", "parse_output"]

_log = logging.getLogger(__name__)

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """An output that may be opened: its kind, and its text as typed, passwords included."""

    kind: Literal["null", "stdout", "url", "file", "folder", "picture", "pictures"]
    text: str

    @property
    def name(self) -> str:
        """The output's name for logs and reports, without passwords."""
        return redact(self.text)

    @property
    def one_size(self) -> bool:
        """Whether all frames must have the size of the first."""
        return self.kind in ("stdout", "url", "file")

    def places(self, pictures: Sequence[Path]) -> dict[str, Path]:
        """Return where the translation of each picture goes, by its stem."""
        if self.kind == "folder":
            return {path.stem: Path(self.text, f"{path.stem}.png") for path in pictures}
        if self.kind == "pictures":
            return {path.stem: Path(f"{path.stem}-translated.png") for path in pictures}
        return {path.stem: Path(self.text) for path in pictures if self.kind == "picture"}


def parse_output(text: str) -> OutputSpec:
    """Decide the kind of what was typed; raise a SinkError for other protocols and formats."""
    if text in ("null:", "-"):
        return OutputSpec("stdout" if text == "-" else "null", text)
    if match := _URL.match(text):
        from .push import PUSH_FORMATS

        if (scheme := match[1].lower()) not in PUSH_FORMATS:
            raise SinkError(
                f"cannot push to {redact(text)}: {scheme} is not known; "
                f"use {', '.join(PUSH_FORMATS)}"
            )
        split_url(text, SinkError)
        return OutputSpec("url", text)
    path = Path(text)
    if path.suffix.lower() in VIDEO_FORMATS:
        return OutputSpec("file", text)
    if path.suffix.lower() in PICTURES and not path.is_dir():
        return OutputSpec("picture", text)
    if path.suffix and not path.is_dir():
        raise SinkError(
            f"cannot write {path}: {path.suffix} is not known; use "
            f"{', '.join((*VIDEO_FORMATS, *PICTURES))}, or a name without a suffix for a folder of "
            "PNGs"
        )
    return OutputSpec("folder", text)


def open_sink(
    outputs: str | Path | Sequence[OutputSpec],
    video: VideoInfo,
    *,
    source: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    pictures: Sequence[Path] | None = None,
    waits: bool = False,
    reconnect_for_s: float = RECONNECT_S,
    stopping: Callable[[], bool] = lambda: False,
) -> FrameSink:
    """Open an output, or one sink that writes to several.

    Args:
        outputs, video: where to write; size and rate of the frames (folders take any), and sound.
        source: the input; never written over.
        overwrite, resume: replace existing outputs, or keep the pictures that a folder holds.
        pictures: the pictures that will come; None for a video.
        waits, reconnect_for_s: whether frames of a single output wait for a server that has gone,
            and after how many seconds such a server is given up.
        stopping: asked during every wait for a reader or server; once it returns True, it ends.

    Raises:
        OutputError: a name, place or permission is wrong, or given twice; nothing was changed.
    """
    if isinstance(outputs, (str, Path)):
        outputs = [parse_output(str(outputs))]
    for spec in outputs:
        if outputs.count(spec) > 1:
            raise SinkError(f"output {spec.name} is named twice")
    sinks: dict[str, FrameSink] = {}
    try:
        for spec in outputs:
            if video.sound is not None and spec.kind not in ("file", "null"):
                _log.info("%s gets no sound: only video files do", spec.name)
            if spec.kind == "stdout":
                sinks[spec.text] = PipeSink(video, stopping=stopping)
            elif spec.kind == "url":
                from .push import StreamSink

                sinks[spec.text] = StreamSink(
                    spec.text,
                    video,
                    waits=waits and len(outputs) == 1,
                    reconnect_for_s=reconnect_for_s,
                    stopping=stopping,
                )
            else:
                sinks[spec.text] = _open(spec, video, source, overwrite, resume, pictures)
    except OutputError:
        for sink in sinks.values():
            sink.abort()
        raise
    if len(sinks) == 1:
        return next(iter(sinks.values()))
    return TeeSink({redact(text): sink for text, sink in sinks.items()})


def _open(
    spec: OutputSpec,
    video: VideoInfo,
    source: Path | None,
    overwrite: bool,
    resume: bool,
    pictures: Sequence[Path] | None,
) -> FrameSink:
    if spec.kind == "null":
        return NullSink()
    path = Path(spec.text)
    if spec.kind == "folder":
        from .images import ImageFolderSink

        return ImageFolderSink(path, source=source, overwrite=overwrite, resume=resume)
    if resume:
        raise SinkError(f"{path}: --resume goes on in a folder of pictures, not in one file")
    if spec.kind in ("picture", "pictures"):
        if spec.kind == "picture" and len(pictures or ()) != 1:
            raise SinkError(f"{path} takes one picture, and the input is not one; name a folder")
        from .images import PictureSink

        return PictureSink(spec.places(pictures or ()), source=source, overwrite=overwrite)
    return VideoFileSink(path, video, source=source, overwrite=overwrite)
