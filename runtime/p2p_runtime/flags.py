"""The flags of ``p2p-run``, by subject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["model_flags", "report_flags", "sink_flags", "source_flags"]

Flags = Callable[[Callable[..., Any]], Callable[..., Any]]

_FILE = click.Path(path_type=Path, dir_okay=False)


def _together(*options: Flags) -> Flags:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


source_flags = _together(
    click.option("--video", metavar="FILE|FOLDER", help="Video file, or folder of pictures."),
    click.option(
        "--labels",
        type=click.Choice(["colour", "ids"]),
        default="colour",
        show_default=True,
        help="What the pictures hold: label colours, or single-channel class ids.",
    ),
    click.option(
        "--drop",
        type=click.Choice(["none", "latest"]),
        default="none",
        show_default=True,
        help="Frames to drop when the model is slow; latest is for live sources.",
    ),
    click.option(
        "--max-frames",
        type=click.IntRange(min=1),
        metavar="N",
        help="Stop after so many frames. [default: all]",
    ),
)

model_flags = _together(
    click.option(
        "--model",
        metavar="FILE|FOLDER",
        help="Model bundle, TensorRT engine, or folder of them (the best for the device is taken). "
        "[default: the newest export under runs/, else the demo]",
    ),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda", "tensorrt"]),
        default="auto",
        show_default=True,
        help="Where to run; a device that is not there, or cannot run all of it, is an error.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        metavar="N",
        help="CPU threads of the model. [default: all cores]",
    ),
    click.option(
        "--snap/--no-snap",
        default=True,
        show_default=True,
        help="Repair label colours: give every pixel its most likely class's, undoing the codec's "
        "blur.",
    ),
    click.option(
        "--vote",
        type=click.IntRange(min=1),
        metavar="FRAMES",
        default=1,
        show_default=True,
        help="Give each pixel the class that it had most often in so many frames, against flicker.",
    ),
    click.option(
        "--reuse",
        type=click.IntRange(min=0),
        metavar="PIXELS",
        default=0,
        show_default=True,
        help="Give a frame the last image when its fitted labels differ from that image's in at "
        "most so many pixels; 0 loses nothing.",
    ),
)

sink_flags = _together(
    click.option(
        "--output",
        multiple=True,
        metavar="FILE|FOLDER|null:",
        help="Video (.mp4, .mov, .mkv), folder of PNGs, or nowhere; may be given several times. "
        "[default: <name>-translated here]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing output."),
    click.option("--side-by-side", is_flag=True, help="Put the input left of the output."),
    click.option("--show", is_flag=True, help="Show frames in a window, too; Q ends the run."),
)

report_flags = _together(
    click.option(
        "--report", type=_FILE, metavar="FILE.json", help="Write the run's figures there."
    ),
    click.option(
        "--status",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json adds a line of JSON to stderr every five seconds.",
    ),
    click.option("--strict", is_flag=True, help="Exit with 5 if frames or colours were lost."),
    click.option("--doctor", is_flag=True, help="Say what is installed here and what is wrong."),
    click.option("-v", "--verbose", is_flag=True, help="Log more."),
)
