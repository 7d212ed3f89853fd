"""Where frames come from: a video file or a folder of pictures.

What the user typed is sorted into a kind *before* any decoder sees it. FFmpeg takes names like
``concat:a|b`` or a playlist as orders to open other files; here a name is a file or nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SourceError
from .pictures import PictureFolderSource
from .safety import redact
from .videofile import VideoFileSource

if TYPE_CHECKING:
    from .frames import FrameSource
    from .palette import Palette

__all__ = ["open_source"]

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "srt", "tcp")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|:|,)")
_REFUSED = ("cache", "concat", "concatf", "crypto", "data", "fd", "file", "pipe", "subfile")
_PLAYLISTS = (".m3u8", ".m3u", ".ffconcat", ".sdp")


def open_source(spec: str, *, ids_palette: Palette | None = None) -> FrameSource:
    """Open what the user named.

    Args:
        spec: a video file, or a folder of pictures.
        ids_palette: the pictures hold class ids, to be painted with these colours; None when
            they hold colours.

    Raises:
        SourceError: it is of a kind that cannot be read, does not exist, or is damaged.
    """
    _check_kind(spec)
    try:
        path = Path(spec)
        if path.is_dir():
            return PictureFolderSource(path, ids_palette=ids_palette)
        if path.is_file():
            return VideoFileSource(path, ids_palette=ids_palette)
        exists = path.exists()
    except (OSError, ValueError) as error:  # too long, a NUL byte, no permission
        raise SourceError(f"cannot read {redact(spec)!r}: {error}") from error
    if exists:
        raise SourceError(f"{spec} is neither a regular file nor a folder")
    raise SourceError(f"{spec!r} does not exist")


def _check_kind(spec: str) -> None:
    """Refuse everything that is not the name of a file or a folder.

    Raises:
        SourceError: it is a camera, a URL, an order to FFmpeg, or a playlist.
    """
    if not spec:
        raise SourceError("no video was named")
    if spec.isdecimal():
        raise SourceError(
            f"{spec!r} means a camera, and live sources are not supported yet; "
            f"for a file of that name, write ./{spec}"
        )
    match = _SCHEME.match(spec)
    scheme = match[1].lower() if match else ""
    if match and match[2] == "://" and scheme in LIVE_SCHEMES:
        raise SourceError(f"{redact(spec)}: live sources are not supported yet; name a video file")
    if match and (match[2] == "://" or scheme in _REFUSED):
        raise SourceError(
            f"{redact(spec)!r} names a protocol ({scheme}), not a file; "
            "for a file of that name, write ./ before it"
        )
    if spec.lower().endswith(_PLAYLISTS):
        raise SourceError(f"{spec!r} is a playlist, which names other files; name a video file")
