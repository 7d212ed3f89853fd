"""The metrics, each against a closed form or a slower implementation."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from p2p_train.data.dataset import PairBatch
from p2p_train.metrics.clips import Flicker, WarpError
from p2p_train.metrics.evaluator import (
    IGNORED,
    FeatureStatistics,
    SegmentationScore,
    confusion_matrix,
    frechet_distance,
)
from p2p_train.metrics.images import image_l1, psnr_db, ssim
from p2p_train.metrics.pattern import FixedPattern
from p2p_train.metrics.score import evaluate


def noise(seed: int, *shape: int) -> torch.Tensor:
    """Return random pixels."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def flat(level: int) -> torch.Tensor:
    """Return one grey image."""
    return torch.full((1, 16, 16, 3), level, dtype=torch.uint8)


def test_l1_and_psnr_of_flat_images() -> None:
    """Twenty levels apart are 20 / 127.5 in signal units and 20 log10(255 / 20) dB."""
    assert image_l1(flat(100), flat(120)).item() == pytest.approx(20 / 127.5)
    assert psnr_db(flat(100), flat(120)).item() == pytest.approx(20 * math.log10(255 / 20))


def test_psnr_of_equal_images_is_finite() -> None:
    """Equal images score 99 dB, so that a mean over images stays a number."""
    assert psnr_db(flat(7), flat(7)).item() == 99.0


def test_ssim_is_one_for_equal_images_and_symmetric() -> None:
    """An image is wholly similar to itself, and the order of two images does not matter."""
    one, two = noise(0, 2, 24, 20, 3), noise(1, 2, 24, 20, 3)
    assert ssim(one, one).tolist() == pytest.approx([1.0, 1.0])
    assert ssim(one, two).tolist() == pytest.approx(ssim(two, one).tolist(), abs=1e-6)


def test_ssim_of_flat_images_is_the_brightness_term() -> None:
    """Without structure, equation 13 leaves (2 a b + C1) / (a^2 + b^2 + C1)."""
    small = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + small) / (100**2 + 120**2 + small)
    assert ssim(flat(100), flat(120)).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_equals_the_sum_over_windows_written_out() -> None:
    """The convolutions give what a loop over all 11x11 windows gives in float64."""
    one, two = noise(2, 1, 14, 13, 3), noise(3, 1, 14, 13, 3)
    luma = np.array([0.114, 0.587, 0.299])
    x, y = one[0].numpy() @ luma, two[0].numpy() @ luma
    line = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for top in range(14 - 10):
        for left in range(13 - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
            values.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    assert ssim(one, two).item() == pytest.approx(np.mean(values), abs=1e-4)


def test_confusion_matrix_counts_rows_true_columns_found() -> None:
    """Ignored pixels are not counted, whatever was found there."""
    true = torch.tensor([[0, 0, 1], [1, 2, IGNORED]])
    found = torch.tensor([[0, 1, 1], [1, 0, 2]])
    assert confusion_matrix(true, found, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_segmentation_score_by_hand() -> None:
    """Three of five pixels; accuracies 1/2, 1, 0; IoUs 1/3, 2/3, 0."""
    score = SegmentationScore.of(torch.tensor([[1, 1, 0], [0, 2, 0], [1, 0, 0]]))
    assert score.pixel_accuracy == pytest.approx(3 / 5)
    assert score.class_accuracy == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert score.mean_iou == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)


def test_absent_classes_do_not_count() -> None:
    """A class that no true pixel has is left out of the averages."""
    score = SegmentationScore.of(torch.tensor([[4, 0, 0], [0, 4, 0], [0, 0, 0]]))
    assert (score.class_accuracy, score.mean_iou) == (1.0, 1.0)


def test_frechet_distance_of_diagonal_gaussians() -> None:
    """It is |m1 - m2|^2 plus the squared differences of the standard deviations."""
    one = FeatureStatistics(
        mean=torch.tensor([1.0, 2.0]).double(), covariance=torch.tensor([4.0, 9.0]).diag().double()
    )
    two = FeatureStatistics(
        mean=torch.tensor([0.0, 4.0]).double(), covariance=torch.tensor([1.0, 1.0]).diag().double()
    )
    assert frechet_distance(one, two) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 1) ** 2)


def test_frechet_distance_of_full_covariances() -> None:
    """The trace of the root is that of the eigenvalues of C1 C2, which is not symmetric."""
    rng = torch.Generator().manual_seed(0)
    one, two = (
        FeatureStatistics.of(torch.randn(40, 6, generator=rng) @ torch.randn(6, 6)) for _ in "12"
    )
    roots = torch.linalg.eigvals(one.covariance @ two.covariance).sqrt().real.sum()
    expected = (one.mean - two.mean).square().sum() + one.covariance.trace()
    expected = expected + two.covariance.trace() - 2 * roots
    assert frechet_distance(one, two) == pytest.approx(float(expected))


def test_frechet_distance_survives_fewer_images_than_features() -> None:
    """Singular covariances give a number: 0 to themselves, the same in both directions."""
    one, two = (FeatureStatistics.of(noise(seed, 5, 64)) for seed in (0, 1))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6 * float(one.covariance.trace()))
    assert frechet_distance(one, two) == pytest.approx(frechet_distance(two, one), rel=1e-6)


def test_feature_statistics_are_mean_and_unbiased_covariance() -> None:
    """They are numpy's, and do not lose digits to float32."""
    features = noise(5, 9, 4)
    statistics = FeatureStatistics.of(features)
    np.testing.assert_allclose(statistics.mean, features.numpy().mean(axis=0), rtol=1e-12)
    expected = np.cov(features.numpy(), rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-12)


