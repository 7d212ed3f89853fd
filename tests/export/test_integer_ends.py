"""The integer form computes what was trained, as long as it runs in float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from test_graph import kinds, signal
from torch import nn

from p2p_export.graph.integer_ends import (
    Dequantise,
    IntegerGenerator,
    Quantise,
    Rows,
    SpaceToDepth,
    SplitSigmoid,
    equalise,
    integer_form,
)
from p2p_export.graph.pixel_generator import (
    DepthToSpace,
    PixelGenerator,
    fold,
    replace_transposed_convs,
    transposed_to_conv,
)
from p2p_export.graph.tracing import to_onnx
from p2p_export.importers.networks import RectifiedUNet
from p2p_export.parity import run_torch
from p2p_train.networks.generator import UNetGenerator
from p2p_train.networks.pixels import to_pixels, to_signal
from toy_export import CONTRACT, toy_config, toy_frames, toy_generator


def spreads(generator: UNetGenerator) -> list[float]:
    """Return the largest peak of a block's channels by the smallest one over the toy frames."""
    features: list[torch.Tensor] = []
    generator(to_signal(torch.from_numpy(toy_frames()), "bgr"), features)
    peaks = [one.abs().amax(dim=(0, 2, 3)) for one in features]
    return [float(one.max() / one.min().clamp_min(1e-3)) for one in peaks]


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("uint8_ends", [True, False])
def test_every_frame_comes_out_as_trained(norm, uint8_ends):
    """Folded, equalised and rewritten, no pixel is off by more than one level.

    With uint8 ends the padding differs by half a level, which small images show everywhere.
    """
    generator = toy_generator(toy_config(norm=norm))
    frames = toy_frames()
    expected = run_torch(PixelGenerator(generator), frames).astype(int)
    assert expected.std() > 10, "the comparison would prove nothing"
    module = integer_form(generator, frames, uint8_ends=uint8_ends)
    assert isinstance(module, IntegerGenerator if uint8_ends else PixelGenerator)
    actual = run_torch(module, frames).astype(int)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1
    assert (actual != expected).mean() < (0.03 if uint8_ends else 0.001)


@pytest.mark.parametrize("bias", [True, False])
def test_a_rectified_skip_is_equalised_after_its_relu(bias):
    """A relative of the U-Net, whose skips lose their negative part, computes the same, too."""
    torch.manual_seed(3)
    generator = RectifiedUNet(ngf=4, downsamplings=5).eval()
    if not bias:
        generator.encoder[0][0].bias = None
    frames = toy_frames()
    expected = run_torch(PixelGenerator(generator), frames).astype(int)
    actual = run_torch(integer_form(generator, frames), frames).astype(int)
    assert np.abs(actual - expected).max() <= 1


def test_the_argument_is_left_as_it_is(generator):
    """What was trained can be exported again."""
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    integer_form(generator, toy_frames())
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name]), name


