"""``p2p-train``: flags in, one call, an exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, require_extra, setup_logging

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-train --data photos --image-size 256
  p2p-train --data photos --ngf 32 --batch-size 4 --precision bf16
  p2p-train --resume                      go on with the newest run
  p2p-train --data photos --dry-run       check everything, train nothing

\b
The folder holds side-by-side images in train/ and, optionally, val/:
left half = photo (target), right half = label map (input); see --input-side.
"""


class ImageSize(click.ParamType[tuple[int, int]]):
    """``256`` or ``256x512`` (height x width), as a tuple."""

    name = "H[xW]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return (height, width) in pixels."""
        if isinstance(value, tuple):
            return value
        sides = str(value).lower().split("x")
        if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
            self.fail(f"{value!r} is not a size like 256 or 256x512 (height x width)", param, ctx)
        return int(sides[0]), int(sides[-1])


@click.command(cls=P2PCommand, epilog=EPILOG)
@click.option("--data", metavar="DIR", default="data/", show_default=True, help="The pairs.")
@click.option(
    "--run-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=None,
    help="Where results go.  [default: runs/<data>-<n>]",
)
@click.option(
    "--input-side",
    type=click.Choice(["left", "right"]),
    default="right",
    show_default=True,
    help="Which half of a pair is the generator's input.",
)
@click.option(
    "--image-size",
    type=ImageSize(),
    default="256",
    show_default=True,
    help="Height x width in pixels; multiples of 256, or 32, 64, 128.",
)
@click.option("--epochs", metavar="N", type=int, default=50, show_default=True)
@click.option("--max-steps", metavar="N", type=int, default=None, help="Stop after N steps in all.")
@click.option(
    "--batch-size", metavar="N", type=int, default=128, show_default=True, help="Pairs a step."
)
@click.option(
    "--lr", metavar="RATE", type=float, default=2e-4, show_default=True, help="Adam's step size."
)
@click.option("--beta1", metavar="X", type=float, default=0.5, show_default=True)
@click.option("--beta2", metavar="X", type=float, default=0.999, show_default=True)
@click.option(
    "--lambda-l1",
    metavar="X",
    type=float,
    default=100.0,
    show_default=True,
    help="Weight of the L1 loss against the adversarial loss.",
)
@click.option(
    "--dropout",
    metavar="P",
    type=float,
    default=0.5,
    show_default=True,
    help="In the generator's first three ups; training only.",
)
@click.option(
    "--ngf",
    metavar="N",
    type=int,
    default=64,
    show_default=True,
    help="Width of the generator; 16 or 32 for small devices.",
)
@click.option(
    "--ndf",
    metavar="N",
    type=int,
    default=64,
    show_default=True,
    help="Width of the discriminator.",
)
@click.option(
    "--norm", type=click.Choice(["batch", "instance"]), default="batch", show_default=True
)
@click.option(
    "--jitter-px",
    metavar="N",
    type=int,
    default=30,
    show_default=True,
    help="Random crop out of an image enlarged by N px; 0: none.",
)
@click.option("--flip/--no-flip", default=True, show_default=True, help="Mirror half of the pairs.")
@click.option(
    "--palette",
    metavar="NAME|FILE.json|auto|none",
    default="auto",
    show_default=True,
    help="Label colours: cityscapes, camvid, a file; none for inputs that are pictures.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="bf16 autocast is about twice as fast.",
)
@click.option(
    "--samples",
    metavar="N",
    type=int,
    default=8,
    show_default=True,
    help="Validation pairs in the sample grid.",
)
@click.option("--seed", metavar="N", type=int, default=0, show_default=True)
@click.option("--device", metavar="auto|cpu|cuda[:N]", default="auto", show_default=True)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(0, 64),
    default=None,
    help="Processes that decode images ahead.  [default: by the number of cores]",
)
@click.option(
    "--resume",
    metavar="[RUN|FILE.pt]",
    is_flag=False,
    flag_value="auto",
    default=None,
    help="Go on exactly where a run stopped; alone: the newest run under runs/.",
)
@click.option("--dry-run", is_flag=True, help="Print the settings and check the data, no training.")
@click.option("-v", "--verbose", is_flag=True)
@click.pass_context
def main(ctx: click.Context, /, **flags: Any) -> None:
    """Train a pix2pix GAN on paired images.

    Writes checkpoints, a JSONL log, loss curves and sample grids to the run directory; p2p-export
    takes it from there.
    """
    setup_logging(flags.pop("verbose"))
    for module in ("torch", "PIL", "matplotlib", "rich"):
        require_extra(module, "train")
    from .launch import Launch, launch

    flags["height"], flags["width"] = flags.pop("image_size")
    given = {
        name
        for name in flags
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    if ctx.get_parameter_source("image_size") is click.core.ParameterSource.COMMANDLINE:
        given |= {"height", "width"}
    options = {
        name: flags.pop(name) for name in ("run_dir", "device", "workers", "resume", "dry_run")
    }
    ctx.exit(launch(Launch(settings=flags, given=frozenset(given), **options)))
