"""The page of the Python API: made from docstrings, and current."""

from __future__ import annotations

import runpy

from guides import ROOT

MAKE_API = runpy.run_path(str(ROOT / "docs" / "make_api.py"))


def test_the_page_says_what_the_docstrings_say():
    """Who changes a public docstring runs ``python docs/make_api.py``."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert page == MAKE_API["make_page"]()


def test_sections_become_lists_and_roles_become_code():
    """A docstring's Args are a list, and its references lose their module."""

    def toy(size_px: int, *, name: str = "a") -> int:
        """Do it with :class:`~p2p_runtime.model.bundle.ModelBundle`, ``fast``.

        Args:
            size_px: the side
                in pixels.

        Raises:
            ConfigError: it is odd.
        """
        return size_px

    assert (
        MAKE_API["code"]("toy", toy)
        == "```text\ntoy(size_px: int, *, name: str = 'a') -> int\n```\n"
    )
    assert MAKE_API["markdown_of"](toy).splitlines() == [
        "Do it with `ModelBundle`, `fast`.",
        "",
        "**Args**",
        "",
        "* `size_px`: the side",
        "  in pixels.",
        "",
        "**Raises**",
        "",
        "* `ConfigError`: it is odd.",
    ]
