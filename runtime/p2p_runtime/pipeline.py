"""The run itself: decode, translate and encode overlap, in order, and nothing is dropped."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import LossesError
from .lanes import in_lanes
from .prefetch import Prefetch
from .report import OFF_PALETTE_WARN, Recorder, RunReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .frames import Frame, FrameSink, FrameSource
    from .translator import Begun, Translation, Translator

__all__ = ["check_losses", "run_pipeline"]

_AHEAD = 4
"""Frames that wait between two stages; enough to even out key frames, little memory."""

_EVERY_PX = 8
"""Off-palette pixels are counted on every eighth row and column."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Decoded:
    frame: Frame
    decode_ms: float
    decoded_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Begun:
    decoded: _Decoded
    begun: Begun
    left: NDArray[np.uint8] | None
    off_palette: float | None
    wait_ms: float
    check_ms: float
    until_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Translated:
    begun: _Begun
    translation: Translation
    wait_ms: float
    until_s: float


def run_pipeline(
    source: FrameSource,
    translator: Translator,
    sink: FrameSink,
    *,
    max_frames: int | None = None,
    side_by_side: bool = False,
    on_frame: Callable[[Frame], None] | None = None,
    stopping: Callable[[], bool] | None = None,
    started_s: float | None = None,
    run: dict[str, Any] | None = None,
) -> RunReport:
    """Translate a source into a sink.

    The source is decoded in one thread, fitted in a second, translated there or in as many threads
    as the translator has lanes; the calling thread encodes.
    The sink is closed (and so checked) in every case, the source is left open.

    Args:
        source: where frames come from.
        translator: turns one into another.
        sink: where they go; twice as wide as the source for ``side_by_side``.
        max_frames: stop after so many; None for all.
        side_by_side: write the input, as the generator sees its colours, left of the output.
        on_frame: called in the calling thread with each frame that was written.
        stopping: asked all the time; once true, no more frames are taken and the sink is finished.
        started_s: ``time.perf_counter()`` when the command began, for the time to first frame.
        run: more facts for the report.

    Raises:
        SourceError: the source broke; what came before is in the sink, which is finished.
        EngineError: the model failed.
        SinkError: a frame could not be written, or not be read back.
    """
    recorder = Recorder(started_s)
    stop = stopping or (lambda: False)
    decoded = _timed(itertools.islice(source, max_frames), recorder)
    try:
        with Prefetch(decoded, size=_AHEAD, stopping=stop) as pictures:
            jobs = _jobs(pictures, translator, side_by_side)
            with in_lanes(jobs, translator.lanes, ahead=_AHEAD, stopping=stop) as results:
                for result in results:
                    _write(result, sink, recorder, on_frame)
    except BaseException:
        sink.abort()
        raise
    sink.close()
    return recorder.finish(
        frames_lost=source.frames_lost,
        interrupted=stop(),
        run={**_facts(translator), **(run or {})},
    )


def check_losses(report: RunReport, *, strict: bool) -> None:
    """Warn of what was lost, or fail.

    Raises:
        LossesError: ``strict``, and frames are missing or colours are far from the palette.
    """
    complaints = []
    if report.frames_blank:
        complaints.append(f"{report.frames_blank} images have a single colour")
    if report.frames_lost:
        complaints.append(f"{report.frames_lost} frames could not be read")
    if report.off_palette_share is not None and report.off_palette_share > OFF_PALETTE_WARN:
        complaints.append(
            f"{report.off_palette_share:.0%} of the pixels are far from every palette colour; "
            "is this a label video in the colours that the model was trained on?"
        )
    if complaints and strict:
        raise LossesError("; ".join(complaints))
    for complaint in complaints:
        _log.warning("%s", complaint)


def _timed(frames: Iterator[Frame], recorder: Recorder) -> Iterator[_Decoded]:
    while True:
        start_s = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        recorder.frames_in += 1
        decoded_s = time.perf_counter()
        yield _Decoded(frame, (decoded_s - start_s) * 1e3, decoded_s)


def _jobs(
    pictures: Prefetch[_Decoded], translator: Translator, side_by_side: bool
) -> Iterator[Callable[[], _Translated]]:
    for picture in pictures:
        yield functools.partial(_finish, translator, _begin(translator, picture, side_by_side))


def _begin(translator: Translator, picture: _Decoded, side_by_side: bool) -> _Begun:
    """Do what has to be done in order."""
    start_s = time.perf_counter()
    image, fitter = picture.frame.image, translator.fitter
    begun = translator.begin(image)
    begun_s = time.perf_counter()
    off_palette = fitter.off_palette(image[::_EVERY_PX, ::_EVERY_PX])
    left = fitter.repair(image) if side_by_side else None
    end_s = time.perf_counter()
    return _Begun(
        decoded=picture,
        begun=begun,
        left=left,
        off_palette=off_palette,
        wait_ms=(start_s - picture.decoded_s) * 1e3,
        check_ms=(end_s - begun_s) * 1e3,
        until_s=end_s,
    )


def _finish(translator: Translator, begun: _Begun) -> _Translated:
    """Do what can be done for several frames at the same time."""
    start_s = time.perf_counter()
    return _Translated(
        begun=begun,
        translation=translator.finish(begun.begun),
        wait_ms=begun.wait_ms + (start_s - begun.until_s) * 1e3,
        until_s=time.perf_counter(),
    )


def _write(
    result: _Translated,
    sink: FrameSink,
    recorder: Recorder,
    on_frame: Callable[[Frame], None] | None,
) -> None:
    start_s = time.perf_counter()
    begun, translation = result.begun, result.translation
    image = translation.image
    if begun.left is not None:
        image = np.concatenate([begun.left, image], axis=1)  # (H, 2 W, 3)
    frame = replace(begun.decoded.frame, image=image)
    sink.write(frame)
    end_s = time.perf_counter()
    recorder.wrote(reused=translation.reused, blank=translation.blank)
    recorder.add("decode", begun.decoded.decode_ms)
    recorder.add("wait", result.wait_ms + (start_s - result.until_s) * 1e3)
    recorder.add("check", begun.check_ms)
    recorder.add("fit", translation.fit_ms)
    recorder.add("infer", translation.infer_ms)
    recorder.add("restore", translation.restore_ms)
    recorder.add("encode", (end_s - start_s) * 1e3)
    recorder.add("latency", (end_s - begun.decoded.decoded_s) * 1e3)
    if begun.off_palette is not None:
        recorder.add_off_palette(begun.off_palette)
    if on_frame is not None:
        on_frame(frame)


def _facts(translator: Translator) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "device": translator.engine.device,
        "lanes": translator.lanes,
        "restarts": getattr(translator.engine, "restarts", 0),
    }
    if translator.bundle is not None:
        facts["model"] = str(translator.bundle.path)
        facts["precision"] = translator.bundle.precision
    return facts
