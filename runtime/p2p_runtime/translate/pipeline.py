"""The run itself: decode, translate and encode overlap, in order.

Nothing is dropped here. A file is decoded ahead and waits for the translator; a live source has a
capturing thread of its own, which decides what becomes of frames that nobody takes yet.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from p2p_runtime.errors import LossesError, SourceLostError
from p2p_runtime.prefetch import Prefetch
from p2p_runtime.video.frames import Arrival
from p2p_runtime.video.live import LiveSource

from .report import OFF_PALETTE_WARN, Recorder, RunReport
from .workers import in_lanes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from p2p_runtime.video.frames import Frame, FrameSink, FrameSource, VideoInfo

    from .translator import Begun, Translation, Translator

__all__ = ["check_losses", "run_pipeline"]

_AHEAD = 4
"""Frames that wait between two stages; enough to even out key frames, little memory."""

_AHEAD_LIVE = 1
"""Of a live source: a frame that waits grows old."""

_TOGETHER, _TOGETHER_PX = 12, 1 << 21
"""So many frames of a file are decoded and fitted in a row, or as many as have so many pixels. Four
of 480x360 px at a time take a tenth more CPU time outside the engine, single ones a quarter."""

_LOOK_EVERY = 4
"""Of so many frames the first is asked how far its colours lie from the palette."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Decoded:
    frame: Frame
    decode_ms: float
    decoded_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Translated:
    decoded: _Decoded
    translation: Translation
    left: NDArray[np.uint8] | None
    off_palette: float | None
    wait_ms: float
    check_ms: float
    until_s: float


def run_pipeline(
    source: FrameSource,
    translator: Translator,
    sink: FrameSink,
    *,
    max_frames: int | None = None,
    side_by_side: bool = False,
    draw: Callable[[NDArray[np.uint8], float], NDArray[np.uint8]] | None = None,
    on_frame: Callable[[Frame], None] | None = None,
    stopping: Callable[[], bool] | None = None,
    started_s: float | None = None,
    run: dict[str, Any] | None = None,
) -> RunReport:
    """Translate a source into a sink.

    Frames are fitted and translated in as many threads as the translator has lanes. Several lanes
    also decode a file; a single one gets its frames from a thread that decodes ahead. The calling
    thread encodes, and never waits for the source longer than it takes to ask ``stopping``.
    The sink is closed (and so checked) in every case, the source is left open.

    Args:
        source: where frames come from.
        translator: turns one into another.
        sink: where they go; twice as wide as the source for ``side_by_side``.
        max_frames: stop after so many; None for all.
        side_by_side: write the input, as the generator sees its colours, left of the output.
        draw: gets each image and ``time.perf_counter()`` of its arrival, and returns what to
            write instead.
        on_frame: called in the calling thread with each frame that was written.
        stopping: asked all the time; once true, no more frames are taken and the sink is finished.
        started_s: ``time.perf_counter()`` when the command began, for the time to first frame.
        run: more facts for the report.

    Raises:
        SourceError: the source broke; what came before is in the sink, which is finished. That a
            live source was lost is no error here: it stands in the report.
        EngineError: the model failed.
        SinkError: a frame could not be written, or not be read back.
    """
    recorder = Recorder(started_s)
    stop = stopping or (lambda: False)
    live = source if isinstance(source, LiveSource) else None
    source_lost: str | None = None
    decoded = _timed(itertools.islice(source, max_frames), recorder)
    try:
        with contextlib.ExitStack() as stack:
            pictures: Iterable[_Decoded] = decoded
            ahead, together = (_AHEAD_LIVE, 1) if live else (_AHEAD, _in_a_row(source.info))
            if not live and translator.lanes == 1:
                size = max(ahead, together)
                pictures = stack.enter_context(Prefetch(decoded, size=size, stopping=stop))
            jobs = _jobs(pictures, translator, side_by_side, recorder)
            results = stack.enter_context(
                in_lanes(jobs, translator.lanes, ahead=ahead, together=together, stopping=stop)
            )
            if live:
                stack.callback(live.interrupt)  # first of all: a silent source must not hold us
            for result in results:
                _write(result, sink, recorder, draw, on_frame)
    except SourceLostError as error:
        source_lost = str(error)
    except BaseException:
        sink.abort()
        raise
    sink.close()
    return recorder.finish(
        frames_lost=source.frames_lost,
        frames_dropped=live.dropped if live else 0,
        reconnects=live.reconnects if live else 0,
        stalls=live.stalls if live else 0,
        source_lost=source_lost,
        interrupted=stop(),
        run={**_facts(translator), **(run or {})},
    )


