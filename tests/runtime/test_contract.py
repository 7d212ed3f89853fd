"""The pixel contract: fit, restore, and its document."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_runtime.errors import ContractError
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract

LABELS = PixelContract(height=32, width=48, palette=CITYSCAPES)
PICTURES = PixelContract(height=32, width=48, palette=None)


def noise(height: int, width: int) -> np.ndarray:
    """Return (H, W, 3) uint8 noise."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@settings(deadline=None)  # a busy machine is slow
@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_labels_of_any_size_become_palette_colours_of_the_contracts_size(
    height: int, width: int
) -> None:
    """Fit never invents a colour, whatever the size."""
    colours = {tuple(colour) for colour in CITYSCAPES.colours_bgr().tolist()}
    resized = LABELS.preprocess(noise(height, width))
    assert resized.shape == (32, 48, 3)
    assert {tuple(pixel) for pixel in resized.reshape(-1, 3).tolist()} <= colours


def test_labels_are_resized_by_nearest_neighbour() -> None:
    """Enlarging a label map by two repeats its pixels."""
    small = CITYSCAPES.colours_bgr()[np.random.default_rng(0).integers(0, 29, (16, 24))]
    np.testing.assert_array_equal(
        LABELS.preprocess(small), small.repeat(2, axis=0).repeat(2, axis=1)
    )


def test_pictures_are_resized_smoothly_and_never_repaired() -> None:
    """Without a palette, shrinking averages, and colours are left as they come out."""
    board = np.zeros((64, 96, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 200
    assert set(np.unique(PICTURES.preprocess(board))) == {100}


def test_repair_can_be_switched_off() -> None:
    """With repair_labels=False a label map keeps the colours it came with."""
    frame = noise(32, 48)
    np.testing.assert_array_equal(LABELS.preprocess(frame, repair_labels=False), frame)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_not_a_bgr_frame_is_refused(frame: np.ndarray) -> None:
    """Grey, RGBA, float and empty arrays are errors that say what a frame is."""
    with pytest.raises(ContractError, match="uint8 BGR"):
        LABELS.preprocess(frame)


def test_postprocess_gives_the_source_frames_size() -> None:
    """Images are stretched back, larger or smaller; the same size is not touched."""
    image = noise(32, 48)
    assert LABELS.postprocess(image, 360, 480).shape == (360, 480, 3)
    assert LABELS.postprocess(image, 16, 16).shape == (16, 16, 3)
    assert LABELS.postprocess(image, 32, 48) is image


@pytest.mark.parametrize(
    "contract", [LABELS, PICTURES, replace(LABELS, classes_present=(0, 3, 28))]
)
def test_json_round_trip(contract: PixelContract) -> None:
    """A contract comes back equal from its document."""
    assert PixelContract.from_json(contract.to_json()) == contract


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", 1),
        ("schema", None),
        ("height", "32"),
        ("height", 0),
        ("width", True),
        ("width", 10**6),
        ("palette", []),
        ("palette", {}),
        ("direction", 3),
        ("classes_present", [3, 0]),
        ("classes_present", []),
        ("classes_present", [29]),
        ("classes_present", [True]),
        ("classes_present", "all"),
    ],
)
def test_fault_49_malformed_field_is_named(field: str, value: Any) -> None:
    """A contract with a wrong or missing field is refused, and the field named."""
    with pytest.raises(ContractError, match=field):
        PixelContract.from_json({**LABELS.to_json(), field: value})
    document = LABELS.to_json()
    del document[field]
    with pytest.raises(ContractError, match=field):
        PixelContract.from_json(document)
