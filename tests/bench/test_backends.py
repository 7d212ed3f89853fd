"""Which backends a benchmark finds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2p_bench import backends
from p2p_bench.backends import open_backends
from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.translator import Translator


@pytest.fixture
def bundles(workplace: Path) -> Path:
    """Return the folder of a run's exported bundles."""
    return workplace / "runs" / "data-1" / "export"


@pytest.fixture
def lone(bundles: Path, tmp_path: Path) -> Path:
    """Return a bundle that was copied away from its run."""
    return Path(shutil.copy(bundles / "model-fp32.onnx", tmp_path / "away-fp32.onnx"))


def test_a_runs_bundles_bring_its_checkpoint(bundles: Path):
    """Torch comes first, then each precision; all take and give the same pictures."""
    opened = open_backends(bundles, None, None, threads=1)
    assert [backend.name for backend in opened] == ["eager", "fp32", "fp16"]
    frame = opened[0].inputs[:1]
    images = [backend.engine.infer(frame) for backend in opened]
    assert {image.shape for image in images} == {frame.shape}
    assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    np.testing.assert_allclose(images[0].astype(int), images[1].astype(int), atol=1)


def test_a_bundle_without_its_run_is_timed_alone(lone: Path, caplog):
    """A device has bundles and no checkpoint: that is said, and no error."""
    caplog.set_level("INFO")
    assert [backend.name for backend in open_backends(lone, None, None, 1)] == ["fp32"]
    assert "no eager backend" in caplog.text


def test_eager_that_was_asked_for_must_be_there(lone: Path):
    """What a user names is never left out."""
    with pytest.raises(CheckpointError):
        open_backends(lone, None, ["eager", "fp32"], 1)


def test_only_the_named_backends_are_opened(bundles: Path):
    """--backends picks."""
    assert [backend.name for backend in open_backends(bundles, None, ["fp32"], 1)] == ["fp32"]


def test_an_unknown_backend_lists_those_that_are_there(bundles: Path):
    """A typing error says what could have been typed."""
    with pytest.raises(ConfigError, match=r"no backend int4 here; there are eager, fp32, fp16"):
        open_backends(bundles, None, ["int4"], 1)


def test_models_of_different_sizes_cannot_be_compared(bundles: Path, monkeypatch):
    """The same frames must fit all backends."""
    eager = backends._eager

    def larger(*arguments):
        backend = eager(*arguments)
        return replace(backend, contract=replace(backend.contract, height=512))

    monkeypatch.setattr(backends, "_eager", larger)
    with pytest.raises(ConfigError, match="different sizes: eager 512x64, fp32 64x64"):
        open_backends(bundles, None, None, 1)


def test_another_checkpoint_is_named(bundles: Path, tmp_path: Path, caplog):
    """A comparison of two different trainings says that it is one."""
    shutil.copytree(bundles.parent, tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes() + b"\0")
    open_backends(tmp_path / "run" / "export", None, None, 1)
    assert "was not exported from" in caplog.text


def test_eager_computes_what_the_bundle_does(bundles: Path):
    """Both are the generator in eval mode, to the rounding of a pixel."""
    eager, *_ = open_backends(bundles, None, ["eager"], 1)
    with Translator.load(bundles / "model-fp32.onnx", threads=1) as translate:
        difference = eager.engine.infer(eager.inputs[:1])[0].astype(int) - translate(
            eager.inputs[0]
        )
    assert abs(difference).max() <= 1
