"""The names that Python users import from ``p2p_runtime``."""

from __future__ import annotations

import pytest

import p2p_runtime
from commands import python


def run(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return python(code).strip()


@pytest.mark.parametrize("name", p2p_runtime.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    """Each is the object of that name, and is listed by ``dir``."""
    assert getattr(p2p_runtime, name).__name__ == name
    assert name in dir(p2p_runtime)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """A misspelt import fails as for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Translater'"):
        p2p_runtime.Translater  # noqa: B018 - the access is the test


def test_importing_the_package_imports_nothing_else() -> None:
    """Neither heavy libraries nor other modules of the package are loaded."""
    code = "import sys; before = set(sys.modules); import p2p_runtime; "
    code += "print(*{n for n in set(sys.modules) - before if not n.startswith('_')})"
    loaded = set(run(code).split())
    assert {name for name in loaded if name.startswith("p2p_")} == {"p2p_runtime"}
    assert not loaded & {"numpy", "cv2", "av", "onnxruntime", "click"}


def test_a_translator_loads_nothing_of_videos() -> None:
    """For frames in arrays, PyAV would be a tenth of a second, and sources and sinks some more."""
    code = "import sys; from p2p_runtime import Translator; print(*sys.modules)"
    loaded = set(run(code).split())
    assert "p2p_runtime.translate.translator" in loaded
    assert "av" not in loaded
    assert not {name for name in loaded if ".video.sources" in name or ".video.sinks" in name}


def test_an_error_costs_no_heavy_import() -> None:
    """A caller may catch errors without loading numpy."""
    assert run("import sys; from p2p_runtime import P2PError; print('numpy' in sys.modules)") == (
        "False"
    )
