"""Several runs, side by side on the same streets."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from experiments.pictures.streets import main


def test_a_column_for_each_run_and_a_row_for_each_street(workplace: Path, tmp_path: Path) -> None:
    """Label map, photo and two runs, with thin lines between them."""
    run, picture = workplace / "runs" / "data-1", tmp_path / "streets.png"
    words = [run, run, "--data", workplace / "data", "--streets", 1, "--output", picture]
    result = CliRunner().invoke(main, list(map(str, words)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with Image.open(picture) as streets:
        assert streets.size == (4 * 64 + 3 * 4, 64)
        left, right = (streets.crop((x, 0, x + 64, 64)) for x in (2 * 68, 3 * 68))
        assert left.tobytes() == right.tobytes()
