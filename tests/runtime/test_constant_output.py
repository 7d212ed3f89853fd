"""Pictures of a single colour: counted, told, and the end when they do not end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from p2p_runtime.errors import EngineError
from p2p_runtime.translate.constant_output import BLANK_LIMIT, BlankAlarm, is_blank
from p2p_runtime.translate.translator import Translator

Image = NDArray[np.uint8]


def test_fault_54_nan_becomes_a_picture_of_one_colour(
    make_bundle: Callable[..., Path], frames: list[Image]
) -> None:
    """A model that divides by nothing cannot say so, but its pictures are seen to be blank."""
    picture = ["batch", 64, 64, 3]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frame"], ["levels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["levels", "zero"], ["zeros"]),
            helper.make_node("Div", ["zeros", "zeros"], ["nan"]),
            helper.make_node("Cast", ["nan"], ["image"], to=TensorProto.UINT8),
        ],
        "nan",
        [helper.make_tensor_value_info("frame", TensorProto.UINT8, picture)],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, picture)],
        [numpy_helper.from_array(np.float32(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with Translator.load(make_bundle(model=model), device="cpu", verify=False) as translator:
        assert translator.translate(frames[0]).blank
        flat = np.full((64, 64, 3), 70, np.uint8)
        assert not translator.translate(flat).blank


def test_sound_pictures_are_not_blank(bundle: Path, frames: list[Image]) -> None:
    """A sound picture, and one of one colour from a flat input, are not blank."""
    with Translator.load(bundle, device="cpu") as translator:
        assert not translator.translate(frames[0]).blank
    assert not is_blank(frames[0], frames[1])
    assert is_blank(frames[0], np.zeros_like(frames[0]))


def test_fault_54_one_is_told_and_many_in_a_row_are_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first is a warning, so that a log shows when it began; the row is broken by one good."""
    alarm = BlankAlarm()
    with caplog.at_level(logging.WARNING):
        for blank in ([True] * (BLANK_LIMIT - 1) + [False]) * 2:
            alarm.add(blank)
    assert caplog.text.count("a single colour") == 1
    assert alarm.count == 2 * BLANK_LIMIT - 2
    for _ in range(BLANK_LIMIT - 1):
        alarm.add(True)
    with pytest.raises(EngineError, match="50 images in a row"):
        alarm.add(True)
