"""Encode and decode label videos in memory, as other tools do."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from p2p_runtime.errors import SinkError
from p2p_runtime.video.sources.decode import PixelReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.labels.yuv import Picture

__all__ = ["CODINGS", "WRONG_COLORSPACE", "Coding", "Recoded", "read_back", "recode"]

FRAMES_PER_S = 15


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """A codec and its settings.

    Attributes:
        name: for tables.
        codec: FFmpeg's name of the encoder.
        options: FFmpeg's options.
        pixels: FFmpeg's pixel format.
        stored: matrix and range of the stored colours, which the file does not name; None for
            BT.601 and limited range, or those of the pixel format.
    """

    name: str
    codec: str
    options: dict[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    stored: tuple[str, str] | None = None


def _h264(crf: int, name: str = "", stored: tuple[str, str] | None = None) -> Coding:
    options = {"crf": str(crf)}
    name = name or f"H.264, crf {crf}"
    return Coding(name=name, codec="libx264", options=options, stored=stored)


def _quantiser(scale: int) -> dict[str, str]:
    return {"qmin": str(scale), "qmax": str(scale)}


CODINGS = (
    Coding(name="FFV1, lossless", codec="ffv1", pixels="bgr0"),
    *(_h264(crf) for crf in (0, 18, 23, 28, 35)),
    *(Coding(name=f"MPEG-4, q {q}", codec="mpeg4", options=_quantiser(q)) for q in (3, 8)),
    *(
        Coding(name=f"VP9, crf {q}", codec="libvpx-vp9", options={"crf": str(q), "cpu-used": "6"})
        for q in (20, 40)
    ),
    *(
        Coding(name=f"MJPEG, q {q}", codec="mjpeg", options=_quantiser(q), pixels="yuvj420p")
        for q in (3, 8)
    ),
)

WRONG_COLORSPACE = (
    _h264(23, "BT.709 taken for BT.601", ("ITU709", "MPEG")),
    _h264(23, "full taken for limited", ("ITU601", "JPEG")),
    _h264(23, "BT.709 and full taken for BT.601 and limited", ("ITU709", "JPEG")),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recoded:
    """A video after a codec.

    Attributes:
        bgr: (N, H, W, 3) uint8, as FFmpeg converts it.
        pictures: the same frames as ``p2p-run`` decodes them: :class:`YuvFrame` for 4:2:0 codecs.
        file: the video file.
    """

    bgr: NDArray[np.uint8]
    pictures: list[Picture]
    file: bytes


def recode(frames: NDArray[np.uint8], coding: Coding) -> Recoded:
    """Encode and decode a video in memory.

    Args:
        frames: (N, H, W, 3) uint8 BGR, H and W even.
        coding: how.

    Raises:
        SinkError: this PyAV has no such encoder.
    """
    file = io.BytesIO()
    container: Any = av.open(file, "w", format="matroska")
    with container:
        try:
            stream = container.add_stream(coding.codec, rate=FRAMES_PER_S, options=coding.options)
        except av.codec.codec.UnknownCodecError as error:
            raise SinkError(f"this PyAV cannot encode {coding.codec}") from error
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = coding.pixels
        if coding.codec == "libvpx-vp9":
            stream.bit_rate = 0  # constant quality
        for frame in frames:
            container.mux(stream.encode(_video_frame(frame, coding)))
        container.mux(stream.encode())
    return read_back(file)


def read_back(file: io.BytesIO) -> Recoded:
    """Decode a video file in memory."""
    file.seek(0)
    to_bgr, to_pictures = (PixelReader("video", None, yuv=yuv) for yuv in (False, True))
    bgr, pictures = [], []
    container: Any = av.open(file)
    with container:
        for frame in container.decode(video=0):
            bgr.append(np.asarray(to_bgr(frame), np.uint8))
            pictures.append(to_pictures(frame))
    return Recoded(bgr=np.stack(bgr), pictures=pictures, file=file.getvalue())


def _video_frame(frame: NDArray[np.uint8], coding: Coding) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(frame, format="bgr24")
    if coding.stored is None:
        return picture
    matrix, levels = coding.stored
    picture = picture.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=levels)
    picture.colorspace, picture.color_range = 2, 0  # unspecified
    return picture
