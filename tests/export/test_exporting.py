"""Which checkpoint is exported, to where, and what is never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import p2p_export
from p2p_export import exporting
from p2p_export.exporting import export
from p2p_export.options import ExportOptions, checkpoint_of
from p2p_runtime.errors import CheckpointError, ConfigError, ExportError, ParityError
from p2p_runtime.files import write_picture
from toy_export import toy_frames, write_checkpoint


def touch(path: Path, time_s: float = 0) -> Path:
    """Make an empty file with a given time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time_s, time_s))
    return path


def test_the_best_checkpoint_comes_before_the_last(tmp_path):
    """A run's folder means its best checkpoint, or its last one where there is no best."""
    last = touch(tmp_path / "checkpoints" / "last.pt")
    assert checkpoint_of(tmp_path) == last
    best = touch(tmp_path / "checkpoints" / "best.pt")
    assert checkpoint_of(tmp_path) == best
    assert checkpoint_of(last) == last


def test_without_a_name_the_newest_run_is_taken(tmp_path, monkeypatch):
    """The run that wrote a checkpoint last, wherever its name stands in the alphabet."""
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "runs" / "b-2" / "checkpoints" / "last.pt", time_s=100)
    newest = touch(tmp_path / "runs" / "a-1" / "checkpoints" / "last.pt", time_s=200)
    assert checkpoint_of(None).resolve() == newest


@pytest.mark.parametrize("source", [None, Path("empty"), Path("missing")])
def test_a_missing_checkpoint_is_said_in_one_line(source, tmp_path, monkeypatch):
    """No run, an empty run, or no such folder: the message says what to do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"train|does not exist"):
        export(ExportOptions(source=source))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_files_go_beside_the_checkpoints(tmp_path):
    """By default a run's export folder is filled; its files may be replaced."""
    checkpoint = touch(tmp_path / "checkpoints" / "best.pt")
    touch(tmp_path / "export" / "model-fp32.onnx")
    paths = ExportOptions(fp16=True).output_paths(checkpoint)
    assert paths == {name: tmp_path / "export" / f"model-{name}.onnx" for name in ("fp32", "fp16")}


@pytest.mark.parametrize("name", ["model.onnx", "model-fp32.onnx"])
def test_files_of_others_need_force(name, tmp_path):
    """What stands where --output points is not replaced unawares, by file or by folder."""
    checkpoint = touch(tmp_path / "run" / "checkpoints" / "best.pt")
    there = touch(tmp_path / "other" / name)
    output = there if name == "model.onnx" else there.parent
    with pytest.raises(ConfigError, match="--force"):
        ExportOptions(output=output).output_paths(checkpoint)
    assert ExportOptions(output=output, force=True).output_paths(checkpoint) == {"fp32": there}


def test_a_file_name_means_one_precision(tmp_path):
    """--output model.onnx --fp16 writes that one file; two precisions need a folder."""
    options = ExportOptions(output=tmp_path / "model.onnx", fp16=True)
    assert options.output_paths(tmp_path / "best.pt") == {"fp16": tmp_path / "model.onnx"}
    with pytest.raises(ConfigError, match="name a folder"):
        ExportOptions(output=tmp_path / "model.onnx", fp16=True, int8=True, calibration=tmp_path)


def test_fault_35_int8_needs_real_inputs():
    """Without a calibration folder int8 is refused before anything is read."""
    with pytest.raises(ConfigError, match="--calibration"):
        ExportOptions(int8=True)


def test_a_failed_precision_keeps_those_before_it(run, tmp_path, monkeypatch, traced):
    """fp32 stands when fp16 is refused, and the figures tell of what stands."""
    write_bundle = exporting.write_bundle

    def refuse(path: Path, graph: bytes, *others: object) -> object:
        if "fp16" in others:
            raise ParityError("too far")
        return write_bundle(path, graph, *others)

    monkeypatch.setattr(exporting, "write_bundle", refuse)
    with pytest.raises(ParityError, match="too far"):
        export(ExportOptions(source=run, output=tmp_path, fp16=True))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"model-fp32.onnx", "model-fp32-parity.png", "parity.json"}
    assert "fp16" not in (tmp_path / "parity.json").read_text()


@pytest.mark.usefixtures("traced")
def test_from_python_a_checkpoint_is_enough(tmp_path):
    """``export(ExportOptions(source=...))`` writes fp32 beside the checkpoint."""
    checkpoint = write_checkpoint(tmp_path / "checkpoints" / "best.pt")
    (bundle,) = p2p_export.export(p2p_export.ExportOptions(source=str(checkpoint)))
    assert bundle.path == tmp_path / "export" / "model-fp32.onnx"
    assert bundle.report.failures() == []
    with pytest.raises(ConfigError, match=r"'runs/a' are no options; give ExportOptions"):
        p2p_export.export("runs/a")


def test_public_names_are_there():
    """Every name in ``__all__`` can be imported from the package; others say that they cannot."""
    for name in p2p_export.__all__:
        assert getattr(p2p_export, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        p2p_export.nothing  # noqa: B018


def test_useless_calibration_inputs_are_refused_before_anything_is_written(tmp_path):
    """Too few of them are told before the files that do not need them are made."""
    run = write_checkpoint(tmp_path / "checkpoints" / "last.pt")
    (tmp_path / "inputs").mkdir()
    for index, frame in enumerate(toy_frames(count=5)):
        write_picture(tmp_path / "inputs" / f"{index}.png", frame)
    options = ExportOptions(source=run, int8=True, calibration=tmp_path / "inputs")
    with pytest.raises(ExportError, match="5 different inputs"):
        export(options)
    assert not list((tmp_path / "export").iterdir())
