"""U-Net generator of pix2pix: Isola et al. 2017, arXiv 1611.07004, section 6.1."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .geometry import MAX_DOWNSAMPLINGS, Norm, unet_widths
from .norms import frozen_batchnorm, init_weights, norm_layers

__all__ = ["GeneratorOutput", "UNetGenerator"]

DROPOUT_BLOCKS = 3
"""Number of decoder blocks with dropout, from the innermost on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorOutput:
    """Output of the generator in training, (N, 3, H, W) RGB in [-1, 1]."""

    image: torch.Tensor


class EncoderBlock(nn.Sequential):
    """Downsample by two: Conv 4x4 stride 2, norm, LeakyReLU 0.2."""

    def __init__(self, inputs: int, outputs: int, norm: Norm | None) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=norm is None),
            *norm_layers(norm, outputs),
            nn.LeakyReLU(0.2),
        )


class DecoderBlock(nn.Sequential):
    """Upsample by two: ConvTranspose 4x4 stride 2, norm, dropout, ReLU."""

    def __init__(self, inputs: int, outputs: int, norm: Norm | None, dropout: float) -> None:
        super().__init__(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=norm is None),
            *norm_layers(norm, outputs),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.ReLU(),
        )


class UNetGenerator(nn.Module):
    """U-Net with skip connections by concatenation.

    With ``ngf`` 64 and 8 downsamplings the widths are 64-128-256-512-512-512-512-512: 54.41 M
    parameters and 6.05 GMAC at 256x256 px (:func:`.unet_macs`). The first and the innermost
    encoder block and the output layer have no norm.

    Args:
        ngf: channels after the first layer.
        downsamplings: number of encoder blocks, see :func:`.downsamplings_for`.
        norm: ``batch``, ``instance`` or None.
        dropout: probability in the first three decoder blocks; 0 leaves the layers out.

    Attributes:
        encoder, decoder: their blocks, outermost first and innermost first.
        output: last transposed convolution and tanh.
        recompute: in training, keep only the blocks' outputs and compute the rest again for the
            backward pass (Chen et al. 2016, arXiv 1604.06174): less memory, more time.
    """

    def __init__(
        self,
        *,
        ngf: int = 64,
        downsamplings: int = MAX_DOWNSAMPLINGS,
        norm: Norm | None = "batch",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        widths = unet_widths(ngf, downsamplings)
        # For 256 px and ngf 64:
        # (N, 3, 256, 256) -> (N, 64, 128, 128) -> (N, 128, 64, 64) -> ... -> (N, 512, 1, 1)
        self.encoder = nn.ModuleList()
        for level, (before, after) in enumerate(zip([3, *widths[:-1]], widths, strict=True)):
            normed = 0 < level < downsamplings - 1
            self.encoder.append(EncoderBlock(before, after, norm if normed else None))
        # (N, 512, 1, 1) -> (N, 512, 2, 2) + skip -> (N, 1024, 2, 2) -> ... -> (N, 128, 128, 128)
        self.decoder = nn.ModuleList()
        for level, after in enumerate(reversed(widths[:-1])):
            before = widths[-1] if level == 0 else 2 * widths[-1 - level]  # with the skip
            rate = dropout if level < DROPOUT_BLOCKS else 0.0
            self.decoder.append(DecoderBlock(before, after, norm, rate))
        # (N, 128, 128, 128) -> (N, 3, 256, 256)
        last = nn.ConvTranspose2d(2 * widths[0], 3, 4, stride=2, padding=1)
        self.output = nn.Sequential(last, nn.Tanh())
        self.recompute = False
        self.apply(init_weights)

    def forward(
        self, signal: torch.Tensor, features: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Translate images, (N, 3, H, W) in [-1, 1], into images of the same shape and range.

        The outputs of the encoder blocks and then of the decoder blocks are appended to
        ``features``, if given.
        """
        outputs: list[torch.Tensor] = [] if features is None else features
        skips = []
        for block in self.encoder:
            signal = self._run(block, signal)  # (N, c, h, w) -> (N, c', h/2, w/2)
            outputs.append(signal)
            skips.append(self.skip(signal))
        signal = skips.pop()  # the innermost output goes straight into the decoder
        for block in self.decoder:
            outputs.append(self._run(block, signal))  # (N, c, h, w) -> (N, c', 2h, 2w)
            signal = torch.cat([outputs[-1], skips.pop()], dim=1)  # (N, 2c', 2h, 2w)
        image: torch.Tensor = self.output(signal)
        return image

    @torch.no_grad()
    def make_checkerboard_free(self) -> None:
        """Move the decoder's kernels to the nearest ones that cannot produce checkerboards.

        Along each axis of a 4-tap kernel with stride 2, even output pixels are computed from two
        of the taps and odd ones from the other two. Where the two sums differ, a constant surface
        comes out striped. This is the projection onto the kernels whose sums are equal in each row
        and each column: those that repeat each pixel and then apply a 3x3 convolution, the remedy
        of Odena, Dumoulin and Olah 2016, "Deconvolution and checkerboard artifacts" (doi
        10.23915/distill.00003). The set is linear, so averages stay in it (EMA).
        """
        signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
        projection = torch.eye(4) - torch.outer(signs, signs) / 4
        projection = projection.to(next(self.parameters()).device)
        for block in (*self.decoder, self.output):
            kernel = block[0].weight  # (inputs, outputs, 4, 4)
            kernel.copy_(projection @ kernel @ projection)

    @torch.no_grad()
    def make_grey(self) -> None:
        """Move the output layer to the nearest one whose three channels are equal.

        Where every target is grey, the channels then cannot differ, in any exported form, and the
        graph costs what it did. Like the kernels above, this set is linear.
        """
        kernel, bias = self.output[0].parameters()  # (inputs, 3, 4, 4) and (3,)
        kernel.copy_(kernel.mean(dim=1, keepdim=True))
        bias.copy_(bias.mean())

    @torch.no_grad()
    def zero_untrained_taps(self, width: int, height: int) -> None:
        """Set to zero what the innermost kernels have never learned from images of this size.

        Along a side that shrinks to 1 px, their outer taps only ever met padding, so they hold what
        was drawn at the start. Images of this size come out as before; in larger ones these taps
        would meet pixels.
        """
        for axis, side in ((2, height), (3, width)):
            if side == 2 ** len(self.encoder):
                for block in (self.encoder[-1], self.decoder[0]):
                    kernel = block.get_parameter("0.weight")  # (.., .., 4, 4)
                    for tap in (0, 3):
                        kernel.select(axis, tap).zero_()

    def skip(self, signal: torch.Tensor) -> torch.Tensor:
        """Return what the skip passes on of an encoder block's output; a subclass may activate."""
        return signal

    def _run(self, block: nn.Module, signal: torch.Tensor) -> torch.Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            # The recomputation must not update the running statistics a second time.
            signal = checkpoint(
                block,
                signal,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), frozen_batchnorm(block)),
            )
        else:
            signal = block(signal)
        return signal
