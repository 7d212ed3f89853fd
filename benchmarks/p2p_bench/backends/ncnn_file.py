"""Write a generator as ncnn reads it: a text file of layers and a binary file of weights.

Both formats are documented in ncnn's wiki, "param and model file structure" and "operation param
weight table".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from p2p_runtime.errors import ConfigError
from p2p_runtime.files import write_bytes, write_text

if TYPE_CHECKING:
    from p2p_train.networks.generator import UNetGenerator

__all__ = ["INPUT", "OUTPUT", "write_ncnn"]

INPUT, OUTPUT = "frame", "image"
MAGIC = 7767517
FLOAT32 = b"\0\0\0\0"
"""What stands before weights that are stored as they are."""

_ACTIVATIONS: dict[type[nn.Module], str] = {nn.ReLU: "9=1", nn.LeakyReLU: "9=2 -23310=1,0.2"}


def write_ncnn(generator: UNetGenerator, folder: Path) -> tuple[Path, Path]:
    """Write ``generator.param`` and ``generator.bin``.

    Args:
        generator: with its norms folded, see :func:`p2p_export.graph.pixel_generator.fold`.
        folder: where to.

    Raises:
        ConfigError: it has layers that are not written here (InstanceNorm).
    """
    writer = _Writer()
    writer.walk(generator)
    param, binary = folder / "generator.param", folder / "generator.bin"
    write_text(param, "\n".join(writer.text()) + "\n")
    write_bytes(binary, b"".join(writer.weights))
    return param, binary


class _Writer:
    def __init__(self) -> None:
        self.layers = [f"Input {INPUT} 0 1 {INPUT}"]
        self.weights: list[bytes] = []
        self.blobs = 1

    def walk(self, generator: UNetGenerator) -> None:
        """Add the layers in the order of the forward pass."""
        blob, skips = INPUT, []
        for number, down in enumerate(generator.encoder):
            blob = self.convolution(f"down{number}", list(down.children()), blob)
            if number < len(generator.encoder) - 1:  # a blob has one reader in ncnn
                self.add("Split", f"split{number}", [blob], [f"{blob}_on", f"{blob}_skip"])
                skips.append(f"{blob}_skip")
                blob = f"{blob}_on"
        for number, up in enumerate(generator.decoder):
            blob = self.convolution(f"up{number}", list(up.children()), blob)
            self.add("Concat", f"join{number}", [blob, skips.pop()], [f"joined{number}"], "0=0")
            blob = f"joined{number}"
        blob = self.convolution("last", list(generator.output)[:1], blob)
        self.add("TanH", "tanh", [blob], [OUTPUT])

    def convolution(self, name: str, layers: list[nn.Module], blob: str) -> str:
        """Add a convolution and the activation after it; return the blob that they make."""
        conv, *others = layers
        if len(others) > 1 or any(type(layer) not in _ACTIVATIONS for layer in others):
            raise ConfigError(f"ncnn: {name} is not written here: {layers}")
        assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
        weight = conv.weight.detach().numpy()
        if turned := isinstance(conv, nn.ConvTranspose2d):
            weight = weight.transpose(1, 0, 2, 3)  # ncnn has outputs first, torch inputs
        after = "".join(_ACTIVATIONS[type(layer)] for layer in others)
        self.add(
            "Deconvolution" if turned else "Convolution",
            name,
            [blob],
            [f"{name}_out"],
            f"0={conv.out_channels} 1=4 3=2 4=1 5={int(conv.bias is not None)} 6={weight.size} "
            + after,
        )
        self.weights += [FLOAT32, np.ascontiguousarray(weight).tobytes()]
        if conv.bias is not None:
            self.weights.append(conv.bias.detach().numpy().tobytes())
        return f"{name}_out"

    def add(
        self, kind: str, name: str, inputs: list[str], outputs: list[str], settings: str = ""
    ) -> None:
        """Add a layer."""
        blobs = " ".join([*inputs, *outputs])
        self.layers.append(f"{kind} {name} {len(inputs)} {len(outputs)} {blobs} {settings}".strip())
        self.blobs += len(outputs)

    def text(self) -> list[str]:
        """Return the lines of the text file."""
        return [str(MAGIC), f"{len(self.layers)} {self.blobs}", *self.layers]
