"""Where frames come from: files, folders, cameras, network streams, and a pipe.

FFmpeg opens other files for names like ``concat:a|b`` and for playlists. So the kind of a source is
decided before any decoder sees its name: a number (a camera), ``-`` (frames on stdin), a URL of an
allowed scheme, or a file, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from p2p_runtime.errors import ConfigError, SourceError, StoppedError
from p2p_runtime.labels.reader import LabelReader
from p2p_runtime.pictures import FULL_16_BIT, InputSide, Levels
from p2p_runtime.redaction import redact, split_url
from p2p_runtime.video.frames import DEFAULT_FPS, FrameSource
from p2p_runtime.video.live import Capture, LivePolicy, LiveSource

from .tree import SUFFIXES, VIDEO_SUFFIXES, find_videos, root_of

__all__ = ["SourceKind", "SourceSpec", "open_source", "parse_source", "root_of"]

LIVE_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "srt", "tcp")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|:|,)")
_REFUSED = ("cache", "concat", "concatf", "crypto", "data", "fd", "file", "pipe", "subfile")
_PLAYLISTS = (".m3u8", ".m3u", ".ffconcat", ".sdp", ".mpd")
_PRINTABLE = re.compile(r"[!-~]+")


class SourceKind(Enum):
    """Where frames can come from."""

    FILE = "a video file"
    PICTURE = "a picture"
    PICTURES = "several pictures"
    FOLDER = "a folder of pictures"
    GLOB = "pictures that match a pattern"
    TREE = "a tree of videos"
    PIPE = "raw frames on stdin"
    CAMERA = "a camera"
    URL = "a network stream"
    SIMULATOR = "a simulator"

    @property
    def live(self) -> bool:
        """Whether frames come into being during the run, so that each is translated at once."""
        return self in (SourceKind.PIPE, SourceKind.CAMERA, SourceKind.URL, SourceKind.SIMULATOR)

    @property
    def pictures(self) -> bool:
        """Whether frames are files of their own."""
        files = (SourceKind.PICTURE, SourceKind.PICTURES, SourceKind.FOLDER, SourceKind.GLOB)
        return self in files


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSpec:
    """A source that may be opened: its kind, and its text as typed, passwords included.

    Several pictures, and the videos of a tree, have their ``paths``, too.
    """

    kind: SourceKind
    text: str
    paths: tuple[Path, ...] = ()

    @property
    def path(self) -> Path | None:
        """The file or the folder; None for other kinds."""
        named = (SourceKind.FILE, SourceKind.PICTURE, SourceKind.FOLDER)
        return Path(self.text) if self.kind in named else None

    @property
    def name(self) -> str:
        """The source's name for logs and reports, without passwords."""
        if self.kind is SourceKind.CAMERA:
            return f"camera {int(self.text)}"
        return "stdin" if self.kind is SourceKind.PIPE else redact(self.text)

    @property
    def stem(self) -> str:
        """Start of the name of files made from it."""
        if self.path is not None:
            path = self.path.resolve()
            return path.name if self.kind is SourceKind.FOLDER else path.stem
        if self.kind is SourceKind.TREE:
            return root_of(self.text).resolve().name
        if self.kind is SourceKind.GLOB:
            return "pictures"
        if self.kind in (SourceKind.URL, SourceKind.SIMULATOR):
            return f"{urlsplit(self.text).scheme}-stream"
        return self.name.replace(" ", "-")


def parse_source(text: str, *more: str) -> SourceSpec:
    """Decide the kind of what was typed; ``more`` than one must be pictures.

    Other protocols, playlists and files that do not exist raise a SourceError.
    """
    if more:
        specs = [parse_source(one) for one in (text, *more)]
        if odd := [spec.name for spec in specs if spec.kind is not SourceKind.PICTURE]:
            quote = "; quote a pattern of videos, such as 'in/**/*.mp4'"
            raise SourceError(
                f"several inputs must be pictures ({', '.join(SUFFIXES)}), not {odd[0]}"
                + (quote if odd[0].lower().endswith(VIDEO_SUFFIXES) else "")
            )
        paths, name = tuple(Path(spec.text) for spec in specs), f"{text} and {len(more)} more"
        return SourceSpec(kind=SourceKind.PICTURES, text=name, paths=paths)
    if not text:
        raise SourceError("no video was named")
    if text == "-":
        return SourceSpec(kind=SourceKind.PIPE, text=text)
    if text.isascii() and text.isdecimal():
        return SourceSpec(kind=SourceKind.CAMERA, text=text)
    match = _SCHEME.match(text)
    if match and match[2] == "://" and match[1].lower() in LIVE_SCHEMES:
        _check_url(text)
        return SourceSpec(kind=SourceKind.URL, text=text)
    if match and text.startswith("carla://"):
        return SourceSpec(kind=SourceKind.SIMULATOR, text=text)
    if match and (match[2] == "://" or match[1].lower() in _REFUSED):
        raise SourceError(
            f"{redact(text)!r} names a protocol ({match[1].lower()}) that is not read; there are "
            f"{', '.join(LIVE_SCHEMES)}, carla; for a file of that name, write ./ before it"
        )
    if text.lower().endswith(_PLAYLISTS):
        raise SourceError(f"{text!r} is a playlist, which names other files; name a video file")
    kind = _kind_of_path(text)
    if kind in (SourceKind.FOLDER, SourceKind.GLOB) and (videos := find_videos(text)):
        return SourceSpec(kind=SourceKind.TREE, text=text, paths=videos)
    return SourceSpec(kind=kind, text=text)


