"""From pairs to a translated video, by the three commands that a user types."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.translate.translator import Translator
from p2p_train.scenes import draw_scene


def read_video(path: Path) -> list[np.ndarray]:
    """Return all frames, (H, W, 3) uint8 BGR."""
    with av.open(path) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def test_three_commands_turn_pairs_into_a_video(workplace: Path, command, tmp_path: Path):
    """Train, export and run find each other's results without a path being typed."""
    (tmp_path / "runs").symlink_to(workplace / "runs")
    (tmp_path / "seg.mp4").symlink_to(workplace / "seg.mp4")
    said = command("p2p-run", "--video", "seg.mp4", folder=tmp_path).stdout
    frames = read_video(tmp_path / "seg-translated.mp4")
    assert [frame.shape for frame in frames] == [(96, 96, 3)] * 6
    assert said.startswith("6 frames in ")
    assert frames[0].std() > 0.5  # after three steps, a picture is hardly more than grey


def test_training_leaves_what_people_look_at(workplace: Path):
    """The run has the default name, checkpoints, a log, curves and samples."""
    (run,) = (workplace / "runs").iterdir()
    assert run.name == "data-1"
    for name in ("checkpoints/last.pt", "log.jsonl", "curves.png", "samples/latest.png"):
        assert (run / name).stat().st_size > 0


def test_export_leaves_both_precisions_and_their_figures(workplace: Path):
    """fp32 is always there, fp16 because it was asked for, and parity is on record."""
    export = workplace / "runs" / "data-1" / "export"
    assert {path.name for path in export.glob("*.onnx")} == {"model-fp32.onnx", "model-fp16.onnx"}
    figures = json.loads((export / "parity.json").read_text())
    assert set(figures) == {"model-fp32.onnx", "model-fp16.onnx"}


def test_the_export_says_which_classes_were_trained(workplace: Path, command, tmp_path: Path):
    """The classes of the training data travel from the pairs into the bundle."""
    model = workplace / "runs" / "data-1" / "export" / "model-fp32.onnx"
    said = command("p2p-export", "--inspect", model, folder=tmp_path).stdout
    _, present, names = " ".join(said.split()).partition("classes present: ")
    assert present and "road" in names
    assert "tunnel" not in names


def test_the_python_api_translates_a_frame(workplace: Path):
    """Three lines of Python do what p2p-run does, to a frame of any size."""
    label, _ = draw_scene(7, 50, 70)
    with Translator.load(workplace / "runs/data-1/export/model-fp32.onnx", threads=1) as translate:
        assert translate.contract.palette == CITYSCAPES
        photo = translate(label)
    assert photo.shape == (50, 70, 3)
    assert photo.dtype == np.uint8


def test_bench_compares_what_was_exported_with_torch(workplace: Path, command, tmp_path: Path):
    """The benchmark finds bundles and checkpoint, and its backends agree on the images."""
    (tmp_path / "runs").symlink_to(workplace / "runs")
    few = ("--backends", "eager,fp32,fp16", "--frames", 2, "--threads", 1)
    said = command("p2p-bench", *few, folder=tmp_path).stdout
    rows = {row["name"]: row for row in json.loads((tmp_path / "bench.json").read_text())["rows"]}
    assert set(rows) == {"eager", "fp32", "fp16"}
    assert rows["fp32"]["psnr_db"] == "inf" or rows["fp32"]["psnr_db"] > 50
    assert all(name in said for name in rows)
    assert (tmp_path / "bench.png").stat().st_size > 0


def test_the_commands_of_the_brief_work_on_real_data(shared_data, command, tmp_path: Path):
    """2975 Cityscapes pairs and a real drive: three lines, all defaults but the size."""
    pairs, clip = shared_data("cityscapes_pairs"), shared_data("camvid_clip/seg.mp4")
    few = ("--max-steps", 4, "--batch-size", 2, "--ngf", 8, "--device", "cpu")
    command("p2p-train", "--data", pairs, *few, folder=tmp_path)
    command("p2p-export", "--fp16", folder=tmp_path)
    said = command("p2p-run", "--video", clip, folder=tmp_path).stdout
    frames = read_video(tmp_path / "seg-translated.mp4")
    assert len(frames) == 101
    assert frames[0].shape == read_video(clip)[0].shape
    assert "101 frames in " in said
