"""The segmentation score of exported files, measured with a segmenter and gated."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_parity import GOOD

from commands import p2p_export
from p2p_export.exporting import export
from p2p_export.options import ExportOptions
from p2p_export.parity import SegmentationCheck
from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_train.metrics.evaluator import FeatureStatistics, SegmentationScore, confusion_matrix
from p2p_train.segmentation.segmenter import SegmentationNet, Segmenter
from toy_export import CONTRACT, toy_frames

FAIR = SegmentationScore(pixel_accuracy=0.8, class_accuracy=0.5, mean_iou=0.4)


class ColourSegmenter:
    """Finds the class of each pixel by its colour alone."""

    def confusion(self, images: np.ndarray, labels: np.ndarray) -> torch.Tensor:
        true, found = (torch.from_numpy(CAMVID.to_ids(one)) for one in (labels, images))
        return confusion_matrix(true, found.long(), len(CAMVID.classes))


def write_segmenter(path: Path, contract: PixelContract) -> Path:
    """Write a segmenter with random weights."""
    torch.manual_seed(0)
    flat = FeatureStatistics(mean=torch.zeros(12).double(), covariance=torch.zeros(12, 12).double())
    Segmenter(
        network=SegmentationNet(classes=3, width=4).eval(),
        classes=(0, 1, 3),
        contract=contract,
        photo_score=FAIR,
        photo_features=flat,
        photo_distance=0.0,
    ).save(path)
    return path


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory) -> Path:
    """Return a segmenter of the toy generator's labels."""
    return write_segmenter(tmp_path_factory.mktemp("segmenter") / "segmenter.pt", CONTRACT)


def test_images_are_scored_against_their_labels():
    """Images in their labels' own colours score 1, others less."""
    frames = toy_frames()
    check = SegmentationCheck(ColourSegmenter(), frames, frames)
    assert check.trained == SegmentationScore(pixel_accuracy=1.0, class_accuracy=1.0, mean_iou=1.0)
    half = frames.copy()
    half[:, :32] = CAMVID.colours_bgr()[0]
    assert check.score(half).pixel_accuracy == pytest.approx(
        (CAMVID.to_ids(frames) == CAMVID.to_ids(half)).mean()
    )


@pytest.mark.parametrize("name", ["pixel_accuracy", "class_accuracy", "mean_iou"])
@pytest.mark.parametrize(("change", "passes"), [(-0.0049, True), (-0.0051, False), (0.1, True)])
def test_half_a_point_may_be_lost(name, change, passes):
    """In each figure of the score; the message says which one falls, and by how much."""
    found = replace(FAIR, **{name: getattr(FAIR, name) + change})
    failures = replace(GOOD, segmentation_score=found, trained_segmentation_score=FAIR).failures()
    assert bool(failures) is not passes
    if failures:
        text = f"segmentation score: {name.replace('_', ' ')} falls by 0.51 points; 0.5 are allowed"
        assert failures == [text]


def test_a_score_of_nan_does_not_pass():
    """Without a class present the mean IoU is NaN, which misses the gate."""
    score = replace(FAIR, mean_iou=np.nan)
    report = replace(GOOD, segmentation_score=score, trained_segmentation_score=FAIR)
    assert report.failures()


@pytest.mark.usefixtures("traced")
def test_reports_hold_the_scores_of_both_sides(run, inputs, segmenter, tmp_path):
    """Of the torch module and of the file: in the table, in parity.json and in the bundle."""
    words = (run, "--output", tmp_path / "out", "--frames", inputs, "--segmenter", segmenter)
    done = p2p_export(*words)
    assert "mean IoU" in done.stdout
    assert "(+0.00)" in done.stdout
    report = next(iter(json.loads((tmp_path / "out" / "parity.json").read_text()).values()))
    assert report["trained_segmentation_score"].keys() == asdict(FAIR).keys()
    assert report["segmentation_score"] == pytest.approx(
        report["trained_segmentation_score"], abs=0.005
    )
    bundle = ModelBundle.load(tmp_path / "out" / "model-fp32.onnx")
    assert bundle.info.parity["segmentation_score"] == report["segmentation_score"]


def test_a_segmenter_of_other_labels_is_refused(run, inputs, tmp_path):
    """Before anything is exported, and with both palettes named."""
    other = write_segmenter(tmp_path / "other.pt", replace(CONTRACT, palette=CITYSCAPES))
    options = ExportOptions(source=run, output=tmp_path / "out", frames=inputs, segmenter=other)
    with pytest.raises(ConfigError, match=r"palette cityscapes.*palette camvid"):
        export(options)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
