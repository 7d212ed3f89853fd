"""The flags of ``p2p-run``, by subject."""

from __future__ import annotations

import re
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


def _to_size(
    context: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    """Read WxH, in pixels."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a size; write it like 640x360")
    return int(match[1]), int(match[2])


source_flags = _together(
    click.option(
        "--video",
        metavar="SOURCE",
        help="Video file, folder or glob of pictures, camera number, URL (rtsp, http, udp, ...), "
        "or - for raw frames on stdin.",
    ),
    click.option(
        "--demo", is_flag=True, help="Translate the clip that the package ships, side by side."
    ),
    click.option(
        "--size", callback=_to_size, metavar="WxH", help="Size in pixels of raw frames on stdin."
    ),
    click.option(
        "--fps",
        type=click.FloatRange(min=0, max=240, min_open=True),
        metavar="FPS",
        help="Frames a second of raw frames on stdin. [default: 25]",
    ),
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
        help="What to do when the model is slow: let the source wait, or take the newest frame and "
        "count the others. [default: latest for cameras and streams, none for the rest]",
    ),
    click.option(
        "--stall-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=10,
        show_default=True,
        help="Reconnect a camera or a stream that gives no frame for so long.",
    ),
    click.option(
        "--reconnect-for",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        default=300,
        show_default=True,
        help="Try to reconnect a lost camera or stream for so long, then end with exit code 6.",
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
        "--repair-labels/--no-repair-labels",
        default=True,
        show_default=True,
        help="Give every pixel of a label map its most likely class, against the codec's blur.",
    ),
    click.option(
        "--temporal-filter",
        type=click.IntRange(min=1),
        metavar="FRAMES",
        default=1,
        show_default=True,
        help="Give each pixel its most frequent class over so many frames, against flicker.",
    ),
    click.option(
        "--dedupe-threshold",
        type=click.IntRange(min=0),
        metavar="PIXELS",
        default=0,
        show_default=True,
        help="Reuse the last image for a frame whose input differs in at most so many pixels; "
        "0 is lossless.",
    ),
)

sink_flags = _together(
    click.option(
        "--output",
        multiple=True,
        metavar="FILE|FOLDER|URL|-|null:",
        help="Video (.mp4, .mov, .mkv), folder of PNGs, server to push to (rtsp, rtmp, ...), raw "
        "frames on stdout, or nowhere; may be given several times. "
        "[default: <name>-translated here]",
    ),
    click.option("--overwrite", is_flag=True, help="Replace an existing output."),
    click.option("--side-by-side", is_flag=True, help="Put the input left of the output."),
    click.option(
        "--overlay", is_flag=True, help="Draw frames a second and latency onto the frames."
    ),
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
