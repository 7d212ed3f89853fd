"""Scoring a generator, and the commands ``segmenter`` and ``score``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from commands import p2p_train
from p2p_runtime.errors import ConfigError, DatasetError, SourceError
from p2p_runtime.labels.palette import CAMVID, CITYSCAPES
from p2p_runtime.model.contract import PixelContract
from p2p_train import scoring
from p2p_train.config import TrainConfig
from p2p_train.data.dataset import PairBatch
from p2p_train.metrics.clips import ClipFrame, clip_frames
from p2p_train.metrics.evaluator import FeatureStatistics
from p2p_train.metrics.published import PublishedMetrics, _Features, kernel_distance
from p2p_train.metrics.score import (
    pairs_of,
    score_generator,
    torch_translate,
    validation_pairs,
)
from p2p_train.scenes import write_dataset
from p2p_train.scoring import score
from p2p_train.segmentation.segmenter import Segmenter
from p2p_train.segmentation.training import SegmenterConfig
from p2p_train.training.checkpoint import Checkpoint, make_generator
from toy_pairs import draw_pair

CONTRACT = PixelContract(height=32, width=32, palette=CITYSCAPES)
TINY = "--image-size 32 --batch-size 4 --ngf 4 --ndf 4 --device cpu --workers 0"


@pytest.fixture
def pairs() -> list[PairBatch]:
    """Three toy pairs that the segmenter has not seen, in two batches."""
    both = torch.from_numpy(np.stack([draw_pair(seed)[..., ::-1] for seed in (50, 51, 52)]))
    batch = PairBatch(source=both[:, :, 32:], target=both[:, :, :32])
    return [
        PairBatch(source=batch.source[:2], target=batch.target[:2]),
        PairBatch(source=batch.source[2:], target=batch.target[2:]),
    ]


@pytest.fixture
def checkpoint(data: Path, tmp_path: Path) -> Path:
    """A checkpoint with fresh weights."""
    config = TrainConfig.of(data=str(data), image_size=(32, 32), ngf=4)
    state = make_generator(config).state_dict()
    path = tmp_path / "fresh.pt"
    Checkpoint(
        config=config,
        contract=CONTRACT,
        generator=state,
        frames=torch.zeros(1, 32, 32, 3, dtype=torch.uint8),
        progress={"step": 7},
        dataset={},
    ).save(path)
    return path


def test_a_perfect_generator_scores_like_the_real_photos(
    pairs: list[PairBatch], segmenter: Segmenter
) -> None:
    """A generator that returns the photos themselves scores as they do, whatever runs it."""
    answers = iter([batch.target.numpy() for batch in pairs])
    scores = score_generator(lambda frames: next(answers), pairs, segmenter=segmenter)
    assert (scores.images, scores.l1, scores.psnr_db) == (3, 0.0, 99.0)
    assert scores.segmentation == scores.segmentation_real
    assert scores.frechet == scores.frechet_real


def test_a_poor_generator_scores_worse(pairs: list[PairBatch], segmenter: Segmenter) -> None:
    """Grey images are far from the photos, show no labels and lie far off in features."""
    scores = score_generator(lambda frames: np.full_like(frames, 90), pairs, segmenter=segmenter)
    assert scores.l1 > 0.1
    assert scores.segmentation is not None and scores.segmentation_real is not None
    assert scores.segmentation.mean_iou < 0.5 * scores.segmentation_real.mean_iou
    assert scores.frechet is not None and scores.frechet_real is not None
    assert scores.frechet > 2 * scores.frechet_real


def test_a_segmenter_with_a_single_validation_pair_is_refused_before_training(
    tmp_path: Path,
) -> None:
    """One validation photo has no covariance; that is said at once and in one line."""
    write_dataset(tmp_path / "few", 6, height=64, width=64)
    assert len(list((tmp_path / "few" / "val").iterdir())) == 1
    output = tmp_path / "segmenter.pt"
    result = p2p_train(
        f"segmenter --data {tmp_path / 'few'} --size 64 --epochs 1 --output {output}", exit_code=2
    )
    assert "2 or more for validation" in result.output
    assert result.output.count("\n") == 1
    assert not output.exists()


def test_a_single_pair_has_no_frechet_distance(
    pairs: list[PairBatch], segmenter: Segmenter
) -> None:
    """The reason is named, not a covariance."""
    with pytest.raises(DatasetError, match="two validation pairs or more"):
        score_generator(lambda frames: frames, pairs[1:], segmenter=segmenter)


def test_without_segmenter_and_clip_only_pixels_are_scored(pairs: list[PairBatch]) -> None:
    """What was not measured is null in JSON and absent from the table."""
    scores = score_generator(lambda frames: frames, pairs)
    document = scores.to_json()
    assert document["segmentation"] is None and document["flicker"] is None
    assert "Frechet" not in scores.table()
    assert "PSNR" in scores.table()


def test_a_texture_at_fixed_places_shows_as_pattern() -> None:
    """The same texture at the same places counts; in photos, whose texture moves, nothing does."""
    rng = np.random.default_rng(0)
    stamp = rng.integers(100, 140, (1, 64, 64, 3), np.uint8)
    source = torch.full((5, 64, 64, 3), 70, dtype=torch.uint8)
    pairs = [
        PairBatch(
            source=source, target=torch.from_numpy(rng.integers(100, 140, source.shape, np.uint8))
        )
        for _ in range(4)
    ]
    scores = score_generator(lambda frames: np.repeat(stamp, len(frames), axis=0), pairs)
    assert scores.pattern is not None and scores.pattern_real is not None
    assert scores.pattern > 5 * scores.pattern_real
    assert "fixed pattern, levels" in scores.table()


def test_flicker_beside_that_of_the_real_clip(pairs: list[PairBatch]) -> None:
    """A generator that alternates by 8 levels over a still label, beside photos by 2."""
    label = np.zeros((16, 16, 3), np.uint8)
    clip = [ClipFrame(label=label, photo=label + 2 * (n % 2)) for n in range(4)]
    calls: list[int] = []

    def alternate(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        calls.append(1)
        return np.full_like(frames, 100 + 8 * (len(calls) % 2))

    scores = score_generator(alternate, pairs, clip=clip)
    assert (scores.flicker, scores.flicker_real) == (8.0, 2.0)
    assert scores.to_json()["flicker_excess"] == 6.0
    assert "flicker above real" in scores.table()
    assert scores.warp_error == pytest.approx(8.0, abs=0.1)
    assert scores.warp_error_real == pytest.approx(2.0, abs=0.1)
    assert "warp error, levels" in scores.table()


def test_the_torch_generator_is_scored_as_it_ships(checkpoint: Path) -> None:
    """Eval mode: the same frames give the same pixels, alone or in a batch of ten."""
    translate = torch_translate(Checkpoint.load(checkpoint).build_generator(), torch.device("cpu"))
    frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    made = translate(frames)
    assert made.shape == frames.shape
    assert made.dtype == np.uint8
    alone = np.concatenate([translate(frame[None]) for frame in frames])
    assert np.abs(made.astype(int) - alone.astype(int)).max() <= 1


def test_validation_pairs_can_lie_elsewhere_now(checkpoint: Path, data: Path) -> None:
    """A checkpoint from another machine is scored with --data."""
    loaded = Checkpoint.load(checkpoint)
    moved = loaded.config.replace(data="gone")
    pairs = validation_pairs(pairs_of(moved, data), loaded.contract)
    assert sum(len(batch.source) for batch in pairs) == 3


def write_frames(folder: Path, count: int) -> Path:
    """Write ``count`` 40x40 pictures."""
    folder.mkdir()
    for index in range(count):
        Image.fromarray(draw_pair(index, 40)[:, 40:]).save(folder / f"{index:03d}.png")
    return folder


def test_a_clip_of_one_frame_is_refused(pairs: list[PairBatch]) -> None:
    """A clip without two frames to compare is an error, not an empty cell."""
    label = pairs[0].source[0].numpy()
    with pytest.raises(SourceError, match="no flicker to measure"):
        score_generator(lambda frames: frames, pairs, clip=[ClipFrame(label=label)])


def test_a_clip_is_preprocessed_like_any_input(tmp_path: Path) -> None:
    """Label maps of 40x40 become 32x32 in palette colours; photos go with them in order."""
    labels, photos = write_frames(tmp_path / "l", 3), write_frames(tmp_path / "p", 3)
    frames = list(clip_frames(str(labels), CONTRACT, str(photos)))
    assert len(frames) == 3
    for frame in frames:
        assert frame.label.shape == (32, 32, 3)
        assert frame.photo is not None and frame.photo.shape == (32, 32, 3)
        assert CITYSCAPES.coverage(frame.label, levels=0) == 1.0


def test_a_clip_with_too_few_photos_is_refused(tmp_path: Path) -> None:
    """Photos and labels of a clip belong together one by one."""
    labels, photos = write_frames(tmp_path / "l", 3), write_frames(tmp_path / "p", 2)
    with pytest.raises(ConfigError, match="fewer frames"):
        list(clip_frames(str(labels), CONTRACT, str(photos)))


def test_score_prints_a_table_and_writes_json(
    checkpoint: Path, segmenter: Segmenter, tmp_path: Path
) -> None:
    """Every metric is in the table on stdout, and the same numbers in the JSON."""
    segmenter.save(tmp_path / "segmenter.pt")
    clip = write_frames(tmp_path / "clip", 3)
    result = p2p_train(
        f"score {checkpoint} --segmenter {tmp_path / 'segmenter.pt'} "
        f"--clip {clip} --clip-photos {clip} --json {tmp_path / 'scores.json'} --device cpu"
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert (scores["images"], scores["step"]) == (3, 7)
    for word in ("L1", "PSNR", "SSIM", "pixel accuracy", "mean IoU", "Frechet", "flicker"):
        assert word in result.stdout
    assert f"{scores['psnr_db']:.4g}" in result.stdout


def test_pictures_are_as_useful_as_the_segmenter_that_learned_from_them(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained on photos, it finds classes in real ones; on grey pictures or on colours, it fails.

    Generated pictures are made of inputs as the generator gets them.
    """
    loaded = Checkpoint.load(checkpoint)
    road = CITYSCAPES.classes.index("road")
    loaded = replace(loaded, contract=replace(CONTRACT, classes_present=(road,)))
    seen: list[NDArray[np.uint8]] = []

    def grey(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(frames)
        return np.full_like(frames, 90)

    monkeypatch.setattr(scoring, "torch_translate", lambda *_: grey)
    settings = partial(SegmenterConfig, epochs=40, batch_size=5, lr=1e-2, width=8)
    monkeypatch.setattr(scoring, "SegmenterConfig", settings)
    scores = score(loaded, usefulness=True, device="cpu")
    photos, generated = scores.usefulness_real, scores.usefulness
    colours = scores.usefulness_colours
    assert photos is not None and generated is not None and colours is not None
    assert photos.pixel_accuracy > 0.7
    assert generated.mean_iou < 0.5 * photos.mean_iou
    assert colours.mean_iou < 0.5 * photos.mean_iou
    assert len(seen[-1]) == 10
    assert (seen[-1] == CITYSCAPES.colours_bgr()[road]).all()
    table = scores.table()
    assert "trained on it, mean IoU" in table and "on colours, mean IoU" in table


def test_score_refuses_a_segmenter_of_other_labels(
    checkpoint: Path, segmenter: Segmenter, tmp_path: Path
) -> None:
    """A segmenter of CamVid's colours cannot score Cityscapes labels."""
    other = replace(segmenter, contract=replace(segmenter.contract, palette=CAMVID))
    other.save(tmp_path / "segmenter.pt")
    result = p2p_train(
        f"score {checkpoint} --segmenter {tmp_path / 'segmenter.pt'} --device cpu", exit_code=2
    )
    assert "trained on palette camvid" in result.stderr


def test_score_of_a_run_takes_its_best_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    """A run directory stands for its best.pt."""
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.parent.mkdir(parents=True)
    best.write_bytes(checkpoint.read_bytes())
    result = p2p_train(f"score {tmp_path / 'run'} --device cpu")
    assert "best.pt" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [("score nowhere.pt", "does not exist"), ("score .", "holds no checkpoints")],
)
def test_score_says_in_one_line_what_is_wrong(words: str, message: str) -> None:
    """Bad input ends in exit code 2 and one line."""
    result = p2p_train(words, exit_code=2)
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_segmenter_scores_during_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training reads the file that the command wrote; log and board have its numbers."""
    monkeypatch.chdir(tmp_path)
    result = p2p_train(
        f"segmenter --data {data} --output segmenter.pt --epochs 1 --size 32 --device cpu"
    )
    assert "real validation photos: pixel accuracy" in result.stdout
    p2p_train(
        f"--data {data} {TINY} --max-steps 1 --run-dir run --tensorboard "
        "--eval-segmenter segmenter.pt"
    )
    assert len(list(Path("run/tensorboard").iterdir())) == 1
    line = json.loads(Path("run/log.jsonl").read_text())
    assert 0 <= line["val_mean_iou"] <= 1
    assert (
        line["photo_mean_iou"]
        == Segmenter.load(Path("segmenter.pt"), torch.device("cpu")).photo_score.mean_iou
    )


def test_a_segmenter_that_the_generator_was_trained_with_is_not_trusted(
    data: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring with the segmenter of the run's semantic loss warns; with another it does not."""
    monkeypatch.chdir(data.parent)
    for seed in (0, 1):
        words = (
            f"segmenter --data {data} --output segmenter{seed}.pt --epochs 1 --size 32 --device cpu"
        )
        p2p_train(f"{words} --seed {seed}")
    run = f"--data {data} {TINY} --max-steps 1 --run-dir run --segmenter segmenter0.pt"
    p2p_train(run)
    flattered, fair = (p2p_train(f"score run --segmenter segmenter{seed}.pt") for seed in (0, 1))
    assert "score with a segmenter of another --seed" in flattered.output
    assert "flatter" not in fair.output


