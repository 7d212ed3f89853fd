"""Label fidelity of exported files: what a judge can still read in their pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_parity import GOOD

from p2p_export.cli import main
from p2p_export.exporting import export
from p2p_export.fidelity import LabelCheck
from p2p_export.options import ExportOptions
from p2p_runtime.errors import ConfigError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_train.metrics import FeatureStatistics, SegmentationScore
from p2p_train.segmentation import Segmenter
from p2p_train.segmentation.network import SegmentationNet
from toy_export import CONTRACT, toy_frames

FAIR = SegmentationScore(pixel_accuracy=0.8, class_accuracy=0.5, mean_iou=0.4)


class ColourJudge:
    """Finds the class of each pixel by its colour alone."""

    classes = tuple(range(len(CAMVID.classes)))

    def label_ids(self, labels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(CAMVID.to_ids(labels))

    def classify(self, images: np.ndarray) -> torch.Tensor:
        return self.label_ids(images).long()


def write_judge(path: Path, contract: PixelContract) -> Path:
    """Write a judge with random weights, which answers all the same."""
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
def judge(tmp_path_factory) -> Path:
    """Return a judge of the toy generator's labels."""
    return write_judge(tmp_path_factory.mktemp("judge") / "judge.pt", CONTRACT)


def test_pictures_are_scored_against_their_labels():
    """Pictures in their labels' own colours are read without a mistake, others are not."""
    frames = toy_frames()
    check = LabelCheck(ColourJudge(), frames, frames)
    assert check.trained == SegmentationScore(pixel_accuracy=1.0, class_accuracy=1.0, mean_iou=1.0)
    half = frames.copy()
    half[:, :32] = CAMVID.colours_bgr()[0]
    assert check.of(half).pixel_accuracy == pytest.approx(
        (CAMVID.to_ids(frames) == CAMVID.to_ids(half)).mean()
    )


@pytest.mark.parametrize("name", ["pixel_accuracy", "class_accuracy", "mean_iou"])
@pytest.mark.parametrize(("change", "passes"), [(-0.0049, True), (-0.0051, False), (0.1, True)])
def test_half_a_point_may_be_lost(name, change, passes):
    """In each of the judge's numbers; the message says which one, and by how much it falls."""
    found = replace(FAIR, **{name: getattr(FAIR, name) + change})
    failures = replace(GOOD, fidelity=found, trained_fidelity=FAIR).failures()
    assert bool(failures) is not passes
    if failures:
        assert failures == [f"the judge's {name.replace('_', ' ')} falls by 0.51 points, not 0.5"]


def test_a_number_that_is_none_does_not_pass():
    """A judge that finds no class present gives NaN, which is no reason to ship."""
    report = replace(GOOD, fidelity=replace(FAIR, mean_iou=np.nan), trained_fidelity=FAIR)
    assert report.failures()


@pytest.mark.usefixtures("traced")
def test_reports_hold_what_the_judge_reads_on_both_sides(run, inputs, judge, tmp_path):
    """Of the torch module and of the file: in the table, in parity.json and in the bundle."""
    words = (run, "--output", tmp_path / "out", "--frames", inputs, "--judge", judge)
    done = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "mean IoU" in done.stdout
    assert "(+0.00)" in done.stdout
    report = next(iter(json.loads((tmp_path / "out" / "parity.json").read_text()).values()))
    assert report["trained_fidelity"].keys() == asdict(FAIR).keys()
    assert report["fidelity"] == pytest.approx(report["trained_fidelity"], abs=0.005)
    bundle = ModelBundle.load(tmp_path / "out" / "model-fp32.onnx")
    assert bundle.info.parity["fidelity"] == report["fidelity"]


def test_a_judge_of_other_labels_is_refused(run, inputs, tmp_path):
    """Before anything is exported, and with both palettes named."""
    other = write_judge(tmp_path / "other.pt", replace(CONTRACT, palette=CITYSCAPES))
    request = ExportOptions(source=run, output=tmp_path / "out", frames=inputs, judge=other)
    with pytest.raises(ConfigError, match=r"palette cityscapes.*palette camvid"):
        export(request)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
