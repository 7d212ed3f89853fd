"""A folder for any web server: a page that runs a model in the browser, offline.

It holds the page, the model, its contract, a golden frame and ONNX Runtime Web. The page has the
SHA-256 of all the others.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from hashlib import sha256, sha512
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from p2p_runtime.errors import ConfigError, ContractError, OutputError
from p2p_runtime.files import check_writable_folder, write_bytes, write_text
from p2p_runtime.labels.ids import own_ids
from p2p_runtime.labels.palette import CITYSCAPES
from p2p_runtime.model.bundle import ModelBundle
from p2p_runtime.model.contract import PixelContract
from p2p_runtime.model.golden import GoldenFrame
from p2p_train.metrics.page import fill_page, html, is_free
from p2p_train.scenes import draw_scene

__all__ = ["ORT_WEB", "ORT_WEB_FILES", "example", "read_ort_web", "write_web"]

KIND = "p2p-export --web"
"""What marks a page of a model."""

ORT_WEB = "onnxruntime-web@1.30.0"
ORT_WEB_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""The package in npm's registry, and the hash by which npm knows it."""

ORT_WEB_FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""Its build for CPUs. WebGPU is left out: it computes int8 wrongly."""

LICENCES = ("LICENSE", "ThirdPartyNotices.txt")
"""Files of ONNX Runtime that its package for browsers lacks."""

EXAMPLE_SEED = 5000
"""Seed of the street that the page begins with."""

POLICY = (
    "default-src 'none'; connect-src 'self'; media-src blob:; style-src 'unsafe-inline'; "
    "script-src blob: 'wasm-unsafe-eval' 'sha256-{script}'; base-uri 'none'; form-action 'none'"
)
"""What the page may do: run its own script, and load from its own server."""

_log = logging.getLogger(__name__)


def read_ort_web(package: Path | None) -> dict[str, bytes]:
    """Return the files of ONNX Runtime Web that a page needs; without a package, npm fetches it.

    Raises:
        ConfigError: it is missing or another one; the message says what to type.
    """
    if package is not None:
        return _unpack(package)
    if (npm := shutil.which("npm")) is None:
        raise ConfigError(f"--web needs {ORT_WEB}, and npm to fetch it; {_way_out()}")
    _log.info("fetching %s with npm", ORT_WEB)
    with tempfile.TemporaryDirectory() as folder:
        words = [npm, "pack", ORT_WEB, "--prefer-offline", "--pack-destination", folder]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        packed = next(Path(folder).glob("*.tgz"), None)
        if done.returncode or packed is None:
            said = (done.stderr.strip() or "no file").splitlines()[0]
            raise ConfigError(f"npm cannot fetch {ORT_WEB} ({said}); {_way_out()}")
        return _unpack(packed)


def write_web(model: Path, folder: Path, ort_web: dict[str, bytes]) -> Path:
    """Write the folder of a bundle and return its ``index.html``; one that is there is replaced.

    Raises:
        BundleError: the model is missing or damaged.
        OutputError: something cannot be written, or another page is there.
    """
    bundle, page = ModelBundle.load(model), folder / "index.html"
    check_writable_folder(folder)
    if not is_free(page, KIND):
        raise OutputError(f"{page} exists and is no page of a model; name another folder")
    contract, golden = bundle.contract, bundle.info.golden
    files = {
        "contract.json": bundle.info.to_json().encode(),
        "golden.png": _png(GoldenFrame.draw(contract, golden.seed)),
        "example.png": _png(example(contract)),
        **ort_web,
        "model.onnx": bundle.read(),
    }
    for name, content in files.items():
        write_bytes(folder / name, content)
    for name in LICENCES:
        content = Path(onnxruntime.__file__).with_name(name).read_bytes()
        write_bytes(folder / f"onnxruntime-{name}", content)
    write_text(page, _page(bundle, files))
    return page


def _way_out() -> str:
    name = ORT_WEB.replace("@", "-")
    return f"where npm works, type: npm pack {ORT_WEB}, and give the file: --ort-web {name}.tgz"


def _unpack(package: Path) -> dict[str, bytes]:
    try:
        if b64encode(sha512(package.read_bytes()).digest()).decode() != ORT_WEB_SHA512:
            raise ConfigError(f"{package} is not {ORT_WEB}: its SHA-512 differs; {_way_out()}")
        with tarfile.open(package) as tar:
            opened = {name: tar.extractfile(f"package/dist/{name}") for name in ORT_WEB_FILES}
            return {name: file.read() for name, file in opened.items() if file is not None}
    except OSError as error:
        raise ConfigError(f"cannot read {package}: {error.strerror}; {_way_out()}") from error


def example(contract: PixelContract) -> NDArray[np.uint8]:
    """Return a drawn street, if the palette has its classes, else an empty sheet: (H, W, 3) BGR."""
    size = contract.height, contract.width
    if (palette := contract.palette) is None:
        return np.full((*size, 3), 255, np.uint8)
    street = CITYSCAPES.to_ids(draw_scene(EXAMPLE_SEED, *size)[0])
    try:
        classes = own_ids(CITYSCAPES).to_classes(street, palette)
    except ContractError:
        classes = np.zeros(size, np.uint8)
    return contract.preprocess(palette.paint(classes))


def _png(picture: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def _page(bundle: ModelBundle, files: dict[str, bytes]) -> str:
    contract, licence = bundle.contract, bundle.licence
    facts = [
        f"{contract.width}x{contract.height} px, {bundle.precision}; "
        "the model runs in this browser, and nothing leaves it",
        *([f"weights: {licence}"] if licence else []),
    ]
    known = {
        name: {"bytes": len(content), "integrity": f"sha256-{_base64_sha256(content)}"}
        for name, content in files.items()
    }
    main = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")
    script = main.rpartition('<script type="module">')[2].partition("</script>")[0]
    policy = POLICY.format(script=_base64_sha256(script.encode()))
    return fill_page(
        KIND,
        "Draw labels, see a picture" if contract.palette else "Draw, see a picture",
        f"<p>{'<br>'.join(map(html, facts))}</p>",
        main.replace("FILES", json.dumps(known), 1),
        head=f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<link rel="icon" href="data:,">',
    )


def _base64_sha256(content: bytes) -> str:
    return b64encode(sha256(content).digest()).decode()
