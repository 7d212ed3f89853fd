"""The study of label repair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from experiments.labels.pictures import draw_chart, draw_crops
from experiments.labels.recoding import CODINGS, WRONG_COLORSPACE, Coding, recode
from experiments.labels.repair import drawn_scenes, measure_coding
from p2p_runtime.labels.colorspace import find_mismatch
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.training.curves import CAPTION_PX

CONTRACT = PixelContract(height=256, width=256, palette=CITYSCAPES)


def coding(name: str) -> Coding:
    """Return the coding of that name."""
    return next(one for one in CODINGS if one.name == name)


def test_a_lossless_codec_changes_nothing():
    """All shares are one, and there are no errors that could be left."""
    row = measure_coding(drawn_scenes(2), coding("FFV1, lossless"), CONTRACT)
    assert (row.exact, row.nearest, row.repaired, row.left) == (1, 1, 1, None)


@pytest.mark.parametrize("name", ["H.264, crf 28", "MPEG-4, q 3", "MJPEG, q 3", "VP9, crf 20"])
def test_repair_halves_the_errors_of_drawn_scenes(name: str):
    """Over half of the nearest colour's errors are repaired; thin classes gain."""
    row = measure_coding(drawn_scenes(2), coding(name), CONTRACT)
    assert row.left is not None
    assert row.left < 0.5
    assert row.repaired > row.repaired_bgr - 0.001
    assert row.thin_repaired > row.thin_nearest


@pytest.mark.parametrize("shifted", WRONG_COLORSPACE, ids=lambda one: one.name)
def test_a_wrong_colorspace_is_detected(shifted: Coding):
    """Another matrix or range than assumed is found and undone."""
    truth = drawn_scenes(2)
    decoded = recode(truth, shifted)
    assert find_mismatch(decoded.bgr[0], CITYSCAPES).name
    assert find_mismatch(decoded.pictures[0], CITYSCAPES).name
    row = measure_coding(truth, shifted, CONTRACT)
    assert row.repaired > row.nearest
    assert row.repaired > 0.985


def test_chart_and_crops_are_pictures():
    """Both are PNGs that can be decoded; each column of crops has its caption."""
    truth = drawn_scenes(3)
    row = measure_coding(truth, coding("H.264, crf 28"), CONTRACT)
    chart = draw_chart([(row.name, row.nearest, row.repaired)])
    charted, crops = (
        cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        for png in (chart, draw_crops(truth, CONTRACT))
    )
    assert charted.shape[0] > 100
    for head in np.split(crops[:CAPTION_PX], 4, axis=1):
        assert 0 < (head < 128).mean() < 0.3
