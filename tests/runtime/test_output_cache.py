"""Equal inputs are translated once, and never by mistake."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError, EngineError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from toy_runtime import Inverter

Image = NDArray[np.uint8]


class Counter(Inverter):
    """Inverts colours and counts its calls."""

    def __init__(self, failures: int = 0) -> None:
        self.calls, self.failures = 0, failures

    def infer(self, frames: Image) -> Image:
        self.calls += 1
        if self.calls <= self.failures:
            raise EngineError("not yet")
        return super().infer(frames)


def changed(frame: Image, pixels: int) -> Image:
    """Return the frame with so many of its pixels in another colour of the palette."""
    copy = frame.copy()
    copy.reshape(-1, 3)[:pixels] = (128, 64, 128)  # road; the frame's are something else
    return copy


@pytest.fixture
def frame() -> Image:
    """A black frame of the contract's size: unlabelled."""
    return np.zeros((64, 64, 3), np.uint8)


def test_equal_labels_are_translated_once(contract: PixelContract, frame: Image) -> None:
    """A still stream costs one inference, and every image is right."""
    engine = Counter()
    translator = Translator(contract, engine)
    results = [translator.translate(frame.copy()) for _ in range(5)]
    assert engine.calls == 1
    assert [result.reused for result in results] == [False, True, True, True, True]
    assert all((result.image == 255).all() for result in results)


def test_noise_that_repair_removes_is_no_change(contract: PixelContract, frame: Image) -> None:
    """The inputs are compared after label repair, so a codec's noise costs no inference."""
    engine = Counter()
    translator = Translator(contract, engine)
    translator(frame)
    assert translator.translate(frame + 1).reused


def test_one_pixel_is_a_change(contract: PixelContract, frame: Image) -> None:
    """With the threshold 0, the smallest difference is translated."""
    translator = Translator(contract, Counter())
    translator(frame)
    result = translator.translate(changed(frame, 1))
    assert not result.reused
    assert (result.image != 255).any()


@pytest.mark.parametrize(("size", "palette"), [((64, 64), True), ((64, 64), False), ((9, 7), True)])
def test_frames_belong_to_the_caller(
    contract: PixelContract, size: tuple[int, int], palette: bool
) -> None:
    """Drawing on an image, or filling the same buffer again, changes no other frame."""
    from dataclasses import replace

    contract = contract if palette else replace(contract, palette=None)
    translator = Translator(contract, Counter(), repair_labels=False)
    buffer = np.zeros((*size, 3), np.uint8)
    first = translator(buffer)
    first[:] = 7
    second = translator(buffer)
    assert (second == 255).all()
    second[:] = 8
    assert (translator(buffer) == 255).all()
    buffer[:] = 5
    assert (translator(buffer) == 250).all()


def test_the_threshold_counts_pixels_from_the_frame_that_was_translated(
    contract: PixelContract, frame: Image
) -> None:
    """Changes below the threshold are ignored, but they add up."""
    translator = Translator(contract, Counter(), dedupe_threshold_px=10)
    translator(frame)
    reused = [translator.translate(changed(frame, pixels)).reused for pixels in (5, 10, 11, 15)]
    assert reused == [True, True, False, True]


def test_the_cache_can_be_disabled(contract: PixelContract, frame: Image) -> None:
    """For measuring, every frame can be translated."""
    engine = Counter()
    translator = Translator(contract, engine, dedupe_threshold_px=None)
    for _ in range(3):
        assert not translator.translate(frame).reused
    assert engine.calls == 3


def test_a_negative_tolerance_is_refused(contract: PixelContract) -> None:
    """There are no fewer than zero pixels."""
    with pytest.raises(ConfigError, match="is -1 px; use 0 or more"):
        Translator(contract, Counter(), dedupe_threshold_px=-1)


def test_a_failure_is_not_remembered(contract: PixelContract, frame: Image) -> None:
    """An input on which the engine failed is given to it again."""
    translator = Translator(contract, Counter(failures=1))
    with pytest.raises(EngineError):
        translator(frame)
    assert (translator(frame) == 255).all()


def test_threads_that_ask_together_share_one_inference(
    contract: PixelContract, frame: Image
) -> None:
    """Frames in work at the same time with one input cost one inference."""
    engine = Counter()
    translator = Translator(contract, engine, workers=2)
    tasks = [FrameTask(picture=frame) for _ in range(4)]
    for task in tasks:
        translator.preprocessor.admit(task)
    threads = [threading.Thread(target=translator.finish, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.calls == 1
    assert all((task.image == 255).all() for task in tasks)
