"""How a command ends that was asked to: as by an interrupt, so that what it left unfinished goes."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def ended_cleanly() -> Iterator[None]:
    """A request to end (SIGTERM) is taken as an interrupt, so that child processes and unfinished files go too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
