"""Every study runs: its help, and a smoke run with random weights."""

from __future__ import annotations

import json
import pkgutil
from importlib import import_module
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import experiments
from experiments.drives.draw import write_triples
from experiments.harness import RESULTS
from experiments.page import SECTIONS
from experiments.pictures.strip import GAP_PX, WIDTH_PX
from p2p_train import Machine, train
from p2p_train.config import DataConfig, TrainConfig
from p2p_train.scenes import write_dataset
from p2p_train.segmentation.training import SegmenterConfig, train_segmenter
from p2p_train.training.curves import CAPTION_PX

LIBRARY = (
    *("harness", "random_models", "labels.pictures", "labels.recoding"),
    *("drives.light", "drives.surfaces"),
)
"""Modules of the package that are not commands."""
DRAWING = {"experiments.drives.draw"}
COMMANDS = [
    name
    for _, name, package in pkgutil.walk_packages(experiments.__path__, "experiments.")
    if not package and name.removeprefix("experiments.") not in LIBRARY
]
ARGUMENTS: dict[str, list[str]] = {
    "labels.repair": [],
    "quality.calibration": ["--checkpoint", "{checkpoint}", "--data", "{data}"],
    "quality.enhance": [
        *("from plain={enhance}", "--data", "{drives}", "--segmenter", "{segmenter}"),
        *("--drive", "{drives}/val"),
    ],
    "quality.few_pairs": ["tiny={run}", "--data", "{data}"],
    "quality.options": ["--data", "{data}", "--segmenter", "{segmenter}"],
    "quality.scores": [
        "tiny={run}",
        "its bundle={model}",
        "--segmenter",
        "{segmenter}",
        "--data",
        "{data}",
    ],
    "speed.crosscheck": [],
    "speed.encoding": ["--video", "{video}"],
    "speed.installing": [],
    "speed.live": ["--video", "{video}", "--model", "{model}"],
    "speed.loss_costs": [
        *("--data", "{data}", "--teacher", "{checkpoint}", "--segmenter", "{segmenter}"),
    ],
    "speed.pipeline": ["--video", "{video}", "--model", "{model}"],
    "speed.scaling": ["--video", "{video}"],
    "speed.shapes": [],
    "speed.soak": [],
    "speed.streams": ["--video", "{video}", "--model", "{model}"],
    "speed.training_step": ["--data", "{data}"],
    "speed.view": ["--video", "{video}", "--model", "{model}"],
    "speed.widths": [],
}


def command_of(name: str) -> click.Command:
    """Return the command of a module."""
    command: click.Command = import_module(name).main
    return command


@pytest.fixture(scope="session")
def study_inputs(workplace: Path, tmp_path_factory) -> dict[str, Path]:
    """Return a data set, a run on it, and a segmenter, all of 64 px."""
    folder = tmp_path_factory.mktemp("study")
    write_dataset(folder / "data", 20, height=64, width=64)
    plain = DataConfig(folder=str(folder / "data"))
    config = SegmenterConfig(data=plain, size=(64, 64), epochs=1, width=4)
    train_segmenter(config, torch.device("cpu")).save(folder / "segmenter.pt")
    write_triples(folder / "drives", 4, 2, height=64, width=64, every_s=0.1)
    enhancing = TrainConfig.of(
        **{"data": str(folder / "drives"), "input_dir": "plain", "target_dir": "rich"},
        **{"palette": "none", "image_size": (64, 64), "ngf": 4, "ndf": 4, "max_steps": 1},
    )
    train(enhancing, run_dir=folder / "enhance", machine=Machine(device=torch.device("cpu")))
    run = workplace / "runs" / "data-1"
    return {
        "drives": folder / "drives",
        "enhance": folder / "enhance",
        "data": folder / "data",
        "segmenter": folder / "segmenter.pt",
        "run": run,
        "checkpoint": run / "checkpoints" / "last.pt",
        "video": workplace / "seg.mp4",
        "model": run / "export" / "model-fp32.onnx",
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_study_explains_itself(name: str):
    """--help works without inputs."""
    done = CliRunner().invoke(command_of(name), ["--help"])
    assert done.exit_code == 0
    assert done.output.count("\n") > 4


def test_every_study_has_a_smoke_run():
    """A new study needs a line in this file."""
    tools = {"experiments.demo", "experiments.figures", "experiments.page"} | DRAWING
    pictures = {name for name in COMMANDS if ".pictures." in name}
    assert set(COMMANDS) - tools - pictures == {f"experiments.{name}" for name in ARGUMENTS}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_smoke_run_writes_a_table_and_a_result(name: str, study_inputs, tmp_path: Path):
    """The table and the JSON have the form that the page reads; no recorded result changes."""
    before = {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()}
    arguments = [word.format(**study_inputs) for word in ARGUMENTS[name]]
    arguments += ["--smoke", "--json", str(tmp_path / "result.json")]
    done = CliRunner().invoke(command_of(f"experiments.{name}"), arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "| --- |" in done.output
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["machine"]["cpu"]
    assert {path: path.stat().st_mtime_ns for path in RESULTS.iterdir()} == before
    table = import_module(f"experiments.{name}").table
    assert table in [section.table for section in SECTIONS]


def test_a_column_for_each_run_and_a_row_for_each_street(study_inputs, tmp_path: Path):
    """Label map, two runs and, unless left out, the photo, with captions."""
    picture = tmp_path / "streets.png"
    run = str(study_inputs["run"])
    words = [f"one={run}", f"two={run}", "--data", str(study_inputs["data"]), "--smoke"]
    main = command_of("experiments.pictures.streets")
    done = CliRunner().invoke(main, [*words, "--output", str(picture)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    pixels = cv2.imdecode(np.fromfile(picture, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (28 + 2 * 68, 4 * 68, 3)  # captions above
    one, two = pixels[28:, 68 : 2 * 68], pixels[28:, 2 * 68 : 3 * 68]
    np.testing.assert_array_equal(one, two)
    assert (pixels[28:, :68] != one).any()
    shorter = CliRunner().invoke(main, [*words, "--no-photos", "--output", str(picture)])
    assert shorter.exit_code == 0, shorter.output
    labels_and_runs = cv2.imdecode(np.fromfile(picture, np.uint8), cv2.IMREAD_COLOR)
    assert labels_and_runs.shape == (28 + 2 * 68, 3 * 68, 3)


def test_models_stand_below_their_frames(study_inputs, tmp_path: Path):
    """A column per frame, the label map on top, a row per model; each row has its caption."""
    picture = tmp_path / "strip.png"
    words = ["--video", study_inputs["video"], f"mine={study_inputs['model']}"]
    main = command_of("experiments.pictures.strip")
    words += ["--smoke", "--output", picture]
    done = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    pixels = cv2.imdecode(np.fromfile(picture, np.uint8), cv2.IMREAD_COLOR)
    upper, lower = np.split(pixels, 2)
    assert pixels.shape[1] == 2 * WIDTH_PX + 2 * GAP_PX
    for row in (upper, lower):
        assert 0 < (row[:CAPTION_PX] < 128).mean() < 0.2
    assert not np.array_equal(upper[:CAPTION_PX], lower[:CAPTION_PX])