def test_published_metrics_reach_the_table(pairs: list[PairBatch]) -> None:
    """Equal pictures have no distance to the photos; others have, and so have other photos."""
    others = [255 - pairs[0].target.numpy()]
    metrics = PublishedMetrics(torch.device("cpu"), others)
    wanted = iter([batch.target.numpy() for batch in pairs])
    equal = score_generator(lambda inputs: next(wanted), pairs, published=metrics)
    assert equal.imagenet is not None and equal.imagenet_real is not None
    assert equal.imagenet.frechet_8 == pytest.approx(0, abs=1e-6)
    assert equal.imagenet_real.frechet_8 > 1
    metrics = PublishedMetrics(torch.device("cpu"), others)
    inputs = score_generator(lambda inputs: inputs, pairs, published=metrics)
    assert inputs.imagenet is not None and inputs.imagenet.frechet_16 > 1
    assert re.search(r"ImageNet Frechet, 1/8 +[\d.]+ +[\d.]+", inputs.table())


def test_the_kernel_distance_is_unbiased() -> None:
    """Two samples of one distribution are 0 apart on average; of two, the shift shows."""
    generator = torch.Generator().manual_seed(0)

    def sample() -> torch.Tensor:
        return torch.randn(40, 8, generator=generator, dtype=torch.float64)

    same = torch.tensor([kernel_distance(sample(), sample()) for _ in range(50)])
    assert abs(float(same.mean())) < 3 * float(same.std()) / 50**0.5
    assert kernel_distance(sample(), sample() + 1) > 10 * float(same.std())


