"""Colours that are off as a whole are recognised, undone, and not imagined."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.labels.colorspace import (
    DRIFTS,
    NO_MISMATCH,
    ColorspaceMismatch,
    ColorspaceWatch,
    find_mismatch,
)
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.preprocess import Preprocessor
from p2p_runtime.video.frames import FrameTask

Image = NDArray[np.uint8]
CONTRACT = PixelContract(height=48, width=64, palette=CITYSCAPES)


def label_map(seed: int = 0) -> Image:
    """Return 48x64 px of 8 px squares in Cityscapes colours."""
    ids = np.random.default_rng(seed).integers(0, 29, (6, 8)).astype(np.uint8)
    return CITYSCAPES.to_colours(ids.repeat(8, axis=0).repeat(8, axis=1))


def drifted(image: Image, drift: ColorspaceMismatch) -> Image:
    """Return the image as a wrong guess shows it."""
    return drift.seen(image.reshape(-1, 3)).reshape(image.shape)


def test_there_are_eight_drifts_and_none() -> None:
    """Three pairs of matrices and three of ranges, less the one in which all is well."""
    assert len({drift.name for drift in DRIFTS}) == len(DRIFTS) == 9
    assert DRIFTS[0] is NO_MISMATCH


def test_a_range_taken_for_the_other_is_what_ffmpeg_makes_of_it() -> None:
    """Limited taken for full puts black on 16 and white on 235."""
    drift = next(d for d in DRIFTS if d.name == "limited taken for full")
    seen = drift.seen(np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
    np.testing.assert_array_equal(seen, [[16] * 3, [235] * 3])


def test_matrices_agree_with_opencvs() -> None:
    """BT.601 full range taken for BT.709 is OpenCV's YCrCb, decoded by the other matrix."""
    drift = next(d for d in DRIFTS if d.name == "BT.601 taken for BT.709")
    colours = CITYSCAPES.colours_bgr()
    y, cr, cb = np.moveaxis(cv2.cvtColor(colours[None], cv2.COLOR_BGR2YCrCb)[0].astype(float), 1, 0)
    red, blue = y + 1.5748 * (cr - 128), y + 1.8556 * (cb - 128)
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.clip(np.stack([blue, green, red], axis=1), 0, 255)
    assert np.abs(drift.seen(colours) - expected).max() <= 2


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.name or "none")
def test_every_drift_is_undone(drift: ColorspaceMismatch) -> None:
    """A label map whose colours are all off comes back exactly, but for colours cut off alike."""
    frame = drifted(label_map(), drift)
    assert find_mismatch(frame, CITYSCAPES) == drift
    ids = CONTRACT.classify(frame, mismatch=drift)
    right = CITYSCAPES.to_ids(label_map())
    seen = drift.seen(CITYSCAPES.colours_bgr())
    np.testing.assert_array_equal(seen[ids], seen[right])


def test_noise_and_photos_have_no_drift() -> None:
    """What is no label map in any reading is left alone."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    grey = np.full((48, 64, 3), 37, np.uint8)
    assert find_mismatch(noise, CITYSCAPES) == NO_MISMATCH
    assert find_mismatch(grey, CITYSCAPES) == NO_MISMATCH


def test_a_dark_beginning_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Black frames fit all readings of the same range; the drift shows later, and is said once."""
    drift = next(d for d in DRIFTS if d.name == "BT.709 taken for BT.601")
    watch = ColorspaceWatch(CITYSCAPES)
    with caplog.at_level(logging.INFO):
        assert watch.look(np.zeros((48, 64, 3), np.uint8)) == NO_MISMATCH
        assert caplog.text == ""
        for seed in range(4):
            assert watch.look(drifted(label_map(seed), drift)) == drift
    assert caplog.text.count("BT.709 taken for BT.601") == 1


def test_a_stream_is_fitted_as_if_it_had_not_drifted() -> None:
    """The generator is given true palette colours, and nothing counts as off the palette."""
    drift = next(
        d for d in DRIFTS if d.name == "BT.601 taken for BT.709 and limited taken for full"
    )
    truth = label_map()
    fitter = Preprocessor(CONTRACT)
    frame = drifted(truth, drift)
    np.testing.assert_array_equal(fitter(frame), truth)
    task = FrameTask(picture=frame)
    fitter.admit(task)
    np.testing.assert_array_equal(fitter.repaired(task), truth)
    assert fitter.off_palette(task) == 0


def test_no_snap_leaves_even_drifted_colours_alone() -> None:
    """Without repair, frames are only resized, and the caller's buffer is not handed on."""
    frame = drifted(label_map(), DRIFTS[3])
    fitted = Preprocessor(CONTRACT, repair_labels=False)(frame)
    np.testing.assert_array_equal(fitted, frame)
    assert not np.may_share_memory(fitted, frame)


def test_a_little_more_is_not_enough() -> None:
    """Mostly black, a drift that explains a sixth more pixels than none is not believed."""
    drift = next(d for d in DRIFTS if d.name == "BT.709 taken for BT.601")
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:8] = drift.seen(CITYSCAPES.colours_bgr()[16:17])
    assert find_mismatch(frame[:8], CITYSCAPES) == drift
    assert find_mismatch(frame, CITYSCAPES) == NO_MISMATCH


def test_a_part_of_the_picture_is_not_enough() -> None:
    """A drift that explains a third of the pixels, where none explains any, is not believed."""
    drift = next(d for d in DRIFTS if d.name == "limited taken for full")
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    frame[:16] = drifted(label_map(), drift)[:16]
    assert find_mismatch(frame, CITYSCAPES) == NO_MISMATCH
