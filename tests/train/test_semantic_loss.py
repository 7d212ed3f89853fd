"""The reader: a judge that tells the generator which labels cannot be read off its pictures."""

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
from p2p_train.metrics import IGNORED
from p2p_train.networks.pixels import to_signal
from p2p_train.segmentation import Segmenter
from p2p_train.segmentation.semantic import SemanticLoss, load_semantic_loss
from p2p_train.training.state import TrainState
from p2p_train.training.step import train_step
from toy_pairs import SIDE_PX, draw_pair

MakeConfig = Callable[..., TrainConfig]
CPU = torch.device("cpu")
CONTRACT = PixelContract(height=SIDE_PX, width=SIDE_PX, palette=CITYSCAPES)


@pytest.fixture
def reader_file(segmenter: Segmenter, tmp_path: Path) -> Path:
    """A judge of the size of the toy pairs."""
    path = tmp_path / "reader.pt"
    replace(segmenter, contract=CONTRACT).save(path)
    return path


@pytest.fixture
def read(tiny: MakeConfig, reader_file: Path) -> MakeConfig:
    """Make a config of a generator whose pictures are read."""

    def make(**changes: object) -> TrainConfig:
        return tiny(**{"reader": str(reader_file), **changes})

    return make


def reader_of(config: TrainConfig) -> SemanticLoss:
    """Load the reader that a config names."""
    reader = load_semantic_loss(config, CONTRACT, CPU)
    assert reader is not None
    return reader


def toy_signals() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a toy photo and its labels, (1, 3, H, W) in [-1, 1] each."""
    bgr = torch.from_numpy(draw_pair(0)[..., ::-1].copy())[None]
    photo, label = to_signal(bgr).split(SIDE_PX, dim=3)
    return photo.contiguous(), label.contiguous()


def test_it_wants_what_a_judge_is_asked(read: MakeConfig) -> None:
    """Random blocks of all classes, void ones among them: the same ids as for scoring."""
    reader = reader_of(read())
    chance = np.random.default_rng(0)
    blocks = chance.integers(0, len(CITYSCAPES.classes), (6, 11, 11)).astype(np.uint8)
    maps = blocks.repeat(3, axis=1).repeat(3, axis=2)[:, :SIDE_PX, :SIDE_PX]  # edges cut blocks
    labels = np.stack([CITYSCAPES.to_colours(ids) for ids in maps])
    wanted = reader.wanted(to_signal(torch.from_numpy(labels)))
    assert torch.equal(wanted, reader.judge.label_ids(labels).long())
    assert (wanted == IGNORED).any()
    assert (wanted != IGNORED).any()


def test_a_colour_of_no_class_is_not_asked_for(read: MakeConfig) -> None:
    """A map without any colour of the palette has nothing to read: the loss is zero."""
    reader = reader_of(read())
    grey = torch.full((1, 3, SIDE_PX, SIDE_PX), 0.123)
    assert (reader.wanted(grey) == IGNORED).all()
    assert float(reader.labels_loss(reader.look(grey), grey)) == 0


def test_real_photos_read_better_than_noise(read: MakeConfig) -> None:
    """The loss is small for the photo that belongs to the labels, and large for noise."""
    reader = reader_of(read())
    photo, label = toy_signals()
    noise = torch.rand_like(photo) * 2 - 1
    of_photo, of_noise = (reader.labels_loss(reader.look(x), label) for x in (photo, noise))
    assert float(of_photo) < 0.5 * float(of_noise)


def test_textures_are_compared_wherever_they_are(read: MakeConfig) -> None:
    """Noise is like noise moved, unlike the plain mean of it, and that learns to be like it."""
    reader = reader_of(read())
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moved = noise.roll((16, 24), dims=(2, 3))
    plain = noise.mean(dim=(2, 3), keepdim=True).expand_as(noise).clone().requires_grad_(True)
    same, elsewhere, other = (
        reader.style_loss(reader.look(image), noise) for image in (noise, moved, plain)
    )
    assert same.item() == 0
    assert elsewhere.item() < 0.4 * other.item()
    other.backward()
    assert plain.grad is not None
    assert plain.grad.abs().sum() > 0


def test_only_the_image_learns(read: MakeConfig) -> None:
    """Gradients reach the picture and stop there."""
    reader = reader_of(read())
    photo, label = toy_signals()
    seen = reader.look(photo.requires_grad_(True))
    reader.labels_loss(seen, label).backward()
    assert photo.grad is not None
    assert photo.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in reader.judge.network.parameters())
    assert not reader.judge.network.training


@pytest.mark.parametrize(
    ("weight_of", "loss", "done", "counts"),
    [
        ("lambda_labels", "generator_labels", 0, True),
        ("lambda_style", "generator_style", 79, False),
        ("lambda_style", "generator_style", 80, True),
    ],
)
def test_a_step_counts_it(
    read: MakeConfig, weight_of: str, loss: str, done: int, counts: bool
) -> None:
    """Each loss has its name in the log; its weight decides what is learned, style's in the end."""
    both = torch.from_numpy(np.stack([draw_pair(seed)[..., ::-1] for seed in range(4)]))
    pairs = PairBatch(source=both[:, :, SIDE_PX:], target=both[:, :, :SIDE_PX])
    weights = []
    for weight in (1.0, 10.0):
        config = read(**{weight_of: weight, "style_from": 0.8})
        state = TrainState(config, CPU, reader=reader_of(config))
        state.step = done
        state.begin_step(total_steps=100)
        losses = train_step(state, pairs)
        assert losses.named[loss] > 0
        assert config.loss_names == tuple(losses.named)
        weights.append(state.generator.output[0].weight.detach().clone())
    assert torch.equal(*weights) == (not counts)


def test_texture_without_a_reader_is_refused() -> None:
    """Nobody would see it."""
    with pytest.raises(ConfigError, match="give a --reader"):
        TrainConfig(lambda_style=1.0)


def test_a_run_that_is_read_goes_on_exactly(read: MakeConfig, tmp_path: Path) -> None:
    """One epoch and another one equal two."""
    train_to(read(epochs=2), tmp_path / "whole")
    train_to(read(epochs=1), tmp_path / "parts")
    train_to(read(epochs=2), tmp_path / "parts", resume_from=last(tmp_path / "parts"))
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    assert_equal(whole.generator, parts.generator)
    assert_equal(whole.training, parts.training)


def test_a_run_goes_on_with_its_own_reader_only(
    read: MakeConfig, reader_file: Path, tmp_path: Path
) -> None:
    """Other weights under the same name are refused."""
    train_to(read(epochs=1), tmp_path / "run")
    judge = Segmenter.load(reader_file, CPU)
    with torch.no_grad():
        judge.network.classifier.bias.add_(1)  # type: ignore[union-attr]  # it has one
    judge.save(reader_file)
    with pytest.raises(CheckpointError, match="the reader has other weights"):
        train_to(read(epochs=2), tmp_path / "run", resume_from=last(tmp_path / "run"))


@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (replace(CONTRACT, height=2 * SIDE_PX, width=2 * SIDE_PX), "judge --size 64"),
        (replace(CONTRACT, palette=CAMVID), "palette cityscapes"),
    ],
)
def test_a_reader_of_other_pictures_is_refused(
    read: MakeConfig, contract: PixelContract, message: str
) -> None:
    """It must have learned from photos of the generator's size, with the same labels."""
    with pytest.raises(ConfigError, match=message):
        load_semantic_loss(read(), contract, CPU)
