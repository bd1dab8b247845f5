"""Requests to stop: signals, the end of the launcher, and memory that ran out on another rank.

    RUN/PREEMPTED   says that the run stopped on request, and is to be started again

A process that ends before the run folder is its own says so by its exit code alone.

A signal handler in Python runs when the main thread is back from native code, which may be never; a thread of our own
is woken by a signal at once. All it does is to set a flag, which the next collective of the main thread carries to all
ranks. The same thread shows the heartbeat of this rank and looks for hangs (`heartbeat`).

This module imports nothing heavy: `asrscale.train` watches for signals before it imports torch, which takes seconds.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from asrscale.common.errors import EXIT_STOPPED
from asrscale.training.heartbeat import LOOKS, Pulse, look
from asrscale.training.launcher import find_launchers, is_running
from asrscale.training.watch import Watch

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # USR1: what batch systems send ahead of the end
TICK_SECONDS = 0.5

# Ranks whose launcher has ended belong to nobody: they get time for a step and its checkpoint, not for more.
ORPHAN_SECONDS = 8.0

# How long a rank stays once it knows that memory ran out on one of them, until all ranks have seen it: on a rank that
# waits for one that has ended, a collective fails.
LINGER_SECONDS = 2.0

PREEMPTED_FILE = "PREEMPTED"


def mark_preempted(run_folder: Path) -> None:
    """Writes RUN/PREEMPTED: to be started again. Batch scripts look for it; the next start removes it.

    For ranks of the training that holds the lock of the run folder, and for no other: it may be another one's.
    """
    (run_folder / PREEMPTED_FILE).write_text("stopped on request; start it again with the same command\n")


def unmark_preempted(run_folder: Path) -> None:
    """Removes RUN/PREEMPTED: the run has been started again, or is complete. For the same ranks."""
    (run_folder / PREEMPTED_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Watches this process while the block runs: SIGTERM, SIGUSR1, SIGINT and the end of the launcher set `stopping`.

    A stop while `starting` ends the process at once, with exit code 75. A second SIGINT (Ctrl-C) interrupts as usual.
    Signals that are ignored, such as SIGINT under nohup or in the background, stay so. For the main thread only.

    Args:
        folder: The run folder, which need not exist.
    """
    watch = Watch(folder)
    wake_up, interpreter_end = socket.socketpair()
    interpreter_end.setblocking(False)  # as `signal.set_wakeup_fd` wants it
    not_ignored = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    handlers_before = {number: signal.signal(number, _on_signal) for number in not_ignored}
    wake_up_before = signal.set_wakeup_fd(interpreter_end.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(watch, wake_up), name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(wake_up_before)
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        interpreter_end.close()
        thread.join()
        wake_up.close()


def _on_signal(number: int, frame: FrameType | None) -> None:
    """What Python runs for a signal; the interpreter's wake-up file has woken the thread already."""
    if number == signal.SIGINT:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class _Rounds:
    """What the thread remembers from one round to the next."""

    launchers: list[psutil.Process]
    ends: list[int]  # of `_open_ends`
    orphan_deadline: float = math.inf  # on the monotonic clock; a time once a launcher has ended
    pulse: Pulse = field(default_factory=Pulse)
    # Since the last look at the heartbeats; rather than a clock, which goes on while this process is stopped.
    ticks: int = 0
    beats: int = -1  # `watch.beats` one round ago
    is_last: bool = False


def _watch(watch: Watch, wake_up: socket.socket) -> None:
    """What the thread runs; returns once the other end of `wake_up` is closed.

    It reads files that a full disk or another user may have damaged. No error ends it: nobody would hear signals.
    """
    launchers = find_launchers()
    rounds = _Rounds(launchers, _open_ends(launchers))
    reported: set[str] = set()
    while not rounds.is_last:
        try:
            _go_round(rounds, watch, wake_up)
        except Exception as error:
            message = f"warning: the watching thread goes on after {error!r}"
            if message not in reported:
                print(message, file=sys.stderr, flush=True)
            reported.add(message)
            time.sleep(TICK_SECONDS)


def _go_round(rounds: _Rounds, watch: Watch, wake_up: socket.socket) -> None:
    """Waits for a signal or a tick, and does what is due then; it is the last where the end of `wake_up` is closed.

    The interpreter writes the numbers of signals to that end.
    """
    readable = select.select([wake_up.fileno(), *rounds.ends], [], [], TICK_SECONDS)[0]
    numbers = wake_up.recv(64) if wake_up.fileno() in readable else None
    rounds.is_last = numbers == b""
    watch.stopping |= not set(SIGNALS).isdisjoint(numbers or b"")
    rounds.ticks += numbers is None
    if rounds.orphan_deadline == math.inf:
        ended = _find_ended(rounds.launchers, rounds.ends, readable)
        if ended is not None:
            watch.stopping = True
            rounds.orphan_deadline = time.monotonic() + ORPHAN_SECONDS
            rounds.ends = []
            _terminate(rounds.launchers[ended + 1 :])

    has_no_news = watch.beats == rounds.beats
    rounds.beats = watch.beats
    if rounds.is_last or has_no_news:  # a rank that waits for one that has exited, or its collective failed
        _exit_if_memory_ran_out(watch)
    if rounds.is_last:
        return
    if rounds.ticks * TICK_SECONDS >= watch.hang_seconds / LOOKS:
        seconds = rounds.ticks * TICK_SECONDS
        rounds.ticks = 0
        look(watch, rounds.pulse, seconds)
    if watch.stopping:
        _exit_if_stop_cannot_wait(watch, rounds.orphan_deadline)


def _open_ends(launchers: list[psutil.Process]) -> list[int]:
    """Opens a file descriptor for each launcher that becomes readable once it has ended; none where that is unknown."""
    with contextlib.suppress(OSError, AttributeError):  # there are none on a Mac, or before Linux 5.3
        return [os.pidfd_open(launcher.pid) for launcher in launchers]
    return []


def _find_ended(launchers: list[psutil.Process], ends: list[int], readable: list[int]) -> int | None:
    """The place of the first launcher that has ended; None where all run.

    Args:
        launchers: As `find_launchers` returns them.
        ends: Of `_open_ends`.
        readable: The file descriptors that can be read.
    """
    for place, launcher in enumerate(launchers):
        has_ended = ends[place] in readable if ends else not is_running(launcher)
        if has_ended:
            return place
    return None


def _terminate(launchers: list[psutil.Process]) -> None:
    """Sends SIGTERM to the launchers above one that has ended.

    deepspeed takes the death of its second layer for success, and would exit with 0 within the second.
    """
    for launcher in launchers:
        with contextlib.suppress(psutil.Error):  # gone, or another user's
            launcher.terminate()


def _exit_if_memory_ran_out(watch: Watch) -> None:
    """Ends this process, or starts it again, where a rank has reported that memory ran out in a way that all exit."""
    if watch.cap is None or not watch.cap.is_outdated():
        return
    time.sleep(LINGER_SECONDS)
    if watch.cap.rescues < watch.restarts:
        _start_again()
    _exit_to_be_started_again(watch, "memory ran out on a rank")


def _exit_if_stop_cannot_wait(watch: Watch, orphan_deadline: float) -> None:
    """Ends this process, which was requested to stop, where there is nothing to save yet or no time left for it."""
    if watch.doing == "starting":
        _exit_to_be_started_again(watch, "stopped on request while starting")
    if time.monotonic() > orphan_deadline and watch.doing != "saving":
        _exit_to_be_started_again(watch, "stopped on request without its launcher, before the end of a step")


def _exit_to_be_started_again(watch: Watch, reason: str) -> None:
    """Ends the process, whatever the main thread is doing; the newest checkpoint stands."""
    if watch.holds_unfinished_run:
        with contextlib.suppress(OSError):  # a full or broken disk must not keep the process here
            mark_preempted(watch.folder)
    print(f"{reason}; the same command goes on", file=sys.stderr, flush=True)
    os._exit(EXIT_STOPPED)


def _start_again() -> None:
    """Replaces this process by a new one of the same command and process id, which no launcher notices."""
    for child in psutil.Process().children():  # W&B's service, which would wait for the old process
        child.kill()
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) + 1
    os.environ["TORCHELASTIC_RESTART_COUNT"] = str(attempt)  # ranks of different attempts must not meet
    os.execv(sys.executable, sys.orig_argv)
