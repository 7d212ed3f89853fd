"""The temporal filter: the most frequent class of the last label maps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.labels.temporal import TemporalFilter
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.translate.preprocess import Preprocessor


def filtered(count: int, values: list[int]) -> list[int]:
    """Return the filter's output after each of some maps of one pixel."""
    filter_ = TemporalFilter(count)
    return [int(filter_(np.array([[value]], np.uint8))[0, 0]) for value in values]


def test_one_odd_frame_out_of_three_is_removed() -> None:
    """A class of one frame is removed; one that stays appears, with a delay."""
    assert filtered(3, [1, 1, 7, 1, 1]) == [1, 1, 1, 1, 1]
    assert filtered(3, [1, 1, 7, 7, 7]) == [1, 1, 1, 7, 7]


def test_a_tie_goes_to_the_newest() -> None:
    """Where all differ, or the window is still short, the current frame is taken."""
    assert filtered(3, [1, 2, 3]) == [1, 2, 3]
    assert filtered(4, [1, 1, 2, 2]) == [1, 1, 1, 2]


@given(
    count=st.integers(1, 5),
    values=st.lists(st.integers(0, 3), min_size=1, max_size=8),
)
def test_the_result_is_the_most_frequent_class(count: int, values: list[int]) -> None:
    """No class occurs more often among the last maps."""
    for end, class_id in enumerate(filtered(count, values), start=1):
        window = values[max(0, end - count) : end]
        assert window.count(class_id) == max(map(window.count, window))


def test_the_preprocessor_filters_per_pixel() -> None:
    """With a filter of 3, a pixel that flips for one frame keeps its colour; without, it flips."""
    contract = PixelContract(height=8, width=8, palette=CITYSCAPES)
    calm = CITYSCAPES.to_colours(np.full((8, 8), 3, np.uint8))
    odd = calm.copy()
    odd[2, 5] = CITYSCAPES.colours_bgr()[21]
    filtering, plain = Preprocessor(contract, temporal_filter=3), Preprocessor(contract)
    for frame in (calm, calm):
        filtering(frame), plain(frame)
    np.testing.assert_array_equal(filtering(odd), calm)
    np.testing.assert_array_equal(plain(odd), odd)
