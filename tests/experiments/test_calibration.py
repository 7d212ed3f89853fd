"""The comparison of calibration methods."""

from __future__ import annotations

import json

import cv2
from click.testing import CliRunner

from experiments.quality.calibration import FLOAT_ENDS, main
from p2p_export.graph.int8 import CALIBRATIONS
from p2p_runtime.files import write_bytes
from toy_export import toy_frames, write_checkpoint


def test_every_calibration_is_compared(tmp_path):
    """A row each, as a table and as JSON."""
    for part, first in (("train", 100), ("val", 200)):
        (tmp_path / "data" / part).mkdir(parents=True)
        for index, frame in enumerate(toy_frames(count=12, first=first)):
            pair = cv2.imencode(".png", cv2.hconcat([255 - frame, frame]))[1]
            write_bytes(tmp_path / "data" / part / f"{index}.png", pair.tobytes())
    checkpoint, figures = write_checkpoint(tmp_path / "last.pt"), tmp_path / "figures.json"
    words = [checkpoint, "--data", tmp_path / "data", "--json", figures]
    result = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads(figures.read_text())["rows"]
    assert [row["calibration"] for row in rows] == [*CALIBRATIONS, FLOAT_ENDS]
    assert all(row["psnr_db"] >= row["worst_psnr_db"] > 10 for row in rows)
    assert "| entropy | " in result.stdout
