"""``p2p-train``: flags in, one call, an exit code out."""

from __future__ import annotations

from p2p_runtime import starting  # noqa: F401  # isort: skip  # first: Ctrl-C is quiet from here

import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PGroup, option, require_extra, setup_logging

from .commands import results, score, segmenter
from .config import TrainConfig
from .options import device_option, duration_s, given_settings, setting_options
from .recipes import RECIPES

__all__ = ["main"]

FILE = click.Path(path_type=Path)
_machine_flag = partial(option, group="Machine", advanced=True, is_flag=True)
_run = partial(option, group="Run")
_run_file, _run_flag = partial(_run, type=FILE), partial(_run, is_flag=True)
EPILOG = """\b
Examples:
  p2p-train --data photos
  p2p-train --data photos --recipe auto   for a start: a model in 20 minutes
  p2p-train --data photos --recipe edge --time 8h
  p2p-train --data photos --recipe student --teacher runs/photos-1
  p2p-train --data photos --recipe edge --segmenter segmenter.pt
  p2p-train --resume                      go on with the newest run
  p2p-train --data more --from runs/photos-1
  p2p-train --data photos --inspect       report on the data, train nothing
  p2p-train --data photos --dry-run       check everything, train nothing

\b
The folder holds side-by-side images in train/ and, optionally, val/:
left half = photo (target), right half = label map (input); see --input-side.
Or two folders matched by file name, such as labels/ and photos/; see --input-dir.
"""


@click.group(
    cls=P2PGroup, epilog=EPILOG, invoke_without_command=True, subcommand_metavar="[COMMAND]"
)
@setting_options()
@device_option
@option(
    "--workers", group="Machine", advanced=True, metavar="N", type=click.IntRange(0, 64),
    help="Processes that decode images ahead.  [default: by device and cores]",
)  # fmt: skip
@_machine_flag("--recompute", help="Save memory: compute activations twice.")
@_run(
    "--recipe", type=click.Choice(list(RECIPES)),
    help="Settings that replace the defaults. classic: pix2pix with large batches; paper: as "
    "published; edge: small, for devices; enhance: edge for rendered pictures; student: from "
    "--teacher alone; auto: by pairs and machine, in 20 minutes. Flags still win.  "
    "[default: classic]",
)  # fmt: skip
@_run(
    *("--time", "budget_s"), metavar="40m", type=duration_s,
    help="Time to train for, such as 40m or 8h; schedules follow it.",
)  # fmt: skip
@_run_file(
    "--config", metavar="FILE.json",
    help="Settings of another run, from its config.json. Flags still win.",
)  # fmt: skip
@_run_file("--run-dir", metavar="DIR", help="Folder of the results.  [default: runs/<data>-<n>]")
@_run(
    "--resume", metavar="[RUN|FILE.pt]", is_flag=False, flag_value="auto",
    help="Continue a run exactly where it stopped; without a value, the newest run.",
)  # fmt: skip
@_run_file(
    *("--from", "start_from"), metavar="RUN|FILE.pt",
    help="Start a new run with the weights of another one, for other pairs or settings.",
)  # fmt: skip
@_run_file(
    "--eval-segmenter", metavar="FILE.pt", help="Segmenter for a segmentation score in the log."
)
@_run_flag("--tensorboard", advanced=True, help="Write the log to RUN/tensorboard too.")
@_run_flag(
    "--inspect", help="Report on the data, write inspect.png (to --run-dir if given), and exit."
)
@_run_flag("--dry-run", help="Print the settings, check the data, and exit.")
@_run_flag("-v", "--verbose", help="Log more.")
@click.pass_context
def main(ctx: click.Context, /, **flags: Any) -> None:
    """Train a pix2pix GAN on paired images. The commands below score and show results.

    Writes checkpoints, a JSONL log, loss curves and sample grids to the run directory. Next:
    p2p-export.
    """
    # Read when torch starts its threads: waiting ones that spin take a core from its neighbours,
    # and wait for those that a neighbour holds up.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if ctx.invoked_subcommand is not None:
        return
    setup_logging(flags.pop("verbose"))
    needed = ("torch", "PIL", "matplotlib", *(["tensorboard"] * flags["tensorboard"]))
    for module in needed:
        require_extra(module, "train")
    settings = given_settings(ctx, flags)
    halve = settings.get("micro_batch") == "auto"
    if halve:
        del settings["micro_batch"]
    if flags.pop("inspect"):
        from .data.inspection import write_inspection

        settings.pop("precision", None)
        config = TrainConfig.of(**settings)
        click.echo(write_inspection(config.data, flags["run_dir"] or Path()))
        return
    from .devices import find_device
    from .training.launch import LaunchOptions, launch
    from .training.loop import Machine

    machine = Machine(
        device=find_device(flags.pop("device")),
        halve_micro_batch=halve,
        workers=flags.pop("workers"),
        recompute=flags.pop("recompute"),
    )
    ctx.exit(launch(LaunchOptions(settings=settings, machine=machine, **flags)))


for command in (segmenter, score, results):
    main.add_command(command)
