"""The generators of pytorch-CycleGAN-and-pix2pix as its state dicts number them, for comparison.

Layer by layer and with its in-place activations; shares nothing with what is tested.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

MakeNorm = Callable[[int], nn.Module]


def norm_maker(norm: str, tracked: bool = False) -> MakeNorm:
    """Return what makes a norm; ``tracked`` as for a while in 2018, statistics that none reads."""
    if norm == "batch":
        return nn.BatchNorm2d
    if norm == "none":
        return lambda channels: nn.Identity()
    return lambda channels: nn.InstanceNorm2d(channels, track_running_stats=tracked)


class Nested(nn.Module):
    """An encoder block, the inner blocks, a decoder block; inner ones concatenate their input."""

    def __init__(
        self, inside: nn.Module | None, outer: int, inner: int, norm: str, make: MakeNorm, **more
    ):
        super().__init__()
        bias, self.outermost = norm == "instance", more.get("outermost", False)
        decoder_inputs = inner if inside is None else 2 * inner
        encode = nn.Conv2d(more.get("inputs", outer), inner, 4, 2, 1, bias=bias)
        decode = nn.ConvTranspose2d(decoder_inputs, outer, 4, 2, 1, bias=bias or self.outermost)
        if self.outermost:
            layers = [encode, inside, nn.ReLU(True), decode, nn.Tanh()]
        elif inside is None:
            layers = [nn.LeakyReLU(0.2, True), encode, nn.ReLU(True), decode, make(outer)]
        else:
            before = [nn.LeakyReLU(0.2, True), encode, make(inner)]
            layers = [*before, inside, nn.ReLU(True), decode, make(outer)]
            layers += [nn.Dropout(0.5)] * more.get("dropout", False)
        self.model = nn.Sequential(*layers)

    def forward(self, signal):
        """The in-place LeakyReLU changes ``signal`` before it is joined."""
        result = self.model(signal)
        return result if self.outermost else torch.cat([signal, result], 1)


class Wrapped(nn.Module):
    """A generator: one attribute, ``model``."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, signal):
        return self.model(signal)


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int, norm: str, make: MakeNorm, dropout: bool):
        super().__init__()
        bias = norm == "instance"
        half = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), make(width)]
        other = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), make(width)]
        self.conv_block = nn.Sequential(
            *half, nn.ReLU(True), *([nn.Dropout(0.5)] if dropout else []), *other
        )

    def forward(self, signal):
        return signal + self.conv_block(signal)


def unet(
    depth: int,
    ngf: int,
    norm: str,
    *,
    tracked: bool = False,
    dropout: bool = True,
    channels: tuple[int, int] = (3, 3),
):
    """Nest the blocks from inside to outside; equal arguments give equal weights."""
    torch.manual_seed(0)
    inputs, outputs = channels
    make = norm_maker(norm, tracked)
    block = Nested(None, 8 * ngf, 8 * ngf, norm, make)
    for _ in range(depth - 5):
        block = Nested(block, 8 * ngf, 8 * ngf, norm, make, dropout=dropout)
    for outer in (4, 2, 1):
        block = Nested(block, outer * ngf, 2 * outer * ngf, norm, make)
    return Wrapped(Nested(block, outputs, ngf, norm, make, outermost=True, inputs=inputs))


def resnet(
    blocks: int,
    ngf: int,
    norm: str,
    *,
    tracked: bool = False,
    dropout: bool = False,
    channels: tuple[int, int] = (3, 3),
):
    """Return one long sequence; equal arguments give equal weights."""
    torch.manual_seed(0)
    make, bias = norm_maker(norm, tracked), norm == "instance"
    first = nn.Conv2d(channels[0], ngf, 7, bias=bias)
    layers = [nn.ReflectionPad2d(3), first, make(ngf), nn.ReLU(True)]
    for width in (ngf, 2 * ngf):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1, bias=bias), make(2 * width), nn.ReLU(True)]
    layers += [Block(4 * ngf, norm, make, dropout) for _ in range(blocks)]
    for width in (4 * ngf, 2 * ngf):
        decode = nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1, bias=bias)
        layers += [decode, make(width // 2), nn.ReLU(True)]
    last = nn.Conv2d(ngf, channels[1], 7)
    return Wrapped(nn.Sequential(*layers, nn.ReflectionPad2d(3), last, nn.Tanh()))


def trained(network: nn.Module, size: int = 128, seed: int = 0) -> nn.Module:
    """Give every norm statistics, gains and offsets as after training, and the output contrast."""
    torch.manual_seed(seed)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        for _ in range(20):
            network.train()(torch.rand(2, first.in_channels, size, size) * 2 - 1)
        for norm in norms:
            norm.running_mean += 0.2 * norm.running_var.sqrt() * torch.randn(norm.num_features)
            norm.running_var *= torch.empty(norm.num_features).uniform_(0.5, 2.0)
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.uniform_(-0.3, 0.3)
        last = network.model.model[-2] if hasattr(network.model, "model") else network.model[-2]
        last.weight *= 3
        last.bias.copy_(torch.tensor([0.3, 0.0, -0.3])[: len(last.bias)])
    return network.eval()


def without_dropout(network: nn.Module) -> nn.Module:
    """Switch dropout off, in training mode too; it would be drawn anew each time."""
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return network
