"""``python -m experiments.page``: write ``docs/results.md`` from the recorded results.

Each section is one question, one command, one machine and one table. Nothing on the page is typed
by hand: to change it, measure again or change a section here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from experiments.harness import RESULTS, Document, markdown_table
from experiments.labels import repair
from experiments.quality import calibration, enhance, few_pairs, options, scores
from experiments.speed import (
    crosscheck,
    encoding,
    installing,
    live,
    loss_costs,
    pipeline,
    scaling,
    shapes,
    soak,
    streams,
    training_step,
    view,
    widths,
)
from p2p_bench.backends.registry import BACKENDS
from p2p_runtime.console import P2PCommand, setup_logging
from p2p_runtime.errors import ConfigError

__all__ = ["PAGE", "SECTIONS", "Section", "compose", "main", "read_result"]

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
LINK = "../benchmarks/experiments/results"

HEAD = """\
<!-- Written by `python -m experiments.page` from benchmarks/experiments/results. Do not edit. -->
# Results

Every figure comes from the file that its section names. Each section was measured on one machine;
sections of different machines do not compare. Latencies start and end with uint8 pixels in host
memory, the backends' rounds are interleaved, and nothing is trimmed.

Scores of pictures are those of one run each, on the 250 validation pairs of Cityscapes, by
networks that took no part in training. ImageNet is the Frechet distance to the photos in features
of EfficientNet-Lite0 at 1/4, 1/8 and 1/16 of the side: texture, parts, objects; real photos are
others than those. Accuracies and mean IoU say which classes a segmenter finds in the pictures;
Frechet is their distance in its features; fixed pattern and flicker are in levels of 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section of the page.

    Attributes:
        title: the heading.
        name: of the result file, without suffix.
        intro: the question, and what the columns mean.
        command: the command that writes the result file.
        table: returns the document as Markdown.
        picture: file name of a picture beside the result, or "".
    """

    title: str
    name: str
    intro: str
    command: str
    table: Callable[[Document], str]
    picture: str = ""


def backends_table(document: Document) -> str:
    """Return a row per measured backend, the fastest first."""
    measured = [row for row in document["rows"] if row["latency"] and row["name"] in BACKENDS]
    rows = []
    for row in sorted(measured, key=lambda row: row["latency"]["median_ms"]):
        latency = row["latency"]
        rows.append(
            [
                row["what"],
                f"{latency['median_ms']:.1f} ms",
                f"{latency['p99_ms']:.1f} ms",
                f"{latency['speedup']:.2f}x",
                f"{latency['slowest_round']:.2f} to {latency['fastest_round']:.2f}",
                _if_known(row["psnr_db"], "{:.1f} dB"),
                _if_known(row["peak_rss_mib"], "{:.0f} MiB"),
                _if_known(row["first_ms"], "{:.0f} ms"),
            ]
        )
    titles = ["backend", "median", "p99", "speed-up", "by round", "PSNR to eager"]
    return markdown_table([*titles, "peak memory", "first frame"], rows)


def parity_table(document: Document) -> str:
    """Return a row per exported file of ``parity.json``."""
    rows = [
        [
            name,
            f"{row['max_levels']} levels",
            f"{row['within_one']:.1%}",
            f"{row['psnr_db']:.1f} dB",
            f"{row['worst_psnr_db']:.1f} dB",
            f"{100 * row['segmentation_score']['mean_iou']:.2f}",
            f"{100 * row['trained_segmentation_score']['mean_iou']:.2f}",
        ]
        for name, row in document.items()
    ]
    titles = ["file", "largest difference", "within one level", "PSNR to torch", "worst frame"]
    return markdown_table([*titles, "mean IoU, %", "of torch, %"], rows)


def usefulness_table(document: Document) -> str:
    """Return a row per kind of pictures that a segmenter learned from."""
    kinds = {
        "photos": "usefulness_real",
        "generated pictures": "usefulness",
        "label colours": "usefulness_colours",
    }
    rows = [
        [name, *(f"{document[key][score]:.3f}" for score in SEGMENTATION.values())]
        for name, key in kinds.items()
    ]
    return markdown_table(["trained on", *SEGMENTATION], rows)


SEGMENTATION = {
    "pixel accuracy": "pixel_accuracy",
    "class accuracy": "class_accuracy",
    "mean IoU": "mean_iou",
}
"""Key of each score of a segmenter by its title."""

SECTIONS = (
    Section(
        title="Backends",
        name="backends",
        intro="How fast is a frame of the classic generator (width 64, random weights, 256x256, "
        "batch 1) in each runtime? *By round* is the least and greatest speed-up of a round.",
        command="p2p-bench --threads 2 --inputs seg.mp4 --json backends.json --plot backends.png",
        table=backends_table,
        picture="backends.png",
    ),
    Section(
        title="Widths",
        name="widths",
        intro="What does a narrower generator gain, at 256x256 and batch 1? Speed-up is over torch "
        "eager at the same width; weights are random. Two columns are older forms of int8.",
        command="python -m experiments.speed.widths",
        table=widths.table,
    ),
    Section(
        title="Scaling",
        name="scaling",
        intro="How does the time of a frame grow with size, width, batch and threads? The rest "
        "stays at width 32, 256x256, batch 1, two threads; of pixels, at the generator "
        "of the recipe edge, which p2p-run also runs from an H.264 file to another. The roofline "
        "is the rate of ONNX Runtime's int8 convolution at its best.",
        command="python -m experiments.speed.scaling --video seg_lossless.mkv",
        table=scaling.table,
    ),
    Section(
        title="Shapes",
        name="shapes",
        intro="What do fewer downsamplings save?",
        command="python -m experiments.speed.shapes",
        table=shapes.table,
    ),
    Section(
        title="The whole of p2p-run",
        name="pipeline",
        intro="What does `p2p-run` add to the engine? *Alone* translates frame after frame on all "
        "threads, *in workers* as many at a time as `p2p-run`. Stages are medians per frame.",
        command="python -m experiments.speed.pipeline --video seg.mp4 --model model-int8.onnx",
        table=pipeline.table,
    ),
    Section(
        title="Live sources",
        name="live",
        intro="How late is a frame when the source is three times as fast as the engine? Latency "
        "is from a frame's arrival until it is written.",
        command="python -m experiments.speed.live --video seg.mp4 --model model-int8.onnx",
        table=live.table,
    ),
    Section(
        title="Many cameras",
        name="streams",
        intro="Twelve cameras in one process of `p2p-run --streams`, or in a process each: what "
        "they cost, and how late they are. They send 512x256 pixels by TCP, and one of them is "
        "away for a fifth of the time. Latency is from the decoded frame to the output, of the "
        "slowest camera; the frames of a camera are those of the others.",
        command="python -m experiments.speed.streams --video demo.mp4 --model model-int8.onnx",
        table=streams.table,
    ),
    Section(
        title="Live page",
        name="view",
        intro="What does a viewer of `--view` cost a run that takes all cores, and how late is "
        "what it sees? The demo model was the third, of 256x256. The viewer is on the same "
        "machine; the ratio is the median of neighbouring seconds. "
        "Below, 25 frames a second of 512x256 pixels, from when a frame is there until "
        "a browser shows it; the slow link takes 250 kB a second. MJPEG is shown by the same "
        "browser, and read in the same way.",
        command="python -m experiments.speed.view --video demo.mp4 --model demo-int8.onnx",
        table=view.table,
    ),
    Section(
        title="Crosscheck",
        name="crosscheck",
        intro="Does `p2p-bench` agree with `/usr/bin/time` around whole processes? Torch eager "
        "differs with the memory that its process freed before.",
        command="python -m experiments.speed.crosscheck",
        table=crosscheck.table,
    ),
    Section(
        title="Encoding",
        name="encoding",
        intro="What does it cost to write H.264? CPU time includes the conversion from BGR.",
        command="python -m experiments.speed.encoding --video seg.mp4",
        table=encoding.table,
    ),
    Section(
        title="Soak test",
        name="soak",
        intro="Does anything grow in a long run? Drawn label maps with noise through repair, a "
        "small int8 generator and an H.264 file.",
        command="python -m experiments.speed.soak",
        table=soak.table,
    ),
    Section(
        title="Label repair",
        name="label-repair",
        intro="What do codecs do to the CamVid label video, and what does repair restore? *Errors "
        "left* is the net share of the nearest colour's errors that remain; times are medians "
        "per frame on one core, for a 256x256 input.",
        command="python -m experiments.labels.repair --video seg_lossless.mkv --lossy seg.mp4",
        table=repair.table,
        picture="label-repair.png",
    ),
    Section(
        title="Parity",
        name="parity",
        intro="How close are the exported files of the demo model to torch? PSNR is over 16 "
        "frames, mean IoU over 250.",
        command="p2p-export --fp16 --int8 --calibration cityscapes_pairs/train",
        table=parity_table,
    ),
    Section(
        title="Calibration",
        name="calibration",
        intro="Which ranges keep an int8 generator closest to torch?",
        command="python -m experiments.quality.calibration --checkpoint best.pt --data photos",
        table=calibration.table,
    ),
    Section(
        title="Scores",
        name="scores",
        intro="What did each stage of the demo model gain over the one before, which was a student "
        "of width 16? Read the ImageNet columns first: that student had learned to please a "
        "segmenter, so its mean IoU is above that of photos. Rows without a segmentation score "
        "were measured with another segmenter, or with none. The last two are of 512x256, and "
        "shrunk to the 256x256 of the others, with a segmenter trained again (photos: .339).",
        command="python -m experiments.quality.scores 'demo=runs/demo' 'int8=model-int8.onnx' "
        "--segmenter segmenter.pt --data cityscapes_pairs --clip seg_lossless.mkv --clip-photos "
        "photos",
        table=scores.table,
    ),
    Section(
        title="Scores at 512x256",
        name="scores-512x256",
        intro="Do crops of pictures at their own aspect beat squeezed pictures that are stretched "
        "back? Parts and objects (1/8, 1/16) do. Texture (1/4) does not: the data set stores "
        "these photos squeezed, too, so stretching gives both the same blur. The steps of the "
        "runs are not equal; the last 1422 of the third demo at 256x256 had gained 2 %. The last "
        "four trade distance for less fixed pattern; by the eye, their pictures are better.",
        command="python -m experiments.quality.scores 'demo=runs/demo' 'int8=model-int8.onnx' "
        "--data cityscapes_pairs --size 512x256 --json scores-512x256.json",
        table=scores.table,
    ),
    Section(
        title="Crops of wide pictures",
        name="scores-drives",
        intro="The same question where targets are not squeezed: rich pictures of "
        "[drawn drives](../benchmarks/experiments/drives/draw.py), five frames of each of 360 for "
        "training and of 36 others for these scores. Both runs are `--recipe edge` with 2250 steps "
        "of four pairs, one with `--image-size 512x256 --crop 256`, the other at 256x256. A step "
        "costs the same. The lower L1 is that of the softer pictures. One seed, and no windows "
        "yet.",
        command="python -m experiments.quality.scores 'crops of 512x256=runs/wide' "
        "'256x256, stretched=runs/square' --data drives --size 512x256 --json scores-drives.json",
        table=lambda document: scores.table(document).replace("real photos", "other targets"),
    ),
    Section(
        title="Usefulness",
        name="usefulness",
        intro="What has a segmenter that learned from generated pictures learned of real ones? "
        "Three segmenters saw 240 training pairs of Cityscapes for ten passes, at 512x256, and "
        "differ in nothing but the pictures; each is tested on the 250 real validation photos.",
        command="p2p-train score RUN --data few-pairs --usefulness --json usefulness.json",
        table=usefulness_table,
    ),
    Section(
        title="Semantic loss",
        name="semantic-loss",
        intro="What does the semantic loss gain at width 16, 128x128, batch 4, 2229 steps, four "
        "downsamplings?",
        command="python -m experiments.quality.scores ... --json semantic-loss.json",
        table=scores.table,
    ),
    Section(
        title="Training options",
        name="training-options",
        intro="What does each option gain over the classic recipe at width 16, 128x128, batch 4, "
        "2229 steps? Two seeds show the spread.",
        command="python -m experiments.quality.options --data cityscapes_pairs",
        table=options.table,
    ),
    Section(
        title="Few pairs",
        name="few-pairs",
        intro="What is `--recipe auto` worth on 20, 100 and 400 pairs, after 800 steps of four "
        "(nine minutes on one core with bf16)? 60 others are scored. And what does it take from "
        "`edge`? At 128x128, runs took about the same CPU time; PatchGAN has the L1 weight 100 and "
        "width 16, and the pattern loss had the weight 5 of an earlier form. One seed.",
        command="python -m experiments.quality.few_pairs 'auto=runs/photos-1' ... --data pairs",
        table=few_pairs.table,
    ),
    Section(
        title="Enhancing rendered pictures",
        name="enhance",
        intro="Is a rendered picture a better input than its label map? Both generators have width "
        "16 and saw crops of 256x256 px, four a step, of pictures of 512x256 px: five frames of "
        "each of 360 [drawn drives](../benchmarks/experiments/drives/draw.py); those of 36 others "
        "are scored. The first is `--recipe edge`, the second `--recipe enhance` without semantic "
        "loss. Twins are rich pictures of the same scenes, and the segmenter learned from them for "
        "two passes. The warp error is of two seconds of another drive. One seed.",
        command="python -m experiments.quality.enhance 'from labels=runs/labels' "
        "'from plain pictures=runs/plain' --data drives --segmenter segmenter.pt --drive drive",
        table=enhance.table,
    ),
    Section(
        title="Training step",
        name="training-step",
        intro="What does the trainer add to its networks, at width 32, batch 4, 256x256?",
        command="python -m experiments.speed.training_step --data cityscapes_pairs",
        table=training_step.table,
    ),
    Section(
        title="Loss costs",
        name="loss-costs",
        intro="What does each loss add to a step, at width 16, batch 4, 256x256, bf16?",
        command="python -m experiments.speed.loss_costs --data cityscapes_pairs",
        table=loss_costs.table,
    ),
    Section(
        title="Installing",
        name="installing",
        intro="What does an environment take, pip included, on Python 3.11?",
        command="python -m experiments.speed.installing",
        table=installing.table,
    ),
)


def compose(folder: Path = RESULTS) -> str:
    """Return the page of the results in a folder, as Markdown.

    Raises:
        ConfigError: a result is missing or of another version.
    """
    return "\n\n".join([HEAD, *(_section(section, folder) for section in SECTIONS)]) + "\n"


def read_result(path: Path) -> Any:
    """Return the JSON of a result.

    Raises:
        ConfigError: it is missing or broken.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _section(section: Section, folder: Path) -> str:
    document = read_result(folder / f"{section.name}.json")
    source = f"[{section.name}.json]({LINK}/{section.name}.json)"
    where = _machine(document.get("machine"))
    parts = [f"## {section.title}", section.intro, f"`{section.command}` wrote {source}{where}."]
    if section.picture:
        parts.append(f"![{section.title}]({LINK}/{section.picture})")
    return "\n\n".join([*parts, section.table(document)])


def _machine(machine: dict[str, Any] | None) -> str:
    if machine is None:
        return ""
    flags = [flag for flag in machine.get("flags", ()) if flag.startswith(("avx512_vnni", "amx"))]
    can = f" with {', '.join(flags)}" if flags else ""
    threads = machine["threads"]
    return f" on {threads} thread{'s' * (threads > 1)} of an {machine['cpu'].strip()}{can}"


def _if_known(value: float | str | None, form: str) -> str:
    """Format a value; ``inf`` in JSON says that two images are equal."""
    if value is None:
        return ""
    return "equal" if value == "inf" else form.format(value)


@click.command(cls=P2PCommand)
def main() -> None:
    """Write docs/results.md from the recorded results."""
    setup_logging()
    from p2p_runtime.files import write_text

    write_text(PAGE, compose())
    click.echo(PAGE)


if __name__ == "__main__":
    main()
