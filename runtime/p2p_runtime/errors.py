"""All errors that a user can meet, in one tree.

::

    P2PError                  exit code
    ├── ConfigError               2    an option or a setting is wrong
    ├── DatasetError              2    the training data are missing, unreadable or inconsistent
    ├── CheckpointError           2    a checkpoint is broken, unsafe or of another network
    ├── ContractError             2    a frame or a document breaks the pixel contract
    ├── BundleError               2    a model file is missing, broken, unsafe or not an export
    ├── MissingExtraError         2    a package of an extra is not installed
    ├── DeviceUnavailableError    4    the requested device is missing
    ├── EngineError               1    a loaded model fails on a frame
    │   └── ServerError           4    a model server does not answer
    ├── OutputError               3    a result cannot be written
    ├── TrainingError             1    training cannot continue, for example after a NaN loss
    ├── ExportError               2    a generator cannot be exported
    │   ├── ParityError           2    the exported file computes something else
    │   └── EngineBuildError      2    TensorRT builds no engine
    ├── VideoError                2    a video fails
    │   ├── SourceError           2    a video or a folder cannot be read
    │   │   ├── SourceLostError   6    a live source is absent, or lost for good
    │   │   └── StoppedError    130    the user ended the run while a live source was opened
    │   └── SinkError             3    a video or a folder cannot be written
    └── LossesError               5    frames or colours were lost, under ``--strict``

The library raises these errors; the commands print one line and exit with the code.
"""

from __future__ import annotations

from typing import ClassVar


def count_of(number: int, noun: str) -> str:
    """Return ``1 frame`` or ``2 frames``, for a message."""
    return f"{number} {noun}{'s' * (number != 1)}"


class P2PError(Exception):
    """The base of all errors with a message for the user and an exit code."""

    exit_code: ClassVar[int] = 2


class ConfigError(P2PError):
    """Raised when an option, a setting or a combination of them is wrong."""


class DatasetError(P2PError):
    """Raised when the training data are missing, unreadable or inconsistent."""


class CheckpointError(P2PError):
    """Raised when a checkpoint is broken, unsafe, or of another network or version."""


class ContractError(P2PError):
    """Raised when a frame or a document breaks the pixel contract."""


class BundleError(P2PError):
    """Raised when a model file is missing, damaged, unsafe, or not an export of this project."""


class MissingExtraError(P2PError):
    """Raised when a package of an extra is missing; the message has the pip command."""


class DeviceUnavailableError(P2PError):
    """Raised when the requested device is missing; the message lists the others."""

    exit_code = 4


class EngineError(P2PError):
    """Raised when a loaded model fails on a frame."""

    exit_code = 1


class ServerError(EngineError):
    """Raised when a model server does not answer, or not in time."""

    exit_code = 4


class OutputError(P2PError):
    """Raised when a result cannot be written."""

    exit_code = 3


class TrainingError(P2PError):
    """Raised when training cannot continue."""

    exit_code = 1


class ExportError(P2PError):
    """Raised when a generator cannot be exported."""


class ParityError(ExportError):
    """Raised when the exported file computes something else than the torch module."""


class EngineBuildError(ExportError):
    """Raised when TensorRT builds no engine."""


class VideoError(P2PError):
    """The base of errors between a video's bytes and its frames."""


class SourceError(VideoError):
    """Raised when a video or a folder of images cannot be read."""


class SourceLostError(SourceError):
    """Raised when a live source does not answer, or is lost for good."""

    exit_code = 6


class StoppedError(SourceError):
    """Raised when the user ends the run while a live source is opened."""

    exit_code = 130


class SinkError(VideoError, OutputError):
    """Raised when a video or a folder of images cannot be written."""


class LossesError(P2PError):
    """Raised when the work is finished but frames or colours were lost, under ``--strict``."""

    exit_code = 5
