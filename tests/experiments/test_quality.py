"""The studies of picture quality."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.quality.scores import named_run, scores_table
from p2p_runtime.errors import ConfigError

PARTIAL = {"l1": 0.25, "ssim": 0.4, "segmentation": None, "frechet": None, "flicker": 2.5}
WHOLE = {
    **PARTIAL,
    "segmentation": {"pixel_accuracy": 0.8, "class_accuracy": 0.4, "mean_iou": 0.3},
    "segmentation_real": {"pixel_accuracy": 0.9, "class_accuracy": 0.6, "mean_iou": 0.5},
    "imagenet": {"frechet_4": 30.2, "frechet_8": 60.4, "frechet_16": 240.9},
    "imagenet_real": {"frechet_4": 10.1, "frechet_8": 14.4, "frechet_16": 38.9},
    "frechet": 2.0,
    "frechet_real": 0.5,
    "pattern": 7.7,
    "pattern_real": 1.6,
    "flicker_real": 10.0,
}


def test_a_row_for_each_run_and_one_for_real_photos():
    """Figures stand under their titles; a missing one is left empty."""
    head, _, first, second, photos = scores_table({"a": WHOLE, "b": PARTIAL}).splitlines()
    titles = head.strip("| ").split(" | ")
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert dict(zip(titles, cells[1:], strict=True))["fixed pattern"] == "7.7"
    assert second == "| b | 0.2500 | 0.400 |  |  |  |  |  |  |  |  | 2.50 |"
    assert (
        photos
        == "| *real photos* |  |  | 10 | 14 | 39 | 0.900 | 0.600 | 0.500 | 0.50 | 1.6 | 10.00 |"
    )


def test_a_score_that_no_run_has_gets_no_column():
    """Without a segmenter there are L1, SSIM and flicker."""
    head, *_ = scores_table({"b": PARTIAL}).splitlines()
    assert head == "|  | L1 | SSIM | flicker |"


def test_runs_have_titles():
    """A title may hold spaces; a folder alone is refused."""
    title, path = named_run("width 16, alone=runs/a")
    assert (title, path) == ("width 16, alone", Path("runs/a/checkpoints/last.pt"))
    assert named_run("int8=a/model-int8.onnx") == ("int8", Path("a/model-int8.onnx"))
    with pytest.raises(ConfigError, match="TITLE=RUN"):
        named_run("runs/a")
