"""A disk that is full or breaks: one line, exit 3, old files whole, no temporary file."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from commands import invoke
from failing_disk import FailingDisk, every_failure
from fake_tensorrt import FakeTensorRT
from p2p_bench import cli as bench_cli
from p2p_bench import run as bench_run
from p2p_bench.report import BenchReport
from p2p_export import cli as export_cli
from p2p_export import exporting
from p2p_export.graph import fp16, int8
from p2p_export.graph.tracing import to_onnx
from p2p_export.targets import tensorrt
from p2p_export.targets.tensorrt import EngineBuilder
from p2p_runtime import cli as run_cli
from p2p_runtime.engines import ort_gpu
from p2p_runtime.engines.gpu import Gpu
from p2p_runtime.errors import OutputError
from p2p_runtime.files import check_writable_folder, exclusive_lock, write_picture, write_text
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_train import cli as train_cli
from p2p_train.config import DataConfig
from p2p_train.segmentation import training
from p2p_train.tensorfile import read_tensors, write_tensors
from p2p_train.training.checkpoint import Checkpoint
from toy_export import toy_frames, write_checkpoint
from toy_pairs import write_pairs
from toy_runtime import write_video

TINY = ["--image-size", 32, "--batch-size", 4, "--ngf", 4, "--ndf", 4]
TINY += ["--device", "cpu", "--workers", 0]
PICTURE = np.zeros((32, 32, 3), np.uint8)


def write_data(folder: Path) -> None:
    """Write four pairs to train on and two for validation."""
    write_pairs(folder / "train", 4)
    write_pairs(folder / "val", 2, first=100)


def check_line(result: Result, what: str, code: int) -> None:
    """Check that a command ended in one line with the disk's words."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert result.exit_code == 3, (what, result.output, result.exception)
    assert len(errors) == 1, (what, result.stderr)
    assert errors[0].startswith("error: cannot write"), (what, errors)
    assert os.strerror(code) in errors[0], (what, errors)


def check_command(
    disk: FailingDisk,
    folder: Path,
    act: Callable[[], Result],
    files: set[str],
) -> None:
    """Check that a command that writes these files ends well at the first of each kind of call.

    The page of a run alone is no reason to end.
    """
    reached = set()
    for *what, code in every_failure(disk, act, folder, once_a_file=True):
        result, name = act(), Path(what[1]).name
        if name == "index.html" and result.exit_code == 0:
            assert "index.html is not up to date" in result.stderr
        else:
            check_line(result, " ".join(what), code)
        reached.add(name)
    assert files <= reached


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: write_text(folder / "x.json", "new"),
        lambda folder: write_text(folder / "made" / "y.json", "new"),
        lambda folder: write_picture(folder / "x.png", PICTURE),
        lambda folder: write_tensors(folder / "x.pt", {"weights": torch.ones(9)}, schema=2),
        lambda folder: write_tensors(
            folder / "x.pt", {"weights": torch.ones(9)}, schema=2, keep_previous=True
        ),
        lambda folder: check_writable_folder(folder / "made"),
        lambda folder: exclusive_lock(folder / "lock", "busy").__enter__(),
    ],
    ids=["text", "folder", "picture", "tensors", "previous", "check", "lock"],
)
def test_fault_145_a_file_is_old_or_new(
    tmp_path: Path,
    disk: FailingDisk,
    act: Callable[[Path], None],
) -> None:
    """Whichever call fails, the error has the disk's words, and what stood there is whole."""
    write_text(tmp_path / "x.json", "old")
    write_picture(tmp_path / "x.png", PICTURE + 9)
    for _ in range(2):
        content = {"weights": torch.zeros(9)}
        write_tensors(tmp_path / "x.pt", content, schema=2, keep_previous=True)
    for *what, code in every_failure(disk, lambda: act(tmp_path), tmp_path):
        with pytest.raises(OutputError, match=os.strerror(code)):
            act(tmp_path)
        assert read_tensors(tmp_path / "x.pt", schema=2)["weights"].sum() in (0, 9), what


def test_fault_145_a_run_ends_in_one_line(
    tmp_path: Path,
    disk: FailingDisk,
    bundle: Path,
    pictures: Path,
) -> None:
    """A picture, a folder of pictures, and the report of each."""
    for words, names in (
        ([pictures / "frame0.png", "--output", "new.png"], {"new.png", "run.json"}),
        ([pictures, "--output", "new", "--max-frames", 2], {"frame0.png", "run.json"}),
    ):
        outputs = [tmp_path / word if str(word).startswith("new") else word for word in words]

        def act(outputs: list[object] = outputs) -> Result:
            return invoke(run_cli.main, *outputs, "--model", bundle, "--report",
                          tmp_path / "run.json", "--threads", 1, "--overwrite")  # fmt: skip

        check_command(disk, tmp_path, act, names)