@torch.inference_mode()
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_channels_have_ranges_more_alike(norm):
    """One scale then serves all channels of a tensor; what the generator computes stays."""
    folded = fold(toy_generator(toy_config(norm=norm)))
    equalised = equalise(folded, toy_frames())
    for before, after in zip(spreads(folded), spreads(equalised), strict=True):
        assert after < max(before, 1.5)
    assert max(spreads(folded)) > 2 * max(spreads(equalised)), "there is nothing to equalise"
    torch.testing.assert_close(equalised(signal()), folded(signal()), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_dead_block_is_left_alone(generator):
    """Nothing is divided by zero."""
    folded = fold(generator)
    for values in folded.encoder[0][0].parameters():
        values.zero_()
    equalised = equalise(folded, toy_frames())
    torch.testing.assert_close(equalised(signal()), folded(signal()), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_two_halves_make_one_sigmoid():
    """Every level from black to white, as one sigmoid of the same values rounds it."""
    layer = nn.Conv2d(1, 1, 1)
    layer.weight.fill_(1)
    layer.bias.zero_()
    x = torch.linspace(-8, 8, 10_001).reshape(1, 1, 1, -1)
    levels = SplitSigmoid(layer, layer)(x)
    expected = (torch.sigmoid(x) * 255).round()
    assert (levels - expected).abs().max() <= 1
    assert (levels != expected).float().mean() < 0.003
    assert set(levels.unique().tolist()) == set(range(256))


@torch.inference_mode()
def test_signals_are_half_a_level_low():
    """All 256 levels, and no two alike: the first convolution's bias makes up for the half."""
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 256, 1, 1).expand(1, 256, 1, 3)
    low = Dequantise()(levels) - to_signal(levels, "bgr").permute(0, 2, 3, 1)
    torch.testing.assert_close(low, torch.full_like(low, -0.5 / 127.5), atol=1e-6, rtol=0)


def test_levels_are_rounded_as_pixels_are():
    """255 sigmoid(2x) is 127.5 tanh(x) + 127.5, and both round to the same level."""
    x = torch.linspace(-8, 8, 30_003).reshape(1, 3, 1, -1)
    expected = to_pixels(torch.tanh(x), "bgr").permute(0, 3, 1, 2)
    actual = Quantise()(torch.sigmoid(2 * x))
    assert actual.dtype == torch.uint8
    assert set(expected.unique().tolist()) == set(range(256))
    difference = (actual.int() - expected.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.001  # the two formulas at rounding edges
    halves = torch.tensor([0.5, 1.5, 2.5, 253.5]) / 255
    assert Quantise()(halves).tolist() == [0, 2, 2, 254]


@pytest.mark.parametrize(("height", "width"), [(2, 2), (8, 6)])
def test_rows_undo_space_to_depth(height, width):
    """There and back gives the frame; the border is the level that stands for zero."""
    frame = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    blocks = SpaceToDepth()(frame)
    assert blocks.shape == (2, 12, height // 2 + 1, width // 2 + 1)
    assert (blocks[:, :6, 0] == 128).all()
    assert (blocks[:, 9:, :, -1] == 128).all()
    spare = torch.zeros(2, 2, *blocks.shape[2:], dtype=torch.uint8)
    rows = torch.cat([blocks[:, :6], spare, blocks[:, 6:], spare], dim=1)
    assert torch.equal(Rows()(rows), frame)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (3, 7)])
def test_rows_equal_depth_to_space(height, width):
    """The same pixels in the same places, whatever stands in the spare channels."""
    blocks = torch.rand(2, 12, height + 1, width + 1)
    expected = DepthToSpace()(blocks).permute(0, 2, 3, 1)
    spare = torch.full((2, 2, height + 1, width + 1), -9.0)
    rows = torch.cat([blocks[:, :6], spare, blocks[:, 6:], spare], dim=1)
    assert torch.equal(Rows()(rows), expected)


def test_the_graph_begins_and_ends_in_integers(generator):
    """Before the first convolution and after the levels nothing computes; bytes are moved."""
    content = to_onnx(integer_form(generator, toy_frames()), CONTRACT)
    graph = onnx.load_model_from_string(content).graph
    names = [node.op_type for node in graph.node]
    moves = {"Reshape", "Transpose", "Slice", "Pad"}
    assert (
        names.count("DequantizeLinear") == names.count("QuantizeLinear") == 3
    )  # two in the tables
    assert set(names[: names.index("DequantizeLinear")]) <= moves
    assert names[names.index("DequantizeLinear") + 1] == "Conv"
    assert set(names[len(names) - names[::-1].index("QuantizeLinear") :]) <= moves
    assert "Tanh" not in names


@torch.inference_mode()
@pytest.mark.parametrize(
    ("inputs", "outputs", "size", "bias"),
    [(3, 2, (4, 4), True), (5, 3, (1, 1), False), (2, 4, (3, 7), True), (1, 1, (16, 8), False)],
)
def test_the_convolution_equals_the_transposed_one(inputs, outputs, size, bias):
    """The 2x2 convolution with its shuffle is the ConvTranspose, to 1e-5, at any size."""
    torch.manual_seed(1)
    up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
    image = torch.randn(2, inputs, *size)
    torch.testing.assert_close(
        DepthToSpace()(transposed_to_conv(up)(image)), up(image), atol=1e-5, rtol=0
    )


@torch.inference_mode()
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_integer_rewrite_keeps_what_the_generator_computes(norm):
    """No transposed convolution is left, and the signals differ by 1e-5 at most."""
    folded = fold(toy_generator(toy_config(norm=norm)))
    rewritten = replace_transposed_convs(folded)
    assert nn.ConvTranspose2d not in kinds(rewritten)
    torch.testing.assert_close(rewritten(signal()), folded(signal()), atol=1e-5, rtol=0)
