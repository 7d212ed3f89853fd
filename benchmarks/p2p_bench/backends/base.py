"""The backend protocol: a way to run one generator, and whether it is available here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from p2p_runtime.engines import Engine

__all__ = ["CHECKPOINT", "Backend"]

CHECKPOINT = "checkpoint"
"""Kind of file that torch runs; the other backends run a bundle, named by its precision."""


class Backend(Protocol):
    """A library, a precision and a device. Frozen dataclasses that import nothing heavy.

    Attributes:
        name: the name that a user types after ``--backends``.
        what: a description for tables and charts, ``library, precision``.
        needs: the kind of file that it runs: :data:`CHECKPOINT` or a bundle's precision.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def what(self) -> str: ...  # noqa: D102

    @property
    def needs(self) -> str: ...  # noqa: D102

    def unavailable(self) -> str | None:
        """Return why this machine cannot run it, with the remedy; None if it can."""
        ...

    def open(self, path: Path, threads: int) -> Engine:
        """Load a file on ``threads`` CPU threads.

        Raises:
            P2PError: the file is broken, or the library fell back to another device or precision.
        """
        ...
