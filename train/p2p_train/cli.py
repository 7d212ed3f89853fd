"""``p2p-train``: flags in, one call, an exit code out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from p2p_runtime.console import P2PGroup, require_extra, setup_logging

from .commands import judge, score
from .config import RECIPES, TrainConfig
from .options import ImageSize, MicroBatch, setting_flags

__all__ = ["main"]

EPILOG = """\b
Examples:
  p2p-train --data photos --image-size 256
  p2p-train --data photos --recipe edge --ngf 32 --batch-size 4
  p2p-train --data photos --recipe student --teacher runs/photos-1 --ngf 16 --batch-size 4
  p2p-train --data photos --recipe edge --reader judge.pt     a judge reads along: p2p-train judge
  p2p-train --resume                      go on with the newest run
  p2p-train --data photos --inspect       look at the data: a report and a contact sheet
  p2p-train --data photos --dry-run       check everything, train nothing

\b
The folder holds side-by-side images in train/ and, optionally, val/:
left half = photo (target), right half = label map (input); see --input-side.
Or two folders matched by file name, such as labels/ and photos/; see --input-dir.
"""
MACHINE = (
    "run_dir",
    "recipe",
    "device",
    "workers",
    "compile",
    "recompute",
    "sync_batchnorm",
    "resume",
    "judge",
    "tensorboard",
    "dry_run",
)


@click.group(
    cls=P2PGroup, epilog=EPILOG, invoke_without_command=True, subcommand_metavar="[COMMAND]"
)
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default="seed",
    show_default=True,
    help="seed: pix2pix as published; edge: what measured best here; student: to learn from "
    "--teacher alone. Flags still win.",
)
@click.option(
    "--run-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=None,
    help="Where results go.  [default: runs/<data>-<n>]",
)
@click.option(
    "--image-size",
    type=ImageSize(),
    default="256",
    show_default=True,
    help="Height x width in pixels; multiples of 256, or 32, 64, 128.",
)
@setting_flags
@click.option(
    "--micro-batch",
    type=MicroBatch(),
    default=None,
    help="Pairs at a time within a step; auto halves them when memory runs out.",
)
@click.option(
    "--device",
    metavar="auto|cpu|cuda[:N]",
    default="auto",
    show_default=True,
    help="auto: a GPU if there is one, else the CPU.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(0, 64),
    default=None,
    help="Processes that decode images ahead.  [default: by the number of cores]",
)
@click.option("--compile", is_flag=True, help="Fuse the networks with torch.compile.")
@click.option("--recompute", is_flag=True, help="Save memory: compute activations twice.")
@click.option(
    "--sync-batchnorm", is_flag=True, help="With several GPUs: norms see the whole batch."
)
@click.option(
    "--resume",
    metavar="[RUN|FILE.pt]",
    is_flag=False,
    flag_value="auto",
    default=None,
    help="Go on exactly where a run stopped; alone: the newest run under runs/.",
)
@click.option(
    "--judge",
    metavar="FILE.pt",
    type=click.Path(path_type=Path),
    default=None,
    help="Log label fidelity too; from p2p-train judge.",
)
@click.option("--tensorboard", is_flag=True, help="Write the log to RUN/tensorboard too.")
@click.option(
    "--inspect",
    is_flag=True,
    help="Report on the data and draw inspect.png (in --run-dir if given), no training.",
)
@click.option("--dry-run", is_flag=True, help="Print the settings and check the data, no training.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.pass_context
def main(ctx: click.Context, /, **flags: Any) -> None:
    """Train a pix2pix GAN on paired images; or, with a command, see how good one is.

    Writes checkpoints, a JSONL log, loss curves and sample grids to the run directory; p2p-export
    takes it from there.
    """
    if ctx.invoked_subcommand is not None:
        return
    setup_logging(flags.pop("verbose"))
    needed = ("torch", "PIL", "matplotlib", "rich", *(["tensorboard"] * flags["tensorboard"]))
    for module in needed:
        require_extra(module, "train")
    typed = {
        name for name in flags if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if "image_size" in typed:
        typed |= {"height", "width"}
    flags["height"], flags["width"] = flags.pop("image_size")
    halve = flags["micro_batch"] == "auto"
    if halve:
        flags["micro_batch"] = None
    if flags.pop("inspect"):
        from .data.inspection import write_inspection

        other = (*MACHINE, "precision")
        settings = {name: value for name, value in flags.items() if name not in other}
        click.echo(write_inspection(TrainConfig(**settings), flags["run_dir"] or Path()))
        return
    from .training.launch import LaunchOptions, launch

    options = {name: flags.pop(name) for name in MACHINE}
    wish = LaunchOptions(settings=flags, given=frozenset(typed), halve_micro_batch=halve, **options)
    ctx.exit(launch(wish))


main.add_command(judge)
main.add_command(score)
