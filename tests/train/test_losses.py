"""Losses: formulas of those that compare features, and what a new one touches."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_loop import last
from test_loop import run as train_to

from p2p_train import losses
from p2p_train.config import TrainConfig
from p2p_train.losses import loss_curves
from p2p_train.losses.base import Curve, GeneratorLoss, GeneratorOutput, LossBatch
from p2p_train.losses.distil import dissimilarity, feature_distance, style_distance
from p2p_train.losses.pattern import PICTURES, UNIT, TextureMemory
from p2p_train.metrics.pattern import WINDOW_PX
from p2p_train.training import recorder

MakeConfig = Callable[..., TrainConfig]
Distance = Callable[..., torch.Tensor]


class ToyLoss(GeneratorLoss):
    """Mean brightness of the image; a loss as somebody would add it."""

    name = "generator_toy"
    curve = Curve(panel="brightness", unit="signal units", progress=("toy", 2))

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Apply to every run."""
        return True

    def weight(self, progress: float) -> float:
        """Return a constant, as it has no setting."""
        return 0.5

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean of (N, 3, H, W)."""
        return output.image.float().mean()


def test_a_toy_loss_is_one_class_and_one_line(
    tiny: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered, it is minimised, logged, drawn, shown in progress and kept in checkpoints."""
    train_to(tiny(epochs=1), tmp_path / "without")
    drawn: list[str] = []
    real = recorder.draw_curves
    monkeypatch.setattr(
        recorder,
        "draw_curves",
        lambda records, curves: (drawn.extend(curves), real(records, curves))[1],
    )
    monkeypatch.setattr(losses, "GENERATOR_LOSSES", [*losses.GENERATOR_LOSSES, ToyLoss])
    train_to(tiny(epochs=1), tmp_path / "with")
    line = json.loads((tmp_path / "with/log.jsonl").read_text())
    assert -1 <= line["generator_toy"] <= 1
    assert "generator_toy" in drawn
    assert "generator_toy" in last(tmp_path / "with").progress["loss_sums"]
    without, with_toy = (last(tmp_path / name).generator for name in ("without", "with"))
    assert any(not torch.equal(without[name], with_toy[name]) for name in without)


def test_every_loss_has_a_name_of_its_own_and_a_curve() -> None:
    """No two losses share a key of the log."""
    config = TrainConfig.of(teacher="t.pt", segmenter="s.pt", lambda_pattern=5.0)
    assert len(loss_curves(config)) == len(losses.GENERATOR_LOSSES) + 2


def test_equal_images_are_no_distance_apart() -> None:
    """Every distance to the teacher is zero for what is equal, and well above zero for noise."""
    signal, noise = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    for distance in (feature_distance, style_distance):
        assert float(distance([(signal, signal)])) == 0
        assert float(distance([(signal, noise)])) > 0.01
    assert float(dissimilarity(signal, signal)) == pytest.approx(0, abs=1e-5)
    assert float(dissimilarity(signal, noise)) > 0.5


@pytest.mark.parametrize("distance", [feature_distance, style_distance])
def test_distances_do_not_depend_on_the_scale_of_features(distance: Distance) -> None:
    """Features a hundred times as large, on both sides, are as far apart as before."""
    one, two = torch.rand(2, 4, 8, 8), torch.rand(2, 4, 8, 8)
    small, large = distance([(one, two)]), distance([(100 * one, 100 * two)])
    torch.testing.assert_close(small, large, rtol=1e-4, atol=0)


def test_dissimilarity_has_the_value_of_its_formula() -> None:
    """Two flat grey images differ by brightness alone: 1 - (2 x y + c) / (x^2 + y^2 + c)."""
    one, two = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.25)
    c1 = (0.01 * 2) ** 2
    expected = 1 - (2 * 0.5 * 0.25 + c1) / (0.5**2 + 0.25**2 + c1)
    assert float(dissimilarity(one, two)) == pytest.approx(expected, abs=1e-5)


def test_style_ignores_where_features_are() -> None:
    """Features moved about keep their style but not their places."""
    features = torch.rand(1, 4, 8, 8)
    moved = features.roll((3, 2), dims=(2, 3))
    assert float(style_distance([(features, moved)])) == pytest.approx(0, abs=1e-5)
    assert float(feature_distance([(features, moved)])) > 0.1


def road_and_sky(count: int) -> torch.Tensor:
    """Return label maps of two classes, (N, 3, 96, 96)."""
    source = torch.full((count, 3, 96, 96), -1.0)
    source[:, 0, 48:] = 1.0
    return source


def seen(*steps: tuple[torch.Tensor, torch.Tensor]) -> TextureMemory:
    """Return the memory of label maps and pictures, a pair a step."""
    memory = TextureMemory(96, 96)
    for source, image in steps:
        memory(source, image)
    return memory


