"""``python -m experiments.pictures.levels``: what each level of a U-Net draws.

A mark at a fixed place cannot be read off the label map: some level draws it. Each picture is made
with the output of one level flattened to its mean over the image, which leaves that level nothing
to say about where things are. What is missing from the picture is what the level had drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from p2p_runtime.console import P2PCommand, setup_logging

if TYPE_CHECKING:
    import torch

    from p2p_train.networks.generator import UNetGenerator

__all__ = ["draw_flattened", "main"]


def draw_flattened(
    generator: UNetGenerator, signal: torch.Tensor, level: int | None
) -> torch.Tensor:
    """Return what ``generator`` draws when one level of its way up is flattened.

    Args:
        generator: in eval mode; it is left as it was.
        signal: (N, 3, H, W) in [-1, 1].
        level: index into ``generator.decoder``, 0 for the innermost; None flattens nothing.

    Returns:
        Images of the same shape and range.
    """
    import torch

    def flatten(
        _: torch.nn.Module, __: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> torch.Tensor:
        return output.mean(dim=(2, 3), keepdim=True).expand_as(output).contiguous()

    if level is None:
        with torch.no_grad():
            image: torch.Tensor = generator(signal)
        return image
    hook = generator.decoder[level].register_forward_hook(flatten)
    try:
        return draw_flattened(generator, signal, None)
    finally:
        hook.remove()


@click.command(cls=P2PCommand)
@click.argument("run_or_checkpoint", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--frames", metavar="N", type=click.IntRange(1), default=3, show_default=True)
@click.option("--levels", metavar="N", type=click.IntRange(1), default=4, show_default=True)
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), default="levels.jpg")
def main(run_or_checkpoint: Path, frames: int, levels: int, output: Path) -> None:
    """Draw validation inputs of a run as they are and with each inner level flattened.

    Columns: the input, what the generator makes of it, then the same with the output of its
    innermost level flattened, of the next, and so on.
    """
    setup_logging()

    from experiments.pictures.strip import draw_strip
    from p2p_runtime.files import write_picture
    from p2p_train.networks.pixels import to_pixels, to_signal
    from p2p_train.training.checkpoint import Checkpoint, find_checkpoint

    checkpoint = Checkpoint.load(find_checkpoint(run_or_checkpoint))
    generator = checkpoint.build_generator()
    sources = checkpoint.frames[:frames]
    flattened = [None, *range(min(levels, len(generator.decoder)))]
    columns = [sources.numpy()]
    for level in flattened:
        image = draw_flattened(generator, to_signal(sources), level)
        columns.append(to_pixels(image).numpy())
    strip = draw_strip([[column[row] for column in columns] for row in range(len(sources))])
    write_picture(output, strip)
    click.echo(f"{output}: input, generated, then levels {', '.join(map(str, flattened[1:]))} flat")


if __name__ == "__main__":
    main()
