"""What the four commands share: help by section, error lines, exit codes, logging.

Results go to stdout, logs and errors to stderr. This module imports click and nothing heavy.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import logging
import os
import re
import resource
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

import click

from .errors import ConfigError, MissingExtraError, P2PError
from .redaction import redact
from .starting import started

__all__ = [
    "P2PCommand", "P2PGroup", "Size", "StatusLine", "filtered_logs", "missing_library",
    "open_descriptors", "option", "require_extra", "setup_logging", "stack", "whole_seconds",
    "wrapped",
]  # fmt: skip

_EXIT_UNEXPECTED, _EXIT_BAD_INPUT, _EXIT_NOT_WRITTEN = 1, 2, 3
_EXIT_INTERRUPTED, _EXIT_PIPE_CLOSED = 130, 141

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
_OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP, *_NO_ROOM)
"""Errors of the file system that no command can foresee everywhere; others are defects."""

_OUTPUTS = ("output", "run_dir", "report", "json_file", "plot_file")
"""Parameters of commands that name what is written."""

_log = logging.getLogger(__name__)
_PACKAGES = ("p2p_runtime", "p2p_train", "p2p_export", "p2p_bench")

_LAST_SECTION = "Run"
"""Section of ``--help`` for options that name none, such as ``--version``."""

_DRAW_EVERY_S = 0.1
_USUAL_COLUMNS, _BAR_COLUMNS, _SHORTEST_BAR = 80, 30, 8
"""Width of a terminal that does not tell it, and of the longest and shortest progress bar."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Option(click.Option):
    """An option with a place in the help, see :func:`option`."""

    def __init__(self, *args: Any, group: str, advanced: bool, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group, self.advanced = group, advanced


def option(*names: str, group: str, advanced: bool = False, **settings: Any) -> Decorator:
    """Return a decorator that does what ``click.option`` does, with a place in the help.

    The section ``group`` lists it, of ``--help-all`` alone if it is advanced. A default is shown
    unless told otherwise.
    """
    settings.setdefault("show_default", settings.get("default") is not None)
    return click.option(*names, cls=_Option, group=group, advanced=advanced, **settings)


class Size(click.ParamType[tuple[int, int]]):
    """A size in pixels as ``WxH``; with ``square``, also as a single number for both sides."""

    name = "WxH"

    def __init__(self, *, square: bool = False) -> None:
        self._square = square

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return (width, height) in pixels."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,4})(?:[xX]([1-9]\d{0,4}))?", str(value))
        if match is None or not (match[2] or self._square):
            self.fail(f"{value!r} is not a size; write it like 640x360", param, ctx)
        return int(match[1]), int(match[2] or match[1])


def stack(*decorators: Decorator) -> Decorator:
    """Return one decorator that applies several; the help lists them in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class P2PCommand(click.Command):
    """A command that turns what the library raises into one line and an exit code.

    =====================  =======================================================
    ``P2PError``           ``error: <message>``, the error's ``exit_code``
    ``MemoryError``        ``error: not enough memory ...``, 1; also for threads and libraries
    ``KeyboardInterrupt``  ``interrupted``, 130
    ``BrokenPipeError``    nothing (stdout is closed), 141
    ``PermissionError``    ``error: cannot read (or write) <path>``, 2 (or 3)
    full or broken disk    ``error: cannot write <path>``, 3; also a full stdout
    missing library        ``error: <module> cannot be loaded ...`` with the remedy, 2
    =====================  =======================================================

    Everything else is a defect and keeps its traceback. ``--help`` lists the options by
    section, ``--help-all`` the advanced ones, too. Closed descriptors 0 to 2 become /dev/null.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what ``click.Command`` takes."""
        settings = kwargs.setdefault("context_settings", {})
        settings.setdefault("help_option_names", ["-h", "--help"])
        settings.setdefault("max_content_width", 100)
        super().__init__(*args, **kwargs)
        if any(_is_advanced(parameter) for parameter in self.params):
            self.params.append(_help_all())

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section a group, in the order in which the groups first occur."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue  # the usage line names it
            record = parameter.get_help_record(ctx)
            if record and (_HELP_ALL in ctx.meta or not _is_advanced(parameter)):
                title = getattr(parameter, "group", _LAST_SECTION)
                sections.setdefault(title, []).append(record)
        sections[_LAST_SECTION] = sections.pop(_LAST_SECTION)  # --help itself is always there
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command as ``click.Command`` does; what stdout cannot take is told, too."""
        started()
        open_descriptors()
        try:
            try:
                return super().main(*args, **kwargs)
            finally:
                sys.stdout.flush()  # what fails shows here, not while the interpreter ends
        except OSError as error:
            if not _is_of_stdout(error):
                raise
            _discard_stdout()
            _say(f"error: cannot write to stdout: {error.strerror}")
            sys.exit(_EXIT_NOT_WRITTEN)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command's function and handle its errors; see the class."""
        try:
            _check_working_folder()
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except P2PError as error:
            _fail(ctx, f"error: {redact(str(error))}", error.exit_code)
        except (MemoryError, RuntimeError) as error:
            no_thread = str(error) == "can't start new thread"
            if not (no_thread or isinstance(error, MemoryError)):
                raise
            _fail(ctx, f"error: {_what_is_short(no_thread)}", _EXIT_UNEXPECTED)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", _EXIT_INTERRUPTED)
        except BrokenPipeError:
            _discard_stdout()
            ctx.exit(_EXIT_PIPE_CLOSED)
        except ImportError as error:
            if (remedy := missing_library(error)) is None:
                raise
            short = remedy == _what_is_short(no_thread=False)
            _fail(ctx, f"error: {remedy}", _EXIT_UNEXPECTED if short else _EXIT_BAD_INPUT)
        except OSError as error:
            if error.errno not in _OF_THE_SYSTEM or not isinstance(error.filename, (str, bytes)):
                raise
            _log.debug("where it happened:", exc_info=True)
            path = os.fsdecode(error.filename)
            wanted = error.errno not in _NO_ROOM and not _is_output(path, ctx.params)
            reading = wanted and _is_unreadable(path)
            line = f"error: cannot {'read' if reading else 'write'} {path}: {error.strerror}"
            _fail(ctx, line, _EXIT_BAD_INPUT if reading else _EXIT_NOT_WRITTEN)


