"""Watches a training process from a thread of its own: requests to stop, and the launcher above it.

A signal handler in Python runs when the main thread is back from native code, which may be never; the thread hears of
a signal at once. All it does is to set a flag, which the next collective of the main thread carries to all ranks.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from asrscale.errors import EXIT_STOPPED
from asrscale.launcher import find_launchers, is_running

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # USR1: what batch systems send ahead of the end
TICK_SECONDS = 0.5
# Ranks whose launcher is gone are nobody's: they get time for a step and its checkpoint, not for more.
ORPHAN_SECONDS = 8.0
PREEMPTED_FILE = "PREEMPTED"


@dataclass
class Watch:
    """What the main thread and the watching thread tell each other.

    Attributes:
        folder: The run folder.
        stopping: Somebody asked this process to stop.
        doing: What the main thread is at: `starting`, `training`, `evaluating`, `saving`, `ending`.
        beats: How often it has come further.
    """

    folder: Path
    stopping: bool = False
    doing: str = "starting"
    beats: int = 0

    def beat(self, doing: str | None = None) -> bool:
        """Tells that the main thread has come further; returns whether a stop was asked for."""
        self.beats += 1
        self.doing = doing or self.doing
        return self.stopping

    def mark_preempted(self) -> None:
        """Leaves RUN/PREEMPTED: to be started again. Batch scripts look for it; the next start removes it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / PREEMPTED_FILE).write_text("stopped on request; start it again with the same command\n")


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Watches this process while the block runs: SIGTERM, SIGUSR1, SIGINT and the end of the launcher set `stopping`.

    A stop while `starting` ends the process at once, with exit code 75. A second SIGINT (Ctrl-C) interrupts as usual.
    Signals that are ignored, such as SIGINT under nohup or in the background, stay so. For the main thread only.
    """
    watch = Watch(folder)
    hearing, telling = socket.socketpair()
    telling.setblocking(False)
    kept = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    for number in kept:
        signal.signal(number, _on_signal)
    told_before = signal.set_wakeup_fd(telling.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(watch, hearing), name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(told_before)
        for number, handler in kept.items():
            signal.signal(number, handler)
        telling.close()
        thread.join()
        hearing.close()


def _on_signal(number: int, frame: FrameType | None) -> None:
    """What Python runs for a signal; the thread has been told by the interpreter's wake-up file."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _watch(watch: Watch, hearing: socket.socket) -> None:
    """The thread; ends when the other end of `hearing` is closed."""
    launchers = find_launchers()
    orphaned_seconds: float | None = None
    while True:
        if select.select([hearing], [], [], TICK_SECONDS)[0]:
            numbers = hearing.recv(64)
            if not numbers:
                return
            watch.stopping |= bool(set(numbers) & set(SIGNALS))
        now = time.monotonic()
        if orphaned_seconds is None and not all(map(is_running, launchers)):
            watch.stopping, orphaned_seconds = True, now
        late = orphaned_seconds is not None and now - orphaned_seconds > ORPHAN_SECONDS
        if watch.stopping and (watch.doing == "starting" or (late and watch.doing != "saving")):
            _leave(watch)


def _leave(watch: Watch) -> None:
    """Ends the process, whatever the main thread is at; the newest checkpoint stands."""
    reason = "while starting" if watch.doing == "starting" else "without its launcher, before the end of a step"
    watch.mark_preempted()
    print(f"stopped on request {reason}; the same command goes on", file=sys.stderr, flush=True)
    os._exit(EXIT_STOPPED)