def check_losses(report: RunReport, *, strict: bool) -> None:
    """Warn of what was lost, or fail.

    Raises:
        SourceLostError: the source was lost for good.
        LossesError: ``strict``, and frames are missing or colours are far from the palette.
    """
    if report.source_lost is not None:
        raise SourceLostError(report.source_lost)
    complaints = []
    if report.frames_blank:
        complaints.append(f"{report.frames_blank} images have a single colour")
    if report.frames_lost:
        complaints.append(f"{report.frames_lost} frames could not be read")
    if report.reconnects:
        complaints.append(f"the source was lost and came back {report.reconnects} times")
    if report.off_palette_share is not None and report.off_palette_share > OFF_PALETTE_WARN:
        complaints.append(
            f"{report.off_palette_share:.0%} of the pixels are far from every palette colour; "
            "is this a label video in the colours that the model was trained on?"
        )
    if complaints and strict:
        raise LossesError("; ".join(complaints))
    for complaint in complaints:
        _log.warning("%s", complaint)


def _in_a_row(video: VideoInfo) -> int:
    return min(max(1, _TOGETHER_PX // (video.width * video.height)), _TOGETHER)


def _timed(frames: Iterator[Frame], recorder: Recorder) -> Iterator[_Decoded]:
    while True:
        start_s = time.perf_counter()
        frame = next(frames, None)
        if frame is None:
            return
        recorder.frames_in += 1
        now_s = time.perf_counter()
        arrival = frame.arrival or Arrival(decoded_s=now_s, decode_ms=(now_s - start_s) * 1e3)
        yield _Decoded(frame, arrival.decode_ms, arrival.decoded_s)


def _jobs(
    pictures: Iterable[_Decoded], translator: Translator, side_by_side: bool, recorder: Recorder
) -> Iterator[_FrameJob]:
    for number, picture in enumerate(pictures):  # what has to be done in order is done here
        start_s = time.perf_counter()
        begun = translator.begin(picture.frame.picture)
        check_ms = (time.perf_counter() - start_s) * 1e3
        looks = number % _LOOK_EVERY == 0
        yield _FrameJob(translator, picture, begun, side_by_side, recorder, looks, check_ms)


@dataclass(slots=True)
class _FrameJob:
    """What can be done for several frames at the same time."""

    translator: Translator
    decoded: _Decoded
    begun: Begun
    side_by_side: bool
    recorder: Recorder
    looks: bool
    check_ms: float
    off_palette: float | None = None

    def prepare(self) -> None:
        """Fit the frame, and look at its colours, while it lies in the core's cache.

        So do, from one frame to the next, the code and the tables.
        """
        self.begun.prepare()
        if not self.looks:
            return
        start_s = time.perf_counter()
        fitter = self.translator.fitter
        self.off_palette = fitter.off_palette(self.begun.frame, self.begun.drift)
        self.check_ms += (time.perf_counter() - start_s) * 1e3

    def finish(self) -> _Translated:
        """Translate the frame."""
        translation = self.translator.finish(self.begun)
        until_fitted_ms = (translation.fitted_s - self.decoded.decoded_s) * 1e3
        wait_ms = until_fitted_ms - self.check_ms - translation.fit_ms
        start_s = time.perf_counter()
        left = None
        if self.side_by_side:
            left = self.translator.fitter.repair(self.begun.frame, self.begun.drift)
        self.recorder.translated()
        end_s = time.perf_counter()
        return _Translated(
            decoded=self.decoded,
            translation=translation,
            left=left,
            off_palette=self.off_palette,
            wait_ms=wait_ms,
            check_ms=self.check_ms + (end_s - start_s) * 1e3,
            until_s=end_s,
        )


def _write(
    result: _Translated,
    sink: FrameSink,
    recorder: Recorder,
    draw: Callable[[NDArray[np.uint8], float], NDArray[np.uint8]] | None,
    on_frame: Callable[[Frame], None] | None,
) -> None:
    start_s = time.perf_counter()
    decoded, translation = result.decoded, result.translation
    image = translation.image
    if result.left is not None:
        image = np.concatenate([result.left, image], axis=1)  # (H, 2 W, 3)
    if draw is not None:
        image = draw(image, decoded.decoded_s)
    frame = replace(decoded.frame, picture=image)
    sink.write(frame)
    end_s = time.perf_counter()
    recorder.wrote(reused=translation.reused, blank=translation.blank)
    recorder.add("decode", decoded.decode_ms)
    recorder.add("wait", result.wait_ms + (start_s - result.until_s) * 1e3)
    recorder.add("check", result.check_ms)
    recorder.add("fit", translation.fit_ms)
    recorder.add("infer", translation.infer_ms)
    recorder.add("restore", translation.restore_ms)
    recorder.add("encode", (end_s - start_s) * 1e3)
    recorder.add("latency", (end_s - decoded.decoded_s) * 1e3)
    if result.off_palette is not None:
        recorder.add_off_palette(result.off_palette)
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
