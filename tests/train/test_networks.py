"""The generator, the discriminator and their sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from p2p_runtime.errors import ConfigError
from p2p_train.networks.discriminators import PatchDiscriminator
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.geometry import downsamplings_for, unet_macs


def test_default_generator_has_the_papers_widths_and_size() -> None:
    """The default generator has 54.41 M parameters and takes 256 px to 1 px in eight blocks."""
    generator = UNetGenerator()
    assert sum(parameter.numel() for parameter in generator.parameters()) == 54_414_531
    assert [block[0].out_channels for block in generator.encoder] == [64, 128, 256] + [512] * 5


def test_macs_are_those_of_the_paper() -> None:
    """6.05 GMAC at 256x256; two images' worth of pixels take twice that."""
    macs = unet_macs(height=256, width=256, ngf=64, downsamplings=8)
    assert macs / 1e9 == pytest.approx(6.05, abs=0.005)
    assert unet_macs(height=256, width=512, ngf=64, downsamplings=8) == 2 * macs


@pytest.mark.parametrize(
    ("shape", "height", "width"),
    [
        ({"ngf": 4, "downsamplings": 5}, 32, 32),
        ({"ngf": 6, "downsamplings": 6}, 64, 128),
        ({"ngf": 2, "downsamplings": 8}, 256, 256),
    ],
)
def test_macs_are_what_torch_computes(shape: dict[str, int], height: int, width: int) -> None:
    """The count equals a layer-by-layer count of a forward pass."""
    generator = UNetGenerator(**shape).eval()
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal total
        transposed = isinstance(layer, nn.ConvTranspose2d)
        applied = inputs[0] if transposed else output  # one application of the kernel per pixel
        total += applied.shape[2] * applied.shape[3] * layer.weight.numel()

    for layer in generator.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        generator(torch.zeros(1, 3, height, width))
    assert unet_macs(height=height, width=width, **shape) == total


def test_norm_and_dropout_stand_where_the_paper_puts_them() -> None:
    """The first and the innermost encoder block have no norm; three decoder blocks have dropout."""
    generator = UNetGenerator(ngf=2)
    norms = [any(isinstance(m, nn.BatchNorm2d) for m in block) for block in generator.encoder]
    dropouts = [any(isinstance(m, nn.Dropout) for m in block) for block in generator.decoder]
    assert norms == [False] + [True] * 6 + [False]
    assert dropouts == [True] * 3 + [False] * 4


def test_fewer_downsamplings_save_weights() -> None:
    """Six downsamplings leave 54 % of the weights; the size stays."""
    generator = UNetGenerator(downsamplings=6)
    assert generator(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)
    weights = sum(parameter.numel() for parameter in generator.parameters())
    assert weights / 54_414_531 == pytest.approx(0.537, abs=0.001)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 128), (256, 512)])
def test_generator_keeps_the_size_and_stays_in_range(height: int, width: int) -> None:
    """An image comes out as large as it went in, within [-1, 1]."""
    generator = UNetGenerator(ngf=2, downsamplings=downsamplings_for(height, width))
    image = generator(torch.randn(2, 3, height, width))
    assert image.shape == (2, 3, height, width)
    assert image.abs().max() <= 1


def test_eval_mode_is_deterministic_and_train_mode_is_not() -> None:
    """Dropout makes training noisy; eval mode, which is what ships, repeats itself exactly."""
    torch.manual_seed(0)
    generator, signal = UNetGenerator(ngf=4), torch.randn(1, 3, 256, 256)
    assert not torch.equal(generator(signal), generator(signal))
    generator.eval()
    assert torch.equal(generator(signal), generator(signal))


def test_checkerboard_free_a_generator_maps_plain_surfaces_to_plain_surfaces() -> None:
    """The pattern of 2, 4, 8 and 16 px is there before, and nothing of it afterwards."""
    torch.manual_seed(0)
    generator = UNetGenerator(ngf=4, downsamplings=4, dropout=0.0).eval()
    for parameter in generator.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    flat = torch.full((1, 3, 256, 256), 0.3)
    flat[:, :, :32] = -0.5
    banded = flat.clone()
    banded[:, :, 150:158] = 0.9  # constant from left to right only

    def spread(signal: torch.Tensor, dims: tuple[int, ...]) -> float:
        with torch.no_grad():  # a whole cell of the innermost level, far from the sides
            surface = generator(signal)[..., 140:172, 112:144]
        return float((surface.amax(dim=dims) - surface.amin(dim=dims)).max())

    assert min(spread(flat, (2, 3)), spread(banded, (3,))) > 0.05
    generator.make_checkerboard_free()
    assert max(spread(flat, (2, 3)), spread(banded, (3,))) < 1e-5


