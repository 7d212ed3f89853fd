"""Where frames come from: files, folders, cameras, network streams, and a pipe."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_runtime.errors import ConfigError
from p2p_runtime.video.live import Capture, LivePolicy, LiveSource

from .images import PictureSource, list_folder, list_matches
from .spec import SourceKind, SourceSpec, parse_source
from .videofile import VideoFileSource

if TYPE_CHECKING:
    from p2p_runtime.labels.palette import Palette
    from p2p_runtime.video.frames import FrameSource

__all__ = ["RawFormat", "SourceKind", "SourceSpec", "open_source", "parse_source"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RawFormat:
    """Format of raw frames on a pipe: ``width`` x ``height`` px, ``fps`` frames a second."""

    width: int
    height: int
    fps: float


def open_source(
    spec: str | SourceSpec,
    *,
    ids_palette: Palette | None = None,
    yuv: bool = False,
    policy: LivePolicy | None = None,
    raw: RawFormat | None = None,
    stopping: Callable[[], bool] | None = None,
) -> FrameSource:
    """Open what the user named.

    Args:
        spec: a video file, a folder of pictures, a glob of them, a camera's number, a URL, or
            ``-`` for raw frames on stdin.
        ids_palette: the frames hold class ids, to be painted with these colours; None when they
            hold colours.
        yuv: leave frames that a video stores in 4:2:0 as they are; for label repair.
        policy: what to drop, and how long to wait; None for the defaults of the kind.
        raw: needed for ``-``, and for nothing else.
        stopping: asked during the wait for a live source; once it returns True, the wait ends.

    Raises:
        SourceError: it is of a kind that cannot be read, does not exist, or is damaged.
        SourceLostError: a live source does not answer, or no frame comes.
        StoppedError: ``stopping`` returned True before the first frame.
        ConfigError: ``policy`` or ``raw`` does not suit the kind.
    """
    spec = parse_source(spec) if isinstance(spec, str) else spec
    policy = policy or LivePolicy()
    _check_settings(spec.kind, policy, raw)
    if spec.kind is SourceKind.FILE:
        return VideoFileSource(Path(spec.text), ids_palette=ids_palette, yuv=yuv)
    if spec.kind is SourceKind.FOLDER:
        return PictureSource(list_folder(Path(spec.text)), ids_palette=ids_palette)
    if spec.kind is SourceKind.GLOB:
        return PictureSource(list_matches(spec.text), ids_palette=ids_palette)
    connect = _connector(spec, policy, raw, ids_palette, yuv=yuv)
    return LiveSource(spec.name, connect, policy=policy, stopping=stopping)


def _connector(
    spec: SourceSpec,
    policy: LivePolicy,
    raw: RawFormat | None,
    ids_palette: Palette | None,
    *,
    yuv: bool,
) -> Callable[[], Capture]:
    """Return what connects to a live source; libraries are loaded only for the kind in use."""
    if spec.kind is SourceKind.URL:
        from .network import NetworkCapture

        return functools.partial(
            NetworkCapture, spec.text, policy.stall_timeout_s, ids_palette, yuv=yuv
        )
    if spec.kind is SourceKind.CAMERA:
        from .camera import CameraCapture

        return functools.partial(CameraCapture, int(spec.text))
    from .pipe import PipeCapture

    assert raw is not None, "_check_settings makes sure of it"
    return functools.partial(PipeCapture, raw.width, raw.height, raw.fps, ids_palette)


def _check_settings(kind: SourceKind, policy: LivePolicy, raw: RawFormat | None) -> None:
    if policy.drop == "latest" and not kind.live:
        raise ConfigError(
            f"--drop latest needs a live source; {kind.value} waits, so nothing is dropped"
        )
    if kind is SourceKind.PIPE and raw is None:
        raise ConfigError("raw frames on stdin need --size WxH, and --fps unless it is 25")
    if kind is not SourceKind.PIPE and raw is not None:
        raise ConfigError(f"--size and --fps are for raw frames on stdin (-), not for {kind.value}")