class P2PGroup(P2PCommand, click.Group):
    """A :class:`P2PCommand` with commands of its own, given by ``add_command``."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _check_working_folder() -> None:
    """Raise a ConfigError if the working folder was removed, which libraries stumble over."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise ConfigError("the working folder was removed; change to another one") from error


_HELP_ALL = "p2p_runtime.help_all"


def _is_advanced(parameter: click.Parameter) -> bool:
    return isinstance(parameter, _Option) and parameter.advanced


def _help_all() -> click.Option:
    def show(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            ctx.meta[_HELP_ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    eager: dict[str, Any] = {"is_flag": True, "is_eager": True, "expose_value": False}
    return click.Option(["--help-all"], callback=show, help="Show all options and exit.", **eager)


def setup_logging(verbose: bool = False) -> None:
    """Send logs to stderr, in a notebook to the cell's plain output, without passwords.

    Other packages log from WARNING on, ours from INFO on; from DEBUG on if ``verbose``.
    """
    handler = _Handler(_log_stream())
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)


@contextlib.contextmanager
def filtered_logs(keep: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Log what ``keep`` returns True for during the block; it may change the records."""
    handlers = logging.getLogger().handlers[:]
    for handler in handlers:
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(keep)


def require_extra(module: str, extra: str) -> None:
    """Raise a MissingExtraError with the pip command if a module of an extra is not installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this command needs {module}, which is not installed; "
            f'type: pip install "pix2pix-edge[{extra}]"'
        )


class StatusLine:
    """One line at the end of a terminal that is drawn again and again, and makes way for logs.

    Use it as a context manager. Where stderr is neither a terminal nor that of a notebook,
    :attr:`live` is False, and the line is logged every ``say_every_s`` seconds.
    """

    def __init__(self, say_every_s: float = 5.0) -> None:
        self.live = sys.stderr.isatty() or _in_notebook()
        self._text, self._drawn, self._due_s = "", 0, 0.0
        self._said_s, self._say_every_s = time.monotonic(), say_every_s
        self._lock = threading.RLock()  # others log than those who draw

    def __enter__(self) -> StatusLine:
        _Handler.line = self if self.live else None
        return self

    def __exit__(self, *error: object) -> None:
        _Handler.line = None
        with self._lock:
            if self._text:
                self._draw(f"{self._text.ljust(self._drawn)}\n")

    def show(self, first: str, *others: str, share: float | None = None) -> None:
        """Draw the line, ten times a second at most; the last one stays. Or log it now and then.

        Where the terminal is narrow, ``others`` are left out, from the last one on. If there is
        room, a bar shows the share (0-1) of the work that is done.
        """
        if not self.live:
            if (now_s := time.monotonic()) - self._said_s >= self._say_every_s:
                self._said_s = now_s
                _log.info("%s", ", ".join([first, *others]))
            return
        with self._lock:
            self._text = compose_line(_columns() - 1, first, others, share)
            if time.monotonic() >= self._due_s:
                self._due_s = time.monotonic() + _DRAW_EVERY_S
                self._draw(self._text.ljust(self._drawn))
                self._drawn = len(self._text)

    @contextlib.contextmanager
    def makes_way(self) -> Iterator[None]:
        """Wipe the line; it comes back behind the block, also where no frame comes for long."""
        with self._lock:
            self._draw(f"{' ' * self._drawn}\r")
            yield
            self._draw(self._text)
            self._drawn, self._due_s = len(self._text), 0.0

    def _draw(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; the work matters more
            stream = _log_stream()
            stream.write(f"\r{text}")
            stream.flush()


def _in_notebook() -> bool:
    return type(sys.stderr).__module__ == "ipykernel.iostream"


def _log_stream() -> TextIO:
    """Return stderr; in a notebook stdout, since stderr looks like an error there."""
    return sys.stdout if _in_notebook() else sys.stderr


def compose_line(columns: int, first: str, others: Sequence[str], share: float | None) -> str:
    """Return what :class:`StatusLine` draws in so many columns."""
    text = first
    bar = 0 if share is None else _SHORTEST_BAR + 4
    for part in others:
        if len(text) + 2 + len(part) + bar > columns:
            break
        text += f"  {part}"
    width = min(columns - len(text) - 4, _BAR_COLUMNS)
    if share is None or width < _SHORTEST_BAR:
        return text
    done = round(width * min(max(share, 0), 1))
    return f"{first}  [{'#' * done}{'-' * (width - done)}]{text[len(first) :]}"


def wrapped(text: str, first: str = "", others: str = "    ") -> str:
    """Return a line of a result as lines for a terminal of 80 columns, each with its indent."""
    return textwrap.fill(
        text, _USUAL_COLUMNS - 1, initial_indent=first, subsequent_indent=others,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def whole_seconds(duration_s: float) -> str:
    """Return a duration as ``h:mm:ss``."""
    return str(timedelta(seconds=round(duration_s)))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 takes none
    """Writes logs, where a status line makes way for each record."""

    line: ClassVar[StatusLine | None] = None

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.nullcontext() if self.line is None else self.line.makes_way():
            super().emit(record)


class _Formatter(logging.Formatter):
    """Information as plain lines, other levels with a lower-case prefix."""

    def format(self, record: logging.LogRecord) -> str:
        text = redact(super().format(record))
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def open_descriptors() -> None:
    """Open those of stdin, stdout and stderr that the caller closed on /dev/null.

    Otherwise the next files that are opened take their numbers, and get what is printed.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def missing_library(error: ImportError) -> str | None:
    """Return what to do about an import that lacks a library of the system; None for others."""
    found = re.search(r"(\S+\.so[.\d]*): cannot open shared object file", str(error))
    if found is None:
        short = "failed to map segment" in str(error)
        return _what_is_short(no_thread=False) if short else None
    if found[1].startswith(("libGL", "libgthread", "libglib", "libxcb", "libX", "libSM")):
        return (
            f"OpenCV cannot be loaded, because {found[1]} is missing; type: apt-get install libgl1 "
            "libglib2.0-0, or: pip uninstall opencv-python; pip install opencv-python-headless"
        )
    return f"a package cannot be loaded, because {found[1]} is missing; install what contains it"


def _what_is_short(no_thread: bool) -> str:
    """Return which limit of this process explains that there is no memory or no thread."""
    memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    bounded = memory != resource.RLIM_INFINITY
    limit = f"the address space is limited to {memory >> 20} MiB (ulimit -v)"
    if not no_thread:
        return f"not enough memory; {limit if bounded else 'try a smaller batch or size'}"
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    counted = "" if processes == resource.RLIM_INFINITY else f" to {processes} (ulimit -u)"
    return (
        f"no more threads can be started; their number is limited{counted or ' by the container'}"
        + (f", and {limit}" if bounded else "")
    )


def _is_output(path: str, parameters: dict[str, Any]) -> bool:
    """Tell whether a path is what an option of :data:`_OUTPUTS` names, or lies in it."""
    values = (parameters.get(name) for name in _OUTPUTS)
    outputs = [
        one for value in values if value for one in (value if isinstance(value, tuple) else [value])
    ]
    return any(path == str(one) or path.startswith(f"{one}{os.sep}") for one in outputs)


def _is_unreadable(path: str) -> bool:
    """Tell whether a path, or a folder on the way to it, may not be read."""
    try:
        os.lstat(path)  # names need not be valid paths
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not os.access(path, os.R_OK)


def _is_of_stdout(error: OSError) -> bool:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is not None and place.tb_frame.f_globals["__name__"] == click.echo.__module__:
        return True
    try:
        sys.stdout.flush()  # what it could not take is still in its buffer
    except OSError as again:
        return again.errno == error.errno
    return False


def _discard_stdout() -> None:
    """Redirect what Python flushes to stdout while it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(ctx: click.Context, line: str, exit_code: int) -> NoReturn:
    _say(line)
    ctx.exit(exit_code)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # stderr may be closed or full
        click.echo(" ".join(line.split()), err=True)
