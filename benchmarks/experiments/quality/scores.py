"""``python -m experiments.quality.scores``: score several runs with the same segmenter.

Each run's last checkpoint is scored as it ships, or each bundle as it runs on the device, on the
validation pairs and on a clip.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from experiments.harness import Document, data_option, input_option, segmenter_option, study
from p2p_runtime.console import Size, option
from p2p_runtime.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from p2p_runtime.model.contract import PixelContract
    from p2p_train.metrics.score import Translate

__all__ = ["main", "named_run", "scores_table", "stretched", "table"]

COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("L1", "l1", "{:.4f}"),
    ("SSIM", "ssim", "{:.3f}"),
    ("ImageNet 1/4", "imagenet.frechet_4", "{:.0f}"),
    ("ImageNet 1/8", "imagenet.frechet_8", "{:.0f}"),
    ("ImageNet 1/16", "imagenet.frechet_16", "{:.0f}"),
    ("pixel accuracy", "segmentation.pixel_accuracy", "{:.3f}"),
    ("class accuracy", "segmentation.class_accuracy", "{:.3f}"),
    ("mean IoU", "segmentation.mean_iou", "{:.3f}"),
    ("Frechet", "frechet", "{:.2f}"),
    ("fixed pattern", "pattern", "{:.1f}"),
    ("flicker", "flicker", "{:.2f}"),
    ("warp error", "warp_error", "{:.2f}"),
)
"""Title, key and format of each score."""
REAL: dict[str, str] = {
    "ImageNet 1/4": "imagenet_real.frechet_4",
    "ImageNet 1/8": "imagenet_real.frechet_8",
    "ImageNet 1/16": "imagenet_real.frechet_16",
    "pixel accuracy": "segmentation_real.pixel_accuracy",
    "class accuracy": "segmentation_real.class_accuracy",
    "mean IoU": "segmentation_real.mean_iou",
    "Frechet": "frechet_real",
    "fixed pattern": "pattern_real",
    "flicker": "flicker_real",
    "warp error": "warp_error_real",
}
"""Key of the real photos' score by title."""


def table(document: Document) -> str:
    """Return a row per run and one for the real photos."""
    return scores_table(document["scores"])


def scores_table(scores: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a row per run and one for the real photos.

    Args:
        scores: documents of ``p2p-train score --json`` by name. A missing score is left empty, and
            so is a column without any.
    """
    from experiments.harness import markdown_table

    reference = next(iter(scores.values()))
    rows = [
        [name, *(_cell(one, key, form) for _, key, form in COLUMNS)] for name, one in scores.items()
    ]
    real = [_cell(reference, REAL[t], form) if t in REAL else "" for t, _, form in COLUMNS]
    columns = list(
        zip(["", *(title for title, _, _ in COLUMNS)], *rows, ["*real photos*", *real], strict=True)
    )
    kept = [column for column in columns if any(column[1:])]
    titles, *lines = zip(*kept, strict=True)
    return markdown_table(titles, lines)


def _cell(scores: dict[str, Any], path: str, form: str) -> str:
    value: Any = scores
    for key in path.split("."):
        value = None if value is None else value.get(key)
    return "" if value is None else form.format(value)


def named_run(argument: str) -> tuple[str, Path]:
    """Split ``TITLE=RUN`` into the title and the run's last checkpoint, or the bundle if it is one.

    Raises:
        ConfigError: the argument has another form.
    """
    title, equals, run = argument.rpartition("=")
    if not equals:
        raise ConfigError(f"{argument!r} is not of the form TITLE=RUN")
    return title, Path(run) if run.endswith(".onnx") else Path(run) / "checkpoints" / "last.pt"


@study(
    "scores",
    click.argument("runs", metavar="TITLE=RUN|FILE.onnx...", nargs=-1, required=True),
    segmenter_option(required=False),
    data_option(),
    input_option("--clip", "Label maps of a clip, for flicker.", required=False),
    input_option("--clip-photos", "Photos of the clip.", required=False),
    option("--size", group="Study", type=Size(), metavar="WxH", help="Stretch pictures to it."),
    table=table,
)
def main(
    *,
    runs: tuple[str, ...],
    segmenter: Path | None,
    data: Path,
    clip: Path | None,
    clip_photos: Path | None,
    size: tuple[int, int] | None,
    smoke: bool,
) -> Document:
    """Score each run or bundle with one segmenter; use another one than the runs trained with."""
    import torch

    from p2p_train.config import TrainConfig
    from p2p_train.metrics.clips import clip_frames
    from p2p_train.metrics.published import PublishedMetrics
    from p2p_train.metrics.score import other_photos, pairs_of, score_generator, validation_pairs
    from p2p_train.segmentation.segmenter import Segmenter

    device = torch.device("cpu")
    evaluator = None if segmenter is None else Segmenter.load(segmenter, device)
    photos = None if clip_photos is None else str(clip_photos)
    scores: dict[str, dict[str, Any]] = {}
    for title, path in map(named_run, runs):
        with _opened(path) as (translate, own, facts):
            width, height = size or (own.width, own.height)
            contract = replace(own, width=width, height=height)
            translate = stretched(translate, own, contract)
            config = TrainConfig.of(data=str(data), image_size=(contract.width, contract.height))
            pairs = pairs_of(config)
            found = score_generator(
                translate,
                validation_pairs(pairs, contract),
                segmenter=evaluator,
                published=PublishedMetrics(device, other_photos(pairs, contract)),
                clip=clip_frames(str(clip), contract, photos) if clip else None,
            )
        scores[title] = {**facts, "size": f"{own.width}x{own.height}", **found.to_json()}
    return {"scores": scores}


def stretched(translate: Translate, own: PixelContract, contract: PixelContract) -> Translate:
    """Return what translates frames of another contract's size, as ``p2p-run`` does."""
    import numpy as np

    if (own.width, own.height) == (contract.width, contract.height):
        return translate

    def translate_stretched(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        images = translate(np.stack([own.preprocess(one) for one in frames]))
        size = contract.height, contract.width
        return np.stack([own.postprocess(image, *size) for image in images])

    return translate_stretched


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Translate, PixelContract, dict[str, Any]]]:
    """Yield what runs a checkpoint or bundle, its contract, and what is known of it."""
    import numpy as np
    import torch

    from p2p_runtime.engines import open_engine
    from p2p_runtime.model.bundle import ModelBundle
    from p2p_train.metrics.score import torch_translate
    from p2p_train.training.checkpoint import Checkpoint

    if path.suffix != ".onnx":
        checkpoint = Checkpoint.load(path)
        translate = torch_translate(checkpoint.build_generator(), torch.device("cpu"))
        yield translate, checkpoint.contract, {"step": checkpoint.progress["step"]}
        return
    bundle = ModelBundle.load(path)
    with contextlib.closing(open_engine(bundle, "cpu", threads=1)) as engine:

        def infer(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.concatenate([engine.infer(frame[None]) for frame in frames])

        yield infer, bundle.contract, {"precision": bundle.precision}


if __name__ == "__main__":
    main()
