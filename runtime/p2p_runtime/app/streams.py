"""Several cameras and streams in one process: one model, a thread each, and equal parts.

Each stream reconnects, reports and fails on its own, as in a process of its own. A source that is
absent at the start is waited for as long as one that is lost later.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click

from p2p_runtime.console import StatusLine, filtered_logs
from p2p_runtime.documents import read_file
from p2p_runtime.errors import ConfigError, LossesError, P2PError, SourceLostError, StoppedError
from p2p_runtime.files import protected, write_json
from p2p_runtime.interrupts import StopRequest
from p2p_runtime.prefetch import POLL_S
from p2p_runtime.redaction import redact
from p2p_runtime.translate.pipeline import losses_of
from p2p_runtime.translate.report import REPORT_SCHEMA, RunReport
from p2p_runtime.translate.slots import Slot, Slots
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.live import LivePolicy
from p2p_runtime.video.sinks import parse_output
from p2p_runtime.video.sources import SourceKind, parse_source

from .run import (
    RunOptions,
    Watchers,
    label_reader,
    load_bundle,
    open_heartbeat,
    open_translator,
    translate_source,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Outcome", "check_streams", "read_streams", "translate_streams"]

MAX_STREAMS, MAX_BYTES = 16, 1 << 20
"""Maximum number of streams, and size of their file."""

_KEYS = (
    "name", "video", "output", "labels", "ids", "repair-labels", "dedupe-threshold", "drop",
    "stall-timeout", "reconnect-for", "max-frames", "side-by-side", "overlay", "overwrite",
)  # fmt: skip
"""What a stream may have; all but the name are flags, which are their defaults, too."""

_OTHERS = (
    "inputs", "output", "show", "view", "resume", "workers", "shard", "input_side", "size", "fps",
)  # fmt: skip
"""Options of other runs, or that each stream has to name."""

_NAME = re.compile(r"[\w.-]{1,40}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a stream ended, why if it failed, what was lost or is likely wrong, and its figures.

    There is no report if the source or an output was never open.
    """

    name: str
    status: Literal["ended", "stopped", "failed"]
    reason: str
    losses: str
    report: RunReport | None

    def to_line(self) -> str:
        """Return frames in, translated, dropped and lost, reconnects, latencies, and the end."""
        end = "  " + ": ".join(text for text in (self.status, self.reason or self.losses) if text)
        if (run := self.report) is None:
            return f"{'-':>6}{'-':>12}{'-':>9}{'-':>6}{'-':>12}{'-':>8}{'-':>8}{end}"
        lost, latency = run.frames_lost + sum(run.frames_missed.values()), run.stages["latency"]
        return (
            f"{run.frames_in:>6}{run.frames_translated:>12}{run.frames_dropped:>9}{lost:>6}"
            f"{run.reconnects:>12}{latency['p50_ms']:>8.1f}{latency['p95_ms']:>8.1f}{end}"
        )


def check_streams(outcomes: Sequence[Outcome], *, strict: bool) -> None:
    """Raise a LossesError if streams failed; or if ``strict``, and some have losses."""
    failed = [one.name for one in outcomes if one.status == "failed"]
    lossy = [one.name for one in outcomes if one.losses and strict]
    for names, what in ((failed, "failed"), (lossy, "have losses")):
        if names:
            few = f"{len(names)} of {len(outcomes)} streams {what}"
            raise LossesError(f"{few}: {', '.join(names)}")


