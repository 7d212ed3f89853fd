"""``p2p-train judge`` and ``p2p-train score``: seeing how good a generator is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from p2p_runtime.console import P2PCommand, require_extra, setup_logging

from .options import DATA_SETTINGS, data_flags

if TYPE_CHECKING:
    import torch

    from .metrics.published import PublishedMetrics
    from .precision import PrecisionWish

__all__ = ["judge", "score"]

logger = logging.getLogger(__name__)

FILE = click.Path(path_type=Path)
DEVICE = click.option(
    "--device",
    metavar="auto|cpu|cuda[:N]",
    default="auto",
    show_default=True,
    help="auto: a GPU if there is one, else the CPU.",
)


@click.command(cls=P2PCommand)
@data_flags
@click.option("--output", metavar="FILE.pt", type=FILE, required=True, help="Where it goes.")
@click.option(
    "--epochs",
    metavar="N",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Passes over the photos.",
)
@click.option(
    "--size",
    "size_px",
    metavar="PX",
    type=int,
    default=256,
    show_default=True,
    help="Side that photos are brought to; a multiple of 32.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="auto: bf16 where the device has it, else fp32.",
)
@DEVICE
def judge(output: Path, device: str, precision: PrecisionWish, **flags: Any) -> None:
    """Train a small network that finds the labels in real photos.

    It is trained once per data set, offline; score and training then ask it whether generated
    photos show what their labels say.
    """
    _prepare()
    from p2p_runtime.files import check_writable_folder

    from .config import TrainConfig
    from .devices import find_device
    from .precision import choose_precision
    from .segmentation import SegmenterConfig, train_segmenter

    check_writable_folder(output.parent)
    where = find_device(device)
    config = SegmenterConfig(
        data=TrainConfig(**{name: flags.pop(name) for name in DATA_SETTINGS}),
        precision=choose_precision(precision, where),
        **flags,
    )
    trained = train_segmenter(config, where)
    trained.save(output)
    score = trained.photo_score
    click.echo(
        f"real validation photos: pixel accuracy {score.pixel_accuracy:.3f}, "
        f"class accuracy {score.class_accuracy:.3f}, mean IoU {score.mean_iou:.3f}; "
        f"{len(trained.classes)} classes\n"
        f"next: p2p-train --judge {output}, or p2p-train score RUN --judge {output}"
    )


@click.command(cls=P2PCommand)
@click.argument("run", metavar="RUN|FILE.pt", type=FILE)
@click.option("--judge", "judge_file", metavar="FILE.pt", type=FILE, help="From p2p-train judge.")
@click.option(
    "--data", metavar="DIR", type=FILE, help="The pairs.  [default: where they lay in training]"
)
@click.option("--clip", metavar="DIR|VIDEO", help="Consecutive label maps in colours, for flicker.")
@click.option("--clip-photos", metavar="DIR|VIDEO", help="The real pictures of the same moments.")
@click.option("--published", is_flag=True, help="LPIPS and FID, too; their weights must be here.")
@click.option("--json", "json_file", metavar="FILE", type=FILE, help="Write the scores there too.")
@DEVICE
def score(
    run: Path,
    judge_file: Path | None,
    data: Path | None,
    clip: str | None,
    clip_photos: str | None,
    published: bool,
    json_file: Path | None,
    device: str,
) -> None:
    """Score a generator on its validation pairs, as it ships.

    Measures L1, PSNR and SSIM; with --judge label fidelity and a Frechet distance, beside those of
    the real photos; with --clip flicker. With --published LPIPS and FID, through torchmetrics; the
    weights that they need are not downloaded: if they are missing, it says where to put them.
    """
    _prepare()
    if published:
        for module in ("torchmetrics", "torch_fidelity"):
            require_extra(module, "metrics")
    from p2p_runtime.errors import ConfigError
    from p2p_runtime.files import write_json

    from .devices import find_device
    from .metrics.clips import clip_frames
    from .metrics.score import score_generator, torch_translate, validation_pairs
    from .segmentation import Segmenter
    from .tensorfile import digest
    from .training.checkpoint import Checkpoint, find_checkpoint

    if clip_photos and not clip:
        raise ConfigError("--clip-photos belongs to --clip, which is missing")
    where, path = find_device(device), find_checkpoint(run)
    checkpoint = Checkpoint.load(path)
    referee = None if judge_file is None else Segmenter.load(judge_file, where)
    if referee is not None:
        referee.check_labels(checkpoint.contract)
        if checkpoint.training.get("reader") == digest(referee.network.state_dict()):
            logger.warning(
                "%s read this generator's pictures while it learned, so its scores flatter; "
                "score with a judge of another --seed",
                judge_file,
            )
    logger.info("scoring %s, step %s", path, checkpoint.progress.get("step"))
    scores = score_generator(
        torch_translate(checkpoint.build_generator(), where),
        validation_pairs(checkpoint.config, checkpoint.contract, data),
        segmenter=referee,
        published=_published(where) if published else None,
        clip=clip_frames(clip, checkpoint.contract, clip_photos) if clip else None,
    )
    if json_file is not None:
        facts = {"checkpoint": str(path), "step": checkpoint.progress.get("step")}
        write_json(json_file, {**facts, **scores.to_json()})
    click.echo(scores.table())


def _published(device: torch.device) -> PublishedMetrics:
    from .metrics.published import PublishedMetrics

    return PublishedMetrics(device)


def _prepare() -> None:
    setup_logging()
    for module in ("torch", "PIL"):
        require_extra(module, "train")
