"""What the four commands share: one line per error, exit codes, logging, missing extras.

Results go to stdout, logs and errors to stderr. This module imports click and nothing heavy.

Example::

    @click.command(cls=P2PCommand)
    @click.option("-v", "--verbose", is_flag=True)
    def main(verbose: bool) -> None:
        setup_logging(verbose)
        require_extra("torch", "train")
        from .loop import train  # heavy imports wait until they are needed
        ...
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
from typing import Any, NoReturn

import click

from .errors import MissingExtraError, P2PError
from .model.onnx_check import redact

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_PIPE_CLOSED",
    "EXIT_TERMINATED",
    "P2PCommand",
    "P2PGroup",
    "require_extra",
    "setup_logging",
]

EXIT_UNEXPECTED = 1
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141
EXIT_TERMINATED = 143

_NO_MEMORY = "error: not enough memory; try a smaller batch or size"

_PACKAGES = ("p2p_runtime", "p2p_train", "p2p_export", "p2p_bench")


class P2PCommand(click.Command):
    """A command that turns what the library raises into one line and an exit code.

    ========================  ======================================================
    raised inside             on stderr, and the exit code
    ========================  ======================================================
    ``P2PError``              ``error: <message>``, the error's ``exit_code``
    ``MemoryError``           ``error: not enough memory ...``, 1
    ``KeyboardInterrupt``     ``interrupted``, 130
    ``BrokenPipeError``       nothing (the reader of stdout has left), 141
    ========================  ======================================================

    Everything else is a defect of the program and keeps its traceback. ``-h`` works like
    ``--help``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what ``click.Command`` takes."""
        settings = kwargs.setdefault("context_settings", {})
        settings.setdefault("help_option_names", ["-h", "--help"])
        settings.setdefault("max_content_width", 100)
        super().__init__(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command's function; see the class for what becomes of its errors."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a closed pipe shows here, not in the interpreter's last breath
            return result
        except P2PError as error:
            _fail(ctx, f"error: {redact(str(error))}", error.exit_code)
        except MemoryError:
            _fail(ctx, _NO_MEMORY, EXIT_UNEXPECTED)
        except RuntimeError as error:
            if str(error) != "can't start new thread":  # its stack found no memory
                raise
            _fail(ctx, _NO_MEMORY, EXIT_UNEXPECTED)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Python flushes stdout once more while it ends; give that flush somewhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_PIPE_CLOSED)


class P2PGroup(P2PCommand, click.Group):
    """A :class:`P2PCommand` with commands of its own, given by ``add_command``."""


def setup_logging(verbose: bool = False) -> None:
    """Send logs to stderr, without passwords: our packages from INFO on, others from WARNING on.

    Args:
        verbose: our packages from DEBUG on.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)


def require_extra(module: str, extra: str) -> None:
    """Check, without importing it, that a module of an optional extra is installed.

    Raises:
        MissingExtraError: it is not; the message holds the pip command.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"this command needs {module}, which is not installed; "
            f'type: pip install "pix2pix-edge[{extra}]"'
        )


class _Formatter(logging.Formatter):
    """Plain lines for information, a lower-case prefix for what needs attention."""

    def format(self, record: logging.LogRecord) -> str:
        text = redact(super().format(record))
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


def _fail(ctx: click.Context, line: str, exit_code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # stderr may be closed or full; the exit code still tells
        click.echo(" ".join(line.split()), err=True)
    ctx.exit(exit_code)
