"""The run itself: decoding, translating and encoding overlap, and frames keep their order.

A frame is one :class:`FrameTask` all the way. The source creates it; a worker takes it, admits it
to the translator, prepares and finishes it; the calling thread writes it. Only a live source drops
frames, before they are taken.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from p2p_runtime.errors import LossesError, OutputError, P2PError, SourceLostError, count_of
from p2p_runtime.prefetch import prefetched
from p2p_runtime.redaction import redact
from p2p_runtime.video.frames import FrameSink, FrameSource, FrameTask, VideoInfo
from p2p_runtime.video.live import LiveSource

from .painted import PaintedShares
from .report import OFF_PALETTE_WARN, Recorder, RunReport
from .slots import Slot
from .translator import Translator
from .workers import Workers

__all__ = ["check_losses", "frames_in_a_row", "losses_of", "run_pipeline"]

_AHEAD, _AHEAD_LIVE = 4, 1
"""Maximum number of frames that wait between two stages: enough to even out key frames, and little
memory. A live source's frames grow old while they wait."""

_IN_A_ROW, _IN_A_ROW_PX = 12, 1 << 21
"""Maximum number of a file's frames, and of their pixels, that are decoded and preprocessed in a
row. Rows of four 480x360 px frames take a tenth more CPU time outside the engine, single frames a
quarter."""

_OFF_PALETTE_EVERY = 4
"""Of so many frames, the first is measured for colours far from the palette."""

_log = logging.getLogger(__name__)


def run_pipeline(
    source: FrameSource,
    translator: Translator,
    sink: FrameSink,
    *,
    max_frames: int | None = None,
    slot: Slot | None = None,
    side_by_side: bool = False,
    keep_inputs: bool = False,
    draw: Callable[[FrameTask], None] | None = None,
    on_frame: Callable[[FrameTask], None] | None = None,
    stopping: Callable[[], bool] | None = None,
    on_failure: Callable[[RunReport], None] | None = None,
    started_s: float | None = None,
    run: dict[str, Any] | None = None,
) -> RunReport:
    """Translate a source into a sink.

    Frames are preprocessed and translated in as many threads as the translator has workers. Several
    workers also decode a file; a single one gets its frames from a thread that decodes ahead. The
    calling thread encodes, and asks ``stopping`` at least ten times a second. The sink is closed
    (and so checked) in every case, the source is left open.

    Args:
        source, translator, sink: for ``side_by_side``, the sink is twice as wide as the source.
        slot: lets a live source share the engine with others; None for an engine of its own.
        side_by_side: write the input, in the colours that the generator gets, left of the output.
        keep_inputs: leave input and class ids in the tasks, for ``on_frame``.
        draw: changes the output of each frame before it is written.
        on_frame: called in the calling thread with each frame that was written.
        stopping: once it returns True, no more frames are taken and the sink is finished.
        on_failure: called with the report of a run that fails, before the error is raised.
        started_s: ``time.perf_counter()`` when the command began, for the time to first frame.
        max_frames, run: of all frames, at most so many; further facts for the report.

    Raises:
        SourceError: the source broke; what came before is in the sink, which is finished. The loss
            of a live source is no error here: it stands in the report.
        EngineError: the model failed.
        SinkError: a frame could not be written, or not be read back.
    """
    contract = translator.contract
    palette, shares = contract.palette, contract.class_shares
    recorder = Recorder(started_s, None if palette is None else PaintedShares(palette, shares))
    stop = stopping or (lambda: False)
    live = source if isinstance(source, LiveSource) else None
    steps = _Steps(translator, recorder, slot, side_by_side=side_by_side, keep_inputs=keep_inputs)
    at_once = live is not None or source.info.on_demand
    ahead, in_a_row = (_AHEAD_LIVE, 1) if at_once else (_AHEAD, frames_in_a_row(source.info))
    source_lost: str | None = None

    def finish(error: P2PError | None = None) -> RunReport:
        facts = _facts(translator) | source.info.facts | (run or {})
        told = redact(str(error)) if error else None
        return recorder.finish(
            source,
            source_lost,
            interrupted=stop(),
            run=facts,
            error=told,
            frames_missed=sink.losses(),
        )

    try:
        with contextlib.ExitStack() as stack:
            frames = iter(source)
            if live is not None and slot is not None:
                stack.callback(slot.give_back)  # last of all: one that failed may still hold it
                frames = live.frames(slot.take)
            tasks = steps.decode(itertools.islice(frames, max_frames))
            if not at_once and translator.workers == 1:
                size = max(ahead, in_a_row)
                tasks = stack.enter_context(prefetched(tasks, size=size, stopping=stop))
            results = stack.enter_context(
                Workers(
                    steps.admit(tasks),
                    steps.prepare,
                    steps.finish,
                    workers=translator.workers,
                    ahead=ahead,
                    in_a_row=in_a_row,
                    stopping=stop,
                )
            )
            stack.callback(lambda: translator.stop() if stop() else None)  # one may hang
            if live:
                stack.callback(live.interrupt)  # first of all: a silent source must not hold us
            for task in results:
                _write(task, sink, draw)
                recorder.wrote(task)
                if on_frame is not None:
                    on_frame(task)
    except SourceLostError as error:
        source_lost = str(error)
    except BaseException as error:
        sink.abort()
        if on_failure is not None and isinstance(error, P2PError):
            try:
                on_failure(finish(error))
            except OutputError as second:  # of a full disk, say; what ended the run is told
                _log.warning("%s", second)
        raise
    sink.close()
    return finish()


