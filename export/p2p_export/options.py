"""What to export: which checkpoint, which files, and where they go."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_train.training.checkpoint import find_checkpoint

from .graph.int8 import PROFILES
from .importers.options import SOURCE_FLAG, ImportOptions
from .targets.tensorrt import EngineOptions

__all__ = ["INT8_FOR_TENSORRT", "ExportOptions", "checkpoint_of"]

RUNS = Path("runs")
"""Folder of runs, in the working directory."""

INT8_FOR_TENSORRT = "int8-tensorrt"
"""Name of the int8 file for TensorRT. ``p2p-run`` overlooks it: on a CPU it is the slower one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What to export, validated when it is made.

    Attributes:
        source: a run's folder, a checkpoint, or None for the newest run under ``runs/``.
        imported: a checkpoint of another project, in place of ``source``.
        output: a folder, a file name for one precision, or None for the run's ``export/``.
        fp16, int8: precisions beside fp32.
        int8_profile: target of int8, a key of :data:`p2p_export.graph.int8.PROFILES`.
        calibration: folder of inputs or pairs from which int8 derives its ranges.
        frames: folder of inputs or pairs for the parity check; None for the checkpoint's own.
        segmenter: a segmenter of ``p2p-train segmenter``; with it, the segmentation score is
            measured and gated.
        engines: TensorRT engines to build from every file; from int8, of its ``tensorrt`` profile.
        force: replace files of another export.

    Raises:
        ConfigError: the options contradict each other.
    """

    source: Path | None = None
    imported: ImportOptions | None = None
    output: Path | None = None
    fp16: bool = False
    int8: bool = False
    int8_profile: str = "x86"
    calibration: Path | None = None
    frames: Path | None = None
    segmenter: Path | None = None
    engines: EngineOptions = field(default_factory=EngineOptions)
    force: bool = False

    def __post_init__(self) -> None:
        if self.int8_profile not in PROFILES:
            raise ConfigError(
                f"int8 profile {self.int8_profile!r} is unknown; there are {', '.join(PROFILES)}"
            )
        if self.int8 and self.calibration is None:
            raise ConfigError(
                "int8 needs real inputs for its ranges; name a folder of them (100 or more) "
                "with --calibration DIR"
            )
        if self.output is not None and self.output.suffix == ".onnx":
            self._check_one_file()
        if self.imported is not None:
            self._check_imported(self.imported)

    def _check_one_file(self) -> None:
        if self.fp16 and self.int8:
            raise ConfigError("--output names one file, but --fp16 --int8 make two; name a folder")
        if self._int8_twice:
            raise ConfigError(
                "--output names one file, but int8 for the CPU and for TensorRT are two; "
                "name a folder, or give --int8-profile tensorrt"
            )

    def _check_imported(self, imported: ImportOptions) -> None:
        if self.source is not None:
            raise ConfigError(f"give a run or {SOURCE_FLAG}, not both")
        if self.int8 and not imported.is_unet:
            raise ConfigError(f"--int8 is for U-Nets; {imported.net} exports to fp32 and fp16")
        if self.segmenter and not self.frames:
            raise ConfigError("--segmenter needs label maps; name a folder with --frames DIR")

    @property
    def _int8_twice(self) -> bool:
        """Whether an engine needs an int8 file of its own, beside the one for the CPU."""
        return self.int8 and bool(self.engines) and self.int8_profile != "tensorrt"

    def output_paths(self, checkpoint: Path) -> dict[str, Path]:
        """Return the file of each precision, fp32 first.

        Raises:
            ConfigError: one exists outside the run's own ``export/``, and ``force`` is not set.
        """
        own = _run_of(checkpoint) / "export"
        precisions = [name for name in ("fp16", "int8") if getattr(self, name)]
        if self.output is not None and self.output.suffix == ".onnx":
            paths = {precisions[0] if precisions else "fp32": self.output}
        else:
            folder = own if self.output is None else self.output
            precisions += [INT8_FOR_TENSORRT] if self._int8_twice else []
            paths = {name: folder / f"model-{name}.onnx" for name in ("fp32", *precisions)}
        for path in paths.values():
            elsewhere = path.resolve().parent != own.resolve()
            if path.exists() and elsewhere and not self.force:
                raise ConfigError(f"{path} exists already; give --force to replace it")
        return paths


def checkpoint_of(source: Path | None) -> Path:
    """Return the checkpoint of ``source``: a file itself, or a run's ``best``, else ``last``.

    Raises:
        CheckpointError: there is none.
    """
    if source is None:
        source = _newest_run()
        _log.info("no run was named; taking the newest, %s", source)
    return find_checkpoint(source)


def _newest_run() -> Path:
    found = [path for path in RUNS.glob("*/checkpoints/*.pt") if path.is_file()]
    if not found:
        raise CheckpointError(
            f"no run with a checkpoint under {RUNS}/; train one with p2p-train, "
            "or name a run or a checkpoint"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    return newest.parent.parent


def _run_of(checkpoint: Path) -> Path:
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else folder
