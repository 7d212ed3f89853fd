"""The model bundle: one ONNX file with its contract, its origin and a test of itself.

The ONNX file's ``metadata_props`` hold one JSON document, see :class:`BundleInfo`.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from p2p_runtime.documents import parse_json, read_file
from p2p_runtime.errors import BundleError, ContractError

from .contract import PixelContract, json_field
from .golden import GoldenFrame
from .onnx_check import MAX_FILE_BYTES, inspect_onnx

__all__ = [
    "ENGINE_SUFFIX", "INPUT_NAME", "METADATA_KEY", "OUTPUT_NAME", "BundleInfo", "ModelBundle",
    "is_licence", "sealed",
]  # fmt: skip

METADATA_KEY, SEAL = "p2p_contract", "metadata_sha256"
PRECISIONS = ("fp32", "fp16", "int8")
MAX_LICENCE = 100
"""Maximum number of characters of a licence."""
INPUT_NAME, OUTPUT_NAME = "frame", "image"
"""Names of the graph's input and output."""
ENGINE_SUFFIX = ".engine"
_SM = re.compile(r"-sm\d+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleInfo:
    """The metadata of a bundle.

    Attributes:
        payload_sha256: hex SHA-256 of the file without its metadata, see :mod:`.onnx_check`.
        generator, provenance, parity: for people and tools: the architecture, the origin of the
            weights, and the parity report's figures.
    """

    contract: PixelContract
    precision: str
    golden: GoldenFrame
    payload_sha256: str
    generator: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the JSON document; equal metadata give equal text."""
        own = {name: getattr(self, name) for name in _FIELDS} | {"golden": self.golden.to_json()}
        return sealed(self.contract.to_json() | own)

    @classmethod
    def from_json(cls, text: str) -> BundleInfo:
        """Return the metadata of what :meth:`to_json` returned, or raise a ContractError."""
        document = parse_json(text)
        if SEAL not in document:
            raise ContractError(f"contract field {SEAL!r} is missing; export the model again")
        if sealed(document) != text:
            raise ContractError(
                "it is damaged: its metadata are not what was exported; copy or export it again"
            )
        contract = PixelContract.from_json(document)
        fields = {name: json_field(document, name, kind) for name, kind in _FIELDS.items()}
        if (precision := fields["precision"]) not in PRECISIONS:
            raise ContractError(
                f"contract field 'precision' is {precision!r}; known are {', '.join(PRECISIONS)}"
            )
        fields["golden"] = GoldenFrame.from_json(fields["golden"])
        return cls(contract=contract, **fields)


def is_licence(text: str) -> bool:
    """Return whether a text can be told in one line, whoever wrote it."""
    return 0 < len(text) <= MAX_LICENCE and text.isprintable()


def sealed(document: dict[str, Any]) -> str:
    """Return a document's only text: sorted, with the SHA-256 of its other fields."""
    content = {name: value for name, value in document.items() if name != SEAL}
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return json.dumps(content | {SEAL: sha256(text.encode()).hexdigest()}, sort_keys=True)


_FIELDS: dict[str, type] = {
    **dict.fromkeys(("precision", "payload_sha256"), str),
    **dict.fromkeys(("generator", "provenance", "parity", "golden"), dict),
}
"""Fields of the JSON document beside those of the contract, and their types."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelBundle:
    """A checked model file, ready for an engine.

    Attributes:
        path: the ONNX file.
        info: its metadata.
        sha256: of the checked file, in hex; None for one that was just written.
        engine_path: a TensorRT engine built from it, which runs in its place; None for none.
    """

    path: Path
    info: BundleInfo
    sha256: str | None = None
    engine_path: Path | None = None
    _content: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def contract(self) -> PixelContract:
        """The rule from frames to inputs."""
        return self.info.contract

    @property
    def precision(self) -> str:
        """``fp32``, ``fp16`` or ``int8``."""
        return self.info.precision

    @property
    def licence(self) -> str | None:
        """Terms of the weights, as the exporter gave them: a line of printable text, or None."""
        text = self.info.provenance.get("licence")
        return text if isinstance(text, str) and is_licence(text) else None

    @classmethod
    def load(cls, path: str | Path) -> ModelBundle:
        """Check a model file before any inference library opens it.

        Args:
            path: an ONNX file, or a TensorRT engine (``.engine``) beside its ONNX file.

        Raises:
            BundleError: the file is missing, damaged, unsafe (external data, custom operators), or
                has no readable contract; the message says which and what to do.
        """
        path, engine_path = Path(path), None
        if path.suffix == ENGINE_SUFFIX:
            path, engine_path = _source_of(path), path
            if not engine_path.is_file():
                raise BundleError(f"engine {engine_path} does not exist")
        summary = inspect_onnx(path)
        if (text := summary.metadata.get(METADATA_KEY)) is None:
            raise BundleError(
                f"{path} is an ONNX model without a pixel contract (metadata {METADATA_KEY!r}); "
                "export one with p2p-export"
            )
        try:
            info = BundleInfo.from_json(text)
        except ContractError as error:
            raise BundleError(f"{path}: {error}") from error
        if summary.payload_sha256 != info.payload_sha256:
            raise BundleError(
                f"{path} is damaged: its weights or graph are not what was exported "
                f"(sha256 {summary.payload_sha256[:12]}, expected {info.payload_sha256[:12]}); "
                "copy or export it again"
            )
        bundle = cls(path=path, info=info, sha256=summary.sha256, engine_path=engine_path)
        if engine_path is None:
            bundle._content.append(summary.content)
        return bundle

    def read(self) -> bytes:
        """Return the file's bytes, those that were checked; raise a BundleError for others.

        The first call gives away what was kept since the check, later ones read the file.
        """
        with contextlib.suppress(IndexError):
            return self._content.pop()
        try:
            content = read_file(self.path, MAX_FILE_BYTES)
        except ContractError as error:
            raise BundleError(f"cannot read model {self.path}: {error}") from error
        if self.sha256 not in (None, sha256(content).hexdigest()):
            raise BundleError(f"{self.path} was changed while it was opened; start again")
        return content


def _source_of(engine: Path) -> Path:
    """Return the path of the ONNX file: ``model-fp16.onnx`` for ``model-fp16-sm86.engine``."""
    return engine.with_name(f"{_SM.sub('', engine.stem)}.onnx")
