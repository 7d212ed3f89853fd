"""``p2p-train segmenter``, ``score`` and ``test``: how good a generator is."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import click

from p2p_runtime.console import P2PCommand, Size, option, require_extra, setup_logging

from .config import PrecisionChoice, TrainConfig
from .options import DATA_SETTINGS, device_option, given_settings, setting_options

__all__ = ["results", "score", "segmenter"]

logger = logging.getLogger(__name__)

FILE = click.Path(path_type=Path)
_data = partial(option, group="Data")
_file = partial(option, metavar="FILE.pt", type=FILE)
_run_argument = click.argument("run", metavar="RUN|FILE.pt", type=FILE)
_data_option = _data(
    "--data",
    metavar="DIR",
    type=FILE,
    help="Folder with the pairs.  [default: that of the training]",
)


@click.command(cls=P2PCommand)
@setting_options(names=DATA_SETTINGS)
@option(
    "--epochs", group="Optimiser", metavar="N", type=click.IntRange(1), default=10,
    help="Passes over the photos.",
)  # fmt: skip
@_data(
    "--size", metavar="WxH", type=Size(square=True), default="256x256",
    help="Size in pixels to which photos are resized: multiples of 32.",
)  # fmt: skip
@option(
    "--precision", group="Machine", type=click.Choice(["auto", "fp32", "bf16"]), default="auto",
    help="auto: bf16 where the device has it, else fp32.",
)  # fmt: skip
@device_option
@_file("--output", group="Run", required=True, help="File of the trained segmenter.")
@click.pass_context
def segmenter(
    ctx: click.Context,
    /,
    output: Path,
    device: str,
    precision: PrecisionChoice,
    epochs: int,
    **flags: Any,
) -> None:
    """Train a small segmentation network on the real photos.

    It is trained once per data set, offline. Scoring and the semantic loss apply it to generated
    pictures, to see whether they show what their labels say.
    """
    _prepare()
    from p2p_runtime.files import check_writable_folder

    from .devices import choose_precision, find_device
    from .segmentation.training import SegmenterConfig, train_segmenter

    check_writable_folder(output.parent)
    where = find_device(device)
    config = SegmenterConfig(
        data=TrainConfig.of(**given_settings(ctx, flags)).data,
        precision=choose_precision(precision, where),
        epochs=epochs,  # also a setting of generators, which would be taken out of the flags
        **flags,
    )
    trained = train_segmenter(config, where)
    trained.save(output)
    score = trained.photo_score
    click.echo(
        f"real validation photos: pixel accuracy {score.pixel_accuracy:.3f}, "
        f"class accuracy {score.class_accuracy:.3f}, mean IoU {score.mean_iou:.3f}; "
        f"{len(trained.classes)} classes\n"
        f"next: p2p-train --eval-segmenter {output}, or p2p-train score RUN --segmenter {output}"
    )


@click.command(cls=P2PCommand)
@_run_argument
@_data_option
@_data(
    "--clip", metavar="DIR|VIDEO",
    help="Consecutive label maps in the palette's colours, for the flicker.",
)  # fmt: skip
@_data("--clip-photos", metavar="DIR|VIDEO", help="Real pictures of the same moments as --clip.")
@_file(
    *("--segmenter", "segmenter_file"), group="Scores",
    help="Segmenter for the segmentation score; from p2p-train segmenter.",
)  # fmt: skip
@option(
    "--published", group="Scores", is_flag=True,
    help="Distances in the features of a published ImageNet network, too.",
)  # fmt: skip
@option(
    "--usefulness", group="Scores", is_flag=True,
    help="Train segmenters on photos, on generated pictures and on label colours, and test each on "
    "real validation photos.",
)  # fmt: skip
@device_option
@_file(
    "--json", "json_file", group="Run", metavar="FILE", help="Write the scores to this file too."
)
def score(
    run: Path,
    segmenter_file: Path | None,
    data: Path | None,
    clip: str | None,
    clip_photos: str | None,
    published: bool,
    usefulness: bool,
    json_file: Path | None,
    device: str,
) -> None:
    """Score a generator on its validation pairs, in eval mode and fp32.

    Measures L1, PSNR and SSIM. --segmenter adds the segmentation score and a Frechet distance,
    beside those of the real photos; --clip adds flicker, and --clip-photos the warp error;
    --published adds Frechet and kernel distances in the features of EfficientNet-Lite0, which sees
    no picture in training, beside those of other real photos.
    """
    _prepare()
    from p2p_runtime.files import write_json

    from .scoring import score as score_run
    from .training.checkpoint import Checkpoint, find_checkpoint

    path = find_checkpoint(run)
    checkpoint = Checkpoint.load(path)
    facts = {"checkpoint": str(path), "step": checkpoint.progress.get("step")}
    logger.info("scoring %s, step %s", *facts.values())
    scores = score_run(
        checkpoint, data=data, segmenter=segmenter_file, clip=clip, clip_photos=clip_photos,
        published=published, usefulness=usefulness, device=device,
    )  # fmt: skip
    if json_file is not None:
        write_json(json_file, {**facts, **scores.to_json()})
    click.echo(scores.table())


@click.command("test", cls=P2PCommand)
@_run_argument
@_data_option
@_data(
    "--images", metavar="N", type=click.IntRange(1), default=50,
    help="Maximum number of pairs, spread evenly over those for validation.",
)  # fmt: skip
@device_option
@_file("--output", group="Run", metavar="DIR", help="Folder to write.  [default: RUN/results]")
def results(run: Path, data: Path | None, images: int, output: Path | None, device: str) -> None:
    """Write a page with input, generated picture and target of validation pairs.

    Open index.html in a browser; the pictures lie beside it, in the folders input, generated and
    target. Each pair has its L1, PSNR and SSIM.
    """
    _prepare()
    from .data.layouts.images import printable
    from .data.layouts.index import evenly_spread
    from .devices import find_device
    from .metrics.page import write_page
    from .metrics.score import pairs_of, torch_translate
    from .training.checkpoint import Checkpoint, find_checkpoint

    where, path = find_device(device), find_checkpoint(run)
    checkpoint = Checkpoint.load(path)
    pairs = pairs_of(checkpoint.config, data)
    chosen = [pairs.val[index] for index in evenly_spread(len(pairs.val), images)]
    of_run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    folder = output or of_run / "results"
    means = write_page(
        folder,
        torch_translate(checkpoint.build_generator(), where),
        chosen,
        checkpoint.contract,
        title=f"Results of {run}",
        facts=f"{path.name}, step {checkpoint.progress.get('step')}; {len(chosen)} of "
        f"{len(pairs.val)} validation pairs of {data or checkpoint.config.data.folder}, "
        f"{pairs.direction}",
    )
    click.echo(f"{len(chosen)} validation pairs: {means}")
    click.echo(f"open {printable(str(folder / 'index.html'))}")


def _prepare() -> None:
    setup_logging()
    for module in ("torch", "PIL"):
        require_extra(module, "train")
