"""How good the generated images are, measured on validation pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from .data import PairBatch
from .pixels import to_pixels, to_signal

__all__ = ["Quality", "evaluate", "mean_image_l1", "psnr_db"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Means over the validation pairs.

    Attributes:
        l1: mean absolute difference in [-1, 1] signal units.
        psnr_db: mean over the images of the PSNR of 8-bit pixels.
    """

    l1: float
    psnr_db: float


@torch.inference_mode()
def evaluate(generator: nn.Module, batches: Iterator[PairBatch], device: torch.device) -> Quality:
    """Measure the generator as it ships: fp32, running statistics, no dropout."""
    was_training = generator.training
    generator.eval()
    l1, psnr, images = 0.0, 0.0, 0
    for cpu_batch in batches:
        batch = cpu_batch.to(device)
        source = to_signal(batch.source).contiguous(memory_format=torch.channels_last)
        generated = generator(source)
        l1 += float((generated - to_signal(batch.target)).abs().mean(dim=(1, 2, 3)).sum())
        psnr += float(psnr_db(to_pixels(generated), batch.target).sum())
        images += len(batch.source)
    generator.train(was_training)
    return Quality(l1=l1 / images, psnr_db=psnr / images)


def psnr_db(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the peak signal-to-noise ratio of each image.

    Args:
        image, target: (N, H, W, 3) uint8.

    Returns:
        (N,) float32 in dB; 99 where the images are equal, so that means stay finite.
    """
    mean_square = (image.float() - target.float()).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(255.0**2 / mean_square)).clamp(max=99.0)


def mean_image_l1(train: Iterator[PairBatch], val: Iterator[PairBatch]) -> float:
    """Return the validation L1 of answering every input with the mean training photo.

    A generator that does not beat this has learned nothing from its inputs.
    """
    total, images = torch.zeros(()), 0
    for batch in train:
        total = total + to_signal(batch.target).sum(dim=0)
        images += len(batch.target)
    mean = total / images
    distances = [(to_signal(b.target) - mean).abs().mean(dim=(1, 2, 3)) for b in val]
    return float(torch.cat(distances).mean())
