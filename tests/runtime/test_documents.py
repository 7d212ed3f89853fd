"""JSON from outside is bounded, and only regular files are read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from p2p_runtime.documents import parse_json, read_json
from p2p_runtime.errors import BundleError, ConfigError, ContractError
from p2p_runtime.labels.ids import load_ids
from p2p_runtime.labels.palette import CITYSCAPES, load_palette
from p2p_runtime.model.bundle import BundleInfo
from p2p_runtime.model.trt_manifest import manifest_path, read_manifest

NONSENSE = {
    "a long number": '{"a": ' + "9" * 5000 + "}",
    "a long negative number": '{"a": -' + "9" * 19 + "}",
    "infinity": '{"a": 1e999}',
    "infinity by name": '{"a": -Infinity}',
    "not a number": '{"a": NaN}',
    "lists": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "lists that end": '{"a": ' + "[" * 65 + "]" * 65 + "}",
    "another kind": "3",
    "nothing": "",
    "a half": '{"a": 1',
}


@pytest.mark.parametrize("text", NONSENSE.values(), ids=list(NONSENSE))
def test_fault_133_json_that_is_no_sense_is_one_line(text: str, tmp_path: Path) -> None:
    """Whatever reads JSON from outside answers with its own error, never with a traceback."""
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ContractError) as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(ConfigError):
        load_palette(str(path))
    with pytest.raises(ConfigError):
        load_ids(str(path), CITYSCAPES)
    with pytest.raises(ContractError):
        BundleInfo.from_json(text)
    manifest_path(tmp_path / "a.engine").write_text(text)
    with pytest.raises(BundleError):
        read_manifest(tmp_path / "a.engine")


def test_fault_133_brackets_in_texts_do_not_nest() -> None:
    """Depth is that of the document; encodings and marks are read."""
    document = {"a": "[" * 500 + '\\"{', "b": [1.5, -2, None, True]}
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json(json.dumps(document).encode(encoding)) == document


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "missing", "large"])
def test_fault_134_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """A pipe without a writer is not waited for, and a device does not fill the memory."""
    path = tmp_path / "a.engine.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    reasons = {"fifo": "not a regular", "device": "not a regular", "large": "is over"}
    with pytest.raises(ContractError, match=reasons.get(kind, "irectory")):
        read_json(path)
    with pytest.raises(BundleError):
        read_manifest(tmp_path / "a.engine")
    with pytest.raises(ConfigError):
        load_palette(str(path))
    with pytest.raises(ConfigError):
        load_ids(str(path), CITYSCAPES)
