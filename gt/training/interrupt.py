"""A wish to stop is heard between two steps, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether the run shall end after the step at hand.

    Attributes:
        signal: The signal that said so, or None.
    """

    signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def asked_to_stop() -> Iterator[Stop]:
    """Take the first Ctrl-C or SIGTERM as a wish; the second acts at once. Only the main thread hears them."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {int(number): signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def heard(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, heard)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
