"""`p2p-run`: translate a label video on this device."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from . import __version__
from .console import P2PCommand, require_extra, setup_logging
from .errors import ConfigError
from .interrupts import StopRequest

__all__ = ["main"]

_EXAMPLES = """\b
Examples:
  p2p-run --video seg.mp4
  p2p-run --video seg.mp4 --model runs/city-1/export --side-by-side
  p2p-run --video labels/ --labels ids --output photos/
  p2p-run --video seg.mp4 --device cuda --report run.json --strict
  p2p-run --doctor
"""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(cls=P2PCommand, epilog=_EXAMPLES)
@click.option("--video", metavar="FILE|FOLDER", help="Video file, or folder of pictures.")
@click.option(
    "--model",
    metavar="FILE|FOLDER",
    help="Model bundle, or a folder of them (the best precision for the device is taken). "
    "[default: the newest export under runs/, else the demo]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Video (.mp4, .mov, .mkv), or a folder of PNGs. [default: <name>-translated here]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to run; a device that is not there is an error.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="CPU threads of the model. [default: all cores]",
)
@click.option("--side-by-side", is_flag=True, help="Put the input left of the output.")
@click.option("--show", is_flag=True, help="Show frames in a window, too; Q ends the run.")
@click.option(
    "--labels",
    type=click.Choice(["colour", "ids"]),
    default="colour",
    show_default=True,
    help="What the pictures hold: label colours, or single-channel class ids.",
)
@click.option(
    "--snap/--no-snap",
    default=True,
    show_default=True,
    help="Put every pixel on the palette's nearest colour, undoing the codec's blur.",
)
@click.option(
    "--reuse",
    type=click.IntRange(min=0),
    metavar="PIXELS",
    default=0,
    show_default=True,
    help="Give a frame the last image when its fitted labels differ from that image's in at most "
    "so many pixels; 0 loses nothing.",
)
@click.option(
    "--drop",
    type=click.Choice(["none", "latest"]),
    default="none",
    show_default=True,
    help="Frames to drop when the model is slow; latest is for live sources.",
)
@click.option(
    "--max-frames",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after so many frames. [default: all]",
)
@click.option("--report", type=_FILE, metavar="FILE.json", help="Write the run's figures there.")
@click.option("--strict", is_flag=True, help="Exit with 5 if frames or colours were lost.")
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("--doctor", is_flag=True, help="Say what is installed here and what is wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.version_option(__version__, prog_name="p2p-run")
@click.pass_context
def main(
    context: click.Context, /, *, verbose: bool, doctor: bool, strict: bool, drop: str, **flags: Any
) -> None:
    """Translate a label video into photos, frame by frame, with an exported generator.

    The figures go to stdout, progress and warnings to stderr.
    """
    started_s = time.perf_counter()
    setup_logging(verbose)
    if doctor:
        context.exit(_doctor())
    if flags["video"] is None:
        raise ConfigError("name a video or a folder of pictures with --video")
    if drop == "latest":
        raise ConfigError("--drop latest needs a live source; files wait, so nothing is dropped")

    require_extra("onnxruntime", "cpu")
    with StopRequest() as stop:
        from .pipeline import check_losses
        from .run import RunOptions, translate_video

        report = translate_video(RunOptions(**flags, started_s=started_s), stop)
        click.echo(report.to_table())
        if stop.requested:
            context.exit(stop.exit_code)
        check_losses(report, strict=strict)


def _doctor() -> int:
    from .doctor import examine

    findings = examine()
    for finding in findings:
        click.echo(str(finding))
    return 0 if all(finding.healthy for finding in findings) else 1


if __name__ == "__main__":
    main()
