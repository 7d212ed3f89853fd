"""What the four commands share: help by section, error lines, exit codes, logging.

Results go to stdout, logs and errors to stderr. This module imports click and nothing heavy.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NoReturn

import click

from .errors import MissingExtraError, P2PError
from .redaction import redact

__all__ = [
    "P2PCommand",
    "P2PGroup",
    "Size",
    "StatusLine",
    "option",
    "require_extra",
    "setup_logging",
    "stack",
    "whole_seconds",
]

_EXIT_UNEXPECTED, _EXIT_INTERRUPTED, _EXIT_PIPE_CLOSED = 1, 130, 141
_NO_MEMORY = "error: not enough memory; try a smaller batch or size"
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

    Args:
        names, settings: what ``click.option`` takes; a default is shown unless told otherwise.
        group: title of the section of ``--help`` that lists the option.
        advanced: list the option under ``--help-all`` only.
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

    =====================  ==============================================
    ``P2PError``           ``error: <message>``, the error's ``exit_code``
    ``MemoryError``        ``error: not enough memory ...``, 1
    ``KeyboardInterrupt``  ``interrupted``, 130
    ``BrokenPipeError``    nothing (stdout is closed), 141
    =====================  ==============================================

    Everything else is a defect and keeps its traceback. ``--help`` lists the options by
    section, ``--help-all`` the advanced ones, too.
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command's function and handle its errors; see the class."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe shows here, not while the interpreter ends
            return result
        except P2PError as error:
            _fail(ctx, f"error: {redact(str(error))}", error.exit_code)
        except (MemoryError, RuntimeError) as error:
            no_stack = str(error) == "can't start new thread"
            if not (no_stack or isinstance(error, MemoryError)):
                raise
            _fail(ctx, _NO_MEMORY, _EXIT_UNEXPECTED)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", _EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Python flushes stdout again while it ends; redirect that flush.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(_EXIT_PIPE_CLOSED)


class P2PGroup(P2PCommand, click.Group):
    """A :class:`P2PCommand` with commands of its own, given by ``add_command``."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


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
    """Send logs to stderr, without passwords.

    Other packages log from WARNING on, ours from INFO on; from DEBUG on if ``verbose``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)


def require_extra(module: str, extra: str) -> None:
    """Raise a MissingExtraError with the pip command if a module of an extra is not installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this command needs {module}, which is not installed; "
            f'type: pip install "pix2pix-edge[{extra}]"'
        )


class StatusLine:
    """One line at the end of a terminal that is drawn again and again, and makes way for logs.

    Use it as a context manager. Where stderr is no terminal, :attr:`live` is False and nothing is
    drawn.
    """

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._text, self._drawn, self._due_s = "", 0, 0.0

    def __enter__(self) -> StatusLine:
        for handler in logging.getLogger().handlers if self.live else ():
            handler.addFilter(self._make_way)
        return self

    def __exit__(self, *error: object) -> None:
        for handler in logging.getLogger().handlers:
            handler.removeFilter(self._make_way)
        if self._text:
            self._draw(f"{self._text.ljust(self._drawn)}\n")

    def show(self, first: str, *others: str, share: float | None = None) -> None:
        """Draw the line, ten times a second at most; the last one stays.

        Args:
            first: never cut off.
            others: left out, from the last one on, where the terminal is narrow.
            share: part (0-1) of the work that is done, for a bar if there is room left.
        """
        if not self.live:
            return
        self._text = compose_line(_columns() - 1, first, others, share)
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _DRAW_EVERY_S
            self._draw(self._text.ljust(self._drawn))
            self._drawn = len(self._text)

    def _make_way(self, record: logging.LogRecord) -> bool:
        self._draw(f"{' ' * self._drawn}\r")
        self._drawn, self._due_s = 0, 0.0
        return True

    def _draw(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone; the work matters more
            sys.stderr.write(f"\r{text}")
            sys.stderr.flush()


def compose_line(columns: int, first: str, others: Sequence[str], share: float | None) -> str:
    """Return what :class:`StatusLine` draws in so many columns."""
    text = first
    for part in others:
        if len(text) + 2 + len(part) > columns:
            break
        text += f"  {part}"
    width = min(columns - len(text) - 4, _BAR_COLUMNS)
    if share is None or width < _SHORTEST_BAR:
        return text
    done = round(width * min(max(share, 0), 1))
    return f"{first}  [{'#' * done}{'-' * (width - done)}]{text[len(first) :]}"


def whole_seconds(duration_s: float) -> str:
    """Return a duration as ``h:mm:ss``."""
    return str(timedelta(seconds=round(duration_s)))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


class _Formatter(logging.Formatter):
    """Information as plain lines, other levels with a lower-case prefix."""

    def format(self, record: logging.LogRecord) -> str:
        text = redact(super().format(record))
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def _fail(ctx: click.Context, line: str, exit_code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # stderr may be closed or full
        click.echo(" ".join(line.split()), err=True)
    ctx.exit(exit_code)