def test_statistics_are_summed_as_computed_at_once() -> None:
    """Batches and one array give the same spatial statistics."""
    features = torch.randn(6, 24, 8, 8, generator=torch.Generator().manual_seed(1))
    levels = [features, torch.randn(6, 40, 4, 4), torch.randn(6, 112, 2, 2)]
    whole, parts = _Features(), _Features()
    whole.add(levels)
    for first in (0, 2, 4):
        parts.add([level[first : first + 2] for level in levels])
    found = parts._statistics()[0]
    expected = FeatureStatistics.of(features.movedim(1, -1).reshape(-1, 24))
    assert torch.allclose(found.mean, expected.mean)
    assert torch.allclose(found.covariance, expected.covariance)
    assert torch.allclose(whole._statistics()[1].covariance, parts._statistics()[1].covariance)


def test_score_from_python_is_that_of_the_command(checkpoint: Path, tmp_path: Path) -> None:
    """A path as text, or a checkpoint, gives the scores that the command prints."""
    printed = p2p_train(f"score {checkpoint} --device cpu").stdout
    assert f"{score(str(checkpoint), device='cpu').table()}\n" == printed
    assert score(Checkpoint.load(str(checkpoint)), device="cpu").table() in printed
    with pytest.raises(ConfigError, match="belongs to --clip"):
        score(checkpoint, clip_photos="photos")