def translate_streams(
    path: Path, options: RunOptions, context: click.Context, stop: StopRequest
) -> list[Outcome]:
    """Translate the streams of a file until all have ended, and print a table.

    The file's keys are flags of the context's command; ``options`` are their defaults.

    Raises:
        P2PError: nothing was opened: file, options, model or device are wrong.
    """
    if given := [name.replace("_", "-") for name in _OTHERS if getattr(options, name)]:
        raise ConfigError(f"--streams goes without {', '.join(given)}: its file has all of that")
    streams = read_streams(path, options, context)
    for place, holds in ((options.report, "streams"), (options.status_file, "uptime_s")):
        if place is not None:
            RunReport.check_place(place, holds=holds)
    bundle, device = load_bundle(options)
    for name, own in streams.items():
        with _about(name):
            label_reader(own, bundle.contract)
    with (
        protected([bundle.path], "the model"),
        open_translator(options, bundle, device, True, stop, len(streams)) as shared,
    ):
        stop.working = True
        outcomes = _follow_all(options, streams, shared, stop)
    if options.report is not None:
        found = [asdict(one) for one in outcomes]
        write_json(options.report, {"schema": REPORT_SCHEMA, "streams": found})
    width = max(len("stream"), *map(len, streams))
    titles = "    in  translated  dropped  lost  reconnects  p50 ms  p95 ms  exit"
    rows = [f"{one.name:<{width}}{one.to_line()}" for one in outcomes]
    click.echo("\n".join([f"{'stream':<{width}}{titles}", *rows]))
    return outcomes


def read_streams(path: Path, options: RunOptions, context: click.Context) -> dict[str, RunOptions]:
    """Return the options of each stream, checked as far as that goes without opening any."""
    streams: dict[str, RunOptions] = {}
    for number, table in enumerate(_tables(path), 1):
        name = table.pop("name", None)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: name stream {number}, with letters, digits and . _ -")
        if name in streams:
            raise ConfigError(f"{path}: two streams are named {name}")
        with _about(name):
            streams[name] = _options(table, options, context)
    owners: dict[str, str] = {}
    for name, own in streams.items():
        for output in map(parse_output, own.output):
            place = output.text if output.kind == "url" else str(Path(output.text).resolve())
            owner = owners.setdefault(place, name)
            if owner != name and output.kind != "null":
                raise ConfigError(f"{output.name} is an output of both {owner} and {name}")
    return streams


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    """Let errors say which stream they are about."""
    try:
        yield
    except P2PError as error:
        raise type(error)(f"stream {name}: {error}") from error


