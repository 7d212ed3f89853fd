"""What to export: which checkpoint, which files, and where they go."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.model.bundle import is_licence
from p2p_train.training.checkpoint import find_checkpoint

from .graph.int8 import PROFILES
from .importers.options import SOURCE_FLAG, ImportOptions
from .targets.tensorrt import parse_archs

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
        size: (width, height) of the model in pixels; None for that of the training.
        imported: a checkpoint of another project, in place of ``source``.
        output: a folder, a file name for one precision, or None for the run's ``export/``.
        fp16, int8: precisions beside fp32.
        int8_profile: target of int8, a key of :data:`p2p_export.graph.int8.PROFILES`.
        calibration: folder of inputs or pairs from which int8 derives its ranges.
        frames: folder of inputs or pairs for the parity check; None for the checkpoint's own.
        segmenter: of ``p2p-train segmenter``, to measure and gate the segmentation score.
        tensorrt, tensorrt_rtx: also build engines from every file, of int8 from its ``tensorrt``
            profile. TensorRT builds for the GPU of this machine, TensorRT-RTX for ``gpu_arch``.
        gpu_arch: architectures separated by commas, see :func:`.parse_archs`.
        web: folder for a page that runs the int8 file, else the fp32 one, in a browser.
        ort_web: ONNX Runtime Web as npm packs it; None to have npm fetch it.
        triton: ``repository/name``, where Triton finds the fp16 file, else the int8 or fp32 one.
        licence: terms of the weights, for the bundles; a line of at most 100 characters.
        force: replace files of another export.

    Raises:
        ConfigError: the options contradict each other.
    """

    source: str | Path | None = None
    size: tuple[int, int] | None = None
    imported: ImportOptions | None = None
    output: Path | None = None
    fp16: bool = False
    int8: bool = False
    int8_profile: str = "x86"
    calibration: Path | None = None
    frames: Path | None = None
    segmenter: Path | None = None
    tensorrt: bool = False
    tensorrt_rtx: bool = False
    gpu_arch: str | None = None
    web: Path | None = None
    ort_web: Path | None = None
    triton: Path | None = None
    licence: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        paths = ("source", "output", "calibration", "frames", "segmenter", "web", "ort_web")
        for name in (*paths, "triton"):
            if isinstance(path := getattr(self, name), str):  # from Python it is often a text
                object.__setattr__(self, name, Path(path))
        if self.int8_profile not in PROFILES:
            raise ConfigError(
                f"int8 profile {self.int8_profile!r} is unknown; there are {', '.join(PROFILES)}"
            )
        if self.licence is not None and not is_licence(self.licence):
            raise ConfigError("--licence is no line of at most 100 printable characters")
        if self.int8 and self.calibration is None:
            raise ConfigError(
                "int8 needs real inputs for its ranges; name a folder of them (100 or more) "
                "with --calibration DIR"
            )
        if self.ort_web is not None and self.web is None:
            raise ConfigError("--ort-web belongs to --web DIR")
        self._check_engines()
        if self._file is not None:
            self._check_one_file()
        if self.imported is not None:
            self._check_imported(self.imported)

    def _check_engines(self) -> None:
        if self.tensorrt and self.tensorrt_rtx:
            raise ConfigError(
                "--tensorrt and --tensorrt-rtx would give two engines one name; choose one of them"
            )
        if self.tensorrt_rtx and self.gpu_arch is None:
            raise ConfigError(
                "--tensorrt-rtx builds for the GPUs of other machines; name them: "
                "--gpu-arch sm86,sm89,sm120"
            )
        if self.gpu_arch is not None:
            if not self.tensorrt_rtx:
                raise ConfigError("--gpu-arch belongs to --tensorrt-rtx")
            parse_archs(self.gpu_arch)

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
    def builds_engines(self) -> bool:
        """Whether TensorRT engines are asked for."""
        return self.tensorrt or self.tensorrt_rtx

    @property
    def _file(self) -> Path | None:
        return self.output if self.output and self.output.suffix == ".onnx" else None

    @property
    def _int8_twice(self) -> bool:
        """Whether an engine needs an int8 file of its own, beside the one for the CPU."""
        return self.int8 and self.builds_engines and self.int8_profile != "tensorrt"

    def output_paths(self, checkpoint: Path) -> dict[str, Path]:
        """Return the file of each precision, fp32 first.

        Raises:
            ConfigError: one exists outside the run's own ``export/``, and ``force`` is not set.
        """
        folder = checkpoint.parent
        own = (folder.parent if folder.name == "checkpoints" else folder) / "export"
        names = ["fp32", *(name for name in ("fp16", "int8") if getattr(self, name))]
        if self._file is not None:
            paths = {names[-1]: self._file}
        else:
            names += [INT8_FOR_TENSORRT] if self._int8_twice else []
            paths = {name: (self.output or own) / f"model-{name}.onnx" for name in names}
        for path in paths.values():
            elsewhere = path.resolve().parent != own.resolve()
            if path.exists() and elsewhere and not self.force:
                raise ConfigError(f"{path} exists already; give --force to replace it")
        return paths


def checkpoint_of(source: str | Path | None) -> Path:
    """Return ``source`` if a file, else a run's ``best`` or ``last``, or a CheckpointError."""
    if source is None:
        found = [path for path in RUNS.glob("*/checkpoints/*.pt") if path.is_file()]
        if not found:
            raise CheckpointError(
                f"no run with a checkpoint under {RUNS}/; train one with p2p-train, "
                "or name a run or a checkpoint"
            )
        source = max(found, key=lambda path: path.stat().st_mtime_ns).parent.parent
        _log.info("no run was named; taking the newest, %s", source)
    return find_checkpoint(Path(source))
