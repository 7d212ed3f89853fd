"""p2p-export --size: a generator that was trained at one size, at another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from commands import p2p_export
from p2p_export import exporting
from p2p_export.exporting import export
from p2p_export.graph.pixel_generator import PixelGenerator
from p2p_export.inputs import load_checkpoint, read_inputs
from p2p_export.options import ExportOptions
from p2p_export.parity import compare, run_torch
from p2p_runtime import memory
from p2p_runtime.errors import ConfigError
from p2p_runtime.files import write_bytes
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.translator import Translator
from p2p_train.training.checkpoint import Checkpoint
from toy_export import CONTRACT, toy_config, toy_frames, write_checkpoint

WIDE = replace(CONTRACT, width=128)


def test_fault_126_a_run_is_exported_at_another_size(run: Path, inputs: Path, tmp_path: Path):
    """64x64 becomes 128x64 in fp32 and int8: parity, golden frame and ranges are of that size."""
    options = ExportOptions(
        source=run, size=(128, 64), output=tmp_path, int8=True, calibration=inputs
    )
    bundles = export(options)
    frames = toy_frames(WIDE, count=2, first=7)
    trained = load_checkpoint(run / "checkpoints" / "best.pt", (128, 64))
    expected = run_torch(PixelGenerator(trained.module), frames)
    assert [bundle.report.precision for bundle in bundles] == ["fp32", "int8"]
    for bundle in bundles:
        with Translator.load(bundle.path, device="cpu") as translate:
            images = np.stack([translate(frame) for frame in frames])
            info = translate.bundle.info
        compare(expected, images, precision=bundle.report.precision).require()
        assert (info.contract, info.provenance["trained_size"]) == (WIDE, "64x64")
        assert bundle.report.frames == 8


def test_fault_126_256_px_become_960x544(tmp_path: Path):
    """Five downsamplings make a grid of 32 px; sizes beside it are answered with those on it."""
    config = toy_config(image_size=(256, 256), num_downs=5)
    path = write_checkpoint(tmp_path / "best.pt", config=config, frames=2)
    trained = load_checkpoint(path, (960, 544))
    assert trained.frames.shape == (2, 544, 960, 3)
    assert run_torch(PixelGenerator(trained.module), trained.frames[:1]).shape[1:3] == (544, 960)
    with pytest.raises(ConfigError, match=r"multiples of 32.*nearest: 960x512 and 960x544"):
        load_checkpoint(path, (960, 540))


@pytest.mark.parametrize(
    ("size", "nearest"),
    [("100x64", "64x64 and 128x64"), ("63", "64x64"), ("1", "64x64"), ("130x70", "128x64 and")],
)
def test_fault_126_a_size_beside_the_grid_is_one_line(size, nearest, run: Path, tmp_path: Path):
    """Exit code 2, the nearest sizes in words, and no file."""
    done = p2p_export(run, "--size", size, "--output", tmp_path / "out", exit_code=2)
    assert nearest in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_size_that_no_memory_holds_is_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Told before the first frame is made, with need and rest."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 1 << 30)
    monkeypatch.setattr(PixelContract, "preprocess", lambda self, frame: frame.stop_here)
    done = p2p_export(run, "--size", "8192x8192", "--output", tmp_path / "out", exit_code=2)
    assert done.stderr.splitlines()[-1] == (
        "error: an export of 8192x8192 px takes about 46.2 GiB of memory, and 1.0 GiB are free; "
        "choose a smaller --size"
    )


def test_fault_126_the_size_of_training_is_no_other_size(run: Path, caplog):
    """Only another size comes with a warning, since parity says nothing about looks."""
    path = run / "checkpoints" / "best.pt"
    assert load_checkpoint(path, (64, 64)).contract == CONTRACT
    assert "look at some" not in caplog.text
    load_checkpoint(path, (64, 128))
    assert "trained at 64x64 px" in caplog.text


@torch.inference_mode()
def test_fault_126_what_was_never_learned_is_not_exported(run: Path):
    """Taps that met only padding in training are zero: the innermost cells do not mix.

    At the trained size nothing changes, bit for bit.
    """
    checkpoint = Checkpoint.load(run / "checkpoints" / "best.pt")
    built = checkpoint.build_generator()
    as_saved = checkpoint.build_generator()
    as_saved.load_state_dict(checkpoint.generator)
    narrow, wide = torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 3, 64, 128) * 2 - 1
    assert torch.equal(built(narrow), as_saved(narrow))
    assert not torch.equal(built(wide), as_saved(wide))
    innermost = torch.rand(1, built.encoder[-1][0].in_channels, 2, 4)
    halves = [built.encoder[-1](half) for half in innermost.split(2, dim=3)]
    assert torch.equal(built.encoder[-1](innermost), torch.cat(halves, dim=3))


def test_fault_126_pairs_are_told_by_the_size_of_training(run: Path, tmp_path: Path):
    """Pictures without a palette: pairs are twice as wide as in training, whatever is exported."""
    trained = load_checkpoint(run / "checkpoints" / "best.pt", (128, 64))
    pictures = replace(trained, contract=replace(trained.contract, palette=None))
    halves = toy_frames(count=3)
    pairs = np.concatenate([np.zeros_like(halves), halves], axis=2)
    for index, pair in enumerate(pairs):
        write_bytes(tmp_path / f"{index}.png", cv2.imencode(".png", pair)[1].tobytes())
    frames = read_inputs(tmp_path, pictures, limit=3, part="val")
    expected = np.stack([pictures.contract.preprocess(half) for half in halves])
    np.testing.assert_array_equal(frames, expected)


@pytest.mark.usefixtures("traced")
def test_fault_126_files_of_another_size_are_named(run: Path, tmp_path: Path, caplog):
    """p2p-run might prefer what lies beside the new file."""
    export(ExportOptions(source=run, output=tmp_path, fp16=True))
    (tmp_path / "model-fp32.onnx").unlink()
    assert "another size" not in caplog.text
    trained = load_checkpoint(run / "checkpoints" / "best.pt", (128, 64))
    exporting._warn_of_other_bundles(tmp_path, {}, trained)
    assert "model-fp16.onnx is of another size" in caplog.text
