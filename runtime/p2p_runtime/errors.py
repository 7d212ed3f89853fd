"""Every failure that a user can meet, in one tree.

::

    P2PError                    exit code
    ├── ConfigError                 2       a flag or a setting is wrong
    ├── DatasetError                2       the training data cannot be used
    ├── CheckpointError             2       a checkpoint is broken or does not fit
    ├── ContractError               2       a frame or a contract document breaks the contract
    ├── BundleError                 2       a model file is broken, unsafe or not ours
    ├── MissingExtraError           2       a command needs packages that are not installed
    ├── DeviceUnavailableError      4       the device asked for is not there
    ├── EngineError                 1       the model was loaded, but failed on a frame
    ├── OutputError                 3       a result cannot be written
    ├── TrainingError               1       training cannot go on (for example, a loss became NaN)
    ├── ExportError                 2
    │   ├── ParityError             2       the exported file does not compute what was trained
    │   └── EngineBuildError        2
    ├── VideoError                  2
    │   ├── SourceError             2       a video or a folder cannot be read
    │   │   ├── SourceLostError     6       a live source is not there, or went away for good
    │   │   └── StoppedError      130       the user ended the run before it had begun
    │   └── SinkError               3       a video or a folder cannot be written
    └── LossesError                 5       finished, but with losses, under ``--strict``

The library raises these; the command lines turn one into a single line and its exit code.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BundleError",
    "CheckpointError",
    "ConfigError",
    "ContractError",
    "DatasetError",
    "DeviceUnavailableError",
    "EngineBuildError",
    "EngineError",
    "ExportError",
    "LossesError",
    "MissingExtraError",
    "OutputError",
    "P2PError",
    "ParityError",
    "SinkError",
    "SourceError",
    "SourceLostError",
    "StoppedError",
    "TrainingError",
    "VideoError",
]


class P2PError(Exception):
    """Base of every error that has a message for the user and an exit code."""

    exit_code: ClassVar[int] = 1


class ConfigError(P2PError):
    """A flag, a setting or a combination of them is wrong."""

    exit_code = 2


class DatasetError(P2PError):
    """The training data is missing, unreadable or inconsistent."""

    exit_code = 2


class CheckpointError(P2PError):
    """A checkpoint is broken, unsafe, or was made for another network."""

    exit_code = 2


class ContractError(P2PError):
    """A frame or a contract document does not meet the pixel contract."""

    exit_code = 2


class BundleError(P2PError):
    """A model file is missing, damaged, unsafe, or not an export of this project."""

    exit_code = 2


class MissingExtraError(P2PError):
    """A command needs an extra that is not installed; the message holds the pip command."""

    exit_code = 2


class DeviceUnavailableError(P2PError):
    """The device that was asked for is not there; the message lists what is."""

    exit_code = 4


class EngineError(P2PError):
    """A model that was loaded failed on a frame."""


class OutputError(P2PError):
    """A result cannot be written where it should go."""

    exit_code = 3


class TrainingError(P2PError):
    """Training cannot go on."""


class ExportError(P2PError):
    """A generator cannot be exported."""

    exit_code = 2


class ParityError(ExportError):
    """The exported file does not compute what the torch module computes."""


class EngineBuildError(ExportError):
    """TensorRT did not build an engine."""


class VideoError(P2PError):
    """Base of what goes wrong between a video's bytes and its frames."""

    exit_code = 2


class SourceError(VideoError):
    """A video or a folder of images cannot be read."""


class SourceLostError(SourceError):
    """A live source does not answer, or went away and did not come back."""

    exit_code = 6


class StoppedError(SourceError):
    """The user ended the run while a live source was waited for."""

    exit_code = 130


class SinkError(VideoError):
    """A video or a folder of images cannot be written."""

    exit_code = 3


class LossesError(P2PError):
    """The work was finished, but frames were lost on the way and ``--strict`` forbids that."""

    exit_code = 5
