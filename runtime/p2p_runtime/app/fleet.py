"""A tree of videos, translated file by file, in one process or several, on one machine or many.

Processes share nothing but the disk: a :class:`Lease` keeps two from the same file, a video appears
complete under its name, and ``NAME.json`` beside it says what it was made from, so that it is not
made again.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import StatusLine, filtered_logs, setup_logging, whole_seconds
from p2p_runtime.cpus import usable_cpus
from p2p_runtime.documents import read_json
from p2p_runtime.errors import (
    ConfigError,
    ContractError,
    P2PError,
    SinkError,
    SourceError,
    count_of,
)
from p2p_runtime.files import check_writable_folder, reason, rename, sha256_of_file, write_json
from p2p_runtime.interrupts import StopRequest
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.translate.pipeline import losses_of
from p2p_runtime.translate.report import RunReport
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from p2p_runtime.video.sinks import OutputSpec, parse_output
from p2p_runtime.video.sources import SourceKind, SourceSpec

from .lease import Lease, take_lease
from .run import RunOptions, Watchers, load_bundle, open_translator, translate_source
from .tree import Row, Tree, TreeReport, find_tree

__all__ = ["translate_tree"]

SCHEMA = 1
ATTEMPTS = 2
"""How many processes may die over a file before it counts as failed."""

_DECIDING = (
    "side_by_side", "overlay", "labels", "ids", "repair_labels", "dedupe_threshold", "max_frames",
)  # fmt: skip
"""Options that change the pixels of an output."""

Part = tuple[str, int, float]
Tell = Callable[[Part], object]
"""Takes a video in work, how many of its frames are done, and which share (0-1) that is."""

_log = logging.getLogger(__name__)


def translate_tree(options: RunOptions, spec: SourceSpec, stop: StopRequest) -> TreeReport:
    """Translate the videos of a tree that are not done, and print a table.

    What is wrong with one video stands in its row, and the others go on.

    Raises:
        P2PError: no video could be translated: options, output folder, model or device are wrong.
    """
    outputs = [parse_output(text) for text in options.output]
    tree = find_tree(spec, _folder(options, outputs, spec), options.shard)
    check_writable_folder(tree.folder)
    bundle, device = load_bundle(options)
    stop.working = True
    rows: list[Row] = []
    workers = min(options.workers or 1, max(len(tree.paths), 1))
    with contextlib.ExitStack() as stack:
        show = _progress(tree, stack.enter_context(StatusLine()))
        if workers > 1:
            del bundle  # it holds the file; each process reads it
            threads = max(1, (options.threads or usable_cpus()) // workers)
            found = _in_processes(replace(options, threads=threads), tree, workers, stop, show)
        else:
            found = _in_this_process(options, tree, bundle, device, stop, show)
        stack.enter_context(contextlib.closing(found))
        for row in found:
            rows.append(row)
            show(row)
    told = {row.input for row in rows}
    rows += [_row(tree, path, "stopped") for path in tree.paths if str(path) not in told]
    report = TreeReport(rows=sorted(rows, key=lambda row: row.input), table=tree.table)
    report.save()
    click.echo(report.to_table())
    return report


def _folder(options: RunOptions, outputs: list[OutputSpec], spec: SourceSpec) -> Path:
    if options.show or options.view or options.report:
        raise ConfigError(
            "--show, --view and --report are for one source; of a tree, NAME.json beside each "
            "output has its figures"
        )
    if len(outputs) > 1 or any(output.kind != "folder" for output in outputs):
        raise ConfigError(f"{spec.name} has {len(spec.paths)} videos; name one folder as --output")
    return Path(outputs[0].text if outputs else f"{spec.stem}-translated")


def _in_this_process(
    options: RunOptions, tree: Tree, bundle: ModelBundle, device: str, stop: StopRequest, tell: Tell
) -> Generator[Row, None, None]:
    with open_translator(options, bundle, device, False, stop) as translator:
        for path in tree.paths:
            if stop.requested:
                return
            yield _translate(options, tree, path, translator, stop, tell)


def _in_processes(
    options: RunOptions, tree: Tree, workers: int, stop: StopRequest, tell: Tell
) -> Generator[Row, None, None]:
    """Give each of several processes a video after the other; one that dies is replaced."""
    waiting, attempts = deque(tree.paths), Counter[Path]()
    processes: dict[Connection, tuple[Any, Path | None]] = {}
    try:
        while not stop.requested and (waiting or processes):
            busy = sum(path is not None for _, path in processes.values())
            while len(processes) < min(workers, len(waiting) + busy):
                link, process = _start(options, tree)
                processes[link] = (process, None)
            ready = wait(list(processes), timeout=0.1)
            for link in [link for link in processes if link in ready]:
                process, path = processes.pop(link)
                try:
                    message = link.recv()
                except (EOFError, OSError):
                    process.join()
                    if stop.requested:  # Ctrl-C reaches those that just start, too
                        continue
                    attempts[path or tree.root] += 1
                    yield from _died(tree, path, process.exitcode, attempts, waiting)
                    continue
                if isinstance(message, tuple):
                    tell(message)
                    processes[link] = (process, path)
                    continue
                if isinstance(message, P2PError):
                    raise message
                if isinstance(message, Row):
                    yield message
                path = waiting.popleft() if waiting else None
                link.send(path)
                if path is not None:
                    processes[link] = (process, path)
                else:
                    process.join()
    finally:
        for process, _ in processes.values():
            process.terminate()
        for process, _ in processes.values():
            process.join()


def _died(
    tree: Tree, path: Path | None, exit_code: int, attempts: Counter[Path], waiting: deque[Path]
) -> Iterator[Row]:
    how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    _log.warning("a process ended by %s%s", how, f" in {path}" if path else "")
    if attempts[path or tree.root] < ATTEMPTS:
        if path is not None:
            waiting.appendleft(path)
    elif path is None:
        raise SourceError(f"no process could open the model: {how}; is there enough memory?")
    else:
        why = f"its process ended by {how}, {ATTEMPTS} times; is there enough memory?"
        yield _row(tree, path, "failed", reason=why)


def _start(options: RunOptions, tree: Tree) -> tuple[Connection, Any]:
    context = multiprocessing.get_context("spawn")  # threads and engines do not survive a fork
    link, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(options, tree, theirs), daemon=True)
    process.start()
    theirs.close()
    return link, process


def _serve(options: RunOptions, tree: Tree, link: Connection) -> None:
    """Translate the videos that come through ``link``, and answer with rows; a process's work."""
    setup_logging(options.verbose)
    if not options.verbose:  # the first process has said it
        logging.getLogger("p2p_runtime").setLevel(logging.WARNING)
    with StopRequest() as stop:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        try:
            bundle, device = load_bundle(options)
            with open_translator(options, bundle, device, False, stop) as translator:
                link.send(None)
                while not stop.requested and (path := link.recv()) is not None:
                    link.send(_translate(options, tree, path, translator, stop, link.send))
        except P2PError as error:
            link.send(error)
        except (EOFError, BrokenPipeError):
            return


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def _translate(
    options: RunOptions, tree: Tree, path: Path, translator: Translator, stop: StopRequest,
    tell: Tell,
) -> Row:  # fmt: skip
    """Translate one video unless it is done, and return its row.

    A ConfigError is raised, since it is about every video.
    """
    output, began_s = tree.output_of(path), time.monotonic()
    try:
        made_from = _made_from(options, path, translator)
        if (row := _done(options, tree, path, made_from)) is not None:
            return row
        lease = take_lease(output)
        if lease is None:
            return _row(tree, path, "in work elsewhere")
        with lease, filtered_logs(partial(_name, str(path), options.verbose)):
            if (row := _done(options, tree, path, made_from)) is not None:
                return row  # by the last owner
            report = _write(options, path, lease, translator, stop, tell)
            if report.interrupted:
                return _row(tree, path, "stopped")
            if lease.lost:
                return _row(tree, path, "in work elsewhere")
            losses = "; ".join(losses_of(report))
            row = _row(
                tree, path, "translated", frames=report.frames_out, losses=losses,
                seconds=round(time.monotonic() - began_s, 3),
            )  # fmt: skip
            _reveal(lease.part, output, row, made_from, report)
        return row
    except ConfigError:
        raise
    except (P2PError, OSError) as error:
        text = reason(error) if isinstance(error, OSError) else str(error)
        return _row(tree, path, "failed", reason=_of_output(text, path, output))


