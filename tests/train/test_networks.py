"""The two networks."""

from __future__ import annotations

import pytest
import torch

from p2p_train.networks.generator import PatchDiscriminator, UNetGenerator
from p2p_train.networks.geometry import downsamplings_for


def test_seed_generator_has_the_papers_widths_and_size() -> None:
    """The default generator has 54.41 M parameters and halves 256 px eight times to 1 px."""
    generator = UNetGenerator()
    assert sum(parameter.numel() for parameter in generator.parameters()) == 54_414_531
    assert [down[0].out_channels for down in generator.downs] == [64, 128, 256] + [512] * 5


def test_multiplications_are_those_of_the_paper() -> None:
    """6.05 GMAC at 256x256; two images' worth of pixels take twice that."""
    generator = UNetGenerator()
    assert generator.multiplications(256, 256) / 1e9 == pytest.approx(6.05, abs=0.005)
    assert generator.multiplications(256, 512) == 2 * generator.multiplications(256, 256)


def test_norm_and_dropout_stand_where_the_paper_puts_them() -> None:
    """The first and the innermost down have no norm; only the first three ups have dropout."""
    generator = UNetGenerator(ngf=2)
    norms = [any(isinstance(m, torch.nn.BatchNorm2d) for m in down) for down in generator.downs]
    dropouts = [any(isinstance(m, torch.nn.Dropout) for m in up) for up in generator.ups]
    assert norms == [False] + [True] * 6 + [False]
    assert dropouts == [True] * 3 + [False] * 4


def test_fewer_halvings_and_capped_channels_save_weights() -> None:
    """Six halvings leave 54 % of the weights, a cap of 256 channels 31 %; sizes stay."""
    sizes = []
    for shape in ({"downsamplings": 6}, {"max_width": 256}, {"max_width": 4096}):
        generator = UNetGenerator(**shape)
        assert generator(torch.zeros(1, 3, 256, 256)).shape == (1, 3, 256, 256)
        sizes.append(sum(parameter.numel() for parameter in generator.parameters()) / 54_414_531)
    assert sizes == pytest.approx([0.537, 0.306, 1.0], abs=0.001)


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


def test_evened_out_a_generator_answers_plain_surfaces_with_plain_surfaces() -> None:
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
    generator.even_out()
    assert max(spread(flat, (2, 3)), spread(banded, (3,))) < 1e-5


def test_an_even_kernel_repeats_pixels_and_convolves() -> None:
    """It is the full correlation of a 2x2 box and some 3x3 kernel, the nearest one there is."""
    torch.manual_seed(0)
    up = UNetGenerator(ngf=4, downsamplings=4)
    before = up.last[0].weight.detach().clone()
    up.even_out()
    image = torch.rand(1, 8, 6, 6)
    small = torch.linalg.lstsq(_box_basis(), before.flatten(2).flatten(0, 1).T).solution.T
    small = small.reshape(8, 3, 3, 3).transpose(0, 1)  # (outputs, inputs, 3, 3)
    doubled = image.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = torch.nn.functional.conv2d(doubled, small.flip(2, 3), padding=1)
    with torch.no_grad():
        found = torch.nn.functional.conv_transpose2d(image, up.last[0].weight, stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def _box_basis() -> torch.Tensor:
    """Return (16, 9): the 4x4 kernel of each tap of a 3x3 kernel after doubling."""
    kernels = torch.zeros(9, 4, 4)
    for tap in range(9):
        row, column = divmod(tap, 3)
        kernels[tap, row : row + 2, column : column + 2] = 1
    return kernels.flatten(1).T


def test_evening_out_moves_no_weight_twice() -> None:
    """Weights that fulfil the condition stay, and the mean of all taps always does."""
    torch.manual_seed(0)
    generator = UNetGenerator(ngf=4, downsamplings=4)
    before = generator.last[0].weight.detach().clone()
    generator.even_out()
    once = generator.last[0].weight.detach().clone()
    generator.even_out()
    assert not torch.equal(before, once)
    torch.testing.assert_close(generator.last[0].weight, once)
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
    logits = discriminator.judge(torch.zeros(1, 3, 256, 256), image)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    assert image.grad is not None
    touched = image.grad[0].abs().sum(dim=0) > 0
    assert touched.any(dim=1).sum() == 70
    assert touched.any(dim=0).sum() == 70


@pytest.mark.parametrize(
    ("height", "width"), [(255, 255), (288, 288), (256, 300), (16, 16), (0, 0)]
)
def test_fault_14_sizes_that_do_not_fit_are_refused_with_the_nearest(
    height: int, width: int
) -> None:
    """A size whose skips would not line up is refused, and a size that works is named."""
    with pytest.raises(ValueError, match=r"nearest size is (\d+)x(\d+)") as caught:
        downsamplings_for(height, width)
    nearest = str(caught.value).rsplit(" ", 1)[-1]
    downsamplings_for(*(int(side) for side in nearest.split("x")))