def _tables(path: Path) -> list[dict[str, Any]]:
    try:
        document = tomllib.loads(read_file(path, MAX_BYTES).decode())
    except (P2PError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
    tables = document.pop("stream", None)
    if document or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ConfigError(f"{path} must hold [[stream]] tables and nothing else")
    if not 1 <= len(tables) <= MAX_STREAMS:
        raise ConfigError(f"{path} has {len(tables)} streams; a process takes 1 to {MAX_STREAMS}")
    return tables


def _options(table: Mapping[str, Any], options: RunOptions, context: click.Context) -> RunOptions:
    if unknown := sorted(set(table) - set(_KEYS)):
        raise ConfigError(f"{unknown[0]} is not known; use {', '.join(_KEYS)}")
    if missing := [key for key in ("video", "output") if key not in table]:
        raise ConfigError(f"{missing[0]} is missing")
    flags = {flag.name: flag for flag in context.command.params if isinstance(flag, click.Option)}
    values = {
        (place := key.replace("-", "_")): _value(flags[place], key, value, context)
        for key, value in table.items()
    }
    spec = parse_source(values.pop("video"))
    if spec.kind not in (SourceKind.CAMERA, SourceKind.URL):
        raise ConfigError(f"{spec.name} is {spec.kind.value}; streams are cameras and URLs")
    for output in map(parse_output, values["output"]):
        if output.kind not in ("null", "url", "file", "folder"):
            raise ConfigError(f"{output.name} cannot be a stream's output")
    return replace(options, streams=None, report=None, inputs=(spec.text,), **values)


def _value(flag: click.Option, key: str, value: object, context: click.Context) -> Any:
    """Return a value as its flag would take it."""
    values = value if flag.multiple and isinstance(value, list) else [value]
    kinds = (bool,) if flag.is_flag else (str, int, float)
    if not values or not all(type(one) in kinds for one in values):
        raise ConfigError(f"{key} cannot be {redact(repr(value))}")
    try:
        return flag.type_cast_value(context, values if flag.multiple else values[0])
    except click.UsageError as error:
        raise ConfigError(redact(error.format_message())) from error


def _follow_all(
    options: RunOptions, streams: Mapping[str, RunOptions], shared: Translator, stop: StopRequest
) -> list[Outcome]:
    """Give each stream a thread, which has its name, and wait for all of them."""
    slots = Slots(max(shared.workers, 2))  # a GPU works on one, while the other is prepared
    frames = dict.fromkeys(streams, 0)
    outcomes: dict[str, Outcome] = {}

    def count(task: FrameTask) -> None:
        frames[threading.current_thread().name] += 1

    def named(record: logging.LogRecord) -> bool:
        stream, text = (record.threadName or "").partition("/")[0], record.getMessage()
        if stream in frames and not text.startswith(f"{stream}: "):  # another handler was first
            record.msg, record.args = f"{stream}: {text}", ()
        return True

    def follow(name: str, watchers: Watchers) -> None:
        outcomes[name] = _follow(name, streams[name], shared, Slot(slots), stop, watchers)

    with (
        open_heartbeat(options, lambda: {"streams": dict(frames)}) as heartbeat,
        filtered_logs(named),
        StatusLine() as line,
    ):
        told = Watchers(progress=lambda total: contextlib.nullcontext(count), heartbeat=heartbeat)
        threads = [
            threading.Thread(target=follow, args=(name, told), name=name, daemon=True)
            for name in streams
        ]
        began_s = time.monotonic()
        for thread in threads:
            thread.start()
        while running := [thread for thread in threads if thread.is_alive()]:
            running[0].join(POLL_S)
            heartbeat.beat()
            total = sum(frames.values())
            speed = f"{total / max(time.monotonic() - began_s, 1e-9):.1f} frames/s"
            line.show(f"{len(running)} of {len(threads)} streams", f"{total} frames", speed)
    return [outcomes[name] for name in streams]


def _follow(
    name: str, options: RunOptions, shared: Translator, slot: Slot, stop: StopRequest,
    watchers: Watchers,
) -> Outcome:  # fmt: skip
    """Translate a stream to its end, whatever that is; the work of its thread."""
    failures: list[RunReport] = []
    watchers, report = replace(watchers, on_failure=failures.append), None
    status: Literal["ended", "stopped", "failed"] = "failed"
    reason = ""
    try:
        report = _translate(options, shared, slot, stop, watchers)
        reason = report.source_lost or ""
        if not reason:
            status = "stopped" if report.interrupted else "ended"
    except StoppedError:
        status = "stopped"
    except P2PError as error:
        reason = str(error)
    except Exception as error:  # a defect is told, and does not end the other streams
        _log.exception("a defect")
        reason = repr(error)
    if status == "failed":
        _log.error("%s", reason)
    report = report or next(iter(failures), None)
    return Outcome(
        name=name, status=status, reason=redact(reason),
        losses="; ".join(losses_of(report)) if report else "", report=report,
    )  # fmt: skip


def _translate(
    options: RunOptions, shared: Translator, slot: Slot, stop: StopRequest, watchers: Watchers
) -> RunReport:
    spec, outputs = parse_source(*options.inputs), [parse_output(text) for text in options.output]
    own = Translator(
        shared.contract, shared.engine, bundle=shared.bundle, repair_labels=options.repair_labels,
        dedupe_threshold_px=options.dedupe_threshold,
    )  # fmt: skip
    until_s, delays_s = time.monotonic() + options.reconnect_for, LivePolicy().delays_s()
    while True:
        try:
            return translate_source(options, spec, outputs, own, stop, watchers, slot)
        except SourceLostError as error:  # before its first frame; later, it reconnects by itself
            delay_s = next(delays_s)
            retry_at_s = time.monotonic() + delay_s
            if retry_at_s > until_s:
                raise
            _log.warning("%s; next attempt in %.1f s", error, delay_s)
        while time.monotonic() < retry_at_s and not stop.requested:
            time.sleep(POLL_S)
