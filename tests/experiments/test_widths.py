"""The benchmark over widths."""

from __future__ import annotations

from pathlib import Path

from experiments.random_models import DEPTH_TO_SPACE, FLOAT_ENDS, write_random_int8
from experiments.speed.widths import time_students, time_width
from p2p_train.config import TrainConfig


def test_each_form_of_a_random_generator_is_timed() -> None:
    """All forms of one width run the same frames; the first is the reference."""
    rows = time_width(4, side_px=32, frames=3, threads=1)
    names = ["eager", "fp32", "int8", FLOAT_ENDS, DEPTH_TO_SPACE]
    assert [(row.name, row.latency.frames) for row in rows] == [(name, 3) for name in names]
    assert rows[0].latency.speedup == 1
    assert rows[1].psnr_db > 50  # the same function, gates or not
    assert min(row.psnr_db for row in rows[2:]) > 50
    assert rows[4].psnr_db == rows[3].psnr_db  # two ways to say one shuffle


def test_students_take_turns_with_the_widest_in_torch(tmp_path: Path) -> None:
    """One reference, an integer file of each width, and an exported one, on the same frames."""
    exported = tmp_path / "student.onnx"
    write_random_int8(exported, TrainConfig(ngf=2, downs=4, height=32, width=32))
    rows = time_students((4, 2), side_px=32, frames=3, threads=1, bundles=[exported])
    named = f"{tmp_path.name}/student.onnx"
    assert [row.name for row in rows] == ["eager", "int8, ngf 2", "int8, ngf 4", named]
    assert all(row.latency.frames == 3 for row in rows)
    assert rows[2].psnr_db > rows[1].psnr_db  # only the widest is the same generator
