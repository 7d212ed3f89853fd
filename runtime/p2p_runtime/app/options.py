"""The options of ``p2p-run``, by section of its help."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from p2p_runtime.console import Size, option, stack

__all__ = ["run_options"]

_FILE = click.Path(path_type=Path, dir_okay=False)

_input = partial(option, group="Input")
_model = partial(option, group="Model")
_labels = partial(option, group="Labels")
_output = partial(option, group="Output")
_machine = partial(option, group="Machine")
_run = partial(option, group="Run")


def _trust_any() -> None:
    from p2p_runtime.tls import allow_insecure

    allow_insecure()


run_options = stack(
    click.argument("inputs", metavar="[INPUT]...", nargs=-1),
    _input(
        "--video", metavar="SOURCE",
        help="Video file, picture, folder or glob of pictures or of videos (by suffix), camera "
        "number, URL (rtsp, http, udp, carla, ...), or - for raw frames on stdin.",
    ),
    _input(
        "--input-side", type=click.Choice(["left", "right"]),
        help="Pictures are pairs side by side: translate this half.",
    ),
    _input("--demo", is_flag=True, help="Translate the bundled clip, side by side."),
    _input(
        "--streams", type=_FILE, metavar="FILE.toml",
        help="Translate several cameras and streams, with one model, to the outputs that the file "
        "gives them.",
    ),
    _input("--max-frames", type=click.IntRange(min=1), metavar="N", help="Stop after N frames."),
    _input("--size", type=Size(), metavar="WxH", help="Size in pixels of raw frames on stdin."),
    _input(
        "--fps", advanced=True, type=click.FloatRange(min=0, max=240, min_open=True), metavar="FPS",
        help="Frame rate of raw frames on stdin, or of pictures that become a video.  "
        "[default: 25]",
    ),
    _input(
        "--drop", advanced=True, type=click.Choice(["none", "latest"]),
        help="When the model is slower than the source: let the source wait, or skip to the latest "
        "frame.  [default: latest for cameras and streams, else none]",
    ),
    _input(
        "--stall-timeout", advanced=True, type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS", default=10,
        help="Reconnect a camera or stream that delivers no frame for this long. A model server "
        "has so long for an answer.",
    ),
    _input(
        "--reconnect-for", advanced=True, type=click.FloatRange(min=0), metavar="SECONDS",
        default=300, help="Try to reconnect for this long, then exit with code 6.",
    ),
    _model(
        "--model", metavar="FILE|FOLDER",
        help="Model bundle or TensorRT engine; of a folder, the best for the device.  "
        "[default: newest export under runs/, else the bundled model]",
    ),
    _labels(
        "--labels", type=click.Choice(["auto", "colour", "ids"]), default="auto",
        help="Whether the input encodes classes by colour or as class ids.",
    ),
    _labels(
        "--ids", metavar="NAME|FILE.json",
        help="Numbering of class ids: cityscapes-label, cityscapes-train, carla, carla-0.9.13, "
        "camvid, own (the model's order) or a file.  [default: that of the training data]",
    ),
    _labels(
        "--repair-labels/--no-repair-labels", default=True,
        help="Undo the blur of video codecs: give each pixel its most likely class.",
    ),
    _labels(
        "--dedupe-threshold", advanced=True, type=click.IntRange(min=0), metavar="PIXELS",
        default=0,
        help="Reuse the last image if at most this many input pixels changed; 0 is lossless.",
    ),
    _output(
        "--output", multiple=True, metavar="FILE|FOLDER|URL|-|null:",
        help="Video (.mp4, .mov, .mkv), folder of PNGs, picture, server (rtsp, rtmp, ...), raw "
        "frames on stdout, or nothing. Repeatable.  [default: <name>-translated]",
    ),
    _run(
        "--insecure", advanced=True, is_flag=True, expose_value=False,
        callback=lambda _context, _option, given: _trust_any() if given else None,
        help="Trust servers (https, rtsps, rtmps) without checking their certificates.",
    ),
    _output("--overwrite", is_flag=True, help="Replace an existing output; never an input."),
    _output("--resume", is_flag=True, help="Leave out pictures that are in the output folder."),
    _output("--side-by-side", is_flag=True, help="Show the input to the left of the output."),
    _output("--show", is_flag=True, help="Also show the frames in a window; Q ends the run."),
    _output(
        "--view", metavar="[HOST:]PORT",
        help="Also show the frames in a browser, at this address of this machine; cameras, streams "
        "and pipes are then written only where --output says.  [default HOST: 127.0.0.1, for this "
        "machine alone]",
    ),
    _output(
        "--view-token", advanced=True, metavar="WORD", envvar="P2P_VIEW_TOKEN",
        help="What opens that page; other hosts than 127.0.0.1 have one.  [default: made at the "
        "start, and printed]",
    ),
    _output(
        "--overlay", advanced=True, is_flag=True,
        help="Draw the frame rate and the latency onto the frames.",
    ),
    _output(
        "--report", type=_FILE, metavar="FILE.json",
        help="Write the run's figures to a file, and print the times of its stages.",
    ),
    _machine(
        "--device", metavar="[auto|cpu|cuda|tensorrt|oip://HOST/MODEL]", default="auto",
        help="Where the model runs; a device that is missing or cannot run all of it is an error. "
        "oip://HOST:8000/MODEL[/VERSION] is a model server such as Triton; oips:// uses TLS.",
    ),
    _machine(
        "--threads", type=click.IntRange(1, 512), metavar="N",
        help="CPU threads for the model.  [default: all cores]",
    ),
    _machine(
        "--workers", type=click.IntRange(1, 64), metavar="N",
        help="Of a tree of videos: files at a time, each in a process with a model and its share "
        "of the threads.  [default: 1, which takes several frames of one file at a time]",
    ),
    _machine(
        "--shard", metavar="[I/]N",
        help="Of a tree of videos: the I-th of N parts, from 1 to N.  [default: that of the Slurm "
        "array or Kubernetes job, else all]",
    ),
    _machine("--doctor", is_flag=True, help="List what is installed and what is wrong, and exit."),
    _run("--strict", is_flag=True, help="Exit with code 5 if frames or colours were lost."),
    _run(
        "--status", advanced=True, type=click.Choice(["text", "json"]), default="text",
        help="json: also print a line of JSON to stderr every five seconds.",
    ),
    _run(
        "--status-file", advanced=True, type=_FILE, metavar="FILE.json",
        help="Write that line to a file every five seconds, for health checks.",
    ),
    _run("-v", "--verbose", is_flag=True, help="Log more, and print the times of the stages."),
)  # fmt: skip