def test_fault_145_training_ends_in_one_line(
    tmp_path: Path,
    disk: FailingDisk,
) -> None:
    """Config, log, curves, samples, and the checkpoints with the one before."""
    write_data(tmp_path / "data")

    def act() -> Result:
        return invoke(train_cli.main, *TINY, "--epochs", 2, "--data", tmp_path / "data",
                      "--run-dir", tmp_path / "run")  # fmt: skip

    check_command(disk, tmp_path, act, {"config.json", "log.jsonl", "curves.png", "latest.png",
                                        "last.pt", "best.pt", "samples"})  # fmt: skip


def test_fault_145_a_segmenter_ends_in_one_line(
    tmp_path: Path,
    disk: FailingDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its file, and the folder for it."""
    write_data(tmp_path / "data")
    data = DataConfig(folder=str(tmp_path / "data"), palette="cityscapes")
    config = training.SegmenterConfig(data=data, size=(32, 32), epochs=1, batch_size=2, width=8)
    trained = training.train_segmenter(config, torch.device("cpu"))
    monkeypatch.setattr(training, "train_segmenter", lambda *words: trained)
    words = ["segmenter", "--data", tmp_path / "data", "--output", tmp_path / "new" / "s.pt"]
    check_command(disk, tmp_path, lambda: invoke(train_cli.main, *words), {"s.pt"})


def test_fault_145_figures_of_a_run_end_in_one_line(
    tmp_path: Path,
    disk: FailingDisk,
) -> None:
    """The page of results, the scores as JSON, and the sheet of a data set."""
    write_data(tmp_path / "data")
    data = ["--data", tmp_path / "data"]
    invoke(train_cli.main, *TINY, *data, "--max-steps", 1, "--run-dir", tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    for words, names in (
        (["test", checkpoint, "--output", tmp_path / "new"], {"index.html", "100.png"}),
        (["score", checkpoint, "--json", tmp_path / "new" / "s.json"], {"s.json"}),
        (["--inspect", "--run-dir", tmp_path / "new", *data], {"inspect.png"}),
    ):
        check_command(disk, tmp_path, lambda words=words: invoke(train_cli.main, *words), names)


def test_a_board_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path,
    disk: FailingDisk,
) -> None:
    """TensorBoard's file ends a run in one line; what was trained is in the checkpoints."""
    write_data(tmp_path / "data")
    words = [*TINY, "--epochs", 2, "--data", tmp_path / "data", "--run-dir", tmp_path / "run"]
    with disk.watch():
        assert invoke(train_cli.main, *words, "--tensorboard").exit_code == 0
    of_board = [number for number, (_, path) in enumerate(disk.calls) if "tensorboard" in path]
    trained = []
    for number in (of_board[0], of_board[len(of_board) // 2], of_board[-1]):
        shutil.rmtree(tmp_path / "run")
        with disk.watch(number, number + 1):
            check_line(invoke(train_cli.main, *words, "--tensorboard"), "board", errno.ENOSPC)
        checkpoints = tmp_path / "run" / "checkpoints"
        steps = {Checkpoint.load(path).progress["step"] for path in checkpoints.glob("last.pt")}
        trained.append(max(steps, default=0))
    assert trained == [0, 1, 2]


_TRACED: dict[tuple[object, str], bytes] = {}


@pytest.fixture
def traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace each kind of module once: it takes seconds and gives the same."""
    for place in (exporting, fp16, int8):

        def once(module: torch.nn.Module, contract: PixelContract, place: object = place) -> bytes:
            kind = (place, type(module).__name__)
            _TRACED[kind] = _TRACED.get(kind) or to_onnx(module, contract)
            return _TRACED[kind]

        monkeypatch.setattr(place, "to_onnx", once)


def make_run(folder: Path) -> list[object]:
    """Write a checkpoint and label maps; return the words of an export of both."""
    for index, frame in enumerate(toy_frames(count=12, first=0)):
        write_picture(folder / "labels" / f"{index}.png", frame)
    checkpoint = write_checkpoint(folder / "run" / "checkpoints" / "best.pt")
    return [checkpoint, "--fp16", "--int8", "--calibration", folder / "labels"]


@pytest.mark.usefixtures("traced_once")
def test_fault_145_an_export_ends_in_one_line(
    tmp_path: Path,
    disk: FailingDisk,
) -> None:
    """Every precision, with its temporary files, and the figures of all."""
    words = make_run(tmp_path)
    files = {"model-fp32.onnx", "model-fp16.onnx", "model-int8.onnx", "parity.json", "ranges.onnx"}
    check_command(disk, tmp_path, lambda: invoke(export_cli.main, *words), files)


@pytest.fixture
def engine_builder(monkeypatch: pytest.MonkeyPatch) -> EngineBuilder:
    """A builder of TensorRT engines, without TensorRT."""
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT())
    monkeypatch.setattr(tensorrt, "first_gpu", lambda: Gpu(sm="sm87", driver="13.0"))
    return EngineBuilder("tensorrt", [])


def test_fault_145_an_engine_and_its_manifest_are_old_or_new(
    tmp_path: Path,
    disk: FailingDisk,
    engine_builder: EngineBuilder,
) -> None:
    """Whichever call fails, the error has the disk's words, and what stood there is whole."""
    onnx = tmp_path / "model-fp16.onnx"
    write_text(onnx, "graph")
    for _, _, code in every_failure(disk, lambda: engine_builder.build(onnx, "fp16"), tmp_path):
        with pytest.raises(OutputError, match=os.strerror(code)):
            engine_builder.build(onnx, "fp16")


def test_fault_145_a_cache_of_engines_is_built_again(
    tmp_path: Path,
    disk: FailingDisk,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A cache that cannot be sealed costs a warning and the next start's time, not the run."""
    monkeypatch.setattr(ort_gpu, "tensorrt_version", lambda: "101600")
    monkeypatch.setattr(ort_gpu, "first_gpu", lambda: Gpu(sm="sm87", driver="13.0"))
    loaded = ModelBundle.load(bundle)

    def start() -> None:
        cache = ort_gpu.TrtCache(loaded)
        if cache.provider_options():
            (cache.folder / "x.engine").write_bytes(b"engine")  # the library's own
        cache.seal()

    for call, _, _ in every_failure(disk, start, tmp_path):
        caplog.clear()
        with contextlib.suppress(OSError):  # of the library's file
            start()
            assert "the engine is not kept" in caplog.text, call


def test_fault_145_a_benchmark_ends_in_one_line(
    tmp_path: Path,
    disk: FailingDisk,
    report: BenchReport,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figures and chart."""
    monkeypatch.setattr(bench_run, "bench", lambda **options: report)
    words = ["--json", tmp_path / "new" / "bench.json", "--plot", tmp_path / "new" / "bench.png"]
    check_command(
        disk, tmp_path, lambda: invoke(bench_cli.main, *words), {"bench.json", "bench.png"}
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that leaves so many bytes on a small real disk, and returns its folder."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")

    def leave(free: int) -> Path:
        (place / "filler").unlink(missing_ok=True)
        state = os.statvfs(place)
        with (place / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, state.f_bavail * state.f_bsize - free))
        return place

    yield leave
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.usefixtures("traced_once")
@pytest.mark.parametrize("kind", ["export", "train", "pictures", "video", "matroska"])
def test_fault_145_a_real_disk_is_full(
    small_disk: Callable[[int], Path], tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """However little room is left, libraries' own files included: one line, exit 3."""
    place = small_disk(32 << 20)
    if kind == "export":
        words, main = make_run(place), export_cli.main
    elif kind == "train":
        write_data(tmp_path / "data")
        words, main = (
            [*TINY, "--data", tmp_path / "data", "--run-dir", place / "run"],
            train_cli.main,
        )
        words += ["--epochs", 2]
    else:
        name = {"pictures": "new", "video": "new.mp4", "matroska": "new.mkv"}[kind]
        colours = CITYSCAPES.colours_bgr()
        rng = np.random.default_rng(0)
        noise = [colours[rng.integers(0, len(colours), (48, 64))] for _ in range(20)]
        video = write_video(tmp_path / "noise.mkv", noise, "ffv1")
        words = [video, "--output", place / name, "--overwrite"]
        words += ["--model", request.getfixturevalue("bundle"), "--report", place / "run.json"]
        main = run_cli.main
    kept = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    kept.pop(place / "filler")
    failed, free = 0, 0
    while True:
        small_disk(free)
        result = invoke(main, *words)
        assert all(path.read_bytes() == content for path, content in kept.items())
        assert not [path for path in place.rglob("*") if path.name.startswith((".p2p", "tmp"))]
        if result.exit_code == 0:
            break
        check_line(result, f"{kind} with {free} bytes", errno.ENOSPC)
        failed, free = failed + 1, max(4096, free * 2)
        for path in place.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()
    assert failed > 2