def check_losses(report: RunReport, *, strict: bool) -> None:
    """Warn of what was lost, or fail.

    Raises:
        SourceLostError: the source was lost for good.
        LossesError: ``strict``, and frames are missing or colours are far from the palette.
    """
    if report.source_lost is not None:
        raise SourceLostError(report.source_lost)
    complaints = losses_of(report)
    if complaints and strict:
        raise LossesError("; ".join(complaints))
    for complaint in complaints[len(report.label_warnings) :]:  # these were said at once
        _log.warning("%s", complaint)


def losses_of(report: RunReport) -> list[str]:
    """Return what was lost, or is likely wrong, in words; the report's label warnings first."""
    complaints = [*report.label_warnings]
    if report.frames_blank:
        complaints.append(f"{count_of(report.frames_blank, 'image')} of a single colour")
    if report.frames_lost:
        complaints.append(f"{count_of(report.frames_lost, 'frame')} could not be read")
    if report.frames_damaged:
        complaints.append(f"{count_of(report.frames_damaged, 'frame')} from damaged data")
    for name, count in report.frames_missed.items():
        complaints.append(f"{name} did not get {count_of(count, 'frame')}")
    if report.reconnects:
        complaints.append(
            f"the source was lost and came back {count_of(report.reconnects, 'time')}"
        )
    if report.off_palette_share is not None and report.off_palette_share > OFF_PALETTE_WARN:
        complaints.append(
            f"{report.off_palette_share:.0%} of the pixels are far from every palette colour; "
            "is this a label video in the colours that the model was trained on?"
        )
    return complaints


def frames_in_a_row(video: VideoInfo) -> int:
    """Return how many frames of a file are decoded and preprocessed before the first is finished.

    A row of large frames would take hundreds of megabytes.
    """
    return min(max(1, _IN_A_ROW_PX // (video.width * video.height)), _IN_A_ROW)


class _Steps:
    """The steps of a frame before it is written, in their order."""

    def __init__(
        self, translator: Translator, recorder: Recorder, slot: Slot | None, *,
        side_by_side: bool, keep_inputs: bool,
    ) -> None:  # fmt: skip
        self._translator, self._recorder, self._slot = translator, recorder, slot
        self._side_by_side, self._keep_inputs = side_by_side, keep_inputs
        self._prepared = 0

    def decode(self, frames: Iterator[FrameTask]) -> Iterator[FrameTask]:
        """Count a source's frames, and time those that the source does not time itself."""
        while True:
            start_s = time.perf_counter()
            task = next(frames, None)
            if task is None:
                return
            self._recorder.frames_in += 1
            task.times_ms.setdefault("decode", (task.decoded_s - start_s) * 1e3)
            yield task

    def admit(self, tasks: Iterator[FrameTask]) -> Iterator[FrameTask]:
        """Do what has to be done in the order of the frames."""
        for task in tasks:
            start_s = time.perf_counter()
            self._translator.preprocessor.admit(task)
            task.times_ms["check"] = (time.perf_counter() - start_s) * 1e3
            yield task

    def prepare(self, task: FrameTask) -> None:
        """Preprocess a frame and measure its colours, while it lies in the core's cache."""
        self._translator.preprocessor.preprocess(task)
        self._prepared += 1  # one worker at a time is here
        if self._prepared % _OFF_PALETTE_EVERY == 1 and not task.damaged:
            start_s = time.perf_counter()
            task.off_palette = self._translator.preprocessor.off_palette(task)
            task.times_ms["check"] += (time.perf_counter() - start_s) * 1e3

    def finish(self, task: FrameTask) -> None:
        """Translate a frame, and put its input beside it if both are wanted."""
        try:
            self._translator.finish(task)
        finally:
            if self._slot is not None:
                self._slot.give_back()
        if self._side_by_side:
            left = self._translator.preprocessor.repaired(task)
            task.output = np.concatenate([left, task.image], axis=1)  # (H, 2 W, 3)
        if task.class_ids is not None and not task.damaged:
            self._recorder.painted_classes(task.class_ids)
        if not self._keep_inputs:
            task.input = task.class_ids = None  # their memory serves the next frame, not the queue
        self._recorder.translated()
        end_s = time.perf_counter()
        task.times_ms["check"] += (end_s - task.finished_s) * 1e3
        task.finished_s = end_s


def _write(task: FrameTask, sink: FrameSink, draw: Callable[[FrameTask], None] | None) -> None:
    start_s = time.perf_counter()
    if task.keep is not None:
        task.keep(task)
    if draw is not None:
        draw(task)
    sink.write(task)
    end_s = time.perf_counter()
    task.times_ms["wait"] += (start_s - task.finished_s) * 1e3
    task.times_ms["encode"] = (end_s - start_s) * 1e3
    task.times_ms["latency"] = (end_s - task.decoded_s) * 1e3


def _facts(translator: Translator) -> dict[str, Any]:
    engine, bundle = translator.engine, translator.bundle
    facts = {"device": engine.device, "workers": translator.workers, "restarts": engine.restarts}
    return facts | ({"model": str(bundle.path), "precision": bundle.precision} if bundle else {})
