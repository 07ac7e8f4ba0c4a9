"""One line that says how far a long check is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

QUIET_S = 2.0
"""A check that takes less needs no progress."""
REWRITE_EVERY_S = 0.1
PLAIN_EVERY_S = 15.0
"""Where no line can be rewritten, a new one appears at most this often."""


class Progress:
    """Called by the subject as `progress(done, total, note)`.

    Rewrites one line on a terminal, writes a plain line now and then elsewhere, and is silent in xdist workers.
    """

    def __init__(self, config: pytest.Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self.begin("")

    def begin(self, name: str) -> None:
        """A check begins."""
        self._name = name
        self._started = self._clock()
        self._last = float("-inf")
        self._shown = False

    def end(self) -> None:
        """The check is over: the rewritten line goes."""
        terminal = self._terminal
        if self._shown and terminal is not None and terminal.isatty:
            with self._uncaptured():
                terminal.rewrite("", erase=True)
                # One line up and down again: back to the first column, and pytest, which counts the columns since the
                # last line break to place its percentages, counts anew.
                terminal.write("\x1b[1A\n" if terminal.hasmarkup else "\r", flush=True)
        self.begin("")

    def __call__(self, done: int, total: int, note: str) -> None:
        """Say how far it is."""
        now, terminal = self._clock(), self._terminal
        if terminal is None or terminal.verbosity < 0 or now - self._started < QUIET_S:
            return
        if now - self._last < (REWRITE_EVERY_S if terminal.isatty else PLAIN_EVERY_S):
            return
        self._last = now
        line = " ".join(part for part in (self._name, note, f"{done}/{total}", self._left(now, done, total)) if part)
        with self._uncaptured():
            if not self._shown:
                terminal.ensure_newline()
            if terminal.isatty:
                terminal.rewrite(line[: terminal.config.get_terminal_writer().fullwidth - 1], erase=True)
                terminal.flush()
            else:
                terminal.write_line(line)
                terminal.flush()
        self._shown = True

    def _left(self, now: float, done: int, total: int) -> str:
        if not 0 < done < total:
            return ""
        return f"about {(now - self._started) * (total - done) / done:.0f} s left"

    @property
    def _terminal(self) -> Any:
        """Pytest's terminal reporter, which comes after us and is absent with -p no:terminal; none in workers."""
        if hasattr(self._config, "workerinput"):
            return None
        return self._config.pluginmanager.get_plugin("terminalreporter")

    def _uncaptured(self) -> AbstractContextManager[None]:
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            return nullcontext()
        lifted: AbstractContextManager[None] = capture.global_and_fixture_disabled()
        return lifted
