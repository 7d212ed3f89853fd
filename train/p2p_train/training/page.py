"""The page of a run: how far it is, its scores, newest samples, curves and settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from p2p_runtime.errors import OutputError
from p2p_runtime.files import reason, write_text
from p2p_train.config import TrainConfig
from p2p_train.losses import loss_curves
from p2p_train.metrics.page import fill_page, html, is_free

from .curves import MEASURES, SCORES, curves_layout
from .recorder import Recorder

__all__ = ["KIND", "RunPage"]

KIND = "p2p-train"
"""What marks a page of a run."""

EVERY_S = 10
"""Interval at which the page is written, and at which a browser loads it again."""

logger = logging.getLogger(__name__)


class RunPage:
    """``index.html`` of a run directory, which any browser shows while the run goes on.

    It may be read at any time. A browser loads it again by itself until the run has ended. Where it
    cannot be written, a warning says so once, and the run goes on. Only the first of several
    processes writes it; the others are ``silent``.
    """

    def __init__(
        self,
        run_dir: Path,
        config: TrainConfig,
        facts: Sequence[str],
        recorder: Recorder,
        *,
        silent: bool = False,
    ) -> None:
        self._run_dir, self._config, self._facts = run_dir, config, facts
        self._recorder, self._log, self._silent = recorder, recorder.log, silent
        self._progress, self._share, self._warned = "", 0.0, False
        self._shown, self._due_s = 0, 0.0

    def __enter__(self) -> RunPage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self._write(f"ended by an error: {str(error) or kind.__name__}")
        elif self._share < 1:
            self._write(f"stopped; go on with: p2p-train --resume {self._run_dir}")
        else:
            self._write("finished")

    def show(self, progress: Sequence[str], share: float) -> None:
        """Write the page anew if the last one is old, or if the log has a new line.

        It shows the parts of the progress line; ``share`` (0-1) of the steps are done.
        """
        self._progress, self._share = ", ".join(progress), share
        if len(self._log.records) != self._shown or time.monotonic() >= self._due_s:
            self._write()

    def _write(self, end: str = "") -> None:
        if self._silent:
            return
        self._shown, self._due_s = len(self._log.records), time.monotonic() + EVERY_S
        page = self._run_dir / "index.html"
        try:
            if not is_free(page, KIND):
                raise OutputError(f"{page} exists and is no page of a run")
            write_text(page, self._page(end))
        except (OSError, OutputError) as error:
            if not self._warned:
                logger.warning("%s is not up to date (%s)", page, reason(error))
            self._warned = True

    def _page(self, end: str) -> str:
        facts = *self._facts, time.strftime("written at %H:%M:%S on %Y-%m-%d")
        top = [
            f'<progress value="{self._share:.4f}" aria-label="steps done"></progress>',
            f'<p class="means">{html(self._progress)}</p>',
            *(f'<p class="note">{html(line)}</p>' for line in (end, self._recorder.doubt) if line),
            f"<p>{'<br>'.join(map(html, facts))}</p>",
        ]
        main = "<p>Samples, scores and curves come after the first epoch.</p>"
        if self._log.records:
            image = self._image("samples/latest.png", "input, generated image and target")
            samples = f"<div>\n<h2>Newest samples</h2>\n{image}\n</div>"
            main = f"{samples}\n<div>\n{self._scores()}\n{self._curves()}\n</div>"
        return fill_page(
            KIND,
            f"{self._share:.0%} of {self._run_dir.absolute().name}",
            "\n".join(top),
            f'<div class="run">\n{main}\n</div>\n{self._settings()}',
            head="" if end else f'<meta http-equiv="refresh" content="{EVERY_S}">',
        )

    def _scores(self) -> str:
        rows = ["<th></th><th>newest</th><th>best</th>"]
        for name, curve in {**MEASURES, **SCORES}.items():
            if known := [record[name] for record in self._log.records if name in record]:
                best = (min if "l1" in name else max)(known)
                title = f"{curve.panel}, {curve.label}"
                rows.append(f"<th>{title}</th><td>{known[-1]:.4g}</td><td>{best:.4g}</td>")
        body = "\n".join(f"<tr>{row}</tr>" for row in rows)
        return f"<h2>Scores</h2>\n<table>\n{body}\n</table>"

    def _curves(self) -> str:
        columns, (width, height) = curves_layout(self._log.records, loss_curves(self._config))
        places = (f"object-position: {100 * place / (columns - 1):g}%" for place in range(columns))
        images = "".join(self._image("curves.png", "curves of the run", place) for place in places)
        shape = f"--shape: {width / columns:g} / {height:g}"
        return f'<h2>Curves</h2>\n<div class="curves" style="{shape}">{images}</div>'

    def _image(self, name: str, what: str, style: str = "") -> str:
        """Return a picture at an address of its own, so that no browser shows an old copy."""
        link = f"{name}?step={self._log.records[-1]['step']:.0f}"
        return f'<a href="{name}"><img src="{link}" alt="{what}" style="{style}"></a>'

    def _settings(self) -> str:
        usual, rows = TrainConfig().flat(), []
        for key, value in self._config.flat().items():
            given = ' class="given"' if value != usual[key] else ""
            name, text = html(key.replace("_", "-")), html(_words(value))
            rows.append(f"<div{given}><dt>{name}</dt><dd>{text}</dd></div>")
        return '<h2>Settings</h2>\n<dl class="settings">\n' + "\n".join(rows) + "\n</dl>"


def _words(value: object) -> str:
    if isinstance(value, tuple):  # height and width
        return "x".join(map(str, reversed(value)))
    return {"None": "-", "True": "yes", "False": "no"}.get(str(value), str(value))
