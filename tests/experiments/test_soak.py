"""A run that goes on takes no more than one that has begun."""

from __future__ import annotations

from pathlib import Path

from experiments.speed.soak import _report, soak


def test_fault_81_a_long_run_does_not_grow(bundle: Path, tmp_path: Path) -> None:
    """Descriptors stay, threads stay but for a few, memory grows by no more than its noise.

    1,000 frames; 20,000 are in docs/soak.json.
    """
    report = soak(bundle, 1000, tmp_path)
    assert report.frames == 1000
    assert report.descriptors[0] == report.descriptors[1]
    assert report.threads[1] - report.threads[0] <= 2  # workers start when they are needed
    assert report.rss_mib[1] - report.rss_mib[0] < 8  # a frame kept each time would be 30


def test_a_leak_shows_as_a_slope() -> None:
    """The figures follow the samples: 2 MiB more in 1,000 frames are 20 in 10,000."""
    samples = [[float(n), 100 + n * 0.002, 8.0, 4 + n // 900] for n in range(0, 1000, 10)]
    report = _report(1000, 25.0, samples)
    assert report.slope_mib == 20
    assert report.rss_mib == (100.4, 101.98, 101.98)
    assert (report.descriptors, report.threads) == ((8, 8), (4, 5))
