"""Frames for measuring, whatever the folder looks like."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from torch import nn

from p2p_export.inputs import TrainedGenerator, read_calibration, read_inputs, top_up
from p2p_runtime.errors import DatasetError, ExportError
from p2p_runtime.files import write_bytes
from p2p_runtime.model.contract import PixelContract
from toy_export import CONTRACT, toy_config, toy_frames

PICTURES = PixelContract(height=64, width=64, palette=None)


def save(folder: Path, images: list[np.ndarray] | np.ndarray) -> Path:
    """Write images as PNG files."""
    for index, image in enumerate(images):
        write_bytes(folder / f"{index}.png", cv2.imencode(".png", image)[1].tobytes())
    return folder


def photos(count: int) -> np.ndarray:
    """Return (count, 64, 64, 3) noise, far from any palette."""
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def toy(contract: PixelContract = CONTRACT, **changes: object) -> TrainedGenerator:
    """Return what a folder's inputs are read for; the generator itself is not called."""
    return TrainedGenerator(
        module=nn.Identity(),
        contract=contract,
        data=toy_config(**changes).data,
        frames=toy_frames(count=1),
        description={},
        provenance={},
    )


def read(folder: Path, contract: PixelContract = CONTRACT, **changes: object) -> np.ndarray:
    """Read up to eight inputs of a folder's training part."""
    return read_inputs(folder, toy(contract, **changes), limit=8, part="train")


def test_loose_inputs_are_preprocessed_by_the_contract(tmp_path):
    """Label maps of another size come out in the contract's size and colours."""
    labels = [np.kron(frame, np.ones((2, 2, 1), np.uint8)) for frame in toy_frames(count=3)]
    np.testing.assert_array_equal(read(save(tmp_path, labels)), toy_frames(count=3))


@pytest.mark.parametrize("side", ["left", "right"])
def test_pairs_give_their_input_half(side, tmp_path):
    """Side-by-side images are told by their colours; the run says which half is the input."""
    labels = toy_frames(count=4)
    halves = (labels, photos(4)) if side == "left" else (photos(4), labels)
    folder = save(tmp_path, np.concatenate(halves, axis=2))
    np.testing.assert_array_equal(read(folder, input_side=side), labels)


def test_wide_label_maps_are_not_pairs(tmp_path):
    """Twice as wide as high, but labels on both sides: the whole image is the input."""
    wide = np.concatenate([toy_frames(count=3), toy_frames(count=3, first=0)], axis=2)
    expected = np.stack([CONTRACT.preprocess(frame) for frame in wide])
    np.testing.assert_array_equal(read(save(tmp_path, wide)), expected)


def test_class_ids_are_painted(tmp_path):
    """Grey maps of class numbers become the palette's colours."""
    ids = np.stack([CONTRACT.palette.to_ids(frame) for frame in toy_frames(count=3)])
    np.testing.assert_array_equal(read(save(tmp_path, ids)), toy_frames(count=3))


def test_a_data_set_is_read_as_training_does(tmp_path):
    """With train/ and val/ inside, the part that was asked for gives its input halves."""
    labels = toy_frames(count=4)
    save(tmp_path / "train", np.concatenate([photos(4), labels], axis=2))
    save(tmp_path / "val", np.concatenate([photos(2), toy_frames(count=2, first=0)], axis=2))
    np.testing.assert_array_equal(read(tmp_path, palette="camvid"), labels)


def test_pictures_of_double_width_are_pairs(tmp_path):
    """Without a palette, the width alone tells pairs from inputs."""
    pictures = photos(3)
    folder = save(tmp_path / "pairs", np.concatenate([photos(3), pictures], axis=2))
    np.testing.assert_array_equal(read(folder, PICTURES), pictures)
    np.testing.assert_array_equal(read(save(tmp_path / "one", pictures), PICTURES), pictures)


def test_frames_are_spread_over_the_folder(tmp_path):
    """A limit takes frames from the beginning to the end, not the first ones."""
    folder = save(tmp_path, toy_frames(count=9))
    few = read_inputs(folder, toy(), limit=3, part="train")
    np.testing.assert_array_equal(few, toy_frames(count=9)[[0, 4, 8]])


@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_topping_up_makes_different_frames(count):
    """Fewer than eight frames are joined by copies that are mirrored or shifted, no two alike."""
    frames, made_up = top_up(toy_frames(count=count))
    assert len(frames) == max(8, count)
    assert made_up == max(0, 8 - count)
    assert len({frame.tobytes() for frame in frames}) == len(frames)
    np.testing.assert_array_equal(frames[:count], toy_frames(count=count))


def test_no_frame_at_all_asks_for_some():
    """Without a single frame there is no parity check, so the message names the flag."""
    with pytest.raises(ExportError, match="--frames"):
        top_up(toy_frames(count=1)[:0])


def test_fault_35_an_empty_calibration_folder_is_named(tmp_path):
    """No images: the message names the folder."""
    with pytest.raises(DatasetError, match=tmp_path.name):
        read_calibration(tmp_path, toy())


@pytest.mark.parametrize("kind", ["one image", "copies", "one colour"])
def test_fault_35_useless_calibration_images_are_refused(kind, tmp_path):
    """One image, copies of one, or blank ones say nothing about ranges; the minimum is told."""
    frames = {
        "one image": toy_frames(count=1),
        "copies": np.repeat(toy_frames(count=1), 12, axis=0),
        "one colour": np.stack([np.full((64, 64, 3), level, np.uint8) for level in range(12)]),
    }[kind]
    with pytest.raises(ExportError, match="at least 8"):
        read_calibration(save(tmp_path, frames), toy())


def test_fault_35_few_calibration_images_are_warned_of(tmp_path, caplog):
    """Between the minimum and a hundred, export goes on and says what may happen."""
    frames, note = read_calibration(save(tmp_path, toy_frames(count=9)), toy())
    assert len(frames) == 9
    assert "9 different inputs for calibration" in caplog.text
    assert note.startswith("ranges from 9 inputs, sha256 ")