def _row(tree: Tree, path: Path, status: Any, **more: Any) -> Row:
    return Row(input=str(path), output=str(tree.output_of(path)), status=status, **more)


def _of_output(text: str, path: Path, output: Path) -> str:
    """Return a message about a part, which nobody named, as one about its output."""
    text = text.removeprefix(f"{path}: ")  # the row begins with it
    words = [
        str(output) if f".{output.name}." in word and ".part" in word else word
        for word in text.split()
    ]
    return " ".join(words)


def _write(
    options: RunOptions, path: Path, lease: Lease, translator: Translator, stop: StopRequest,
    tell: Tell,
) -> RunReport:  # fmt: skip
    """Write the translation of a video as the lease's part; nothing of the last video is left."""
    translator.reset()
    spec = SourceSpec(kind=SourceKind.FILE, text=str(path))
    part = OutputSpec("file", str(lease.part))
    one = replace(options, inputs=(str(path),), overwrite=True, resume=False)
    advance = partial(_tell_part, str(path), tell)
    watchers = Watchers(progress=lambda total: contextlib.nullcontext(partial(advance, total)))
    report = translate_source(one, spec, [part], translator, stop, watchers)
    if not report.frames_out and not report.interrupted:
        raise SourceError(report.to_line())
    return report


def _reveal(
    part: Path, output: Path, row: Row, made_from: dict[str, Any], report: RunReport
) -> None:
    """Let an output appear, described before: one without its description is somebody else's."""
    output.unlink(missing_ok=True)  # the new description is not for the old output
    write_json(
        output.with_suffix(".json"),
        {
            "schema": SCHEMA, "made_from": made_from, "output_bytes": part.stat().st_size,
            **asdict(row), "frames_lost": report.frames_lost,
            "frames_damaged": report.frames_damaged, "painted": report.painted, "run": report.run,
        },
    )  # fmt: skip
    rename(part, output)


