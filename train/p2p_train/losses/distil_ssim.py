"""Structural dissimilarity from the teacher's image."""

from __future__ import annotations

import torch
from torch.nn import functional

from p2p_train.networks.pixels import luma

from .base import DistillationLoss, GeneratorOutput, LossBatch, distillation_curve

__all__ = ["DistilSsimLoss", "dissimilarity"]

WINDOW_PX = 8
STRIDE_PX = 4
SIGNAL_RANGE = 2.0


class DistilSsimLoss(DistillationLoss):
    """1 - SSIM to the teacher's image."""

    name = "distil_ssim"
    setting = "lambda_distil_ssim"
    curve = distillation_curve("1 - SSIM")

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the loss; see :func:`dissimilarity`."""
        return dissimilarity(output.image, self.teacher_image(batch))


def dissimilarity(image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return 1 - SSIM of the luma of two signals, a scalar.

    Wang et al. 2004, equation 13, with flat windows of 8 px every 4 px, as that paper's section
    III-B begins with; they cost a tenth of the Gaussian window.

    Args:
        image, reference: (N, 3, H, W) RGB in [-1, 1].
    """
    x, y = luma(image), luma(reference)
    moments = torch.cat([x, y, x * x, y * y, x * y], dim=1)  # (N, 5, H, W)
    # One value a window: (N, 5, h, w) -> five of (N, h, w)
    mean_x, mean_y, xx, yy, xy = functional.avg_pool2d(moments, WINDOW_PX, STRIDE_PX).unbind(dim=1)
    means, c1, c2 = mean_x * mean_y, (0.01 * SIGNAL_RANGE) ** 2, (0.03 * SIGNAL_RANGE) ** 2
    squares = mean_x.square() + mean_y.square()
    covariance, variances = xy - means, xx + yy - squares
    similar = (2 * means + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return 1 - similar.mean()
