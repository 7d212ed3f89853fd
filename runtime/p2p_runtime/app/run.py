"""What `p2p-run` does, from its options to the report.

The questions that the options leave open (which device, which kind of source and outputs) are
answered here, once; the rooms below get the answers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
import click
import cv2
import onnxruntime as ort

from p2p_runtime import __version__
from p2p_runtime.engines import ServerOptions, resolve_device
from p2p_runtime.errors import ConfigError, EngineError, OutputError
from p2p_runtime.files import protected, refuse_protected
from p2p_runtime.interrupts import StopRequest
from p2p_runtime.labels.reader import LabelReader, Labels
from p2p_runtime.memory import unmap_libraries
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.pictures import InputSide
from p2p_runtime.translate.discover import engine_named, find_bundle
from p2p_runtime.translate.pipeline import run_pipeline
from p2p_runtime.translate.report import RunReport
from p2p_runtime.translate.slots import Slot
from p2p_runtime.translate.translator import Translator
from p2p_runtime.translate.workers import default_workers, use_one_opencv_thread
from p2p_runtime.video.frames import FrameSink, FrameSource, FrameTask, VideoInfo
from p2p_runtime.video.live import LivePolicy
from p2p_runtime.video.sinks import OutputSpec, open_sink, parse_output
from p2p_runtime.video.sources import SourceKind, SourceSpec, open_source

from .display import Overlay, Window, show_progress
from .heartbeat import Facts, Heartbeat

if TYPE_CHECKING:
    from p2p_runtime.video.sources.images import PictureSource
    from p2p_runtime.video.view import LiveView

__all__ = [
    "RunOptions", "Watchers", "label_reader", "load_bundle", "open_heartbeat", "open_translator",
    "translate_source", "translate_video",
]  # fmt: skip

_log = logging.getLogger(__name__)

SAME_ASPECT = 0.02
"""Share by which aspects may differ without a word: sizes are multiples of a grid."""

Progress = Callable[[int | None], contextlib.AbstractContextManager[Callable[[FrameTask], object]]]
"""What takes the expected number of frames, and yields a function that takes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """`p2p-run`'s flags, and ``time.perf_counter()`` when the command began."""

    inputs: tuple[str, ...]
    streams: Path | None
    input_side: InputSide | None
    size: tuple[int, int] | None
    fps: float | None
    drop: Literal["none", "latest"] | None
    stall_timeout: float
    reconnect_for: float
    model: str | None
    output: tuple[str, ...]
    device: str
    threads: int | None
    workers: int | None
    shard: str | None
    side_by_side: bool
    overlay: bool
    show: bool
    view: str | None
    view_token: str | None
    labels: Labels
    ids: str | None
    repair_labels: bool
    dedupe_threshold: int
    max_frames: int | None
    report: Path | None
    status: str
    status_file: Path | None
    overwrite: bool
    resume: bool
    verbose: bool
    started_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Watchers:
    """Who learns of a run's frames: the heartbeat is that of several runs, if there are several.

    ``on_failure`` gets the report of a run that fails.
    """

    window: Window | None = None
    view: LiveView | None = None
    progress: Progress = show_progress
    heartbeat: Heartbeat | None = None
    on_failure: Callable[[RunReport], None] | None = None


def translate_video(options: RunOptions, spec: SourceSpec, stop: StopRequest) -> RunReport:
    """Translate a source and print a line about it; what can fail before the first frame does so.

    A P2PError, or a request of ``stop``, ends the run early; what was written can be read.
    """
    if options.workers is not None or options.shard is not None:
        raise ConfigError(f"--workers and --shard are for a tree of videos, not {spec.kind.value}")
    outputs = [parse_output(text) for text in options.output] or [_default_output(options, spec)]
    window = Window() if options.show else None
    bundle, device = load_bundle(options)
    if spec.kind is SourceKind.SIMULATOR and bundle.contract.palette is not None:
        options = replace(options, ids=options.ids or "carla")
    with (
        _open_view(options, spec) as view,
        open_translator(options, bundle, device, spec.kind.live, stop) as translator,
    ):
        save = None if options.report is None else partial(RunReport.save, path=options.report)
        watchers = Watchers(window=window, view=view, on_failure=save)
        report = translate_source(options, spec, outputs, translator, stop, watchers)
    if save is not None:
        save(report)
    frames_own_stdout = any(output.kind == "stdout" for output in outputs)
    if options.verbose or options.report is not None:
        click.echo(report.to_table(), err=frames_own_stdout)
    click.echo(report.to_line(), err=frames_own_stdout)
    return report