def test_feature_statistics_need_two_images() -> None:
    """A covariance of one image is refused rather than nan."""
    with pytest.raises(ValueError, match="two images"):
        FeatureStatistics.of(torch.zeros(1, 4))


def test_flicker_counts_only_where_the_label_stayed() -> None:
    """A pixel whose label changed may change; the other's 10 levels are the flicker."""
    labels = np.zeros((2, 1, 2, 3), np.uint8)
    labels[1, 0, 1] = 128
    images = np.full((2, 1, 2, 3), 200, np.uint8)
    images[1, 0, 0] = 190
    images[1, 0, 1] = 0
    flicker = Flicker()
    for label, image in zip(labels, images, strict=True):
        flicker.add(label, image)
    assert flicker.levels() == 10.0


def test_flicker_of_a_single_frame_is_not_measured() -> None:
    """One frame has nothing to differ from."""
    flicker, warp = Flicker(), WarpError()
    frame = np.zeros((16, 16, 3), np.uint8)
    flicker.add(frame, frame)
    warp.add(frame, frame)
    assert flicker.levels() is None and warp.levels() is None


def surface(seed: int, width_px: int = 120) -> NDArray[np.uint8]:
    """Return a soft random texture, (96, width_px, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, width_px // 8, 3))
    return np.asarray(cv2.resize(noise.astype(np.uint8), (width_px, 96), interpolation=2))


def warp_error(photos: list[NDArray[np.uint8]], images: list[NDArray[np.uint8]]) -> float:
    """Return the warp error of images over photos."""
    error = WarpError()
    for photo, image in zip(photos, images, strict=True):
        error.add(photo, image)
    found = error.levels()
    assert found is not None
    return found


def test_warp_error_is_change_along_the_photos_motion() -> None:
    """Texture that moves with the photos has none; texture that stays on the screen has much."""
    photos = [surface(1)[:, 3 * n : 3 * n + 96] for n in range(4)]
    moving = [surface(2)[:, 3 * n : 3 * n + 96] for n in range(4)]
    assert warp_error(photos, moving) < 2
    assert warp_error(photos, moving[:1] * 4) > 10


def test_warp_error_leaves_out_what_was_hidden_before() -> None:
    """What a moving square uncovers has no earlier picture to be compared with."""
    photos = [surface(1, 96) for _ in range(4)]
    for n, photo in enumerate(photos):
        photo[32:64, 8 * n + 16 : 8 * n + 48] = surface(2, 96)[:32, :32]
    assert warp_error(photos, photos) < 2


def stamped(pictures: int, mark: int, noise_levels: float = 20.0) -> FixedPattern:
    """Return the pattern of noisy grey pictures with the same bright square in each."""
    rng = np.random.default_rng(0)
    pattern, label = FixedPattern(), np.full((96, 96, 3), 90, np.uint8)
    for _ in range(pictures):
        levels = 128 + rng.normal(0, noise_levels, (96, 96, 1))
        levels[44:52, 44:52] += mark
        pattern.add(label, np.repeat(levels.clip(0, 255).astype(np.uint8), 3, axis=-1))
    return pattern


def test_the_fixed_pattern_is_that_of_the_mark_whatever_the_noise() -> None:
    """A mark of 64 of 9216 px has the root mean square of its height there, less the window's."""
    expected = 40 * math.sqrt(64 / 96**2)
    assert stamped(8, 40, noise_levels=0).levels() == pytest.approx(expected, rel=0.1)
    assert stamped(200, 40).levels() == pytest.approx(expected, rel=0.15)


def test_noise_that_lies_anywhere_is_no_pattern() -> None:
    """Twenty levels of noise give nearly zero, since the bias of a mean of few is subtracted."""
    found = stamped(200, 0).levels()
    assert found is not None
    assert found < 0.5


def test_a_pattern_needs_plain_surfaces_and_several_pictures() -> None:
    """Too few pictures, or labels too small for the window, say nothing."""
    assert stamped(7, 40).levels() is None
    pattern, rng = FixedPattern(), np.random.default_rng(0)
    for _ in range(10):
        pattern.add(*rng.integers(0, 256, (2, 96, 96, 3), np.uint8))
    assert pattern.levels() is None


def test_the_pattern_of_one_label_says_nothing_of_another() -> None:
    """A mark that one label has everywhere and another nowhere is the first one's alone."""
    pattern, labels = FixedPattern(), np.array([10, 200], np.uint8)
    for number in range(21):
        label = np.full((96, 96, 3), labels[number % 2], np.uint8)
        image = np.full((96, 96, 3), 60 + 100 * (number % 2), np.uint8)
        pattern.add(label, image)
    assert pattern.levels() == 0  # one bright, one dark, and no mark
    image[44:52, 44:52] += np.uint8(40)
    for _ in range(10):
        pattern.add(np.full((96, 96, 3), 99, np.uint8), image)
    assert pattern.levels() > 1


def test_evaluate_measures_in_eval_mode_and_leaves_the_mode_alone() -> None:
    """Dropout would change the numbers; an identity without it scores a perfect copy."""
    network = torch.nn.Dropout(0.9)
    network.train()
    pixels = noise(4, 2, 16, 16, 3)
    batch = PairBatch(source=pixels, target=pixels)
    quality = evaluate(network, iter([batch, batch]), torch.device("cpu"))
    assert (quality.l1, quality.psnr_db) == (0.0, 99.0)
    assert quality.ssim == pytest.approx(1.0)
    assert quality.segmentation is None
    assert network.training
