"""What the user asked for: which checkpoint, which files, and where they go."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_train.training.checkpoint import find_checkpoint as checkpoint_of

from .graph.int8 import PROFILES
from .targets.tensorrt import EngineOptions

__all__ = ["INT8_FOR_ENGINES", "ExportOptions", "find_checkpoint"]

RUNS = Path("runs")
INT8_FOR_ENGINES = "int8-tensorrt"
"""Its name keeps the file out of `p2p-run`'s sight: on a CPU it is the slower one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What the user asked for.

    Attributes:
        source: a run's folder, a checkpoint, or None for the newest run under ``runs/``.
        output: a folder, a file name for one precision, or None for the run's ``export/``.
        fp16, int8: precisions beside fp32.
        int8_profile: the target of int8, see :data:`p2p_export.graph.int8.PROFILES`.
        calibration: folder of inputs or pairs that int8 takes its ranges from.
        frames: folder of inputs or pairs for the parity check; None for the checkpoint's own.
        judge: a judge of ``p2p-train judge``; with it, label fidelity is measured and gated.
        force: replace files that another export wrote.
        engines: TensorRT engines to build of every file; of int8, its ``tensorrt`` profile.
    """

    source: Path | None = None
    output: Path | None = None
    fp16: bool = False
    int8: bool = False
    int8_profile: str = "x86"
    calibration: Path | None = None
    frames: Path | None = None
    judge: Path | None = None
    force: bool = False
    engines: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        if self.int8_profile not in PROFILES:
            raise ConfigError(
                f"int8 profile {self.int8_profile!r} is unknown; there are {', '.join(PROFILES)}"
            )
        if self.int8 and self.calibration is None:
            raise ConfigError(
                "int8 takes its ranges from real inputs; name a folder of them (100 or more) "
                "with --calibration DIR"
            )
        if self.output is not None and self.output.suffix == ".onnx" and self.fp16 and self.int8:
            raise ConfigError("--output names one file, but --fp16 --int8 make two; name a folder")
        if self.output is not None and self.output.suffix == ".onnx" and self._int8_twice:
            raise ConfigError(
                "--output names one file, but int8 for the CPU and for TensorRT are two; "
                "name a folder, or give --int8-profile tensorrt"
            )

    @property
    def _int8_twice(self) -> bool:
        """Whether an engine needs an int8 file of its own, beside the one for the CPU."""
        return self.int8 and bool(self.engines) and self.int8_profile != "tensorrt"

    def targets(self, checkpoint: Path) -> dict[str, Path]:
        """Return the file of each precision, fp32 first.

        Raises:
            ConfigError: one exists, was not written into this run's own folder, and may not be
                replaced without ``--force``.
        """
        own = _run_of(checkpoint) / "export"
        asked = [name for name in ("fp16", "int8") if getattr(self, name)]
        if self.output is not None and self.output.suffix == ".onnx":
            targets = {asked[0] if asked else "fp32": self.output}
        else:
            folder = own if self.output is None else self.output
            asked += [INT8_FOR_ENGINES] if self._int8_twice else []
            targets = {name: folder / f"model-{name}.onnx" for name in ("fp32", *asked)}
        for path in targets.values():
            foreign = path.resolve().parent != own.resolve()
            if path.exists() and foreign and not self.force:
                raise ConfigError(f"{path} exists already; give --force to replace it")
        return targets


def find_checkpoint(source: Path | None) -> Path:
    """Return the checkpoint that ``source`` means: a file, or a run's ``best``, else ``last``.

    Raises:
        CheckpointError: there is none.
    """
    if source is None:
        source = _newest_run()
        _log.info("no run was named; taking the newest, %s", source)
    return checkpoint_of(source)


def _newest_run() -> Path:
    checkpoints = [path for path in RUNS.glob("*/checkpoints/*.pt") if path.is_file()]
    if not checkpoints:
        raise CheckpointError(
            f"no run with a checkpoint under {RUNS}/; train one with p2p-train, "
            "or name a run or a checkpoint"
        )
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime_ns)
    return newest.parent.parent


def _run_of(checkpoint: Path) -> Path:
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else folder
