"""The label repair benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from experiments.labels.recoding import CODINGS, DRIFTED, Coding, recode
from experiments.labels.repair import _draw, main, measure_coding, measure_votes
from p2p_runtime.labels.colorspace import find_mismatch
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.contract import PixelContract

CONTRACT = PixelContract(height=256, width=256, palette=CITYSCAPES)


def coding(name: str) -> Coding:
    """Return the coding of that name."""
    return next(coding for coding in (*CODINGS, *DRIFTED) if coding.name == name)


def test_a_lossless_codec_loses_nothing_and_repair_changes_nothing() -> None:
    """FFV1 keeps every pixel; all shares are one and there are no errors to be left."""
    row = measure_coding(_draw(2), coding("FFV1, lossless"), CONTRACT)
    assert (row.exact, row.nearest, row.repaired, row.left) == (1, 1, 1, None)


@pytest.mark.parametrize("name", ["H.264, crf 28", "MPEG-4, q 3", "MJPEG, q 3", "VP9, crf 20"])
def test_repair_halves_the_errors_of_drawn_scenes(name: str) -> None:
    """Of the pixels that the nearest colour gets wrong, over half come back; thin classes gain."""
    row = measure_coding(_draw(3), coding(name), CONTRACT)
    assert row.left is not None
    assert row.left < 0.5
    assert row.repaired > row.repaired_bgr - 0.001
    assert row.thin_repaired > row.thin_nearest


@pytest.mark.parametrize("drifted", DRIFTED, ids=lambda coding: coding.name)
def test_an_encoders_wrong_colours_are_recognised(drifted: Coding) -> None:
    """What FFmpeg stores by another matrix or range, and says nothing of, is found and undone."""
    truth = _draw(2)
    decoded = recode(truth, drifted)
    assert find_mismatch(decoded.bgr[0], CITYSCAPES).name
    assert find_mismatch(decoded.pictures[0], CITYSCAPES).name
    row = measure_coding(truth, drifted, CONTRACT)
    assert row.repaired > row.nearest
    assert row.repaired > 0.985


def test_a_vote_calms_a_still_picture() -> None:
    """Where nothing moves, three voting frames do not flicker more than one."""
    still = np.repeat(_draw(2)[:1], 4, axis=0)
    votes = measure_votes(still, coding("H.264, crf 28"), CONTRACT)
    assert votes[3]["flickering"] <= votes[1]["flickering"]
    assert set(votes) == {1, 3, 5}


def test_the_command_writes_json_chart_and_crops(tmp_path: Path) -> None:
    """All three files are there and can be read; the table stands on stdout."""
    result = CliRunner().invoke(main, ["--scenes", "2", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "| H.264, crf 23 |" in result.output
    document = json.loads((tmp_path / "label-repair.json").read_text())
    assert [row["name"] for row in document["rows"]] == [coding.name for coding in CODINGS]
    for name in ("label-repair.png", "label-repair-crop.png"):
        encoded = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        assert cv2.imdecode(encoded, cv2.IMREAD_COLOR) is not None