def open_source(
    spec: str | SourceSpec,
    *,
    labels: LabelReader | None = None,
    levels: Levels = FULL_16_BIT,
    yuv: bool = False,
    policy: LivePolicy | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    stopping: Callable[[], bool] | None = None,
    skip: Collection[str] = (),
    input_side: InputSide | None = None,
) -> FrameSource:
    """Open what the user named.

    Args:
        spec: a video file, a folder of pictures, a glob of them, a camera's number, a URL (see
            :class:`.carla.CarlaSource` for ``carla://``), or ``-`` for raw frames on stdin.
        labels: tells class ids from colours, and paints them; None for a model without a palette.
        levels: of pictures with 16 bits, those that become 0 and 255.
        yuv: leave frames that a video stores in 4:2:0 as they are; for label repair.
        policy: what to drop, and how long to wait; None for the defaults of the kind.
        size, fps: width and height in pixels, and frames a second (25 if None), of raw frames;
            for ``-``, which needs a size; pictures take a frame rate, too.
        stopping: asked during the wait for a live source; once it returns True, the wait ends.
        skip: stems of pictures that are left out.
        input_side: of pictures that are pairs, the half to read.

    Raises:
        SourceError: it is of a kind that cannot be read, does not exist, or is damaged.
        SourceLostError: a live source does not answer, or no frame comes.
        StoppedError: ``stopping`` returned True before the first frame, or all is skipped.
        ConfigError: ``policy``, ``size``, ``fps`` or ``input_side`` does not suit the kind.
    """
    spec = parse_source(spec) if isinstance(spec, str) else spec
    policy = policy or LivePolicy()
    _check_settings(spec.kind, policy, size, fps)
    if spec.kind is SourceKind.TREE:
        raise ConfigError(f"{spec.name} has {len(spec.paths)} videos, which p2p-run translates")
    if input_side is not None and not spec.kind.pictures:
        raise ConfigError(f"--input-side is for pictures, not for {spec.kind.value}")
    if spec.kind is SourceKind.FILE:
        from .videofile import VideoFileSource

        return VideoFileSource(Path(spec.text), labels=labels, yuv=yuv)
    if spec.kind.pictures:
        paths = [path for path in _pictures(spec) if path.stem not in skip]
        if not paths:
            raise StoppedError("every picture is translated already")
        from .images import PictureSource

        return PictureSource(
            paths, labels=labels, levels=levels, fps=fps or DEFAULT_FPS, input_side=input_side
        )
    if spec.kind is SourceKind.SIMULATOR:
        from .carla import CarlaSource

        return CarlaSource(spec.text, labels=labels, policy=policy, stopping=stopping)

    from .captures import CameraCapture, NetworkCapture, PipeCapture

    def connect() -> Capture:
        if spec.kind is SourceKind.URL:
            return NetworkCapture(spec.text, policy.stall_timeout_s, labels, yuv=yuv)
        if spec.kind is SourceKind.CAMERA:
            return CameraCapture(int(spec.text))
        assert size is not None, "_check_settings makes sure of it"
        return PipeCapture(*size, fps or DEFAULT_FPS, labels)

    return LiveSource(spec.name, connect, policy=policy, stopping=stopping)


def _pictures(spec: SourceSpec) -> list[Path]:
    from .images import in_order, list_folder, list_matches

    if spec.kind is SourceKind.PICTURE:
        return [Path(spec.text)]
    if spec.kind is SourceKind.FOLDER:
        return list_folder(Path(spec.text))
    if spec.kind is SourceKind.PICTURES:
        return in_order(spec.paths)
    return list_matches(spec.text)


def _check_settings(
    kind: SourceKind, policy: LivePolicy, size: tuple[int, int] | None, fps: float | None
) -> None:
    if policy.drop == "latest" and (not kind.live or kind is SourceKind.SIMULATOR):
        raise ConfigError(
            f"--drop latest needs a live source; {kind.value} waits, so nothing is dropped"
        )
    if kind is SourceKind.PIPE and size is None:
        raise ConfigError("raw frames on stdin need --size WxH, and --fps unless it is 25")
    if kind is not SourceKind.PIPE and (size or (fps and not kind.pictures)):
        flag = "--size" if size else "--fps"
        raise ConfigError(f"{flag} is for raw frames on stdin (-), not for {kind.value}")


def _check_url(text: str) -> None:
    parts = split_url(text, SourceError)
    if not (parts.hostname or parts.scheme == "udp") or not _PRINTABLE.fullmatch(text):
        raise SourceError(f"{redact(text)!r} is not a URL; write scheme://host:port/path")
    if parts.path.lower().endswith(_PLAYLISTS):
        raise SourceError(
            f"{redact(text)} is a playlist, which names other places; name the stream itself"
        )


def _kind_of_path(text: str) -> SourceKind:
    try:
        path = Path(text)
        if path.is_dir():
            return SourceKind.FOLDER
        if path.is_file():
            return SourceKind.PICTURE if path.suffix.lower() in SUFFIXES else SourceKind.FILE
        exists = path.exists()
    except (OSError, ValueError) as error:  # too long, a NUL byte, no permission
        raise SourceError(f"cannot read {text!r}: {error}") from error
    if exists:
        raise SourceError(f"{text} is neither a regular file nor a folder")
    if set(text) & set("*?["):
        return SourceKind.GLOB
    raise SourceError(f"{text!r} does not exist")