def test_the_pattern_loss_is_the_square_of_the_common_texture() -> None:
    """Half the contrast counts half, independent textures nothing, and noise is ignored."""
    source, grey = road_and_sky(64), UNIT * torch.randn(1, 1, 96, 96).expand(64, 3, -1, -1)
    own = UNIT * torch.randn(64, 3, 96, 96)
    memory = seen((source, grey))
    found = [float(copy.deepcopy(memory)(source, one)) for one in (grey, grey / 2, own, grey + own)]
    assert found == pytest.approx([1, 0.5, 0, 1], abs=0.05)
    assert float(seen((source, own))(source, UNIT * torch.randn(64, 3, 96, 96))) < 0.05


def test_noise_does_not_lower_the_pattern_loss() -> None:
    """Texture of one's own has no gradient; a share of all texture would have one."""
    source, grey = road_and_sky(4), torch.randn(1, 1, 96, 96).expand(4, 3, -1, -1)
    own = torch.randn(4, 3, 96, 96)
    image = (UNIT * (grey + own)).requires_grad_()
    seen((source, UNIT * grey))(source, image).backward()
    assert image.grad is not None
    assert float((image.grad * UNIT * grey).sum()) > 0.1
    assert float((image.grad * UNIT * own).sum()) == pytest.approx(0, abs=0.1)


def test_the_pattern_loss_compares_plain_surfaces_of_equal_labels() -> None:
    """A common texture on surfaces of other labels, or where no pixel counts, is no pattern."""
    source, texture = road_and_sky(2), torch.randn(1, 3, 96, 96).expand(2, -1, -1, -1)
    assert float(TextureMemory(96, 96)(source, texture)) == 0  # nothing to compare with
    memory = seen((source, texture))
    assert float(memory(source, texture)) > 1
    plain = (96 - 2 * (WINDOW_PX // 2)) / 96  # without the edge of the road
    assert float(memory(-source, texture)) < (1 - plain) * 1.1 * float(memory(source, texture))
    nothing = torch.ones(2, 1, 96, 96, dtype=torch.bool)
    assert float(memory(source, texture, nothing)) == 0


def test_the_pattern_loss_compares_edges_whatever_their_labels() -> None:
    """A mark where labels meet is found beside pictures whose other labels meet there."""
    source, texture = road_and_sky(2), torch.randn(1, 3, 96, 96).expand(2, -1, -1, -1)
    source[:, 1, ::16] = 0.5  # a line every 16 px leaves no plain surface
    assert float(seen((source, texture))(-source, texture)) > 1


def test_the_pattern_loss_compares_crops_by_their_place_in_the_picture() -> None:
    """Where two crops overlap, their texture is shared; elsewhere it is not."""
    source, texture = road_and_sky(1), UNIT * torch.randn(1, 3, 96, 96)
    memory = TextureMemory(96, 128)
    memory(source, texture, corners=[(0, 8)])
    moved = texture.roll(-16, dims=3)
    found = [
        float(copy.deepcopy(memory)(source, image, corners=[(0, left)]))
        for image, left in [(texture, 8), (moved, 24), (texture, 24)]
    ]
    assert found[1:] == pytest.approx([80 / 96 * found[0], 0], abs=0.1 * found[0])


def test_the_pattern_loss_forgets_what_is_no_longer_repeated() -> None:
    """Once as many plain pictures have passed as it remembers, an old texture counts nothing."""
    source, texture = road_and_sky(2), torch.randn(1, 3, 96, 96).expand(2, -1, -1, -1)
    plain = [(source, torch.zeros_like(texture))] * (PICTURES // 2)
    assert float(seen((source, texture), *plain[1:])(source, texture)) > 0.01
    assert float(seen((source, texture), *plain)(source, texture)) == 0


def test_the_reverse_of_the_pattern_is_no_gain() -> None:
    """A generator that is ahead of the memory cannot lower the loss by reversing its pattern."""
    source, texture = road_and_sky(2), UNIT * torch.randn(1, 3, 96, 96).expand(2, -1, -1, -1)
    memory, image = seen((source, texture)), (-texture).clone().requires_grad_()
    memory(source, image).backward()
    assert image.grad is not None
    assert not image.grad.any()


def test_the_pattern_loss_compares_pictures_whose_labels_around_are_alike() -> None:
    """A texture that follows an outline is found beside pictures with that outline, no others."""
    source, texture = road_and_sky(2), torch.randn(1, 3, 96, 96).expand(2, -1, -1, -1)
    higher = source.roll(-24, dims=2)
    higher[:, 0, :24], higher[:, 0, 72:] = -1.0, 1.0
    same, other = seen((source, texture)), seen((higher, texture))
    assert float(same(source, texture)) > 2.5 * float(other(source, texture)) > 0


def test_checkpoints_hold_the_memory_of_the_pattern_loss(tiny: MakeConfig, tmp_path: Path) -> None:
    """A resumed run compares with the pictures from before it stopped."""
    train_to(tiny(epochs=1, lambda_pattern=1.0), tmp_path)
    memory = last(tmp_path).training["generator_pattern"]
    assert set(memory) == {"labels", "plain", "textures", "added"}
