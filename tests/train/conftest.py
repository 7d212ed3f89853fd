"""Tiny data sets and settings for the training tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from p2p_train.config import DataConfig, TrainConfig
from p2p_train.segmentation.segmenter import Segmenter
from p2p_train.segmentation.training import SegmenterConfig, train_segmenter
from toy_pairs import SIDE_PX, write_pairs


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Tiny tensors: a second thread only waits; and after a fork, OpenMP waits for it forever."""
    torch.set_num_threads(1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of ten training and three validation pairs, 32x32."""
    write_pairs(tmp_path / "data" / "train", 10)
    write_pairs(tmp_path / "data" / "val", 3, first=100)
    return tmp_path / "data"


@pytest.fixture
def tiny(data: Path) -> Callable[..., TrainConfig]:
    """Make a config that trains in a blink: five downsamplings, four channels."""

    def make(**changes: object) -> TrainConfig:
        settings: dict[str, object] = {
            "data": str(data),
            "image_size": (SIDE_PX, SIDE_PX),
            "batch_size": 4,
            "epochs": 2,
            "ngf": 4,
            "ndf": 4,
            "jitter_px": 4,
            "samples": 2,
        }
        return TrainConfig.of(**{**settings, **changes})

    return make


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    """A segmenter of toy photos, 64x64."""
    data = tmp_path_factory.mktemp("segmenter")
    write_pairs(data / "train", 10)
    write_pairs(data / "val", 3, first=100)
    config = SegmenterConfig(
        data=DataConfig(folder=str(data)),
        size=(64, 64),
        epochs=40,
        batch_size=5,
        lr=1e-2,
        width=8,
    )
    return train_segmenter(config, torch.device("cpu"))
