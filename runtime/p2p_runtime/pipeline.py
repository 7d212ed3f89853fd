"""The run itself: decode, translate and encode overlap, in order, and nothing is dropped."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import LossesError
from .prefetch import Prefetch
from .report import OFF_PALETTE_WARN, Recorder, RunReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .frames import Frame, FrameSink, FrameSource
    from .translator import Translation, Translator

__all__ = ["check_losses", "run_pipeline"]

_AHEAD = 4
"""Frames that wait between two stages; enough to even out key frames, little memory."""

_EVERY_PX = 4
"""Off-palette pixels are counted on every fourth row and column."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Decoded:
    frame: Frame
    decode_ms: float


@dataclass(frozen=True, slots=True)
class _Translated:
    frame: Frame
    decode_ms: float
    translation: Translation
    left: NDArray[np.uint8] | None
    off_palette: float | None


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

    The source is decoded in one thread and translated in a second; the calling thread encodes.
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
            translated = _translate(pictures, translator, side_by_side)
            with Prefetch(translated, size=_AHEAD, stopping=stop) as results:
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
        yield _Decoded(frame, (time.perf_counter() - start_s) * 1e3)


def _translate(
    pictures: Prefetch[_Decoded], translator: Translator, side_by_side: bool
) -> Iterator[_Translated]:
    palette = translator.contract.palette
    for picture in pictures:
        image = picture.frame.image
        left, off_palette = None, None
        if palette is not None:
            off_palette = 1 - palette.coverage(image[::_EVERY_PX, ::_EVERY_PX])
        if side_by_side:
            left = palette.snap(image) if palette is not None and translator.snap else image
        translation = translator.translate(image)
        yield _Translated(picture.frame, picture.decode_ms, translation, left, off_palette)


def _write(
    result: _Translated,
    sink: FrameSink,
    recorder: Recorder,
    on_frame: Callable[[Frame], None] | None,
) -> None:
    start_s = time.perf_counter()
    image = result.translation.image
    if result.left is not None:
        image = np.concatenate([result.left, image], axis=1)  # (H, 2 W, 3)
    frame = replace(result.frame, image=image)
    sink.write(frame)
    recorder.wrote()
    recorder.add("decode", result.decode_ms)
    recorder.add("fit", result.translation.fit_ms)
    recorder.add("infer", result.translation.infer_ms)
    recorder.add("restore", result.translation.restore_ms)
    recorder.add("encode", (time.perf_counter() - start_s) * 1e3)
    if result.off_palette is not None:
        recorder.add_off_palette(result.off_palette)
    if on_frame is not None:
        on_frame(frame)


def _facts(translator: Translator) -> dict[str, Any]:
    facts: dict[str, Any] = {"device": translator.engine.device}
    if translator.bundle is not None:
        facts["model"] = str(translator.bundle.path)
        facts["precision"] = translator.bundle.precision
    return facts
