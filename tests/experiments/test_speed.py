"""The studies of speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments.harness import time_interleaved
from experiments.random_models import DEPTH_TO_SPACE, FLOAT_ENDS, write_random_run
from experiments.speed import crosscheck
from experiments.speed.encoding import measure_encodings
from experiments.speed.loss_costs import variants
from experiments.speed.scaling import AXES, Point
from experiments.speed.shapes import measure_shape, shapes
from experiments.speed.soak import soak, summarise
from experiments.speed.training_step import bare_step
from experiments.speed.widths import time_width
from p2p_runtime.errors import P2PError
from p2p_train.config import TrainConfig
from p2p_train.losses import loss_curves


def test_rounds_are_interleaved_and_warm_up_does_not_count():
    """Every round runs everything once, starting with another run."""
    calls: list[str] = []
    runs = {name: (lambda name=name: calls.append(name)) for name in ("a", "b")}
    seconds = time_interleaved(runs, rounds=2, warm_up=1)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_each_form_of_a_random_generator_is_timed(tmp_path: Path):
    """All forms of one width translate the same frames; the first is the reference."""
    files = write_random_run(tmp_path, ngf=2, height=32, width=32)
    latencies = time_width(files, frames=2, threads=1)
    assert [one.name for one in latencies] == ["eager", "fp32", "int8", FLOAT_ENDS, DEPTH_TO_SPACE]
    assert latencies[0].speedup == 1


def test_one_thing_grows_along_an_axis():
    """Along an axis, points differ in what it is named after; all share one base."""
    for axis, points in AXES.items():
        fields = {"size": ("height", "width"), "pixels": ("height", "width")}.get(axis, (axis,))
        base = Point(ngf=16, num_downs=5) if axis == "pixels" else Point()
        for point in points:
            same = {name for name in Point.__slots__ if name not in fields}
            assert all(getattr(point, name) == getattr(base, name) for name in same)
        assert base in points


def test_fewer_downsamplings_save_weights():
    """They save weights and bytes, and a smaller share of the work."""
    full, deep = (measure_shape(4, 64, shape) for shape in ({}, {"num_downs": 4}))
    assert deep["parameters_m"] < 0.7 * full["parameters_m"]
    assert deep["file_mb"] < full["file_mb"]
    assert deep["parameters_m"] / full["parameters_m"] < deep["gmac"] / full["gmac"] < 1


def test_every_shape_can_be_trained():
    """All shapes can be trained at 256x256."""
    assert len({str(TrainConfig.of(ngf=8, **shape)) for shape in shapes().values()}) == 4


@pytest.mark.skipif(not Path(crosscheck.TIME).exists(), reason="no /usr/bin/time")
def test_a_program_that_fails_is_an_error(tmp_path: Path):
    """The message ends with the program's last words."""
    files = write_random_run(tmp_path, ngf=2, height=32, width=32, forms=("fp32",))
    files.bundles["fp32"].write_bytes(b"broken")
    with pytest.raises(P2PError, match="fp32 failed"):
        crosscheck.whole_process_ms("fp32", files, 20, 1, repeats=1)


def test_a_better_quality_is_a_larger_file():
    """Every preset encodes at every quality, closer to the original in a larger file."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 10, 3), np.uint8)
    frames = [np.kron(image, np.ones((6, 6, 1), np.uint8)) for image in noise]
    presets = ("superfast", "ultrafast")
    figures = measure_encodings(frames, rounds=1, presets=presets, qualities=(15, 35))
    settings = [("superfast", 15), ("superfast", 35), ("ultrafast", 15), ("ultrafast", 35)]
    assert [(row.preset, row.crf) for row in figures] == settings
    for better, worse in (figures[:2], figures[2:]):
        assert better.kib > worse.kib
        assert better.psnr_db > worse.psnr_db + 3


def test_the_bare_loop_takes_a_step():
    """Both networks run, in either layout."""
    config = TrainConfig.of(image_size=(32, 32), ngf=2, ndf=2, batch_size=2, precision="bf16")
    for channels_last in (True, False):
        bare_step(config, channels_last=channels_last)()


def count_distillation(config: TrainConfig) -> int:
    """Return how many losses compare with the teacher."""
    return sum(name.startswith("distil") for name in loss_curves(config))


def test_each_variant_adds_losses_to_the_one_before():
    """First the losses of a generator without a teacher, then those of a student."""
    configs = [TrainConfig.of(**changes) for changes in variants("run", "s.pt").values()]
    students = [config for config in configs if config.loss.teacher]
    assert len(configs) - len(students) == 5
    assert [count_distillation(config) for config in students] == [1, 2, 4, 4]
    assert [config.loss.gan_loss for config in students] == [*["none"] * 3, "bce"]


def test_fault_81_a_long_run_does_not_grow(bundle: Path, tmp_path: Path):
    """Descriptors stay, threads stay but for a few, memory grows by less than 2 KiB a frame.

    1,500 frames, of which the first fifth may fill caches; 20,000 are in ``results/soak.json``.
    """
    report = soak(bundle, 1500, tmp_path, size_px=(32, 32))
    assert report.frames == 1500
    assert report.descriptors[0] == report.descriptors[1]
    assert report.threads[1] - report.threads[0] <= 2  # workers start when they are needed
    assert report.rss_mib[1] - report.rss_mib[0] < 1200 * 2 / 1024  # without a leak, below 1


def test_a_leak_shows_as_a_slope():
    """2 MiB more in 1,000 frames are 20 in 10,000."""
    samples = [[float(n), 100 + n * 0.002, 8.0, 4 + n // 900] for n in range(0, 1000, 10)]
    report = summarise(1000, 25.0, samples)
    assert report.slope_mib == 20
    assert report.rss_mib == (100.4, 101.98, 101.98)
    assert (report.descriptors, report.threads) == ((8, 8), (4, 5))
