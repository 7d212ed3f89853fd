"""What `p2p-run` does, from its options to the report."""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import onnxruntime as ort

from . import __version__
from .discover import find_bundle, plan_named
from .engines import resolve_device
from .errors import ConfigError, EngineError
from .files import check_writable_folder
from .frames import Frame, FrameSink, FrameSource
from .heartbeat import Heartbeat, status_stream
from .interrupts import StopRequest
from .lanes import keep_to_lanes, lanes_for
from .palette import Palette
from .pipeline import run_pipeline
from .progress import Window, show_progress
from .report import RunReport
from .sinks import open_sinks
from .sources import open_source
from .translator import Translator

__all__ = ["RunOptions", "translate_video"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What the user asked for; the fields are `p2p-run`'s flags.

    Attributes:
        started_s: ``time.perf_counter()`` when the command began.
    """

    video: str
    model: str | None
    output: tuple[str, ...]
    device: str
    threads: int | None
    side_by_side: bool
    show: bool
    labels: str
    snap: bool
    vote: int
    reuse: int
    max_frames: int | None
    report: Path | None
    status: str
    overwrite: bool
    started_s: float


def translate_video(options: RunOptions, stop: StopRequest) -> RunReport:
    """Translate a video or a folder; whatever can fail before the first frame does so.

    Args:
        options: what the user asked for.
        stop: says when the run should end early.

    Raises:
        P2PError: as the errors' names say; what was written until then can be read.
    """
    window = Window() if options.show else None
    if options.report is not None:
        check_writable_folder(options.report.parent)
    keep_to_lanes()
    device = resolve_device(options.device, plan=plan_named(options.model))
    bundle = find_bundle(options.model, device)
    with (
        Translator.load(
            bundle,
            device=device,
            threads=options.threads,
            snap=options.snap,
            vote=options.vote,
            reuse=options.reuse,
            lanes=lanes_for(device, options.threads),  # for files: frames a second before latency
            stuck=_give_up,
        ) as translator,
        contextlib.closing(
            open_source(options.video, ids_palette=_ids_palette(options, translator))
        ) as source,
    ):
        outputs = options.output or (_default_output(Path(options.video)),)
        sink = _open_sinks(options, source, outputs)
        report = _run(options, stop, window, source, translator, sink, outputs)
    if options.report is not None:
        report.save(options.report)
    _log.info("written: %s", ", ".join(outputs))
    return report


def _run(
    options: RunOptions,
    stop: StopRequest,
    window: Window | None,
    source: FrameSource,
    translator: Translator,
    sink: FrameSink,
    outputs: tuple[str, ...],
) -> RunReport:
    heart = Heartbeat(status_stream(options.status))
    with (
        show_progress(_total(source, options.max_frames)) as advance,
        contextlib.ExitStack() as ending,
    ):
        ending.callback(heart.end)
        heart.ready()

        def on_frame(frame: Frame) -> None:
            heart.frame(frame)
            advance(frame)
            if window is not None:
                window(frame)

        def stopping() -> bool:  # asked many times a second, whatever happens
            heart.beat()
            return stop.requested or (window is not None and window.closed)

        return run_pipeline(
            source,
            translator,
            sink,
            max_frames=options.max_frames,
            side_by_side=options.side_by_side,
            on_frame=on_frame,
            stopping=stopping,
            started_s=options.started_s,
            run={"source": options.video, "outputs": list(outputs), **_versions()},
        )


def _open_sinks(options: RunOptions, source: FrameSource, outputs: tuple[str, ...]) -> FrameSink:
    return open_sinks(
        outputs,
        width=source.info.width * (2 if options.side_by_side else 1),
        height=source.info.height,
        fps=source.info.fps,
        source=Path(options.video),
        overwrite=options.overwrite,
    )


def _ids_palette(options: RunOptions, translator: Translator) -> Palette | None:
    if options.labels != "ids":
        return None
    if translator.contract.palette is None:
        raise ConfigError("--labels ids needs a model with a palette, and this one has none")
    return translator.contract.palette


def _default_output(video: Path) -> str:
    """Return a name in the working directory; folders stay folders, every video becomes MP4."""
    video = video.resolve()
    suffix = "" if video.is_dir() else ".mp4"
    return f"{video.name if video.is_dir() else video.stem}-translated{suffix}"


def _total(source: FrameSource, max_frames: int | None) -> int | None:
    counts = [count for count in (source.info.frame_count, max_frames) if count is not None]
    return min(counts, default=None)


def _give_up() -> None:
    """End the process: a call that no one can interrupt hangs, so nothing can be closed."""
    _log.error("the model hangs and cannot be stopped; what was written so far can be read")
    os._exit(EngineError.exit_code)


def _versions() -> dict[str, str]:
    return {
        "p2p_runtime": __version__,
        "onnxruntime": ort.__version__,
        "opencv": cv2.__version__,
        "av": av.__version__,
    }
