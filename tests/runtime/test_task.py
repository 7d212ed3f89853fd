"""Frames in work at the same time: what comes out is what one after the other gives."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from p2p_runtime.errors import ContractError
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.translator import Translation, Translator
from toy_runtime import label_frame

Image = NDArray[np.uint8]


class Inverter:
    """An engine that inverts colours."""

    device = "cpu"

    def infer(self, frames: Image) -> Image:
        return 255 - frames

    def close(self) -> None:
        """Nothing to free."""


def frames_with_repeats() -> list[Image]:
    """Twenty label maps; every third is the one before it again."""
    return [label_frame(index - (index % 3 == 2)) for index in range(20)]


def one_after_the_other(contract: PixelContract, vote: int) -> list[Translation]:
    """Translate the frames as a loop of calls does."""
    translator = Translator(contract, Inverter(), vote=vote)
    return [translator.translate(frame) for frame in frames_with_repeats()]


def assert_alike(found: list[Translation], expected: list[Translation]) -> None:
    """Compare images and what was reused."""
    assert [one.reused for one in found] == [one.reused for one in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


@pytest.mark.parametrize("vote", [1, 3])
@pytest.mark.parametrize("order", ["forwards", "backwards", "by chance"])
def test_the_order_of_finishing_changes_nothing(
    contract: PixelContract, order: str, vote: int
) -> None:
    """Votes and reuse follow the order in which frames were begun; no order blocks."""
    translator = Translator(contract, Inverter(), vote=vote, lanes=4)
    begun = [translator.begin(frame) for frame in frames_with_repeats()]
    places = list(range(len(begun)))
    if order == "backwards":
        places.reverse()
    elif order == "by chance":
        random.Random(0).shuffle(places)
    done = {place: translator.finish(begun[place]) for place in places}
    found = [done[place] for place in range(len(begun))]
    assert_alike(found, one_after_the_other(contract, vote))
    assert any(one.reused for one in found)


@pytest.mark.parametrize("vote", [1, 3])
def test_threads_change_nothing(contract: PixelContract, vote: int) -> None:
    """Four lanes give what one gives, time after time."""
    expected = one_after_the_other(contract, vote)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            translator = Translator(contract, Inverter(), vote=vote, lanes=4)
            begun = [translator.begin(frame) for frame in frames_with_repeats()]
            assert_alike(list(pool.map(translator.finish, begun)), expected)


@pytest.mark.parametrize("vote", [1, 3])
def test_preparing_changes_nothing_and_fits_once(
    contract: PixelContract, vote: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that were prepared, once or twice, come out the same; none is fitted again."""
    expected = one_after_the_other(contract, vote)
    translator = Translator(contract, Inverter(), vote=vote, lanes=2)
    fits, fit = [], translator.fitter.fit
    monkeypatch.setattr(
        translator.fitter, "fit", lambda frame, drift: fits.append(1) or fit(frame, drift)
    )
    begun = [translator.begin(frame) for frame in frames_with_repeats()]
    for one in begun[::2]:
        one.prepare()
    begun[5].settle()
    for one in begun:
        one.prepare()
    assert_alike([translator.finish(one) for one in begun], expected)
    assert len(fits) == len(begun)


def test_frames_that_nobody_finished_hold_up_no_later_one(contract: PixelContract) -> None:
    """They are settled on the way, however many there are, and then let go."""
    translator = Translator(contract, Inverter())
    begun = [translator.begin(label_frame(index % 7, 64, 64)) for index in range(1500)]
    assert (translator.finish(begun[-1]).image == 255 - label_frame(1499 % 7, 64, 64)).all()
    assert all(one._previous is None and one._fitted is None for one in begun)


def test_what_is_no_frame_is_refused_when_it_is_begun(contract: PixelContract) -> None:
    """A wrong frame fails by itself and does not stand in the way of the next."""
    translator = Translator(contract, Inverter())
    with pytest.raises(ContractError, match="must be"):
        translator.begin(np.zeros((4, 4), np.uint8))
    assert (translator(label_frame(0, 64, 64)) == 255 - label_frame(0, 64, 64)).all()
