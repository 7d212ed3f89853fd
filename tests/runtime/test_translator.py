"""Frames in work at the same time give what one after the other gives."""

from __future__ import annotations

import random
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.errors import ContractError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.translator import Translator
from p2p_runtime.video.frames import FrameTask
from toy_runtime import Inverter, label_frame

Image = NDArray[np.uint8]


def frames_with_repeats() -> list[Image]:
    """Twenty label maps; every third is the one before it again."""
    return [label_frame(index - (index % 3 == 2)) for index in range(20)]


def admitted(translator: Translator, frames: list[Image]) -> list[FrameTask]:
    """Admit frames to a translator."""
    tasks = [FrameTask(picture=frame) for frame in frames]
    for task in tasks:
        translator.preprocessor.admit(task)
    return tasks


def one_after_the_other(contract: PixelContract) -> list[FrameTask]:
    """Translate the frames as a loop of calls does."""
    translator = Translator(contract, Inverter())
    return [translator.translate(frame) for frame in frames_with_repeats()]


def assert_alike(found: list[FrameTask], expected: list[FrameTask]) -> None:
    """Compare images, class ids and what was reused."""
    assert [task.reused for task in found] == [task.reused for task in expected]
    for task, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(task.image, other.image)
        assert task.class_ids is not None
        np.testing.assert_array_equal(task.class_ids, other.class_ids)


@pytest.mark.parametrize("order", ["forwards", "backwards", "by chance"])
def test_the_order_of_finishing_changes_nothing(contract: PixelContract, order: str) -> None:
    """The cache follows the order of admission; no order blocks."""
    translator = Translator(contract, Inverter(), workers=4)
    tasks = admitted(translator, frames_with_repeats())
    places = list(range(len(tasks)))
    if order == "backwards":
        places.reverse()
    elif order == "by chance":
        random.Random(0).shuffle(places)
    for place in places:
        translator.finish(tasks[place])
    assert_alike(tasks, one_after_the_other(contract))
    assert any(task.reused for task in tasks)


def test_threads_change_nothing(contract: PixelContract) -> None:
    """Four workers give what one gives, time after time."""
    expected = one_after_the_other(contract)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            translator = Translator(contract, Inverter(), workers=4)
            tasks = admitted(translator, frames_with_repeats())
            list(pool.map(translator.finish, tasks))
            assert_alike(tasks, expected)


def test_preparing_changes_nothing_and_classifies_once(
    contract: PixelContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were prepared, once or twice, come out the same; none is classified again."""
    expected = one_after_the_other(contract)
    calls, classify = [], PixelContract.classify
    monkeypatch.setattr(
        PixelContract, "classify", lambda *args, **kw: calls.append(1) or classify(*args, **kw)
    )
    translator = Translator(contract, Inverter(), workers=2)
    tasks = admitted(translator, frames_with_repeats())
    for task in tasks[::2]:
        translator.preprocessor.preprocess(task)
    translator.preprocessor.complete(tasks[5])
    for task in tasks:
        translator.preprocessor.preprocess(task)
        translator.finish(task)
    assert_alike(tasks, expected)
    assert len(calls) == len(tasks)


def test_frames_that_nobody_finished_hold_up_no_later_one(contract: PixelContract) -> None:
    """They are completed on the way, however many there are, and then let go."""
    translator = Translator(contract, Inverter())
    tasks = admitted(translator, [label_frame(index % 7, 64, 64) for index in range(1500)])
    first = weakref.ref(tasks[0].picture)
    translator.finish(tasks[-1])
    assert (tasks[-1].image == 255 - label_frame(1499 % 7, 64, 64)).all()
    tasks.clear()
    assert first() is None


def test_a_wrong_picture_is_refused_when_it_is_admitted(contract: PixelContract) -> None:
    """It fails by itself and does not stand in the way of the next."""
    translator = Translator(contract, Inverter())
    with pytest.raises(ContractError, match="must be"):
        translator.preprocessor.admit(FrameTask(picture=np.zeros((4, 4), np.uint8)))
    assert (translator(label_frame(0, 64, 64)) == 255 - label_frame(0, 64, 64)).all()


def test_a_translated_frame_knows_its_times(contract: PixelContract) -> None:
    """All stages between decoder and encoder, in milliseconds."""
    task = Translator(contract, Inverter()).translate(label_frame(0))
    assert set(task.times_ms) == {"wait", "preprocess", "infer", "postprocess"}
    assert task.finished_s >= task.decoded_s
