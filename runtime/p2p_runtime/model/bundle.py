"""The model bundle: one ONNX file that says what it is and proves that it still computes it.

The ONNX file's ``metadata_props`` hold one JSON document under :data:`METADATA_KEY`: the pixel
contract, the precision, where the weights come from, how close the file is to the torch module,
a SHA-256 over everything else in the file, and a golden frame.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from p2p_runtime.errors import BundleError, ContractError

from .contract import PixelContract
from .onnx_check import inspect_onnx
from .trt_manifest import source_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ENGINE_SUFFIX",
    "METADATA_KEY",
    "PRECISIONS",
    "BundleInfo",
    "GoldenFrame",
    "ModelBundle",
]

METADATA_KEY = "p2p_contract"
PRECISIONS = ("fp32", "fp16", "int8")
ENGINE_SUFFIX = ".engine"
INPUT_NAME, OUTPUT_NAME = "frame", "image"

GOLDEN_BLOCK_PX = 8
GOLDEN_MIN_PSNR_DB = 40.0
"""Devices round differently; averaged over 8x8 px blocks, an honest one stays far above this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenFrame:
    """A frame that every device can draw, and what the exporting machine made of it.

    Attributes:
        seed: picks the frame, see :meth:`draw`.
        expected: (H / 8, W / 8, 3) uint8 BGR, the block means of the expected output.
        min_psnr_db: the least PSNR between expected and actual block means.
    """

    seed: int
    expected: NDArray[np.uint8]
    min_psnr_db: float = GOLDEN_MIN_PSNR_DB

    @staticmethod
    def draw(contract: PixelContract, seed: int) -> NDArray[np.uint8]:
        """Return the golden input (H, W, 3) uint8 BGR: 16x16 px patches of integer noise.

        Integer arithmetic only, so that every machine draws the same: palette colours for label
        maps, any colour otherwise.
        """
        patches = np.indices((contract.height, contract.width)).astype(np.uint32) // 16
        noise = patches[0] * np.uint32(73856093) ^ patches[1] * np.uint32(19349663)
        noise ^= np.uint32(seed * 83492791 & 0xFFFFFFFF)
        noise = (noise ^ (noise >> np.uint32(13))) * np.uint32(0x5BD1E995)
        noise ^= noise >> np.uint32(15)
        if contract.palette is not None:
            colours = contract.palette.colours_bgr()
            return np.asarray(colours[noise % np.uint32(len(colours))])
        channels = [noise >> np.uint32(shift) for shift in (0, 8, 16)]
        return np.stack(channels, axis=-1).astype(np.uint8)

    @classmethod
    def record(cls, output: NDArray[np.uint8], seed: int) -> GoldenFrame:
        """Remember ``output`` (H, W, 3) uint8 BGR as what :meth:`draw` must become."""
        return cls(seed=seed, expected=_block_means(output))

    def psnr_db(self, output: NDArray[np.uint8]) -> float:
        """Return the PSNR of an output's block means to the expected ones; inf when equal."""
        means = _block_means(output)
        if means.shape != self.expected.shape:
            return float("-inf")
        difference = means.astype(np.float64) - self.expected.astype(np.float64)
        mean_square = float((difference**2).mean())
        return float("inf") if mean_square == 0 else 10 * float(np.log10(255.0**2 / mean_square))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; :meth:`from_json` reads them back."""
        return {
            "seed": self.seed,
            "shape": list(self.expected.shape),
            "expected_base64": base64.b64encode(self.expected.tobytes()).decode("ascii"),
            "min_psnr_db": self.min_psnr_db,
        }

    @classmethod
    def from_json(cls, document: Any) -> GoldenFrame:
        """Read what :meth:`to_json` wrote.

        Raises:
            ContractError: a field is missing or malformed.
        """
        try:
            shape = tuple(int(side) for side in document["shape"])
            raw = base64.b64decode(document["expected_base64"], validate=True)
            return cls(
                seed=int(document["seed"]),
                expected=np.frombuffer(raw, np.uint8).reshape(shape),
                min_psnr_db=float(document["min_psnr_db"]),
            )
        except KeyError as error:
            raise ContractError(f"golden field {error} is missing") from error
        except (TypeError, ValueError, binascii.Error) as error:
            raise ContractError(f"golden: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleInfo:
    """What a bundle says of itself.

    Attributes:
        contract: how frames become inputs.
        precision: ``fp32``, ``fp16`` or ``int8``.
        golden: the frame that the runtime replays at start-up.
        payload_sha256: hex SHA-256 of the file without its metadata, see ``safety``.
        generator: architecture, ngf, norm, dropout ... (for people and tools).
        provenance: checkpoint sha256, dataset fingerprint, images seen, tool versions.
        parity: the parity report's figures.
    """

    contract: PixelContract
    precision: str
    golden: GoldenFrame
    payload_sha256: str
    generator: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the document for :data:`METADATA_KEY`; equal infos give equal text."""
        return json.dumps(
            {
                **self.contract.to_json(),
                "precision": self.precision,
                "generator": self.generator,
                "provenance": self.provenance,
                "parity": self.parity,
                "golden": self.golden.to_json(),
                "payload_sha256": self.payload_sha256,
            },
            sort_keys=True,
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> BundleInfo:
        """Read what :meth:`to_json` wrote.

        Raises:
            ContractError: not JSON, or a field is missing or malformed; the message names it.
        """
        try:
            document = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ContractError(f"contract is not JSON: {error}") from error
        contract = PixelContract.from_json(document)
        for name, kind in _FIELDS.items():
            if not isinstance(document.get(name), kind):
                raise ContractError(f"contract field {name!r} is missing or malformed")
        if document["precision"] not in PRECISIONS:
            raise ContractError(
                f"contract field 'precision' is {document['precision']!r}; "
                f"known are {', '.join(PRECISIONS)}"
            )
        return cls(
            contract=contract,
            precision=document["precision"],
            golden=GoldenFrame.from_json(document["golden"]),
            payload_sha256=document["payload_sha256"],
            generator=document["generator"],
            provenance=document["provenance"],
            parity=document["parity"],
        )


_FIELDS: dict[str, type] = {
    "precision": str,
    "generator": dict,
    "provenance": dict,
    "parity": dict,
    "golden": dict,
    "payload_sha256": str,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelBundle:
    """A model file that was checked and can be opened by an engine.

    Attributes:
        path: the ONNX file.
        info: what it says of itself.
        engine_path: a TensorRT engine built from it, which runs in its place; None for none.
    """

    path: Path
    info: BundleInfo
    engine_path: Path | None = None

    @property
    def contract(self) -> PixelContract:
        """How frames become inputs."""
        return self.info.contract

    @property
    def precision(self) -> str:
        """``fp32``, ``fp16`` or ``int8``."""
        return self.info.precision

    @classmethod
    def load(cls, path: str | Path) -> ModelBundle:
        """Check a model file, byte by byte, before any inference library sees it.

        Args:
            path: an ONNX file, or a TensorRT engine (``.engine``) beside the ONNX file that it
                was built from: the contract and the golden frame lie there.

        Raises:
            BundleError: the file is missing, damaged, unsafe (external data, foreign operators),
                or has no readable contract; the message says which and what to do.
        """
        path, engine_path = Path(path), None
        if path.suffix == ENGINE_SUFFIX:
            path, engine_path = source_of(path), path
            if not engine_path.is_file():
                raise BundleError(f"engine {engine_path} does not exist")
        summary = inspect_onnx(path)
        text = summary.metadata.get(METADATA_KEY)
        if text is None:
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
        return cls(path=path, info=info, engine_path=engine_path)


def _block_means(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (side // GOLDEN_BLOCK_PX for side in image.shape[:2])
    cropped = image[: rows * GOLDEN_BLOCK_PX, : columns * GOLDEN_BLOCK_PX]
    blocks = cropped.reshape(rows, GOLDEN_BLOCK_PX, columns, GOLDEN_BLOCK_PX, 3)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64).round(), np.uint8)
