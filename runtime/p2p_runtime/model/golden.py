"""The golden frame: a test input with its expected output, replayed when a model is opened.

A model file with flipped bits in its weights loads without an error; its output gives it away.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from p2p_runtime.errors import ContractError

from .contract import PixelContract

__all__ = ["GoldenFrame"]

GOLDEN_BLOCK_PX, GOLDEN_MIN_PSNR_DB = 8, 40.0
"""Side of the blocks whose means are compared, since single pixels differ by rounding; and the
minimum PSNR of the means, which the rounding of devices far exceeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenFrame:
    """A reproducible input, and the output of the machine that exported the model.

    Attributes:
        seed: determines the input.
        expected: (H / 8, W / 8, 3) uint8 BGR, the block means of the expected output.
        min_psnr_db: minimum PSNR between expected and actual block means.
    """

    seed: int
    expected: NDArray[np.uint8]
    min_psnr_db: float = GOLDEN_MIN_PSNR_DB

    @staticmethod
    def draw(contract: PixelContract, seed: int) -> NDArray[np.uint8]:
        """Return the input, (H, W, 3) uint8 BGR: 16x16 px patches of hashed noise.

        Label maps get palette colours. Integer arithmetic makes it equal on every machine.
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
        """Return a golden frame that expects ``output``, (H, W, 3) uint8 BGR."""
        return cls(seed=seed, expected=_block_means(output))

    def psnr_db(self, output: NDArray[np.uint8]) -> float:
        """Return the PSNR of an output's block means to the expected ones; inf if equal."""
        means = _block_means(output)
        if means.shape != self.expected.shape:
            return float("-inf")
        difference = means.astype(np.float64) - self.expected.astype(np.float64)
        mean_square = float((difference**2).mean())
        return float("inf") if mean_square == 0 else 10 * float(np.log10(255.0**2 / mean_square))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values for :meth:`from_json`."""
        return {
            "seed": self.seed,
            "shape": list(self.expected.shape),
            "expected_base64": base64.b64encode(self.expected.tobytes()).decode("ascii"),
            "min_psnr_db": self.min_psnr_db,
        }

    @classmethod
    def from_json(cls, document: Any) -> GoldenFrame:
        """Return the golden frame of what :meth:`to_json` returned, or raise a ContractError."""
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
        except (TypeError, ValueError) as error:
            raise ContractError(f"golden: {error}") from error


def _block_means(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = GOLDEN_BLOCK_PX
    rows, columns = (length // side for length in image.shape[:2])
    blocks = image[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float64).round(), np.uint8)