def load_bundle(options: RunOptions) -> tuple[ModelBundle, str]:
    """Decide the device, and return the model for it, checked against the labels, with its name."""
    use_one_opencv_thread()
    device = resolve_device(options.device, engine_path=engine_named(options.model))
    bundle = ModelBundle.load(find_bundle(options.model, device))
    unmap_libraries()
    label_reader(options, bundle.contract)  # what it refuses is known before the model is opened
    return bundle, device


def translate_source(
    options: RunOptions,
    spec: SourceSpec,
    outputs: Sequence[OutputSpec],
    translator: Translator,
    stop: StopRequest,
    watchers: Watchers,
    slot: Slot | None = None,
) -> RunReport:
    """Translate one source with an open model; ``slot`` shares it with other live sources."""
    labels = label_reader(options, translator.contract)
    done = _done(options, outputs)
    with (
        contextlib.ExitStack() as guards,
        contextlib.closing(_open_source(options, spec, translator, labels, done, stop)) as source,
    ):
        stop.working = True
        _say_stretch(source.info, translator.contract)
        of_pictures = _of_pictures(source, spec)
        pictures = None if of_pictures is None else of_pictures.paths
        files = pictures or [path for path in (spec.path,) if path is not None]
        guards.enter_context(protected(files, "an input"))
        if translator.bundle is not None:
            guards.enter_context(protected([translator.bundle.path], "the model"))
        _check_places(options.report, outputs, pictures or [])
        if options.status_file is not None:
            RunReport.check_place(options.status_file, holds="uptime_s")
        if of_pictures is not None and any(output.one_size for output in outputs):
            of_pictures.check_sizes(options.max_frames)
        sink = open_sink(
            outputs, replace(source.info, width=source.info.width * (1 + options.side_by_side)),
            source=spec.path, overwrite=options.overwrite, resume=options.resume,
            pictures=pictures, waits=not spec.kind.live, reconnect_for_s=options.reconnect_for,
            stopping=lambda: stop.requested,
        )  # fmt: skip
        names = [output.name for output in outputs]
        facts: dict[str, object] = {"source": spec.name, "outputs": names, **_versions()}
        if watchers.view is not None:
            watchers.view.begin(source, translator.contract.palette)
        report = _run(options, stop, watchers, source, translator, sink, facts, slot)
    if labels is not None and labels.warning is not None:
        report = replace(report, label_warnings=(labels.warning, *report.label_warnings))
    return report


def _say_stretch(info: VideoInfo, contract: PixelContract) -> None:
    """Say if frames have another aspect than the model, so that its pictures are squeezed."""
    aspect, ours = info.pixel_aspect * info.width / info.height, contract.width / contract.height
    if abs(aspect / ours - 1) > SAME_ASPECT:
        sizes = (info.width, info.height, contract.width, contract.height)
        _log.info("frames of %dx%d px are stretched to the model's %dx%d, and back", *sizes)


def _of_pictures(source: FrameSource, spec: SourceSpec) -> PictureSource | None:
    if not spec.kind.pictures:
        return None
    from p2p_runtime.video.sources.images import PictureSource

    assert isinstance(source, PictureSource), "it is what reads pictures"
    return source


def _check_places(
    report: Path | None, outputs: Sequence[OutputSpec], pictures: Sequence[Path]
) -> None:
    """Refuse outputs that would replace an input, and reports that would replace anything."""
    places = [place for output in outputs for place in output.places(pictures).values()]
    for place in places:
        refuse_protected(place)
    if report is not None:
        named = [Path(output.text) for output in outputs if output.kind in ("file", "folder")]
        if report.resolve() in [path.resolve() for path in (*named, *places)]:
            raise OutputError(f"{report} is an output; name another file for the report")
        RunReport.check_place(report)


def _done(options: RunOptions, outputs: Sequence[OutputSpec]) -> set[str]:
    """Return the stems of the pictures that earlier runs have written."""
    if not options.resume:
        return set()
    folders = [Path(output.text) for output in outputs if output.kind == "folder"]
    if len(folders) != len(outputs):
        raise ConfigError("--resume goes on in a folder of pictures; name folders only")
    found = [{path.stem for path in folder.glob("*.png")} for folder in folders]
    return set.intersection(*found)


def open_translator(
    options: RunOptions, bundle: ModelBundle, device: str, live: bool, stop: StopRequest,
    sources: int = 1,
) -> Translator:  # fmt: skip
    """Open the model for so many sources, and replay its golden frame."""
    token, timeout_s = os.environ.get("P2P_DEVICE_TOKEN"), options.stall_timeout
    server = ServerOptions(deadline_s=timeout_s, reconnect_for_s=options.reconnect_for, token=token)
    # For files, the frame rate counts; for live sources, the latency and idle cores.
    return Translator.load(
        bundle,
        device=device,
        threads=options.threads,
        allow_spinning=not live,
        repair_labels=options.repair_labels,
        dedupe_threshold_px=options.dedupe_threshold,
        workers=default_workers(device, options.threads, live=live and sources == 1),
        server=server,
        on_hang=lambda: _exit_now(stop.exit_code or EngineError.exit_code),
    )


