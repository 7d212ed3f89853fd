"""The semantic loss: a segmenter of real photos, applied to generated ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_loop import assert_equal, last
from test_loop import run as train_to

from p2p_runtime.errors import CheckpointError, ConfigError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train.config import TrainConfig
from p2p_train.data.dataset import PairBatch
from p2p_train.losses.base import GeneratorOutput, LossBatch, LossSetup
from p2p_train.losses.semantic import SemanticLoss
from p2p_train.metrics.evaluator import IGNORED
from p2p_train.networks.pixels import to_signal
from p2p_train.segmentation.segmenter import FrozenSegmenter, Segmenter
from p2p_train.training.loss_networks import load_loss_networks
from p2p_train.training.state import TrainState
from p2p_train.training.step import train_step
from toy_pairs import SIDE_PX, draw_pair

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
CONTRACT = PixelContract(height=SIDE_PX, width=SIDE_PX, palette=CITYSCAPES)


@pytest.fixture
def file(segmenter: Segmenter, tmp_path: Path) -> Path:
    """A segmenter of the size of the toy pairs."""
    path = tmp_path / "segmenter.pt"
    replace(segmenter, contract=CONTRACT).save(path)
    return path


@pytest.fixture
def frozen(file: Path) -> FrozenSegmenter:
    """The same, loaded for losses."""
    return load(file, CONTRACT)


@pytest.fixture
def semantic(tiny: MakeConfig, file: Path) -> MakeConfig:
    """Make a config with a semantic loss."""

    def make(**changes: object) -> TrainConfig:
        return tiny(**{"segmenter": str(file), **changes})

    return make


def load(file: Path, contract: PixelContract) -> FrozenSegmenter:
    """Load a segmenter as a run with a semantic loss does."""
    _, segmenter = load_loss_networks(TrainConfig.of(segmenter=str(file)), contract, CPU)
    assert segmenter is not None
    return segmenter


def loss_of(
    frozen: FrozenSegmenter,
    image: torch.Tensor,
    source: torch.Tensor,
    target: torch.Tensor,
) -> torch.Tensor:
    """Compute the loss of an image, (N, 3, H, W) in [-1, 1] as all others."""
    setup = LossSetup(config=TrainConfig.of(segmenter="s.pt"), segmenter=frozen)
    batch = LossBatch(source=source, target=target)
    return SemanticLoss(setup)(batch, GeneratorOutput(image=image))


def toy_signals() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a toy photo and its labels, (1, 3, H, W) in [-1, 1] each."""
    bgr = torch.from_numpy(draw_pair(0)[..., ::-1].copy())[None]
    photo, label = to_signal(bgr).split(SIDE_PX, dim=3)
    return photo.contiguous(), label.contiguous()


def test_targets_are_those_of_the_segmentation_score(frozen: FrozenSegmenter) -> None:
    """Random blocks of all classes, void ones among them: the same ids as for scoring."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, len(CITYSCAPES.classes), (6, 11, 11)).astype(np.uint8)
    maps = blocks.repeat(3, axis=1).repeat(3, axis=2)[:, :SIDE_PX, :SIDE_PX]  # edges cut blocks
    labels = np.stack([CITYSCAPES.to_colours(ids) for ids in maps])
    classes = frozen.target_classes(to_signal(torch.from_numpy(labels)))
    assert torch.equal(classes, frozen.segmenter.label_ids(labels).long())
    assert (classes == IGNORED).any()
    assert (classes != IGNORED).any()


def test_colours_of_no_class_do_not_count(frozen: FrozenSegmenter) -> None:
    """A map without any colour of the palette has no target: the loss is zero."""
    grey = torch.full((1, 3, SIDE_PX, SIDE_PX), 0.123)
    assert (frozen.target_classes(grey) == IGNORED).all()
    assert float(loss_of(frozen, grey, grey, grey)) == 0


def test_the_semantic_loss_is_smaller_for_photos_than_for_noise(frozen: FrozenSegmenter) -> None:
    """It is small for the photo that belongs to the labels, and large for noise."""
    photo, label = toy_signals()
    noise = torch.rand_like(photo) * 2 - 1
    of_photo, of_noise = (loss_of(frozen, x, label, photo) for x in (photo, noise))
    assert float(of_photo) < 0.5 * float(of_noise)


def test_the_segmenter_is_frozen(frozen: FrozenSegmenter) -> None:
    """Gradients reach the picture and stop there."""
    photo, label = toy_signals()
    loss_of(frozen, photo.requires_grad_(True), label, photo).backward()
    assert photo.grad is not None
    assert photo.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in frozen.segmenter.network.parameters())
    assert not frozen.segmenter.network.training


def test_its_weight_decides_what_is_learned(semantic: MakeConfig, frozen: FrozenSegmenter) -> None:
    """Another weight, other steps."""
    both = torch.from_numpy(np.stack([draw_pair(seed)[..., ::-1] for seed in range(4)]))
    pairs = PairBatch(source=both[:, :, SIDE_PX:], target=both[:, :, :SIDE_PX])
    weights = []
    for weight in (1.0, 10.0):
        state = TrainState(semantic(lambda_semantic=weight), CPU, segmenter=frozen)
        assert train_step(state, pairs)["generator_semantic"] > 0
        weights.append(state.generator.output[0].weight.detach().clone())
    assert not torch.equal(*weights)


def test_a_run_with_a_semantic_loss_goes_on_exactly(semantic: MakeConfig, tmp_path: Path) -> None:
    """One epoch and another one equal two."""
    train_to(semantic(epochs=2), tmp_path / "whole")
    train_to(semantic(epochs=1), tmp_path / "parts")
    train_to(semantic(epochs=2), tmp_path / "parts", resume_from=last(tmp_path / "parts"))
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert_equal(whole.generator, parts.generator)
    assert_equal(whole.training, parts.training)


def test_a_run_goes_on_with_its_own_segmenter_only(
    semantic: MakeConfig, file: Path, tmp_path: Path
) -> None:
    """Other weights under the same name are refused."""
    train_to(semantic(epochs=1), tmp_path / "run")
    segmenter = Segmenter.load(file, CPU)
    with torch.no_grad():
        segmenter.network.classifier.bias.add_(1)  # type: ignore[union-attr]  # it has one
    segmenter.save(file)
    with pytest.raises(CheckpointError, match="the segmenter has other weights"):
        train_to(semantic(epochs=2), tmp_path / "run", resume_from=last(tmp_path / "run"))


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (replace(CONTRACT, width=2 * SIDE_PX), "segmenter --size 64x32"),
        (replace(CONTRACT, palette=CAMVID), "palette cityscapes"),
    ],
)
def test_a_segmenter_of_other_pictures_is_refused(
    file: Path, contract: PixelContract, message: str
) -> None:
    """It must be trained on photos of the generator's size, with the same labels."""
    with pytest.raises(ConfigError, match=message):
        load(file, contract)
