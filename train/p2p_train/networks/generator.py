"""The two networks of pix2pix: a U-Net generator and a PatchGAN discriminator.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
arXiv 1611.07004, section 6.1.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

from .geometry import MAX_DOWNSAMPLINGS, Norm
from .norms import frozen_batchnorm

__all__ = ["PatchDiscriminator", "UNetGenerator"]


class Down(nn.Sequential):
    """Halve the image: Conv 4x4 stride 2, norm, LeakyReLU 0.2."""

    def __init__(self, inputs: int, outputs: int, norm: Norm | None) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=norm is None),
            *_norm_layers(norm, outputs),
            nn.LeakyReLU(0.2),
        )


class Up(nn.Sequential):
    """Double the image: ConvTranspose 4x4 stride 2, norm, dropout, ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm | None, dropout: float) -> None:
        super().__init__(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=norm is None),
            *_norm_layers(norm, outputs),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.ReLU(),
        )


class UNetGenerator(nn.Module):
    """U-Net with skips by concatenation.

    With ``ngf`` 64 and 8 downsamplings the widths are 64-128-256-512-512-512-512-512: 54.41 M
    parameters and 6.05 GMAC at 256x256. The first and the innermost layer have no norm; the
    first three ups have dropout.

    Args:
        ngf: channels after the first layer.
        downsamplings: how often the image is halved, see :func:`.geometry.downsamplings_for`.
        max_width: most channels of a layer; None for 8 * ``ngf``, as in the paper.
        norm: ``batch`` or ``instance``.
        norm_min_px: layers whose output is smaller have no norm, when the innermost is 1 px; the
            innermost and the first never have one.
        dropout: probability, 0 switches it off.
        channels: channels of input and output.

    Attributes:
        recompute: in training, keep only what passes between blocks and compute the rest again
            for the backward pass (Chen et al. 2016, arXiv 1604.06174): less memory, more time.
    """

    def __init__(
        self,
        *,
        ngf: int = 64,
        downsamplings: int = MAX_DOWNSAMPLINGS,
        max_width: int | None = None,
        norm: Norm = "batch",
        norm_min_px: int = 2,
        dropout: float = 0.5,
        channels: int = 3,
    ) -> None:
        super().__init__()
        widest = min(8 * ngf, max_width or 8 * ngf)
        widths = [min(ngf * 2**level, widest) for level in range(downsamplings)]
        inputs = [channels, *widths[:-1]]
        self.downs = nn.ModuleList()
        for level, (before, after) in enumerate(zip(inputs, widths, strict=True)):
            output_px = 2 ** (downsamplings - 1 - level)
            normed = 0 < level < downsamplings - 1 and output_px >= norm_min_px
            self.downs.append(Down(before, after, norm if normed else None))
        self.ups = nn.ModuleList()
        for level, width in enumerate(reversed(widths[:-1])):
            doubled = widths[-1] if level == 0 else 2 * widths[-1 - level]  # skip concatenated
            normed = 2 ** (level + 1) >= norm_min_px
            rate = dropout if level < 3 else 0.0
            self.ups.append(Up(doubled, width, norm if normed else None, rate))
        self.last = nn.Sequential(
            nn.ConvTranspose2d(2 * widths[0], channels, 4, stride=2, padding=1), nn.Tanh()
        )
        self.recompute = False
        self.apply(_initialise)

    def forward(
        self, signal: torch.Tensor, features: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Translate an image.

        Args:
            signal: (N, C, H, W) in [-1, 1].
            features: takes, if given, what each down and then each up made.

        Returns:
            An image of the same shape and range.
        """
        made: list[torch.Tensor] = [] if features is None else features
        skips = []
        for down in self.downs:
            signal = self._pass(down, signal)
            made.append(signal)
            skips.append(self.skip(signal))
        signal = skips.pop()  # the innermost goes straight up
        for up in self.ups:
            made.append(self._pass(up, signal))
            signal = torch.cat([made[-1], skips.pop()], dim=1)
        image: torch.Tensor = self.last(signal)
        return image

    @torch.no_grad()
    def even_out(self) -> None:
        """Make every transposed convolution one that cannot draw checkerboards.

        Along each axis of a 4-tap kernel with stride 2, even pixels of the output see two of the
        taps and odd ones the other two; where the two sums differ, a plain surface comes out
        striped, level by level with a period of 2, 4, 8 ... px. The weights are moved to the
        nearest ones whose sums are equal in each row and each column. These are the kernels that
        equal doubling the image by repeating its pixels and a 3x3 convolution afterwards, the
        remedy of Odena, Dumoulin and Olah 2016, "Deconvolution and checkerboard artifacts"
        (doi 10.23915/distill.00003), at less than half of that convolution's work. An average of
        such weights is one of them.
        """
        turns = torch.tensor([1.0, -1.0, 1.0, -1.0])
        even = torch.eye(4) - torch.outer(turns, turns) / 4
        even = even.to(next(self.parameters()).device)
        for block in (*self.ups, self.last):
            kernel = block[0].weight  # (inputs, outputs, 4, 4)
            kernel.copy_(even @ kernel @ even)

    def multiplications(self, height: int, width: int) -> int:
        """Return how many multiply-accumulate operations an image of this size takes.

        A transposed convolution's kernel is applied once per pixel of its *input*.
        """
        total = 0
        for blocks in (self.downs, [*self.ups, self.last][::-1]):
            for level, block in enumerate(blocks, start=1):
                total += block[0].weight.numel() * (height * width // 4**level)
        return total

    def skip(self, signal: torch.Tensor) -> torch.Tensor:
        """Return what of a down's result goes up; for relatives of this network."""
        return signal

    def _pass(self, block: nn.Module, signal: torch.Tensor) -> torch.Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            contexts = partial(_first_and_second_pass, block)
            signal = checkpoint(block, signal, use_reentrant=False, context_fn=contexts)
        else:
            signal = block(signal)
        return signal


class PatchDiscriminator(nn.Sequential):
    """70x70 PatchGAN: says of every 70x70 px patch whether it is real, given the input.

    Args:
        ndf: channels after the first layer.
        strided: stride-2 layers; 3 give the 70x70 field of view.
        norm: ``batch`` or ``instance``; the first and the last layer have none.
        spectral: bound each layer's gain by spectral normalisation, in place of ``norm`` (Miyato
            et al. 2018, arXiv 1802.05957).
        channels: channels of input plus those of the image.
    """

    def __init__(
        self,
        *,
        ndf: int = 64,
        strided: int = 3,
        norm: Norm | None = "batch",
        spectral: bool = False,
        channels: int = 6,
    ) -> None:
        norm = None if spectral else norm
        layers: list[nn.Module] = [
            nn.Conv2d(channels, ndf, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        width = ndf
        for level in range(1, strided + 1):
            wider = ndf * min(2**level, 8)
            stride = 2 if level < strided else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=norm is None),
                *_norm_layers(norm, wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        layers.append(nn.Conv2d(width, 1, 4, stride=1, padding=1))
        super().__init__(*layers)
        self.apply(_initialise)
        if spectral:
            for layer in self:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def judge(self, source: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Return a logit a patch, (N, 1, h, w): above 0 for real.

        Args:
            source: the generator's input, (N, 3, H, W) in [-1, 1].
            image: a real or a generated image, (N, 3, H, W) in [-1, 1].
        """
        logits: torch.Tensor = self(torch.cat([source, image], dim=1))  # (N, 6, H, W)
        return logits

    def features(self, source: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """Return what each layer that halves the image sees, fine to coarse; as :meth:`judge`.

        The layer after those alone costs more than all of them together.
        """
        signal, seen = torch.cat([source, image], dim=1), []
        for layer in self:
            if isinstance(layer, nn.Conv2d) and layer.stride == (1, 1):
                break
            signal = layer(signal)
            if isinstance(layer, nn.LeakyReLU):
                seen.append(signal)
        return seen


def _first_and_second_pass(
    block: nn.Module,
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Let a block's running statistics move in the first pass only."""
    return nullcontext(), frozen_batchnorm(block)


def _norm_layers(norm: Norm | None, channels: int) -> list[nn.Module]:
    if norm is None:
        return []
    if norm == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.InstanceNorm2d(channels, affine=True)]


def _initialise(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), norm gains from N(1, 0.02): the paper, section 6.2."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
