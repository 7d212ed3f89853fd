"""The consistency loss: when the input moves, the picture should move with it."""

from __future__ import annotations

import torch
from torch.nn import functional

from .base import Curve, GeneratorLoss, GeneratorOutput, LossBatch

__all__ = ["SHIFT_PX", "ConsistencyLoss", "consistency_error", "shifted"]

SHIFT_PX = 16
"""Maximum shift of the inputs: half a cell of the innermost level of a generator with five
downsamplings, so that no artefact can be bound to a place of that grid."""

SHIFTED_ONE_IN = 4
"""Pairs of a micro-batch for each one that is generated again; fixed artefacts are in all."""


class ConsistencyLoss(GeneratorLoss):
    """Change of some images, beyond moving, when their inputs move by up to 16 px.

    A label map that moves is what a driving camera sees; artefacts at fixed places and textures
    that flicker show as a difference.
    """

    name = "generator_consistency"
    setting = "lambda_consistency"
    curve = Curve(panel="consistency error", unit="signal units, [-1, 1]")
    _shift = (0, 0)

    def extra_inputs(self, source: torch.Tensor) -> torch.Tensor:
        """Return the first quarter of the inputs, shifted; ``__call__`` expects their images."""
        count = -(-len(source) // SHIFTED_ONE_IN)
        rows, columns = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,)).tolist()
        self._shift = (rows, columns)
        return shifted(source[:count], rows, columns)  # (count, 3, H, W)

    def __call__(self, batch: LossBatch, output: GeneratorOutput) -> torch.Tensor:
        """Return the mean error over the images that were generated twice."""
        moved = output.extra[self.name]
        if batch.ignored is not None:  # what does not count is the photo in both
            first = batch.part(slice(len(moved)))
            ignored = shifted(batch.ignored[: len(moved)], *self._shift)
            moved = torch.where(ignored, shifted(first.target, *self._shift).to(moved), moved)
        return consistency_error(output.image[: len(moved)], moved, *self._shift)


def shifted(source: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return (N, C, H, W) moved down by ``rows`` and right by ``columns``; edges are repeated."""
    height, width = source.shape[2:]
    down = (torch.arange(height, device=source.device) - rows).clamp(0, height - 1)
    right = (torch.arange(width, device=source.device) - columns).clamp(0, width - 1)
    return source[:, :, down][..., right]


def consistency_error(
    generated: torch.Tensor, generated_from_shifted: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    """Return the mean absolute difference of a picture and one made of the shifted input.

    Args:
        generated: G(x), (N, 3, H, W); no gradient flows into it.
        generated_from_shifted: G(x moved by :func:`shifted`), likewise.
        rows, columns: the shift in pixels; the band that entered the picture is left out.
    """
    moved = shifted(generated.detach().float(), rows, columns)
    height, width = moved.shape[2:]
    down = slice(max(rows, 0), height + min(rows, 0))
    right = slice(max(columns, 0), width + min(columns, 0))
    again = generated_from_shifted.float()[..., down, right]  # (N, 3, H - |rows|, W - |columns|)
    return functional.l1_loss(again, moved[..., down, right])
