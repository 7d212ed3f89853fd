"""What a backend is: a row of the benchmark that knows whether it can run here, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from p2p_runtime.engines import Engine
    from p2p_runtime.model.contract import PixelContract

__all__ = ["CHECKPOINT", "Backend", "Files"]

CHECKPOINT = "checkpoint"
"""What torch runs; the other backends run a bundle, named by its precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """One generator in all the forms that lie there.

    Attributes:
        bundles: the ONNX file of each precision.
        checkpoint: what they were exported from; None on a device.
        contract: of all of them.
        generator: what the bundles say of the architecture.
    """

    bundles: dict[str, Path]
    checkpoint: Path | None
    contract: PixelContract
    generator: dict[str, Any] = field(default_factory=dict)

    def find(self, kind: str) -> Path | None:
        """Return the file of a kind: :data:`CHECKPOINT`, or a precision."""
        return self.checkpoint if kind == CHECKPOINT else self.bundles.get(kind)


class Backend(Protocol):
    """A row of the benchmark. Implementations are frozen dataclasses that import nothing heavy.

    Attributes:
        name: what a user types after ``--backends``.
        what: the same for readers.
        needs: the kind of file that it runs, see :meth:`Files.find`.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def what(self) -> str: ...  # noqa: D102

    @property
    def needs(self) -> str: ...  # noqa: D102

    def missing(self) -> str | None:
        """Say why this machine cannot run it, and what to type; None when it can."""
        ...

    def open(self, path: Path, threads: int) -> Engine:
        """Open a file.

        Raises:
            P2PError: the file is broken, or something else than asked for would run it.
        """
        ...