def test_a_checkerboard_free_kernel_repeats_pixels_and_convolves() -> None:
    """It is the full correlation of a 2x2 box and some 3x3 kernel, the nearest one there is."""
    torch.manual_seed(0)
    generator = UNetGenerator(ngf=4, downsamplings=4)
    before = generator.output[0].weight.detach().clone()
    generator.make_checkerboard_free()
    image = torch.rand(1, 8, 6, 6)
    small = torch.linalg.lstsq(_box_basis(), before.flatten(2).flatten(0, 1).T).solution.T
    small = small.reshape(8, 3, 3, 3).transpose(0, 1)  # (outputs, inputs, 3, 3)
    doubled = image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = torch.nn.functional.conv2d(doubled, small.flip(2, 3), padding=1)
    with torch.no_grad():
        kernel = generator.output[0].weight
        found = torch.nn.functional.conv_transpose2d(image, kernel, stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def _box_basis() -> torch.Tensor:
    """Return (16, 9): the 4x4 kernel of each tap of a 3x3 kernel after doubling."""
    kernels = torch.zeros(9, 4, 4)
    for tap in range(9):
        row, column = divmod(tap, 3)
        kernels[tap, row : row + 2, column : column + 2] = 1
    return kernels.flatten(1).T


def test_making_a_generator_checkerboard_free_twice_changes_nothing_more() -> None:
    """The projection keeps weights that fulfil the condition, and always the mean of all taps."""
    torch.manual_seed(0)
    generator = UNetGenerator(ngf=4, downsamplings=4)
    before = generator.output[0].weight.detach().clone()
    generator.make_checkerboard_free()
    once = generator.output[0].weight.detach().clone()
    generator.make_checkerboard_free()
    assert not torch.equal(before, once)
    torch.testing.assert_close(generator.output[0].weight, once)
    torch.testing.assert_close(once.mean(dim=(2, 3)), before.mean(dim=(2, 3)))


def test_fault_13_batch_of_one_trains() -> None:
    """A single image passes the 1x1 bottleneck in training mode, since no norm sits there."""
    for norm in ("batch", "instance"):
        generator = UNetGenerator(ngf=2, norm=norm)
        generator(torch.randn(1, 3, 256, 256)).mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


def test_patch_discriminator_sees_70_pixels() -> None:
    """A logit in the middle depends on 70x70 input pixels, no more and no fewer."""
    discriminator = PatchDiscriminator(ndf=2).eval()
    image = torch.randn(1, 3, 256, 256, requires_grad=True)
    logits = discriminator(torch.zeros(1, 3, 256, 256), image)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    assert image.grad is not None
    touched = image.grad[0].abs().sum(dim=0) > 0
    assert touched.any(dim=1).sum() == 70
    assert touched.any(dim=0).sum() == 70


@pytest.mark.parametrize(
    ("size", "most", "nearest"),
    [
        ((255, 255), 8, (256, 256)), ((288, 288), 8, (256, 256)), ((300, 256), 8, (256, 256)),
        ((16, 16), 8, (32, 32)), ((0, 0), 8, (32, 32)), ((96, 200), 8, (64, 192)),
        ((200, 40), 8, (192, 32)), ((48, 39), 3, (48, 40)), ((960, 544), 8, (1024, 512)),
    ],
)  # fmt: skip
def test_fault_14_impossible_sizes_are_refused_with_the_nearest(
    size: tuple[int, int], most: int, nearest: tuple[int, int]
) -> None:
    """A size whose skips would not line up is refused; the nearest that fits is named as WxH.

    So is the number of downsamplings for which the size itself fits, if there is one.
    """
    text = "image size {}x{} .* nearest size is {}x{}(, or give --num-downs .)?$"
    with pytest.raises(ConfigError, match=text.format(*size, *nearest)) as error:
        downsamplings_for(*reversed(size), most)
    downsamplings_for(*reversed(nearest), most)
    fewer = str(error.value).partition("--num-downs ")[2]
    assert fewer == {(288, 288): "5", (960, 544): "5"}.get(size, "")
    assert not fewer or downsamplings_for(*reversed(size), int(fewer)) == int(fewer)
