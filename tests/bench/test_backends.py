"""Which backends a benchmark finds, and that each computes the same generator."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

from p2p_bench.backends.registry import BACKENDS, CHECKPOINT, choose
from p2p_bench.files import bench_frames, find_files
from p2p_bench.measure import agreement_db
from p2p_runtime.errors import BundleError, CheckpointError, ConfigError, SourceError


@pytest.fixture
def bundles(workplace: Path) -> Path:
    """Return the folder of a run's exported bundles."""
    return workplace / "runs" / "data-1" / "export"


@pytest.fixture
def lone(bundles: Path, tmp_path: Path) -> Path:
    """Return a bundle that was copied away from its run."""
    return Path(shutil.copy(bundles / "model-fp32.onnx", tmp_path / "away-fp32.onnx"))


def test_names_choose_backends_in_the_tables_order():
    """The reference stays first, however the names are given."""
    assert [backend.name for backend in choose(["int8", "eager"])] == ["eager", "int8"]
    assert [backend.name for backend in choose(None)] == list(BACKENDS)


def test_a_minus_leaves_backends_out():
    """Names with a minus are left out; mixing both forms is an error."""
    names = [backend.name for backend in choose(["-torch-fp16", "-compile"])]
    assert names == [name for name in BACKENDS if name not in ("torch-fp16", "compile")]
    with pytest.raises(ConfigError, match="with a minus"):
        choose(["eager", "-compile"])


def test_an_unknown_backend_lists_those_that_there_are():
    """The error lists the known names."""
    with pytest.raises(ConfigError, match=r"no backend int4; there are eager, torch-bf16"):
        choose(["int4"])


def test_a_runs_bundles_bring_its_checkpoint(bundles: Path):
    """All exported precisions are found, with the checkpoint they come from."""
    files = find_files(bundles, None)
    assert set(files.bundles) == {"fp32", "fp16"}
    assert files.find(CHECKPOINT) == bundles.parent / "checkpoints" / "best.pt"
    assert files.find("int8") is None
    assert files.generator["ngf"] == 8


def test_tensorrt_engines_are_found_by_what_they_were_built_of(bundles: Path, tmp_path: Path):
    """An engine belongs to the ONNX file whose name it carries."""
    shutil.copytree(bundles.parent, tmp_path / "run")
    engine = tmp_path / "run" / "export" / "model-int8-tensorrt-sm86.engine"
    engine.touch()
    assert find_files(engine.parent, None).find(BACKENDS["tensorrt-engine-int8"].needs) == engine


def test_a_bundle_without_its_run_has_no_checkpoint(lone: Path):
    """A bundle without a checkpoint is not an error."""
    files = find_files(lone, None)
    assert (files.checkpoint, set(files.bundles)) == (None, {"fp32"})


def test_a_checkpoint_that_was_named_must_be_there(lone: Path, tmp_path: Path):
    """A named checkpoint that is missing is an error."""
    with pytest.raises(CheckpointError, match="holds no checkpoints"):
        find_files(lone, tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        find_files(lone, tmp_path / "last.pt")


def test_no_bundles_is_an_error(tmp_path: Path):
    """The error names the files that were looked for."""
    with pytest.raises(BundleError, match=r"model-fp32\.onnx"):
        find_files(tmp_path, None)


def test_a_checkpoint_of_another_training_is_a_warning(bundles: Path, tmp_path: Path, caplog):
    """Bundles that were not exported from the checkpoint give a warning."""
    shutil.copytree(bundles.parent, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes() + b"\0")
    find_files(tmp_path / "run" / "export", None)
    assert "was not exported from" in caplog.text


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=lambda backend: backend.name)
def test_every_backend_is_available_or_gives_a_reason(backend):
    """Finding out needs neither a GPU nor a driver nor the library."""
    reason = backend.unavailable()
    assert reason is None or len(reason) > 10
    assert backend.what.partition(",")[0] != backend.what


SAME = {"eager": 99, "fp32": 50, "fp16": 50, "torch-bf16": 30, "openvino-fp32": 50,
        "openvino-bf16": 30}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_every_backend_computes_the_same_generator(name: str, bundles: Path):
    """uint8 BGR in and out, equal to eager within the precision."""
    backend = BACKENDS[name]
    if reason := backend.unavailable():
        pytest.skip(reason)
    files = find_files(bundles, None)
    frames, _ = bench_frames(files, None, 2, batch=2)
    expected = BACKENDS["eager"].open(files.checkpoint, 1).infer(frames[0])
    engine = backend.open(files.find(backend.needs), 1)
    images = engine.infer(frames[0]).copy()
    engine.close()
    assert (images.shape, images.dtype) == (frames[0].shape, np.dtype(np.uint8))
    assert agreement_db(images, expected) > SAME[name]


def test_openvino_is_loaded_without_its_telemetry(bundles: Path, monkeypatch):
    """`import openvino` sends an event, unless its telemetry package cannot be imported."""
    if not {"openvino", "openvino-telemetry"} <= {one.name for one in distributions()}:
        pytest.skip("openvino and its telemetry package are not installed")
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    BACKENDS["openvino-fp32"].open(bundles / "model-fp32.onnx", 1).close()
    assert sys.modules["openvino_telemetry"] is None


def test_frames_are_the_checkpoints_own_where_it_has_any(bundles: Path):
    """Validation inputs are repeated until there are enough."""
    frames, words = bench_frames(find_files(bundles, None), None, 3, batch=4)
    assert frames.shape == (3, 4, 64, 64, 3)
    assert "validation inputs" in words


def test_fault_126_frames_of_the_checkpoint_come_in_the_size_of_the_bundles(bundles: Path):
    """A run may be exported at another size than that of its training."""
    files = find_files(bundles, None)
    wide = replace(files, contract=replace(files.contract, width=128))
    frames, _ = bench_frames(wide, None, 1, batch=2)
    assert frames.shape == (1, 2, 64, 128, 3)
    assert BACKENDS["eager"].open(files.checkpoint, 1).infer(frames[0]).shape == (2, 64, 128, 3)


def test_frames_are_drawn_on_a_device(lone: Path):
    """Without inputs, frames in the contract's size and colours stand in."""
    files = find_files(lone, None)
    frames, words = bench_frames(files, None, 2, batch=1)
    first, palette = frames[0, 0], files.contract.palette
    np.testing.assert_array_equal(palette.nearest_colours(first), first)
    assert (frames[0] != frames[1]).any()
    assert words == "2 drawn inputs"


def test_frames_come_from_the_video_that_was_named(lone: Path, workplace: Path, tmp_path: Path):
    """Its frames are spread evenly and brought to the contract's size; no video is an error."""
    files = find_files(lone, None)
    frames, words = bench_frames(files, str(workplace / "seg.mp4"), 3, batch=1)
    assert (frames.shape, words) == ((3, 1, 64, 64, 3), "3 given inputs")
    with pytest.raises(SourceError):
        bench_frames(files, str(tmp_path / "no.mp4"), 3, batch=1)