def _made_from(options: RunOptions, path: Path, translator: Translator) -> dict[str, Any]:
    assert translator.bundle is not None, "it was loaded from one"
    status = path.stat()
    return {
        "model_sha256": translator.bundle.sha256,
        "options": {name: getattr(options, name) for name in _DECIDING},
        "input": {"bytes": status.st_size, "mtime_s": status.st_mtime},
    }


def _done(options: RunOptions, tree: Tree, path: Path, made_from: dict[str, Any]) -> Row | None:
    """Return the row of a video that is done, and None for one that is to be translated.

    The input's SHA-256 is computed where its size or time differ from those noted.

    Raises:
        SinkError: the output exists, and is somebody else's or made from something else.
    """
    output = tree.output_of(path)
    if not output.exists():
        made_from["input"].setdefault("sha256", sha256_of_file(path))
        return None
    try:
        noted = read_json(output.with_suffix(".json"))
        before, size, frames = noted["made_from"], noted["output_bytes"], int(noted["frames"])
        input_before = dict(before["input"])
    except (ContractError, ValueError, KeyError, TypeError) as error:
        raise SinkError(
            f"{output} exists, and {output.with_suffix('.json').name} does not say from what it "
            "was made; move it away"
        ) from error
    digest = input_before.pop("sha256", None)
    if input_before != made_from["input"]:
        made_from["input"]["sha256"] = sha256_of_file(path)
        input_before = made_from["input"] if digest == made_from["input"]["sha256"] else {}
    same = before | {"input": 0} == made_from | {"input": 0} and size == output.stat().st_size
    if same and input_before:
        losses = str(noted.get("losses", ""))
        return _row(tree, path, "done before", frames=frames, losses=losses)
    if not options.overwrite:
        raise SinkError(
            f"{output} was made from another input or model, or with other options; give "
            "--overwrite to replace it"
        )
    made_from["input"].setdefault("sha256", sha256_of_file(path))
    return None


def _tell_part(path: str, tell: Tell, total: int | None, task: FrameTask) -> None:
    if task.index % 16 == 0:  # each goes through a pipe
        count = task.index + 1
        tell((path, count, min(count / total, 1.0) if total else 0.0))


def _name(path: str, verbose: bool, record: logging.LogRecord) -> bool:
    """Let warnings say which video they are about, and what each video is told stay out."""
    text = record.getMessage()
    record.msg, record.args = text if path in text else f"{path}: {text}", ()
    return verbose or record.levelno > logging.INFO


def _progress(tree: Tree, line: StatusLine) -> Callable[[Row | Part], None]:
    """Return a function that shows how far a run is, by the inputs' bytes.

    The time left is that for videos to translate, since those done before took none.
    """
    bytes_of = {str(path): path.stat().st_size if path.exists() else 0 for path in tree.paths}
    total, began_s = max(sum(bytes_of.values()), 1), time.monotonic()
    files, frames, done, worked = 0, 0, 0, 0
    parts: dict[str, tuple[int, float]] = {}
    line.show(f"file 0/{len(tree.paths)}", share=0.0)

    def show(news: Row | Part) -> None:
        nonlocal files, frames, done, worked
        if isinstance(news, Row):
            parts.pop(news.input, None)
            files, done = files + 1, done + bytes_of[news.input]
            if news.status == "failed":
                _log.warning("%s: %s", news.input, news.reason)
            elif news.status == "translated":
                frames, worked = frames + news.frames, worked + bytes_of[news.input]
        else:
            parts[news[0]] = news[1:]
        count = frames + sum(frames for frames, _ in parts.values())
        partly = sum(bytes_of[path] * share for path, (_, share) in parts.items())
        took_s, text = time.monotonic() - began_s, [f"file {files}/{len(tree.paths)}"]
        if count:
            left_s = took_s / max(worked + partly, 1) * (total - done - partly)
            speed = f"{count / max(took_s, 1e-9):.1f} frames/s"
            text = [f"{text[0]}, {whole_seconds(left_s)} left", count_of(count, "frame"), speed]
        line.show(*text, share=(done + partly) / total)

    return show
