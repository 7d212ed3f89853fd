"""``p2p-export --triton``: a folder that a stock Triton serves."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from commands import p2p_export
from p2p_export.targets.onnx import WrittenBundle
from p2p_export.targets.triton import check_folder, write_triton
from p2p_runtime.errors import BundleError, ConfigError, OutputError
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_runtime.model.trt_manifest import EngineManifest, EngineTarget, manifest_path
from toy_export import CONTRACT


def parse(text: str) -> dict[str, list[object]]:
    """Return the fields of protobuf's text format, lists of what has the name.

    Only what is written here: texts, numbers, words, lists and messages.
    """
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|#[^\n]*|[\w.+-]+|[][{}:,]', text)
    words = [token for token in tokens if not token.startswith("#")]
    assert re.sub(r"\s", "", "".join(tokens)) == re.sub(r"\s", "", text)
    fields, rest = _message(words)
    assert rest == []
    return fields


def _message(words: list[str]) -> tuple[dict[str, list[object]], list[str]]:
    fields: dict[str, list[object]] = {}
    while words and words[0] != "}":
        name, *words = words
        assert re.fullmatch(r"[a-z_]+", name)
        words = words[1:] if words[0] == ":" else words
        value, words = _value(words)
        fields.setdefault(name, []).extend(value if isinstance(value, list) else [value])
    return fields, words


def _value(words: list[str]) -> tuple[object, list[str]]:
    first, *rest = words
    if first == "[":
        values: list[object] = []
        while rest[0] != "]":
            value, rest = _value(rest)
            values.append(value)
            rest = rest[1:] if rest[0] == "," else rest
        return values, rest[1:]
    if first == "{":
        fields, rest = _message(rest)
        assert rest[0] == "}"
        return fields, rest[1:]
    return (json.loads(first) if first[0] == '"' or first.isdecimal() else first), rest


def test_a_repository_says_all_that_triton_needs(
    exported: dict[str, WrittenBundle], tmp_path: Path
) -> None:
    """Backend, pixels, batches, the golden frame as warm-up, the contract, the fingerprint."""
    folder = tmp_path / "models" / "street"
    config = parse(write_triton(exported["fp32"].path, folder).read_text())
    pixels = {"data_type": ["TYPE_UINT8"], "dims": [64, 64, 3]}
    assert config["input"] == [{"name": ["frame"], **pixels}]
    assert config["output"] == [{"name": ["image"], **pixels}]
    assert config["backend"] == ["onnxruntime"]
    assert config["max_batch_size"] == [8]
    assert config["dynamic_batching"] == [{}]
    (warm_up,) = config["model_warmup"]
    (entry,) = warm_up["inputs"]
    assert (entry["key"], warm_up["batch_size"]) == (["frame"], [1])
    assert entry["value"] == [{**pixels, "input_data_file": ["golden"]}]
    bundle = ModelBundle.load(folder / "1" / "model.onnx")
    frame = GoldenFrame.draw(CONTRACT, bundle.info.golden.seed)
    stored = np.frombuffer((folder / "warmup" / "golden").read_bytes(), np.uint8)
    assert np.array_equal(stored.reshape(64, 64, 3), frame)
    said = {one["key"][0]: one["value"][0]["string_value"][0] for one in config["parameters"]}
    assert said["p2p_sha256"] == bundle.sha256
    assert PixelContract.from_json(json.loads(said["p2p_contract"])) == bundle.contract
    readme = (folder / "README.md").read_text()
    assert f"--model-repository={tmp_path / 'models'}" in readme
    assert "--device oip://HOST:8000/street" in readme


def test_another_model_is_another_version(
    exported: dict[str, WrittenBundle], tmp_path: Path
) -> None:
    """The fingerprint is that of the newest; the same one again adds nothing."""
    folder = tmp_path / "street"
    for name, versions in (("fp32", "1"), ("fp32", "1"), ("int8", "12")):
        config = write_triton(exported[name].path, folder)
        assert {path.parent.name for path in folder.glob("*/model.onnx")} == set(versions)
        assert ModelBundle.load(exported[name].path).sha256 in config.read_text()


def engine_of(model: Path, library: str) -> Path:
    """Write an engine file beside a bundle, with its manifest."""
    engine = model.with_name(f"{model.stem}-sm86.engine")
    engine.write_bytes(b"engine")
    sha256 = ModelBundle.load(model).sha256
    assert sha256 is not None
    manifest = EngineManifest(
        target=EngineTarget(library=library, version="10.12", sm="sm86"),
        engine_sha256="1f7c4c2cd4ebe2d2b5dc3bf3e0c93c2a9b1f6d3a9d54d5bbfbf5f0bfa55f65f6",
        onnx_sha256=sha256, precision="fp32", shapes={}, flags=[], built_by="",
    )  # fmt: skip
    manifest_path(engine).write_text(manifest.to_json())
    return engine


def test_engines_are_for_the_backend_of_tensorrt(
    exported: dict[str, WrittenBundle], tmp_path: Path
) -> None:
    """One whose bytes are others, or that is for TensorRT-RTX, is refused."""
    model = tmp_path / "model-fp32.onnx"
    model.write_bytes(exported["fp32"].path.read_bytes())
    engine = engine_of(model, "tensorrt")
    with pytest.raises(BundleError, match="its bytes are not those that were built"):
        write_triton(engine, tmp_path / "street")
    text = manifest_path(engine).read_text()
    sha256 = hashlib.sha256(b"engine").hexdigest()
    manifest_path(engine).write_text(re.sub(r'(?<="engine_sha256": ")\w+', sha256, text))
    config = parse(write_triton(engine, tmp_path / "street").read_text())
    assert (config["backend"], config["default_model_filename"]) == (["tensorrt"], ["model.plan"])
    assert (tmp_path / "street/1/model.plan").read_bytes() == b"engine"
    with pytest.raises(BundleError, match="Triton loads engines of TensorRT alone"):
        write_triton(engine_of(model, "tensorrt_rtx"), tmp_path / "street")


@pytest.mark.usefixtures("traced")
def test_an_export_may_end_in_a_repository(run: Path, tmp_path: Path) -> None:
    """It has the fp16 file; the command says how to serve it."""
    done = p2p_export(run, "--fp16", "--output", tmp_path, "--triton", tmp_path / "models/street")
    assert f"{tmp_path}/models/street/config.pbtxt: see README.md beside it" in done.stdout
    served = (tmp_path / "models/street/1/model.onnx").read_bytes()
    assert served == (tmp_path / "model-fp16.onnx").read_bytes()


def test_a_bundle_becomes_a_model_without_an_export(
    exported: dict[str, WrittenBundle], tmp_path: Path
) -> None:
    """A configuration that somebody else wrote stays."""
    folder = tmp_path / "street"
    p2p_export(exported["int8"].path, "--triton", folder)
    (folder / "config.pbtxt").write_text('backend: "python"')
    done = p2p_export(exported["int8"].path, "--triton", folder, exit_code=3)
    assert done.stderr.count("\n") == 1
    assert (folder / "config.pbtxt").read_text() == 'backend: "python"'


def test_folders_that_cannot_be_models_are_refused_at_once(run: Path, tmp_path: Path) -> None:
    """Before the export begins."""
    with pytest.raises(ConfigError, match="the folder's name becomes the model's"):
        check_folder(tmp_path / "my model")
    (tmp_path / "config.pbtxt").write_text("")
    with pytest.raises(OutputError, match="exists and is no export's"):
        check_folder(tmp_path)
    words = ("--output", tmp_path / "new", "--triton", tmp_path / "a b")
    assert p2p_export(run, *words, exit_code=2).stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
