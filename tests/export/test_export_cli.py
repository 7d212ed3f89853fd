"""p2p-export as a user types it."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path

import pytest

from commands import p2p_export
from p2p_runtime.model.bundle import is_licence
from p2p_runtime.translate.translator import Translator
from toy_export import write_checkpoint


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("onnx", "export"), ("onnxscript", "export"), ("torch", "export"), ("onnxruntime", "cpu")],
)
def test_fault_38_a_missing_package_names_the_pip_command(missing, extra, monkeypatch):
    """One line, exit code 2, and what to type; a missing verifier counts as much as the others."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    done = p2p_export("nowhere", exit_code=2)
    assert done.stderr.count("\n") == 1
    assert f'pip install "pix2pix-edge[{extra}]"' in done.stderr


def test_export_prints_a_table_and_says_what_it_does(tmp_path: Path, traced):
    """Figures go to stdout, the story to stderr; a checkpoint with two frames is topped up."""
    checkpoint = write_checkpoint(tmp_path / "best.pt", frames=2)
    done = p2p_export(checkpoint, "--output", tmp_path / "out.onnx")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best.pt", "out.onnx", "out-parity.png"}
    head, rest = done.stdout.split("   out\n")
    assert " ".join(head.split()) == f"{tmp_path}: all passed the parity check on 8 frames"
    *rows, cost = rest.splitlines()
    assert [row.split()[0] for row in rows][:3] == ["MB", "precision", "max,"]
    assert re.fullmatch(r"\d+ s, peak memory \d{3,} MiB", cost)
    assert "(eval: running statistics, no dropout)" in done.stderr
    assert "and 6 mirrored" in done.stderr


def test_the_licence_of_the_weights_is_told_at_each_start(tmp_path: Path, traced, caplog):
    """What --licence says is in the bundle, and whoever opens it reads a line."""
    terms = "non-commercial (Cityscapes)"
    flags = ("--output", tmp_path / "out.onnx", "--licence")
    p2p_export(write_checkpoint(tmp_path / "best.pt", frames=2), *flags, terms)
    assert terms in p2p_export("--inspect", tmp_path / "out.onnx").stdout
    logger = logging.getLogger("p2p_runtime.translate.translator")
    logger.addHandler(caplog.handler)  # the command's logging does not propagate
    with caplog.at_level("INFO", logger.name):
        Translator.load(tmp_path / "out.onnx", device="cpu").close()
    logger.removeHandler(caplog.handler)
    assert f"weights: {terms}" in caplog.text


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "x" * 101, ""])
def test_a_licence_is_one_printable_line(text: str):
    """Neither the exporter nor a stranger's file writes anything else to a terminal."""
    done = p2p_export("nowhere", "--licence", text, exit_code=2)
    assert "--licence is no line of at most 100 printable characters" in done.stderr
    assert not is_licence(text)


def test_inspect_describes_a_bundle(exported):
    """--inspect prints what the file is and exports nothing."""
    done = p2p_export("--inspect", exported["fp32"].path)
    assert "fp32" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("name", ["missing.pt", "text.pt"])
def test_a_bad_checkpoint_ends_in_one_line(name, tmp_path: Path):
    """A missing file and a file of something else exit with 2 and leave no folder behind."""
    (tmp_path / "text.pt").write_text("not a checkpoint")
    done = p2p_export(tmp_path / name, exit_code=2)
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "export").exists()