def label_reader(options: RunOptions, contract: PixelContract) -> LabelReader | None:
    """Return what tells class ids from colours; a ConfigError is raised if a model has none."""
    if contract.palette is None:
        if options.labels == "ids" or options.ids is not None:
            raise ConfigError("class ids need a model with a palette, and this one has none")
        return None
    return LabelReader(
        contract.palette,
        labels=options.labels,
        ids=options.ids,
        trained=contract.ids,
        expected=contract.class_shares,
    )


def _open_source(
    options: RunOptions,
    spec: SourceSpec,
    translator: Translator,
    labels: LabelReader | None,
    done: set[str],
    stop: StopRequest,
) -> FrameSource:
    return open_source(
        spec, labels=labels, levels=translator.contract.levels_16_bit,
        yuv=translator.preprocessor.wants_yuv,
        policy=LivePolicy(
            drop=options.drop, stall_timeout_s=options.stall_timeout,
            reconnect_for_s=options.reconnect_for,
        ),
        size=options.size, fps=options.fps, stopping=lambda: stop.requested, skip=done,
        input_side=options.input_side,
    )  # fmt: skip


def _run(
    options: RunOptions,
    stop: StopRequest,
    watchers: Watchers,
    source: FrameSource,
    translator: Translator,
    sink: FrameSink,
    facts: dict[str, object],
    slot: Slot | None,
) -> RunReport:
    window, view = watchers.window, watchers.view
    counts = (source.info.frame_count, options.max_frames)
    with (
        watchers.progress(min((n for n in counts if n is not None), default=None)) as advance,
        contextlib.nullcontext(h)
        if (h := watchers.heartbeat)
        else open_heartbeat(options) as beats,
    ):

        def on_frame(task: FrameTask) -> None:
            beats.frame(task)
            advance(task)
            if window is not None:
                window(task)
            if view is not None:
                view(task)

        def stopping() -> bool:  # asked many times a second, whatever happens
            beats.beat()
            return stop.requested or (window is not None and window.closed)

        return run_pipeline(
            source, translator, sink, max_frames=options.max_frames, slot=slot,
            side_by_side=options.side_by_side, keep_inputs=options.view is not None,
            draw=Overlay() if options.overlay else None,
            on_frame=on_frame, stopping=stopping,
            on_failure=watchers.on_failure,
            started_s=options.started_s, run=facts,
        )  # fmt: skip


def open_heartbeat(options: RunOptions, more: Callable[[], Facts] = dict) -> Heartbeat:
    """Return what reports to where the options say."""
    stream = sys.stderr if options.status == "json" else None
    return Heartbeat(stream, options.status_file, more=more)


@contextlib.contextmanager
def _open_view(options: RunOptions, spec: SourceSpec) -> Iterator[LiveView | None]:
    """Yield the page if one is wanted, and say where it is; only there its token is printed."""
    if options.view is None:
        yield None
        return
    from p2p_runtime.video.view import LiveView

    with LiveView(options.view, options.view_token, name=spec.name) as view:
        token = "" if view.token is None else f"?token={view.token}"
        click.echo(f"watch at {view.url}{token}", err=True)
        yield view


def _default_output(options: RunOptions, spec: SourceSpec) -> OutputSpec:
    """Return a name in the working directory; pictures stay pictures, all else becomes MP4.

    What goes on for days is not written where somebody watches.
    """
    if options.view is not None and spec.kind.live:
        return OutputSpec("null", "null:")
    if spec.kind is SourceKind.PICTURES:
        return OutputSpec("pictures", "*-translated.png")
    name = f"{spec.stem}-translated"
    if spec.kind is SourceKind.PICTURE:
        return OutputSpec("picture", f"{name}.png")
    if spec.kind.pictures:
        return OutputSpec("folder", name)
    return OutputSpec("file", f"{name}.mp4")


def _exit_now(exit_code: int) -> None:
    """End the process: a call that nothing can interrupt hangs, so nothing can be closed."""
    _log.error("the model hangs and cannot be stopped; what was written so far can be read")
    os._exit(exit_code)


def _versions() -> dict[str, str]:
    libraries = {"onnxruntime": ort, "opencv": cv2, "av": av}
    versions = {name: library.__version__ for name, library in libraries.items()}
    return {"p2p_runtime": __version__, **versions}
