"""Colorspace mismatches are found, undone, and not found where there is none."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.labels.colorspace import (
    MISMATCHES,
    NO_MISMATCH,
    ColorspaceMismatch,
    ColorspaceWatch,
    find_mismatch,
)
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.preprocess import Preprocessor
from p2p_runtime.video.frames import FrameTask
from toy_runtime import input_of

Image = NDArray[np.uint8]
CONTRACT = PixelContract(height=48, width=64, palette=CITYSCAPES)


def label_map(seed: int = 0) -> Image:
    """Return 48x64 px of 8 px squares in Cityscapes colours."""
    ids = np.random.default_rng(seed).integers(0, 29, (6, 8)).astype(np.uint8)
    return CITYSCAPES.to_colours(ids.repeat(8, axis=0).repeat(8, axis=1))


def shifted(image: Image, mismatch: ColorspaceMismatch) -> Image:
    """Return the image as a wrong decoder shows it."""
    return mismatch.shift(image.reshape(-1, 3)).reshape(image.shape)


def test_there_are_eight_mismatches_and_none() -> None:
    """Three pairs of matrices and three of ranges, less the one that is right."""
    assert len({mismatch.name for mismatch in MISMATCHES}) == len(MISMATCHES) == 9
    assert MISMATCHES[0] is NO_MISMATCH


def test_a_range_taken_for_the_other_is_what_ffmpeg_makes_of_it() -> None:
    """Limited taken for full puts black on 16 and white on 235."""
    mismatch = next(d for d in MISMATCHES if d.name == "limited taken for full")
    decoded = mismatch.shift(np.array([[0, 0, 0], [255, 255, 255]], np.uint8))
    np.testing.assert_array_equal(decoded, [[16] * 3, [235] * 3])


def test_matrices_agree_with_opencvs() -> None:
    """BT.601 full range taken for BT.709 is OpenCV's YCrCb, decoded by the other matrix."""
    mismatch = next(d for d in MISMATCHES if d.name == "BT.601 taken for BT.709")
    colours = CITYSCAPES.colours_bgr()
    y, cr, cb = np.moveaxis(cv2.cvtColor(colours[None], cv2.COLOR_BGR2YCrCb)[0].astype(float), 1, 0)
    red, blue = y + 1.5748 * (cr - 128), y + 1.8556 * (cb - 128)
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    expected = np.clip(np.stack([blue, green, red], axis=1), 0, 255)
    assert np.abs(mismatch.shift(colours) - expected).max() <= 2


@pytest.mark.parametrize("mismatch", MISMATCHES, ids=lambda mismatch: mismatch.name or "none")
def test_every_mismatch_is_undone(mismatch: ColorspaceMismatch) -> None:
    """A shifted label map gets its classes back, except where clipping made colours equal."""
    frame = shifted(label_map(), mismatch)
    assert find_mismatch(frame, CITYSCAPES) == mismatch
    ids = CONTRACT.classify(frame, mismatch=mismatch)
    right = CITYSCAPES.to_ids(label_map())
    decoded = mismatch.shift(CITYSCAPES.colours_bgr())
    np.testing.assert_array_equal(decoded[ids], decoded[right])


def test_noise_and_photos_have_no_mismatch() -> None:
    """A picture that is no label map under any mismatch is left alone."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    grey = np.full((48, 64, 3), 37, np.uint8)
    assert find_mismatch(noise, CITYSCAPES) == NO_MISMATCH
    assert find_mismatch(grey, CITYSCAPES) == NO_MISMATCH


def test_a_dark_beginning_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Black frames match several candidates; the mismatch is found later and logged once."""
    mismatch = next(d for d in MISMATCHES if d.name == "BT.709 taken for BT.601")
    watch = ColorspaceWatch(CITYSCAPES)
    with caplog.at_level(logging.INFO):
        assert watch.update(np.zeros((48, 64, 3), np.uint8)) == NO_MISMATCH
        assert caplog.text == ""
        for seed in range(4):
            assert watch.update(shifted(label_map(seed), mismatch)) == mismatch
    assert caplog.text.count("BT.709 taken for BT.601") == 1


def test_a_mismatched_stream_is_preprocessed_as_a_right_one() -> None:
    """The generator gets the true palette colours, and no pixel counts as off the palette."""
    mismatch = next(
        d for d in MISMATCHES if d.name == "BT.601 taken for BT.709 and limited taken for full"
    )
    truth = label_map()
    preprocessor = Preprocessor(CONTRACT)
    frame = shifted(truth, mismatch)
    np.testing.assert_array_equal(input_of(preprocessor, frame), truth)
    task = FrameTask(picture=frame)
    preprocessor.admit(task)
    np.testing.assert_array_equal(preprocessor.repaired(task), truth)
    assert preprocessor.off_palette(task) == 0


def test_without_repair_even_shifted_colours_stay() -> None:
    """Without repair, frames are only resized and copied."""
    frame = shifted(label_map(), MISMATCHES[3])
    inputs = input_of(Preprocessor(CONTRACT, repair_labels=False), frame)
    np.testing.assert_array_equal(inputs, frame)
    assert not np.may_share_memory(inputs, frame)


def test_a_small_gain_is_not_enough() -> None:
    """In a mostly black frame, a mismatch that matches a sixth more pixels is not accepted."""
    mismatch = next(d for d in MISMATCHES if d.name == "BT.709 taken for BT.601")
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:8] = mismatch.shift(CITYSCAPES.colours_bgr()[16:17])
    assert find_mismatch(frame[:8], CITYSCAPES) == mismatch
    assert find_mismatch(frame, CITYSCAPES) == NO_MISMATCH


def test_a_third_of_the_picture_is_not_enough() -> None:
    """A mismatch that matches a third of the pixels is not accepted."""
    mismatch = next(d for d in MISMATCHES if d.name == "limited taken for full")
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    frame[:16] = shifted(label_map(), mismatch)[:16]
    assert find_mismatch(frame, CITYSCAPES) == NO_MISMATCH
